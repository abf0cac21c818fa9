"""Say how well sweeps that took turns are known, and whether they agree: `python -m tests.benchmarks.sweeps FILE ...`.

Half-widths are those of the 95 % intervals. The timed share is of the blocks' wall time, void ones included. Two sweeps
contradict each other where one calls a row surely faster than another, and the other surely slower.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from bench.analysis.groups import Group, RowKey, epochs_seconds, log_ratio_of_rows, row_key, throughput
from bench.analysis.summary import Measures, Summary, summarize
from bench.records import store
from bench.records.health import void_reason
from bench.records.result import ResultSet
from bench.scenarios.scenario import Scenario
from bench.stats.intervals import Estimate, bounds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    paths = parser.parse_args().files
    result_sets = [store.read(path, ResultSet) for path in paths]
    summaries = [summarize(result_set) for result_set in result_sets]
    for path, result_set, summary in zip(paths, result_sets, summaries, strict=True):
        measures = [row.measures for row in summary.rows if row.measures is not None and row.in_turns]
        timed = sum(epochs_seconds(run) for run in result_set.runs if run.block is not None)
        share = timed / sum(block.seconds for block in result_set.blocks)
        print(f"{path.name}: {half_widths(measures)}; timed {share:.0%} of {len(result_set.blocks)} blocks")
        spreads = {key[0].network: group.spread for key, group in summary.groups.items() if group.spread is not None}
        for network, spread in spreads.items():
            print(f"    {network}: processes of a block scatter by {math.sqrt(spread.variance):.1%}")
        print(f"    {by_anchors(result_set)}")
    for one, other in itertools.combinations(summaries, 2):
        for network in dict.fromkeys(scenario.network for scenario, _recipe in one.groups):
            print(f"{network}: {agreement(one, other, network)}")


def by_anchors(result_set: ResultSet) -> str:
    """Say how far rows scatter in blocks with a slow anchor, at one end or both, and in the others.

    Each row's log speed, less the mean of its block, is compared with its mean over all blocks; root mean square.
    """
    healths = [block.health for block in result_set.blocks]
    slow = {
        index
        for index in range(len(healths))
        if void_reason(healths[: index + 1], steal_fraction=math.inf, at_both_ends=False) is not None
    }
    speeds: dict[int, dict[RowKey, float]] = {}
    for run in result_set.runs:
        if run.block is not None:
            speeds.setdefault(run.block, {})[row_key(run)] = math.log(throughput(run))
    rows: dict[RowKey, dict[int, float]] = {}
    for index, block in speeds.items():
        for key, speed in block.items():
            rows.setdefault(key, {})[index] = speed - statistics.fmean(block.values())
    squares: dict[bool, list[float]] = {True: [], False: []}
    for row in rows.values():
        mean = statistics.fmean(row.values())
        for index, speed in row.items():
            squares[index in slow].append((speed - mean) ** 2)
    words = [f"{math.sqrt(statistics.fmean(each)):.1%}" if each else "nothing" for each in squares.values()]
    return f"rows scatter by {words[0]} in {len(slow)} blocks with a slow anchor, and by {words[1]} in the others"


def half_widths(measures: Sequence[Measures]) -> str:
    kinds: dict[str, list[Estimate | None]] = {
        "speed-ups": [each.speedup for each in measures],
        "throughputs": [each.throughput for each in measures],
    }
    words = []
    for name, estimates in kinds.items():
        widths = [width for each in estimates if each is not None and (width := half_width(each)) is not None]
        words.append(f"{name} ± {statistics.median(widths):.1%} (median), {max(widths):.1%} (worst)")
    return ", ".join(words)


def half_width(estimate: Estimate) -> float | None:
    if estimate.lower is None or estimate.upper is None:
        return None
    return math.sqrt(estimate.upper / estimate.lower) - 1


def agreement(one: Summary, other: Summary, network: str) -> str:
    """Count contradictions over all pairs of rows that took turns, and give Kendall's tau of the two orders.

    Sweeps may differ in how many turns there were, and of how many images.
    """
    sweeps = [sweep_of(summary, network) for summary in (one, other)]
    pairs = list(itertools.combinations([scenario for scenario in sweeps[0] if scenario in sweeps[1]], 2))
    if not pairs:
        return "no two rows in common"
    contradictions = tau = 0
    for pair in pairs:
        (value, side), (other_value, other_side) = (relation(*(sweep[each] for each in pair)) for sweep in sweeps)
        contradictions += side * other_side < 0
        tau += 1 if value * other_value > 0 else -1
    return f"{contradictions} contradictions in {len(pairs)} pairs of rows, Kendall's tau {tau / len(pairs):.2f}"


def sweep_of(summary: Summary, network: str) -> dict[Scenario, Group]:
    """Return the rows of a network that took turns."""
    return {
        scenario: group
        for (scenario, _recipe), group in summary.groups.items()
        if scenario.network == network and group.in_turns
    }


def relation(row: Group, other: Group) -> tuple[float, int]:
    """Return a log ratio within blocks, and 1 or -1 where it is surely above or below 0."""
    ratio = log_ratio_of_rows(row, other)
    lower, upper = bounds(ratio) or (-math.inf, math.inf)
    return ratio.value, 1 if lower > 0 else -1 if upper < 0 else 0


if __name__ == "__main__":
    main()
