"""Result files as tables: a listing of rows, or a pivot of them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Final

from bench.analysis import accuracy
from bench.analysis.groups import Status, throughput
from bench.analysis.headline import effects, gpu_against_cpu
from bench.analysis.series import measured
from bench.analysis.summary import Row, Summary
from bench.records.health import disturbances
from bench.render import units
from bench.render.model.answers import describe_effects, describe_gpu_against_cpu
from bench.render.model.axis_columns import AXES, MAIN_AXES, group_rows
from bench.render.model.column import Column, find
from bench.render.model.columns import BESIDE_CEILINGS, VALUES, bars
from bench.render.model.marks import AS_FAST, FAILED, FASTEST, INVALID, NOT_RUN
from bench.render.model.pivot import Axes, Frame, axes_of_pivot, pivot_table
from bench.render.model.resource_columns import describe_energy, energy_of_rows, format_price
from bench.render.model.table import Fact, Table, at_priority, hidden_column, make_table, numeric, sort_rows
from bench.render.model.words import captions
from bench.render.model.words.labels import listed_axes, shared_setting
from bench.render.phrases import describe_reasons, format_count, one_line
from bench.render.views.predictions import prediction_tables
from bench.render.views.scaling import scaling_tables
from bench.scenarios.scenario import tutorial_setting
from bench.stats.modes import two_groups

DEFAULT_VALUE: Final = "throughput"


def result_tables(
    summaries: Iterable[Summary],
    *,
    sort: str | None = None,
    row: str | None = None,
    column: str | None = None,
    value: str = DEFAULT_VALUE,
) -> list[Table]:
    """Return one table per file, network and recipe; or, with `row` or `column`, one pivot per file and recipe.

    Tables of ranks and of their exchanges, and then those of prediction, follow those of a file that has some.

    `sort` names a column, with a leading "-" for descending; raw values are sorted, absent ones last. Without it
    rows have the order of the plan. `row` and `column` name axes and `value` a column of numbers; other axes that vary
    lead the pivot's rows. A file without a plan gives no table.

    Raise `ValueError` for an unknown name, with a suggestion.
    """
    columns: Sequence[Column[Row]] = (*AXES, *VALUES)
    order = None if sort is None else (find(sort.removeprefix("-"), columns, "column"), sort.startswith("-"))
    pivot_value = find(value, numeric(VALUES), "value")
    axes = axes_of_pivot(row, column, None if value == DEFAULT_VALUE else value)
    tables = []
    for summary in summaries:
        groups = group_rows(summary.rows, by_network=axes is None)
        for rows in itertools.chain.from_iterable(map(_apart, groups)) if axes is None else groups:
            ordered = None if order is None else sort_rows(rows, order[0], descending=order[1])
            if axes is None:
                tables.append(_listing(summary, ordered or rows))
            else:
                tables.append(_pivot(summary, rows, axes, pivot_value, ordered))
        if axes is None:
            tables += [*scaling_tables(summary), *prediction_tables(summary)]
    return tables


def _apart(rows: Sequence[Row]) -> list[list[Row]]:
    """Return rows of several machines, and beside them those of ranks that share one, which are no such measurement."""
    shared = [row for row in rows if row.scenario.ranks > row.scenario.hosts]
    others = [row for row in rows if row.scenario.ranks <= row.scenario.hosts]
    return [others, shared] if others and shared and any(row.scenario.hosts > 1 for row in others) else [[*rows]]


def _listing(summary: Summary, rows: Sequence[Row]) -> Table:
    scenarios = [row.scenario for row in rows]
    has_ceiling = any(row.measures is not None and row.measures.roof is not None for row in rows)
    throughput, *others = (
        column if has_ceiling or column.heading.name not in BESIDE_CEILINGS else hidden_column(column)
        for column in VALUES
    )
    if rows[0].in_turns:  # what they took turns for comes first where there is little room
        others = [at_priority(column, _IN_TURNS.get(column.heading.name, column.heading.priority)) for column in others]
    frame = _frame(summary, rows)
    return make_table(
        f"{rows[0].scenario.network}: {frame.title}",
        _explained((*listed_axes(scenarios), throughput, bars(rows), *others), summary, rows),
        rows,
        caption=(*frame.caption, *shared_setting(scenarios)),
        facts=frame.facts,
        answers=frame.answers,
        notes=frame.notes,
        file=frame.file,
        mark=_mark,
    )


#: Priorities of columns in a table of rows that took turns.
_IN_TURNS: Final = {"speedup": 1, "epoch_seconds": 4}


def _mark(row: Row) -> str:
    if row.is_fastest:
        return FASTEST
    if row.may_be_fastest:
        return AS_FAST
    return {Status.INVALID: INVALID, Status.FAILED: FAILED, Status.NOT_RUN: NOT_RUN}.get(row.status, "")


def _pivot(
    summary: Summary, planned: Sequence[Row], axes: Axes, value: Column[Row], ordered: Sequence[Row] | None
) -> Table:
    def mark(row: Row) -> str:
        # The fastest is that by throughput, which says nothing about another value.
        ranked = row.is_fastest or row.may_be_fastest
        return _mark(row) if value.heading.name == DEFAULT_VALUE or not ranked else ""

    (explained,) = _explained([value], summary, planned)
    frame = _frame(summary, planned)
    return pivot_table(
        planned,
        axes,
        explained,
        dataclasses.replace(frame, facts=frame.facts | _facts_of_each_framework(planned)),
        status=find("status", VALUES, "column"),
        mark=mark,
        ordered=ordered,
    )


def _frame(summary: Summary, rows: Sequence[Row]) -> Frame:
    recipe = captions.describe_recipe(rows[0].recipe, summary.dataset.train_samples, in_turns=rows[0].in_turns)
    energy = describe_energy(energy_of_rows(rows), summary.environment.energy)
    return Frame(
        title=f"{recipe}, {captions.format_n(captions.process_counts(rows))}",
        caption=[
            *captions.file_caption(summary),
            ("result", f"suite {summary.suite}, {summary.created_at}"),
            *captions.hosts_caption(summary.hosts),
            *captions.health_caption(summary.health, summary.hosts),
            *captions.virtual_contexts(row.scenario for row in rows),
            *captions.ranks_caption((row.scenario for row in rows), summary.hosts),
            *captions.describe_ceilings(rows),
            *([("energy", energy)] if energy else []),
        ],
        facts=_facts(summary, rows),
        answers=_answers(summary, rows),
        notes=[
            *_notes(rows),
            *_unsteady_notes(summary, rows),
            *_void_notes(summary, rows),
            *_disturbances(summary, rows),
            *_throttled_notes(summary, rows),
        ],
        file=f"{summary.suite}, {summary.created_at}",
    )


def _answers(summary: Summary, rows: Sequence[Row]) -> list[tuple[str, str]]:
    networks = dict.fromkeys(row.scenario.network for row in rows)
    found = []
    for network in networks:
        ranked = measured(row for row in rows if row.scenario.network == network and row.scenario.trains_as_one)
        against = gpu_against_cpu(summary, ranked)
        lines = [
            *describe_effects(effects(summary, network, rows[0].recipe)),
            *([] if against is None else [describe_gpu_against_cpu(against)]),
        ]
        found += [(term if len(networks) == 1 else f"{network}: {term}", text) for term, text in lines]
    return found


def _explained(columns: Iterable[Column[Row]], summary: Summary, rows: Sequence[Row]) -> list[Column[Row]]:
    networks = dict.fromkeys(row.scenario.network for row in rows)
    targets = [f"{target:g} ({network})" for network in networks if (target := accuracy.target(network)) is not None]
    words = {
        "train_samples": f"{summary.dataset.train_samples:,}",
        "test_images": _test_images(summary, rows),
        "compared": ", ± within blocks of processes that take turns" if rows[0].in_turns else "",
        "tutorial": captions.describe_setting(
            tutorial_setting(rows[0].scenario.network), [axis for axis in AXES if axis.heading.name in MAIN_AXES]
        ),
        "targets": " or ".join(targets),
        "price": format_price(summary.price, summary.hosts),
        "accuracy_margin": f"{accuracy.MARGIN_OVER_FLOAT32:g}",
    }
    return [
        dataclasses.replace(
            column,
            heading=dataclasses.replace(column.heading, explanation=column.heading.explanation.format_map(words)),
        )
        for column in columns
    ]


def _test_images(summary: Summary, rows: Sequence[Row]) -> str:
    """Return which test images the accuracies of a table are on."""
    counts = {run.test_samples for row in rows for run in summary.groups[row.scenario, row.recipe].runs}
    if counts <= {None}:
        return f"all {summary.dataset.test_samples:,}"
    return f"the first {min(count for count in counts if count is not None):,}"


def _facts(summary: Summary, rows: Sequence[Row]) -> dict[str, Fact]:
    """Return what holds for all rows; the versions only where all rows have the same."""
    softwares = {row.software for row in rows}
    return {
        "suite": summary.suite,
        **captions.file_facts(summary),
        "dataset_source": summary.dataset.source,
        **captions.machine_facts(summary.environment),
        **captions.hosts_facts(summary.hosts),
        **captions.software_facts(softwares.pop() if len(softwares) == 1 else None),
        "mnist_bench_version": summary.environment.mnist_bench_version,
        **captions.health_facts(summary.health),
        **captions.recipe_facts(rows[0].recipe),
    }


def _facts_of_each_framework(rows: Sequence[Row]) -> dict[str, Fact]:
    """Return the versions where rows differ, named as a pivot's columns are: its cells have no room for them."""
    softwares = {row.scenario.framework: row.software for row in rows}
    if len(softwares) == 1:
        return {}
    return {
        f"{name}[framework={framework}]": version
        for framework, software in softwares.items()
        if software is not None
        for name, version in captions.software_facts(software).items()
    }


