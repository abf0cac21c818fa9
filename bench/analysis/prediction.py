"""How long a trained network takes for an image, and how many images it takes in a second: rows side by side. Pure.

A process answers one query after the other, and its percentiles are order statistics of its own queries. Rows are
compared by processes: the logarithm of a percentile is one number of each, and where rows took turns the difference is
taken within the blocks that they share.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from bench.analysis.groups import Group, RowKey, difference_in_blocks
from bench.analysis.summary import Row, Summary
from bench.records.health import Health
from bench.records.prediction import SingleStream
from bench.records.result import Run
from bench.scenarios.scenario import Scenario, reference_of
from bench.stats import block_design, intervals
from bench.stats.intervals import CONFIDENCE, Estimate, Moments, TSummary
from bench.stats.multiple_testing import holm_adjusted
from mnist_core.recipe import Recipe

#: The percentiles of every table.
PERCENTILES: Final = (0.5, 0.9, 0.99, 0.999)
#: The one by which rows are ranked.
TAIL: Final = 0.99
_NANOSECOND: Final = 1e-9
#: A number of one process, positive; None where it was not measured.
Value: TypeAlias = Callable[[Run], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """What the processes of a row took for an image each, one image after the other."""

    row: Row
    #: Those that answered queries.
    runs: tuple[Run, ...]
    #: Seconds of each percentile that all of them have: geometric mean over processes, and its t interval.
    percentiles: Mapping[float, Estimate]
    #: Each over that of the reference, within blocks where both took turns; none of the reference itself.
    ratios: Mapping[float, Estimate]
    #: Half the width of a process's own interval of p99, relative to it; median over processes.
    own_half_width: float | None
    #: Time that the hypervisor gave to others meanwhile, of all time; median over processes. None: not told.
    steal_fraction: float | None

    @property
    def scenario(self) -> Scenario:
        return self.row.scenario

    @property
    def streams(self) -> tuple[SingleStream, ...]:
        return tuple(map(stream_of, self.runs))

    @property
    def mismatches(self) -> int:
        """Queries of all processes whose digit is not the one that the evaluation finds."""
        return sum(stream.mismatches for stream in self.streams)

    @property
    def switches_per_thousand(self) -> float:
        """Times the kernel took a core away, in a thousand queries."""
        switches = sum(stream.involuntary_context_switches for stream in self.streams)
        return 1000 * switches / sum(stream.queries for stream in self.streams)

    @property
    def buckets(self) -> list[tuple[int, int]]:
        """Buckets of all processes together, ascending: lower edge in nanoseconds, and queries."""
        counts: Counter[int] = Counter()
        for stream in self.streams:
            for edge, count in stream.buckets:
                counts[edge] += count
        return sorted(counts.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineRow:
    """How many images a row's processes predicted in a second, by the images that were handed over together."""

    row: Row
    n: int
    #: By batch size, ascending: geometric mean over processes, and its t interval.
    throughputs: Mapping[int, Estimate]
    #: Each over that of the reference; none of the reference itself.
    ratios: Mapping[int, Estimate]

    @property
    def scenario(self) -> Scenario:
        return self.row.scenario


