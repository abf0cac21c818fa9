"""The columns of a comparison, and the words for what they hold."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Final

from bench.analysis.across.comparison import ComparedRow, Comparison
from bench.analysis.across.entries import ComparedFile, Entry
from bench.render import units
from bench.render.model.column import Column, make_column
from bench.render.model.resource_columns import COSTS
from bench.render.phrases import change, ends, format_count, plus_minus
from bench.stats.intervals import POWER, Estimate, TSummary, mean_of, ratio_of

#: The column that a pivot shows unless told otherwise.
DEFAULT_VALUE: Final = "ratio"


def throughput_ratio(slowdown: TSummary | None) -> Estimate | None:
    """Return the contender's images/s over the baseline's."""
    return None if slowdown is None else ratio_of(-slowdown)


def change_or_ratio(comparison: Comparison, slowdown: TSummary) -> tuple[str, str]:
    """Word a difference, on one machine as a change of time, else as a ratio of speeds; and its interval or ""."""
    if comparison.gives_verdicts:
        return change(ratio_of(slowdown))
    ratio = ratio_of(-slowdown)
    return units.factor(ratio.value), ends(ratio)


def describe_difference(comparison: Comparison, slowdown: TSummary) -> str:
    """Word a difference and its interval: 4.1 % slower [1.9, 6.4], or 4.68 times [4.35, 5.04]."""
    return " ".join(change_or_ratio(comparison, slowdown)).rstrip()


def throughput_of(entry: Entry | None) -> Estimate | None:
    """Return images per second; None where there are none."""
    return None if entry is None or entry.speed is None else mean_of(entry.speed)


def epoch_seconds(side: ComparedFile, entry: Entry | None) -> Estimate | None:
    """Return the seconds of one pass over the whole training set."""
    speed = throughput_of(entry)
    return None if speed is None else speed.inverse(side.dataset.train_samples)


def describe_entry(entry: Entry | None) -> str:
    """Say in a line what a file holds of a scenario."""
    if entry is None:
        return "not there"
    words = []
    throughput = throughput_of(entry)
    if throughput is not None:
        words.append(f"{units.significant(throughput.value)} images/s {plus_minus(throughput)}".rstrip())
    if entry.accuracy is not None:
        words.append(f"accuracy {units.accuracy(entry.accuracy)}")
    words.append(f"n = {entry.n}")
    if entry.trouble is not None:
        words.append(entry.trouble)
    return ", ".join(words)


def detectable(row: ComparedRow) -> float | None:
    """Return the least slowdown that would show; None where none would."""
    return None if row.detectable is None or math.isinf(row.detectable) else row.detectable


def _processes(row: ComparedRow) -> str:
    """Write the numbers of processes as "3", or as "3, 2/3" where the sides or what was planned differ."""
    ns = [
        "0" if entry is None else str(entry.n) if entry.n >= entry.planned else f"{entry.n}/{entry.planned}"
        for entry in (row.baseline, row.contender)
    ]
    return ns[0] if ns[0] == ns[1] else ", ".join(ns)


def is_single(row: ComparedRow) -> bool:
    """Tell whether a side has a single process, so that nothing can be told apart."""
    return row.slowdown is not None and row.slowdown.error is None


def _accuracy_change(row: ComparedRow) -> float | None:
    before, after = (None if entry is None else entry.accuracy for entry in (row.baseline, row.contender))
    return None if before is None or after is None else after - before


def comparison_columns(
    comparison: Comparison, rows: Sequence[ComparedRow], *, gate: bool
) -> Sequence[Column[ComparedRow]]:
    """Return the columns in the order of a wide table; every format has all of them, for every kind of comparison."""
    train_samples = comparison.baseline.dataset.train_samples
    verdicts = comparison.gives_verdicts
    n_varies = len({_processes(row) for row in rows}) > 1  # else it stands in the title

    def before(row: ComparedRow) -> Estimate | None:
        return throughput_of(row.baseline)

    def after(row: ComparedRow) -> Estimate | None:
        return throughput_of(row.contender)

    def epochs(row: ComparedRow) -> tuple[Estimate | None, Estimate | None]:
        return epoch_seconds(comparison.baseline, row.baseline), epoch_seconds(comparison.contender, row.contender)

    def format_epochs(row: ComparedRow) -> str | None:
        about = "≈" if row.recipe.samples is not None and row.recipe.samples < train_samples else ""
        texts = [units.ABSENT if epoch is None else f"{about}{units.seconds(epoch.value)}" for epoch in epochs(row)]
        return None if epochs(row) == (None, None) else " → ".join(texts)

    return (
        make_column(
            "baseline_throughput",
            before,
            units.significant,
            key="baseline_images_per_second",
            title="baseline\nimages/s",
            detail=plus_minus,
            priority=2,
            explanation="images trained per second of the epoch windows, geometric mean over n processes; ± is its "
            f"95 % t interval over processes (log scale; {units.TIMES_OVER} where wider than 100 %): n = 1 has none",
        ),
        make_column(
            "contender_throughput",
            after,
            units.significant,
            key="contender_images_per_second",
            title="contender\nimages/s",
            detail=plus_minus,
            priority=1,
        ),
        make_column(
            "n",
            _processes,
            priority=2,
            data=False,
            text=lambda row: _processes(row) if n_varies else None,
            explanation="fresh processes; 3, 2/3: 2 of 3 of the contender",
        ),
        make_column("baseline_n", lambda row: None if row.baseline is None else row.baseline.n),
        make_column("contender_n", lambda row: None if row.contender is None else row.contender.n),
        make_column(
            DEFAULT_VALUE,
            lambda row: throughput_ratio(row.slowdown),
            key="throughput_ratio",
            title="time per image\n[95 % interval]" if verdicts else "ratio\n[95 % interval]",
            interval=True,
            priority=0,
            words=lambda row: None if row.slowdown is None else change_or_ratio(comparison, row.slowdown),
            explanation=_describe_change(comparison),
        ),
        make_column(
            "epochs",
            format_epochs,
            title="epoch",
            priority=8,
            data=False,
            explanation=f"one pass over all {train_samples:,} training images, baseline → contender; ≈ is extrapolated "
            "from the part that was run",
        ),
        make_column("baseline_epoch_seconds", lambda row: epochs(row)[0], interval=True),
        make_column("contender_epoch_seconds", lambda row: epochs(row)[1], interval=True),
        make_column("baseline_accuracy", lambda row: None if row.baseline is None else row.baseline.accuracy),
        make_column("contender_accuracy", lambda row: None if row.contender is None else row.contender.accuracy),
        make_column(
            "accuracy_difference",
            _accuracy_change,
            units.accuracy_change,
            title="accuracy\nchange",
            priority=4,
            explanation="final accuracy, mean over processes: contender's less baseline's",
        ),
        *_resource_columns(),
        make_column(
            "detectable_slowdown",
            detectable,
            units.percentage,
            title="detects\nfrom",
            priority=3 if gate else 6,
            explanation=f"the slowdown that would be called regressed in {10 * POWER:.0f} of 10 comparisons, "
            "at this spread and n",
        ),
        make_column("p_slower"),
        make_column("p_faster"),
        make_column(
            "verdict" if verdicts else "standing",
            lambda row: str(row.outcome),
            key="verdict",
            text=lambda row: "n = 1: no interval" if is_single(row) and not verdicts else str(row.outcome),
            title="verdict" if verdicts else "contender is",
            number=False,
            priority=0,
            explanation=_describe_verdict(comparison) if verdicts else _STANDING,
        ),
        make_column("reason", number=False),
    )


def _resource_columns() -> list[Column[ComparedRow]]:
    """Return what both sides took besides time: a column for people, then one of each side for programs."""
    columns = _of_both(
        "joules_per_image",
        lambda entry: entry.energy.joules_per_image,
        units.milli,
        "mJ/image",
        5,
        "millijoules of an image in the epoch windows, baseline → contender",
    )
    for field, name, title, priority, _explanation in COSTS:
        columns += _of_both(
            name,
            functools.partial(_billed, field),
            units.significant,
            title,
            priority,
            "baseline → contender, each at the price of its file" if field == "per_epoch" else "",
        )
    return columns


def _billed(field: str, entry: Entry) -> Estimate | float | None:
    return None if entry.bill is None else getattr(entry.bill, field)


def _of_both(
    name: str,
    read: Callable[[Entry], Estimate | float | None],
    unit: Callable[[float], str],
    title: str,
    priority: int,
    explanation: str,
) -> list[Column[ComparedRow]]:
    def read_side(side: str, row: ComparedRow) -> Estimate | float | None:
        entry: Entry | None = getattr(row, side)
        return None if entry is None else read(entry)

    def words(row: ComparedRow) -> str | None:
        values = [read_side(side, row) for side in _SIDES]
        numbers = [value.value if isinstance(value, Estimate) else value for value in values]
        texts = [units.ABSENT if number is None else unit(number) for number in numbers]
        return None if numbers == [None, None] else " → ".join(texts)

    return [
        make_column(f"{name}_of_both", words, title=title, priority=priority, data=False, explanation=explanation),
        *(make_column(f"{side}_{name}", functools.partial(read_side, side), interval=True) for side in _SIDES),
    ]


_SIDES: Final = ("baseline", "contender")
_STANDING: Final = "faster or slower where the interval leaves out 1"


def _describe_change(comparison: Comparison) -> str:
    over = "processes" if comparison.sessions is None else "processes and sessions"
    interval = f"its 95 % interval over {over} (log scale)"
    if not comparison.gives_verdicts:
        return f"contender's images/s over baseline's, and {interval}"
    return (
        f"time per image, contender against baseline, and {interval}; "
        "a negative end lies on the other side: faster where it says slower"
    )


def _describe_verdict(comparison: Comparison) -> str:
    settings = comparison.settings
    return (
        f"regressed: surely more than {units.percentage(settings.margin)} slower (family-wise error "
        f"{settings.alpha:g} over {format_count(len(comparison.rows), 'scenario')}, Holm); improved: as surely faster; "
        f"unchanged: surely less than {units.percentage(settings.tolerance)} slower; inconclusive: neither; "
        "underpowered: not even half the speed would be seen"
    )
