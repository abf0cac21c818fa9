"""`run`: measure a suite."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from bench import SOURCE_ROOT
from bench.analysis import accuracy
from bench.analysis.summary import summarize
from bench.cli import options
from bench.cli.app import app, examples
from bench.cli.completion import offer_suites
from bench.cli.console import err, fail, note, out, print_results, reject_junit, spinner, verbosity, warn
from bench.cli.datasets import dataset_of, prepare
from bench.cli.exit_status import Exit
from bench.cli.session import measuring, new_file, note_saved, prepare_rest, resume_hint, resumed_file
from bench.experiments.gate import source
from bench.experiments.run.ceilings import requests_of_plan
from bench.experiments.run.eta import CEILING_SECONDS, expected_seconds
from bench.experiments.run.plan import describe_frameworks, plan_here
from bench.experiments.run.runner import CeilingRounds, SubprocessExecutor, remaining, run_plan, usable
from bench.machine.capture import capture, usable_core_count
from bench.records import store
from bench.records.base import utc_now
from bench.records.environment import Environment
from bench.records.result import Ceiling, ResultSet, RunKey, key
from bench.render import units
from bench.render.formats.export import Format
from bench.render.phrases import format_count
from bench.render.progress.run import RunProgress
from bench.render.views.results import result_tables
from bench.scenarios.suite import BUILT_IN_SUITES, DEFAULT_SUITE, PlannedRun
from bench.worker.process import Interpreters, interpreters_of
from mnist_core import datasets
from mnist_core.datasets import TEST_COUNT, TRAIN_COUNT, DatasetName


@app.command(
    epilog=examples(
        "run --suite smoke",
        "run --network mlp --batch-size 100 --batch-size 500 --repeats 5",
        'run --contexts "gpu(0)" --contexts "cpu(0)"',
        "run --resume results/runs/here.json",
    )
)
def run(
    context: typer.Context,
    suite: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help=f"A built-in suite ({', '.join(BUILT_IN_SUITES)}) or a TOML file of your own.",
            autocompletion=offer_suites,
        ),
    ] = DEFAULT_SUITE,
    keyword: options.Keyword = None,
    framework: options.Framework = None,
    network: options.Network = None,
    loop: options.Loop = None,
    contexts: options.Contexts = None,
    batch_size: options.BatchSize = None,
    hybridize: options.Hybridize = None,
    cpu_threads: options.CpuThreads = None,
    settings: options.Settings = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs per run.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Only the first so many training images.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Fresh processes per scenario.")] = None,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds a run may take.")] = None,
    seed: options.RecipeSeed = options.DEFAULT_SEED,
    data: options.Data = DatasetName.AUTO,
    data_dir: options.DataDir = None,
    python: options.Python = None,
    ceilings: Annotated[
        bool,
        typer.Option(
            "--ceilings",
            help="Before, between and after the rounds: what each framework's matrix product reaches here.",
        ),
    ] = False,
    output: options.Output = None,
    resume: options.Resume = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the scenarios and the expected time.")] = False,
    output_format: options.Format = Format.TEXT,
) -> None:
    """Measure a suite: each scenario in fresh processes, saved after each, then shown as tables.

    Axis options narrow the suite where it has the value, and replace the axis where it has not; each may be repeated.
    """
    reject_junit(output_format)
    may_change = ("ceilings", "data_dir", "python", "dry_run", "output_format")
    options.reject_others(context, "resume", "goes on as its file planned", *may_change)
    overrides = options.overrides_of(
        framework=framework,
        network=network,
        loop=loop,
        contexts=contexts,
        batch_size=batch_size,
        hybridize=hybridize,
        cpu_threads=cpu_threads,
        settings=settings,
        repeats=repeats,
        epochs=epochs,
        samples=samples,
        timeout_seconds=timeout,
    )
    interpreters = interpreters_of(python or (), os.environ)
    executor = SubprocessExecutor(interpreters)
    if resume is not None:
        plan = remaining(store.read(resume, ResultSet))
    else:
        with spinner("trying the devices out"):
            plan = plan_here(suite, overrides, keyword, seed, executor.probe)
    if dry_run:
        _show_plan(plan)
        return
    if resume is not None:
        with resumed_file(resume, ResultSet) as result_set:
            here = _capture(executor, result_set.plan)
            prepared = prepare_rest(resume, result_set, here, data_dir)
            ceilings = ceilings or bool(result_set.ceilings)
            _measure(result_set, prepared, resume, output_format, interpreters, ceilings=ceilings)
    environment = _capture(executor, plan)  # first: it fails at once where a framework is missing
    prepared = prepare(data, data_dir)
    result_set = ResultSet(
        suite=suite if suite in BUILT_IN_SUITES else Path(suite).name,
        created_at=utc_now(),
        seed=seed,
        environment=environment,
        dataset=dataset_of(prepared),
        plan=plan,
    )
    with new_file(output, Path(suite).stem) as path:
        _measure(result_set, prepared, path, output_format, interpreters, ceilings=ceilings)


def _capture(executor: SubprocessExecutor, plan: Sequence[PlannedRun]) -> Environment:
    """Return the facts about this machine and the frameworks of the plan. Raises `SetupError` where one is missing."""
    with spinner("asking the frameworks what they are"):
        software, *peers = describe_frameworks(executor, plan)
    return capture(software=software, peers=tuple(peers))


def _measure(
    result_set: ResultSet,
    prepared: datasets.Prepared,
    path: Path,
    output_format: Format,
    interpreters: Interpreters,
    *,
    ceilings: bool,
) -> NoReturn:
    """Make the remaining runs of the plan, save after each, show the tables and exit."""
    expected = _expected_seconds(result_set)
    _note_plan(result_set, path, sum(expected.values()), ceilings=ceilings)
    hint = resume_hint("runs", path, f"mnist-bench run --resume {path}")
    is_tutorial = result_set.suite == "tutorial"
    with (
        measuring(hint) as stop,
        RunProgress(err, expected, tutorial_lines=is_tutorial, verbose=verbosity.verbose) as observer,
    ):
        executor = SubprocessExecutor(interpreters, stop)
        probe_once = functools.cache(executor.probe)
        requests = requests_of_plan(result_set.plan, result_set.environment) if ceilings else ()
        rounds = CeilingRounds(usable(requests, probe_once), executor, warn)
        result_set = run_plan(
            result_set,
            executor=executor,
            data_directory=prepared.directory,
            usable_cores=usable_core_count(),
            save=functools.partial(store.write, path),
            observer=observer,
            probe=probe_once,
            stop=stop,
            ceilings=functools.partial(_announced, rounds),
        )
    if stop.requested and remaining(result_set):
        fail(f"interrupted; {hint}", Exit.INTERRUPTED)
    print_results(result_tables([summarize(result_set)]), output_format)
    note_saved(prepared, path)
    if result_set.failures:
        failed = f"{len(result_set.failures):,} of {format_count(len(result_set.plan), 'run')} failed"
        note(f"{failed}: see the notes below the tables", style="red")
    sys.exit(_status(result_set))


def _expected_seconds(result_set: ResultSet) -> dict[RunKey, float]:
    """Return about how long each remaining run will take."""
    dataset = result_set.dataset
    return {
        key(planned): expected_seconds(planned, dataset.train_samples, dataset.test_samples)
        for planned in remaining(result_set)
    }


def _note_plan(result_set: ResultSet, path: Path, expected_seconds: float, *, ceilings: bool) -> None:
    count = len(remaining(result_set))
    if source.clone_around(Path.cwd()) not in {None, SOURCE_ROOT}:
        warn(f"{SOURCE_ROOT} is measured, not the clone around this folder; pip install -e . changes that")
    if result_set.failures and not count:
        warn("failed runs are not retried on --resume; use a new --output to measure them again")
    note(
        f"{format_count(count, 'run')} on {result_set.dataset.name} ({result_set.dataset.source}), into {path}, "
        f"about {units.roughly(expected_seconds)}{' and the ceilings' if ceilings else ''}"
    )


def _announced(rounds: CeilingRounds) -> Iterator[Ceiling]:
    """Measure a round of ceilings, after a note why no run begins meanwhile."""
    if len(rounds):
        expected = units.roughly(len(rounds) * CEILING_SECONDS)
        note(f"measuring {format_count(len(rounds), 'ceiling')}, about {expected}")
    return rounds()


def _status(result_set: ResultSet) -> Exit:
    """Return FAILED unless every planned run learnt what it should."""
    invalid = [run for run in result_set.runs if accuracy.judge(run, result_set.dataset) is not None]
    return Exit.FAILED if invalid or result_set.failures or remaining(result_set) else Exit.DONE


@functools.lru_cache(maxsize=64)  # a plan of a hundred thousand runs has few of them
def _describe_training(epochs: int, samples: int | None, *, in_turns: bool) -> str:
    part = f"{samples:,} images" if samples else "all images"
    return f"{format_count(epochs, 'turn' if in_turns else 'epoch')} of {part}"


def _show_plan(plan: Sequence[PlannedRun]) -> None:
    """Print each scenario with its processes and the seconds of one, on MNIST."""
    total = 0.0
    processes: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for planned in plan:
        recipe = planned.recipe
        training = _describe_training(recipe.epochs, recipe.samples, in_turns=planned.in_turns)
        line = f"{planned.scenario.name}  ·  {training}"
        processes[line] = processes.get(line, 0) + 1
        seconds[line] = expected_seconds(planned, TRAIN_COUNT, TEST_COUNT)
        total += seconds[line]
    listed = (f"{count} x {seconds[line]:6.0f} s  {line}\n" for line, count in processes.items())
    out.file.write("".join(listed))  # the console takes longer for a hundred thousand lines than all the rest
    out.print(
        f"{format_count(len(processes), 'scenario')}, {format_count(len(plan), 'run')}, "
        f"about {units.roughly(total)} on a 2-core machine",
        highlight=False,
        soft_wrap=True,
    )
