"""Comparisons -> tables and test cases. What is compared and how it is judged was decided in `analysis.comparison`."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from bench.analysis.comparison import ComparedRow, Comparison, Kind, gate_refusal
from bench.analysis.entries import ComparedFile
from bench.analysis.groups import Status
from bench.analysis.verdict import Outcome, Verdict
from bench.machine.fingerprint import Difference
from bench.render import units
from bench.render.model.captions import (
    describe_dataset,
    describe_machine,
    describe_recipe,
    describe_setting,
    describe_versions,
    format_n,
    virtual_contexts,
)
from bench.render.model.cases import CaseOutcome, JUnitCase
from bench.render.model.columns import MAIN_AXES, SHOWN_AXES, Column, find
from bench.render.model.pivot import Axes, Frame, Pivot, axes_of_pivot, pivot_table
from bench.render.model.table import Fact, Table, TableRow, cell_of, hidden_column, numeric
from bench.render.phrases import clean_text, format_count
from bench.render.views.comparison_columns import (
    DEFAULT_VALUE,
    LONGEST,
    MANY,
    OVERVIEW,
    badness,
    columns_of,
    describe_change,
    detail_of,
    epoch_seconds,
    format_counts,
    mark_of,
    overall,
    ratio_of_row,
    tone_of,
)
from bench.stats.intervals import bounds
from mnist_core.recipe import Recipe

_CASES: Final[dict[Outcome, CaseOutcome]] = {
    Verdict.REGRESSED: CaseOutcome.FAILURE,
    Verdict.MISSING: CaseOutcome.FAILURE,
    Verdict.INCOMPARABLE: CaseOutcome.ERROR,
    Verdict.INVALID: CaseOutcome.ERROR,
    Verdict.INCONCLUSIVE: CaseOutcome.SKIPPED,
    Verdict.UNDERPOWERED: CaseOutcome.SKIPPED,
}


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
    if readable and not pivots and len(comparisons) > MANY:
        return [overview(comparisons)]
    built: list[Table] = []
    for comparison in comparisons:
        groups = _groups(comparison.rows, by_network=not pivots)
        for place, rows in enumerate(groups):
            columns = columns_of(comparison, rows, gate=gate)
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
    if len(ordered) > LONGEST:
        ordered = sorted(ordered, key=badness)[:LONGEST]
        notes.append(("", f"the worst {LONGEST} of {len(comparisons):,} contenders; --format csv and json have all"))
    if len(comparisons) > MANY:
        notes.append(("", "the scenarios of each: name fewer files, or take --format csv or json"))
    outcomes = Counter(overall(comparison) for comparison in comparisons)
    caption = [
        ("baseline", _describe_file(comparisons[0].baseline)),
        ("data", describe_dataset(comparisons[0].baseline.dataset)),
        ("machine", describe_machine(comparisons[0].baseline.environment)),
        ("contenders", f"{len(comparisons):,}: {format_counts(outcomes)}"),
    ]
    return Table(
        title="overview",
        caption=tuple((label, clean_text(text)) for label, text in caption),
        facts={},
        headings=tuple(column.heading for column in OVERVIEW),
        rows=tuple(
            TableRow(
                cells=tuple(cell_of(column, comparison) for column in OVERVIEW),
                tone=tone_of(overall(comparison)),
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
                words.insert(1, describe_change(comparison, row.slowdown))
            cases.append(
                JUnitCase(
                    name=clean_text(name),
                    seconds=epoch_seconds(comparison.contender, row.contender),
                    outcome=outcome,
                    message=clean_text(": ".join(words)),
                    detail=clean_text("\n".join(detail_of(comparison, row))),
                )
            )
    return cases


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
    whole: list[Column[ComparedRow]] = [*(axis if axis in shown else hidden_column(axis) for axis in axes), *columns]
    constant = [axis for axis in SHOWN_AXES if axis not in shown and axis.heading.name != "network"]
    setting = describe_setting(rows[0].scenario, constant)
    return Table(
        title=frame.title,
        caption=(*frame.caption, *([("all rows", clean_text(setting))] if setting else [])),
        facts=frame.facts,
        headings=tuple(column.heading for column in whole),
        rows=tuple(
            TableRow(cells=tuple(cell_of(column, row) for column in whole), tone=tone_of(row.outcome)) for row in rows
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
    (status,) = (hidden_column(column) for column in columns if column.heading.key == "verdict")
    pivot = Pivot(axes=axes, value=value, status=status, mark=lambda row: mark_of(row.outcome))
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
        title=clean_text(f"{kind}: {', '.join(networks)}, {_recipe(comparison, rows[0].recipe)}, {format_n(ns)}"),
        caption=tuple((label, clean_text(text)) for label, text in caption),
        facts=_facts(comparison, rows[0].recipe),
        notes=tuple((mark, clean_text(text)) for mark, text in _notes(comparison, rows, last=last)),
    )


def _recipe(comparison: Comparison, recipe: Recipe) -> str:
    return describe_recipe(recipe, comparison.baseline.dataset.train_samples)


def _describe_file(side: ComparedFile) -> str:
    return f"{side.name}, suite {side.suite}, {side.created_at}"


def _caption(comparison: Comparison, *, gate: bool) -> list[tuple[str, str]]:
    lines = []
    if comparison.refusal is not None:
        lines.append(("because", comparison.refusal))
    if comparison.axis is not None:
        lines.append(("against", f"{comparison.axis}: for each row, the one that differs from it only there"))
    lines += _sides(comparison)
    if comparison.refusal is None:
        lines.append(("data", describe_dataset(comparison.baseline.dataset)))
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
                (name, _describe_file(side)),
                ("on", describe_machine(side.environment)),
                ("with", describe_versions(side.environment)),
            )
        ]
    within = comparison.kind is Kind.WITHIN
    files = [("file", baseline)] if within else [("baseline", baseline), ("contender", contender)]
    return [
        *((name, _describe_file(side)) for name, side in files),
        ("machine", describe_machine(contender.environment)),
        ("software", describe_versions(contender.environment)),
    ]


def _differences(comparison: Comparison) -> list[tuple[str, str]]:
    if comparison.kind is Kind.WITHIN:
        return []
    machine, software = comparison.machine_differences, comparison.software_differences
    lines = [("differs", _format_differences(machine or software))]
    if machine and software:
        lines.append(("besides", _format_differences(software)))
    if comparison.is_copy:
        lines.append(("note", "both files hold the same measurements: one is a copy of the other"))
    return lines


def _format_differences(differences: Iterable[Difference]) -> str:
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
    ratio = ratio_of_row(comparison.slowdown)
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
        (mark_of(outcome), f"{outcome}: {'; '.join(names)}: {reason}") for (outcome, reason), names in reasons.items()
    ]
    paired = [row for row in rows if row.slowdown is not None]
    not_judged = sum(Status.NOT_JUDGED in _statuses(row) for row in paired)
    if not_judged:
        which = "accuracy" if not_judged == len(rows) else f"accuracy of {not_judged} of {len(rows)} rows"
        notes.append(("", f"{which} not judged: no band for this network, data set and amount of training"))
    if last:
        slowdown = comparison.slowdown
        if slowdown is not None:
            over = format_count(len(comparison.common), "common scenario")
            unsure = "" if bounds(slowdown) else " (no interval: some have n = 1)"
            notes.append(("", f"geometric mean over {over}: {describe_change(comparison, slowdown)}{unsure}"))
        notes.append(("", f"in all: {format_counts(Counter(row.outcome for row in comparison.rows))}"))
    return notes


def _statuses(row: ComparedRow) -> list[Status]:
    return [entry.status for entry in (row.baseline, row.contender) if entry is not None]
