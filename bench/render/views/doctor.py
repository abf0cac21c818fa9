"""Findings about a machine -> a list for people, a table for pages and programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bench.experiments.doctor.checks import Finding, Level
from bench.machine.fingerprint import MACHINE_FACTS, SOFTWARE_FACTS, fact_words
from bench.records.environment import Environment
from bench.render.formats.text import writer
from bench.render.model.columns import Column, make_column
from bench.render.model.marks import INVALID, LEVEL, NOT_RUN, OPEN, Tone
from bench.render.model.table import Table, TableRow, cell_of
from bench.render.phrases import clean_text

_MARKS: Final = {Level.GOOD: LEVEL, Level.NOTE: NOT_RUN, Level.WARNING: INVALID, Level.UNKNOWN: OPEN}
_TONES: Final = {Level.GOOD: Tone.PLAIN, Level.NOTE: Tone.PLAIN, Level.WARNING: Tone.BAD, Level.UNKNOWN: Tone.DIM}
_STYLES: Final = {Level.GOOD: "green", Level.NOTE: "", Level.WARNING: "bold red", Level.UNKNOWN: "dim"}

_COLUMNS: Final[Sequence[Column[Finding]]] = (
    make_column("check", lambda each: each.check, number=False, priority=0),
    make_column("level", lambda each: str(each.level), number=False, priority=0),
    make_column("seen", lambda each: each.seen, number=False, priority=0),
    make_column("advice", lambda each: each.advice or None, number=False, priority=0),
)


def doctor_tables(environment: Environment, findings: Sequence[Finding]) -> list[Table]:
    """The machine's facts, then what was looked at."""
    return [
        _facts(environment),
        Table(
            title="environment: what a benchmark should know",
            caption=(),
            facts={"captured_at": environment.captured_at},
            headings=tuple(column.heading for column in _COLUMNS),
            rows=tuple(
                TableRow(cells=tuple(cell_of(column, each) for column in _COLUMNS), tone=_TONES[each.level])
                for each in findings
            ),
            notes=(),
        ),
    ]


def _facts(environment: Environment) -> Table:
    columns: Sequence[Column[tuple[str, str]]] = (
        make_column("fact", lambda pair: pair[0], number=False, priority=0),
        make_column("value", lambda pair: pair[1], number=False, priority=0),
    )
    return Table(
        title="environment: machine and software",
        caption=(),
        facts={"captured_at": environment.captured_at},
        headings=tuple(column.heading for column in columns),
        rows=tuple(
            TableRow(cells=tuple(cell_of(column, pair) for column in columns)) for pair in facts_of(environment)
        ),
        notes=(),
    )


def facts_of(environment: Environment) -> list[tuple[str, str]]:
    """What makes the machine and its software, by the names people know; without what it does not tell."""
    found = []
    for name, fact in {**MACHINE_FACTS, **SOFTWARE_FACTS}.items():
        value = fact(environment)
        if value not in (None, ()):
            found.append((name, clean_text(fact_words(value))))
    return found


def render_doctor(environment: Environment, findings: Sequence[Finding], console: Console) -> None:
    """On a terminal, whatever its width: texts are wrapped, signs say what colours repeat."""
    write = writer(console.encoding)
    console.print(_grid([(Text(name, style="dim"), [Text(write(value))]) for name, value in facts_of(environment)]))
    console.print()
    rows = []
    for each in findings:
        label = Text(write(f"{_MARKS[each.level]} {clean_text(each.check)}"), style=_STYLES[each.level])
        lines = [Text(write(clean_text(each.seen)))]
        if each.advice:
            lines.append(
                Text(write(f"→ {clean_text(each.advice)}"), style="bold" if each.level is Level.WARNING else "dim")
            )
        rows.append((label, lines))
    console.print(_grid(rows))
    console.print()
    counts = [(level, sum(each.level is level for each in findings)) for level in Level]
    console.print(Text(write("; ".join(f"{_MARKS[level]} {level}: {count}" for level, count in counts)), style="dim"))


def _grid(rows: Sequence[tuple[Text, Sequence[Text]]]) -> RichTable:
    grid = RichTable.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, lines in rows:
        grid.add_row(label, Text("\n").join(lines))
    return grid
