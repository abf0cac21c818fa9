"""Make the runs of a plan: each in a fresh process, with a time-out, and saved as it ends.

The tests of the schedule use a fake `Executor`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import msgspec

from bench.experiments.attempts import DEADLY, MOST_TIMES, DeadlyError, begun
from bench.experiments.pilot import Clock
from bench.experiments.run import policy, turns
from bench.experiments.run.outcomes import cores_of, failure_of
from bench.experiments.run.predictions import prediction_plan
from bench.experiments.run.turns import BlockRequest, MeasuredRuns, OnTurn
from bench.machine.linux.cgroup import available_memory_bytes
from bench.records.result import (
    Ceiling,
    Dataset,
    Epoch,
    ExchangeCurve,
    Failure,
    FailureReason,
    ResultSet,
    Run,
    RunKey,
    key,
)
from bench.scenarios.axes import Framework
from bench.scenarios.suite import PlannedRun
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.protocol.requests import RunRequest
from mnist_core.devices import Device, DeviceKind, Probe

_DEADLY: Final = WorkerFailure(FailureReason.CRASHED, f"{DEADLY}; a new --output tries it again")
#: What fails on a machine once may have been the training; twice, it is the machine.
_MOST_LOSSES: Final = 2
OnEpoch: TypeAlias = Callable[[int, Epoch], None]


class HostLostError(Exception):
    """A machine of the hosts file fails again and again; the message is its label."""


class Executor(Protocol):
    """Makes one run; what goes wrong in it is returned as a `Failure`."""

    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        """Raise `SetupError` if the cause affects every run, such as a missing framework."""

    def execute_block(self, request: BlockRequest, on_turn: OnTurn) -> MeasuredRuns | None:
        """Measure runs in turns; None if asked to stop. Raises as `execute`."""


class Observer(Protocol):
    """Is told what happens as it happens."""

    def started(self, unit: Sequence[PlannedRun], position: int, total: int) -> None: ...
    def turn(self, planned: PlannedRun) -> None: ...
    def epoch(self, planned: PlannedRun, index: int, epoch: Epoch) -> None: ...
    def finished(self, planned: PlannedRun, outcome: Run | Failure) -> None: ...
    def block_saved(self, result_set: ResultSet, unit: Sequence[PlannedRun], later: Sequence[PlannedRun]) -> None: ...


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
    ceilings: Callable[[], Iterable[Ceiling]] | None = None,
    curves: Callable[[], Iterable[ExchangeCurve]] | None = None,
    budget_seconds: float = math.inf,
    now: Clock = time.monotonic,
) -> ResultSet:
    """Make every remaining run and save after each one, since an hour of measurements must survive what comes next.

    Then measure the blocks that `policy` adds to the plan. No block begins that would not end within the budget; what
    is alone comes first then, and is always measured. `ceilings` measures some before the first run, between the rounds
    of the suite and after the last, and `curves` before the first and after the last.

    If asked to stop, it saves the run in progress, as interrupted if it had no result yet, and returns. Raises what
    `executor` and `save` raise, `HostLostError` where a machine has failed twice, and `DeadlyError` where ceilings or
    curves have ended this program before.
    """
    ahead = _Ahead(result_set, budget_seconds, now)
    save(ahead.result_set)
    measuring = _Measuring(executor, data_directory, usable_cores, observer, functools.cache(probe), stop)
    losses: Counter[str] = Counter()
    repeat, position = None, 0
    for unit in ahead.units():
        if unit[0].repeat != repeat and not (unit[0].added and position):
            if repeat is None:
                ahead.result_set = _with_more(ahead.result_set, "exchanges", curves, save)
            repeat = unit[0].repeat
            ahead.result_set = _with_more(ahead.result_set, "ceilings", ceilings, save)
            if stop.requested:
                break
        observer.started(unit, position + 1, max(ahead.total, position + len(unit)))
        ahead.result_set, times = begun(ahead.result_set, _places(ahead.result_set, unit))
        save(ahead.result_set)  # so that a resumed file knows in which run this program was killed
        ahead.result_set, outcomes = measuring.measure(ahead.result_set, unit, is_deadly=times > MOST_TIMES)
        position += len(unit)
        for planned, outcome in zip(unit, outcomes, strict=True):
            observer.finished(planned, outcome)  # first: what cannot be saved has at least been shown
        save(ahead.result_set)
        _count_losses(losses, outcomes)
        if unit[0].in_turns:
            ahead.look_again()
            if any(isinstance(outcome, Run) for outcome in outcomes):
                observer.block_saved(ahead.result_set, unit, ahead.later)
        if stop.requested:
            break
    if position and not stop.requested:
        ahead.result_set = _with_more(ahead.result_set, "ceilings", ceilings, save)
        ahead.result_set = _with_more(ahead.result_set, "exchanges", curves, save)
    return ahead.result_set


class _Ahead:
    """What is measured next: what is left of the plan, then the blocks that the policy adds to it."""

    def __init__(self, result_set: ResultSet, budget_seconds: float, now: Clock) -> None:
        self._now = now
        self._ends_at = now() + budget_seconds
        todo = schedule(remaining(result_set), result_set.seed)
        if math.isfinite(budget_seconds):  # what is alone is measured in any case
            todo = tuple(sorted(todo, key=lambda planned: planned.in_turns))
        dropped = {key(planned) for planned in todo}
        failures = tuple(failure for failure in result_set.failures if key(failure) not in dropped)
        #: The file so far.
        self.result_set = msgspec.structs.replace(result_set, failures=failures)
        self._todo = todo
        self._added = 0
        self._later = policy.wanted_blocks(self.result_set)

    @property
    def later(self) -> list[PlannedRun]:
        """The runs that the policy will add, as far as is known."""
        return list(itertools.chain.from_iterable(self._later))

    @property
    def total(self) -> int:
        """The number of runs, measured ones included."""
        return len(self._todo) + self._added + len(self.later)

    def look_again(self) -> None:
        """Ask the policy again, after a block."""
        self._later = policy.wanted_blocks(self.result_set)

    def units(self) -> Iterator[tuple[PlannedRun, ...]]:
        """Yield what is measured at once: a run, or a block that will end within the budget."""
        for unit in self._units_of(self._todo):
            if not unit[0].in_turns or self._fits(unit):
                yield unit
        while (block := next(filter(self._fits, self._later), None)) is not None:
            self._later.remove(block)
            self._added += len(block)
            self.result_set = msgspec.structs.replace(self.result_set, plan=(*self.result_set.plan, *block))
            yield from self._units_of(block)

    def _units_of(self, runs: Sequence[PlannedRun]) -> Iterator[tuple[PlannedRun, ...]]:
        return turns.units(runs, lambda: _room(self.result_set))  # by the newest results

    def _fits(self, unit: Sequence[PlannedRun]) -> bool:
        return self._now() + policy.predicted_seconds(self.result_set, unit) <= self._ends_at


@dataclasses.dataclass(frozen=True, slots=True)
class _Measuring:
    """What every run of a plan needs."""

    executor: Executor
    data_directory: Path
    usable_cores: int
    observer: Observer
    probe: Callable[[Framework, Device], Probe]
    stop: Cancellation

    def measure(
        self, result_set: ResultSet, unit: Sequence[PlannedRun], *, is_deadly: bool
    ) -> tuple[ResultSet, list[Run | Failure]]:
        """Measure a run, or the runs of a block; return the results with them, and what each of them gave.

        What is deadly fails unmeasured: it has ended this program before.
        """
        given: dict[RunKey, Run | Failure] = {}
        for planned in unit:
            failure = failure_of(planned, _DEADLY) if is_deadly else _device_failure(planned, self.probe)
            if failure is not None:
                given[key(planned)] = failure
        working = [planned for planned in unit if key(planned) not in given]
        if working and working[0].in_turns:
            measured = self._measure_in_turns(working, result_set)
            if measured is not None:
                blocks = (*result_set.blocks, measured.block)
                result_set = msgspec.structs.replace(result_set, blocks=blocks)
                given |= {key(outcome): outcome for outcome in measured.outcomes}
        else:
            given |= {key(planned): self._measure_alone(planned, result_set) for planned in working}
        outcomes = [given.get(key(planned), _interrupted(planned)) for planned in unit]
        if self.stop.requested:
            outcomes = [_interrupted(each) if isinstance(each, Failure) else each for each in outcomes]
        # The reference of a block in parts is measured in each of them, and noted as failed once at most.
        known = {*map(key, result_set.runs), *map(key, result_set.failures)}
        runs = (outcome for outcome in outcomes if isinstance(outcome, Run))
        failures = (each for each in outcomes if isinstance(each, Failure) and key(each) not in known)
        result_set = msgspec.structs.replace(
            result_set,
            runs=(*result_set.runs, *runs),
            failures=(*result_set.failures, *failures),
            in_progress=None,
        )
        return result_set, outcomes

    def _measure_alone(self, planned: PlannedRun, result_set: ResultSet) -> Run | Failure:
        cores = cores_of(planned.scenario, result_set.hosts, self.usable_cores)
        request = run_request(planned, self.data_directory, result_set.dataset, cores)
        return self.executor.execute(
            request, planned.timeout_seconds, lambda index, epoch: self.observer.epoch(planned, index, epoch)
        )

    def _measure_in_turns(self, runs: Sequence[PlannedRun], result_set: ResultSet) -> MeasuredRuns | None:
        request = BlockRequest(
            runs=tuple(runs),
            index=len(result_set.blocks),
            data_directory=self.data_directory,
            dataset=result_set.dataset,
            usable_cores=self.usable_cores,
            hosts=result_set.hosts,
        )
        return self.executor.execute_block(request, self.observer.turn)


def run_request(planned: PlannedRun, data_directory: Path, dataset: Dataset, usable_cores: int) -> RunRequest:
    """Return what the worker of a run that is alone is asked for."""
    return RunRequest(
        scenario=planned.scenario,
        recipe=planned.recipe,
        repeat=planned.repeat,
        data_directory=str(data_directory),
        dataset=dataset,
        omp_num_threads=planned.scenario.threads_per_context(usable_cores),
        prediction=prediction_plan(dataset) if planned.predict else None,
    )


def _count_losses(losses: Counter[str], outcomes: Iterable[Run | Failure]) -> None:
    """Count the machines that failed in a run or block, each once. Raise `HostLostError` for one that has before."""
    losses.update({each.host for each in outcomes if isinstance(each, Failure) and each.host is not None})
    if lost := [host for host, count in losses.items() if count == _MOST_LOSSES]:
        raise HostLostError(lost[0])


def _places(result_set: ResultSet, unit: Sequence[PlannedRun]) -> list[int]:
    """Return where these runs are in the plan."""
    places = {key(planned): place for place, planned in enumerate(result_set.plan)}
    return [places[key(planned)] for planned in unit]


def _room(result_set: ResultSet) -> list[int]:
    """Return how many processes may be alive on each machine, by what those so far took.

    Of another machine it is known what it had before anything was measured, and not what is free there now.
    """
    taken = [run.peak_rss_bytes // run.scenario.ranks for run in result_set.runs]
    free = [
        available_memory_bytes()
        if host.is_here
        else min(host.environment.host_memory_capacity_bytes, host.environment.cgroup_memory_limit_bytes or math.inf)
        for host in result_set.hosts
    ]
    return [turns.most_alive(each, taken) for each in free or [available_memory_bytes()]]


def _with_more(
    result_set: ResultSet,
    field: str,
    measure: Callable[[], Iterable[Ceiling | ExchangeCurve]] | None,
    save: Callable[[ResultSet], None],
) -> ResultSet:
    """Add what is measured beside the runs to a field of the file, which is saved as each comes.

    Raise `DeadlyError` instead of trying too often; then it may be tried again.
    """
    if measure is None:
        return result_set
    result_set, times = begun(result_set, ())
    if times > MOST_TIMES:
        save(msgspec.structs.replace(result_set, in_progress=None))
        raise DeadlyError(f"{DEADLY}: give it more memory, or leave the {field} out by --no-ceilings")
    save(result_set)
    for measured in measure():
        result_set = msgspec.structs.replace(result_set, **{field: (*getattr(result_set, field), measured)})
        save(result_set)
    result_set = msgspec.structs.replace(result_set, in_progress=None)
    save(result_set)
    return result_set


def _interrupted(run: PlannedRun | Failure) -> Failure:
    return failure_of(run, WorkerFailure(FailureReason.INTERRUPTED, "stopped by the user"))


def _device_failure(planned: PlannedRun, probe: Callable[[Framework, Device], Probe]) -> Failure | None:
    """Return the failure of a run whose GPU does not work with its framework; else None."""
    for device in planned.scenario.devices:
        if device.kind is DeviceKind.GPU and not (tried := probe(planned.scenario.framework, device)).usable:
            return failure_of(planned, WorkerFailure(FailureReason.NO_DEVICE, f"{device}: {tried.detail}"))
    return None
