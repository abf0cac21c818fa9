"""The verbs of `mnist-bench`: the only place that prints and exits."""

from __future__ import annotations

import contextlib
import enum
import functools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bench import accuracy, store
from bench.environment import capture, usable_core_count, utc_now
from bench.estimate import expected_seconds
from bench.record import Dataset, ResultSet, RunKey, key, schema
from bench.render.export import Format, render_csv, render_json, render_markdown
from bench.render.progress import RunProgress
from bench.render.tables import DEFAULT_VALUE, Table, tables
from bench.render.text import render_text
from bench.runner import Stop, UnusableError, WorkerProcess, remaining, run_plan
from bench.scenario import (
    AUTO_CONTEXTS,
    BUILT_IN_SUITES,
    DEFAULT_SUITE,
    ConfigurationError,
    Overrides,
    PlannedRun,
    expand,
    load_suite,
    override,
    select,
)
from mnist_core import datasets, picture
from mnist_core.datasets import DatasetName
from mnist_core.devices import available, probe
from mnist_core.idx import DataError
from mnist_core.recipe import Hybridize, Recipe

RESULTS_DIRECTORY = Path("results/runs")


class Exit(enum.IntEnum):
    """What the exit status means; the same for every verb."""

    DONE = 0
    REGRESSED = 1
    USAGE = 2
    INCONCLUSIVE = 3
    INCOMPARABLE = 4
    FAILED = 5
    #: A fault of the program itself (sysexits.h: EX_SOFTWARE); Python's own 1 would say "regressed".
    INTERNAL = 70
    INTERRUPTED = 130


class IncomparableError(Exception):
    """Results of different data, machines or schemas were to be put together; one line."""


