"""`environment` and `suites`: what this machine is, and what can be measured."""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.progress import Progress

from bench import ranges
from bench.cli import options
from bench.cli.app import app, examples
from bench.cli.console import err, fail, note, out, print_tables, reject_junit, spinner, warn, write
from bench.cli.datasets import dataset_of, prepare
from bench.cli.exit_status import Exit
from bench.cli.measuring.hosts import show_hosts
from bench.cli.measuring.joining import JOIN_OPTIONS, join_of, machines
from bench.cli.measuring.session import cancelled_by_signals
from bench.errors import ConfigurationError, SetupError
from bench.experiments.doctor.aa_test import SECONDS, AATest, run_aa_test
from bench.experiments.doctor.checks import Level, Observations, examine
from bench.experiments.run.ceilings import CeilingRounds, requests_of_machine, usable
from bench.experiments.run.eta import expected_seconds
from bench.experiments.run.executor import SubprocessExecutor
from bench.machine.capture import capture, usable_core_count
from bench.machine.gpus.accelerators import gpu_processes
from bench.machine.gpus.builds import ask_driver, choose
from bench.machine.linux.cgroup import available_memory_bytes
from bench.machine.linux.counters import Counters, load_average, read_counters
from bench.machine.processes import busiest
from bench.records.result import Ceiling
from bench.render import units
from bench.render.formats.doctor import render_doctor
from bench.render.formats.export import Format
from bench.render.phrases import format_count
from bench.render.progress.live import moves_cursor
from bench.render.progress.rounds import CeilingProgress
from bench.render.views.ceilings import ceiling_table
from bench.render.views.doctor import doctor_tables
from bench.scenarios.axes import Framework
from bench.scenarios.suite import BUILT_IN_SUITES, DEFAULT_SUITE, expand, load_suite
from bench.worker.interpreters import interpreters_of
from bench.worker.process import Cancellation
from bench.worker.session import SessionError, explain_failure
from mnist_core.datasets import TEST_COUNT, TRAIN_COUNT, DatasetName
from mnist_core.devices import Device, DeviceKind

#: What --hosts and --join can be given with, besides what all of the verb can.
_OF_HOSTS: Final = ("links", "framework")


