"""A cluster: ranks that train together, each a live worker, as one `session.Session`.

Whoever measures a session need not know how many processes it has. Where one of them fails, all have failed: the
failure is that of the process which was the cause, and names it; the others are killed at once.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from typing import Any, Final, NoReturn, TypeVar

import msgspec
import psutil

from bench.records.result import FailureReason, RankWindow
from bench.scenarios.axes import Exchange
from bench.scenarios.scenario import Scenario
from bench.worker import process
from bench.worker.environment import worker_variables
from bench.worker.process import Cancellation, OnEvent, WorkerFailure, WorkerProcess
from bench.worker.protocol.base import Message
from bench.worker.protocol.commands import Command, Evaluate, ExchangeArrays, RunWindow, SetUp
from bench.worker.protocol.replies import (
    ArraysExchanged,
    Evaluated,
    Event,
    PortChosen,
    SessionReady,
    SetUpDone,
    WindowDone,
)
from bench.worker.protocol.requests import RankPlace, ServeRequest, ServerRole, SessionRequest
from bench.worker.seats import Seat
from bench.worker.session import SessionError

#: After a failure, the seconds in which others fail by themselves: the one that died says more than those it left.
_GRACE_SECONDS: Final = 1.0
#: Seconds in which a process gives a sign of life, also on a loaded machine and through a slow network.
_SIGN_SECONDS: Final = 3.0
#: Seconds without any answer after which all that work are asked for a sign of life; one without any twice is lost.
_LOOK_SECONDS: Final = 3.0
#: Seconds by which the processes may outlive their session: it is the session that says which of them ended it.
_LAST_WORDS_SECONDS: Final = 10.0
ReplyT = TypeVar("ReplyT", bound=Message)


@contextlib.contextmanager
def start(
    seats: Sequence[Seat],
    request: SessionRequest,
    *,
    scenario: Scenario,
    life_seconds: float,
    command_seconds: float | None = None,
    stop: Cancellation,
) -> Iterator[ClusterSession]:
    """Start the ranks of a scenario on their seats, and its scheduler and servers, each in a fresh process.

    As `session.start`: all are killed after `life_seconds`, or when a command takes too long; nothing is waited for;
    `SessionError` says that one cannot be started.
    """
    with contextlib.ExitStack() as stack:
        members: list[_Member] = []
        for name, seat, message in parts_of(seats, request, scenario):
            threads = 1 if isinstance(message, ServeRequest) else message.omp_num_threads
            host = seat.interpreter.host
            full_name = name if host is None else f"{name} on {host}"
            try:
                started = process.start(
                    seat.interpreter,
                    worker_variables(threads, request.engine, request.precision),
                    life_seconds + _LAST_WORDS_SECONDS,
                    stop,
                )
                worker = stack.enter_context(started)
            except OSError as error:
                detail = f"{full_name} could not be run: {error}"
                raise SessionError(WorkerFailure(FailureReason.CRASHED, detail, host=host)) from error
            members.append(_Member(full_name, worker, message))
        with ThreadPoolExecutor(len(members)) as threads_of_members:
            cluster = ClusterSession(members, threads_of_members, life_seconds, command_seconds)
            try:
                yield cluster
            finally:
                cluster.kill()  # the threads read until then


def parts_of(
    seats: Sequence[Seat], request: SessionRequest, scenario: Scenario
) -> Iterator[tuple[str, Seat, ServeRequest | SessionRequest]]:
    """Yield the name, the seat and the first message of each process.

    The first one is that which the others wait for: it chooses the port. MXNet's scheduler is beside rank 0, and its
    servers are spread over the machines, one on each first.
    """

    def place(seat: Seat, rank: int = 0) -> RankPlace:
        return RankPlace(
            rank=rank,
            ranks=scenario.ranks,
            exchange=scenario.exchange,
            servers=scenario.servers,
            address=seats[0].address,
            port=None,
            interface=seat.interface,
            own_address=seat.address,
        )

    if scenario.servers:
        yield "the scheduler", seats[0], ServeRequest(ServerRole.SCHEDULER, place(seats[0]))
    for server in range(scenario.servers):
        seat = seats[server % scenario.hosts]
        yield f"server {server}", seat, ServeRequest(ServerRole.SERVER, place(seat))
    for rank, seat in enumerate(seats):
        own = msgspec.structs.replace(seat.placed(request), place=place(seat, rank))
        yield f"rank {rank} of {scenario.ranks}", seat, own


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    """A process of a cluster."""

    #: As a failure names it.
    name: str
    worker: WorkerProcess
    #: What it is to be.
    message: ServeRequest | SessionRequest

    def begin(self, port: int | None) -> None:
        """Tell it what it is, and where all meet; None: it is to choose, or they never do."""
        place = self.message.place and msgspec.structs.replace(self.message.place, port=port)
        self.worker.send(msgspec.structs.replace(self.message, place=place))

    def receive(self, kind: type[ReplyT], on_event: OnEvent = lambda _event: None) -> ReplyT:
        """Return the next reply. Raise `_LostError` if the worker fails, `SetupError` as every worker would."""
        reply = self.worker.receive(kind, on_event)
        if isinstance(reply, WorkerFailure):
            raise _LostError(self, reply, has_ended=self.worker.process.poll() is not None)
        return reply


class _LostError(Exception):
    """A process of a cluster failed."""

    def __init__(self, member: _Member, failure: WorkerFailure, *, has_ended: bool) -> None:
        super().__init__(failure.detail)
        self.member, self.failure, self._has_ended = member, failure, has_ended

    @property
    def is_consequence(self) -> bool:
        """Whether the process only says that it lost another one, or its framework ended it for that."""
        return self.failure.reason is FailureReason.RANK_LOST

    @property
    def order(self) -> tuple[bool, bool]:
        """The cause comes first: what died, then what failed by itself, then what lost another process."""
        return (self.is_consequence, not self._has_ended)


class ClusterSession:
    """All ranks do what one session is told to, at the same time."""

    def __init__(
        self,
        members: Sequence[_Member],
        threads: ThreadPoolExecutor,
        life_seconds: float,
        command_seconds: float | None,
    ) -> None:
        self._members = members
        self._ranks = [member for member in members if isinstance(member.message, SessionRequest)]
        self._servers = [member for member in members if isinstance(member.message, ServeRequest)]
        self._threads, self._command_seconds = threads, command_seconds
        self._life_seconds, self._life_ends = life_seconds, Future[None]()
        self._timer = threading.Timer(life_seconds, self._life_ends.set_result, [None])
        self._timer.daemon = True
        self._timer.start()
        first, *others = members
        place = first.message.place
        meets = place is not None and place.exchange is not Exchange.NONE
        for member in [first] if meets else members:
            member.begin(port=None)

        def on_event(event: Event) -> None:
            if isinstance(event, PortChosen):
                for other in others:
                    other.begin(event.port)

        self._helpers = [threads.submit(server.receive, Message, on_event) for server in self._servers]
        self._starting = {threads.submit(rank.receive, SessionReady, on_event): rank for rank in self._ranks}
        self._scenario: Scenario
        self._weights: str | None = None

    def wait_until_ready(self) -> SessionReady:
        ready = self._await(self._starting, listens=False)  # an import may keep an interpreter to itself for long
        return SessionReady(ready[0].started_at, max(each.startup_seconds for each in ready))

    def set_up(self, scenario: Scenario, samples: int) -> SetUpDone:
        if samples < scenario.ranks:
            self._fail(FailureReason.CRASHED, f"{samples} images are not one for each of {scenario.ranks} ranks")
        done = self._tell(SetUp(scenario, samples), SetUpDone)
        self._scenario = scenario
        self._weights = self._agreed([each.weights_digest for each in done], "after the set-up")
        return SetUpDone(
            max(each.first_step_seconds for each in done),
            max(each.warm_up_seconds for each in done),
            max(each.epoch_seconds for each in done),
        )

    def run_window(self, epochs: int, lead_in: int = 0) -> WindowDone:
        windows = self._tell(RunWindow(epochs, lead_in), WindowDone)
        before, digests = self._weights, [window.weights_digest for window in windows]
        self._weights = self._agreed(digests, "after a window")
        if before in digests:
            self._fail(FailureReason.RANKS_DIFFER, "a window left the weights as they were: nothing was learnt")
        return _together(windows, [rank.worker.interpreter.host for rank in self._ranks])

    def evaluate(self) -> Evaluated:
        """Each rank judges its own weights, which are the same where all gradients are exchanged; the worst counts."""
        found = self._tell(Evaluate(), Evaluated)
        return Evaluated(
            test_accuracy=min(each.test_accuracy for each in found),
            seconds=max(each.seconds for each in found),
            peak_rss_bytes=sum(each.peak_rss_bytes for each in found),
            device_memory_bytes=_sum(each.device_memory_bytes for each in found),
            training_peak_rss_bytes=_sum(each.training_peak_rss_bytes for each in found),
            device_peak_bytes=_sum(each.device_peak_bytes for each in found),
        )

    def prepare_prediction(self, batch_sizes: Sequence[int]) -> NoReturn:  # noqa: ARG002  # as a session has it
        self._fail(FailureReason.CRASHED, "ranks only train: prediction is measured in one process")

    def run_queries(self, queries: int) -> NoReturn:
        self.prepare_prediction((queries,))

    def run_offline(self, batch_size: int, samples: int) -> NoReturn:  # noqa: ARG002  # as a session has it
        self.prepare_prediction((batch_size,))

    def exchange(self, device: str, size_bytes: int, repetitions: int) -> list[float]:
        """Add up arrays over all ranks; return the seconds of the slowest rank for each repetition."""
        done = self._tell(ExchangeArrays(device, size_bytes, repetitions), ArraysExchanged)
        return [max(seconds) for seconds in zip(*(each.seconds for each in done), strict=True)]

    def kill(self) -> None:
        """Kill every process."""
        self._timer.cancel()
        for member in self._members:
            member.worker.kill()

    def _agreed(self, digests: Sequence[str | None], when: str) -> str | None:
        """Return the first rank's weights; fail where ranks must have the same ones and have not."""
        others = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
        if others and self._scenario.exchange.is_synchronous:
            ranks = f"rank{'s' * (len(others) > 1)} {', '.join(others)}"
            self._fail(
                FailureReason.RANKS_DIFFER,
                f"{when} {ranks} had other weights than rank 0, which {self._scenario.exchange} must keep equal",
            )
        return digests[0]

    def _tell(self, command: Command, kind: type[ReplyT]) -> list[ReplyT]:
        for rank in self._ranks:
            rank.worker.send(command)
        return self._await({self._threads.submit(rank.receive, kind): rank for rank in self._ranks})

    def _await(self, replies: Mapping[Future[ReplyT], _Member], *, listens: bool = True) -> list[ReplyT]:
        """Return the reply of each rank. Raise `SessionError` for the first process that fails, and kill the others.

        Where they listen, one that was stopped is told by its silence, long before those that wait for it give up.
        """
        awaited: set[Future[Any]] = {*replies, *self._helpers, self._life_ends}
        deadline = time.monotonic() + (self._command_seconds or math.inf)
        mute: Sequence[_Member] = ()
        while True:
            waiting = [member for each, member in replies.items() if not each.done()]
            seconds = deadline - time.monotonic()
            if any(each.done() and each.exception() is not None for each in awaited):
                self._explain(awaited, replies)
            if not waiting:
                return [each.result() for each in replies]
            if self._life_ends.done():
                self._fail(FailureReason.TIMEOUT, f"no result within {self._life_seconds:g} s", self._culprits(waiting))
            if seconds <= 0:
                self._fail(
                    FailureReason.TIMEOUT, f"no answer within {self._command_seconds:g} s", self._culprits(waiting)
                )
            pending = {each for each in awaited if not each.done()}
            concurrent.futures.wait(pending, min(_LOOK_SECONDS, seconds), FIRST_COMPLETED)
            if listens and seconds > _LOOK_SECONDS and not any(each.done() for each in pending):
                before, mute = mute, _mute([*waiting, *self._servers])
                silent = [member for member in mute if member in before and not any(each.done() for each in pending)]
                if 0 < len(silent) < len(self._members):  # where nobody is heard it may be this machine that was asleep
                    detail = "no sign of life: it was stopped, or its machine cannot be reached"
                    self._fail(FailureReason.TIMEOUT, detail, silent)

    def _explain(self, awaited: set[Future[Any]], replies: Mapping[Future[ReplyT], _Member]) -> None:
        """Raise `SessionError` for the process that is the cause of a failure."""
        concurrent.futures.wait(awaited - {self._life_ends}, _GRACE_SECONDS)
        silent = [member for each, member in replies.items() if not each.done()]
        errors = [error for each in awaited if each.done() and (error := each.exception()) is not None]
        lost = sorted((error for error in errors if isinstance(error, _LostError)), key=lambda error: error.order)
        for error in errors:
            if not isinstance(error, _LostError):
                self.kill()
                raise error
        first = lost[0]
        if first.is_consequence and silent:
            detail = f"no answer; {first.member.name} said: {first.failure.detail}"
            self._fail(FailureReason.TIMEOUT, detail, self._culprits(silent))
        self.kill()
        failure = first.failure
        raise SessionError(dataclasses.replace(failure, detail=f"{first.member.name}: {failure.detail}"))

    def _culprits(self, waiting: Sequence[_Member]) -> Sequence[_Member]:
        """Return those of the ranks without an answer, or of the servers, that are stopped or mute; else all ranks."""
        asked = [*waiting, *self._servers]
        culprits = [member for member in asked if _is_stopped(member.worker)] or _mute(asked)
        return culprits if 0 < len(culprits) < len(asked) else waiting

    def _fail(self, reason: FailureReason, detail: str, blamed: Sequence[_Member] = ()) -> NoReturn:
        """Kill all and raise `SessionError`, which names the members to blame."""
        if blamed:
            detail = f"{', '.join(member.name for member in blamed)}: {detail}"
        self.kill()
        hosts = {member.worker.interpreter.host for member in blamed}
        host = hosts.pop() if len(hosts) == 1 and len(blamed) < len(self._ranks) else None
        raise SessionError(WorkerFailure(reason, detail, blamed[0].worker.log() if blamed else "", host))


