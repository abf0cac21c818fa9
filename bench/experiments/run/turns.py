"""Runs that take turns: which of them are alive together, and what a block gives."""

from __future__ import annotations

import dataclasses
import functools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from bench.experiments import blocks
from bench.experiments.blocks import Arm, HealthWatch, Measurement, Task
from bench.experiments.pilot import Clock, StartSession, turn_epochs
from bench.experiments.run.outcomes import cores_of, failure_of, run_of
from bench.experiments.run.predictions import prediction_plan
from bench.records.base import utc_now
from bench.records.environment import ClusterHost
from bench.records.result import Dataset, Failure, Run, RunBlock
from bench.scenarios import baselines
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import processes_on
from bench.scenarios.scenario import Scenario, reference_of
from bench.scenarios.suite import PlannedRun
from bench.worker import session
from bench.worker.process import Cancellation, WorkerFailure
from mnist_core.recipe import Recipe

#: Memory of a process of which nothing is known yet: a framework, the data and a LeNet take less.
_UNKNOWN_RSS_BYTES: Final = 768 << 20
#: Share of the available memory that the processes of a block may take together.
_MEMORY_SHARE: Final = 0.8
#: A block of fewer compares nothing.
_LEAST_ALIVE: Final = 2
#: Called with the run whose turn it is.
OnTurn: TypeAlias = Callable[[PlannedRun], None]


def units(ordered: Sequence[PlannedRun], room: Callable[[], Sequence[int]]) -> Iterator[tuple[PlannedRun, ...]]:
    """Divide runs into what is measured at once, in the order given: a run alone, or the runs of a block.

    A block holds the runs of one network, recipe and repeat that take turns. Where a machine has no room for all their
    processes together, the block is split, and the reference of these scenarios is in each part: so every ratio to it
    is between processes of the same block. Rows of ranks stay with their own references. `room` is asked when a block's
    turn has come: how many processes may be alive on each machine.
    """
    together: dict[tuple[str, Recipe, int], list[PlannedRun]] = {}
    found: list[list[PlannedRun]] = []
    for planned in ordered:
        key = (planned.scenario.network, planned.recipe, planned.repeat)
        if planned.in_turns and key in together:
            together[key].append(planned)
            continue
        found.append([planned])
        if planned.in_turns:
            together[key] = found[-1]
    for unit in found:
        yield from _parts(unit, functools.partial(_fits, room())) if len(unit) > 1 else [tuple(unit)]


def _fits(room: Sequence[int], runs: Sequence[PlannedRun]) -> bool:
    """Tell whether no machine gets more processes than it has room for; two runs are measured in any case."""
    alive: Counter[int] = Counter()
    for planned in runs:
        alive.update(processes_on(planned.scenario))
    return len(runs) <= _LEAST_ALIVE or all(count <= room[place] for place, count in alive.items())


def _parts(unit: Sequence[PlannedRun], fits: Callable[[Sequence[PlannedRun]], bool]) -> list[tuple[PlannedRun, ...]]:
    if fits(unit):
        return [tuple(unit)]
    scenario = reference_of([planned.scenario for planned in unit])
    reference = next(planned for planned in unit if planned.scenario == scenario)
    others = [planned for planned in unit if planned is not reference]
    parts: list[list[PlannedRun]] = [[]]
    for kin in _kin(others, lambda runs: fits([reference, *runs]), [_framework_of, _share_of]):
        if not fits([reference, *parts[-1], *kin]):
            parts.append([])
        parts[-1] += kin
    return [(reference, *part) for part in parts]


def _kin(
    runs: Sequence[PlannedRun],
    fits: Callable[[Sequence[PlannedRun]], bool],
    keys: Sequence[Callable[[PlannedRun], object]],
) -> Iterator[list[PlannedRun]]:
    """Yield what stays together, since it is compared with each other and not only with the reference.

    That is ranks with all of their framework, or, without room for that, with those on as many images.
    """
    if not keys or not any(planned.scenario.ranks > 1 for planned in runs):
        yield from ([planned] for planned in runs)
        return
    alike: dict[object, list[PlannedRun]] = {}
    for planned in runs:
        alike.setdefault(keys[0](planned), []).append(planned)
    for group in alike.values():
        yield from [group] if fits(group) else _kin(group, fits, keys[1:])


