"""Tables as strings: Markdown to be read, CSV and JSON to be computed with."""

from __future__ import annotations

import csv
import enum
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from bench.render import units
from bench.render.model.column import Heading, Raw
from bench.render.model.document import Report
from bench.render.model.table import Cell, Fact, Table, by_file, legend_of, readable
from bench.render.phrases import CONTROL, harmless, one_line
from bench.stats.intervals import Estimate

#: Columns of greater priority are left out: a page is not wide enough for them.
_MARKDOWN_PRIORITY: Final = 8
_MARKDOWN_SPECIAL: Final = re.compile(r"([\\`*_\[\]<>|~#&])")
#: What GitHub makes a link of although it is escaped: a user or an issue, in the text that has been rendered.
_MENTION: Final = re.compile(r"([@#])(?=\w)")
#: And an address, which it looks for in what is written.
_ADDRESS: Final = re.compile(r"(https?:|ftp:|www)(/|\.)", re.IGNORECASE)
#: As spreadsheets begin a formula.
_FORMULA_BEGINS: Final = ("=", "+", "-", "@", "\t")
_ENDS: Final = ("lower", "upper")


class Format(str, enum.Enum):
    """The values of `--format`."""

    TEXT = "text"
    MARKDOWN = "markdown"
    CSV = "csv"
    JSON = "json"
    HTML = "html"
    #: Test cases instead of tables, from `compare` and `gate` only.
    JUNIT = "junit"

    def __str__(self) -> str:
        return self.value


def render_markdown(tables: Sequence[Table]) -> str:
    """Write GitHub's Markdown: for each table a heading, caption, rows, answers and notes; one legend at the end."""
    blocks: list[str] = []
    fitting = []
    for table in _with_captions(tables, blocks):
        shown = [index for index in readable(table) if (table.headings[index].priority or 0) <= _MARKDOWN_PRIORITY]
        headings = [table.headings[index] for index in shown]
        lines = [
            _line(_escaped(heading.title) for heading in headings),
            _line("---:" if heading.number else ":---" for heading in headings),
        ]
        for row in table.rows:
            cells = [row.cells[index] for index in shown]
            texts = [_escaped(f"{cell.text or units.ABSENT} {cell.detail} {cell.mark}".strip()) for cell in cells]
            texts[0] = f"{_escaped(row.mark)} {texts[0]}".strip()
            lines.append(_line(texts))
        parts = (f"### {_escaped(table.title)}", _items(table.caption), "\n".join(lines))
        blocks += filter(None, (*parts, _items((*table.answers, *table.notes))))
        fitting.append((table, shown))
    if fitting:
        blocks.append(_items(legend_of(fitting)))
    return "".join(f"{block}\n\n" for block in blocks).removesuffix("\n")


def _with_captions(tables: Sequence[Table], blocks: list[str]) -> Iterator[Table]:
    """Yield the tables, and append what neighbours have in common above the first of them."""
    for common, own in by_file(tables):
        if common:
            # Without a rule it would continue the list of the notes above.
            blocks += [*(["---"] if blocks else []), _items(common)]
        yield from own


def render_report_markdown(report: Report) -> str:
    """Write a report for a pull request, without its pictures: what they show is in the tables."""
    about = [_escaped(report.about), ""] if report.about else []
    answers = (f"- **{_escaped(what)}**: {_escaped(text)}" for what, text in report.short)
    # Without the rule a caption would continue the list of the answers.
    text = "\n".join([f"## {_escaped(report.title)}", "", *about, *answers, "", "---"]) + "\n\n"
    tables = [table for section in report.sections for table in (*section.tables, section.folded) if table is not None]
    return text + render_markdown(tables)


def _line(cells: Any) -> str:  # noqa: ANN401
    return f"| {' | '.join(cells)} |"


def _items(pairs: Sequence[tuple[str, str]]) -> str:
    return "\n".join(
        f"- **{_escaped(term)}**: {_escaped(text)}" if term else f"- {_escaped(text)}" for term, text in pairs
    )


def _escaped(text: str) -> str:
    escaped = _MARKDOWN_SPECIAL.sub(r"\\\1", one_line(text))
    return _MENTION.sub(r"\1<!-- -->", _ADDRESS.sub(r"\1\\\2", escaped))


def render_csv(tables: Sequence[Table]) -> str:
    """Write raw values under one header for all tables; absent ones are empty.

    The ends of an interval have columns of their own. The facts of a table are repeated in each of its rows.
    """
    records = [
        {**table.facts, **dict(pair for heading, cell in _data(table, row.cells) for pair in _flat(heading, cell.raw))}
        for table in tables
        for row in table.rows
    ]
    file = io.StringIO()
    names = dict.fromkeys(name for record in records for name in record)
    writer = csv.DictWriter(file, fieldnames=list(names), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _csv_value(value) for name, value in record.items()} for record in records)
    return file.getvalue()


def _data(table: Table, cells: Sequence[Cell]) -> list[tuple[Heading, Cell]]:
    return [(heading, cell) for heading, cell in zip(table.headings, cells, strict=True) if heading.data]


def _flat(heading: Heading, raw: Raw) -> list[tuple[str, Fact]]:
    estimate = raw if isinstance(raw, Estimate) else None
    if not heading.interval and not isinstance(raw, Estimate):
        return [(heading.key, raw)]
    # A pivot's key ends in [axis=value]; the end of the interval is named before that.
    name, bracket, rest = heading.key.partition("[")
    ends = [(f"{name}_{end}{bracket}{rest}", getattr(estimate, end, None)) for end in _ENDS]
    return [(heading.key, getattr(estimate, "value", None)), *ends]


def _csv_value(value: Fact) -> Fact:
    """Write Booleans as JSON does: true, not True. A spreadsheet must not calculate what stands in a text."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return value
    text = harmless(value)
    return f"'{text}" if text.startswith(_FORMULA_BEGINS) else text


def render_json(tables: Sequence[Table]) -> str:
    """Write an array of tables with raw values: an estimate as {value, lower, upper, n}, absent ones as null."""
    document = [
        {
            "title": table.title,
            "facts": table.facts,
            "rows": [{heading.name: cell.raw for heading, cell in _data(table, row.cells)} for row in table.rows],
            "notes": [text for _mark, text in table.notes],
        }
        for table in tables
    ]
    # msgspec escapes what JSON must not hold; the rest would still steer a terminal.
    text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"
    return CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
