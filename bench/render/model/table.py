"""Result sets -> format-independent tables. Grouping, sorting, pivoting and wording happen once, here."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from bench.analysis import accuracy
from bench.analysis.groups import Status
from bench.analysis.roofline import Roof
from bench.analysis.summary import Row, Summary, summarize
from bench.records.environment import Environment
from bench.records.result import Dataset, ResultSet
from bench.render import units
from bench.render.model.columns import (
    AXES,
    BESIDE_CEILINGS,
    LOOP,
    MAIN_AXES,
    SHOWN_AXES,
    VALUES,
    Column,
    Heading,
    OfScenario,
    Raw,
    RowT,
    bars,
    find,
)
from bench.scenarios.axes import LOOP_AXES, LoopName
from bench.scenarios.scenario import Scenario, axis_value, tutorial_setting
from bench.stats.intervals import Estimate
from mnist_core.devices import DeviceKind
from mnist_core.recipe import Recipe

FASTEST: Final = "★"
FASTER: Final = "▲"
SLOWER: Final = "▼"
LEVEL: Final = "="
OPEN: Final = "?"
MISSING: Final = "○"
OTHER: Final = "≠"
INVALID: Final = "!"
FAILED: Final = "✗"
NOT_RUN: Final = "·"
#: A sign, never colour alone, says what a row is worth.
MARKS: Final = {
    FASTEST: "fastest valid row of its network, by images/s",
    INVALID: "invalid, carries no rank: the reason stands under the table",
    FAILED: "failed: the reason stands under the table",
    NOT_RUN: "not run yet",
    FASTER: "faster, or improved",
    SLOWER: "slower, or regressed",
    LEVEL: "unchanged, or not told apart",
    OPEN: "undecided: not told apart, inconclusive or underpowered",
    MISSING: "missing on one side, or failed: the reason stands beside or under the table",
    OTHER: "not comparable: the reason stands above or under the table",
}

DEFAULT_VALUE: Final = "throughput"

Fact = str | int | float | None


class Tone(enum.Enum):
    """Whether a row is good news."""

    PLAIN = ""
    GOOD = "good"
    BAD = "bad"
    DIM = "dim"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    #: As stored or computed, never rounded.
    raw: Raw
    text: str
    #: Behind the text, aligned by itself.
    detail: str = ""
    #: In a pivot, where a row holds several scenarios: one of MARKS or "".
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    cells: tuple[Cell, ...]
    #: One of MARKS or "".
    mark: str = ""
    #: For colour, which repeats what the words of the row say.
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What every format shows, each in its own way."""

    title: str
    #: Above the rows: what they are true of, as (label, text).
    caption: tuple[tuple[str, str], ...]
    #: The same for programs; they hold for every row.
    facts: dict[str, Fact]
    headings: tuple[Heading, ...]
    rows: tuple[TableRow, ...]
    #: Below the rows: why one is invalid, failed or missing, as (mark, text).
    notes: tuple[tuple[str, str], ...]


Axis = Column[OfScenario]
#: Of a pivot: down the side, across the top.
Axes = tuple[Axis | None, Axis | None]
ScenarioRowT = TypeVar("ScenarioRowT", bound=OfScenario)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What stands around a pivot's rows, as `Table` has it."""

    #: Of what the rows are; the value and the axis come before it.
    title: str
    caption: tuple[tuple[str, str], ...]
    facts: dict[str, Fact]
    notes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pivot(Generic[ScenarioRowT]):
    """What stands where in a pivot, whose cells each show one row of a listing."""

    axes: Axes
    value: Column[ScenarioRowT]
    #: Beside the value, so that a program does not take an invalid number for a good one.
    status: Column[ScenarioRowT]
    #: One of MARKS or "".
    mark: Callable[[ScenarioRowT], str]


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


def numeric(columns: Iterable[Column[RowT]]) -> list[Column[RowT]]:
    """Those that a pivot's cells can hold."""
    return [column for column in columns if column.heading.number and column.heading.data]


def readable(table: Table, *, pictures: bool = False) -> list[int]:
    """The columns meant to be read that have something to say: axes, and values that any row has."""
    return [
        index
        for index, heading in enumerate(table.headings)
        if heading.priority is not None
        and (pictures or not heading.picture)
        and (heading.priority == 0 or any(row.cells[index].text or row.cells[index].mark for row in table.rows))
    ]


