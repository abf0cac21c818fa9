"""Result files as tables: a listing of rows, or a pivot of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final

from bench.analysis import accuracy
from bench.analysis.groups import Status
from bench.analysis.summary import Row, Summary, summarize
from bench.records.result import ResultSet
from bench.render.model.captions import (
    describe_ceilings,
    describe_dataset,
    describe_machine,
    describe_recipe,
    describe_setting,
    describe_versions,
    format_n,
    format_processes,
    virtual_contexts,
)
from bench.render.model.columns import (
    AXES,
    BESIDE_CEILINGS,
    LOOP,
    MAIN_AXES,
    VALUES,
    Column,
    bars,
    find,
)
from bench.render.model.marks import FAILED, FASTEST, INVALID, NOT_RUN
from bench.render.model.pivot import Axes, Frame, Pivot, axes_of_pivot, pivot_table
from bench.render.model.table import Fact, Table, TableRow, cell_of, hidden_column, numeric, sort_rows
from bench.render.phrases import clean_text, format_count
from bench.scenarios.axes import LOOP_AXES
from bench.scenarios.scenario import axis_value, tutorial_setting
from mnist_core.recipe import Recipe

DEFAULT_VALUE: Final = "throughput"


def tables(
    result_sets: Iterable[ResultSet],
    *,
    sort: str | None = None,
    row: str | None = None,
    column: str | None = None,
    value: str = DEFAULT_VALUE,
) -> list[Table]:
    """One table per result set, network and recipe; or, with `row` or `column`, one pivot per result set and recipe.

    `sort` names a column, with a leading "-" for descending; raw values are sorted, absent ones last. Without it
    rows have the order of the plan. `row` and `column` name axes and `value` a column of numbers; other axes that vary
    lead the pivot's rows. A result set without a plan gives no table.

    Raises `ValueError` for a name that is none, with what may have been meant.
    """
    columns: Sequence[Column[Row]] = (*AXES, *VALUES)
    order = None if sort is None else (find(sort.removeprefix("-"), columns, "column"), sort.startswith("-"))
    pivot_value = find(value, numeric(VALUES), "value")
    axes = axes_of_pivot(row, column)
    pivots = axes != (None, None)
    if not pivots and value != DEFAULT_VALUE:
        raise ValueError(f"--value {value} needs an axis: name --row or --column, e.g. --row batch_size")
    built = []
    for summary in map(summarize, result_sets):
        for rows in _groups(summary.rows, by_network=not pivots):
            ordered = rows if order is None else sort_rows(rows, order[0], descending=order[1])
            if pivots:
                built.append(_summary_pivot(summary, rows, ordered, axes, pivot_value, sorts=sort is not None))
            else:
                built.append(_listing(summary, ordered))
    return built


def _groups(rows: Sequence[Row], *, by_network: bool) -> list[list[Row]]:
    grouped: dict[tuple[str | None, Recipe], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row.scenario.network if by_network else None, row.recipe), []).append(row)
    return list(grouped.values())


def _listing(summary: Summary, rows: Sequence[Row]) -> Table:
    network, recipe = rows[0].scenario.network, rows[0].recipe
    axes = [
        column if _is_shown(column.heading.name, rows) else hidden_column(column)
        for column in sorted((*AXES, LOOP), key=lambda column: column.heading.name not in MAIN_AXES)
    ]
    has_ceiling = any(row.measures is not None and row.measures.roof is not None for row in rows)
    values = [
        column if has_ceiling or column.heading.name not in BESIDE_CEILINGS else hidden_column(column)
        for column in VALUES
    ]
    throughput, *others = values
    columns = _explained((*axes, throughput, bars(rows), *others), summary, rows)
    return Table(
        title=clean_text(
            f"{network}: {describe_recipe(recipe, summary.dataset.train_samples)}, {format_n(format_processes(rows))}"
        ),
        caption=_caption(summary, rows),
        facts=_facts(summary, rows),
        headings=tuple(column.heading for column in columns),
        rows=tuple(TableRow(cells=tuple(cell_of(column, row) for column in columns), mark=_mark(row)) for row in rows),
        notes=_notes(rows),
    )


def _is_shown(axis: str, rows: Sequence[Row]) -> bool:
    """The network is in the title; the lesser axes are worth a column once one row is off the tutorial's setting."""
    if axis == "network" or axis in LOOP_AXES:
        return False
    tutorial = tutorial_setting(rows[0].scenario.network)
    if axis == LOOP.heading.name:
        return any(row.scenario.loop_summary != tutorial.loop_summary for row in rows)
    return axis in MAIN_AXES or any(axis_value(row.scenario, axis) != axis_value(tutorial, axis) for row in rows)


def _mark(row: Row) -> str:
    if row.is_fastest:
        return FASTEST
    return {Status.INVALID: INVALID, Status.FAILED: FAILED, Status.NOT_RUN: NOT_RUN}.get(row.status, "")


#: What a program must know beside each value.
_STATUS: Final = find("status", VALUES, "column")


