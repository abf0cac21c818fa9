"""`show` and `check`: reading result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bench import errors
from bench.cli.app import app, examples
from bench.cli.completion import offer_sort_columns, offer_values
from bench.cli.console import out, print_tables, reject_junit, write
from bench.cli.exit_status import Exit
from bench.cli.inputs import json_files, result_files
from bench.cli.options import ColumnOption, RowOption
from bench.errors import ConfigurationError
from bench.records import store
from bench.records.result import schema
from bench.render.formats.export import Format
from bench.render.views.results import DEFAULT_VALUE, tables


@app.command(
    epilog=examples(
        "show results/runs/here.json",
        "show here.json --sort=-throughput",
        "show here.json --row batch_size --column contexts --value speedup",
    )
)
def show(
    files: Annotated[list[Path], typer.Argument(help="Result files, or folders of them.")],
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN", help="Sort by a column; -COLUMN: descending.", autocompletion=offer_sort_columns
        ),
    ] = None,
    row: RowOption = None,
    column: ColumnOption = None,
    value: Annotated[
        str,
        typer.Option(metavar="COLUMN", help="Pivot: what the cells hold.", autocompletion=offer_values),
    ] = DEFAULT_VALUE,
    output_format: Annotated[Format, typer.Option("--format")] = Format.TEXT,
) -> None:
    """Tables of result files: throughput, epoch time, accuracy and the rest."""
    reject_junit(output_format)
    result_sets = [result_set for _path, result_set in result_files(files)]
    try:
        made = tables(result_sets, sort=sort, row=row, column=column, value=value)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    print_tables(made, output_format)


@app.command(epilog=examples("check results/runs/here.json", "check --schema"))
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Result files, or folders of them.")] = None,
    print_schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a result file.")] = False,
) -> None:
    """Check result files against the schema and against themselves; names every violation."""
    if print_schema:
        write(json.dumps(schema(), indent=1) + "\n")
        return
    if not files:
        raise ConfigurationError("check: name at least one result file")
    valid = [each for path, in_folder in json_files(files) if (each := _is_valid(path, in_folder)) is not None]
    if not valid:
        raise ConfigurationError(f"no result file in {', '.join(map(str, files))}")
    if not all(valid):
        raise typer.Exit(Exit.USAGE)


def _is_valid(path: Path, in_folder: bool) -> bool | None:
    """Said line by line; None for another kind of file in a folder. Raises `SchemaError`."""
    try:
        violations = store.violations(path)
    except errors.SchemaError:
        raise
    except errors.StoreError as error:
        if in_folder and isinstance(error, store.OtherKindError):
            return None
        violations = [str(error).removeprefix(f"{path}: ")]
    for violation in violations or ["valid"]:
        out.print(f"{path}: {violation}", markup=False, highlight=False, soft_wrap=True)
    return not violations
