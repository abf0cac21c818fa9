"""Stands in, on rank 0's machine, for a worker on another rank's: a script, for which the standard library is enough.

It is what `process.start` starts in front of a worker's command. What it reads goes to the far worker, it writes what
that writes, and ends as that ends. Between it and the far worker is rank 0, see `hub`.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import resource
import signal
import sys
import threading
from enum import Enum
from multiprocessing.connection import Client, Connection

_READ_BYTES = 1 << 16


class Kind(bytes, Enum):
    """The first byte of a frame says what the others are."""

    #: JSON: `wire.Start`.
    START = b"s"
    #: For the worker's stdin; nothing: its end.
    INPUT = b"i"
    OUTPUT = b"o"
    ERRORS = b"e"
    #: Of the worker, as a decimal number. It has written all.
    STATUS = b"x"
    #: The worker is no longer wanted.
    KILL = b"k"
    #: JSON: `wire.Hello`, `wire.Leave`.
    HELLO = b"h"
    LEAVE = b"l"


def main() -> None:
    """Be the worker of a rank: `relay.py SOCKET RANK COMMAND...`."""
    path, rank, *command = sys.argv[1:]
    with Client(path, "AF_UNIX") as connection:
        connection.send_bytes(Kind.START + json.dumps({"rank": int(rank), "command": command}).encode())
        threading.Thread(target=_forward_input, args=(connection,), daemon=True).start()
        status = _forward_output(connection)
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)  # the thread waits for input


def _forward_input(connection: Connection) -> None:
    with contextlib.suppress(OSError):  # rank 0 is gone
        while part := os.read(0, _READ_BYTES):
            connection.send_bytes(Kind.INPUT + part)
        connection.send_bytes(Kind.INPUT)


def _forward_output(connection: Connection) -> int:
    """Write what the worker writes, until it ends; return its exit status.

    Whoever reads our stdout may be busy for long. Rank 0 must not have to wait for that, since it serves others, too.
    """
    unwritten: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
    writer = threading.Thread(target=_write_all, args=(unwritten,), daemon=True)
    writer.start()
    status = 1
    with contextlib.suppress(EOFError, OSError):
        while True:
            frame = connection.recv_bytes()
            kind, data = frame[:1], frame[1:]
            if kind == Kind.STATUS:
                status = int(data)
                break
            unwritten.put((1 if kind == Kind.OUTPUT else 2, data))
    unwritten.put(None)
    writer.join()
    return status


def _write_all(unwritten: queue.SimpleQueue[tuple[int, bytes] | None]) -> None:
    with contextlib.suppress(BrokenPipeError):
        while (part := unwritten.get()) is not None:
            descriptor, data = part
            while data:
                data = data[os.write(descriptor, data) :]


if __name__ == "__main__":
    main()
