"""Several contenders against one baseline at a glance: one row for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from bench.analysis.comparison import Comparison, Kind, gate_refusal
from bench.analysis.entries import ComparedFile
from bench.analysis.verdict import Outcome, Relation, Verdict, worst
from bench.render.model.captions import describe_dataset, describe_machine
from bench.render.model.columns import Column, make_column
from bench.render.model.marks import tone_of_outcome
from bench.render.model.table import Table, make_table
from bench.render.views.comparison_columns import DEFAULT_VALUE, change_or_ratio, throughput_ratio
from bench.stats.intervals import bounds

#: With more contenders nobody reads a table of scenarios for each of them.
MANY: Final = 10

#: The most rows of an overview that is meant to be read.
_LONGEST: Final = 100


def overview(comparisons: Sequence[Comparison]) -> Table:
    """Return one row per contender; where they are too many to read, the worst first and no more than those."""
    shown = list(comparisons)
    notes = []
    if len(shown) > _LONGEST:
        shown = sorted(shown, key=_badness)[:_LONGEST]
        notes.append(("", f"the worst {_LONGEST} of {len(comparisons):,} contenders; --format csv and json have all"))
    if len(comparisons) > MANY:
        notes.append(("", "the scenarios of each: name fewer files, or take --format csv or json"))
    baseline = comparisons[0].baseline
    outcomes = format_counts(map(_overall, comparisons))
    return make_table(
        "overview",
        _COLUMNS,
        shown,
        caption=[
            ("baseline", describe_file(baseline)),
            ("data", describe_dataset(baseline.dataset)),
            ("machine", describe_machine(baseline.environment)),
            ("contenders", f"{len(comparisons):,}: {outcomes}"),
        ],
        notes=notes,
        tone=lambda comparison: tone_of_outcome(_overall(comparison)),
    )


def describe_file(side: ComparedFile) -> str:
    """Name a result file of a comparison."""
    return f"{side.name}, suite {side.suite}, {side.created_at}"


_COLUMNS: Final[Sequence[Column[Comparison]]] = (
    make_column("contender", lambda c: c.contender.name, number=False, priority=0),
    make_column(
        "machine",
        lambda c: describe_machine(c.contender.environment) if c.kind is Kind.HARDWARE else None,
        number=False,
        priority=3,
    ),
    make_column(
        "common",
        lambda c: len(c.common),
        title="common\nscenarios",
        priority=2,
        text=lambda c: f"{len(c.common)} of {len(c.rows)}",
    ),
    make_column(
        DEFAULT_VALUE,
        lambda c: throughput_ratio(c.slowdown),
        title="geometric mean\n[95 % interval]",
        priority=0,
        text=lambda c: None if (slowdown := c.slowdown) is None else change_or_ratio(c, slowdown)[0],
        detail=lambda c: "" if (slowdown := c.slowdown) is None else change_or_ratio(c, slowdown)[1],
        explanation="over the common scenarios only, each counting the same; the interval is that of their processes",
    ),
    make_column(
        "outcomes",
        lambda c: format_counts(row.outcome for row in c.rows),
        title="scenarios",
        number=False,
        priority=4,
    ),
    make_column("overall", lambda c: str(_overall(c)), title="in all", number=False, priority=0),
)


def _overall(comparison: Comparison) -> Outcome:
    """Return the worst verdict of all rows; without verdicts, how the means relate."""
    if gate_refusal(comparison) is not None and (comparison.kind is not Kind.HARDWARE or not comparison.common):
        return Verdict.INCOMPARABLE
    if comparison.gives_verdicts:
        return worst(row.outcome for row in comparison.rows if isinstance(row.outcome, Verdict))
    slowdown = comparison.slowdown
    ends = None if slowdown is None else bounds(slowdown)
    if ends is None:
        return Relation.NOT_TOLD_APART
    return Relation.SLOWER if ends[0] > 0 else Relation.FASTER if ends[1] < 0 else Relation.NOT_TOLD_APART


_WORST_FIRST: Final = (
    *(Verdict.REGRESSED, Verdict.MISSING, Verdict.INCOMPARABLE, Verdict.INVALID, Relation.SLOWER),
    *(Verdict.UNDERPOWERED, Verdict.INCONCLUSIVE, Relation.NOT_TOLD_APART),
    *(Verdict.UNCHANGED, Verdict.IMPROVED, Relation.FASTER),
)


def _badness(comparison: Comparison) -> tuple[int, float]:
    """Return a key that sorts the worst first: by outcome, then by slowdown."""
    slowdown = comparison.slowdown
    return _WORST_FIRST.index(_overall(comparison)), 0.0 if slowdown is None else -slowdown.value


def format_counts(outcomes: Iterable[Outcome]) -> str:
    """Count outcomes, the worst first: 1 regressed, 3 unchanged."""
    counts = Counter(outcomes)
    return ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in _WORST_FIRST if counts[outcome])
