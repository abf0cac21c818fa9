"""Tables on a terminal of any width, with any colours and encoding."""

from __future__ import annotations

import dataclasses
import enum
import textwrap
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bench.render import sparklines, units
from bench.render.model.marks import (
    AS_FAST,
    FAILED,
    FASTER,
    FASTEST,
    MARKS,
    MISSING,
    NOT_RUN,
    OTHER,
    REFUSED,
    SLOWER,
    TONE_OF_MARK,
    Tone,
)
from bench.render.model.table import Cell, Pairs, Table, TableRow, by_file, legend_of, readable
from bench.render.phrases import UNBROKEN, one_line, printable_line

_UNICODE_RULE = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
_ASCII_RULE = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
_ASCII = str.maketrans(
    {
        units.ABSENT: "-",
        "·": "-",
        "±": "+/-",
        "≈": "~",
        units.TIMES: "x",
        "÷": "/",
        "µ": "u",
        "…": "...",
        "→": "->",
        "\N{INFINITY}": "inf",
        FASTEST: "*",
        AS_FAST: "+",
        FAILED: "x",
        NOT_RUN: ".",
        FASTER: "^",
        SLOWER: "v",
        MISSING: "o",
        OTHER: "#",
        REFUSED: "X",
        **dict(zip(sparklines.LEVELS, "_.-~=+*#", strict=True)),
        **dict.fromkeys("▏▎▍▌▋▊▉", ""),
        sparklines.RULE: "-",
        sparklines.VALUE: "o",
        sparklines.ORIGIN: "|",
    }
)
_TONES = {Tone.GOOD: "green", Tone.BAD: "red", Tone.DIM: "dim"}
_STYLES = {mark: _TONES[tone] for mark, tone in TONE_OF_MARK.items()} | {FASTEST: "bold green", OTHER: "red"}
#: Text is wrapped no narrower than this while that hides no column that matters,
_GOOD_TEXT = 32
#: or than this, to stay readable.
_NARROWEST_TEXT = 20
#: Or, where the alternative is no table at all, in a cell no narrower than this.
_NARROWEST_CELL = 12
#: Columns up to this priority are not hidden where a text can be wrapped instead.
_MATTERS = 2
#: What stands for a blank at which no line ends, meanwhile: a character that no text has.
_KEPT_BLANK = "\ue000"
#: Spaces between two columns.
_BETWEEN = 2
Writer = Callable[[str], str]
_PartT = TypeVar("_PartT")


