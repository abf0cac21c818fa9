"""A cluster: ranks that train together, each a live worker, as one `session.Session`.

Whoever measures a session need not know how many processes it has. Where one of them fails, all have failed: the
failure is that of the process which was the cause, and names it; the others are killed at once.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, NoReturn, TypeVar

import msgspec
import psutil

from bench.records.result import FailureReason, RankWindow
from bench.scenarios.scenario import Scenario
from bench.worker import process
from bench.worker.environment import worker_variables
from bench.worker.process import Cancellation, Interpreter, WorkerFailure, WorkerProcess
from bench.worker.protocol import (
    ArraysExchanged,
    Command,
    Evaluate,
    Evaluated,
    ExchangeArrays,
    Message,
    RankPlace,
    RunWindow,
    ServeRequest,
    ServerRole,
    SessionReady,
    SessionRequest,
    SetUp,
    SetUpDone,
    WindowDone,
)
from bench.worker.session import SessionError

#: Where the ranks of one machine meet: nobody on another machine can reach it.
_LOOPBACK: Final = "127.0.0.1"
#: After a failure, the seconds in which others fail by themselves: the one that died says more than those it left.
_GRACE_SECONDS: Final = 1.0
ReplyT = TypeVar("ReplyT", bound=Message)


@contextlib.contextmanager
def start(
    interpreter: Interpreter,
    request: SessionRequest,
    *,
    scenario: Scenario,
    life_seconds: float,
    command_seconds: float | None = None,
    stop: Cancellation,
) -> Iterator[ClusterSession]:
    """Start the ranks of a scenario on this machine, and its scheduler and servers, each in a fresh process.

    As `session.start`: all are killed after `life_seconds`, or when a command takes too long; nothing is waited for;
    `SessionError` says that one cannot be started.
    """
    place = RankPlace(
        rank=0,
        ranks=scenario.ranks,
        exchange=scenario.exchange,
        servers=scenario.servers,
        address=_LOOPBACK,
        port=_free_port(),
        interface=_interface_of(_LOOPBACK),
    )
    roles = [ServerRole.SCHEDULER, *[ServerRole.SERVER] * scenario.servers] if scenario.servers else []
    with contextlib.ExitStack() as stack:

        def member(name: str, threads: int, message: ServeRequest | SessionRequest) -> _Member:
            variables = worker_variables(threads, request.engine)
            try:
                worker = stack.enter_context(process.start(interpreter, variables, life_seconds, stop))
            except OSError as error:
                detail = f"{name} could not be run: {error}"
                raise SessionError(WorkerFailure(FailureReason.CRASHED, detail)) from error
            worker.send(message)
            return _Member(name, worker)

        helpers = [member(_name_of(role, index), 1, ServeRequest(role, place)) for index, role in enumerate(roles)]
        ranks = []
        for rank in range(scenario.ranks):
            own = msgspec.structs.replace(place, rank=rank)
            name = f"rank {rank} of {scenario.ranks}"
            ranks.append(member(name, request.omp_num_threads, msgspec.structs.replace(request, place=own)))
        with ThreadPoolExecutor(len(helpers) + len(ranks)) as threads:
            cluster = ClusterSession(ranks, helpers, threads, command_seconds)
            try:
                yield cluster
            finally:
                cluster.kill()  # the threads read until then


def _name_of(role: ServerRole, index: int) -> str:
    return f"the {role}" if role is ServerRole.SCHEDULER else f"{role} {index - 1}"


def _free_port() -> int:
    """Return a port of this machine that nobody uses now."""
    with socket.socket() as free:
        free.bind((_LOOPBACK, 0))
        return int(free.getsockname()[1])


def _interface_of(address: str) -> str | None:
    """Return the network interface of this machine that has an address."""
    for name, entries in psutil.net_if_addrs().items():
        if any(entry.address == address for entry in entries):
            return name
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    """A process of a cluster."""

    #: As a failure names it.
    name: str
    worker: WorkerProcess

    def receive(self, kind: type[ReplyT]) -> ReplyT:
        """Return the next reply. Raise `_LostError` if the worker fails, `SetupError` as every worker would."""
        reply = self.worker.receive(kind)
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
        ranks: Sequence[_Member],
        helpers: Sequence[_Member],
        threads: ThreadPoolExecutor,
        command_seconds: float | None,
    ) -> None:
        self._ranks, self._members = ranks, (*helpers, *ranks)
        self._threads, self._command_seconds = threads, command_seconds
        self._helpers = [threads.submit(helper.receive, Message) for helper in helpers]
        self._scenario: Scenario
        self._weights: str | None = None

    def wait_until_ready(self) -> SessionReady:
        ready = self._receive(SessionReady)
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

    def run_window(self, epochs: int) -> WindowDone:
        windows = self._tell(RunWindow(epochs), WindowDone)
        before, digests = self._weights, [window.weights_digest for window in windows]
        self._weights = self._agreed(digests, "after a window")
        if before in digests:
            self._fail(FailureReason.RANKS_DIFFER, "a window left the weights as they were: nothing was learnt")
        return _together(windows)

    def evaluate(self) -> Evaluated:
        """Each rank judges its own weights, which are the same where all gradients are exchanged; the worst counts."""
        found = self._tell(Evaluate(), Evaluated)
        memory = [each.device_memory_bytes for each in found if each.device_memory_bytes is not None]
        return Evaluated(
            test_accuracy=min(each.test_accuracy for each in found),
            seconds=max(each.seconds for each in found),
            peak_rss_bytes=sum(each.peak_rss_bytes for each in found),
            device_memory_bytes=sum(memory) if memory else None,
        )

    def exchange(self, device: str, size_bytes: int, repetitions: int) -> list[float]:
        """Add up arrays over all ranks; return the seconds of the slowest rank for each repetition."""
        done = self._tell(ExchangeArrays(device, size_bytes, repetitions), ArraysExchanged)
        return [max(seconds) for seconds in zip(*(each.seconds for each in done), strict=True)]

    def kill(self) -> None:
        """Kill every process."""
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
        return self._receive(kind)

    def _receive(self, kind: type[ReplyT]) -> list[ReplyT]:
        """Return the reply of each rank. Raise `SessionError` for the first process that fails, and kill the others."""
        replies = {self._threads.submit(rank.receive, kind): rank for rank in self._ranks}
        awaited: set[Future[Any]] = {*replies, *self._helpers}
        waiting: set[Future[Any]] = {*replies}
        try:
            for done in concurrent.futures.as_completed(awaited, self._command_seconds):
                waiting.discard(done)
                if done.exception() is not None or not waiting:
                    break
        except concurrent.futures.TimeoutError:
            silent = [replies[each] for each in replies if not each.done()]
            self._fail(FailureReason.TIMEOUT, f"no answer within {self._command_seconds:g} s", silent)
        if any(each.done() and each.exception() is not None for each in awaited):
            self._explain(awaited, replies)
        return [each.result() for each in replies]

    def _explain(self, awaited: set[Future[Any]], replies: Mapping[Future[ReplyT], _Member]) -> None:
        """Raise `SessionError` for the process that is the cause of a failure."""
        concurrent.futures.wait(awaited, _GRACE_SECONDS)
        silent = [member for each, member in replies.items() if not each.done()]
        errors = [error for each in awaited if each.done() and (error := each.exception()) is not None]
        lost = sorted((error for error in errors if isinstance(error, _LostError)), key=lambda error: error.order)
        for error in errors:
            if not isinstance(error, _LostError):
                self.kill()
                raise error
        first = lost[0]
        if first.is_consequence and silent:
            self._fail(FailureReason.TIMEOUT, f"no answer; {first.member.name} said: {first.failure.detail}", silent)
        self.kill()
        failure = first.failure
        detail = f"{first.member.name}: {failure.detail}"
        raise SessionError(WorkerFailure(failure.reason, detail, failure.log))

    def _fail(self, reason: FailureReason, detail: str, members: Sequence[_Member] = ()) -> NoReturn:
        """Kill all and raise `SessionError`; of several members, those that are stopped are to blame for the others."""
        blamed = [member for member in members if _is_stopped(member.worker)] or members
        if blamed:
            detail = f"{', '.join(member.name for member in blamed)}: {detail}"
        self.kill()
        raise SessionError(WorkerFailure(reason, detail, blamed[0].worker.log() if blamed else ""))


def _is_stopped(worker: WorkerProcess) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(worker.process.pid).status() == psutil.STATUS_STOPPED
    return False


def _together(windows: Sequence[WindowDone]) -> WindowDone:
    """Return the window of all ranks: it took as long as the slowest of them."""
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
    )
