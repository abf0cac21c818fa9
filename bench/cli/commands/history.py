"""`history`: result files over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.analysis.entries import ComparedFile, index
from bench.analysis.groups import RowKey
from bench.analysis.history import By, histories, select
from bench.cli.app import app, examples
from bench.cli.console import note, print_tables, reject_junit, write
from bench.cli.inputs import result_files
from bench.cli.options import KeywordOption, ratio
from bench.errors import ConfigurationError
from bench.render.formats.export import Format
from bench.render.formats.html import render_report
from bench.render.phrases import format_count
from bench.render.report.history_page import history_report
from bench.render.views.histories import history_tables
from bench.scenarios.selection import matcher
from bench.stats.change_points import ALPHA


@app.command(
    "history",
    epilog=examples(
        "history results/runs",
        'history results/runs -k "mlp and not batch=500"',
        "history results/runs --by class --format html > history.html",
    ),
)
def history_command(
    files: Annotated[list[Path], typer.Argument(help="Result files, or folders of them.")],
    expression: KeywordOption = None,
    by: Annotated[
        By, typer.Option(help="One history for each machine, or for all machines of a class: runners that come and go.")
    ] = By.MACHINE,
    alpha: Annotated[
        str, typer.Option(help="Probability of a change where there is none, anywhere in a history.")
    ] = f"{ALPHA:.0%}",
    output_format: Annotated[Format, typer.Option("--format")] = Format.TEXT,
) -> None:
    """How fast each scenario was over time on a machine, and since which commit it changed."""
    reject_junit(output_format)
    wanted = ratio(alpha, "--alpha")
    if wanted == 0:
        raise ConfigurationError("--alpha 0: nothing would ever be found")
    matches = None if expression is None else matcher(expression)
    made = [history for history in histories(_sides(files), by, wanted) if history.trends]
    if not made:
        raise ConfigurationError("no scenario has a valid result in these files: nothing to show over time")
    if matches is not None:
        made = [chosen for history in made if (chosen := select(history, matches)).trends]
        if not made:
            raise ConfigurationError(f"-k {expression!r} matches no scenario of these files")
    if len(made) > 1:
        note(f"{format_count(len(made), 'machine or data set', 'machines or data sets')}: a history of each")
    if output_format is Format.HTML:
        write(render_report(history_report(made)))
        return
    print_tables(history_tables(made), output_format)


def _sides(given: Sequence[Path]) -> Iterator[ComparedFile]:
    shared: dict[RowKey, RowKey] = {}
    return (index(str(path), result_set, shared) for path, result_set in result_files(given))
