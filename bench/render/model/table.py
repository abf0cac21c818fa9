"""Tables as every format gets them, and how a list of columns reads a list of rows into one."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.analysis.headline import MARGIN
from bench.analysis.summary import Row
from bench.render import units
from bench.render.model.column import Column, Heading, Raw, RowT
from bench.render.model.marks import MARKS, Tone
from bench.render.phrases import clean_text, harmless, one_line
from bench.stats.intervals import Estimate

Fact = str | int | float | None
#: Terms and their texts, as a caption has them.
Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one row has in one column."""

    #: The value as stored or computed, never rounded.
    raw: Raw
    text: str
    #: Written behind the text and aligned separately.
    detail: str = ""
    #: One of MARKS or ""; only in a pivot, where a row holds several scenarios.
    mark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRow:
    """The cells of a row, one for each heading."""

    cells: tuple[Cell, ...]
    #: One of MARKS or "".
    mark: str = ""
    #: Selects a colour, which repeats what the words of the row say.
    tone: Tone = Tone.PLAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What every format shows, each in its own way."""

    title: str
    #: Lines above the rows as (label, text): machine, data, software, method.
    caption: Pairs = ()
    #: What the caption says, for programs; it holds for every row.
    facts: dict[str, Fact] = field(default_factory=dict)
    headings: tuple[Heading, ...]
    rows: tuple[TableRow, ...]
    #: Lines below the rows as (setting, what it does to the speed); for people only.
    answers: Pairs = ()
    #: Lines below those as (mark, text): why a row is invalid, failed or missing.
    notes: Pairs = ()
    #: What the table was made of: neighbours of the same have one caption. "": nothing that another table shares.
    file: str = ""
    #: Facts and their values, which are not to be filtered and stand below each other where there is little room.
    is_facts: bool = False


def make_table(
    title: str,
    columns: Sequence[Column[RowT]],
    rows: Iterable[RowT],
    *,
    caption: Iterable[tuple[str, str]] = (),
    facts: Mapping[str, Fact] | None = None,
    answers: Iterable[tuple[str, str]] = (),
    notes: Iterable[tuple[str, str]] = (),
    file: str = "",
    mark: Callable[[RowT], str] = lambda _row: "",
    tone: Callable[[RowT], Tone] = lambda _row: Tone.PLAIN,
) -> Table:
    """Read each column of each row, and clean every text of what could steer a terminal.

    `mark` gives a row one of MARKS or "".
    """
    return Table(
        title=one_line(clean_text(title)),
        caption=clean_pairs(caption),
        facts={name: harmless(fact) if isinstance(fact, str) else fact for name, fact in (facts or {}).items()},
        headings=tuple(column.heading for column in columns),
        rows=tuple(
            TableRow(cells=tuple(cell_of(column, row) for column in columns), mark=mark(row), tone=tone(row))
            for row in rows
        ),
        answers=clean_pairs(answers),
        notes=clean_pairs(notes),
        file=file,
    )


def by_file(tables: Iterable[Table]) -> list[tuple[Pairs, list[Table]]]:
    """Group neighbours of the same file: what all their captions say, to stand above them once, and each without it."""
    groups: list[tuple[Pairs, list[Table]]] = []
    for file, neighbours in itertools.groupby(tables, key=lambda table: table.file):
        first, *others = own = list(neighbours)
        common = [line for line in first.caption if file and others and all(line in each.caption for each in others)]
        lines = [tuple(line for line in each.caption if line not in common) for each in own]
        each_own = [dataclasses.replace(each, caption=caption) for each, caption in zip(own, lines, strict=True)]
        groups.append((tuple(common), each_own))
    return groups


def clean_pairs(pairs: Iterable[tuple[str, str]]) -> Pairs:
    """Clean the texts of a caption or of notes."""
    return tuple((clean_text(label), clean_text(text)) for label, text in pairs)


def cell_of(column: Column[RowT], row: RowT) -> Cell:
    """Return what the row has in the column."""
    text, detail = column.words(row) or ("", "")
    return Cell(raw=column.value(row), text=one_line(clean_text(text or "")), detail=one_line(clean_text(detail)))


def at_priority(column: Column[RowT], priority: int | None) -> Column[RowT]:
    """Return the same column at another priority; None: for programs only."""
    return dataclasses.replace(column, heading=dataclasses.replace(column.heading, priority=priority))


def hidden_column(column: Column[RowT]) -> Column[RowT]:
    """Return the same column for programs only."""
    return at_priority(column, None)


def numeric(columns: Iterable[Column[RowT]]) -> list[Column[RowT]]:
    """Return the columns that a pivot's cells can hold."""
    return [column for column in columns if column.heading.number and column.heading.data]


def readable(table: Table, *, pictures: bool = False) -> list[int]:
    """Return the places of the columns to show to a reader: axes, and those with a value in any row."""
    return [
        index
        for index, heading in enumerate(table.headings)
        if heading.priority is not None
        and (pictures or not heading.picture)
        and (heading.priority == 0 or any(row.cells[index].text or row.cells[index].mark for row in table.rows))
    ]


_ANSWERS: Final = (
    "… instead of …",
    (
        "images/s with the one over images/s with the other, all else equal: mean over all pairs of rows that differ "
        "in this alone, within blocks, and ± its 95 % t interval over blocks; slower counts in time per image; no "
        f"difference that matters: the whole interval is within {units.percentage(math.expm1(MARGIN))}"
    ),
)


def legend_of(shown: Iterable[tuple[Table, Sequence[int]]]) -> list[tuple[str, str]]:
    """Explain the marks, the answers and the shown columns of these tables, each once, as (term, explanation).

    Marks first, then the answers, then the columns in the order of the table that shows most of them.
    """
    by_size = sorted(shown, key=lambda pair: len(pair[1]), reverse=True)
    rows = [row for table, _indices in by_size for row in table.rows]
    used = {row.mark for row in rows} | {cell.mark for row in rows for cell in row.cells}
    headings = [table.headings[index] for table, indices in by_size for index in indices]
    terms = [
        (heading.term or one_line(heading.title), heading.explanation) for heading in headings if heading.explanation
    ]
    answers = [_ANSWERS] if any(table.answers for table, _indices in by_size) else []
    return [(mark, meaning) for mark, meaning in MARKS.items() if mark in used] + answers + list(dict.fromkeys(terms))


def sort_rows(rows: Sequence[Row], column: Column[Row], *, descending: bool) -> list[Row]:
    """Sort by raw values, absent ones last either way; digits in names are numbers: cpu(2) is before cpu(10)."""
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