@app.command(
    "environment",
    epilog=examples(
        "environment",
        "environment --strict",
        "environment --ceilings --repeats 5",
        "environment --quick --json",
        "environment --hosts hosts.toml --links",
        "environment --join slurm --links",
    ),
)
def environment_command(
    context: typer.Context,
    ceilings: Annotated[
        bool,
        typer.Option("--ceilings", help="Measure the fastest float32 matrix product and the memory bandwidth instead."),
    ] = False,
    repeats: Annotated[
        int, typer.Option(min=1, max=ranges.MOST_REPEATS, help="Fresh processes per ceiling, in turns.")
    ] = 3,
    hosts: options.Hosts = None,
    join: options.Join = None,
    join_address: options.JoinAddress = None,
    join_port: options.JoinPort = options.DEFAULT_JOIN_PORT,
    join_ranks: options.JoinRanks = None,
    join_timeout: options.JoinTimeout = options.DEFAULT_JOIN_SECONDS,
    links: Annotated[
        bool,
        typer.Option(
            "--links",
            help="With --hosts or --join: measure the network from each host to each other one.",
            rich_help_panel=options.MACHINES,
        ),
    ] = False,
    framework: Annotated[
        list[Framework] | None,
        typer.Option(
            help="With --hosts or --join: what they need; repeatable. Default: mxnet.", rich_help_panel=options.MACHINES
        ),
    ] = None,
    python: options.Python = None,
    quick: Annotated[bool, typer.Option("--quick", help="Without the 20 seconds of an A/A pair.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 where there is a warning.")] = False,
    data: options.Data = DatasetName.AUTO,
    data_dir: options.DataDir = None,
    output_format: Annotated[
        Format | None,
        typer.Option(
            "--format", show_default=Format.TEXT.value, **options.one_of("How the results are printed", Format)
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
) -> None:
    """Show what this machine is, and what a benchmark on it should know, or how fast it can be. Changes no setting.

    With --hosts or --join, show the same of other machines, and whether they can measure together.
    """
    formats = ("python", "output_format", "json")
    options.reject_others(context, "ceilings", "trains and checks nothing", "repeats", *formats)
    of_hosts = (*_OF_HOSTS, "data", "data_dir", *formats)
    job = join_of(context, hosts, join, join_address, join_port, join_ranks, join_timeout)
    options.reject_others(context, "hosts", "measures no training", *of_hosts)
    options.reject_others(context, "join", "measures no training", *JOIN_OPTIONS, *of_hosts)
    if json and output_format not in {None, Format.JSON}:
        raise ConfigurationError(f"--json is --format json: leave out --format {output_format} or --json")
    output_format = Format.JSON if json else output_format or Format.TEXT
    reject_junit(output_format)
    interpreters = interpreters_of(python or (), os.environ)
    if hosts or job:
        wanted = tuple(dict.fromkeys(framework or (Framework.MXNET,)))
        with machines(hosts, job, interpreters, data_dir) as named:
            show_hosts(named, interpreters, wanted, data, data_dir, output_format, with_links=links)
        return
    options.reject_conflicts(
        (framework, "--framework names what the hosts of --hosts need: add --hosts FILE or --join, or leave it out"),
        (
            links,
            "--links measures the network between the hosts of --hosts: add --hosts FILE or --join, or leave it out",
        ),
        (
            options.is_given(context, "repeats") and not ceilings,
            "--repeats is of the processes of --ceilings: add --ceilings, or leave it out",
        ),
        (
            quick and (options.is_given(context, "data") or data_dir),
            "--data and --data-dir are for the A/A pair, which --quick leaves out: leave out --quick or the data",
        ),
    )
    if ceilings:
        with cancelled_by_signals() as stop:
            measured = _measure_ceilings(SubprocessExecutor(interpreters, stop), repeats)
        if stop.requested:
            fail("interrupted", Exit.INTERRUPTED)
        print_tables([ceiling_table(measured, capture())], output_format)
        return
    observations = _observe(SubprocessExecutor(interpreters), data, data_dir, with_aa_test=not quick)
    findings = examine(observations)
    match output_format:
        case Format.TEXT:
            render_doctor(observations.environment, findings, out)
        case Format.JSON:
            document = {"environment": observations.environment, "checks": findings}
            write(msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n")
        case _:
            print_tables(doctor_tables(observations.environment, findings), output_format)
    warnings = [finding.check for finding in findings if finding.level is Level.WARNING]
    if strict and warnings:
        fail(f"not fit to measure on: {', '.join(dict.fromkeys(warnings))}", Exit.INCONCLUSIVE)


def _observe(
    worker: SubprocessExecutor, data: DatasetName, data_dir: Path | None, *, with_aa_test: bool
) -> Observations:
    """Look at the machine, and run an A/A test on it if asked; exit where a signal interrupts that."""
    error, software = None, None
    try:
        with spinner(f"asking {Framework.MXNET} what it is"):
            software = worker.describe()
    except SetupError as unusable:
        error = str(unusable)
    with spinner("looking at this machine"):
        environment = capture(software=software)
        computing = busiest()
    gpus = [Device(DeviceKind.GPU, index) for index in range(environment.accelerators_per_node)]
    before, busy = read_counters(), load_average()
    aa_test, aa_test_error = None, None
    if with_aa_test and software is not None:
        with cancelled_by_signals() as stop:
            try:
                aa_test = _run_aa_test(data, data_dir, stop)
            except SessionError as ended:
                aa_test_error = explain_failure(ended.failure)
        if stop.requested:
            fail("interrupted", Exit.INTERRUPTED)
    after = Counters() if aa_test is None else read_counters()  # what counts is what grew while something was measured
    with spinner("trying the GPUs out"):
        tried = tuple(worker.probe(Framework.MXNET, gpu) for gpu in gpus)
    return Observations(
        environment=environment,
        framework_error=error,
        gpus=tried,
        gpu_processes=gpu_processes(),
        load_average=busy,
        available_memory_bytes=available_memory_bytes(),
        swapped_pages=after.swapped_since(before),
        throttle_count=after.throttled_since(before),
        steal_fraction=after.steal_fraction_since(before),
        aa_test=aa_test,
        aa_test_error=aa_test_error,
        busiest=computing,
        builds=choose(ask_driver()).describe([str(framework) for framework in Framework]) if gpus else None,
    )


def _run_aa_test(data: DatasetName, data_dir: Path | None, stop: Cancellation) -> AATest | None:
    """Measure the same code against itself; None where a signal interrupts it."""
    prepared = prepare(data, data_dir)
    what = f"the same code against itself, {SECONDS:.0f} s"
    is_live = moves_cursor(err)
    if not is_live:
        note(what)
    with Progress(console=err, transient=True, disable=not is_live) as progress:
        task = progress.add_task(what, total=1.0)

        def show(share: float) -> None:
            progress.update(task, completed=share)

        return run_aa_test(prepared.directory, dataset_of(prepared), usable_core_count(), stop, on_turn=show)


def _measure_ceilings(worker: SubprocessExecutor, repeats: int) -> list[Ceiling]:
    """Measure each ceiling once a round: every device, number of threads and installed framework."""
    environment = capture()
    gpus = [Device(DeviceKind.GPU, index) for index in range(environment.accelerators_per_node)]
    requests = requests_of_machine(gpus, _installed(worker), environment)
    with spinner("trying the devices out"):
        usable_requests = usable(requests, functools.cache(worker.probe))
    rounds = CeilingRounds(usable_requests, worker, warn)
    measured = []
    with CeilingProgress(err, repeats * len(rounds)) as progress:
        for rounds_left in range(repeats, 0, -1):
            for number, ceiling in enumerate(rounds(), start=1):
                measured.append(ceiling)
                progress.measured(ceiling, left=rounds_left * len(rounds) - number)
    return measured


def _installed(worker: SubprocessExecutor) -> list[Framework]:
    """Return the frameworks that can be imported."""
    installed = []
    for framework in Framework:
        with contextlib.suppress(SetupError), spinner(f"asking {framework} what it is"):
            worker.describe(framework)
            installed.append(framework)
    return installed


@app.command(epilog=examples("suites"))
def suites() -> None:
    """List the built-in suites."""
    for name in BUILT_IN_SUITES:
        suite = load_suite(name)
        plan = expand(suite)
        seconds = sum(expected_seconds(planned, TRAIN_COUNT, TEST_COUNT) for planned in plan)
        default = " (default)" if name == DEFAULT_SUITE else ""
        out.print(f"{name}{default}: {suite.title}", markup=False, highlight=False)
        runs = format_count(len(plan), "run")
        out.print(f"    {runs}, roughly {units.roughly(seconds)} on a 2-core machine", highlight=False)
