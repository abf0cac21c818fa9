"""Plain TCP between two workers: whether a host can be reached, how long a round trip takes, how fast a stream goes."""

from __future__ import annotations

import contextlib
import hmac
import secrets
import socket
import statistics
import struct
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bench.worker.protocol.hosts import LinkMeasured, Target

#: A host of the same network answers within milliseconds; one behind a firewall that drops packets never does.
_CONNECT_SECONDS: Final = 3.0
_NO_ANSWER: Final = f"no answer within {_CONNECT_SECONDS:g} s"
#: Of a connection that is there.
_TRANSFER_SECONDS: Final = 30.0
_BACKLOG: Final = 128
#: What is asked over a connection: the kind, and how many bytes follow. The answer is the same.
_HEADER: Final = struct.Struct("!cQ")
_PING, _STREAM = b"p", b"s"
#: The first stream tells how long the second has to be; TCP is slow at first, so that it is not counted.
_FIRST_STREAM_BYTES: Final = 1 << 20
_MOST_STREAM_BYTES: Final = 1 << 32
_CHUNK: Final = bytes(1 << 18)


def _family_of(ip_address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in ip_address else socket.AF_INET


def free_port(ip_address: str) -> int:
    """Return a port of this address that nobody uses now. Raise `OSError` if the address is not this host's."""
    with socket.socket(_family_of(ip_address)) as free:
        free.bind((ip_address, 0))
        return int(free.getsockname()[1])


class Listener:
    """Answers other hosts that know the token, until this process ends."""

    def __init__(self, ip_address: str) -> None:
        """Listen at a free port. Raise `OSError` if the address is not this host's."""
        self._socket = socket.create_server((ip_address, 0), family=_family_of(ip_address), backlog=_BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self.token = secrets.token_hex(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(_TRANSFER_SECONDS)
            _send_at_once(connection)
            if not hmac.compare_digest(_receive(connection, len(self.token)), self.token.encode()):
                return
            while True:
                header = _receive(connection, _HEADER.size)
                _drain(connection, _HEADER.unpack(header)[1])
                connection.sendall(header)


def reach(targets: Sequence[Target]) -> tuple[str | None, ...]:
    """Connect to each target at once; return for each why it cannot be reached, None if it can."""
    with ThreadPoolExecutor(max_workers=max(1, len(targets))) as pool:
        return tuple(pool.map(_fault, targets))


def _fault(target: Target) -> str | None:
    try:
        connection = _connect(target)
    except TimeoutError:
        return _NO_ANSWER
    except OSError as error:
        return (error.strerror or str(error)).lower()
    with connection:
        try:
            _ask(_greet(connection, target), _PING, 0)
        except TimeoutError:
            return _NO_ANSWER
        except OSError:
            return "another program answers at this port"
    return None


def measure_link(target: Target, *, round_trips: int, stream_seconds: float) -> LinkMeasured:
    """Measure the median round trip of a few bytes, and the rate of one stream. Raise `OSError` if the target ends."""
    with _connect(target) as connection:
        _greet(connection, target).settimeout(_TRANSFER_SECONDS)
        trips = [_ask(connection, _PING, 0) for _ in range(round_trips)]
        first = _ask(connection, _STREAM, _FIRST_STREAM_BYTES)
        size = int(_FIRST_STREAM_BYTES * stream_seconds / first)
        size = min(max(size, _FIRST_STREAM_BYTES), _MOST_STREAM_BYTES)
        return LinkMeasured(statistics.median(trips), size / _ask(connection, _STREAM, size))


def _connect(target: Target) -> socket.socket:
    return socket.create_connection((target.address, target.port), timeout=_CONNECT_SECONDS)


def _greet(connection: socket.socket, target: Target) -> socket.socket:
    _send_at_once(connection)
    connection.sendall(target.token.encode())
    return connection


def _send_at_once(connection: socket.socket) -> None:
    """Let no small message wait for the next one."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _ask(connection: socket.socket, kind: bytes, size: int) -> float:
    """Send so many bytes, wait for the answer, and return the seconds of both."""
    header = _HEADER.pack(kind, size)
    begin = time.perf_counter()
    connection.sendall(header)
    for sent in range(0, size, len(_CHUNK)):
        connection.sendall(memoryview(_CHUNK)[: size - sent])
    if _receive(connection, len(header)) != header:
        raise OSError("another program answers at this port")
    return time.perf_counter() - begin


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise ConnectionResetError("the connection was closed")
        received += part
    return received


def _drain(connection: socket.socket, size: int) -> None:
    buffer = memoryview(bytearray(len(_CHUNK)))
    while size > 0:
        part = connection.recv_into(buffer, min(size, len(buffer)))
        if not part:
            raise ConnectionResetError("the connection was closed")
        size -= part
