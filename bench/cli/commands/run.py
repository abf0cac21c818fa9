"""`run`: measure a suite."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from bench import SOURCE_ROOT, errors
from bench.analysis import accuracy
from bench.cli.app import app, examples
from bench.cli.completion import offer_contexts, offer_networks, offer_settings, offer_suites
from bench.cli.console import (
    add_to_job_summary,
    err,
    fail,
    note,
    out,
    print_tables,
    refuse_junit,
    tolerate_closed_pipe,
    verbosity,
)
from bench.cli.datasets import dataset_of, note_dataset, prepare
from bench.cli.exit_status import Exit
from bench.cli.options import KeywordOption
from bench.cli.session import RESULTS_DIRECTORY, describe_all, on_signals, plan_here, prepare_same, require_same_machine
from bench.errors import ConfigurationError, SetupError
from bench.experiments.gate import source
from bench.experiments.run.ceilings import requests_of_plan
from bench.experiments.run.eta import CEILING_SECONDS, expected_seconds
from bench.experiments.run.runner import CeilingRounds, SubprocessExecutor, remaining, run_plan, usable
from bench.machine.capture import capture, usable_core_count
from bench.records import store
from bench.records.base import utc_now
from bench.records.result import Ceiling, ResultSet, RunKey, key
from bench.render import units
from bench.render.formats.export import Format, render_markdown
from bench.render.phrases import format_count
from bench.render.progress.run import RunProgress
from bench.render.views.results import tables
from bench.scenarios.axes import LOOP_AXES, Framework, LoopName
from bench.scenarios.suite import (
    BUILT_IN_SUITES,
    DEFAULT_SUITE,
    Overrides,
    PlannedRun,
    axis_settings,
)
from bench.worker.process import Cancellation, Interpreters, interpreters_of
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.recipe import Hybridize, Recipe


@app.command(
    epilog=examples(
        "run --suite smoke",
        "run --network mlp --batch-size 100 --batch-size 500 --repeats 5",
        'run --contexts "gpu(0)" --contexts "cpu(0)"',
        "run --resume results/runs/here.json",
    )
)
def run(
    suite: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help=f"A built-in suite ({', '.join(BUILT_IN_SUITES)}) or a TOML file of your own.",
            autocompletion=offer_suites,
        ),
    ] = DEFAULT_SUITE,
    keyword: KeywordOption = None,
    framework: Annotated[list[Framework] | None, typer.Option(help="Repeatable; see --python.")] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="mlp, lenet, or package.module:factory of your own; repeatable.",
            autocompletion=offer_networks,
        ),
    ] = None,
    loop: Annotated[
        list[LoopName] | None, typer.Option(help="The tutorial's loop, or the fastest one known; repeatable.")
    ] = None,
    contexts: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICES",
            help="One list of devices, e.g. 'cpu(0),cpu(1)', or auto; repeatable.",
            autocompletion=offer_contexts,
        ),
    ] = None,
    batch_size: Annotated[list[int] | None, typer.Option(min=1, help="Images per update; repeatable.")] = None,
    hybridize: Annotated[list[Hybridize] | None, typer.Option(help="Repeatable.")] = None,
    cpu_threads: Annotated[
        list[int] | None, typer.Option(min=1, help="OpenMP threads per CPU context; repeatable.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="AXIS=VALUE",
            help=f"Another part of the loop ({', '.join(LOOP_AXES)}); repeatable.",
            autocompletion=offer_settings,
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs per run.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Only the first so many training images.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Fresh processes per scenario.")] = None,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds a run may take.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seeds weights, shuffling and the order of runs.")] = Recipe().seed,
    data: Annotated[DatasetName, typer.Option(help="Which images; auto: MNIST if it can be had.")] = DatasetName.AUTO,
    data_dir: Annotated[Path | None, typer.Option(help="The folder with the four IDX files, gzip or raw.")] = None,
    python: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FRAMEWORK=PATH", help="The Python that has this framework; repeatable. Default: this one."
        ),
    ] = None,
    ceilings: Annotated[
        bool,
        typer.Option(
            "--ceilings",
            help="Before, between and after the rounds: what each framework's matrix product reaches here.",
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help=f"Result file; default: a new one in {RESULTS_DIRECTORY}.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Do the rest of an interrupted run; no other choice applies.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the scenarios and the expected time.")] = False,
    output_format: Annotated[Format, typer.Option("--format", help="Of the tables printed at the end.")] = Format.TEXT,
) -> None:
    """Measure a suite: each scenario in fresh processes, saved after each, then shown as tables.

    Axis options narrow the suite where it has the value, and replace the axis where it has not.
    """
    refuse_junit(output_format)
    wishes = Overrides(
        framework=tuple(framework or ()),
        network=tuple(network or ()),
        loop=tuple(loop or ()),
        contexts=tuple(contexts or ()),
        batch_size=tuple(batch_size or ()),
        hybridize=tuple(hybridize or ()),
        cpu_threads=tuple(cpu_threads or ()),
        settings=axis_settings(settings or ()),
        repeats=repeats,
        epochs=epochs,
        samples=samples,
        timeout_seconds=timeout,
    )
    interpreters = interpreters_of(python or (), os.environ)
    if resume is not None:
        others = (wishes, keyword, output, suite, seed, data)
        if others != (Overrides(), None, None, DEFAULT_SUITE, Recipe().seed, DatasetName.AUTO):
            raise ConfigurationError(
                "--resume does what its file planned: leave out all but --ceilings, --data-dir, --python and --format"
            )
        todo = remaining(store.read(resume))  # also: a file that is none must not cost a lock in its folder
        if dry_run:
            _show_plan(todo)
            return
        with store.exclusive(resume.parent):
            result_set, prepared = _resumed(resume, data_dir, interpreters)
            wanted = ceilings or bool(result_set.ceilings)
            _measure(result_set, prepared, resume, output_format, interpreters, ceilings=wanted)
    plan = plan_here(suite, wishes, keyword, seed, interpreters)
    if dry_run:
        _show_plan(plan)
        return
    # The framework first: whoever lacks it should not wait for data.
    software, *peers = describe_all(interpreters, plan)
    prepared = prepare(data, data_dir)
    dataset = dataset_of(prepared)
    path = output or RESULTS_DIRECTORY / f"{Path(suite).stem}-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}.json"
    result_set = ResultSet(
        suite=suite if suite in BUILT_IN_SUITES else Path(suite).name,
        created_at=utc_now(),
        seed=seed,
        environment=capture(software=software, peers=tuple(peers)),
        dataset=dataset,
        plan=plan,
    )
    with store.exclusive(path.parent):
        if path.exists():
            raise ConfigurationError(f"{path} exists: name another --output, or --resume {path}")
        _measure(result_set, prepared, path, output_format, interpreters, ceilings=ceilings)


def _resumed(path: Path, data_dir: Path | None, interpreters: Interpreters) -> tuple[ResultSet, datasets.Prepared]:
    """The file as it is under the lock, if its rest can be measured here: one environment heads all its rows."""
    result_set = store.read(path)
    software, *peers = describe_all(interpreters, result_set.plan)
    here = capture(software=software, peers=tuple(peers))
    facts = ("software", "peers", "mnist_bench_version", "git_commit", "usable_core_count")
    require_same_machine(path, result_set.environment, here, facts)
    return result_set, prepare_same(path, result_set.dataset, data_dir)


def _measure(
    result_set: ResultSet,
    prepared: datasets.Prepared,
    path: Path,
    output_format: Format,
    interpreters: Interpreters,
    *,
    ceilings: bool,
) -> NoReturn:
    """Run what remains of the plan, show the tables and exit."""
    todo = remaining(result_set)
    if source.clone_around(Path.cwd()) not in {None, SOURCE_ROOT}:
        note(f"measured is {SOURCE_ROOT}, not the clone around: pip install -e . takes that one", style="yellow")
    if result_set.failures and not todo:
        note("what failed is not repeated: a new --output measures it again", style="yellow")
    dataset = result_set.dataset
    expected: dict[RunKey, float] = {
        key(planned): expected_seconds(planned, dataset.train_samples, dataset.test_samples) for planned in todo
    }
    note(
        f"{format_count(len(todo), 'run')} on {dataset.name} ({dataset.source}), into {path}, "
        f"about {units.roughly(sum(expected.values()))}{' and the ceilings' if ceilings else ''}"
    )
    stop = Cancellation()
    worker = SubprocessExecutor(interpreters, stop)
    probe_once = functools.cache(worker.probe)
    try:
        with (
            RunProgress(
                err, expected, tutorial_lines=result_set.suite == "tutorial", verbose=verbosity.verbose
            ) as observer,
            on_signals(stop),
        ):
            wanted = usable(requests_of_plan(result_set.plan, result_set.environment), probe_once) if ceilings else ()
            rounds = CeilingRounds(wanted, worker, functools.partial(note, style="yellow"))
            result_set = run_plan(
                result_set,
                executor=worker,
                data_directory=prepared.directory,
                usable_cores=usable_core_count(),
                save=functools.partial(store.write, path),
                observer=observer,
                probe=probe_once,
                stop=stop,
                ceilings=functools.partial(_announced, rounds),
            )
    except (SetupError, errors.StoreError) as error:
        fail(f"{error}; finished runs are in {path}: mnist-bench run --resume {path} goes on", Exit.USAGE)
    if stop.requested and remaining(result_set):
        fail(f"interrupted; finished runs are in {path}; go on with: mnist-bench run --resume {path}", Exit.INTERRUPTED)
    made = tables([result_set])
    with tolerate_closed_pipe():
        print_tables(made, output_format)
    add_to_job_summary(render_markdown(made))
    note_dataset(prepared)
    note(f"saved in {path}")
    if result_set.failures:
        failed = f"{len(result_set.failures):,} of {format_count(len(result_set.plan), 'run')} failed"
        note(f"{failed}: the reasons stand under the tables", style="red")
    sys.exit(_status(result_set))


def _announced(rounds: CeilingRounds) -> Iterator[Ceiling]:
    """No run begins while they are measured."""
    if len(rounds):
        expected = units.roughly(len(rounds) * CEILING_SECONDS)
        note(f"measuring {format_count(len(rounds), 'ceiling')}, about {expected}")
    return rounds()


def _status(result_set: ResultSet) -> Exit:
    invalid = [run for run in result_set.runs if accuracy.judge(run, result_set.dataset) is not None]
    return Exit.FAILED if invalid or result_set.failures or remaining(result_set) else Exit.DONE


@functools.lru_cache(maxsize=64)  # few, in a plan of a hundred thousand
def _describe_training(epochs: int, samples: int | None) -> str:
    part = f"{samples:,} images" if samples else "all images"
    return f"{'1 epoch' if epochs == 1 else f'{epochs} epochs'} of {part}"


def _show_plan(plan: Sequence[PlannedRun]) -> None:
    total = 0.0
    processes: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for planned in plan:
        line = f"{planned.scenario.name}  ·  {_describe_training(planned.recipe.epochs, planned.recipe.samples)}"
        processes[line] = processes.get(line, 0) + 1
        seconds[line] = expected_seconds(planned, 60_000, 10_000)
        total += seconds[line]
    listed = (f"{count} x {seconds[line]:6.0f} s  {line}\n" for line, count in processes.items())
    out.file.write("".join(listed))  # not through the console, which needs longer than all the rest for so many lines
    out.print(
        f"{format_count(len(processes), 'scenario')}, {format_count(len(plan), 'run')}, "
        f"about {units.roughly(total)} on a 2-core machine",
        highlight=False,
        soft_wrap=True,
    )
