"""Ask all hosts at once what they are, have and reach, in workers that import no framework."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from bench.errors import SetupError
from bench.records.result import Dataset, FailureReason
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host, label_of
from bench.worker import process
from bench.worker.environment import worker_variables
from bench.worker.exits import explain_unreached
from bench.worker.interpreters import Interpreters, interpreter_on
from bench.worker.process import Cancellation, Interpreter, WorkerFailure, WorkerProcess
from bench.worker.protocol.base import Message
from bench.worker.protocol.hosts import (
    Capture,
    Captured,
    Echo,
    Echoed,
    HostFacts,
    HostRequest,
    Interface,
    LinkMeasured,
    Listen,
    Listening,
    MeasureLink,
    Reach,
    Reached,
    Target,
)

#: A host that has not said by then what it is, hangs. Python and a few small libraries come from its disk meanwhile.
ANSWER_SECONDS: Final = 30.0
#: Of what follows: each command takes a few seconds at most.
_COMMANDS_SECONDS: Final = 30.0
_ECHOES: Final = 21
_LINK_ROUND_TRIPS: Final = 101
_STREAM_SECONDS: Final = 0.3
#: With its first stream and round trips, on a slow link.
_LINK_SECONDS: Final = 5.0
ReplyT = TypeVar("ReplyT", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonAnswer:
    """What one Python of a host said."""

    python: str
    #: Those that are to run on it.
    frameworks: tuple[Framework, ...]
    facts: HostFacts | None = None
    #: Why there are none, and what helps.
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAnswer:
    """All that was found out about a host."""

    #: "n0", "n1", … in the order of the hosts file.
    label: str
    host: Host
    #: One at least. The first one's worker speaks for the host.
    pythons: tuple[PythonAnswer, ...]
    #: Median, through the pipe that commands take. None: no answer.
    round_trip_seconds: float | None = None
    #: By how much its clock is ahead of this machine's, half a round trip more or less.
    clock_offset_seconds: float | None = None
    #: Why other hosts cannot be reached from it, by their labels.
    unreached: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def facts(self) -> HostFacts | None:
        return self.pythons[0].facts

    @property
    def interface(self) -> Interface | None:
        """The network interface that training would use; None where none has the host's address."""
        found = () if self.facts is None else self.facts.interfaces
        return next((each for each in found if self.facts is not None and each.name == self.facts.interface), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The network from one host to another, by plain TCP."""

    sender: str
    receiver: str
    #: None: it broke, for the reason in `fault`.
    round_trip_seconds: float | None = None
    bytes_per_second: float | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """The answers of all hosts, and the links that were measured."""

    hosts: tuple[HostAnswer, ...]
    links: tuple[Link, ...] = ()
    #: What a result file says of each host, if it was asked; None: no answer.
    captured: tuple[Captured | None, ...] = ()


@dataclass(slots=True, eq=False)
class _Asked:
    """A Python of a host while it is asked."""

    place: int
    interpreter: Interpreter
    frameworks: list[Framework]
    #: None: it could not be started, or is lost.
    worker: WorkerProcess | None = None
    facts: HostFacts | None = None
    fault: str | None = None

    def ask(self, kind: type[ReplyT]) -> ReplyT | None:
        """Return the worker's next reply; None, and the fault, where it has none."""
        if self.worker is None:
            return None
        try:
            reply = self.worker.receive(kind)
        except SetupError as error:
            self.fail(WorkerFailure(FailureReason.CRASHED, f"its mnist-bench is another one: {error}"))
            return None
        if isinstance(reply, WorkerFailure):
            self.fail(reply)
            return None
        return reply

    def fail(self, failure: WorkerFailure) -> None:
        self.worker = None
        launch, python = self.interpreter.launch, self.interpreter.python
        self.fault = explain_unreached(launch, python, failure.reason, failure.detail, failure.log)

    def send(self, message: Message) -> None:
        if self.worker is not None:
            self.worker.send(message)


def ask_hosts(
    hosts: Sequence[Host],
    here: Interpreters,
    frameworks: Sequence[Framework],
    dataset: Dataset,
    directory: str,
    stop: Cancellation,
    *,
    with_links: bool = False,
    for_file: bool = False,
    answer_seconds: float | None = None,
) -> Preflight:
    """Ask all hosts at the same time; never raise for what one of them does.

    `directory` holds the data on this machine. `with_links` measures the network from each host to each other one,
    `for_file` from each to the first, and asks what a result file says of a host.
    """
    patience = ANSWER_SECONDS if answer_seconds is None else answer_seconds
    pairs = list(itertools.permutations(range(len(hosts)), 2)) if with_links else []
    if for_file:
        pairs = [(place, 0) for place in range(1, len(hosts))]
    life_seconds = patience + _COMMANDS_SECONDS + _LINK_SECONDS * len(pairs)
    asked = [each for place, host in enumerate(hosts) for each in _pythons_of(place, host, here, frameworks)]
    with contextlib.ExitStack() as stack:
        for each in asked:
            request = _request(hosts[each.place], each, dataset, directory)
            with _start_fault(each):
                worker = process.start(each.interpreter, worker_variables(1), life_seconds, stop)
                each.worker = stack.enter_context(worker)
                each.send(request)
        _receive_facts(asked, patience)
        speakers = [next(each for each in asked if each.place == place) for place in range(len(hosts))]
        echoes = [_echo(each) for each in speakers]
        targets = _listen(hosts, speakers)
        unreached = _reach(speakers, targets)
        captured = _capture(speakers) if for_file else ()
        links = tuple(_measure_link(speakers, targets, sender, receiver) for sender, receiver in pairs)
    return Preflight(
        hosts=tuple(
            HostAnswer(
                label=label_of(place),
                host=host,
                pythons=tuple(
                    PythonAnswer(
                        python=each.interpreter.python,
                        frameworks=tuple(each.frameworks),
                        facts=each.facts,
                        fault=each.fault,
                    )
                    for each in asked
                    if each.place == place
                ),
                round_trip_seconds=echoes[place][0],
                clock_offset_seconds=echoes[place][1],
                unreached=unreached[place],
            )
            for place, host in enumerate(hosts)
        ),
        links=links,
        captured=captured,
    )


def _pythons_of(place: int, host: Host, here: Interpreters, frameworks: Sequence[Framework]) -> list[_Asked]:
    asked: dict[Interpreter, _Asked] = {}
    for framework in frameworks:
        interpreter = interpreter_on(host, framework, here)
        asked.setdefault(interpreter, _Asked(place, interpreter, [])).frameworks.append(framework)
    return [*asked.values()]


def _request(host: Host, asked: _Asked, dataset: Dataset, directory: str) -> HostRequest:
    is_here = asked.interpreter.launch is None
    return HostRequest(
        frameworks=tuple(asked.frameworks),
        address=host.address,
        interface=host.interface,
        dataset=dataset,
        data_directory=host.data_directory or (directory if is_here else None),
    )


@contextlib.contextmanager
def _start_fault(asked: _Asked) -> Iterator[None]:
    """Keep why a worker's command cannot be started at all, such as a missing program in a `launch`."""
    try:
        yield
    except OSError as error:
        asked.fail(WorkerFailure(FailureReason.CRASHED, f"its command could not be started: {error}"))


def _receive_facts(asked: Sequence[_Asked], seconds: float) -> None:
    """Wait for all first answers together; who has not answered in time is killed."""
    waited_for = [(each, each.worker) for each in asked if each.worker is not None]
    late: list[_Asked] = []

    def end() -> None:
        for each, worker in waited_for:
            if each.facts is None and each.fault is None:
                late.append(each)
                worker.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        for each, _ in waited_for:
            each.facts = each.ask(HostFacts)
            if each in late:
                each.fail(WorkerFailure(FailureReason.TIMEOUT, f"no answer within {seconds:g} s"))
    finally:
        timer.cancel()


def _echo(asked: _Asked) -> tuple[float | None, float | None]:
    """Return the median round trip, and how far the host's clock is ahead, by the fastest one; None without answer."""
    trips: list[tuple[float, float]] = []
    for _ in range(_ECHOES):
        wall, begin = time.time(), time.perf_counter()
        asked.send(Echo())
        reply = asked.ask(Echoed)
        if reply is None:
            return None, None
        seconds = time.perf_counter() - begin
        trips.append((seconds, reply.wall_clock_microseconds / 1e6 - (wall + seconds / 2)))
    return statistics.median(seconds for seconds, _ in trips), min(trips)[1]


def _capture(speakers: Sequence[_Asked]) -> tuple[Captured | None, ...]:
    for each in speakers:
        each.send(Capture())
    return tuple(each.ask(Captured) for each in speakers)


def _listen(hosts: Sequence[Host], speakers: Sequence[_Asked]) -> list[Target | None]:
    """Let each host wait for the others at its own address; None for one that has none, or does not answer."""
    targets: list[Target | None] = []
    for host, each in zip(hosts, speakers, strict=True):
        target = None
        if each.facts is not None and each.facts.ip_address is not None:
            each.send(Listen(each.facts.ip_address))
            if (reply := each.ask(Listening)) is not None:
                target = Target(host.address, reply.port, reply.token)
        targets.append(target)
    return targets


def _reach(speakers: Sequence[_Asked], targets: Sequence[Target | None]) -> list[dict[str, str]]:
    """Let every host try to reach every other one, all at the same time."""
    others = [
        {place: target for place, target in enumerate(targets) if target is not None and place != each.place}
        for each in speakers
    ]
    for each, reachable in zip(speakers, others, strict=True):
        each.send(Reach(tuple(reachable.values())))
    unreached = []
    for each, reachable in zip(speakers, others, strict=True):
        reply = each.ask(Reached)
        faults = () if reply is None else zip(reachable, reply.faults, strict=True)
        unreached.append({label_of(place): fault for place, fault in faults if fault is not None})
    return unreached


def _measure_link(speakers: Sequence[_Asked], targets: Sequence[Target | None], sender: int, receiver: int) -> Link:
    link, target = Link(sender=label_of(sender), receiver=label_of(receiver)), targets[receiver]
    worker = speakers[sender].worker
    if target is None or worker is None:
        return dataclasses.replace(link, fault=f"{link.sender if worker is None else link.receiver} is not ready")
    worker.send(MeasureLink(target, _LINK_ROUND_TRIPS, _STREAM_SECONDS))
    reply = worker.receive(LinkMeasured)
    if isinstance(reply, WorkerFailure):
        return dataclasses.replace(link, fault=reply.detail)
    return dataclasses.replace(
        link, round_trip_seconds=reply.round_trip_seconds, bytes_per_second=reply.bytes_per_second
    )
