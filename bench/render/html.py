"""Tables as one page that needs nothing else: no script, no font, no other file. Light or dark, as the reader is."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from bench.render import units
from bench.render.tables import (
    FAILED,
    FASTER,
    FASTEST,
    INVALID,
    MISSING,
    NOT_RUN,
    OTHER,
    SLOWER,
    Cell,
    Table,
    TableRow,
    Tone,
    legend_of,
    readable,
)

_TONES: Final = {
    **dict.fromkeys((FASTEST, FASTER), Tone.GOOD),
    **dict.fromkeys((INVALID, FAILED, SLOWER, MISSING, OTHER), Tone.BAD),
    NOT_RUN: Tone.DIM,
}
_STYLE: Final = """\
:root { color-scheme: light dark; --text: #1b1f24; --page: #fff; --dim: #59636e; --line: #d1d9e0;
  --good: #1a6b35; --bad: #b3261e }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --page: #15181c; --dim: #9aa4af; --line: #343b43;
  --good: #6fd08c; --bad: #ff8a80 } }
body { font: 16px/1.45 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 80rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.15rem; margin: 2.5rem 0 .5rem }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem .8rem; margin: .5rem 0; font-size: .9rem }
dt { color: var(--dim) } dd { margin: 0; overflow-wrap: anywhere }
div { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; margin: .8rem 0 }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap }
th { vertical-align: bottom } th.number, td.number { text-align: right }
td span { color: var(--dim) }
.good { color: var(--good) } .bad, .bad span { color: var(--bad) } .dim { color: var(--dim) }
footer { border-top: 1px solid var(--line); margin-top: 2.5rem }
"""


def render_html(tables: Sequence[Table]) -> str:
    """Every table with its caption and notes, then one legend."""
    title = tables[0].title if tables else "mnist-bench"
    shown = [(table, readable(table)) for table in tables]
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{_STYLE}</style></head>",
        "<body>",
        *(line for table, indices in shown for line in _section(table, indices)),
    ]
    if legend := legend_of(shown):
        parts += ["<footer>", *_list(legend), "</footer>"]
    return "\n".join([*parts, "</body>", "</html>", ""])


def _section(table: Table, shown: Sequence[int]) -> list[str]:
    headings = [table.headings[index] for index in shown]
    return [
        f"<h1>{escape(table.title)}</h1>",
        *_list(table.caption),
        "<div><table>",
        "<thead><tr>",
        *(f"<th{_number(heading.number)}>{_lines(heading.title)}</th>" for heading in headings),
        "</tr></thead>",
        "<tbody>",
        *(_row(table, row, shown) for row in table.rows),
        "</tbody>",
        "</table></div>",
        *_list(table.notes),
    ]


def _row(table: Table, row: TableRow, shown: Sequence[int]) -> str:
    cells = [
        f"<td{_number(table.headings[index].number, _TONES.get(row.cells[index].mark, Tone.PLAIN))}>"
        f"{_mark(row) if place == 0 else ''}{_cell(row.cells[index])}</td>"
        for place, index in enumerate(shown)
    ]
    tone = _TONES.get(row.mark, row.tone)
    return f"<tr{_class(tone.value)}>{''.join(cells)}</tr>"


def _mark(row: TableRow) -> str:
    return f"{escape(row.mark)} " if row.mark else ""


def _cell(cell: Cell) -> str:
    parts = [escape(cell.text or units.ABSENT)]
    if cell.detail:
        parts.append(f"<span>{escape(cell.detail)}</span>")
    if cell.mark:
        parts.append(escape(cell.mark))
    return " ".join(parts)


def _number(number: bool, tone: Tone = Tone.PLAIN) -> str:  # noqa: FBT001  # what the heading says
    return _class(" ".join(filter(None, ("number" if number else "", tone.value))))


def _class(names: str) -> str:
    return f' class="{names}"' if names else ""


def _lines(text: str) -> str:
    return escape(text.strip()).replace("\n", "<br>")


def _list(pairs: Sequence[tuple[str, str]]) -> list[str]:
    if not pairs:
        return []
    return ["<dl>", *(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in pairs), "</dl>"]
