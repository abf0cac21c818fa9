"""Any rank of a job but rank 0: it connects to rank 0, and starts workers on its machine as it is told."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection
from typing import IO, Final

import msgspec

from bench.errors import ConfigurationError, SetupError
from bench.scenarios.job_managers import JobPlace
from bench.worker.join.key import explain_other_key
from bench.worker.join.relay import Kind
from bench.worker.join.wire import GREETING_SECONDS, Hello, Leave, Start, WireError, decode, greet, receive, send, trust

_CONNECT_SECONDS: Final = 3.0
_RETRY_SECONDS: Final = 0.25
_READ_BYTES: Final = 1 << 16
_REAP_SECONDS: Final = 5.0
#: Of a command that cannot be started, as shells have it.
_NOT_STARTED: Final = 127


def follow(place: JobPlace, port: int, hello: Hello, find_key: Callable[[], bytes], timeout_seconds: float) -> Leave:
    """Serve rank 0 until it tells this rank to end, and return what it said.

    The key is looked for when rank 0 is there, which may have made it. All workers are dead afterwards, however this
    ends. Raise `ConfigurationError` for a key that is not rank 0's, `SetupError` if rank 0 does not come in time, or
    ends without a word.
    """
    try:
        with _connect(place, port, timeout_seconds) as connected:
            connection = greet(connected, find_key(), is_rank_0=False)
    except AuthenticationError:
        raise ConfigurationError(explain_other_key(place.rank)) from None
    except (EOFError, OSError, WireError) as error:
        silent = f"no greeting within {GREETING_SECONDS} s" if isinstance(error, BlockingIOError) else str(error)
        where = f"rank {place.rank}: not rank 0 answers at {place.address}, port {port}"
        raise SetupError(f"{where} ({silent or 'it hung up'}): name another --join-port, the same for all") from None
    with connection:
        return _Agent(connection).serve(hello)


def _connect(place: JobPlace, port: int, timeout_seconds: float) -> socket.socket:
    """Connect to rank 0, which may not be there yet, nor have a name."""
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            connected = socket.create_connection((place.address, port), timeout=_CONNECT_SECONDS)
            if connected.getsockname() != connected.getpeername():
                return connected
            connected.close()  # nobody listens, and the kernel has given us this very port
            reason = "connection refused"
        except (OSError, UnicodeError) as error:
            timed_out = isinstance(error, TimeoutError)
            reason = "no answer" if timed_out else (getattr(error, "strerror", None) or str(error)).lower()
        if time.monotonic() >= deadline:
            where = f"rank {place.rank}: no rank 0 at {place.address}, port {port}, within {timeout_seconds:g} s"
            raise SetupError(f"{where} ({reason}): was it started, and does its firewall pass this port?")
        time.sleep(_RETRY_SECONDS)


class _Agent:
    """What rank 0 has of this machine: the workers that it started here."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self._workers: dict[int, _Worker] = {}

    def serve(self, hello: Hello) -> Leave:
        """Say who this is, and do what rank 0 says; return its last word."""
        try:
            send(self._connection, 0, Kind.HELLO, msgspec.json.encode(hello))
            trust(self._connection)
            while True:
                number, kind, data = receive(self._connection)
                if kind is Kind.LEAVE:
                    return decode(data, Leave)
                self._obey(number, kind, data)
        except (EOFError, OSError):
            raise SetupError(f"rank {hello.rank}: rank 0 has ended, or its machine does not answer") from None
        except WireError as error:
            raise SetupError(f"rank {hello.rank}: rank 0 is another program: {error}") from None
        finally:
            for worker in self._workers.values():
                worker.kill()
            for worker in self._workers.values():
                worker.wait()

    def _obey(self, number: int, kind: Kind, data: bytes) -> None:
        if kind is Kind.START:
            command = decode(data, Start).command
            try:
                self._workers[number] = _Worker(command, lambda kind, data: self._tell(number, kind, data))
            except OSError as error:
                self._tell(number, Kind.ERRORS, f"{command[0]} could not be started: {error.strerror}\n".encode())
                self._tell(number, Kind.STATUS, str(_NOT_STARTED).encode())
        elif (worker := self._workers.get(number)) is not None:
            if kind is Kind.INPUT:
                worker.unwritten.put(data)
            elif kind is Kind.KILL:
                self._workers.pop(number).kill()

    def _tell(self, number: int, kind: Kind, data: bytes) -> None:
        with self._lock, contextlib.suppress(OSError):  # rank 0 is gone
            send(self._connection, number, kind, data)


class _Worker:
    """A process that rank 0 has started here, and the threads that read and write for it."""

    def __init__(self, command: tuple[str, ...], tell: Callable[[Kind, bytes], None]) -> None:
        """Start it. Raise `OSError` if that cannot be."""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # it and all that it starts end together
        )
        self._tell, self._is_over = tell, False
        #: What it has not been given yet; nothing: the end. It may be busy, and others must not wait for that.
        self.unwritten: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._write, daemon=True).start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def kill(self) -> None:
        """Kill it and everything that it started. Once all is over, its number may be another process's."""
        if self._is_over:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> None:
        """Wait until all is over; not for long, since a process that waits for a driver cannot be killed."""
        self._reader.join(_REAP_SECONDS)

    def _write(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError), self._process.stdin as stdin:
            while data := self.unwritten.get():
                stdin.write(data)
                stdin.flush()

    def _read(self) -> None:
        """Pass on what it writes, and then how it ended."""
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        errors = threading.Thread(target=self._forward, args=(self._process.stderr, Kind.ERRORS), daemon=True)
        errors.start()
        self._forward(self._process.stdout, Kind.OUTPUT)
        errors.join()
        status = self._process.wait()
        self.kill()
        self._is_over = True
        self.unwritten.put(b"")  # the thread that writes may wait for more
        self._tell(Kind.STATUS, str(status).encode())

    def _forward(self, stream: IO[bytes], kind: Kind) -> None:
        with stream:
            while part := os.read(stream.fileno(), _READ_BYTES):
                self._tell(kind, part)
