"""Comparisons -> tables and test cases. What is compared and how it is judged was decided in `analysis.comparison`."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from bench.analysis.comparison import ComparedRow, Comparison, Kind, gate_refusal
from bench.analysis.entries import ComparedFile, Entry
from bench.analysis.groups import Status
from bench.analysis.verdict import POWER, Outcome, Relation, Verdict, worst
from bench.machine.fingerprint import Difference
from bench.render import units
from bench.render.formats.junit import CaseOutcome, JUnitCase
from bench.render.model.columns import MAIN_AXES, SHOWN_AXES, Column, find, make_column, plus_minus_of
from bench.render.model.marks import MARKS, TONES
from bench.render.model.table import (
    FASTER,
    OPEN,
    SLOWER,
    Axes,
    Fact,
    Frame,
    Pivot,
    Table,
    TableRow,
    Tone,
    axes_of_pivot,
    cell_of,
    clean,
    count_words,
    dataset_words,
    for_programs,
    machine_words,
    n_words,
    numeric,
    pivot_table,
    recipe_words,
    setting_words,
    software_words,
    virtual_contexts,
)
from bench.render.phrases import change
from bench.stats.intervals import Estimate, LogDifference, bounds, mean_of, ratio_of
from mnist_core.recipe import Recipe

DEFAULT_VALUE: Final = "ratio"
#: From so many contenders on, nobody reads a table of scenarios for each of them.
_MANY: Final = 10
#: Of an overview that is meant to be read; the worst come first.
_LONGEST: Final = 100

_STANDING_MARKS: Final = {Relation.FASTER: FASTER, Relation.SLOWER: SLOWER, Relation.NOT_TOLD_APART: OPEN}
_CASES: Final[dict[Outcome, CaseOutcome]] = {
    Verdict.REGRESSED: CaseOutcome.FAILURE,
    Verdict.MISSING: CaseOutcome.FAILURE,
    Verdict.INCOMPARABLE: CaseOutcome.ERROR,
    Verdict.INVALID: CaseOutcome.ERROR,
    Verdict.INCONCLUSIVE: CaseOutcome.SKIPPED,
    Verdict.UNDERPOWERED: CaseOutcome.SKIPPED,
}


def _mark(outcome: Outcome) -> str:
    return MARKS[outcome] if isinstance(outcome, Verdict) else _STANDING_MARKS[outcome]


def _tone(outcome: Outcome) -> Tone:
    return TONES[outcome] if isinstance(outcome, Verdict) else Tone.PLAIN


def comparison_tables(
    comparisons: Sequence[Comparison],
    *,
    row: str | None = None,
    column: str | None = None,
    value: str = DEFAULT_VALUE,
    gate: bool = False,
    readable: bool = False,
) -> list[Table]:
    """One table per contender, network and recipe; or, with `row` or `column`, one pivot per contender and recipe.

    `readable`: for people, who want an overview of several contenders, and of many nothing else.

    Raises `ValueError` for a name that is none, with what may have been meant.
    """
    axes = axes_of_pivot(row, column)
    pivots = axes != (None, None)
    if not pivots and value != DEFAULT_VALUE:
        raise ValueError(f"--value {value} needs an axis: name --row or --column, e.g. --row batch_size")
    if readable and not pivots and len(comparisons) > _MANY:
        return [overview(comparisons)]
    built: list[Table] = []
    for comparison in comparisons:
        groups = _groups(comparison.rows, by_network=not pivots)
        for place, rows in enumerate(groups):
            columns = _columns(comparison, rows, gate=gate)
            pivot_value = find(value, numeric(columns), "value")
            frame = _frame(comparison, rows, first=place == 0, last=place == len(groups) - 1, gate=gate)
            built.append(_pivot(rows, axes, pivot_value, columns, frame) if pivots else _listing(rows, columns, frame))
    if readable and len(comparisons) > 1:
        built.append(overview(comparisons))
    return built


def overview(comparisons: Sequence[Comparison]) -> Table:
    """One row per contender, the worst first where there are more than anybody reads."""
    ordered = list(comparisons)
    notes = []
    if len(ordered) > _LONGEST:
        ordered = sorted(ordered, key=_badness)[:_LONGEST]
        notes.append(("", f"the worst {_LONGEST} of {len(comparisons):,} contenders; --format csv and json have all"))
    if len(comparisons) > _MANY:
        notes.append(("", "the scenarios of each: name fewer files, or take --format csv or json"))
    outcomes = Counter(overall(comparison) for comparison in comparisons)
    caption = [
        ("baseline", _side_words(comparisons[0].baseline)),
        ("data", dataset_words(comparisons[0].baseline.dataset)),
        ("machine", machine_words(comparisons[0].baseline.environment)),
        ("contenders", f"{len(comparisons):,}: {_counts(outcomes)}"),
    ]
    return Table(
        title="overview",
        caption=tuple((label, clean(text)) for label, text in caption),
        facts={},
        headings=tuple(column.heading for column in _OVERVIEW),
        rows=tuple(
            TableRow(
                cells=tuple(cell_of(column, comparison) for column in _OVERVIEW),
                tone=_tone(overall(comparison)),
            )
            for comparison in ordered
        ),
        notes=tuple(notes),
    )


def junit_cases(comparisons: Sequence[Comparison], *, gate: bool = False) -> list[JUnitCase]:
    """One test case per contender and scenario; what has no verdict, as on another machine, passes."""
    cases = []
    for comparison in comparisons:
        refusal = gate_refusal(comparison) if gate else comparison.refusal
        for row in comparison.rows:
            name = f"{row.scenario.name}, {_recipe(comparison, row.recipe)}"
            if len(comparisons) > 1:
                name = f"{comparison.contender.name}: {name}"
            outcome = CaseOutcome.ERROR if refusal else _CASES.get(row.outcome, CaseOutcome.PASSED)
            words = [str(row.outcome)] if refusal is None else ["not comparable"]
            words += [reason for reason in [refusal or row.reason] if reason is not None]
            if refusal is None and row.slowdown is not None:
                words.insert(1, _change_words(comparison, row.slowdown))
            cases.append(
                JUnitCase(
                    name=clean(name),
                    seconds=_epoch_seconds(comparison.contender, row.contender),
                    outcome=outcome,
                    message=clean(": ".join(words)),
                    detail=clean("\n".join(_detail(comparison, row))),
                )
            )
    return cases


def _detail(comparison: Comparison, row: ComparedRow) -> list[str]:
    sides = ((comparison.baseline, row.baseline), (comparison.contender, row.contender))
    lines = [f"{side.name}: {_entry_words(entry)}" for side, entry in sides]
    if row.detectable is not None:
        detectable = _detectable(row)
        lines.append("no slowdown would show here" if detectable is None else f"slowdowns show here from {detectable}")
    return lines


def _entry_words(entry: Entry | None) -> str:
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


# --- columns


def _speed(entry: Entry | None) -> Estimate | None:
    return None if entry is None or entry.speed is None else mean_of(entry.speed)


def _plus_minus(estimate: Estimate | None) -> str:
    if estimate is None or estimate.upper is None:
        return ""
    return units.plus_minus(estimate.value, estimate.upper)


def _epoch(side: ComparedFile, entry: Entry | None) -> Estimate | None:
    """Of one pass over the whole training set; on the logarithmic scale the interval only changes ends."""
    speed, samples = _speed(entry), side.dataset.train_samples
    if speed is None:
        return None
    lower = None if speed.upper is None else samples / speed.upper
    upper = None if speed.lower is None else samples / speed.lower if speed.lower > 0 else math.inf
    return Estimate(value=samples / speed.value, lower=lower, upper=upper, n=speed.n)


def _epoch_seconds(side: ComparedFile, entry: Entry | None) -> float | None:
    epoch = _epoch(side, entry)
    return None if epoch is None else epoch.value


def _ratio(slowdown: LogDifference | None) -> Estimate | None:
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


def _change(comparison: Comparison, slowdown: LogDifference) -> tuple[str, str]:
    """In words: of one machine as a change, of two as a ratio; and the interval, "" without one."""
    if comparison.gives_verdicts:
        return change(ratio_of(slowdown))
    ratio = ratio_of(-slowdown)
    interval = "" if ratio.lower is None or ratio.upper is None else _interval(ratio.lower, ratio.upper)
    return units.factor(ratio.value), interval


def _interval(lower: float, upper: float) -> str:
    return f"[{units.bound(lower)}, {units.bound(upper)}]"


def _change_words(comparison: Comparison, slowdown: LogDifference) -> str:
    return " ".join(_change(comparison, slowdown)).rstrip()


def _columns(comparison: Comparison, rows: Sequence[ComparedRow], *, gate: bool) -> Sequence[Column[ComparedRow]]:
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
            _epoch_seconds(side, entry)
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
            lambda row: _ratio(row.slowdown),
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
            explanation=_verdict_words(comparison) if verdicts else _STANDING,
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


def _verdict_words(comparison: Comparison) -> str:
    settings = comparison.settings
    return (
        f"regressed: surely more than {units.percentage(settings.margin)} slower (family-wise error "
        f"{settings.alpha:g} over {count_words(len(comparison.rows), 'scenario')}, Holm); improved: as surely faster; "
        f"unchanged: surely less than {units.percentage(settings.tolerance)} slower; inconclusive: neither; "
        "underpowered: not even half the speed would be seen"
    )


_OVERVIEW: Final[Sequence[Column[Comparison]]] = (
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
        lambda c: _ratio(c.slowdown),
        title="geometric mean\n[95 % interval]",
        priority=0,
        text=lambda c: None if (slowdown := c.slowdown) is None else _change(c, slowdown)[0],
        detail=lambda c: "" if (slowdown := c.slowdown) is None else _change(c, slowdown)[1],
        explanation="over the common scenarios only, each counting the same; the interval is that of their processes",
    ),
    make_column(
        "outcomes",
        lambda c: _counts(Counter(row.outcome for row in c.rows)),
        title="scenarios",
        number=False,
        priority=4,
    ),
    make_column("overall", lambda c: str(overall(c)), title="in all", number=False, priority=0),
)


def _short_machine(comparison: Comparison) -> str:
    return machine_words(comparison.contender.environment)


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


def _badness(comparison: Comparison) -> tuple[int, float]:
    slowdown = comparison.slowdown
    return _SEVERITY.index(overall(comparison)), 0.0 if slowdown is None else -slowdown.value


def _counts(outcomes: Counter[Outcome]) -> str:
    return ", ".join(f"{outcomes[each]:,} {each}" for each in _SEVERITY if outcomes[each])


# --- tables


def _groups(rows: Sequence[ComparedRow], *, by_network: bool) -> list[list[ComparedRow]]:
    grouped: dict[tuple[str | None, Recipe], list[ComparedRow]] = {}
    for row in rows:
        grouped.setdefault((row.scenario.network if by_network else None, row.recipe), []).append(row)
    return list(grouped.values())


def _listing(rows: Sequence[ComparedRow], columns: Sequence[Column[ComparedRow]], frame: Frame) -> Table:
    """Axes that do not vary make room for what was measured: they stand above the table."""
    varying = [axis for axis in SHOWN_AXES if len({axis.value(row) for row in rows}) > 1]
    shown = varying or [axis for axis in SHOWN_AXES if axis.heading.name == "contexts"]
    axes = sorted(SHOWN_AXES, key=lambda axis: axis.heading.name not in MAIN_AXES)
    whole: list[Column[ComparedRow]] = [*(axis if axis in shown else for_programs(axis) for axis in axes), *columns]
    constant = [axis for axis in SHOWN_AXES if axis not in shown and axis.heading.name != "network"]
    setting = setting_words(rows[0].scenario, constant)
    return Table(
        title=frame.title,
        caption=(*frame.caption, *([("all rows", clean(setting))] if setting else [])),
        facts=frame.facts,
        headings=tuple(column.heading for column in whole),
        rows=tuple(
            TableRow(cells=tuple(cell_of(column, row) for column in whole), tone=_tone(row.outcome)) for row in rows
        ),
        notes=frame.notes,
    )


def _pivot(
    rows: Sequence[ComparedRow],
    axes: Axes,
    value: Column[ComparedRow],
    columns: Sequence[Column[ComparedRow]],
    frame: Frame,
) -> Table:
    (status,) = (for_programs(column) for column in columns if column.heading.key == "verdict")
    pivot = Pivot(axes=axes, value=value, status=status, mark=lambda row: _mark(row.outcome))
    kind, _colon, what = frame.title.partition(": ")
    across = "" if axes[1] is None else f" by {axes[1].heading.title}"
    cells = " ".join(value.heading.title.split()).partition(" [")[0]
    return dataclasses.replace(pivot_table(rows, rows, pivot, frame), title=f"{kind}: {cells}{across}: {what}")


def _frame(comparison: Comparison, rows: Sequence[ComparedRow], *, first: bool, last: bool, gate: bool) -> Frame:
    networks = dict.fromkeys(row.scenario.network for row in rows)
    ns = [entry.n for row in rows for entry in (row.baseline, row.contender) if entry is not None and entry.n]
    kind = "not comparable" if comparison.refusal else str(comparison.kind)
    caption = _caption(comparison, gate=gate) if first else [("", "files, machine and software as above")]
    return Frame(
        title=clean(f"{kind}: {', '.join(networks)}, {_recipe(comparison, rows[0].recipe)}, {n_words(ns)}"),
        caption=tuple((label, clean(text)) for label, text in caption),
        facts=_facts(comparison, rows[0].recipe),
        notes=tuple((mark, clean(text)) for mark, text in _notes(comparison, rows, last=last)),
    )


def _recipe(comparison: Comparison, recipe: Recipe) -> str:
    return recipe_words(recipe, comparison.baseline.dataset.train_samples)


def _side_words(side: ComparedFile) -> str:
    return f"{side.name}, suite {side.suite}, {side.created_at}"


def _caption(comparison: Comparison, *, gate: bool) -> list[tuple[str, str]]:
    lines = []
    if comparison.refusal is not None:
        lines.append(("because", comparison.refusal))
    if comparison.axis is not None:
        lines.append(("against", f"{comparison.axis}: for each row, the one that differs from it only there"))
    lines += _sides(comparison)
    if comparison.refusal is None:
        lines.append(("data", dataset_words(comparison.baseline.dataset)))
    lines += _differences(comparison)
    lines += virtual_contexts(row.scenario for row in comparison.rows)
    if gate and gate_refusal(comparison) is None:
        lines.append(("method", _method(comparison)))
    return lines


def _sides(comparison: Comparison) -> list[tuple[str, str]]:
    """The files, and their machines: both where there are two."""
    baseline, contender = comparison.baseline, comparison.contender
    if comparison.kind is Kind.HARDWARE:
        return [
            line
            for name, side in (("baseline", baseline), ("contender", contender))
            for line in (
                (name, _side_words(side)),
                ("on", machine_words(side.environment)),
                ("with", software_words(side.environment)),
            )
        ]
    within = comparison.kind is Kind.WITHIN
    files = [("file", baseline)] if within else [("baseline", baseline), ("contender", contender)]
    return [
        *((name, _side_words(side)) for name, side in files),
        ("machine", machine_words(contender.environment)),
        ("software", software_words(contender.environment)),
    ]


def _differences(comparison: Comparison) -> list[tuple[str, str]]:
    if comparison.kind is Kind.WITHIN:
        return []
    machine, software = comparison.machine_differences, comparison.software_differences
    lines = [("differs", _difference_words(machine or software))]
    if machine and software:
        lines.append(("besides", _difference_words(software)))
    if comparison.is_copy:
        lines.append(("note", "both files hold the same measurements: one is a copy of the other"))
    return lines


def _difference_words(differences: Iterable[Difference]) -> str:
    return "; ".join(map(str, differences)) or "nothing that is recorded"


def _method(comparison: Comparison) -> str:
    """How much weaker stored results are than measuring both sides in turns.

    In results/calibration, single processes of the same code differed with a robust standard deviation of 3.9 to 4.9 %,
    blocks of four that took turns with one of 1.1 to 1.4 %.
    """
    tested = [row.detectable for row in comparison.rows if row.detectable is not None]
    shown = sorted(each for each in tested if math.isfinite(each))
    words = (
        "two stored results: a machine that was slower that day looks like a regression, and no interval shows it. "
        "`mnist-bench gate` measures both sides in turns: drift cancels, and where both were recorded the spread was a "
        "third"
    )
    if shown:
        ends = dict.fromkeys(map(units.percentage, (shown[0], shown[-1])))
        words += f". Here slowdowns show from {' to '.join(ends)}, depending on the scenario"
    if len(shown) < len(tested):
        words += f"; in {len(tested) - len(shown)} of {len(tested)} scenarios none does"
    return words


def _facts(comparison: Comparison, recipe: Recipe) -> dict[str, Fact]:
    ratio = _ratio(comparison.slowdown)
    facts: dict[str, Fact] = {
        "comparison": "not comparable" if comparison.refusal else str(comparison.kind),
        "refusal": comparison.refusal,
        "against": None if comparison.axis is None else str(comparison.axis),
        "dataset": comparison.baseline.dataset.name,
        "dataset_digest": comparison.baseline.dataset.digest,
    }
    for label, side in (("baseline", comparison.baseline), ("contender", comparison.contender)):
        environment, software = side.environment, side.environment.software
        facts |= {
            f"{label}_file": side.name,
            f"{label}_created_at": side.created_at,
            f"{label}_host_hash": environment.host_hash,
            f"{label}_host_processor_model_name": environment.host_processor_model_name,
            f"{label}_usable_core_count": environment.usable_core_count,
            f"{label}_accelerator_model_names": ", ".join(environment.accelerator_model_names) or None,
            f"{label}_framework_version": None if software is None else software.framework_version,
            f"{label}_numpy": None if software is None else software.numpy,
            f"{label}_python": None if software is None else software.python,
            f"{label}_mnist_bench_version": environment.mnist_bench_version,
            f"{label}_git_commit": environment.git_commit,
        }
    settings = comparison.settings
    return facts | {
        "epochs": recipe.epochs,
        "samples": recipe.samples,
        "learning_rate": recipe.learning_rate,
        "xavier_magnitude": recipe.xavier_magnitude,
        "margin": settings.margin,
        "tolerance": settings.tolerance,
        "alpha": settings.alpha,
        "common_scenarios": len(comparison.common),
        "geometric_mean_ratio": None if ratio is None else ratio.value,
        "geometric_mean_ratio_lower": None if ratio is None else ratio.lower,
        "geometric_mean_ratio_upper": None if ratio is None else ratio.upper,
    }


def _notes(comparison: Comparison, rows: Sequence[ComparedRow], *, last: bool) -> list[tuple[str, str]]:
    """Why rows have no ratio or not the verdict it suggests, by name; after the last table, all of them together."""
    reasons: dict[tuple[Outcome, str], list[str]] = {}
    for row in rows:
        if row.reason is not None and row.reason != comparison.refusal:
            reasons.setdefault((row.outcome, row.reason), []).append(row.scenario.name)
    notes = [
        (_mark(outcome), f"{outcome}: {'; '.join(names)}: {reason}") for (outcome, reason), names in reasons.items()
    ]
    paired = [row for row in rows if row.slowdown is not None]
    not_judged = sum(Status.NOT_JUDGED in _statuses(row) for row in paired)
    if not_judged:
        which = "accuracy" if not_judged == len(rows) else f"accuracy of {not_judged} of {len(rows)} rows"
        notes.append(("", f"{which} not judged: no band for this network, data set and amount of training"))
    if last:
        slowdown = comparison.slowdown
        if slowdown is not None:
            over = count_words(len(comparison.common), "common scenario")
            unsure = "" if bounds(slowdown) else " (no interval: some have n = 1)"
            notes.append(("", f"geometric mean over {over}: {_change_words(comparison, slowdown)}{unsure}"))
        notes.append(("", f"in all: {_counts(Counter(row.outcome for row in comparison.rows))}"))
    return notes


def _statuses(row: ComparedRow) -> list[Status]:
    return [entry.status for entry in (row.baseline, row.contender) if entry is not None]
