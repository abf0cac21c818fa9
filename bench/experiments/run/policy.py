"""Decide which blocks `run` measures beyond its plan: a pure function of what is in the file so far.

A suite asks for a number of blocks. A block that is void is measured again. Where a precision was asked for, the blocks
of the suite tell how many there must be in all (`stats.two_stage`), and nothing that is measured later changes that.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from bench.analysis.groups import (
    Group,
    RowKey,
    difference_in_blocks,
    group_by_row,
    log_speed_in_block,
    row_key,
)
from bench.records.health import void_reasons
from bench.records.result import ResultSet
from bench.scenarios.scenario import reference_of
from bench.scenarios.suite import PlannedRun
from bench.stats import intervals, two_stage
from bench.stats.block_design import common_spread, spreads_of_rows
from bench.stats.intervals import TSummary
from mnist_core.recipe import Recipe

#: The most blocks of a network, whatever precision was asked for: to halve the interval again would take 150 more.
MOST_BLOCKS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Rows of one network and recipe that take turns with each other; the first in the plan that gave something."""

    rows: Mapping[RowKey, Group]
    #: What each row was planned as.
    plan: Mapping[RowKey, Sequence[PlannedRun]]

    @property
    def reference(self) -> RowKey:
        """The row that is in every part of a block, and that the others are compared with."""
        scenario = reference_of([row[0] for row in self.rows])
        return next(row for row in self.rows if row[0] == scenario)

    @property
    def repeats(self) -> set[int]:
        """The repeats that were planned, each of which is a block, or several where it does not fit into memory."""
        return {planned.repeat for row in self.rows for planned in self.plan[row]}

    def ratios(self, first: int | None = None) -> dict[RowKey, TSummary]:
        """Summarize the logarithm of each row's ratio to the reference; of rows that carry a rank and share its blocks.

        `first` are the blocks of each row that count, so many in the order of time; None: all.
        """
        reference = log_speed_in_block(self.rows[self.reference].runs)
        speeds = {
            row: dict(list(log_speed_in_block(group.runs).items())[:first])
            for row, group in self.rows.items()
            if row != self.reference and group.is_ranked and self.rows[self.reference].is_ranked
        }
        counted = {block: speed for block, speed in reference.items() if any(block in each for each in speeds.values())}
        of_reference, *spreads = spreads_of_rows([counted, *speeds.values()])
        found = {
            row: difference_in_blocks(each, counted, common_spread(spread, of_reference))
            for (row, each), spread in zip(speeds.items(), spreads, strict=True)
        }
        return {row: ratio for row, ratio in found.items() if ratio is not None}


def contests(result_set: ResultSet) -> list[Contest]:
    """Return the rows that take turns, in the order of the plan; a row of which every process failed is left out."""
    groups = group_by_row(result_set)
    plan: dict[RowKey, list[PlannedRun]] = {}
    for planned in result_set.plan:
        if planned.in_turns:
            plan.setdefault(row_key(planned), []).append(planned)
    rows: dict[tuple[str, Recipe], dict[RowKey, Group]] = {}
    for row in plan:
        if groups[row].runs or groups[row].voids or not groups[row].failures:
            rows.setdefault((row[0].network, row[1]), {})[row] = groups[row]
    return [Contest(rows=own, plan=plan) for own in rows.values()]


def wanted_blocks(result_set: ResultSet) -> list[tuple[PlannedRun, ...]]:
    """Return the blocks that are wanted beyond the plan, as far as is known now: the next repeats of each contest."""
    found: list[tuple[PlannedRun, ...]] = []
    voids = void_reasons([block.health for block in result_set.blocks])
    for contest in contests(result_set):
        void_repeats = {run.repeat for run in result_set.runs if run.block in voids and row_key(run) in contest.rows}
        wanted = _wanted_count(contest, result_set.precision)
        # A machine that spoils every block must not be measured for ever: each has a second chance, on average.
        count = min(wanted - len(contest.repeats - void_repeats), 2 * wanted - len(contest.repeats))
        begin = max(contest.repeats) + 1
        found += [_block(contest, repeat, result_set.seed) for repeat in range(begin, begin + count)]
    return sorted(found, key=lambda block: block[0].repeat)


def _wanted_count(contest: Contest, precision: float | None) -> int:
    """Return how many blocks there must be that count, once the first stage is complete."""
    of_suite = max(sum(not planned.added for planned in contest.plan[row]) for row in contest.rows)
    if precision is None or len(contest.rows) == 1:
        return of_suite
    first = max(two_stage.FEWEST_FIRST, of_suite)
    complete = [ratio for ratio in contest.ratios(first).values() if ratio.n == first]
    return max(
        (two_stage.wanted_count(ratio, math.log1p(precision), MOST_BLOCKS) for ratio in complete),
        default=two_stage.least_count(first),
    )


def _block(contest: Contest, repeat: int, seed: int) -> tuple[PlannedRun, ...]:
    """Plan a repeat of every row as its first one was planned."""
    runs = []
    for row in contest.rows:
        first = contest.plan[row][0]
        recipe = dataclasses.replace(first.recipe, seed=seed + repeat)
        runs.append(msgspec.structs.replace(first, recipe=recipe, repeat=repeat, added=True))
    return tuple(runs)


def predicted_seconds(result_set: ResultSet, block: Sequence[PlannedRun]) -> float:
    """Predict how long a block takes, by its processes and the blocks of its rows so far; 0 without any."""
    rows = {row_key(planned) for planned in block}
    alive = Counter(run.block for run in result_set.runs)
    alike = {run.block for run in result_set.runs if run.block is not None and row_key(run) in rows}
    of_one = [result_set.blocks[index].seconds / alive[index] for index in alike]
    return statistics.median(of_one) * len(block) if of_one else 0.0


@dataclass(frozen=True, slots=True)
class Reached:
    """Half-widths of the 95 % intervals of the ratios to the reference (0.03 = 3 %)."""

    median: float
    worst: float


def reached(contests: Sequence[Contest]) -> Reached | None:
    """Return how well the ratios are known; None where no row has an interval."""
    widths = [
        math.expm1(ends[1] - ratio.value)
        for contest in contests
        for ratio in contest.ratios().values()
        if (ends := intervals.bounds(ratio)) is not None
    ]
    return Reached(statistics.median(widths), max(widths)) if widths else None
