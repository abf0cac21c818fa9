"""Make the runs of a plan: each in a fresh process, with a time-out, and saved as it ends.

The tests of the schedule use a fake `Executor`.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from bench.errors import SetupError
from bench.records.environment import Software
from bench.records.result import Ceiling, Epoch, Failure, FailureReason, Library, ResultSet, Run, RunKey, key
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import PlannedRun
from bench.worker import process
from bench.worker.environment import worker_variables
from bench.worker.process import Cancellation, Interpreter, Interpreters, WorkerFailure
from bench.worker.protocol import CeilingReply, CeilingRequest, EpochDone, Event, RunReply, RunRequest
from mnist_core.devices import Device, DeviceKind, Probe, parse_devices

#: Enough for the start-up and a dozen sizes of a few seconds at most.
CEILING_TIMEOUT_SECONDS = 180.0
OnEpoch: TypeAlias = Callable[[int, Epoch], None]


class Executor(Protocol):
    """Makes one run; what goes wrong in it is returned as a `Failure`."""

    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        """Raise `SetupError` if the cause affects every run, such as a missing framework."""


class CeilingExecutor(Protocol):
    """Measures one ceiling; what goes wrong in it is returned as a `WorkerFailure`."""

    @property
    def stop(self) -> Cancellation: ...

    def measure_ceiling(self, request: CeilingRequest) -> Ceiling | WorkerFailure:
        """Measure a ceiling. Raises `SetupError` if the library is not installed."""


class Observer(Protocol):
    """Is told what happens as it happens."""

    def started(self, planned: PlannedRun, position: int, total: int) -> None: ...
    def epoch(self, planned: PlannedRun, index: int, epoch: Epoch) -> None: ...
    def finished(self, planned: PlannedRun, outcome: Run | Failure) -> None: ...


def schedule(plan: Sequence[PlannedRun], seed: int) -> tuple[PlannedRun, ...]:
    """Interleave the repeats: round r holds repeat r of every scenario, in a random order of its own.

    The machine drifts, so that neighbours in time look alike; the repeats of a scenario must not be neighbours.
    """
    generator = random.Random(seed)  # noqa: S311  # an order, not a secret
    rounds: dict[int, list[PlannedRun]] = {}
    for planned in plan:
        rounds.setdefault(planned.repeat, []).append(planned)
    ordered: list[PlannedRun] = []
    for repeat in sorted(rounds):
        generator.shuffle(rounds[repeat])
        ordered += rounds[repeat]
    return tuple(ordered)


def remaining(result_set: ResultSet) -> tuple[PlannedRun, ...]:
    """Return the runs that `--resume` makes: those not tried yet, or interrupted. Other failures stand."""
    settled: set[RunKey] = {key(run) for run in result_set.runs}
    settled |= {key(failure) for failure in result_set.failures if failure.reason is not FailureReason.INTERRUPTED}
    return tuple(planned for planned in result_set.plan if key(planned) not in settled)


def run_plan(
    result_set: ResultSet,
    *,
    executor: Executor,
    data_directory: Path,
    usable_cores: int,
    save: Callable[[ResultSet], None],
    observer: Observer,
    probe: Callable[[Framework, Device], Probe],
    stop: Cancellation,
    ceilings: Callable[[], Iterable[Ceiling]] = tuple,
) -> ResultSet:
    """Make every remaining run and save after each one, since an hour of measurements must survive what comes next.

    `ceilings` measures some before the first run, between the rounds and after the last. If asked to stop, it saves the
    run in progress, as interrupted if it had no result yet, and returns. Raises what `executor` and `save` raise.
    """
    todo = schedule(remaining(result_set), result_set.seed)
    dropped = {key(planned) for planned in todo}
    result_set = msgspec.structs.replace(
        result_set, failures=tuple(failure for failure in result_set.failures if key(failure) not in dropped)
    )
    save(result_set)
    probes: dict[tuple[Framework, Device], Probe] = {}
    for position, planned in enumerate(todo, start=1):
        if position == 1 or planned.repeat != todo[position - 2].repeat:
            result_set = _with_ceilings(result_set, ceilings, save)
            if stop.requested:
                break
        observer.started(planned, position, len(todo))
        outcome = _device_failure(planned, probes, probe) or executor.execute(
            RunRequest(
                scenario=planned.scenario,
                recipe=planned.recipe,
                repeat=planned.repeat,
                data_directory=str(data_directory),
                dataset=result_set.dataset,
                omp_num_threads=planned.scenario.threads_per_context(usable_cores),
            ),
            planned.timeout_seconds,
            lambda index, epoch, planned=planned: observer.epoch(planned, index, epoch),  # type: ignore[misc]
        )
        if stop.requested and isinstance(outcome, Failure):
            outcome = _failure(planned, FailureReason.INTERRUPTED, "stopped by the user")
        result_set = _with(result_set, outcome)
        observer.finished(planned, outcome)  # first: what cannot be saved has at least been shown
        save(result_set)
        if stop.requested:
            break
    if todo and not stop.requested:
        result_set = _with_ceilings(result_set, ceilings, save)
    return result_set


def _with_ceilings(
    result_set: ResultSet, ceilings: Callable[[], Iterable[Ceiling]], save: Callable[[ResultSet], None]
) -> ResultSet:
    for ceiling in ceilings():
        result_set = msgspec.structs.replace(result_set, ceilings=(*result_set.ceilings, ceiling))
        save(result_set)
    return result_set


def _with(result_set: ResultSet, outcome: Run | Failure) -> ResultSet:
    if isinstance(outcome, Run):
        return msgspec.structs.replace(result_set, runs=(*result_set.runs, outcome))
    return msgspec.structs.replace(result_set, failures=(*result_set.failures, outcome))


def _failure(run: PlannedRun | RunRequest, reason: FailureReason, detail: str, log: str = "") -> Failure:
    return Failure(scenario=run.scenario, recipe=run.recipe, repeat=run.repeat, reason=reason, detail=detail, log=log)


def _device_failure(
    planned: PlannedRun, probes: dict[tuple[Framework, Device], Probe], probe: Callable[[Framework, Device], Probe]
) -> Failure | None:
    """Return the failure of a run whose GPU does not work with its framework, which is tried out once; else None."""
    framework = planned.scenario.framework
    for device in planned.scenario.devices:
        if device.kind is not DeviceKind.GPU:
            continue
        if (framework, device) not in probes:
            probes[framework, device] = probe(framework, device)
        if not (tried := probes[framework, device]).usable:
            return _failure(planned, FailureReason.NO_DEVICE, f"{device}: {tried.detail}")
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class SubprocessExecutor:
    """Executes each run in a fresh Python process."""

    interpreters: Interpreters = dataclasses.field(default_factory=Interpreters)
    stop: Cancellation = dataclasses.field(default_factory=Cancellation)

    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        def tell(event: Event) -> None:
            if isinstance(event, EpochDone):
                on_epoch(event.index, event.epoch)

        reply = process.send_request(
            self.interpreters.of(request.scenario.framework),
            request,
            RunReply,
            variables=worker_variables(request.omp_num_threads, request.scenario.engine),
            timeout_seconds=timeout_seconds,
            stop=self.stop,
            on_event=tell,
        )
        if isinstance(reply, RunReply):
            return reply.run
        return _failure(request, reply.reason, reply.detail, reply.log)

    def measure_ceiling(self, request: CeilingRequest) -> Ceiling | WorkerFailure:
        """Measure a ceiling. Raises `SetupError` if the library is not installed."""
        own = request.framework is Library.NUMPY
        reply = process.send_request(
            Interpreter() if own else self.interpreters.of(Framework(request.framework.value)),
            request,
            CeilingReply,
            variables=worker_variables(request.omp_num_threads),
            timeout_seconds=CEILING_TIMEOUT_SECONDS,
            stop=self.stop,
        )
        return reply.ceiling if isinstance(reply, CeilingReply) else reply

    def probe(self, framework: Framework, device: Device) -> Probe:
        """Try out in a process of its own whether the framework can train on the device."""
        return process.probe(self.interpreters.of(framework), self.stop, framework, device)

    def describe(self, framework: Framework = Framework.MXNET, scenarios: Iterable[Scenario] = ()) -> Software:
        """Return what a worker loads when it imports the framework. Raises `SetupError` if it cannot."""
        return process.describe(self.interpreters.of(framework), self.stop, framework, scenarios)


def usable(
    requests: Iterable[CeilingRequest], probe: Callable[[Framework, Device], Probe]
) -> tuple[CeilingRequest, ...]:
    """Return the requests for the CPU, and for GPUs that work with their framework."""
    return tuple(
        request
        for request in requests
        if all(
            device.kind is DeviceKind.CPU or probe(Framework(request.framework.value), device).usable
            for device in parse_devices(request.device)
        )
    )


class CeilingRounds:
    """Measures every ceiling once each time it is called; one that fails is reported and not tried again."""

    def __init__(
        self, requests: Iterable[CeilingRequest], executor: CeilingExecutor, report: Callable[[str], None]
    ) -> None:
        self._requests = list(requests)
        self._executor = executor
        self._report = report

    def __len__(self) -> int:
        """Return the number of ceilings in a round."""
        return len(self._requests)

    def __call__(self) -> Iterator[Ceiling]:
        """Yield the ceilings of a round; end early if the executor is asked to stop."""
        for request in tuple(self._requests):
            try:
                outcome = self._executor.measure_ceiling(request)
            except SetupError as error:
                outcome = WorkerFailure(FailureReason.CRASHED, str(error))
            if self._executor.stop.requested:
                return
            if isinstance(outcome, Ceiling):
                yield outcome
            else:
                self._requests.remove(request)
                self._report(
                    f"no ceiling of {request.device} through {request.framework}, "
                    f"OMP_NUM_THREADS={request.omp_num_threads}: {outcome.detail}"
                )
