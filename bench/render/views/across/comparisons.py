"""Comparisons as tables and as test cases. `analysis.across.comparison` has paired the scenarios and judged them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from bench.analysis.across.comparison import ComparedRow, Comparison, Kind, gate_refusal
from bench.analysis.groups import Status
from bench.analysis.verdict import Outcome, Relation, Verdict, relate, worst
from bench.render import units
from bench.render.model.axis_columns import group_rows
from bench.render.model.cases import OUTCOME_OF_VERDICT, CaseOutcome, JUnitCase
from bench.render.model.column import Column, find, make_column
from bench.render.model.marks import MARK_OF_OUTCOME, tone_of_outcome
from bench.render.model.pivot import Frame, axes_of_pivot, pivot_table
from bench.render.model.table import Fact, Table, make_table, numeric
from bench.render.model.words import captions
from bench.render.model.words.comparison_captions import (
    describe_file,
    describe_reference,
    describe_sessions,
    difference_lines,
    exchange_lines,
    health_lines,
    resource_lines,
    side_lines,
)
from bench.render.model.words.labels import listed_axes, shared_setting
from bench.render.phrases import clean_text, format_count, with_arrows
from bench.render.views.across.comparison_columns import (
    DEFAULT_VALUE,
    change_or_ratio,
    comparison_columns,
    describe_difference,
    describe_entry,
    detectable,
    epoch_seconds,
    is_single,
    throughput_ratio,
)
from bench.render.views.across.prediction_comparisons import prediction_comparison_table
from bench.stats.intervals import bounds
from mnist_core.recipe import Recipe


def comparison_tables(
    comparisons: Sequence[Comparison],
    *,
    row: str | None = None,
    column: str | None = None,
    value: str = DEFAULT_VALUE,
    gate: bool = False,
    readable: bool = False,
) -> list[Table]:
    """Return a table per contender, network and recipe; or, with `row` or `column`, a pivot per contender and recipe.

    `readable` is for people, who want an overview of several contenders, and of many nothing else.

    Raise `ValueError` for an unknown name, with a suggestion.
    """
    axes = axes_of_pivot(row, column, None if value == DEFAULT_VALUE else value)
    if readable and axes is None and len(comparisons) > _MANY:
        return [_overview(comparisons)]
    tables: list[Table] = []
    for comparison in comparisons:
        groups = group_rows(comparison.rows, by_network=axes is None)
        for place, rows in enumerate(groups):
            columns = comparison_columns(comparison, rows, gate=gate)
            pivot_value = find(value, numeric(columns), "value")
            frame = _frame(comparison, rows, last=place == len(groups) - 1, gate=gate)
            if axes is None:
                tables.append(_listing(rows, columns, frame))
                latencies = prediction_comparison_table(comparison, rows, frame.facts)
                tables += [] if latencies is None else [latencies]
            else:
                status = find("verdict", columns, "column")
                tables.append(pivot_table(rows, axes, pivot_value, frame, status=status, mark=_mark))
    if readable and len(comparisons) > 1:
        tables.append(_overview(comparisons))
    return tables


def junit_cases(comparisons: Sequence[Comparison], *, gate: bool = False) -> list[JUnitCase]:
    """Return one test case per contender and scenario; one without a verdict, as on another machine, passes.

    The cases and the exit status are red for the same reasons.
    """
    cases = []
    for comparison in comparisons:
        refusal = gate_refusal(comparison) if gate else comparison.refusal
        if refusal is None and not comparison.has_pairs:
            refusal = "no scenario in common"
        if refusal is not None and not comparison.rows:
            cases.append(
                JUnitCase(
                    name=clean_text(comparison.contender.name),
                    seconds=None,
                    outcome=CaseOutcome.ERROR,
                    message=clean_text(f"not comparable: {refusal}"),
                    detail="",
                )
            )
        for row in comparison.rows:
            name = f"{row.scenario.name}, {_recipe(comparison, [row])}"
            if len(comparisons) > 1:
                name = f"{comparison.contender.name}: {name}"
            outcome = CaseOutcome.ERROR if refusal else _case_outcome(row.outcome, gate=gate)
            words = [str(row.outcome)] if refusal is None else ["not comparable"]
            words += [reason for reason in [refusal or row.reason] if reason is not None]
            if refusal is None and row.slowdown is not None:
                words.insert(1, describe_difference(comparison, row.slowdown))
            epoch = epoch_seconds(comparison.contender, row.contender)
            cases.append(
                JUnitCase(
                    name=clean_text(name),
                    seconds=None if epoch is None else epoch.value,
                    outcome=outcome,
                    message=clean_text(": ".join(words)),
                    detail=clean_text("\n".join(_describe_sides(comparison, row))),
                )
            )
    return cases


def _case_outcome(outcome: Outcome, *, gate: bool) -> CaseOutcome:
    """Return how a case ends: without --gate only what cannot be compared is red, and what is bad news is skipped."""
    case = OUTCOME_OF_VERDICT[outcome] if isinstance(outcome, Verdict) else CaseOutcome.PASSED
    is_decided = gate or case is CaseOutcome.PASSED or outcome is Verdict.INCOMPARABLE
    return case if is_decided else CaseOutcome.SKIPPED


def _describe_sides(comparison: Comparison, row: ComparedRow) -> list[str]:
    sides = ((comparison.baseline, row.baseline), (comparison.contender, row.contender))
    lines = [f"{side.name}: {describe_entry(entry)}" for side, entry in sides]
    if row.detectable is not None:
        least = detectable(row)
        seen = "no slowdown would show here" if least is None else f"slowdowns show here from {units.percentage(least)}"
        lines.append(seen)
    return lines


def _listing(rows: Sequence[ComparedRow], columns: Sequence[Column[ComparedRow]], frame: Frame) -> Table:
    scenarios = [row.scenario for row in rows]
    return make_table(
        f"{frame.kind}{frame.title}",
        [*listed_axes(scenarios), *columns],
        rows,
        caption=(*frame.caption, *shared_setting(scenarios)),
        facts=frame.facts,
        notes=frame.notes,
        file=frame.file,
        tone=lambda row: tone_of_outcome(row.outcome),
    )


def _mark(row: ComparedRow) -> str:
    return MARK_OF_OUTCOME[row.outcome]


def _frame(comparison: Comparison, rows: Sequence[ComparedRow], *, last: bool, gate: bool) -> Frame:
    networks = dict.fromkeys(row.scenario.network for row in rows)
    ns = [entry.n for row in rows for entry in (row.baseline, row.contender) if entry is not None and entry.n]
    return Frame(
        kind=f"{_kind(comparison)}: ",
        title=f"{', '.join(networks)}, {_recipe(comparison, rows)}, {captions.format_n(ns)}",
        caption=_caption(comparison, gate=gate),
        facts=_facts(comparison, rows[0].recipe),
        notes=_notes(comparison, rows, last=last),
        file=comparison.contender.name,
    )


def _kind(comparison: Comparison) -> str:
    return "not comparable" if comparison.refusal else str(comparison.kind)


def _recipe(comparison: Comparison, rows: Sequence[ComparedRow]) -> str:
    """Say how rows of one recipe are trained: in turns only where both sides took turns."""
    entries = [entry for row in rows for entry in (row.baseline, row.contender) if entry is not None and entry.n]
    in_turns = bool(entries) and all(entry.in_turns for entry in entries)
    return captions.describe_recipe(rows[0].recipe, comparison.baseline.dataset.train_samples, in_turns=in_turns)


def _caption(comparison: Comparison, *, gate: bool) -> list[tuple[str, str]]:
    lines = []
    if comparison.refusal is not None:
        lines.append(("because", comparison.refusal))
    if comparison.reference is not None:
        lines.append(("against", describe_reference(comparison, comparison.reference)))
    lines += side_lines(comparison)
    if comparison.refusal is None:
        lines.append(("data", captions.describe_dataset(comparison.baseline.dataset)))
    lines += difference_lines(comparison)
    lines += resource_lines(comparison)
    lines += health_lines(comparison)
    lines += exchange_lines(comparison)
    lines += captions.virtual_contexts(row.scenario for row in comparison.rows)
    if comparison.sessions is not None and comparison.common:
        lines.append(("sessions", describe_sessions(comparison.sessions)))
    if gate and gate_refusal(comparison) is None:
        lines.append(("method", _method(comparison)))
    elif comparison.gives_verdicts and comparison.common:
        lines.append(("method", "two stored results, of two times: `mnist-bench gate` measures both sides in turns"))
    return lines


def _method(comparison: Comparison) -> str:
    """Say how much weaker stored results are than measuring both sides in turns.

    In results/calibration, single processes of the same code differed with a robust standard deviation of 3.9 to 4.9 %,
    blocks of four that took turns with one of 1.1 to 1.4 %.
    """
    tested = [row for row in comparison.rows if row.detectable is not None]
    shown = sorted(slowdown for row in tested if (slowdown := detectable(row)) is not None)
    words = (
        "two stored results: a machine that was much slower that day looks like a regression. "
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
    ratio, settings = throughput_ratio(comparison.slowdown), comparison.settings
    facts: dict[str, Fact] = {
        "comparison": _kind(comparison),
        "refusal": comparison.refusal,
        "against": None if comparison.reference is None else str(comparison.reference),
        "dataset": comparison.baseline.dataset.name,
        "dataset_digest": comparison.baseline.dataset.digest,
    }
    for label, side in (("baseline", comparison.baseline), ("contender", comparison.contender)):
        of_side = {
            "file": side.name,
            "created_at": side.created_at,
            **captions.machine_facts(side.environment, without=["usable_vcpu_count", "virtualization"]),
            **captions.software_facts(side.environment.software),
            **captions.facts_of(side.environment, "mnist_bench_version", "git_commit"),
            **captions.health_facts(side.health),
        }
        facts |= {f"{label}_{name}": fact for name, fact in of_side.items()}
    return {
        **facts,
        **captions.recipe_facts(recipe),
        **captions.facts_of(settings, "margin", "tolerance", "alpha"),
        "session_sd": None if comparison.sessions is None else comparison.sessions.sd,
        "common_scenarios": len(comparison.common),
        "geometric_mean_ratio": None if ratio is None else ratio.value,
        "geometric_mean_ratio_lower": None if ratio is None else ratio.lower,
        "geometric_mean_ratio_upper": None if ratio is None else ratio.upper,
    }


def _notes(comparison: Comparison, rows: Sequence[ComparedRow], *, last: bool) -> list[tuple[str, str]]:
    """Say why rows have no ratio, or not the verdict that it suggests; under the last table sum up all rows."""
    shows_single = not comparison.gives_verdicts  # their rows say so themselves
    reasons: dict[tuple[Outcome, str], list[str]] = {}
    for row in rows:
        if row.reason is not None and row.reason != comparison.refusal and not (is_single(row) and shows_single):
            reasons.setdefault((row.outcome, row.reason), []).append(row.scenario.name)
    notes = [
        (MARK_OF_OUTCOME[outcome], f"{outcome}: {_name_rows(names, len(rows))}: {with_arrows(reason)}")
        for (outcome, reason), names in reasons.items()
    ]
    paired = [row for row in rows if row.slowdown is not None]
    not_judged = sum(
        any(entry is not None and entry.status is Status.NOT_JUDGED for entry in (row.baseline, row.contender))
        for row in paired
    )
    notes += captions.not_judged_notes(not_judged, len(rows))
    if last:
        slowdown = comparison.slowdown
        if slowdown is not None:
            common, averaged = len(comparison.common), len(comparison.averaged)
            over = format_count(averaged, "common scenario")
            unsure = "" if bounds(slowdown) else " (no interval: all have n = 1)"
            if averaged < common:
                over, unsure = (
                    f"{averaged} of {common} common scenarios",
                    f" (the other {common - averaged} have n = 1)",
                )
            notes.append(("", f"geometric mean over {over}: {describe_difference(comparison, slowdown)}{unsure}"))
        notes.append(("", f"in all: {_format_counts(row.outcome for row in comparison.rows)}"))
    return notes


#: The most names that are listed: the rows say it, too.
_MOST_NAMES: Final = 3


def _name_rows(names: Sequence[str], rows: int) -> str:
    if len(names) <= _MOST_NAMES:
        return "; ".join(names)
    return "all rows" if len(names) == rows else f"{len(names)} of {rows} rows"


# --- an overview of several

#: With more contenders nobody reads a table of scenarios for each of them.
_MANY: Final = 10
#: The most rows of an overview that is meant to be read.
_LONGEST: Final = 100


def _overview(comparisons: Sequence[Comparison]) -> Table:
    """Return one row per contender; where they are too many to read, the worst first and no more than those."""
    shown = list(comparisons)
    notes = []
    if len(shown) > _LONGEST:
        shown = sorted(shown, key=_badness)[:_LONGEST]
        notes.append(("", f"the worst {_LONGEST} of {len(comparisons):,} contenders; --format csv and json have all"))
    if len(comparisons) > _MANY:
        notes.append(("", "the scenarios of each: name fewer files, or take --format csv or json"))
    baseline = comparisons[0].baseline
    outcomes = _format_counts(map(_overall, comparisons))
    return make_table(
        "overview",
        _COLUMNS,
        shown,
        caption=[
            ("baseline", describe_file(baseline)),
            ("data", captions.describe_dataset(baseline.dataset)),
            ("machine", captions.describe_machine(baseline.environment)),
            ("contenders", f"{len(comparisons):,}: {outcomes}"),
        ],
        notes=notes,
        tone=lambda comparison: tone_of_outcome(_overall(comparison)),
    )


_COLUMNS: Final[Sequence[Column[Comparison]]] = (
    make_column("contender", lambda c: c.contender.name, number=False, priority=0),
    make_column(
        "machine",
        lambda c: captions.describe_machine(c.contender.environment) if c.kind is Kind.HARDWARE else None,
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
        words=lambda c: None if (slowdown := c.slowdown) is None else change_or_ratio(c, slowdown),
        explanation="over the common scenarios only, each counting the same; the interval is that of their processes",
    ),
    make_column(
        "outcomes",
        lambda c: _format_counts(row.outcome for row in c.rows),
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
    return Relation.NOT_TOLD_APART if comparison.slowdown is None else relate(comparison.slowdown)


_WORST_FIRST: Final = (
    *(Verdict.REGRESSED, Verdict.MISSING, Verdict.INCOMPARABLE, Verdict.INVALID, Relation.SLOWER),
    *(Verdict.UNDERPOWERED, Verdict.INCONCLUSIVE, Relation.NOT_TOLD_APART),
    *(Verdict.UNCHANGED, Verdict.IMPROVED, Relation.FASTER),
)


def _badness(comparison: Comparison) -> tuple[int, float]:
    """Return a key that sorts the worst first: by outcome, then by slowdown."""
    slowdown = comparison.slowdown
    return _WORST_FIRST.index(_overall(comparison)), 0.0 if slowdown is None else -slowdown.value


def _format_counts(outcomes: Iterable[Outcome]) -> str:
    """Count outcomes, the worst first: 1 regressed, 3 unchanged."""
    counts = Counter(outcomes)
    return ", ".join(f"{counts[outcome]:,} {outcome}" for outcome in _WORST_FIRST if counts[outcome])
