"""A table with one axis down the side and another across the top."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.errors import ConfigurationError
from bench.render.model.axis_columns import AXES, LOOP, SHOWN_AXES, Axis, ScenarioRowT, varies
from bench.render.model.column import Column, Heading, Raw, find
from bench.render.model.table import Cell, Fact, Table, TableRow, cell_of, clean_pairs, hidden_column
from bench.render.model.words.captions import common_setting
from bench.render.phrases import clean_text, one_line
from bench.scenarios.axes import LOOP_AXES

#: The axes down the side and across the top; not both are None.
Axes = tuple[Axis | None, Axis | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What stands around a table's rows, as `Table` has it; its texts may still hold control characters."""

    #: Begins the title. A pivot's title says its value and its axis between this and the rest.
    kind: str = ""
    title: str
    caption: Sequence[tuple[str, str]]
    facts: dict[str, Fact]
    answers: Sequence[tuple[str, str]] = ()
    notes: Sequence[tuple[str, str]]
    file: str = ""


def axes_of_pivot(row: str | None, column: str | None, value: str | None = None) -> Axes | None:
    """Return the named axes, or None where none is named.

    Raise `ConfigurationError` for an unknown axis, for the same one twice, and for a `value` to show without an axis.
    """
    row_axis = None if row is None else find(row, (*AXES, LOOP), "axis")
    column_axis = None if column is None else find(column, (*AXES, LOOP), "axis")
    if row_axis is None and column_axis is None:
        if value is not None:
            raise ConfigurationError(f"--value {value} needs an axis: name --row or --column, e.g. --row batch_size")
        return None
    if row_axis is not None and row_axis is column_axis:
        raise ConfigurationError(f"rows and columns cannot both be {row_axis.heading.name}")
    return row_axis, column_axis


def pivot_table(
    planned: Sequence[ScenarioRowT],
    axes: Axes,
    value: Column[ScenarioRowT],
    frame: Frame,
    *,
    status: Column[ScenarioRowT],
    mark: Callable[[ScenarioRowT], str],
    ordered: Sequence[ScenarioRowT] | None = None,
) -> Table:
    """Arrange rows by axes, in the order of the plan: each cell shows the value of one row of a listing, and its mark.

    `ordered` are the same rows where they were sorted: columns keep the order of the plan then, and rows do not.
    Programs get a `status` beside each value, so that none takes an invalid number for a good one.
    """
    row_axis, column_axis = axes
    # The column of the whole loop would repeat what an axis for one part of it says.
    by_part = any(axis is not None and axis.heading.name in LOOP_AXES for axis in axes)
    known = AXES if by_part else SHOWN_AXES
    varying = [axis for axis in known if varies(axis, [row.scenario for row in planned])]
    leading = [axis for axis in varying if axis is not row_axis and axis is not column_axis]
    if row_axis is not None:
        leading.append(row_axis)
    across = [None] if column_axis is None else list(dict.fromkeys(column_axis.value(row) for row in planned))
    cells: dict[tuple[Raw, ...], dict[Raw, ScenarioRowT]] = {}
    for row in planned if ordered is None else ordered:
        lead = tuple(axis.value(row) for axis in leading)
        cells.setdefault(lead, {})[None if column_axis is None else column_axis.value(row)] = row
    if ordered is None:
        # Rows with equal leading values stand together, each axis in the order of the plan.
        places = [list(dict.fromkeys(axis.value(row) for row in planned)) for axis in leading]
        cells = dict(
            sorted(
                cells.items(), key=lambda item: [place.index(raw) for place, raw in zip(places, item[0], strict=True)]
            )
        )
    # Who asks for a value sees it, also one that a listing has for programs only.
    shown = dataclasses.replace(value, heading=dataclasses.replace(value.heading, priority=1))
    beside = [(column, raw) for column in (shown, hidden_column(status)) for raw in across]
    title = one_line(value.heading.title).partition(" [")[0]
    if column_axis is not None:
        title += f" by {column_axis.heading.title}"
    constant = [axis for axis in known if axis not in varying and axis is not row_axis and axis is not column_axis]
    return Table(
        title=clean_text(f"{frame.kind}{title}: {frame.title}"),
        caption=clean_pairs((*frame.caption, *common_setting(planned[0].scenario, constant))),
        facts=frame.facts,
        headings=(
            *(axis.heading for axis in leading),
            *(_pivot_heading(column.heading, column_axis, raw) for column, raw in beside),
        ),
        rows=tuple(
            TableRow(
                cells=(
                    *(cell_of(axis, next(iter(by_column.values()))) for axis in leading),
                    *(_pivot_cell(column, by_column.get(raw), mark) for column, raw in beside),
                )
            )
            for by_column in cells.values()
        ),
        answers=clean_pairs(frame.answers),
        notes=clean_pairs(frame.notes),
        file=frame.file,
    )


def _pivot_heading(heading: Heading, axis: Axis | None, raw: Raw) -> Heading:
    if axis is None:
        return heading
    where = f"[{axis.heading.name}={'default' if raw is None else raw}]"
    return dataclasses.replace(
        heading,
        name=f"{heading.name}{where}",
        key=f"{heading.key}{where}",
        title=clean_text(f"{axis.heading.title}\n{'default' if raw is None else raw}"),
        term=one_line(heading.title),
    )


def _pivot_cell(column: Column[ScenarioRowT], row: ScenarioRowT | None, mark: Callable[[ScenarioRowT], str]) -> Cell:
    if row is None:
        return Cell(raw=None, text="")
    return dataclasses.replace(cell_of(column, row), mark=mark(row))
