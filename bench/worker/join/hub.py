"""Rank 0 of a job: it lets the other ranks in, and starts workers on their machines.

A worker there is started as on any other host: in front of its command stands a prefix, here that of `relay`. The relay
reaches rank 0 at a socket of the file system, in a folder that is the user's alone, and rank 0 passes its frames on.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import queue
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import msgspec

from bench.errors import ConfigurationError, SetupError
from bench.scenarios.hosts import Host, is_loopback
from bench.scenarios.job_managers import JobPlace
from bench.worker.join.relay import Kind
from bench.worker.join.wire import (
    MOST_BYTES,
    Hello,
    Leave,
    Start,
    WireError,
    decode,
    greet,
    receive,
    receive_hello,
    send,
    trust,
)
from bench.worker.launch import RELAY

_BACKLOG: Final = 128
#: Until a name is known, such as that of a pod that is just being started.
_RETRY_SECONDS: Final = 0.5
#: For the others to hear that they may leave.
_FAREWELL_SECONDS: Final = 5.0
#: Ranks in a message.
_MOST_NAMED: Final = 10
#: What a process exits with that was started wrongly.
_REFUSED: Final = 2


@dataclass(slots=True, eq=False)
class _Member:
    """A rank that has come."""

    hello: Hello
    connection: Connection
    #: Where it came from.
    address: str
    thread: threading.Thread = field(init=False)
    #: It has ended, or its machine has.
    is_lost: bool = False
    #: The relays of its live workers, by their numbers.
    _relays: dict[int, Connection] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def rank(self) -> int:
        return self.hello.rank

    def __post_init__(self) -> None:
        """Begin to listen."""
        trust(self.connection)
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        """Pass on what its workers write, until it is gone."""
        with contextlib.suppress(EOFError, OSError, WireError):
            while True:
                worker, kind, data = receive(self.connection)
                with self._lock:
                    receiver = self._relays.get(worker)
                if receiver is not None:
                    _tell(receiver, kind, data)
        self._lose()
        with self._lock:
            self.connection.close()

    def serve(self, receiver: Connection, start: Start) -> None:
        """Pass on what a relay reads, until it ends; the worker ends with it."""
        with self._lock:
            number = next(self._numbers)
            self._relays[number] = receiver
            if self.is_lost:
                self._explain_loss(receiver)
        try:
            self._send(number, Kind.START, msgspec.json.encode(start))
            while True:
                frame = receiver.recv_bytes(MOST_BYTES)
                self._send(number, Kind.INPUT, frame[1:])
        except (EOFError, OSError):
            with self._lock:
                del self._relays[number]
            with contextlib.suppress(OSError):
                self._send(number, Kind.KILL)

    def leave(self, leave: Leave) -> None:
        """Tell the rank to end."""
        with contextlib.suppress(OSError):
            self._send(0, Kind.LEAVE, msgspec.json.encode(leave))

    def _send(self, worker: int, kind: Kind, data: bytes = b"") -> None:
        """Send a frame. Raise `OSError` if the rank is gone, which its workers have been told then."""
        try:
            with self._lock:
                send(self.connection, worker, kind, data)
        except OSError:
            self._lose()
            raise

    def _lose(self) -> None:
        """Tell all relays, once, that the rank is gone: whoever notices first, who reads or who writes."""
        with self._lock:
            if not self.is_lost:
                self.is_lost = True
                for receiver in self._relays.values():
                    self._explain_loss(receiver)

    def _explain_loss(self, receiver: Connection) -> None:
        _tell(
            receiver, Kind.ERRORS, f"rank {self.rank} of the job has ended, or its machine does not answer\n".encode()
        )
        _tell(receiver, Kind.STATUS, b"1")


def _tell(receiver: Connection, kind: Kind, data: bytes) -> None:
    with contextlib.suppress(OSError):  # it ended meanwhile
        receiver.send_bytes(kind + data)


@dataclass(slots=True, eq=False)
class Job:
    """The ranks of a job that have come, beside rank 0."""

    members: dict[int, _Member] = field(default_factory=dict)
    #: Their machines, once all are there: rank 0's first. Several ranks of one machine are its slots.
    hosts: tuple[Host, ...] = ()
    #: The socket at which relays find rank 0.
    relays: str = ""

    def prefix(self, rank: int) -> tuple[str, ...]:
        """Return what stands in front of the command of a worker on a rank's machine."""
        return (sys.executable, "-I", RELAY, self.relays, str(rank))

    @property
    def lost_ranks(self) -> list[int]:
        """Return the ranks that have ended before they were told to."""
        return [rank for rank, member in sorted(self.members.items()) if member.is_lost]

    def dismiss(self, status: int) -> None:
        """Let all ranks end with this exit status, and wait for it, but not for long."""
        deadline = time.monotonic() + _FAREWELL_SECONDS
        for member in self.members.values():
            member.leave(Leave(status=status))
        for member in self.members.values():
            member.thread.join(max(0.0, deadline - time.monotonic()))