def _is_stopped(worker: WorkerProcess) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(worker.process.pid).status() == psutil.STATUS_STOPPED
    return False


def _mute(members: Sequence[_Member]) -> list[_Member]:
    """Return those that give no sign of life: a process that waits for others gives one."""
    for member in members:
        member.worker.heard.clear()
        member.worker.beat()
    mute: list[_Member] = []
    for member in members:
        if not member.worker.heard.wait(0 if mute else _SIGN_SECONDS):  # beside a mute one the others had their time
            mute.append(member)
    return mute


def _sum(numbers: Iterable[int | None]) -> int | None:
    """Return the sum of what is known; None where nothing is."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _together(windows: Sequence[WindowDone], hosts: Sequence[str | None]) -> WindowDone:
    """Return the window of all ranks, each on one of these machines: it took as long as the slowest of them.

    Ranks on one machine read the same counters of energy, of which one reading counts.
    """
    energy = {
        (host, reading.source, reading.domain): msgspec.structs.replace(reading, host=host)
        for window, host in zip(windows, hosts, strict=True)
        for reading in window.energy
    }
    samples = sum(window.samples for window in windows)
    return WindowDone(
        samples=samples,
        seconds=max(window.seconds for window in windows),
        cpu_seconds=sum(window.cpu_seconds for window in windows),
        involuntary_context_switches=sum(window.involuntary_context_switches for window in windows),
        train_accuracy=min(1.0, sum(window.train_accuracy * window.samples for window in windows) / samples),
        last_batch_loss=sum(window.last_batch_loss for window in windows),
        ranks=tuple(
            RankWindow(
                samples=window.samples,
                seconds=window.seconds,
                cpu_seconds=window.cpu_seconds,
                involuntary_context_switches=window.involuntary_context_switches,
            )
            for window in windows
        ),
        energy=tuple(energy.values()),
    )