def _summary_pivot(
    summary: Summary, planned: Sequence[Row], ordered: Sequence[Row], axes: Axes, value: Column[Row], *, sorts: bool
) -> Table:
    def mark(row: Row) -> str:
        # The fastest is that by throughput, which says nothing about another value.
        return _mark(row) if value.heading.name == DEFAULT_VALUE or not row.is_fastest else ""

    recipe = planned[0].recipe
    (explained,) = _explained([value], summary, planned)
    return pivot_table(
        planned,
        ordered,
        Pivot(axes=axes, value=explained, status=_STATUS, mark=mark),
        Frame(
            title=f"{describe_recipe(recipe, summary.dataset.train_samples)}, {format_n(format_processes(planned))}",
            caption=_caption(summary, planned),
            facts=_facts(summary, planned) | _facts_of_each_framework(planned),
            notes=_notes(planned),
        ),
        sorts=sorts,
    )


def _explained(columns: Iterable[Column[Row]], summary: Summary, rows: Sequence[Row]) -> list[Column[Row]]:
    networks = dict.fromkeys(row.scenario.network for row in rows)
    targets = [f"{target:g} ({network})" for network in networks if (target := accuracy.target(network)) is not None]
    words = {
        "train_samples": f"{summary.dataset.train_samples:,}",
        "test_samples": f"{summary.dataset.test_samples:,}",
        "tutorial": describe_setting(
            tutorial_setting(rows[0].scenario.network), [axis for axis in AXES if axis.heading.name in MAIN_AXES]
        ),
        "targets": " or ".join(targets),
    }
    return [
        dataclasses.replace(
            column,
            heading=dataclasses.replace(column.heading, explanation=column.heading.explanation.format_map(words)),
        )
        for column in columns
    ]


def _caption(summary: Summary, rows: Sequence[Row]) -> tuple[tuple[str, str], ...]:
    lines = [
        ("data", describe_dataset(summary.dataset)),
        ("machine", describe_machine(summary.environment)),
        ("software", describe_versions(summary.environment)),
        ("result", f"suite {summary.suite}, {summary.created_at}"),
        *virtual_contexts(row.scenario for row in rows),
        *describe_ceilings(rows),
    ]
    return tuple((label, clean_text(text)) for label, text in lines)


def _facts(summary: Summary, rows: Sequence[Row]) -> dict[str, Fact]:
    """The versions only where all rows have the same."""
    environment, recipe = summary.environment, rows[0].recipe
    softwares = [*dict.fromkeys(row.software for row in rows)]
    software = softwares[0] if len(softwares) == 1 else None
    return {
        "suite": summary.suite,
        "created_at": summary.created_at,
        "dataset": summary.dataset.name,
        "dataset_digest": summary.dataset.digest,
        "dataset_source": summary.dataset.source,
        "host_hash": environment.host_hash,
        "host_processor_model_name": environment.host_processor_model_name,
        "usable_core_count": environment.usable_core_count,
        "usable_vcpu_count": environment.usable_vcpu_count,
        "virtualization": environment.virtualization,
        "accelerator_model_names": ", ".join(environment.accelerator_model_names) or None,
        "framework_version": None if software is None else software.framework_version,
        "numpy": None if software is None else software.numpy,
        "python": None if software is None else software.python,
        "mnist_bench_version": environment.mnist_bench_version,
        "epochs": recipe.epochs,
        "samples": recipe.samples,
        "learning_rate": recipe.learning_rate,
        "xavier_magnitude": recipe.xavier_magnitude,
    }


def _facts_of_each_framework(rows: Sequence[Row]) -> dict[str, Fact]:
    """The versions where rows differ, named as the columns of a pivot are: its cells have no room for them."""
    softwares = {row.scenario.framework: row.software for row in rows}
    return {
        f"{name}[framework={framework}]": getattr(software, name)
        for framework, software in softwares.items()
        for name in ("framework_version", "numpy", "python")
        if len(softwares) > 1 and software is not None
    }


def _notes(rows: Sequence[Row]) -> tuple[tuple[str, str], ...]:
    notes = []
    for row in rows:
        name = row.scenario.name
        if row.invalid is not None:
            notes.append((INVALID, f"{name}: {row.invalid}"))
        for failure in row.failures:
            share = f" ({failure.count} of {row.planned} processes)" if row.planned > 1 else ""
            notes.append((FAILED, f"{name}: {failure.reason}{share}: {failure.detail}"))
    not_run = sum(row.not_run for row in rows)
    if not_run:
        planned = sum(row.planned for row in rows)
        notes.append(
            (NOT_RUN, f"{not_run} of {format_count(planned, 'planned process', 'planned processes')} not run yet")
        )
    measured = [row for row in rows if row.measures is not None]
    if any(row.is_fastest for row in rows) and 1 in format_processes(rows):
        notes.append((FASTEST, "among single processes the fastest may be luck: --repeats 5 tells"))
    not_judged = sum(row.status is Status.NOT_JUDGED for row in measured)
    if not_judged:
        which = "accuracy" if not_judged == len(measured) else f"accuracy of {not_judged} of {len(measured)} rows"
        notes.append(("", f"{which} not judged: no band for this network, data set and amount of training"))
    return tuple((mark, clean_text(text.replace("\n", " "))) for mark, text in notes)
