"""`environment`, `suites` and `--version`: what is here."""

from __future__ import annotations

import contextlib
import functools
import os
from importlib.metadata import version as installed_version
from typing import Annotated

import msgspec
import typer

from bench.cli.shell import Exit, app, fail, note, on_signals, out, print_tables, refuse_junit, write
from bench.environment import capture
from bench.estimate import expected_seconds
from bench.process import Stop, UnusableError
from bench.record import Ceiling
from bench.render import units
from bench.render.ceilings import ceiling_table
from bench.render.export import Format
from bench.render.tables import count_words
from bench.roofline import requests_of_machine
from bench.runner import CeilingRounds, WorkerProcess, interpreters_of, usable
from bench.scenario import BUILT_IN_SUITES, DEFAULT_SUITE, Framework, expand, load_suite
from mnist_core.devices import Device, DeviceKind


@app.command("environment")
def environment_command(
    ceilings: Annotated[
        bool,
        typer.Option("--ceilings", help="Measure the fastest float32 matrix product and the memory bandwidth instead."),
    ] = False,
    repeats: Annotated[int, typer.Option(min=1, help="Fresh processes per ceiling, in turns.")] = 3,
    python: Annotated[
        list[str] | None,
        typer.Option(metavar="FRAMEWORK=PATH", help="A Python whose framework has ceilings too; repeatable."),
    ] = None,
    output_format: Annotated[Format, typer.Option("--format", help="Of the ceilings.")] = Format.TEXT,
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
) -> None:
    """What a result file would say about this machine, as JSON; or how fast it can be at best."""
    refuse_junit(output_format)
    stop = Stop()
    worker = WorkerProcess(interpreters_of(python or (), os.environ), stop)
    if ceilings:
        with on_signals(stop):
            measured = _measured_ceilings(worker, repeats)
        if stop.requested:
            fail("interrupted", Exit.INTERRUPTED)
        print_tables([ceiling_table(measured, capture())], Format.JSON if json else output_format)
        return
    try:
        software = worker.describe()
    except UnusableError as error:
        note(f"no framework: {error}", style="yellow")
        software = None
    encoded = msgspec.json.format(msgspec.json.encode(capture(software=software)), indent=1)
    write(encoded.decode() + "\n")


def _measured_ceilings(worker: WorkerProcess, repeats: int) -> list[Ceiling]:
    """Every device, number of threads and installed framework, so many times, each as often as the others by then."""
    environment = capture()
    gpus = [Device(DeviceKind.GPU, index) for index in range(environment.accelerators_per_node)]
    requests = requests_of_machine(gpus, _installed(worker), environment)
    rounds = CeilingRounds(
        usable(requests, functools.cache(worker.probe)), worker, functools.partial(note, style="yellow")
    )
    measured = []
    for repeat in range(repeats):
        for ceiling in rounds():
            measured.append(ceiling)
            note(
                f"[{repeat + 1}/{repeats}] {ceiling.device}, {count_words(ceiling.omp_num_threads, 'thread')}, "
                f"{ceiling.framework}: {units.significant(ceiling.gflop_per_second)} GFLOP/s, "
                f"{units.giga(ceiling.bandwidth_bytes_per_second)} GB/s"
            )
    return measured


def _installed(worker: WorkerProcess) -> list[Framework]:
    found = []
    for framework in Framework:
        with contextlib.suppress(UnusableError):
            worker.describe(framework)
            found.append(framework)
    return found


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
