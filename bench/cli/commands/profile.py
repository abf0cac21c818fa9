"""`profile`: where the epochs of one scenario go."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from bench import ranges
from bench.cli import options
from bench.cli.app import app, examples
from bench.cli.console import err, fail, note, print_results, reject_junit, spinner, write_file
from bench.cli.datasets import dataset_of, prepare
from bench.cli.exit_status import Exit
from bench.cli.measuring.precision import require_computable
from bench.cli.measuring.session import cancelled_by_signals, new_file, note_saved, require_gpus, software_of
from bench.errors import ConfigurationError, StoreError
from bench.experiments.profile import trace
from bench.experiments.profile.breakdown import break_down
from bench.experiments.profile.profile import ProfileError, Profiler
from bench.machine.capture import capture, usable_core_count
from bench.machine.linux.cpu import vector_floats
from bench.records import store
from bench.records.base import utc_now
from bench.records.environment import Environment
from bench.records.profile import ProfileFile
from bench.render.formats.export import Format
from bench.render.phrases import format_count
from bench.render.progress.rounds import RoundsProgress
from bench.render.views.profiles import describe_closure, profile_tables
from bench.scenarios.axes import AUTO_CONTEXTS, AXES, SET_AXES, Framework
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import Matrix, Overrides, Suite, expand, override
from bench.worker.protocol.requests import ProfileTarget
from mnist_core.datasets import DatasetName
from mnist_core.devices import available
from mnist_core.recipe import Network


@app.command(epilog=examples("profile --network mlp", "profile --network lenet --loop tuned --trace t.json"))
def profile(
    context: typer.Context,
    framework: Annotated[
        Framework, typer.Option(help="MXNet alone has a profiler here.", rich_help_panel=options.TRAINED)
    ] = Framework.MXNET,
    network: options.Network = None,
    loop: options.Loop = None,
    contexts: options.Contexts = None,
    batch_size: options.BatchSize = None,
    hybridize: options.Hybridize = None,
    cpu_threads: options.CpuThreads = None,
    settings: options.Settings = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=ranges.MOST_IMAGES,
            help="Updates of a measured epoch; default: as many as last long enough.",
            rich_help_panel=options.MEASURED,
        ),
    ] = None,
    # An even number gives either order of a pair the same weight.
    rounds: Annotated[
        int,
        typer.Option(
            min=1, max=ranges.MOST_REPEATS, help="How often every phase is measured.", rich_help_panel=options.MEASURED
        ),
    ] = 16,
    seed: options.RecipeSeed = options.DEFAULT_SEED,
    timeout: Annotated[float, options.timeout("Seconds each of the two processes may take.")] = 1800.0,
    data: options.Data = DatasetName.AUTO,
    data_dir: options.DataDir = None,
    chrome_trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE.json", help="Write the epoch for ui.perfetto.dev.")
    ] = None,
    output: options.Output = None,
    replay: options.Replay = None,
    output_format: options.Format = Format.TEXT,
) -> None:
    """Measure what each phase of an epoch takes, and each of MXNet's operators. One scenario; exit 3 if unsteady."""
    reject_junit(output_format)
    options.reject_others(context, "replay", "measures nothing", "output_format")
    options.reject_conflicts(
        (
            framework is not Framework.MXNET,
            f"profile: {framework} is not supported, only MXNet's own loops are; leave it out",
        ),
        (chrome_trace and not chrome_trace.parent.is_dir(), f"--trace {chrome_trace}: no such folder"),
    )
    if replay is not None:
        report(store.read(replay, ProfileFile), output_format)
    overrides = options.overrides_of(
        network=network,
        loop=loop,
        contexts=contexts,
        batch_size=batch_size,
        hybridize=hybridize,
        cpu_threads=cpu_threads,
        settings=settings,
    )
    scenario = one_scenario(overrides)
    require_computable([scenario])
    with new_file(output, "profile", resumable=False) as path:
        require_gpus(scenario.devices)
        software = software_of([scenario])  # first: it fails at once where MXNet is missing
        prepared = prepare(data, data_dir)
        target = ProfileTarget(
            scenario=scenario, seed=seed, data_directory=str(prepared.directory), dataset=dataset_of(prepared)
        )
        measured, recorded = _measure(target, capture(software=software), steps, rounds, timeout)
        try:
            store.write(path, measured)
            note_saved(prepared, path)
            if chrome_trace is not None:
                write_file(chrome_trace, trace.to_chrome(recorded, scenario.name))
                note(f"trace in {chrome_trace}: open it in ui.perfetto.dev or chrome://tracing")
        except StoreError:  # what took minutes is shown at least
            print_results(profile_tables(measured, break_down(measured)), output_format)
            raise
    report(measured, output_format)