app = typer.Typer(
    name="mnist-bench",
    help="Benchmark the MXNet Gluon MNIST tutorial and compare machines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# Results go to stdout, everything about how they come to be to stderr: `show FILE --format csv > table.csv` works.
class ResultConsole(Console):
    """rich would end the program with status 1, our "regressed", when `mnist-bench show … | head` has read enough."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


out = ResultConsole()
err = Console(stderr=True)


def main() -> NoReturn:
    """Run the command line; every foreseen error is one line on stderr and an exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
        sys.exit(status)
    except typer.TyperException as error:
        _fail(f"{error.format_message()} (--help explains)", Exit.USAGE)
    except (ConfigurationError, DataError, UnusableError, store.StoreError, IncomparableError) as error:
        status = Exit.INCOMPARABLE if isinstance(error, store.SchemaError | IncomparableError) else Exit.USAGE
        _fail(str(error), status)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has enough; nothing is left to be flushed into the void
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(Exit.DONE)
    except OSError as error:
        _fail(str(error), Exit.USAGE)
    except Exception:  # noqa: BLE001  # reported whole, with a status of its own
        traceback.print_exc()
        sys.exit(Exit.INTERNAL)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _write(text: str) -> None:
    """For programs: every character as it is, no wrapping, no colour."""
    out.out(text, highlight=False, end="")


def _fail(message: str, status: Exit) -> NoReturn:
    err.print(f"mnist-bench: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(status)


# --- run --------------------------------------------------------------------------------------------------------------


@app.command()
def run(
    suite: Annotated[
        str, typer.Option(help=f"A built-in suite ({', '.join(BUILT_IN_SUITES)}) or a TOML file of your own.")
    ] = DEFAULT_SUITE,
    keyword: Annotated[
        str | None, typer.Option("-k", metavar="EXPR", help="Only matching scenarios: 'lenet and not on'.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="mlp, lenet, or package.module:factory of your own; repeatable.")
    ] = None,
    contexts: Annotated[
        list[str] | None, typer.Option(help="One list of devices, e.g. 'cpu(0),cpu(1)', or auto; repeatable.")
    ] = None,
    batch_size: Annotated[list[int] | None, typer.Option(min=1, help="Images per update; repeatable.")] = None,
    hybridize: Annotated[list[Hybridize] | None, typer.Option(help="Repeatable.")] = None,
    cpu_threads: Annotated[
        list[int] | None, typer.Option(min=1, help="OpenMP threads per CPU context; repeatable.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs per run.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Only the first so many training images.")] = None,
    repeats: Annotated[int | None, typer.Option(min=1, help="Fresh processes per scenario.")] = None,
    timeout: Annotated[float | None, typer.Option(min=1, help="Seconds a run may take.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seeds weights, shuffling and the order of runs.")] = Recipe().seed,
    data: Annotated[DatasetName, typer.Option(help="Which images; auto: MNIST if it can be had.")] = DatasetName.AUTO,
    data_dir: Annotated[Path | None, typer.Option(help="The folder with the four IDX files, gzip or raw.")] = None,
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
    wishes = Overrides(
        network=tuple(network or ()),
        contexts=tuple(contexts or ()),
        batch_size=tuple(batch_size or ()),
        hybridize=tuple(hybridize or ()),
        cpu_threads=tuple(cpu_threads or ()),
        repeats=repeats,
        epochs=epochs,
        samples=samples,
        timeout_seconds=timeout,
    )
    if resume is not None:
        others = (wishes, keyword, output, suite, seed, data)
        if others != (Overrides(), None, None, DEFAULT_SUITE, Recipe().seed, DatasetName.AUTO):
            raise ConfigurationError("--resume does what its file planned: leave out all but --data-dir and --format")
        todo = remaining(store.read(resume))  # also: a file that is none must not cost a lock in its folder
        if dry_run:
            _show_plan(todo)
            return
        with store.exclusive(resume.parent):
            _measure(*_resumed(resume, data_dir), resume, output_format)
    plan = _plan(suite, wishes, keyword, seed)
    if dry_run:
        _show_plan(plan)
        return
    # The framework first: whoever lacks it should not wait for data.
    software = WorkerProcess().describe()
    prepared = _prepared(data, data_dir)
    dataset = _dataset(prepared)
    path = output or RESULTS_DIRECTORY / f"{Path(suite).stem}-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}.json"
    result_set = ResultSet(
        suite=suite if suite in BUILT_IN_SUITES else Path(suite).name,
        created_at=utc_now(),
        seed=seed,
        environment=capture(software=software),
        dataset=dataset,
        plan=plan,
    )
    with store.exclusive(path.parent):
        if path.exists():
            raise ConfigurationError(f"{path} exists: name another --output, or --resume {path}")
        _measure(result_set, prepared, path, output_format)


def _plan(suite: str, wishes: Overrides, keyword: str | None, seed: int) -> tuple[PlannedRun, ...]:
    wanted = override(load_suite(suite), wishes)
    uses_auto = any(AUTO_CONTEXTS in matrix.contexts for matrix in wanted.matrix)
    gpus = tuple(str(device) for device in available()) if uses_auto else ()
    plan = expand(wanted, seed=seed, gpu_contexts=gpus)
    if keyword is not None:
        plan = select(plan, keyword)
    if not plan:
        raise ConfigurationError("no scenario is left: nothing in the suite matches (--dry-run lists what it has)")
    return plan


def _resumed(path: Path, data_dir: Path | None) -> tuple[ResultSet, datasets.Prepared]:
    """The file as it is under the lock, if its rest can be measured here: one environment heads all its rows."""
    result_set = store.read(path)
    before, here = result_set.environment, capture(software=WorkerProcess().describe())
    if here.host_hash is None or here.host_hash != before.host_hash:
        raise IncomparableError(f"{path}: was begun on another machine; its rest must be measured there")
    facts = ("software", "mnist_bench_version", "git_commit", "usable_core_count")
    if changed := [fact for fact in facts if getattr(before, fact) != getattr(here, fact)]:
        raise IncomparableError(f"{path}: was begun under another {' and '.join(changed)}; measure anew")
    try:
        name = DatasetName(result_set.dataset.name)
    except ValueError:
        raise store.StoreError(f"{path}: its data set {result_set.dataset.name!r} is unknown here") from None
    prepared = _prepared(DatasetName.AUTO if name is DatasetName.CUSTOM else name, data_dir)
    if prepared.digest != result_set.dataset.digest:
        raise IncomparableError(
            f"{path}: was begun on other data ({result_set.dataset.name} {result_set.dataset.digest[:12]}); "
            "name the same with --data-dir"
        )
    return result_set, prepared


def _measure(result_set: ResultSet, prepared: datasets.Prepared, path: Path, output_format: Format) -> NoReturn:
    """Run what remains of the plan, show the tables and exit."""
    todo = remaining(result_set)
    dataset = result_set.dataset
    expected: dict[RunKey, float] = {
        key(planned): expected_seconds(planned, dataset.train_samples, dataset.test_samples) for planned in todo
    }
    err.print(f"{len(todo)} runs on {dataset.name} ({dataset.source}), into {path}", highlight=False, soft_wrap=True)
    stop = Stop()
    try:
        with (
            RunProgress(err, expected, tutorial_lines=result_set.suite == "tutorial") as observer,
            _on_signals(stop),
        ):
            result_set = run_plan(
                result_set,
                executor=WorkerProcess(stop=stop),
                data_directory=prepared.directory,
                usable_cores=usable_core_count(),
                save=functools.partial(store.write, path),
                observer=observer,
                probe=probe,
                stop=stop,
            )
    except UnusableError as error:
        _fail(f"{error}; finished runs are in {path}", Exit.USAGE)
    if stop.requested and remaining(result_set):
        _fail(
            f"interrupted; finished runs are in {path}; go on with: mnist-bench run --resume {path}", Exit.INTERRUPTED
        )
    made = tables([result_set])
    _print_tables(made, output_format)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(render_markdown(made))
        except OSError as error:  # the measurement is worth more than its copy
            err.print(f"no job summary: {error}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    _show_notice(prepared)
    err.print(f"saved in {path}", highlight=False, soft_wrap=True)
    sys.exit(_status(result_set))


@contextlib.contextmanager
def _on_signals(handler: Callable[[int, object], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _status(result_set: ResultSet) -> Exit:
    invalid = [run for run in result_set.runs if accuracy.judge(run, result_set.dataset) is not None]
    return Exit.FAILED if invalid or result_set.failures or remaining(result_set) else Exit.DONE


def _show_plan(plan: Sequence[PlannedRun]) -> None:
    total = 0.0
    processes: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for planned in plan:
        part = f"{planned.recipe.samples:,} images" if planned.recipe.samples else "all images"
        epochs = "1 epoch" if planned.recipe.epochs == 1 else f"{planned.recipe.epochs} epochs"
        line = f"{planned.scenario.name}  ·  {epochs} of {part}"
        processes[line] = processes.get(line, 0) + 1
        seconds[line] = expected_seconds(planned, 60_000, 10_000)
        total += seconds[line]
    for line, count in processes.items():
        out.print(f"{count} x {seconds[line]:6.0f} s  {line}", markup=False, highlight=False, soft_wrap=True)
    out.print(
        f"{len(processes)} scenarios, {len(plan)} runs, about {total / 60:.0f} minutes on a 2-core machine",
        highlight=False,
        soft_wrap=True,
    )


# --- data -------------------------------------------------------------------------------------------------------------


@app.command("data")
def data_command(
    data: Annotated[DatasetName, typer.Option(help="Which images.")] = DatasetName.AUTO,
    data_dir: Annotated[Path | None, typer.Option(help="The folder with the four IDX files, gzip or raw.")] = None,
    make: Annotated[bool, typer.Option("--make", help="Prepare them: find, download or draw.")] = False,
    grid: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE.png", help="Prepare them and draw a grid of digits.")
    ] = None,
) -> None:
    """Show which image files would be used, verified."""
    if not make and grid is None:
        for candidate in datasets.locate(data, data_dir=data_dir):
            out.print(
                f"{candidate.state:<8} {candidate.where}: {candidate.detail}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        return
    prepared = _prepared(data, data_dir)
    dataset = _dataset(prepared)
    out.print(
        f"{dataset.name} from {dataset.source}: {dataset.train_samples:,} training and {dataset.test_samples:,} test "
        f"images, digest {dataset.digest[:12]}, in {prepared.directory}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if grid is not None:
        train, _ = datasets.load(prepared.directory, digest=prepared.digest)
        try:
            picture.save_grid(train, grid)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"--picture {grid}: {error}") from error
        out.print(f"drawn into {grid}", markup=False, highlight=False, soft_wrap=True)


def _prepared(name: DatasetName, data_dir: Path | None) -> datasets.Prepared:
    bars: dict[str, TaskID] = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:

        def report(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what)
            progress.update(bars[what], completed=done, total=total)

        prepared = datasets.obtain(name, data_dir=data_dir, progress=report)
    _show_notice(prepared)
    return prepared


def _show_notice(prepared: datasets.Prepared) -> None:
    """Before the run and after it: whoever reads the numbers must know that they are not MNIST's."""
    if prepared.notice is not None:
        err.print(Panel(prepared.notice, title="NOT MNIST", border_style="bold yellow", style="yellow"))


def _dataset(prepared: datasets.Prepared) -> Dataset:
    return Dataset(
        name=prepared.name.value,
        digest=prepared.digest,
        source=prepared.source,
        train_samples=prepared.train_samples,
        test_samples=prepared.test_samples,
    )


# --- reading results --------------------------------------------------------------------------------------------------


@app.command()
def show(
    files: Annotated[list[Path], typer.Argument(help="Result files.")],
    sort: Annotated[str | None, typer.Option(metavar="COLUMN", help="Sort by a column; -COLUMN: descending.")] = None,
    row: Annotated[str | None, typer.Option(metavar="AXIS", help="Pivot: the axis down the side.")] = None,
    column: Annotated[str | None, typer.Option(metavar="AXIS", help="Pivot: the axis across the top.")] = None,
    value: Annotated[str, typer.Option(metavar="COLUMN", help="Pivot: what the cells hold.")] = DEFAULT_VALUE,
    output_format: Annotated[Format, typer.Option("--format")] = Format.TEXT,
) -> None:
    """Tables of result files: throughput, epoch time, accuracy and the rest."""
    result_sets = [store.read(path) for path in files]
    try:
        made = tables(result_sets, sort=sort, row=row, column=column, value=value)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    _print_tables(made, output_format)


def _print_tables(made: Sequence[Table], output_format: Format) -> None:
    match output_format:
        case Format.TEXT:
            render_text(made, out)
        case Format.MARKDOWN:
            _write(render_markdown(made))
        case Format.CSV:
            _write(render_csv(made))
        case Format.JSON:
            _write(render_json(made))


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Result files.")] = None,
    print_schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of a result file.")] = False,
) -> None:
    """Check result files against the schema and against themselves; names every violation."""
    if print_schema:
        _write(json.dumps(schema(), indent=1) + "\n")
        return
    if not files:
        raise ConfigurationError("check: name at least one result file")
    found = 0
    for path in files:
        try:
            violations = store.violations(path)
        except store.SchemaError:
            raise
        except store.StoreError as error:
            violations = [str(error).removeprefix(f"{path}: ")]
        found += len(violations)
        for violation in violations or ["valid"]:
            out.print(f"{path}: {violation}", markup=False, highlight=False, soft_wrap=True)
    if found:
        raise typer.Exit(Exit.USAGE)


@app.command("environment")
def environment_command() -> None:
    """What a result file would say about this machine, as JSON."""
    try:
        software = WorkerProcess().describe()
    except UnusableError as error:
        err.print(f"no framework: {error}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        software = None
    encoded = msgspec.json.format(msgspec.json.encode(capture(software=software)), indent=1)
    _write(encoded.decode() + "\n")


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
