"""What a single image takes on both sides of a comparison, as a table of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.analysis.across.comparison import ComparedRow, Comparison, latency_slowdown
from bench.analysis.across.entries import Entry
from bench.analysis.prediction import PERCENTILES, TAIL
from bench.analysis.verdict import relate
from bench.render import units
from bench.render.model.column import Column, make_change_column, make_column
from bench.render.model.marks import MARK_OF_OUTCOME
from bench.render.model.table import Fact, Table, make_table
from bench.render.model.words.labels import listed_axes, shared_setting
from bench.render.phrases import plus_minus
from bench.render.views.predictions import METHOD
from bench.stats.intervals import Estimate, TSummary, mean_of, ratio_of
from bench.stats.order_statistics import percentile_name

_MEDIAN: Final = PERCENTILES[0]
_GATE: Final = (
    "two stored results give no verdict on latency: mnist-bench gate --metric latency measures both sides in turns"
)


def prediction_comparison_table(
    comparison: Comparison, rows: Sequence[ComparedRow], facts: dict[str, Fact]
) -> Table | None:
    """Return a row for each scenario of one network that both sides predicted with; None where there is none."""
    common = [row for row in rows if latency_slowdown(comparison, row, TAIL) is not None]
    if not common:
        return None
    scenarios = [row.scenario for row in common]
    return make_table(
        f"{scenarios[0].network}, prediction: a single image on both sides",
        [*listed_axes(scenarios), *_columns(comparison)],
        common,
        caption=[("method", METHOD), *shared_setting(scenarios)],
        facts={"table": "latency", **facts},
        notes=[("", _GATE)] if comparison.gives_verdicts else [],
        mark=lambda row: MARK_OF_OUTCOME[relate(_slowdown_of(comparison, row))],
    )


def _slowdown_of(comparison: Comparison, row: ComparedRow) -> TSummary:
    slowdown = latency_slowdown(comparison, row, TAIL)
    assert slowdown is not None
    return slowdown


def _columns(comparison: Comparison) -> list[Column[ComparedRow]]:
    return [
        *_columns_of(comparison, TAIL, priority=0),
        *_columns_of(comparison, _MEDIAN, priority=2),
        *(
            column
            for fraction in PERCENTILES
            if fraction not in {TAIL, _MEDIAN}
            for column in _columns_of(comparison, fraction, priority=5)
        ),
        make_column(
            "standing",
            lambda row: str(relate(_slowdown_of(comparison, row))),
            title="contender is",
            number=False,
            priority=1,
            explanation='faster or slower where the interval of p99 leaves out "equal"',
        ),
    ]


def _columns_of(comparison: Comparison, fraction: float, priority: int) -> tuple[Column[ComparedRow], ...]:
    name = percentile_name(fraction)
    key = name.replace(".", "_")

    def seconds(entry: Entry | None) -> Estimate | None:
        sample = None if entry is None else entry.latencies.get(fraction)
        return None if sample is None else mean_of(sample.moments)

    def ratio(row: ComparedRow) -> Estimate | None:
        slowdown = latency_slowdown(comparison, row, fraction)
        return None if slowdown is None else ratio_of(slowdown)

    sides = (("baseline", lambda row: seconds(row.baseline)), ("contender", lambda row: seconds(row.contender)))
    return (
        *(
            make_column(
                f"{side}_{key}_seconds",
                read,
                units.seconds,
                title=f"{side}\n{name}",
                priority=priority + 1,
                detail=plus_minus,
            )
            for side, read in sides
        ),
        make_change_column(
            f"{key}_ratio",
            ratio,
            title=f"{name}\n[95 % interval]",
            priority=priority,
            explanation=_EXPLANATION if fraction == TAIL else "",
        ),
    )


_EXPLANATION: Final = (
    "the time that 99 % of the images do not exceed, contender against baseline: geometric means over processes, and "
    "the interval over processes and sessions (log scale); a negative end lies on the other side"
)
