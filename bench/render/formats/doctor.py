"""Findings about a machine, printed for people and wrapped to any width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bench.experiments.doctor.checks import Finding, Level
from bench.records.environment import Environment
from bench.render.formats.text import writer
from bench.render.phrases import clean_text
from bench.render.views.doctor import MARK_OF_LEVEL, facts_of

_STYLES: Final = {Level.GOOD: "green", Level.NOTE: "", Level.WARNING: "bold red", Level.UNKNOWN: "dim"}


def render_doctor(environment: Environment, findings: Sequence[Finding], console: Console) -> None:
    """Print whether the machine is fit, the findings with advice, and the facts."""
    write = writer(console.encoding)

    def text(words: str, style: str = "") -> Text:
        return Text(write(words), style=style)

    console.print(text(*_verdict(findings)))
    console.print()
    rows = []
    for finding in findings:
        label = text(f"{MARK_OF_LEVEL[finding.level]} {clean_text(finding.check)}", _STYLES[finding.level])
        lines = [text(clean_text(finding.seen))]
        if finding.advice:
            emphasis = "bold" if finding.level is Level.WARNING else "dim"
            lines.append(text(f"→ {clean_text(finding.advice)}", emphasis))
        rows.append((label, lines))
    console.print(_grid(rows))
    console.print()
    console.print(_grid([(text(name, "dim"), [text(value)]) for name, value in facts_of(environment)]))
    console.print()
    counts = [(level, sum(finding.level is level for finding in findings)) for level in Level]
    console.print(text("; ".join(f"{MARK_OF_LEVEL[level]} {level}: {count}" for level, count in counts), "dim"))


def _verdict(findings: Sequence[Finding]) -> tuple[str, str]:
    """Return the answer to what was asked, and its style."""
    warnings = list(dict.fromkeys(clean_text(each.check) for each in findings if each.level is Level.WARNING))
    if not warnings:
        return "Fit to measure on: nothing that was looked at spoils a measurement.", "bold green"
    return f"Numbers measured here will suffer from: {', '.join(warnings)}.", "bold red"


def _grid(rows: Sequence[tuple[Text, Sequence[Text]]]) -> RichTable:
    grid = RichTable.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, lines in rows:
        grid.add_row(label, Text("\n").join(lines))
    return grid
