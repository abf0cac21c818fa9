"""What goes over the connection between rank 0 and another rank: who it is, and the streams of its workers.

A frame is the number of a worker, a `Kind`, and bytes. Where they are an object, it is JSON that is checked as any
other input. Nothing is ever unpickled.
"""

from __future__ import annotations

import os
import socket
import struct
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Final, TypeVar

import msgspec

from bench.ranges import Ranks
from bench.scenarios.axes import Framework
from bench.worker.join.relay import Kind

#: Of a frame: what a pipe holds, and its head.
MOST_BYTES: Final = 1 << 17
#: Of the first frames, from somebody who may be anybody.
_MOST_HELLO_BYTES: Final = 1 << 14
#: Who has not said by then who it is, is no rank.
GREETING_SECONDS: Final = 10
#: Seconds without a sign of the other machine's kernel after which a connection is dead: probes after 10, 15, ... 30.
_PROBES: Final = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 30_000}
_HEADER: Final = struct.Struct("!I")
#: What `setsockopt` takes as a time: seconds and microseconds.
_TIME: Final = struct.Struct("ll")
RecordT = TypeVar("RecordT", bound=msgspec.Struct)


class Hello(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who a rank is, and what its command line says of its machine."""

    rank: int
    ranks: Ranks
    job: str
    #: The Python that runs it, and those of frameworks that are not in that one.
    python: str
    framework_python: dict[Framework, str]
    #: None: where mnist-bench keeps the data.
    data_directory: str | None


class Start(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Start a worker on this rank's machine."""

    rank: int
    command: tuple[str, ...]


class Leave(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """End, with this exit status; say why, if that is this rank's own fault."""

    status: int
    why: str | None = None


class WireError(Exception):
    """The other side is none of ours, or another version; one line."""


def greet(connected: socket.socket, key: bytes, *, is_rank_0: bool) -> Connection:
    """Make sure that both sides have the key. The connection takes the socket over.

    Raise `AuthenticationError` for another key, `WireError` for another program, `OSError` or `EOFError` where the
    other side is silent or gone.
    """
    connected.settimeout(None)
    _limit(connected, GREETING_SECONDS)
    connection = Connection(connected.detach())
    try:
        steps = (deliver_challenge, answer_challenge) if is_rank_0 else (answer_challenge, deliver_challenge)
        for step in steps:
            step(connection, key)
    except (AssertionError, ValueError) as error:  # it sent no challenge; this Python refuses the digest
        connection.close()
        raise WireError(str(error) or "another program") from None
    except BaseException:
        connection.close()
        raise
    return connection


def trust(connection: Connection) -> None:
    """Wait for the other side as long as its machine is there, from now on."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        _limit(same, 0)
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        same.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _PROBES.items():
            if (option := getattr(socket, name, None)) is not None:  # not every system has all
                same.setsockopt(socket.IPPROTO_TCP, option, value)


def _limit(connected: socket.socket, seconds: int) -> None:
    """Let no read or write take longer; 0: let each take as long as it does."""
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        connected.setsockopt(socket.SOL_SOCKET, option, _TIME.pack(seconds, 0))


def send(connection: Connection, worker: int, kind: Kind, data: bytes = b"") -> None:
    """Send a frame about a worker; 0: about the rank itself."""
    connection.send_bytes(_HEADER.pack(worker) + kind + data)


def receive(connection: Connection, most_bytes: int = MOST_BYTES) -> tuple[int, Kind, bytes]:
    """Return the next frame. Raise `EOFError` or `OSError` at the connection's end, `WireError` for no frame."""
    frame = connection.recv_bytes(most_bytes)
    try:
        (worker,) = _HEADER.unpack_from(frame)
        return worker, Kind(frame[_HEADER.size : _HEADER.size + 1]), frame[_HEADER.size + 1 :]
    except (struct.error, ValueError):
        raise WireError("what it sent is no frame") from None


def receive_hello(connection: Connection) -> Hello:
    """Return who a rank is. Raise as `receive`."""
    _, kind, data = receive(connection, _MOST_HELLO_BYTES)
    if kind is not Kind.HELLO:
        raise WireError("it did not say who it is")
    return decode(data, Hello)


def decode(data: bytes, kind: type[RecordT]) -> RecordT:
    """Return the record. Raise `WireError` for anything else."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise WireError(f"another version of mnist-bench: {error}") from None