class Legend(enum.Enum):
    """How much is explained below the tables."""

    NONE = "none"
    #: The signs of rows, and how to see the rest.
    SIGNS = "signs"
    #: The columns, too.
    FULL = "full"


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a table fits into a number of columns of text."""

    #: Places of the columns that are shown, and of those that are not.
    shown: list[int]
    hidden: list[int]
    width: int
    #: The place of the column of text that is wrapped, and its width; None: none is.
    wrapped: tuple[int, int] | None = None


def render_text(tables: Sequence[Table], console: Console, legend: Legend = Legend.FULL) -> None:
    """Print each table with its caption, answers and notes, then one legend of what any of them shows."""
    write = writer(console.encoding)
    shown: list[tuple[Table, list[int]]] = []
    captioned = [(common, _fitted(table, console.width, write)) for common, table in _with_captions(tables)]
    # What one table has no room for is hidden in all: their columns are to be compared.
    hidden = {
        one_line(table.headings[index].title): table.headings[index].picture
        for _common, table in captioned
        if (layout := _layout(table, console.width, write)).width <= console.width
        for index in layout.hidden
    }
    for common, table in captioned:
        if common:
            _print_pairs(common, console, write)
            console.print()
        layout = _layout(table, console.width, write, without=hidden)
        console.print(Text(write(table.title), style="bold"))
        _print_pairs(table.caption, console, write)
        console.print()
        if layout.width <= console.width:
            body = _body(table, layout, write)
            body.width = layout.width
            console.print(body, no_wrap=True)
        else:
            _print_records(table, console, write)
        if table.answers:
            console.print()
            _print_pairs(table.answers, console, write)
        _print_pairs(table.notes, console, write)
        console.print()
        shown.append((table, layout.shown))
    _print_legend(shown, legend, console, write)
    told = [title for title, picture in hidden.items() if not picture]
    if told and legend is not Legend.NONE:
        line = f"Hidden where {console.width} columns are too few: {', '.join(told)}."
        console.print(Text(write(f"{line} A wider terminal or --format csv shows them."), style="dim"))


def _print_legend(
    shown: Sequence[tuple[Table, Sequence[int]]], legend: Legend, console: Console, write: Writer
) -> None:
    everything = legend_of(shown)
    signs = [(term, text) for term, text in everything if term in MARKS]
    match legend:
        case Legend.FULL:
            _print_pairs(everything, console, write)
        case Legend.SIGNS:
            _print_pairs(signs, console, write)
            if len(everything) > len(signs):
                console.print(Text(write("--verbose explains the columns."), style="dim"))


def _with_captions(tables: Sequence[Table]) -> Iterator[tuple[Pairs, Table]]:
    """Yield the tables, the first of neighbours with what their captions have in common."""
    for common, own in by_file(tables):
        for place, table in enumerate(own):
            yield (() if place else common), table


def print_line(console: Console, line: str, style: str = "") -> None:
    """Print one line without reading markup or control characters in it, in ASCII where the console has no more."""
    text = writer(console.encoding)(printable_line(line))
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def writer(encoding: str) -> Writer:
    """Return what makes a text fit the encoding: nothing to do for Unicode, else a translation to ASCII."""
    if encoding.lower().replace("-", "").startswith("utf"):
        return lambda text: text
    return lambda text: text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def _layout(table: Table, limit: int, write: Writer, without: Container[str] = ()) -> _Layout:
    """Return what fits of a table; the least important columns make room first, of equals the rightmost.

    Before one that matters does, the widest column of text is wrapped. `without` names columns by their titles,
    and hides none without which this table's rows cannot be told apart.
    """
    widths = {
        index: _column_width(table, index, write)
        for index in readable(table, pictures=True)
        if table.headings[index].priority == 0 or one_line(table.headings[index].title) not in without
    }
    whole = _drop(table, widths, limit)
    texts = [index for index, width in widths.items() if _is_text(table, index) and width > _NARROWEST_TEXT]
    if not texts or not (_lost(table, whole) or whole.width > limit):
        return whole
    widest = max(texts, key=widths.__getitem__)
    for least in (min(_GOOD_TEXT, widths[widest]), _NARROWEST_TEXT, _NARROWEST_CELL):
        narrow = _drop(table, widths | {widest: least}, limit)
        room = min(widths[widest], least + max(0, limit - narrow.width))
        if narrow.width <= limit and not (least > _NARROWEST_TEXT and _lost(table, narrow)):
            break
    return _Layout(narrow.shown, narrow.hidden, narrow.width + room - least, (widest, room))


def _fitted(table: Table, limit: int, write: Writer) -> Table:
    """Return the table, or one whose axes share a column, where one of them is too long beside what matters."""
    folded = _with_one_axis(table)
    if folded is table:
        return table
    before, after = _layout(table, limit, write), _layout(folded, limit, write)
    makes_room = before.width > limit or (before.wrapped is not None and _lost(folded, after) < _lost(table, before))
    is_readable = after.width <= limit and (after.wrapped is None or after.wrapped[1] >= _NARROWEST_TEXT)
    return folded if makes_room and is_readable else table


def _lost(table: Table, layout: _Layout) -> int:
    """Count the columns that matter and have no room."""
    return sum((table.headings[index].priority or 0) <= _MATTERS for index in layout.hidden)


def _with_one_axis(table: Table) -> Table:
    """Return the table with all its axes in one column; a number has its axis's name before it, a default is left out.

    The same table where it has fewer than two.
    """
    axes = [index for index in readable(table) if table.headings[index].axis]
    if len(axes) <= 1:
        return table
    first, *others = axes
    headings = [table.headings[index] for index in axes]
    title = ", ".join(one_line(heading.title) for heading in headings)
    explained = [f"{one_line(heading.title)}: {heading.explanation}" for heading in headings if heading.explanation]
    explanation = "; ".join(explained)
    one = dataclasses.replace(headings[0], title=title, number=False, priority=0, explanation=explanation)

    def fold(parts: Sequence[_PartT], joined: _PartT) -> tuple[_PartT, ...]:
        return tuple(joined if index == first else part for index, part in enumerate(parts) if index not in others)

    def one_cell(row: TableRow) -> Cell:
        named = ((table.headings[index], row.cells[index]) for index in axes)
        texts = (
            f"{one_line(heading.title)} {cell.text}" if heading.number else cell.text
            for heading, cell in named
            if cell.raw is not None
        )
        return Cell(raw=None, text=", ".join(texts))

    rows = tuple(dataclasses.replace(row, cells=fold(row.cells, one_cell(row))) for row in table.rows)
    return dataclasses.replace(table, headings=fold(table.headings, one), rows=rows)


def _is_text(table: Table, index: int) -> bool:
    return not table.headings[index].number and not table.headings[index].picture


def _drop(table: Table, all_widths: dict[int, int], limit: int) -> _Layout:
    """Hide columns until the others fit."""
    widths = dict(all_widths)
    mark_width = 2 if any(row.mark for row in table.rows) else 0
    droppable = sorted(
        (index for index in widths if table.headings[index].priority),
        key=lambda index: (table.headings[index].priority, index),
    )
    hidden: list[int] = []
    while (width := mark_width + sum(widths.values()) + _BETWEEN * (len(widths) - 1)) > limit and droppable:
        least = droppable.pop()
        del widths[least]
        hidden.append(least)
    return _Layout([*widths], sorted(hidden), width)


def _column_width(table: Table, index: int, write: Writer) -> int:
    header, texts = _aligned(table, index, write, marked=False)
    return max(map(cell_len, (*header.split("\n"), *texts)))


def _body(table: Table, layout: _Layout, write: Writer) -> RichTable:
    body = RichTable(
        box=_UNICODE_RULE if write(units.ABSENT) == units.ABSENT else _ASCII_RULE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    columns = []
    for place, index in enumerate(layout.shown):
        marked = place == 0 and any(row.mark for row in table.rows)
        header, texts = _aligned(table, index, write, marked=marked)
        if layout.wrapped is not None and layout.wrapped[0] == index:
            indent = " " * 2 * marked
            width = layout.wrapped[1] + len(indent)
            header, *texts = [
                "\n".join(textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False))
                for text in (indent + one_line(header).strip(), *texts)
            ]
        body.add_column(Text(header, style="bold"), no_wrap=True)
        columns.append(
            [Text(text, _STYLES.get(row.cells[index].mark, "")) for text, row in zip(texts, table.rows, strict=True)]
        )
    for row, filled in zip(table.rows, zip(*columns, strict=True), strict=True):
        body.add_row(*filled, style=_STYLES.get(row.mark) or _TONES.get(row.tone))
    return body


def _aligned(table: Table, index: int, write: Writer, *, marked: bool) -> tuple[str, list[str]]:
    """Return a column's header and texts: numbers flush right, the details behind them aligned."""
    heading, cells = table.headings[index], [row.cells[index] for row in table.rows]
    details = [write(cell.detail) for cell in cells]
    detail_width = max(map(cell_len, details), default=0)
    mark_width = 2 * any(cell.mark for cell in cells)
    texts = [
        write(cell.text or units.ABSENT)
        + (detail.rjust(detail_width + 1) if detail_width else "")
        + write(cell.mark).rjust(mark_width)
        for cell, detail in zip(cells, details, strict=True)
    ]
    if marked:
        texts = [f"{write(row.mark) or ' '} {text}" for row, text in zip(table.rows, texts, strict=True)]
    lines = write(heading.title).split("\n")
    if marked:
        lines = [f"  {line}" for line in lines]
    if not heading.number:
        return "\n".join(lines), texts
    width = max(map(cell_len, (*lines, *texts)))
    return "\n".join(line.rjust(width) for line in lines), [text.rjust(width) for text in texts]


