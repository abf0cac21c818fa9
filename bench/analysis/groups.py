"""The runs and failures of each row, grouped and judged."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from bench.analysis import accuracy
from bench.enums import StrEnum
from bench.records.health import SessionHealth, session_health, void_reasons
from bench.records.result import Dataset, Failure, FailureReason, ResultSet, Run, RunBlock
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import PlannedRun
from bench.stats import block_design, intervals
from bench.stats.block_design import Spread
from bench.stats.intervals import Estimate, TSummary
from mnist_core.recipe import Precision, Recipe


class Status(StrEnum):
    """What is known of a row."""

    VALID = "valid"
    #: Measured, with nothing against it, but trained too little (or on unknown data) for an accuracy band.
    NOT_JUDGED = "not_judged"
    INVALID = "invalid"
    FAILED = "failed"
    NOT_RUN = "not_run"

    @property
    def is_ranked(self) -> bool:
        """Whether the row was measured and has nothing against it, so that it may be the fastest."""
        return self in {Status.VALID, Status.NOT_JUDGED}


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Processes of one row that gave nothing for the same reason."""

    reason: FailureReason
    detail: str
    count: int


_AnyRecord = TypeVar("_AnyRecord", PlannedRun, Run, Failure)
#: What makes processes repeats of each other.
RowKey = tuple[Scenario, Recipe]
#: Of so many seconds the 40 ms that a cold start costs a turn (`experiments.pilot.LEAD_IN_SECONDS`) are 4 %.
_WARM_TURN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The records of one row, judged."""

    runs: tuple[Run, ...]
    failures: tuple[Failure, ...]
    planned: int
    status: Status
    invalid: str | None
    #: Why blocks in which it took turns do not count, by their index; their runs are neither in `runs` nor `planned`.
    voids: Mapping[int, str]
    #: Its processes took turns with those of other rows; where none gave anything, they were to take them.
    in_turns: bool
    #: How far the processes scatter that took turns, of the rows of its network and recipe that scatter alike.
    #: None: not known, or this row scatters far more than the others.
    spread: Spread | None = None

    @property
    def is_ranked(self) -> bool:
        return self.status.is_ranked

    @property
    def is_led_in(self) -> bool:
        """Whether uncounted epochs led in to its turns."""
        return any(run.lead_in_epochs > 0 for run in self.runs)

    @property
    def is_cold(self) -> bool:
        """Whether none did, and its turns were so short that they measure a cold start."""
        in_turns = [run for run in self.runs if run.block is not None and run.lead_in_epochs == 0]
        return any(epochs_seconds(run) < _WARM_TURN_SECONDS * len(run.epochs) for run in in_turns)


@functools.lru_cache(maxsize=256)  # files hold few recipes, many times each
def _any_seed(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, seed=0)


def grouped(failures: Iterable[Failure]) -> tuple[FailureGroup, ...]:
    """Return failures for the same reason as one."""
    counts = Counter((failure.reason, failure.detail) for failure in failures)
    return tuple(FailureGroup(reason=reason, detail=detail, count=count) for (reason, detail), count in counts.items())


def throughput(run: Run) -> float:
    """Return the images per second of one process: all images really trained, over all epoch windows."""
    return sum(epoch.samples for epoch in run.epochs) / epochs_seconds(run)


def time_to_accuracy_seconds(run: Run) -> float | None:
    """Sum the epoch windows up to the end of the first epoch that reached the network's target, without evaluation."""
    target = accuracy.target(run.scenario.network)
    if target is None:
        return None
    elapsed = 0.0
    for epoch, test_accuracy in zip(run.epochs, learning_curve(run), strict=False):
        elapsed += epoch.epoch_seconds
        if test_accuracy >= target:
            return elapsed
    return None


def median_time_to_accuracy(runs: Sequence[Run]) -> float | None:
    """Return the median over processes; None where one of them never reached the target, or there is none."""
    seconds = [time_to_accuracy_seconds(run) for run in runs]
    reached = [each for each in seconds if each is not None]
    return statistics.median(reached) if reached and len(reached) == len(seconds) else None


def learning_curve(run: Run) -> tuple[float, ...]:
    """Return the test accuracy after each epoch; nothing of a run that took turns.

    That was evaluated at its end alone, and trained before its first window, too.
    """
    if run.block is not None:
        return ()
    return tuple(epoch.test_accuracy for epoch in run.epochs if epoch.test_accuracy is not None)


def ratio_of_rows(row: Group, other: Group) -> Estimate:
    """Return the ratio of the throughputs of two rows of one file.

    Rows that took turns in the same blocks are compared block by block, and the interval is over the blocks: what the
    machine did to one of a block's processes it did to the others. All others are two independent samples.
    """
    return intervals.ratio_of(log_ratio_of_rows(row, other))


def log_ratio_of_rows(row: Group, other: Group) -> TSummary:
    """Summarize the logarithm of the ratio that `ratio_of_rows` returns."""
    spread = block_design.common_spread(row.spread, other.spread)
    in_blocks = difference_in_blocks(log_speed_in_block(row.runs), log_speed_in_block(other.runs), spread)
    if in_blocks is not None:
        return in_blocks
    alone, others_alone = (intervals.log_moments([throughput(run) for run in each.runs]) for each in (row, other))
    return intervals.welch_difference(alone, others_alone)


def log_speed_in_block(runs: Iterable[Run]) -> dict[int, float]:
    """Return the logarithm of a row's images per second in each of its blocks, in which it has one process."""
    return {run.block: math.log(throughput(run)) for run in runs if run.block is not None}


