"""Play the same recorded blocks of identical code to our gate and to the rules that are in use today.

`nox -s rivals -- results/calibration/MACHINE.blocks.json -o FILE.json`, `… -- --show FILE.json`

The rivals measure a baseline and then a contender, one after the other: four neighbouring blocks and the next four, all
48 windows of each scenario, which takes as long as our gate's first look. (The short threshold has one block each, as a
job that runs its benchmarks once has.) Slowdowns multiply the contender's times. A run raises an alarm when any of its
scenarios does: that is what makes a job red.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_benchmark.utils import parse_compare_fail
from scipy.special import binom
from scipy.stats import mannwhitneyu

from bench.analysis.verdict import Verdict
from bench.experiments.gate import calibration
from bench.experiments.gate.evidence import evidence_of
from bench.records import store
from bench.records.gate import Block, GateFile
from bench.scenarios.scenario import Scenario
from bench.stats import multiple_testing

SLOWDOWNS = (0.0, 0.02, 0.05, 0.10, 0.20)
RUNS = 1000
SEED = 1

#: Seconds per sample of every window of a run.
Windows = Sequence[float]
Rule = Callable[[Windows, Windows], bool]

_MEDIAN_5_PERCENT = parse_compare_fail("median:5%")  # type: ignore[no-untyped-call]  # it has no types


def threshold(baseline: Windows, contender: Windows) -> bool:
    """Return whether the contender is slower by more than 5 % on average."""
    return statistics.fmean(contender) > 1.05 * statistics.fmean(baseline)


def pytest_benchmark(baseline: Windows, contender: Windows) -> bool:
    """Decide by pytest-benchmark's own comparison, as `--benchmark-compare-fail=median:5%` calls it."""
    current, compared = {"median": statistics.median(contender)}, {"median": statistics.median(baseline)}
    return bool(_MEDIAN_5_PERCENT.fails(current, compared))


def asv(baseline: Windows, contender: Windows) -> bool:
    """Decide as `asv continuous`: medians differ by the factor 1.1 and `statistics.is_different` at its p of 0.002.

    asv/commands/compare.py `_is_result_better`, asv_runner/statistics.py `is_different`: Mann-Whitney where so many
    samples can reach that p, which 48 can.
    """
    assert 1 / binom(len(baseline) + len(contender), min(len(baseline), len(contender))) < 0.002
    different = mannwhitneyu(baseline, contender).pvalue < 0.002
    return bool(different and statistics.median(baseline) < statistics.median(contender) / 1.1)


def benchstat(baseline: Windows, contender: Windows) -> bool:
    """Decide as golang.org/x/perf/cmd/benchstat, by Mann-Whitney's p below its alpha of 0.05, if slower."""
    different = mannwhitneyu(baseline, contender).pvalue < 0.05
    return bool(different and statistics.median(contender) > statistics.median(baseline))


@dataclass(frozen=True, slots=True)
class Rival:
    name: str
    rule: Rule
    #: Of each side.
    blocks: int


RIVALS = (
    Rival("threshold of 5 % on the mean, one short run each", threshold, 1),
    Rival("threshold of 5 % on the mean", threshold, 4),
    Rival("pytest-benchmark `--benchmark-compare-fail=median:5%`", pytest_benchmark, 4),
    Rival("asv `continuous` (factor 1.1, Mann-Whitney p < 0.002)", asv, 4),
    Rival("benchstat (Mann-Whitney p < 0.05)", benchstat, 4),
)


def windows_of(blocks: Sequence[Block]) -> dict[Scenario, list[float]]:
    """Return every window, from whichever side: the code is the same."""
    found: dict[Scenario, list[float]] = {}
    for block in blocks:
        for each in block.passes:
            for measured in each.scenarios:
                pairs = zip(measured.window_seconds, measured.samples, strict=True)
                found.setdefault(measured.scenario, []).extend(seconds / samples for seconds, samples in pairs)
    return found


def alarms(rival: Rival, blocks: Sequence[Block], runs: int) -> dict[float, int]:
    """Count the runs with an alarm for each slowdown; all slowdowns see the same stretches of blocks."""
    generator = random.Random(SEED)
    counts = dict.fromkeys(SLOWDOWNS, 0)
    for _ in range(runs):
        start = generator.randrange(len(blocks) - 2 * rival.blocks + 1)
        middle, end = start + rival.blocks, start + 2 * rival.blocks
        baseline, contender = windows_of(blocks[start:middle]), windows_of(blocks[middle:end])
        for slowdown in SLOWDOWNS:
            slowed = {key: [(1 + slowdown) * value for value in values] for key, values in contender.items()}
            counts[slowdown] += any(rival.rule(baseline[scenario], slowed[scenario]) for scenario in baseline)
    return counts


