"""What one result file says about each scenario, ready to be compared."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from bench.analysis.groups import Group, RowKey, Status, group_by_row, throughput
from bench.records.environment import Environment
from bench.records.result import Dataset, ResultSet
from bench.stats import intervals
from bench.stats.intervals import Moments


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one result file says about one scenario under one recipe."""

    status: Status
    #: Why it is invalid, what failed, or what was not run; one line. None: nothing is wrong with it.
    trouble: str | None
    #: Images per second, one number per process; None where no process gave one.
    speed: Moments | None
    #: Mean of the final accuracies; None where no process ended.
    accuracy: float | None
    #: Processes that were measured, and that were asked for.
    n: int
    planned: int
    #: OpenMP threads of each context, as recorded; several where the processes differ.
    omp_num_threads: tuple[int, ...]

    @property
    def ranks(self) -> bool:
        return self.speed is not None and self.status in {Status.VALID, Status.NOT_JUDGED}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFile:
    """What a comparison needs of one result file."""

    #: As the user calls it: the file's path.
    name: str
    suite: str
    created_at: str
    environment: Environment
    dataset: Dataset
    #: In the order of the plan.
    entries: Mapping[RowKey, Entry]


def index(name: str, result_set: ResultSet, shared: dict[RowKey, RowKey] | None = None) -> ComparedFile:
    """What a comparison needs of a result file; the runs themselves are not kept.

    `shared` lets many files have their scenarios and recipes in common: ten thousand results are of a few scenarios.
    """
    keep = {} if shared is None else shared
    return ComparedFile(
        name=name,
        suite=result_set.suite,
        created_at=result_set.created_at,
        environment=result_set.environment,
        dataset=result_set.dataset,
        entries={keep.setdefault(key, key): _entry(group) for key, group in group_by_row(result_set).items()},
    )


def _entry(group: Group) -> Entry:
    status, trouble, speed = group.status, _trouble(group), None
    if group.runs:
        try:
            speed = intervals.log_moments([throughput(run) for run in group.runs])
        except ValueError:  # times of nothing or of no number, which a file edited by hand may hold
            status, trouble = Status.INVALID, "its throughput is no positive, finite number"
    return Entry(
        status=status,
        trouble=trouble,
        speed=speed,
        accuracy=statistics.fmean([run.final_accuracy for run in group.runs]) if group.runs else None,
        n=len(group.runs),
        planned=group.planned,
        omp_num_threads=tuple(sorted({run.omp_num_threads for run in group.runs})),
    )


def _trouble(group: Group) -> str | None:
    if group.invalid is not None:
        return group.invalid
    if group.failures:
        first = group.failures[0]
        share = f" ({len(group.failures)} of {group.planned} processes)" if group.planned > 1 else ""
        return f"{first.reason}{share}: {first.detail}"
    not_run = group.planned - len(group.runs)
    if not_run > 0:
        return f"{not_run} of {group.planned} planned processes not run" if group.planned > 1 else "not run"
    return None