def one_scenario(overrides: Overrides) -> Scenario:
    """Return the scenario that the options of axes describe. Raises `ConfigurationError` where they leave several."""
    every = Suite(title="profile", matrix=(Matrix(network=tuple(network.value for network in Network)),))
    gpus = tuple(str(device) for device in available()) if AUTO_CONTEXTS in overrides.contexts else ()
    floats = vector_floats()
    plan = expand(override(every, overrides, floats), gpu_contexts=gpus, vector_floats=floats)
    scenarios = [planned.scenario for planned in plan]
    distinct = list(dict.fromkeys(scenarios))
    if len(distinct) != 1:
        names = "; ".join(scenario.name for scenario in distinct[:2])
        more = f"; and {len(distinct) - 2} more" if len(distinct) > 2 else ""  # noqa: PLR2004  # those named
        raise ConfigurationError(
            f"profile is of one scenario, these are {len(distinct)}: {names}{more}; "
            f"give one value of {' and of '.join(_differing_options(distinct))}"
        )
    return distinct[0]


def _differing_options(scenarios: Sequence[Scenario]) -> list[str]:
    differing = [axis for axis in ("network", *AXES) if len({getattr(scenario, axis) for scenario in scenarios}) > 1]
    return [f"--set {axis}" if axis in SET_AXES else f"--{axis.replace('_', '-')}" for axis in differing]


def _measure(
    target: ProfileTarget, environment: Environment, steps: int | None, rounds: int, timeout_seconds: float
) -> tuple[ProfileFile, trace.Trace]:
    """Measure the phases, then the operators, each in a process of its own; exit where one of them gives no result."""
    scenario = target.scenario
    threads = scenario.threads_per_context(usable_core_count())
    with cancelled_by_signals() as stop:
        profiler = Profiler(target=target, threads=threads, timeout_seconds=timeout_seconds, stop=stop)
        try:
            note(f"phases of {scenario.name}: {format_count(rounds, 'round')}")
            with RoundsProgress(err, rounds) as progress:
                phases = profiler.phases(steps, rounds, progress.round_done)
            operators = "operators: one epoch under MXNet's profiler"
            note(operators)
            with spinner(operators):
                profiled, recorded = profiler.operators(phases.steps)
        except ProfileError as error:
            if stop.requested:
                fail("interrupted", Exit.INTERRUPTED)
            fail(str(error), Exit.FAILED)
    measured = ProfileFile(
        created_at=utc_now(),
        environment=environment,
        dataset=target.dataset,
        scenario=scenario,
        seed=target.seed,
        omp_num_threads=threads,
        phases=phases,
        profiled=profiled,
    )
    return measured, recorded


def report(measured: ProfileFile, output_format: Format) -> NoReturn:
    """Print where the epoch went and exit: with INCONCLUSIVE where the phases do not add up to the epoch."""
    breakdown = break_down(measured)
    print_results(profile_tables(measured, breakdown), output_format)
    if not breakdown.closes:
        rounds = 2 * len(measured.phases.epoch_seconds)
        again = f"measure again with --rounds {rounds}, on a quieter machine if you can"
        fail(f"the machine was too unsteady: {describe_closure(breakdown)}; {again}", Exit.INCONCLUSIVE)
    sys.exit(Exit.DONE)
