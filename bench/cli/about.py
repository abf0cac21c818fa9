"""`environment`, `suites` and `--version`: what is here."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Annotated

import msgspec
import typer

from bench.cli.shell import app, note, out, write
from bench.environment import capture
from bench.estimate import expected_seconds
from bench.process import UnusableError
from bench.runner import WorkerProcess
from bench.scenario import BUILT_IN_SUITES, DEFAULT_SUITE, expand, load_suite


@app.command("environment")
def environment_command() -> None:
    """What a result file would say about this machine, as JSON."""
    try:
        software = WorkerProcess().describe()
    except UnusableError as error:
        note(f"no framework: {error}", style="yellow")
        software = None
    encoded = msgspec.json.format(msgspec.json.encode(capture(software=software)), indent=1)
    write(encoded.decode() + "\n")


@app.command()
def suites() -> None:
    """The built-in suites."""
    for name in BUILT_IN_SUITES:
        suite = load_suite(name)
        plan = expand(suite)
        minutes = sum(expected_seconds(planned, 60_000, 10_000) for planned in plan) / 60
        default = " (default)" if name == DEFAULT_SUITE else ""
        out.print(f"{name}{default}: {suite.title}", markup=False, highlight=False)
        out.print(f"    {len(plan)} runs, about {minutes:.0f} minutes on a 2-core machine", highlight=False)


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        out.print(installed_version("mnist-bench"), highlight=False)
        raise typer.Exit