@contextlib.contextmanager
def lead(
    place: JobPlace,
    port: int,
    key: bytes,
    timeout_seconds: float,
    status_of: Callable[[BaseException | None], int],
    folder: Path,
) -> Iterator[Job]:
    """Let all other ranks in and yield the job; at the end of the block they end with the status of how it ended.

    `folder` is for the socket of the relays: nobody but the user may enter it, and its name is short, since that of a
    socket has at most 107 bytes. Raise `ConfigurationError` where rank 0 cannot listen, `SetupError` naming the ranks
    that have not come in time.
    """
    job, status = Job(), status_of(None)
    with socket.socket(socket.AF_UNIX) as own:
        try:
            job.relays = str(folder / "relays")
            own.bind(job.relays)
            own.listen(_BACKLOG)
            address = _gather(job, place, port, key, timeout_seconds)
            job.hosts = hosts_of(address, [(each.hello, each.address) for each in job.members.values()], job.prefix)
            threading.Thread(target=_serve_relays, args=(own, job.members), daemon=True).start()
            yield job
        except BaseException as error:
            status = status_of(error)
            raise
        finally:
            _wake(own)
            job.dismiss(status)


def _wake(listener: socket.socket) -> None:
    """End the thread that waits for whoever connects, which `close` would not."""
    with contextlib.suppress(OSError):  # it does not listen yet
        listener.shutdown(socket.SHUT_RDWR)


def hosts_of(
    own: str, others: Sequence[tuple[Hello, str]], prefix: Callable[[int], tuple[str, ...]]
) -> tuple[Host, ...]:
    """Return the machines of ranks, which are told apart by the addresses that they came from.

    A worker is started by the first rank of a machine; rank 0's machine is this one.
    """
    first: dict[str, Hello] = {}
    slots = Counter([own])
    for hello, address in sorted(others, key=lambda each: each[0].rank):
        slots[address] += 1
        first.setdefault(address, hello)
    here = Host(address=own, launch=(), slots=slots[own])
    far = (
        Host(
            address=address,
            slots=slots[address],
            launch=prefix(hello.rank),
            python=hello.python,
            framework_python=hello.framework_python,
            data_directory=hello.data_directory,
        )
        for address, hello in first.items()
        if address != own
    )
    return (here, *far)


def is_of_job(hosts: Iterable[Host]) -> bool:
    """Tell whether these are the machines of a job, and not those of a hosts file."""
    return any(RELAY in (host.launch or ()) for host in hosts)


# --- letting ranks in -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Arrival:
    """Somebody who knows the key, or, without a connection, somebody who does not."""

    address: str
    hello: Hello | None = None
    connection: Connection | None = None


def _gather(job: Job, place: JobPlace, port: int, key: bytes, timeout_seconds: float) -> str:
    """Let all other ranks into the job; return the address at which they found this one.

    Nobody can connect any more afterwards.
    """
    deadline = time.monotonic() + timeout_seconds
    arrivals: queue.SimpleQueue[_Arrival] = queue.SimpleQueue()
    strangers: dict[str, None] = {}
    with _listen(place, port, deadline) as listener:
        address = str(listener.getsockname()[0])
        threading.Thread(target=_accept, args=(listener, key, arrivals), daemon=True).start()
        try:
            while missing := [rank for rank in range(1, place.ranks) if not _is_there(job, rank)]:
                try:
                    arrival = arrivals.get(timeout=max(0.0, deadline - time.monotonic()))
                except queue.Empty:
                    raise SetupError(
                        _explain_missing(missing, place, address, port, timeout_seconds, [*strangers])
                    ) from None
                if arrival.hello is None or arrival.connection is None:
                    strangers[arrival.address] = None
                elif (why := _refusal(job, place, arrival.hello)) is not None:
                    _refuse(arrival.connection, why)
                else:
                    job.members[arrival.hello.rank] = _Member(arrival.hello, arrival.connection, arrival.address)
        finally:
            _wake(listener)
    return address


def _is_there(job: Job, rank: int) -> bool:
    return rank in job.members and not job.members[rank].is_lost


