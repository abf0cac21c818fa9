"""The columns of a comparison, and of an overview of several."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from bench.analysis.comparison import ComparedRow, Comparison, Kind, gate_refusal
from bench.analysis.entries import ComparedFile, Entry
from bench.analysis.verdict import Outcome, Relation, Verdict, worst
from bench.render import units
from bench.render.model.captions import describe_machine
from bench.render.model.columns import Column, make_column, plus_minus_of
from bench.render.model.marks import FASTER, MARK_OF_VERDICT, OPEN, SLOWER, TONE_OF_VERDICT, Tone
from bench.render.phrases import change, format_count
from bench.stats.intervals import POWER, Estimate, TSummary, bounds, mean_of, ratio_of

DEFAULT_VALUE: Final = "ratio"


#: From so many contenders on, nobody reads a table of scenarios for each of them.
MANY: Final = 10

#: Of an overview that is meant to be read; the worst come first.
LONGEST: Final = 100

_STANDING_MARKS: Final = {Relation.FASTER: FASTER, Relation.SLOWER: SLOWER, Relation.NOT_TOLD_APART: OPEN}


def mark_of(outcome: Outcome) -> str:
    return MARK_OF_VERDICT[outcome] if isinstance(outcome, Verdict) else _STANDING_MARKS[outcome]


def tone_of(outcome: Outcome) -> Tone:
    return TONE_OF_VERDICT[outcome] if isinstance(outcome, Verdict) else Tone.PLAIN


def detail_of(comparison: Comparison, row: ComparedRow) -> list[str]:
    sides = ((comparison.baseline, row.baseline), (comparison.contender, row.contender))
    lines = [f"{side.name}: {_describe_entry(entry)}" for side, entry in sides]
    if row.detectable is not None:
        detectable = _detectable(row)
        lines.append("no slowdown would show here" if detectable is None else f"slowdowns show here from {detectable}")
    return lines


def _describe_entry(entry: Entry | None) -> str:
    if entry is None:
        return "not there"
    words = []
    if entry.speed is not None:
        speed = mean_of(entry.speed)
        words.append(f"{units.significant(speed.value)} images/s {_plus_minus(speed)}".rstrip())
    if entry.accuracy is not None:
        words.append(f"accuracy {units.accuracy(entry.accuracy)}")
    words.append(f"n = {entry.n}")
    if entry.trouble is not None:
        words.append(entry.trouble)
    return ", ".join(words)


def _speed(entry: Entry | None) -> Estimate | None:
    return None if entry is None or entry.speed is None else mean_of(entry.speed)


def _plus_minus(estimate: Estimate | None) -> str:
    if estimate is None or estimate.upper is None:
        return ""
    return units.plus_minus(estimate.value, estimate.upper)


def _epoch(side: ComparedFile, entry: Entry | None) -> Estimate | None:
    """Return the seconds of one pass over the whole training set."""
    speed = _speed(entry)
    return None if speed is None else speed.inverse(side.dataset.train_samples)


def epoch_seconds(side: ComparedFile, entry: Entry | None) -> float | None:
    epoch = _epoch(side, entry)
    return None if epoch is None else epoch.value


def ratio_of_row(slowdown: TSummary | None) -> Estimate | None:
    """Contender's images/s over the baseline's."""
    return None if slowdown is None else ratio_of(-slowdown)


def _processes(row: ComparedRow) -> str:
    """As "3", or "3, 2/3" where the sides or what was planned differ."""
    ns = [
        "0" if entry is None else str(entry.n) if entry.n >= entry.planned else f"{entry.n}/{entry.planned}"
        for entry in (row.baseline, row.contender)
    ]
    return ns[0] if ns[0] == ns[1] else ", ".join(ns)


def _accuracy_change(row: ComparedRow) -> float | None:
    if row.baseline is None or row.contender is None:
        return None
    if row.baseline.accuracy is None or row.contender.accuracy is None:
        return None
    return row.contender.accuracy - row.baseline.accuracy


def _detectable(row: ComparedRow) -> str | None:
    return None if row.detectable is None or math.isinf(row.detectable) else units.percentage(row.detectable)


def _change(comparison: Comparison, slowdown: TSummary) -> tuple[str, str]:
    """In words: of one machine as a change, of two as a ratio; and the interval, "" without one."""
    if comparison.gives_verdicts:
        return change(ratio_of(slowdown))
    ratio = ratio_of(-slowdown)
    interval = "" if ratio.lower is None or ratio.upper is None else _interval(ratio.lower, ratio.upper)
    return units.factor(ratio.value), interval


def _interval(lower: float, upper: float) -> str:
    return f"[{units.bound(lower)}, {units.bound(upper)}]"


def describe_change(comparison: Comparison, slowdown: TSummary) -> str:
    return " ".join(_change(comparison, slowdown)).rstrip()


def columns_of(comparison: Comparison, rows: Sequence[ComparedRow], *, gate: bool) -> Sequence[Column[ComparedRow]]:
    """In the order of a wide table; all formats have all of them, whatever is compared."""
    train_samples = comparison.baseline.dataset.train_samples
    verdicts = comparison.gives_verdicts
    n_varies = len({_processes(row) for row in rows}) > 1  # else it stands in the title

    def before(row: ComparedRow) -> Estimate | None:
        return _speed(row.baseline)

    def after(row: ComparedRow) -> Estimate | None:
        return _speed(row.contender)

    def epochs(row: ComparedRow) -> str | None:
        seconds = [
            epoch_seconds(side, entry)
            for side, entry in ((comparison.baseline, row.baseline), (comparison.contender, row.contender))
        ]
        about = "≈" if row.recipe.samples is not None and row.recipe.samples < train_samples else ""
        words = [units.ABSENT if each is None else f"{about}{units.seconds(each)}" for each in seconds]
        return None if seconds == [None, None] else " → ".join(words)

    def change_text(row: ComparedRow) -> str | None:
        return None if row.slowdown is None else _change(comparison, row.slowdown)[0]

    def interval(row: ComparedRow) -> str:
        return "" if row.slowdown is None else _change(comparison, row.slowdown)[1]

    return (
        make_column(
            "baseline_throughput",
            before,
            units.significant,
            key="baseline_images_per_second",
            title="baseline\nimages/s",
            interval=True,
            priority=2,
            explanation="images trained per second of the epoch windows, geometric mean over n processes; ± is its "
            f"95 % t interval over processes (log scale; {units.TIMES_OVER} where wider than 100 %): n = 1 has none",
        ),
        make_column("baseline_interval", plus_minus_of(before), title="\n±", priority=7, data=False),
        make_column(
            "contender_throughput",
            after,
            units.significant,
            key="contender_images_per_second",
            title="contender\nimages/s",
            interval=True,
            priority=1,
        ),
        make_column("contender_interval", plus_minus_of(after), title="\n±", priority=7, data=False),
        make_column(
            "n",
            _processes,
            priority=5,
            data=False,
            text=lambda row: _processes(row) if n_varies else None,
            explanation="fresh processes; 3, 2/3: 2 of 3 of the contender",
        ),
        make_column("baseline_n", lambda row: None if row.baseline is None else row.baseline.n),
        make_column("contender_n", lambda row: None if row.contender is None else row.contender.n),
        make_column(
            DEFAULT_VALUE,
            lambda row: ratio_of_row(row.slowdown),
            key="throughput_ratio",
            title="time per image\n[95 % interval]" if verdicts else "ratio\n[95 % interval]",
            interval=True,
            priority=0,
            text=change_text,
            detail=interval,
            explanation=_CHANGE if verdicts else _RATIO,
        ),
        make_column("epochs", epochs, title="epoch", priority=8, data=False, explanation=_EPOCH.format(train_samples)),
        make_column("baseline_epoch_seconds", lambda row: _epoch(comparison.baseline, row.baseline), interval=True),
        make_column("contender_epoch_seconds", lambda row: _epoch(comparison.contender, row.contender), interval=True),
        make_column("baseline_accuracy", lambda row: None if row.baseline is None else row.baseline.accuracy),
        make_column("contender_accuracy", lambda row: None if row.contender is None else row.contender.accuracy),
        make_column(
            "accuracy_difference",
            _accuracy_change,
            units.accuracy_change,
            title="accuracy\nchange",
            priority=4,
            explanation="final accuracy on the whole test set, mean over processes: contender's less baseline's",
        ),
        make_column(
            "detectable_slowdown",
            lambda row: None if row.detectable is None or math.isinf(row.detectable) else row.detectable,
            title="detects\nfrom",
            priority=3 if gate else 6,
            text=_detectable,
            explanation=f"the slowdown that would be called regressed in {10 * POWER:.0f} of 10 comparisons, "
            "at this spread and n",
        ),
        make_column("p_slower", lambda row: row.p_slower),
        make_column("p_faster", lambda row: row.p_faster),
        make_column(
            "verdict" if verdicts else "standing",
            lambda row: str(row.outcome),
            key="verdict",
            title="verdict" if verdicts else "contender is",
            number=False,
            priority=0,
            explanation=_describe_verdict(comparison) if verdicts else _STANDING,
        ),
        make_column("reason", lambda row: row.reason, number=False),
    )


_CHANGE: Final = (
    "time per image, contender against baseline, and its 95 % Welch interval over processes (log scale); "
    "a negative end lies on the other side: faster where it says slower"
)

_RATIO: Final = "contender's images/s over baseline's, and its 95 % Welch interval over processes (log scale)"

_EPOCH: Final = (
    "one pass over all {:,} training images, baseline → contender; ≈ is extrapolated from the part that was run"
)

_STANDING: Final = "faster or slower where the interval leaves out 1"


def _describe_verdict(comparison: Comparison) -> str:
    settings = comparison.settings
    return (
        f"regressed: surely more than {units.percentage(settings.margin)} slower (family-wise error "
        f"{settings.alpha:g} over {format_count(len(comparison.rows), 'scenario')}, Holm); improved: as surely faster; "
        f"unchanged: surely less than {units.percentage(settings.tolerance)} slower; inconclusive: neither; "
        "underpowered: not even half the speed would be seen"
    )


OVERVIEW: Final[Sequence[Column[Comparison]]] = (
    make_column("contender", lambda c: c.contender.name, number=False, priority=0),
    make_column(
        "machine", lambda c: None if c.kind is not Kind.HARDWARE else _short_machine(c), number=False, priority=3
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
        lambda c: ratio_of_row(c.slowdown),
        title="geometric mean\n[95 % interval]",
        priority=0,
        text=lambda c: None if (slowdown := c.slowdown) is None else _change(c, slowdown)[0],
        detail=lambda c: "" if (slowdown := c.slowdown) is None else _change(c, slowdown)[1],
        explanation="over the common scenarios only, each counting the same; the interval is that of their processes",
    ),
    make_column(
        "outcomes",
        lambda c: format_counts(Counter(row.outcome for row in c.rows)),
        title="scenarios",
        number=False,
        priority=4,
    ),
    make_column("overall", lambda c: str(overall(c)), title="in all", number=False, priority=0),
)


def _short_machine(comparison: Comparison) -> str:
    return describe_machine(comparison.contender.environment)


def overall(comparison: Comparison) -> Outcome:
    """Of a whole comparison: the worst verdict, or the standing of the mean."""
    if gate_refusal(comparison) is not None and (comparison.kind is not Kind.HARDWARE or not comparison.common):
        return Verdict.INCOMPARABLE
    if comparison.gives_verdicts:
        return worst(row.outcome for row in comparison.rows if isinstance(row.outcome, Verdict))
    slowdown = comparison.slowdown
    ends = None if slowdown is None else bounds(slowdown)
    if ends is None:
        return Relation.NOT_TOLD_APART
    return Relation.SLOWER if ends[0] > 0 else Relation.FASTER if ends[1] < 0 else Relation.NOT_TOLD_APART


_SEVERITY: Final = (
    *(Verdict.REGRESSED, Verdict.MISSING, Verdict.INCOMPARABLE, Verdict.INVALID, Relation.SLOWER),
    *(Verdict.UNDERPOWERED, Verdict.INCONCLUSIVE, Relation.NOT_TOLD_APART),
    *(Verdict.UNCHANGED, Verdict.IMPROVED, Relation.FASTER),
)


def badness(comparison: Comparison) -> tuple[int, float]:
    slowdown = comparison.slowdown
    return _SEVERITY.index(overall(comparison)), 0.0 if slowdown is None else -slowdown.value


def format_counts(outcomes: Counter[Outcome]) -> str:
    return ", ".join(f"{outcomes[each]:,} {each}" for each in _SEVERITY if outcomes[each])