def legend_of(shown: Iterable[tuple[Table, Sequence[int]]]) -> list[tuple[str, str]]:
    """What the marks and the shown columns of these tables mean, each once, as (term, explanation).

    Marks first, then the columns in the order of the table that shows most of them.
    """
    by_size = sorted(shown, key=lambda pair: len(pair[1]), reverse=True)
    rows = [row for table, _indices in by_size for row in table.rows]
    used = {row.mark for row in rows} | {cell.mark for row in rows for cell in row.cells}
    headings = [table.headings[index] for table, indices in by_size for index in indices]
    terms = [
        (heading.term or _one_line(heading.title), heading.explanation) for heading in headings if heading.explanation
    ]
    return [(mark, meaning) for mark, meaning in MARKS.items() if mark in used] + list(dict.fromkeys(terms))


def sort_rows(rows: Sequence[Row], column: Column[Row], *, descending: bool) -> list[Row]:
    """By raw values, absent ones last either way; digits in names count as numbers: cpu(2) is before cpu(10)."""
    present = [row for row in rows if column.value(row) is not None]
    absent = [row for row in rows if column.value(row) is None]
    return sorted(present, key=lambda row: _sort_key(column.value(row)), reverse=descending) + absent


def _sort_key(raw: Raw) -> tuple[float | str, ...]:
    if isinstance(raw, Estimate):
        return (raw.value,)
    if isinstance(raw, str):
        # Splitting by a group alternates text and digits, so equal places hold equal types.
        return tuple(int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d+)", raw)))
    assert raw is not None
    return (raw,)


def _groups(rows: Sequence[Row], *, by_network: bool) -> list[list[Row]]:
    grouped: dict[tuple[str | None, Recipe], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row.scenario.network if by_network else None, row.recipe), []).append(row)
    return list(grouped.values())


# --- the default view: one row per scenario