def differences_in_blocks(speeds: Mapping[int, float], others: Mapping[int, float]) -> dict[int, float]:
    """Return the difference within each block that two rows of one file share, in the order of the first row."""
    return {block: speed - others[block] for block, speed in speeds.items() if block in others}


def difference_in_blocks(
    speeds: Mapping[int, float], others: Mapping[int, float], spread: Spread | None
) -> TSummary | None:
    """Summarize the differences within the blocks that two rows of one file share; None if they share none."""
    differences = differences_in_blocks(speeds, others)
    return block_design.summarize_difference(list(differences.values()), spread) if differences else None


def group_by_row(result_set: ResultSet) -> dict[RowKey, Group]:
    """Group the records of a file by row, in the order of its plan; the runs themselves are shuffled."""
    reasons = void_reasons([block.health for block in result_set.blocks])
    planned = _by_key(result_set.plan)
    runs = _by_key(run for run in result_set.runs if run.block not in reasons)
    void_runs = _by_key(run for run in result_set.runs if run.block in reasons)
    failures = _by_key(result_set.failures)
    groups = {}
    for key in [*planned, *runs, *void_runs, *failures]:
        own_runs = tuple(sorted(runs.get(key, ()), key=lambda run: run.repeat))
        own_failures = tuple(sorted(failures.get(key, ()), key=lambda failure: failure.repeat))
        status, invalid = _judgement(own_runs, own_failures, result_set.dataset)
        own_void_runs = void_runs.get(key, ())
        measured = (*own_runs, *own_void_runs)
        void_repeats = {run.repeat for run in own_void_runs} - {run.repeat for run in own_runs}
        groups[key] = Group(
            runs=own_runs,
            failures=own_failures,
            planned=sum(each.repeat not in void_repeats for each in planned.get(key, ())),
            status=status,
            invalid=invalid,
            voids={run.block: reasons[run.block] for run in own_void_runs if run.block is not None},
            in_turns=all(run.block is not None for run in measured)
            if measured
            else any(each.in_turns for each in planned.get(key, ())),
        )
    return _with_spreads(_against_float32(groups))


def float32_of(key: RowKey) -> RowKey | None:
    """Return the same row in float32; None for one that is."""
    scenario, recipe = key
    if scenario.precision is Precision.FLOAT32:
        return None
    return msgspec.structs.replace(scenario, precision=Precision.FLOAT32), recipe


def accuracy_over_float32(key: RowKey, groups: Mapping[RowKey, Group]) -> TSummary | None:
    """Summarize what a row's accuracy exceeds that of the same in float32 by; None where that is not there."""
    other = groups.get(float32_of(key) or key)
    if other is None or other is groups[key] or not other.is_ranked:
        return None
    return accuracy.difference(groups[key].runs, other.runs)


def _against_float32(groups: Mapping[RowKey, Group]) -> dict[RowKey, Group]:
    """Make rows invalid that surely learn less than the same in float32."""
    judged = {}
    for key, group in groups.items():
        lost = accuracy_over_float32(key, groups) if group.is_ranked else None
        reason = None if lost is None else accuracy.explain_loss(lost)
        judged[key] = group if reason is None else dataclasses.replace(group, status=Status.INVALID, invalid=reason)
    return judged


def _with_spreads(groups: Mapping[RowKey, Group]) -> dict[RowKey, Group]:
    speeds: dict[tuple[str, Recipe], dict[RowKey, dict[int, float]]] = {}
    for (scenario, recipe), group in groups.items():
        if group.is_ranked and group.in_turns and all(0 < throughput(run) < math.inf for run in group.runs):
            speeds.setdefault((scenario.network, recipe), {})[scenario, recipe] = log_speed_in_block(group.runs)
    spreads: dict[RowKey, Spread | None] = {}
    for rows in speeds.values():
        spreads.update(zip(rows, block_design.spreads_of_rows(list(rows.values())), strict=True))
    return {key: dataclasses.replace(group, spread=spreads.get(key)) for key, group in groups.items()}


def health_of(groups: Iterable[Group], blocks: Iterable[RunBlock]) -> SessionHealth:
    """Return what the machine did while a file was measured."""
    runs = [run for group in groups for run in group.runs]
    switches = [
        None if (count := run.involuntary_context_switches) is None else count / epochs_seconds(run) for run in runs
    ]
    healths = [*(block.health for block in blocks), *(run.health for run in runs if run.health is not None)]
    return session_health(healths, switches)


def row_key(record: PlannedRun | Run | Failure) -> RowKey:
    """Return what a record has in common with its repeats."""
    return (record.scenario, _any_seed(record.recipe))


def _by_key(records: Iterable[_AnyRecord]) -> dict[RowKey, list[_AnyRecord]]:
    grouped: dict[RowKey, list[_AnyRecord]] = {}
    for record in records:
        grouped.setdefault(row_key(record), []).append(record)
    return grouped


def _judgement(runs: tuple[Run, ...], failures: tuple[Failure, ...], dataset: Dataset) -> tuple[Status, str | None]:
    """Judge a row. One bad process makes it invalid: what is wrong with it is wrong with the scenario."""
    if not runs:
        return (Status.FAILED if failures else Status.NOT_RUN), None
    reasons = [reason for run in runs if (reason := accuracy.judge(run, dataset)) is not None]
    if reasons:
        share = f" ({len(reasons)} of {len(runs)} processes)" if len(runs) > 1 else ""
        return Status.INVALID, f"{reasons[0]}{share}"
    judged = all(accuracy.band(run, dataset).lower is not None for run in runs)
    return (Status.VALID if judged else Status.NOT_JUDGED), None


def epochs_seconds(run: Run) -> float:
    return sum(epoch.epoch_seconds for epoch in run.epochs)