@dataclass(frozen=True, slots=True)
class LatencySample:
    """A percentile of each process of a row: the logarithm of its seconds."""

    moments: Moments
    #: In each block in which the row took turns.
    in_block: Mapping[int, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quickest:
    """The row whose 99th percentile is the least among those that carry a rank."""

    row: LatencyRow
    #: What all of them are compared with.
    reference: Scenario
    ranked: int
    #: Those of the others that cannot be told from it.
    as_quick: tuple[LatencyRow, ...]


def stream_of(run: Run) -> SingleStream:
    """Return what a process answered that answered queries."""
    assert run.prediction is not None
    assert run.prediction.single_stream is not None
    return run.prediction.single_stream


def percentile_of(run: Run, fraction: float) -> float | None:
    """Return the seconds of a percentile of one process; None where it has none."""
    if run.prediction is None or run.prediction.single_stream is None:
        return None
    found = (each for each in run.prediction.single_stream.percentiles if each.fraction == fraction)
    return next((each.ns * _NANOSECOND for each in found), None)


def images_per_second(run: Run, batch_size: int) -> float | None:
    """Return the images per second of one process in batches of this size; None where it has none."""
    batches = () if run.prediction is None else run.prediction.offline
    found = (each for each in batches if each.batch_size == batch_size)
    return next((each.samples * len(each.seconds) / sum(each.seconds) for each in found), None)


def latency_rows(summary: Summary) -> list[LatencyRow]:
    """Return the rows of a file that answered queries, in the order of its plan."""
    return [each for contest in _contests(summary, _has_stream).values() for each in _latencies(summary, contest)]


def offline_rows(summary: Summary) -> list[OfflineRow]:
    """Return the rows of a file that predicted batches, in the order of its plan."""
    return [each for contest in _contests(summary, _has_batches).values() for each in _offline(summary, contest)]


def quickest(rows: Sequence[LatencyRow], summary: Summary) -> Quickest | None:
    """Return the quickest of the rows of one network and recipe; None where none carries a rank.

    The others are told from it as in a table of throughputs: two-sided, 5 % together by Holm's method.
    """
    ranked = [each for each in rows if each.row.status.is_ranked and TAIL in each.percentiles]
    if not ranked:
        return None
    best = min(ranked, key=lambda each: each.percentiles[TAIL].value)
    rivals = [each for each in ranked if each is not best]
    compared = _Compared.of(
        summary, [_key(each.row) for each in ranked], functools.partial(percentile_of, fraction=TAIL)
    )
    p_values = [intervals.p_nonzero(compared.log_ratio(_key(each.row), _key(best.row))) for each in rivals]
    told = zip(rivals, holm_adjusted(p_values), strict=True)
    as_quick = tuple(each for each, p_value in told if p_value > 1 - CONFIDENCE)
    return Quickest(row=best, reference=_reference([row.row for row in rows])[0], ranked=len(ranked), as_quick=as_quick)


@dataclass(frozen=True, slots=True)
class _Compared:
    """A number of each process by which rows are compared, and how far it scatters over the rows that took turns."""

    value: Value
    groups: Mapping[RowKey, Group]
    #: Of the rows that took turns, as of `Group.spread`.
    spreads: Mapping[RowKey, block_design.Spread | None]

    @classmethod
    def of(cls, summary: Summary, rows: Iterable[RowKey], value: Value) -> _Compared:
        groups = {row: summary.groups[row] for row in rows}
        in_turns = {
            row: _logs_in_block(group.runs, value)
            for row, group in groups.items()
            if group.is_ranked and group.in_turns
        }
        spreads = block_design.spreads_of_rows(list(in_turns.values()))
        return cls(value, groups, dict(zip(in_turns, spreads, strict=True)))

    def log_ratio(self, row: RowKey, other: RowKey) -> TSummary:
        """Summarize the logarithm of the ratio of two rows: within the blocks that they share, or as two samples."""
        one, another = (_logs_in_block(self.groups[key].runs, self.value) for key in (row, other))
        spread = block_design.common_spread(self.spreads.get(row), self.spreads.get(other))
        paired = difference_in_blocks(one, another, spread)
        if paired is not None:
            return paired
        sides = (
            [number for run in self.groups[key].runs if (number := self.value(run)) is not None] for key in (row, other)
        )
        return intervals.welch_difference(*map(intervals.log_moments, sides))

    def ratio(self, row: RowKey, other: RowKey) -> Estimate | None:
        """Return the ratio of two rows that carry a rank and have the number; else None."""
        groups = (self.groups[key] for key in (row, other))
        has_number = all(group.is_ranked and any(self.value(run) for run in group.runs) for group in groups)
        return intervals.ratio_of(self.log_ratio(row, other)) if has_number else None


def latency_samples(group: Group) -> dict[float, LatencySample]:
    """Return each percentile that all processes of a row that answered queries have; empty where none did."""
    runs = [run for run in group.runs if _has_stream(run)]
    found = {}
    for fraction in PERCENTILES:
        seconds = [number for run in runs if (number := percentile_of(run, fraction)) is not None]
        if seconds and len(seconds) == len(runs):
            in_block = _logs_in_block(runs, functools.partial(percentile_of, fraction=fraction))
            found[fraction] = LatencySample(intervals.log_moments(seconds), in_block)
    return found


def _logs_in_block(runs: Iterable[Run], value: Value) -> dict[int, float]:
    numbers = ((run.block, value(run)) for run in runs)
    return {block: math.log(number) for block, number in numbers if block is not None and number is not None}


def _contests(summary: Summary, has: Callable[[Run], bool]) -> dict[tuple[str, Recipe], list[Row]]:
    """Return the rows with such a run, by what makes them comparable: network and recipe."""
    contests: dict[tuple[str, Recipe], list[Row]] = {}
    for row in summary.rows:
        if any(map(has, summary.groups[_key(row)].runs)):
            contests.setdefault((row.scenario.network, row.recipe), []).append(row)
    return contests


def _has_stream(run: Run) -> bool:
    return run.prediction is not None and run.prediction.single_stream is not None


def _has_batches(run: Run) -> bool:
    return run.prediction is not None and bool(run.prediction.offline)


def _key(row: Row) -> RowKey:
    return row.scenario, row.recipe


def _reference(rows: Sequence[Row]) -> RowKey:
    scenario = reference_of([row.scenario for row in rows])
    return scenario, rows[0].recipe


def _latencies(summary: Summary, rows: Sequence[Row]) -> Iterable[LatencyRow]:
    reference = _reference(rows)
    keys = [*map(_key, rows)]
    compared = {
        fraction: _Compared.of(summary, keys, functools.partial(percentile_of, fraction=fraction))
        for fraction in PERCENTILES
    }
    for row, key in zip(rows, keys, strict=True):
        runs = tuple(filter(_has_stream, summary.groups[key].runs))
        percentiles, ratios = {}, {}
        for fraction, each in compared.items():
            seconds = [number for run in runs if (number := each.value(run)) is not None]
            if len(seconds) < len(runs):
                continue
            percentiles[fraction] = intervals.geometric_mean(seconds)
            if key != reference and (ratio := each.ratio(key, reference)) is not None:
                ratios[fraction] = ratio
        yield LatencyRow(
            row=row,
            runs=runs,
            percentiles=percentiles,
            ratios=ratios,
            own_half_width=_median(map(_own_half_width, runs)),
            steal_fraction=_median(_steal_fraction(summary, run) for run in runs),
        )


def _own_half_width(run: Run) -> float | None:
    found = (each for each in stream_of(run).percentiles if each.fraction == TAIL)
    return next(((each.high_ns - each.low_ns) / (2 * each.ns) for each in found), None)


def _steal_fraction(summary: Summary, run: Run) -> float | None:
    health: Health | None = run.health if run.block is None else summary.blocks[run.block].health
    return None if health is None else health.steal_fraction


def _median(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return statistics.median(known) if known else None


def _offline(summary: Summary, rows: Sequence[Row]) -> Iterable[OfflineRow]:
    reference = _reference(rows)
    keys = [*map(_key, rows)]
    made = (run.prediction for key in keys for run in summary.groups[key].runs)
    sizes = sorted({each.batch_size for prediction in made if prediction is not None for each in prediction.offline})
    compared = {
        size: _Compared.of(summary, keys, functools.partial(images_per_second, batch_size=size)) for size in sizes
    }
    for row, key in zip(rows, keys, strict=True):
        runs = summary.groups[key].runs
        throughputs, ratios = {}, {}
        for size, each in compared.items():
            speeds = [number for run in runs if (number := each.value(run)) is not None]
            if not speeds:
                continue
            throughputs[size] = intervals.geometric_mean(speeds)
            if key != reference and (ratio := each.ratio(key, reference)) is not None:
                ratios[size] = ratio
        n = sum(map(_has_batches, runs))
        yield OfflineRow(row=row, n=n, throughputs=throughputs, ratios=ratios)
