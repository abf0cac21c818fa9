"""Result sets -> format-independent tables. Grouping, sorting, pivoting and wording happen once, here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.analysis.summary import Row
from bench.render.model.columns import (
    Column,
    Heading,
    Raw,
    RowT,
)
from bench.render.model.marks import MARKS, Tone
from bench.render.phrases import clean_text, one_line
from bench.stats.intervals import Estimate

Fact = str | int | float | None


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
        (heading.term or one_line(heading.title), heading.explanation) for heading in headings if heading.explanation
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


def hidden_column(column: Column[RowT]) -> Column[RowT]:
    return dataclasses.replace(column, heading=dataclasses.replace(column.heading, priority=None))


def cell_of(column: Column[RowT], row: RowT) -> Cell:
    text = column.text(row)
    return Cell(raw=column.value(row), text="" if text is None else clean_text(text), detail=column.detail(row))