def _listing(summary: Summary, rows: Sequence[Row]) -> Table:
    network, recipe = rows[0].scenario.network, rows[0].recipe
    axes = [
        column if _is_shown(column.heading.name, rows) else for_programs(column)
        for column in sorted((*AXES, LOOP), key=lambda column: column.heading.name not in MAIN_AXES)
    ]
    has_ceiling = any(row.measures is not None and row.measures.roof is not None for row in rows)
    values = [
        column if has_ceiling or column.heading.name not in BESIDE_CEILINGS else for_programs(column)
        for column in VALUES
    ]
    throughput, *others = values
    columns = _explained((*axes, throughput, bars(rows), *others), summary, rows)
    return Table(
        title=clean(f"{network}: {recipe_words(recipe, summary.dataset.train_samples)}, {n_words(_processes(rows))}"),
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
        return any(row.scenario.loop_words != tutorial.loop_words for row in rows)
    return axis in MAIN_AXES or any(axis_value(row.scenario, axis) != axis_value(tutorial, axis) for row in rows)


def for_programs(column: Column[RowT]) -> Column[RowT]:
    return dataclasses.replace(column, heading=dataclasses.replace(column.heading, priority=None))


def cell_of(column: Column[RowT], row: RowT) -> Cell:
    text = column.text(row)
    return Cell(raw=column.value(row), text="" if text is None else clean(text), detail=column.detail(row))


def _mark(row: Row) -> str:
    if row.is_fastest:
        return FASTEST
    return {Status.INVALID: INVALID, Status.FAILED: FAILED, Status.NOT_RUN: NOT_RUN}.get(row.status, "")


# --- the pivot: one column per value of an axis


def axes_of_pivot(row: str | None, column: str | None) -> Axes:
    """Raises `ValueError` for a name that is none, or one that is both."""
    row_axis = None if row is None else find(row, (*AXES, LOOP), "axis")
    column_axis = None if column is None else find(column, (*AXES, LOOP), "axis")
    if row_axis is not None and row_axis is column_axis:
        raise ValueError(f"rows and columns cannot both be {row_axis.heading.name}")
    return row_axis, column_axis


def pivot_table(
    planned: Sequence[ScenarioRowT],
    ordered: Sequence[ScenarioRowT],
    pivot: Pivot[ScenarioRowT],
    frame: Frame,
    *,
    sorts: bool = False,
) -> Table:
    """`planned` and `ordered` are the same rows: columns keep the order of the plan, rows take that of the sort."""
    (row_axis, column_axis), value = pivot.axes, pivot.value
    # By one part of the loop: then its words would repeat what the row or column says.
    by_part = any(axis is not None and axis.heading.name in LOOP_AXES for axis in pivot.axes)
    known = AXES if by_part else SHOWN_AXES
    varying = [axis for axis in known if len({axis.value(row) for row in planned}) > 1]
    leading = [axis for axis in varying if axis is not row_axis and axis is not column_axis]
    if row_axis is not None:
        leading.append(row_axis)
    across = [None] if column_axis is None else list(dict.fromkeys(column_axis.value(row) for row in planned))
    cells: dict[tuple[Raw, ...], dict[Raw, ScenarioRowT]] = {}
    for row in ordered:
        lead = tuple(axis.value(row) for axis in leading)
        cells.setdefault(lead, {})[None if column_axis is None else column_axis.value(row)] = row
    if not sorts:
        # Equal leading values together, each axis in the order of the plan.
        places = [list(dict.fromkeys(axis.value(row) for row in planned)) for axis in leading]
        cells = dict(
            sorted(
                cells.items(), key=lambda item: [place.index(raw) for place, raw in zip(places, item[0], strict=True)]
            )
        )
    title = _one_line(value.heading.title) + ("" if column_axis is None else f" by {column_axis.heading.title}")
    caption = frame.caption
    constant = [axis for axis in known if axis not in varying and axis is not row_axis and axis is not column_axis]
    if setting := setting_words(planned[0].scenario, constant):
        caption = (*caption, ("all rows", clean(setting)))
    return Table(
        title=clean(f"{title}: {frame.title}"),
        caption=caption,
        facts=frame.facts,
        headings=(
            *(axis.heading for axis in leading),
            *(_pivot_heading(value.heading, column_axis, raw) for raw in across),
            *(_pivot_heading(pivot.status.heading, column_axis, raw) for raw in across),
        ),
        rows=tuple(
            TableRow(
                cells=(
                    *(cell_of(axis, next(iter(found.values()))) for axis in leading),
                    *(_pivot_cell(pivot, found.get(raw)) for raw in across),
                    *(Cell(raw=pivot.status.value(found[raw]) if raw in found else None, text="") for raw in across),
                )
            )
            for found in cells.values()
        ),
        notes=frame.notes,
    )


def _pivot_heading(heading: Heading, axis: Axis | None, raw: Raw) -> Heading:
    priority = None if heading.priority is None else 1
    if axis is None:
        return dataclasses.replace(heading, priority=priority)
    where = f"[{axis.heading.name}={'default' if raw is None else raw}]"
    return dataclasses.replace(
        heading,
        name=f"{heading.name}{where}",
        key=f"{heading.key}{where}",
        title=clean(f"{axis.heading.title}\n{'default' if raw is None else raw}"),
        term=_one_line(heading.title),
        priority=priority,
    )


def _pivot_cell(pivot: Pivot[ScenarioRowT], row: ScenarioRowT | None) -> Cell:
    if row is None:
        return Cell(raw=None, text="")
    return dataclasses.replace(cell_of(pivot.value, row), mark=pivot.mark(row))


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
            title=f"{recipe_words(recipe, summary.dataset.train_samples)}, {n_words(_processes(planned))}",
            caption=_caption(summary, planned),
            facts=_facts(summary, planned) | _facts_of_each_framework(planned),
            notes=_notes(planned),
        ),
        sorts=sorts,
    )


# --- words around the rows


def clean(text: str) -> str:
    """On as many lines as headers need, without anything that could steer a terminal."""
    return "\n".join(
        " ".join("".join(character if character.isprintable() else " " for character in line).split())
        for line in text.split("\n")
    )


def _one_line(title: str) -> str:
    return title.replace("\n", " ")


def recipe_words(recipe: Recipe, train_samples: int) -> str:
    """10 epochs of 60,000 images; 1 epoch of the first 2,000 images."""
    part = recipe.samples is not None and recipe.samples < train_samples
    images = f"the first {recipe.samples:,}" if part else f"{train_samples:,}"
    words = f"{count_words(recipe.epochs, 'epoch')} of {images} images"
    tutorial = Recipe()
    if recipe.learning_rate != tutorial.learning_rate:
        words += f", learning rate {recipe.learning_rate}"
    if recipe.xavier_magnitude != tutorial.xavier_magnitude:
        words += f", Xavier magnitude {recipe.xavier_magnitude}"
    return words