def _framework_of(planned: PlannedRun) -> Framework:
    return planned.scenario.framework


def _share_of(planned: PlannedRun) -> int:
    return baselines.share_of(planned.scenario)


def most_alive(available_bytes: float | None, rss_bytes: Sequence[int]) -> int:
    """Return how many processes fit into the memory together, each as large as the largest of those known."""
    if available_bytes is None:
        return _LEAST_ALIVE
    return int(_MEMORY_SHARE * available_bytes / max(rss_bytes, default=_UNKNOWN_RSS_BYTES))


@dataclasses.dataclass(frozen=True, slots=True)
class MeasuredRuns:
    """A block, and what each of its runs gave, in the order of their places."""

    block: RunBlock
    outcomes: tuple[Run | Failure, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BlockRequest:
    """Measure these runs in turns."""

    runs: tuple[PlannedRun, ...]
    #: The block's, in the file.
    index: int
    data_directory: Path
    dataset: Dataset
    #: Of this machine.
    usable_cores: int
    #: Those of a hosts file; empty: all is measured on this machine.
    hosts: tuple[ClusterHost, ...] = ()

    def threads(self, scenario: Scenario) -> int:
        """Return the OpenMP threads of each context of the first rank."""
        return scenario.threads_per_context(cores_of(scenario, self.hosts, self.usable_cores))


def measure_runs(
    request: BlockRequest,
    session_starter: Callable[[Scenario], StartSession],
    stop: Cancellation,
    on_turn: OnTurn,
    now: Clock = time.monotonic,
    on_failure: Callable[[Scenario, WorkerFailure], None] = lambda _scenario, _failure: None,
) -> MeasuredRuns | None:
    """Measure the runs of a block in a drawn order; None if it was asked to stop, since half a block is no evidence."""
    order = list(request.runs)
    random.Random(f"{order[0].recipe.seed}/{request.index}").shuffle(order)  # noqa: S311  # an order, not a secret
    started_at, watch = utc_now(), HealthWatch(now)
    dataset = request.dataset
    by_scenario = {planned.scenario: planned for planned in order}

    def arm(planned: PlannedRun) -> Arm[Scenario]:
        scenario = planned.scenario
        threads = request.threads(scenario)
        session_request = session.session_request(
            request.data_directory,
            dataset,
            planned.recipe.seed,
            threads,
            scenario.engine,
            scenario.framework,
            scenario.precision,
        )
        start = functools.partial(session_starter(scenario), session_request, command_seconds=planned.timeout_seconds)
        samples = min(planned.recipe.samples or dataset.train_samples, dataset.train_samples)
        task = Task(
            scenario=scenario,
            epoch_samples=samples,
            epochs=turn_epochs,
            prediction=prediction_plan(dataset) if planned.predict else None,
        )
        return Arm(label=scenario, tasks=(task,), start=start)

    outcome = blocks.measure_block(
        [arm(planned) for planned in order],
        turns=order[0].recipe.epochs,
        stop=stop,
        on_turn=lambda scenario, _: on_turn(by_scenario[scenario]),
        on_failure=on_failure,
    )
    if stop.requested:
        return None
    seconds, health = watch.health()
    return MeasuredRuns(
        RunBlock(started_at=started_at, seconds=seconds, health=health),
        tuple(
            _run(planned, outcome.measurements[planned.scenario][0], request, place)
            if planned.scenario in outcome.measurements
            else failure_of(planned, outcome.failures[planned.scenario])
            for place, planned in enumerate(order)
        ),
    )


def _run(planned: PlannedRun, measured: Measurement, request: BlockRequest, place: int) -> Run:
    *earlier, last = measured.windows
    run = run_of(
        planned,
        request.threads(planned.scenario),
        measured.ready,
        measured.set_up,
        [*((window, None) for window in earlier), (last, measured.evaluated)],
        passes=measured.epochs_per_window,
        prediction=measured.prediction,
    )
    test_samples = min(session.TEST_SAMPLES, request.dataset.test_samples)
    return msgspec.structs.replace(
        run, block=request.index, place=place, test_samples=test_samples, lead_in_epochs=measured.lead_in
    )
