"""Tables on a terminal of any width, with any colours and encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

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
    MISSING,
    NOT_RUN,
    OTHER,
    SLOWER,
    TONE_OF_MARK,
    Tone,
)
from bench.render.model.table import Table, by_file, legend_of, readable
from bench.render.phrases import printable_line

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
        **dict(zip(sparklines.LEVELS, "_.-~=+*#", strict=True)),
        **dict.fromkeys("▏▎▍▌▋▊▉", ""),
        sparklines.RULE: "-",
        sparklines.VALUE: "o",
        sparklines.ORIGIN: "|",
    }
)
_TONES = {Tone.GOOD: "green", Tone.BAD: "red", Tone.DIM: "dim"}
_STYLES = {mark: _TONES[tone] for mark, tone in TONE_OF_MARK.items()} | {FASTEST: "bold green", OTHER: "red"}
#: Text is wrapped no narrower than this, to stay readable.
_NARROWEST_TEXT = 20
#: Spaces between two columns.
_BETWEEN = 2
Writer = Callable[[str], str]


def render_text(tables: Sequence[Table], console: Console) -> None:
    """Print each table with its caption, answers and notes, then one legend of what any of them shows."""
    write = writer(console.encoding)
    fitting: list[tuple[Table, list[int]]] = []
    hidden: dict[str, None] = {}
    for table in _with_captions(tables, console, write):
        shown, left_out, width = _fitting(table, console.width, write)
        console.print(Text(write(table.title), style="bold"))
        _print_pairs(table.caption, console, write)
        console.print()
        if width <= console.width:
            body = _body(table, shown, write)
            body.width = width
            console.print(body, no_wrap=True)
        else:
            _print_records(table, shown, console, write)
        if table.answers:
            console.print()
            _print_pairs(table.answers, console, write)
        _print_pairs(table.notes, console, write)
        console.print()
        fitting.append((table, shown))
        told = (table.headings[index] for index in left_out if not table.headings[index].picture)
        hidden |= dict.fromkeys(" ".join(heading.title.split()) for heading in told)
    _print_pairs(legend_of(fitting), console, write)
    if hidden:
        which = "in some tables, " if len(tables) > 1 else ""
        line = f"Hidden {which}where {console.width} columns are too few: {', '.join(hidden)}."
        console.print(Text(write(f"{line} A wider terminal or --format csv shows them."), style="dim"))


def _with_captions(tables: Sequence[Table], console: Console, write: Writer) -> Iterator[Table]:
    """Yield the tables, and print what neighbours have in common above the first of them."""
    for common, own in by_file(tables):
        if common:
            _print_pairs(common, console, write)
            console.print()
        yield from own


def print_line(console: Console, line: str, style: str = "") -> None:
    """Print one line without reading markup or control characters in it, in ASCII where the console has no more."""
    text = writer(console.encoding)(printable_line(line))
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def writer(encoding: str) -> Writer:
    """Return what makes a text fit the encoding: nothing to do for Unicode, else a translation to ASCII."""
    if encoding.lower().replace("-", "").startswith("utf"):
        return lambda text: text
    return lambda text: text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def _fitting(table: Table, limit: int, write: Writer) -> tuple[list[int], list[int], int]:
    """Return the columns that fit, those that do not, and the width of the table.

    The least important make room first, of equals the rightmost.
    """
    shown = readable(table, pictures=True)
    widths = {index: _column_width(table, index, write) for index in shown}
    mark_width = 2 if any(row.mark for row in table.rows) else 0
    droppable = sorted(
        (index for index in shown if table.headings[index].priority),
        key=lambda index: (table.headings[index].priority, index),
    )
    hidden: list[int] = []
    while (width := mark_width + sum(widths.values()) + _BETWEEN * (len(widths) - 1)) > limit and droppable:
        least = droppable.pop()
        del widths[least]
        hidden.append(least)
    return [*widths], sorted(hidden), width


def _column_width(table: Table, index: int, write: Writer) -> int:
    header, texts = _aligned(table, index, write, marked=False)
    return max(map(cell_len, (*header.split("\n"), *texts)))


def _body(table: Table, shown: Sequence[int], write: Writer) -> RichTable:
    body = RichTable(
        box=_UNICODE_RULE if write(units.ABSENT) == units.ABSENT else _ASCII_RULE,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    columns = []
    for place, index in enumerate(shown):
        header, texts = _aligned(table, index, write, marked=place == 0 and any(row.mark for row in table.rows))
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


def _print_records(table: Table, shown: Sequence[int], console: Console, write: Writer) -> None:
    """Print each row as lines of its own, where even the fewest columns are too wide for a table."""
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
        lines = Text(write(text)).wrap(console, max(_NARROWEST_TEXT, console.width - indent))
        for number, line in enumerate(lines):
            lead = term if number == 0 else ""
            line.rstrip()
            console.print(Text.assemble((lead.ljust(indent), _STYLES.get(mark, "dim")), line))
