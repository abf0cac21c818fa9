"""`show` and `check`: what is in result files, and whether they are valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bench import errors
from bench.analysis.summary import summarize
from bench.cli import options
from bench.cli.app import app, examples
from bench.cli.completion import offer_sort_columns, offer_values
from bench.cli.console import note, print_tables, reject_junit, say, verbosity, write
from bench.cli.exit_status import Exit
from bench.cli.inputs import json_files, result_files
from bench.errors import ConfigurationError
from bench.records import store
from bench.records.result import schema
from bench.render.formats.export import Format
from bench.render.views.results import DEFAULT_VALUE, result_tables


@app.command(
    epilog=examples(
        "show results/runs/here.json",
        "show here.json --sort=-throughput",
        "show here.json --row batch_size --column contexts --value speedup",
        "show here.json --price-per-hour 0.34 --currency USD",
    )
)
def show(
    files: options.Files,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Sort by a column; -COLUMN: descending.", autocompletion=offer_sort_columns
        ),
    ] = None,
    row: options.Row = None,
    column: options.Column = None,
    value: Annotated[
        str,
        typer.Option(metavar="COLUMN", help="Pivot: what the cells hold.", autocompletion=offer_values),
    ] = DEFAULT_VALUE,
    price_per_hour: options.PricePerHour = None,
    currency: options.Currency = "",
    output_format: options.Format = Format.TEXT,
) -> None:
    """Show result files as tables: throughput, epoch time, accuracy and the rest."""
    reject_junit(output_format)
    result_sets = [result_set for _path, result_set in result_files(files)]
    prices = options.prices(price_per_hour, currency, len(result_sets))
    shown = result_tables(map(summarize, result_sets, prices), sort=sort, row=row, column=column, value=value)
    print_tables(shown, output_format)
    if verbosity.verbose:
        for failure in (failure for result_set in result_sets for failure in result_set.failures):
            note(f"{failure.scenario.name}: {failure.reason}: {failure.detail}")
            for line in failure.log.splitlines():
                note(f"    {line}", style="dim")


@app.command(epilog=examples("check results/runs/here.json", "check --schema"))
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Result files, or folders of them.")] = None,
    print_schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a result file.")] = False,
) -> None:
    """Check result files against the schema and against themselves, and name every violation."""
    if print_schema:
        write(json.dumps(schema(), indent=1) + "\n")
        return
    if not files:
        raise ConfigurationError("check: name at least one result file")
    checked = [_is_valid(path, in_folder=in_folder) for path, in_folder in json_files(files)]
    valid = [is_valid for is_valid in checked if is_valid is not None]
    if not valid:
        raise ConfigurationError(f"no result file in {', '.join(map(str, files))}")
    if not all(valid):
        raise typer.Exit(Exit.USAGE)


def _is_valid(path: Path, *, in_folder: bool) -> bool | None:
    """Print each violation; return None for a file of another kind that was found in a folder.

    Raises `SchemaError` for a file that is too new.
    """
    try:
        violations = store.violations(path)
    except errors.SchemaError:
        raise
    except errors.StoreError as error:
        if in_folder and isinstance(error, store.OtherKindError):
            return None
        violations = [str(error).removeprefix(f"{path}: ")]
    for violation in violations or ["valid"]:
        say(f"{path}: {violation}")
    return not violations
