"""`history`: result files over time."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from bench import SOURCE_ROOT
from bench.analysis.across.entries import index
from bench.analysis.across.history import By, histories, select
from bench.analysis.groups import RowKey
from bench.cli import options
from bench.cli.app import app, examples
from bench.cli.console import note, print_tables, reject_junit, write
from bench.cli.inputs import result_files
from bench.errors import ConfigurationError
from bench.experiments.gate import source
from bench.machine.software import commit_order
from bench.render.formats.export import Format
from bench.render.formats.html import render_report
from bench.render.phrases import format_count
from bench.render.report.history_page import history_report
from bench.render.views.across.histories import history_tables
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
    files: options.Files,
    expression: options.Keyword = None,
    by: Annotated[
        By, typer.Option(help="One history for each machine, or for all machines of a class: runners that come and go.")
    ] = By.MACHINE,
    alpha: Annotated[
        str, typer.Option(help="Probability of a change where there is none, anywhere in a history.")
    ] = f"{ALPHA:.0%}",
    price_per_hour: options.PricePerHour = None,
    currency: options.Currency = "",
    output_format: options.Format = Format.TEXT,
) -> None:
    """Show how fast each scenario was over time on a machine, and since which commit it changed."""
    reject_junit(output_format)
    if options.ratio(alpha, "--alpha") == 0:
        raise ConfigurationError("--alpha 0: no change would ever be found")
    probability = options.probability(alpha, "--alpha")
    matches = None if expression is None else matcher(expression)
    (price,) = options.prices(price_per_hour, currency, 1)
    shared: dict[RowKey, RowKey] = {}
    entries = (index(str(path), result_set, shared) for path, result_set in result_files(files))
    clone = source.clone_around(Path.cwd()) or SOURCE_ROOT
    found = histories(entries, by, probability, functools.partial(commit_order, clone))
    shown = [history for history in found if history.trends]
    if not shown:
        raise ConfigurationError("no scenario has a valid result in these files: nothing to show over time")
    if matches is not None:
        shown = [selected for history in shown if (selected := select(history, matches)).trends]
        if not shown:
            raise ConfigurationError(f"-k {expression!r} matches no scenario of these files")
    if len(shown) > 1:
        note(f"{format_count(len(shown), 'machine or data set', 'machines or data sets')}: a history of each")
    if output_format is Format.HTML:
        write(render_report(history_report(shown, price)))
        return
    print_tables(history_tables(shown, price), output_format)
