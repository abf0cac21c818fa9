"""Compare every two of many sessions of the same code: how often does `compare --gate` call one slower?

`python -m tests.benchmarks.session_pairs results/sessions`: without regard to sessions, with the spread that ships, and
with the spread of all other sessions of the folder; then again with a contender that is slower by a fifth. Sessions of
the suite `two_names.toml`, beside this file, have the tutorial's scenarios twice, under two names: how often does the
interval of their ratio, within one session, hold the truth, which is 1?
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.analysis.across.comparison import compare, gate_verdict
from bench.analysis.across.entries import ComparedFile, SessionSpread, index, shipped_spread, spread_of
from bench.analysis.groups import difference_in_blocks
from bench.records import store
from bench.records.result import ResultSet
from bench.stats import block_design, intervals
from bench.stats.intervals import Estimate

SLOWDOWN = 0.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    files = [index(path.name, store.read(path, ResultSet)) for path in sorted(folder.glob("*.json"))]
    pairs = comparable_pairs(files)
    print(f"{len(files)} sessions, {len(pairs)} ordered pairs of the same scenarios")
    if (spread_of_all := spread_of(files)) is not None:
        print(f"spread: sd {spread_of_all.sd:.3f}, {spread_of_all.degrees_of_freedom} degrees of freedom")
    for name, spread in (("no spread", None), ("the one that ships", shipped_spread())):
        report(name, pairs, [spread] * len(pairs))
    report("that of the other sessions", pairs, [spread_of(without(files, pair)) for pair in pairs])
    for network, ratios in ratios_of_two_names(files).items():
        missed = sum(not ratio.lower <= 1 <= ratio.upper for ratio in ratios if ratio.lower and ratio.upper)
        print(f"{network} under two names: {missed} of {len(ratios)} intervals miss the ratio 1")


def ratios_of_two_names(files: Sequence[ComparedFile]) -> dict[str, list[Estimate]]:
    """Return the ratio of the two rows of a scenario that names its threads in one of them, for each session."""
    ratios: dict[str, list[Estimate]] = {}
    for entries in (file.entries for file in files):
        for (scenario, recipe), entry in entries.items():
            unnamed = entries.get((msgspec.structs.replace(scenario, cpu_threads=None), recipe))
            if scenario.cpu_threads is None or unnamed is None:
                continue
            speeds = entry.log_speed_in_block, unnamed.log_speed_in_block
            spread = block_design.common_spread(entry.spread_in_blocks, unnamed.spread_in_blocks)
            difference = difference_in_blocks(*speeds, spread)
            if difference is not None:
                ratios.setdefault(scenario.network, []).append(intervals.ratio_of(difference))
    return ratios


def comparable_pairs(files: Sequence[ComparedFile]) -> list[tuple[ComparedFile, ComparedFile]]:
    """Return every ordered pair of sessions that measured the same."""
    return [pair for pair in itertools.permutations(files, 2) if pair[0].entries.keys() == pair[1].entries.keys()]


def without(files: Sequence[ComparedFile], pair: tuple[ComparedFile, ComparedFile]) -> list[ComparedFile]:
    return [file for file in files if file not in pair]


def report(
    name: str, pairs: Sequence[tuple[ComparedFile, ComparedFile]], spreads: Sequence[SessionSpread | None]
) -> None:
    for slowdown in (0.0, SLOWDOWN):
        verdicts = Counter(
            str(gate_verdict([compare(before, slowed(after, slowdown), sessions=spread)]))
            for (before, after), spread in zip(pairs, spreads, strict=True)
        )
        shares = ", ".join(f"{verdict} {count / len(pairs):.1%}" for verdict, count in verdicts.most_common())
        print(f"{name}, contender {slowdown:.0%} slower: {shares}")


def slowed(file: ComparedFile, slowdown: float) -> ComparedFile:
    """Return the file with times that are longer by this share (0.2 = a fifth)."""
    entries = {}
    for key, entry in file.entries.items():
        speed = entry.speed
        if speed is not None:
            speed = dataclasses.replace(speed, mean=speed.mean - math.log1p(slowdown))
        entries[key] = dataclasses.replace(entry, speed=speed)
    return dataclasses.replace(file, entries=entries)


if __name__ == "__main__":
    main()