def _listen(place: JobPlace, port: int, deadline: float) -> socket.socket:
    """Listen at the address by which the others look for rank 0, and at no other."""
    where = f"rank 0 cannot listen at {place.address}, port {port}"
    while True:
        try:
            family, *_, address = socket.getaddrinfo(place.address, port, type=socket.SOCK_STREAM)[0]
            return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
        except (socket.gaierror, UnicodeError):
            if time.monotonic() >= deadline:
                raise ConfigurationError(
                    f"{where}: the name is not known here: name another --join-address, the same for all ranks"
                ) from None
        except OSError as error:
            remedy = {
                errno.EADDRINUSE: "another program has this port: name another --join-port, the same for all ranks",
                errno.EADDRNOTAVAIL: "it is not on that machine: --join-address must name rank 0's own, for all ranks",
                errno.EACCES: "the port is not for everybody: name a --join-port above 1023, the same for all ranks",
            }
            raise ConfigurationError(f"{where}: {remedy.get(error.errno or 0, error.strerror or error)}") from None
        time.sleep(_RETRY_SECONDS)


def _accept(listener: socket.socket, key: bytes, arrivals: queue.SimpleQueue[_Arrival]) -> None:
    """Let nobody wait for another: each who connects has a thread, in which it says who it is or is silent."""
    with contextlib.suppress(OSError):
        while True:
            connected, address = listener.accept()
            arguments = (connected, str(address[0]), key, arrivals)
            threading.Thread(target=_meet, args=arguments, daemon=True).start()


def _meet(connected: socket.socket, address: str, key: bytes, arrivals: queue.SimpleQueue[_Arrival]) -> None:
    with connected:
        try:
            connection = greet(connected, key, is_rank_0=True)
        except AuthenticationError:
            arrivals.put(_Arrival(address))
            return
        except (EOFError, OSError, WireError):  # a port scanner, or the like
            return
    try:
        arrivals.put(_Arrival(address, receive_hello(connection), connection))
    except WireError as error:
        _refuse(connection, f"rank 0 does not understand this rank ({error}): install one mnist-bench on all machines")
    except (EOFError, OSError):
        connection.close()


def _refusal(job: Job, place: JobPlace, hello: Hello) -> str | None:
    """Return why somebody who knows the key is no rank of this job; None: it is one."""
    if hello.job != place.job:
        return "another job is at rank 0's port: give each job a --join-port of its own"
    if hello.ranks != place.ranks:
        return f"this rank counts {hello.ranks} ranks, and rank 0 {place.ranks}: start all of them by one command"
    if not 1 <= hello.rank < place.ranks:
        return f"rank 0 waits for the ranks 1 to {place.ranks - 1}"
    if _is_there(job, hello.rank):
        return "rank 0 has a rank of this number: start one process for each rank, and each job at its own --join-port"
    return None


def _refuse(connection: Connection, why: str) -> None:
    with contextlib.suppress(OSError), connection:
        send(connection, 0, Kind.LEAVE, msgspec.json.encode(Leave(status=_REFUSED, why=why)))


def _explain_missing(
    missing: Sequence[int], place: JobPlace, own: str, port: int, timeout_seconds: float, strangers: Sequence[str]
) -> str:
    """Return in one line which ranks have not come, and what helps; `own` is where rank 0 waited for them."""
    ranks = ", ".join(map(str, missing[:_MOST_NAMED])) + (", …" if len(missing) > _MOST_NAMED else "")
    what = f"rank{'s' * (len(missing) > 1)} {ranks} of {place.ranks} did not come within {timeout_seconds:g} s"
    keys = f"; another key had somebody at {', '.join(strangers)}" if strangers else ""
    remedy = "start the same command on all machines, and let their firewalls pass this port"
    if is_loopback(own) and not is_loopback(place.address):
        remedy = f"that is {own} here, which no other machine reaches: give --join-address this machine's IP address"
    return f"{what} to {place.address}, port {port}{keys}: {remedy}; --join-timeout lets them be later"


# --- the relays of this machine ---------------------------------------------------------------------------------------


def _serve_relays(listener: socket.socket, members: Mapping[int, _Member]) -> None:
    with contextlib.suppress(OSError):
        while True:
            connected, _ = listener.accept()
            threading.Thread(target=_serve_relay, args=(Connection(connected.detach()), members), daemon=True).start()


def _serve_relay(receiver: Connection, members: Mapping[int, _Member]) -> None:
    with receiver, contextlib.suppress(EOFError, OSError, WireError):
        start = decode(receiver.recv_bytes(MOST_BYTES)[1:], Start)
        members[start.rank].serve(receiver, start)
