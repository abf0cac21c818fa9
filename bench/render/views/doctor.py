"""Findings about a machine -> a list for people, a table for pages and programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.experiments.doctor.checks import Finding, Level
from bench.machine.fingerprint import MACHINE_FACTS, SOFTWARE_FACTS, format_fact
from bench.records.environment import Environment
from bench.render.model.columns import Column, make_column
from bench.render.model.marks import INVALID, LEVEL, NOT_RUN, OPEN, Tone
from bench.render.model.table import Table, TableRow, cell_of
from bench.render.phrases import clean_text

MARK_OF_LEVEL: Final = {Level.GOOD: LEVEL, Level.NOTE: NOT_RUN, Level.WARNING: INVALID, Level.UNKNOWN: OPEN}

_TONES: Final = {Level.GOOD: Tone.PLAIN, Level.NOTE: Tone.PLAIN, Level.WARNING: Tone.BAD, Level.UNKNOWN: Tone.DIM}

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
            found.append((name, clean_text(format_fact(value))))
    return found