def _print_records(table: Table, console: Console, write: Writer) -> None:
    """Print each row as lines of its own, where even the fewest columns are too wide for a table."""
    shown = readable(table)
    headings = [" ".join(table.headings[index].title.partition("[")[0].split()) for index in shown]
    for row in table.rows:
        cells = [row.cells[index] for index in shown]
        texts = [f"{cell.text or units.ABSENT} {cell.detail} {cell.mark}".rstrip() for cell in cells]
        _print_pairs([*zip(headings, [f"{row.mark} {texts[0]}".lstrip(), *texts[1:]], strict=True)], console, write)
        console.print()


def _print_pairs(pairs: Sequence[tuple[str, str]], console: Console, write: Writer) -> None:
    """Print terms with their texts; further lines of a text stand under its first."""
    terms = [write(term) for term, _text in pairs]
    indent = max(map(cell_len, terms), default=0) + 2
    for (mark, text), term in zip(pairs, terms, strict=True):
        kept = UNBROKEN.sub(lambda found: found[0].replace(" ", _KEPT_BLANK), write(text))
        lines = Text(kept).wrap(console, max(_NARROWEST_TEXT, console.width - indent))
        for number, line in enumerate(lines):
            lead = term if number == 0 else ""
            line.rstrip()
            line.plain = line.plain.replace(_KEPT_BLANK, " ")
            console.print(Text.assemble((lead.ljust(indent), _STYLES.get(mark, "dim")), line))