def ours(gate_file: GateFile, runs: int) -> tuple[dict[float, int], dict[float, int], float]:
    """Return (gates that said regressed, gates that passed, minutes of the median gate on identical code)."""
    made = calibration.calibrate(gate_file, gates=runs, slowdowns=SLOWDOWNS, seed=SEED)
    regressed = {each.slowdown: each.verdicts.get(str(Verdict.REGRESSED), 0) for each in made.replays}
    passed = {
        each.slowdown: sum(count for verdict, count in each.verdicts.items() if Verdict(verdict).passes)
        for each in made.replays
    }
    return regressed, passed, made.replays[0].median_seconds / 60


def play(path: Path, runs: int) -> dict[str, object]:
    gate_file = store.read(path, GateFile)
    evidence = evidence_of(gate_file.plan, gate_file.blocks)
    # A void block is none for anybody: the rivals get the same quiet stretches.
    blocks = [
        block
        for block, found in zip(gate_file.blocks, evidence, strict=True)
        if found.void is None and found.failure is None
    ]
    most = 2 * max(rival.blocks for rival in RIVALS)
    if len(blocks) < most:
        raise SystemExit(f"{path}: {len(blocks)} valid blocks are too few; the rivals take {most}")
    block_minutes = statistics.median(block.seconds for block in blocks) / 60
    regressed, passed, minutes = ours(gate_file, runs)
    methods: list[dict[str, object]] = [
        {
            "name": "`mnist-bench gate`",
            "minutes": minutes,
            "alarms": _by_percent(regressed),
            "passed": _by_percent(passed),
        }
    ]
    methods += [
        {
            "name": rival.name,
            "minutes": 2 * rival.blocks * block_minutes,
            "alarms": _by_percent(alarms(rival, blocks, runs)),
            "passed": None,
        }
        for rival in RIVALS
    ]
    return {
        "blocks": path.name,
        "valid_blocks": len(blocks),
        "runs": runs,
        "machine": gate_file.environment.host_processor_model_name,
        "cores": gate_file.environment.usable_core_count,
        "created_at": gate_file.created_at,
        "methods": methods,
    }


def _by_percent(counts: Mapping[float, int]) -> dict[str, int]:
    return {f"{100 * slowdown:g}": count for slowdown, count in counts.items()}


def markdown(document: dict[str, object]) -> str:
    """Return the table of a result file."""
    runs, methods = document["runs"], document["methods"]
    assert isinstance(runs, int)
    assert isinstance(methods, list)
    percents = [f"{100 * slowdown:g}" for slowdown in SLOWDOWNS if slowdown]
    lines = [
        (
            f"{runs:,} runs each over {document['valid_blocks']} recorded blocks of identical code on one machine "
            f"({document['machine']}, {document['cores']} cores)."
        ),
        "",
        "| rule | false alarms | " + " | ".join(f"+{percent} % caught" for percent in percents) + " | minutes |",
        "| :--- | ---: |" + " ---: |" * (len(percents) + 1),
    ]
    for method in methods:
        counts = method["alarms"]
        false_alarms = (
            f"{100 * counts['0'] / runs:.1f} % (≤ {100 * multiple_testing.exact_upper_bound(counts['0'], runs):.1f} %)"
        )
        caught = " | ".join(f"{100 * counts[percent] / runs:.1f} %" for percent in percents)
        lines.append(f"| {method['name']} | {false_alarms} | {caught} | {method['minutes']:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("blocks", type=Path, nargs="?", help="the recorded blocks of a calibration")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--show", type=Path, metavar="FILE", help="print the table of a result file")
    arguments = parser.parse_args()
    if arguments.show is not None:
        print(markdown(json.loads(arguments.show.read_text(encoding="utf-8"))), end="")
        return
    if arguments.blocks is None:
        parser.error("name the recorded blocks of a calibration, or --show a result file")
    document = play(arguments.blocks, arguments.runs)
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(markdown(document), end="")


if __name__ == "__main__":
    main()