#: A row is unsteady whose images/s, or of rows that took turns whose speed-up, is known to no better than this.
_UNSTEADY: Final = 0.25


def _unsteady_notes(summary: Summary, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Say which rows' processes disagree so much that their number says little, and what helps."""
    told, in_turns = [], rows[0].in_turns
    for row in rows:
        if row.measures is None or not row.status.is_ranked:
            continue
        estimate = row.measures.speedup if in_turns else row.measures.throughput
        if estimate is None or estimate.upper is None or estimate.upper / estimate.value <= 1 + _UNSTEADY:
            continue
        speeds = [throughput(run) for run in summary.groups[row.scenario, row.recipe].runs]
        groups = two_groups(speeds)
        parts = [speeds] if groups is None else groups
        ranges = " and ".join(f"{units.significant(min(part))} to {units.significant(max(part))}" for part in parts)
        told.append(f"{row.scenario.name} ({'two speeds: ' if groups else ''}{ranges})")
    if not told:
        return []
    more = "--precision 3%" if in_turns else "a larger --repeats"
    what = "blocks" if in_turns else "processes"
    advice = f"run with {more}, or on a quieter machine; mnist-bench environment says what disturbs"
    return [("", f"unsteady, {what} disagree by more than {units.percent(_UNSTEADY)}: {'; '.join(told)}: {advice}")]


def _void_notes(summary: Summary, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return a note on each block of these rows that does not count; blocks are numbered as in the file."""
    voids: dict[int, str] = {}
    for row in rows:
        voids |= summary.groups[row.scenario, row.recipe].voids
    return [("", f"block {index + 1} is void: {why}") for index, why in sorted(voids.items())]


def _disturbances(summary: Summary, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Return a note on the blocks of these rows that were disturbed; they are numbered as in the file."""
    used = {run.block for row in rows for run in summary.groups[row.scenario, row.recipe].runs}
    reasons = disturbances([block.health for block in summary.blocks])
    told = [f"block {index + 1}: {reason}" for index, reason in reasons.items() if index in used]
    return [("", f"disturbed, but counted: {'; '.join(told)}")] if told else []


def _throttled_notes(summary: Summary, rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Say what slowed a GPU while these rows were measured."""
    runs = [run for row in rows for run in summary.groups[row.scenario, row.recipe].runs]
    healths = [run.health for run in runs if run.health is not None]
    healths += [summary.blocks[index].health for index in {run.block for run in runs if run.block is not None}]
    reasons = sorted({reason for health in healths for reason in health.gpu_throttle_reasons})
    return [("", f"a GPU was slowed meanwhile: {describe_reasons(reasons)}")] if reasons else []


def _notes(rows: Sequence[Row]) -> list[tuple[str, str]]:
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
        planned = format_count(sum(row.planned for row in rows), "planned process", "planned processes")
        notes.append((NOT_RUN, f"{not_run} of {planned} not run yet"))
    if any(row.is_fastest for row in rows) and 1 in captions.process_counts(rows):
        notes.append((FASTEST, "among single processes the fastest may be luck: --repeats 5 tells"))
    measured = [row for row in rows if row.measures is not None]
    not_judged = sum(row.status is Status.NOT_JUDGED for row in measured)
    return [(mark, one_line(text)) for mark, text in (*notes, *captions.not_judged_notes(not_judged, len(measured)))]