def count_words(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def setting_words(scenario: Scenario, axes: Iterable[Axis]) -> str:
    """The tutorial's setting: cpu(0),cpu(1), batch 100, hybridize off."""
    words = []
    for axis in axes:
        name = axis.heading.name
        value = axis_value(scenario, name)
        if name == LOOP.heading.name and value in {"", str(LoopName.TUTORIAL)}:
            continue
        if value is not None and name != "framework":  # that is among the versions
            named = name in {"network", "contexts"}
            words.append(str(value) if named else f"{axis.heading.title} {value}")
    return ", ".join(words)


def _explained(columns: Iterable[Column[Row]], summary: Summary, rows: Sequence[Row]) -> list[Column[Row]]:
    networks = dict.fromkeys(row.scenario.network for row in rows)
    targets = [f"{target:g} ({network})" for network in networks if (target := accuracy.target(network)) is not None]
    words = {
        "train_samples": f"{summary.dataset.train_samples:,}",
        "test_samples": f"{summary.dataset.test_samples:,}",
        "tutorial": setting_words(
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
        ("data", dataset_words(summary.dataset)),
        ("machine", machine_words(summary.environment)),
        ("software", software_words(summary.environment)),
        ("result", f"suite {summary.suite}, {summary.created_at}"),
        *virtual_contexts(row.scenario for row in rows),
        *ceiling_words(rows),
    ]
    return tuple((label, clean(text)) for label, text in lines)


def dataset_words(dataset: Dataset) -> str:
    return f"{dataset.name} ({dataset.digest[:12]}), {dataset.source}"


def machine_words(environment: Environment) -> str:
    words = [
        environment.host_processor_model_name or f"an unnamed {environment.architecture} processor",
        count_words(environment.usable_core_count, "usable core")
        + f" ({count_words(environment.usable_vcpu_count, 'vCPU')})",
    ]
    if environment.virtualization is not None:
        words.append(environment.virtualization)
    words += [
        _count_of(environment.accelerator_model_names.count(model), model)
        for model in dict.fromkeys(environment.accelerator_model_names)
    ]
    return ", ".join(words)


def software_words(environment: Environment) -> str:
    loaded = [*([environment.software] if environment.software else []), *environment.peers]
    versions = "; ".join(f"{s.framework} {s.framework_version}, numpy {s.numpy}, Python {s.python}" for s in loaded)
    return f"{versions or 'versions not recorded: no run finished'}, mnist-bench {environment.mnist_bench_version}"


def virtual_contexts(scenarios: Iterable[Scenario]) -> list[tuple[str, str]]:
    """A caption's note where any of them has several CPU contexts."""
    virtual = dict.fromkeys(
        str(device)
        for scenario in scenarios
        if len(cpus := [device for device in scenario.devices if device.kind is DeviceKind.CPU]) > 1
        for device in cpus
    )
    return [("note", f"{', '.join(virtual)} are virtual contexts: no core is bound to one")] if virtual else []


def ceiling_words(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """A caption's line for each ceiling that a row is measured by."""
    used = dict.fromkeys(row.measures.roof for row in rows if row.measures is not None)
    return [("ceiling", _roof_words(roof)) for roof in used if roof is not None]


def _roof_words(roof: Roof) -> str:
    best = roof.best
    where = [str(best.framework)]
    where += ["of each GPU"] if roof.place.kind is DeviceKind.GPU else [count_words(best.threads, "thread")]
    rate, times = best.gflop_per_second, len(best.ceilings)
    over_time = f", {units.significant(rate.least)} to {units.significant(rate.greatest)}" if times > 1 else ""
    return (
        f"{units.significant(rate.median)} GFLOP/s float32 matrix product ({', '.join(where)}, size {best.size}), "
        f"{units.giga(roof.bandwidth_bytes_per_second)} GB/s from memory; "
        f"best of {', '.join(str(level.framework) for level in roof.levels)}; n = {times} over the run{over_time}"
    )


def _count_of(number: int, model: str) -> str:
    return model if number == 1 else f"{number} x {model}"


def _processes(rows: Sequence[Row]) -> list[int]:
    return [row.measures.n for row in rows if row.measures is not None]


def n_words(processes: Iterable[int]) -> str:
    ns = sorted({*processes})
    if not ns:
        return "n = 0"
    return f"n = {ns[0]}" if len(ns) == 1 else f"n = {ns[0]} to {ns[-1]}"


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
            (NOT_RUN, f"{not_run} of {count_words(planned, 'planned process', 'planned processes')} not run yet")
        )
    measured = [row for row in rows if row.measures is not None]
    if any(row.is_fastest for row in rows) and 1 in _processes(rows):
        notes.append((FASTEST, "among single processes the fastest may be luck: --repeats 5 tells"))
    not_judged = sum(row.status is Status.NOT_JUDGED for row in measured)
    if not_judged:
        which = "accuracy" if not_judged == len(measured) else f"accuracy of {not_judged} of {len(measured)} rows"
        notes.append(("", f"{which} not judged: no band for this network, data set and amount of training"))
    return tuple((mark, clean(text.replace("\n", " "))) for mark, text in notes)
