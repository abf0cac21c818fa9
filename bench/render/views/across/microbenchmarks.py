"""Two sides of micro-benchmarks as one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.analysis.across.microbenchmarks import MicrobenchmarkFile, MicrobenchmarkRow
from bench.machine.fingerprint import machine_differences
from bench.render import units
from bench.render.model.axis_columns import AXES
from bench.render.model.column import Column, make_column
from bench.render.model.marks import FASTER, MISSING, OPEN, SLOWER
from bench.render.model.table import Table, hidden_column, make_table
from bench.render.model.words.captions import describe_machine, describe_versions
from bench.render.phrases import ends, format_count, plus_minus


def microbenchmark_table(
    baseline: MicrobenchmarkFile, contender: MicrobenchmarkFile, rows: Sequence[MicrobenchmarkRow]
) -> Table:
    """Return a row for each micro-benchmark of either side."""
    columns: list[Column[MicrobenchmarkRow]] = [*_COLUMNS[:2], *(hidden_column(axis) for axis in AXES), *_COLUMNS[2:]]
    differences = machine_differences(baseline.environment, contender.environment)
    told_apart = sum(_mark(row) in {FASTER, SLOWER} for row in rows)
    chance = " (5 of 100 of the same speed are by chance)" if told_apart else ""
    return make_table(
        "micro-benchmarks",
        columns,
        rows,
        caption=[
            ("baseline", _describe_file(baseline)),
            ("contender", _describe_file(contender)),
            ("machine", describe_machine(baseline.environment)),
            *([("differs", "; ".join(map(str, differences)))] if differences else []),
            ("software", describe_versions(baseline.environment)),
            ("contender's", describe_versions(contender.environment)),
        ],
        facts={"baseline": baseline.name, "contender": contender.name},
        notes=[("", f"{told_apart} of {len(rows)} told apart{chance}"), ("", _UNIT)],
        mark=_mark,
    )


_UNIT: Final = (
    "a file is one process and counts as one number, the median of its rounds, since rounds of one process are not "
    "independent; intervals need several files on both sides, each side a folder"
)


def _describe_file(side: MicrobenchmarkFile) -> str:
    return f"{side.name}, n = {format_count(len(side.created_at), 'process', 'processes')}, {side.created_at[0]}"


def _mark(row: MicrobenchmarkRow) -> str:
    ratio = row.ratio
    if ratio is None:
        return MISSING
    if ratio.lower is None or ratio.upper is None or ratio.lower <= 1 <= ratio.upper:
        return OPEN
    return SLOWER if ratio.value > 1 else FASTER


_COLUMNS: Final[Sequence[Column[MicrobenchmarkRow]]] = (
    make_column("micro", lambda row: row.micro.name, number=False, priority=0),
    make_column("name", lambda row: row.scenario.name, title="scenario", number=False, priority=0, data=False),
    make_column(
        "baseline_seconds",
        unit=units.seconds,
        title="baseline",
        priority=1,
        detail=plus_minus,
        explanation="seconds of a call between two barriers, geometric mean over processes",
    ),
    make_column("contender_seconds", unit=units.seconds, title="contender", priority=1, detail=plus_minus),
    make_column(
        "ratio",
        unit=units.factor,
        key="time_ratio",
        title="time ratio\n[95 % interval]",
        priority=0,
        detail=ends,
        explanation="contender's time over the baseline's, and its Welch interval over processes (log scale)",
    ),
)
