"""Findings about a machine as tables, for pages and programs; `formats.doctor` prints them for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.experiments.doctor.checks import Finding, Level
from bench.machine.fingerprint import MACHINE_FACTS, SOFTWARE_FACTS, format_fact
from bench.records.environment import Environment
from bench.render.model.columns import Column, make_column
from bench.render.model.marks import INVALID, LEVEL, NOT_RUN, OPEN, Tone
from bench.render.model.table import Fact, Table, make_table
from bench.render.phrases import clean_text

MARK_OF_LEVEL: Final = {Level.GOOD: LEVEL, Level.NOTE: NOT_RUN, Level.WARNING: INVALID, Level.UNKNOWN: OPEN}
_TONES: Final = {Level.GOOD: Tone.PLAIN, Level.NOTE: Tone.PLAIN, Level.WARNING: Tone.BAD, Level.UNKNOWN: Tone.DIM}

_COLUMNS: Final[Sequence[Column[Finding]]] = (
    make_column("check", number=False, priority=0),
    make_column("level", lambda finding: str(finding.level), number=False, priority=0),
    make_column("seen", number=False, priority=0),
    make_column("advice", lambda finding: finding.advice or None, number=False, priority=0),
)

_FACT_COLUMNS: Final[Sequence[Column[tuple[str, str]]]] = (
    make_column("fact", lambda pair: pair[0], number=False, priority=0),
    make_column("value", lambda pair: pair[1], number=False, priority=0),
)


def doctor_tables(environment: Environment, findings: Sequence[Finding]) -> list[Table]:
    """Return the machine's facts, and what the checks found."""
    facts: dict[str, Fact] = {"captured_at": environment.captured_at}
    return [
        make_table("environment: machine and software", _FACT_COLUMNS, facts_of(environment), facts=facts),
        make_table(
            "environment: what a benchmark should know",
            _COLUMNS,
            findings,
            facts=facts,
            tone=lambda finding: _TONES[finding.level],
        ),
    ]


def facts_of(environment: Environment) -> list[tuple[str, str]]:
    """Return the facts of machine and software that are known, by their usual names, as (name, text)."""
    facts = ((name, fact(environment)) for name, fact in {**MACHINE_FACTS, **SOFTWARE_FACTS}.items())
    return [(name, clean_text(format_fact(value))) for name, value in facts if value not in (None, ())]
