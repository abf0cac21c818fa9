"""`tune`: which settings of the loop are the fastest on this machine?"""

from __future__ import annotations

import functools
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, NoReturn

import msgspec
import typer

from bench import errors
from bench.cli.app import app, examples
from bench.cli.completion import offer_contexts, offer_networks, offer_settings
from bench.cli.console import (
    add_to_job_summary,
    err,
    fail,
    note,
    out,
    print_tables,
    refuse_junit,
    spinner,
    tolerate_closed_pipe,
    write,
)
from bench.cli.datasets import dataset_of, note_dataset, prepare
from bench.cli.exit_status import Exit
from bench.cli.options import reject_conflicts, seconds
from bench.cli.session import RESULTS_DIRECTORY, on_signals, prepare_same, require_gpus, require_same_machine
from bench.errors import ConfigurationError, SetupError
from bench.experiments.pilot import PilotError
from bench.experiments.tune import eta
from bench.experiments.tune.pool import session_starter
from bench.experiments.tune.results import TuneResult, tune_result
from bench.experiments.tune.rounds import plan, run_rounds
from bench.experiments.tune.search_space import Space, search_space
from bench.machine.capture import capture, usable_core_count
from bench.records import store
from bench.records.base import utc_now
from bench.records.environment import Software
from bench.records.tune import REFERENCE, TUNE_SCHEMA_VERSION, Candidate, TuneFile
from bench.render import units
from bench.render.formats.export import Format, render_markdown
from bench.render.phrases import format_count
from bench.render.progress.tune import TuneProgress
from bench.render.views.tunes import format_setting, paste_text, setting_names, tune_tables
from bench.scenarios.axes import AUTO_CONTEXTS, LOOP_AXES, canonical_contexts
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import Overrides, axis_settings
from bench.worker import process
from bench.worker.process import Cancellation, Interpreter
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.devices import DeviceKind, available
from mnist_core.recipe import Hybridize

BUDGET = "5m"
BATCH_SIZE = 100
#: Blocks train with seed + round, and NumPy takes seeds below 2^32.
MOST_SEED = 2**31 - 1


@app.command(
    epilog=examples(
        "tune --network lenet",
        "tune --network mlp --batch-size 500 --budget 2m",
        "tune --replay results/runs/tune.json",
    )
)
def tune(
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="mlp, lenet, or package.module:factory of your own Gluon network.",
            autocompletion=offer_networks,
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per update; it is not searched.")] = BATCH_SIZE,
    budget: Annotated[
        str | None, typer.Option(help="Time for the whole search, e.g. 90s, 5m or 1h30m.", show_default=BUDGET)
    ] = None,
    contexts: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICES",
            help="Only these: a list of devices, e.g. 'cpu(0)', or auto; repeatable.",
            autocompletion=offer_contexts,
        ),
    ] = None,
    cpu_threads: Annotated[
        list[int] | None, typer.Option(min=1, help="Only these OpenMP threads per CPU context; repeatable.")
    ] = None,
    hybridize: Annotated[list[Hybridize] | None, typer.Option(help="Only these; repeatable.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="AXIS=VALUE,…",
            help=f"Only these of another axis ({', '.join(LOOP_AXES)}); repeatable.",
            autocompletion=offer_settings,
        ),
    ] = None,
    exhaustive: Annotated[
        bool, typer.Option("--exhaustive", help="Measure every setting with the same effort, however long it takes.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=MOST_SEED, help="Orders the measurements, seeds trainings; default: a new one, recorded."
        ),
    ] = None,
    data: Annotated[DatasetName, typer.Option(help="Which images; auto: MNIST if it can be had.")] = DatasetName.AUTO,
    data_dir: Annotated[Path | None, typer.Option(help="The folder with the four IDX files, gzip or raw.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help=f"Tune file; default: a new one in {RESULTS_DIRECTORY}.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Show again what a tune file found; measure nothing.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Go on with an interrupted search, as it was planned.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the settings to choose from.")] = False,
    output_format: Annotated[Format, typer.Option("--format", help="Of what is printed at the end.")] = Format.TEXT,
) -> None:
    """Find the fastest settings of the loop for a network on this machine, and print them as a scenario to paste.

    All that is measured learns the same. Exit 0: found, 3: nothing was shown to be faster than the tutorial's loop, 5:
    nothing works.
    """
    refuse_junit(output_format)
    limits = (network, batch_size, budget, contexts, cpu_threads, hybridize, settings, exhaustive, seed, output)
    chosen = (*limits, data, dry_run)
    untouched = (None, BATCH_SIZE, *[None] * 5, False, None, None, DatasetName.AUTO, False)
    reject_conflicts(
        (
            (replay or resume) and chosen != untouched,
            "--replay and --resume go by what is in their file: leave out the others",
        ),
        (replay and (resume or data_dir), "--replay measures nothing: leave out all but --format"),
        (exhaustive and budget, "--exhaustive takes as long as it takes: leave out --budget or --exhaustive"),
    )
    if replay is not None:
        report(read(replay), output_format)
    if resume is not None:
        read(resume)  # a file that is none must not cost a lock in its folder
        with store.exclusive(resume.parent):
            tune_file, prepared = _resumed(resume, data_dir)
            measure(tune_file, prepared, resume, output_format)
    wishes = Overrides(
        contexts=tuple(contexts or ()),
        cpu_threads=tuple(cpu_threads or ()),
        hybridize=tuple(hybridize or ()),
        settings=axis_settings(settings or ()),
    )
    budget_seconds = None if exhaustive else seconds(budget or BUDGET, "--budget")
    space = space_here(_one_network(network or ()), batch_size, wishes)
    if {*space.scenarios} <= {space.reference}:
        raise ConfigurationError("tune: only the tutorial's loop is left to choose: leave out a restriction")
    if dry_run:
        _show_space(space)
        return
    path = output or RESULTS_DIRECTORY / f"tune-{utc_now().replace(':', '').replace('-', '')}.json"
    with store.exclusive(path.parent):
        if path.exists():
            raise ConfigurationError(f"{path} exists: name another --output, or --resume {path}")
        # The framework first: whoever lacks it should not wait for data.
        software = _software(space.scenarios)
        if contexts and AUTO_CONTEXTS not in contexts:  # auto's have been tried out
            require_gpus(dict.fromkeys(device for each in space.scenarios for device in each.devices))
        prepared = prepare(data, data_dir)
        tune_file = _new_file(
            space,
            prepared,
            software,
            exhaustive=exhaustive,
            budget_seconds=budget_seconds,
            seed=secrets.randbelow(MOST_SEED) if seed is None else seed,
        )
        measure(tune_file, prepared, path, output_format)


def _one_network(named: Sequence[str]) -> str:
    if not named:
        raise ConfigurationError("tune: name the network with --network, e.g. --network lenet")
    if len(named) > 1:
        raise ConfigurationError(f"tune searches for one network at a time: name one of {', '.join(named)}")
    return named[0]


def space_here(network: str, batch_size: int, wishes: Overrides) -> Space:
    """On this machine; its GPUs are only tried out where one of them may be chosen."""
    asks_for_gpus = not wishes.contexts or AUTO_CONTEXTS in wishes.contexts
    gpus = []
    if asks_for_gpus:
        with spinner("trying the devices out"):
            gpus = [str(device) for device in available() if device.kind is DeviceKind.GPU]
    contexts = tuple(",".join(canonical_contexts(text, gpu_contexts=gpus)) for text in wishes.contexts)
    wishes = msgspec.structs.replace(wishes, contexts=contexts)
    return search_space(network, batch_size, cores=usable_core_count(), gpus=gpus, wishes=wishes)


def candidates_of(space: Space) -> tuple[Candidate, ...]:
    """The reference first."""
    cores = usable_core_count()
    scenarios = dict.fromkeys((space.reference, *space.scenarios))
    return tuple(Candidate(scenario=each, omp_num_threads=each.threads_per_context(cores)) for each in scenarios)


def _new_file(
    space: Space,
    prepared: datasets.Prepared,
    software: Software,
    *,
    exhaustive: bool,
    budget_seconds: float | None,
    seed: int,
) -> TuneFile:
    dataset, candidates = dataset_of(prepared), candidates_of(space)
    note("pilot: how fast is the tutorial's loop?")
    try:
        with spinner("pilot"):
            planned = plan(
                candidates,
                reference_may_win=space.reference in space.scenarios,
                exhaustive=exhaustive,
                budget_seconds=budget_seconds,
                start_session=session_starter(Cancellation()),
                data_directory=prepared.directory,
                dataset=dataset,
                seed=seed,
            )
    except PilotError as error:
        fail(f"{error}", Exit.FAILED)
    return TuneFile(created_at=utc_now(), environment=capture(software=software), dataset=dataset, plan=planned)


def read(path: Path) -> TuneFile:
    """Raises `StoreError` for a file that is not a tune file, `SchemaError` for one that is too new."""
    return store.read_versioned(path, TuneFile, store.FileKind.TUNE, TUNE_SCHEMA_VERSION)


def measure(tune_file: TuneFile, prepared: datasets.Prepared, path: Path, output_format: Format) -> NoReturn:
    """Rounds until the search ends or someone asks to stop, each saved as it ends; then show and exit."""
    stop = Cancellation()
    note(f"{format_count(len(tune_file.plan.candidates), 'setting')} to choose from, into {path}")
    _warn_of_a_small_budget(tune_file)
    try:
        with TuneProgress(err, tune_file) as observer, on_signals(stop):
            tune_file = run_rounds(
                tune_file,
                start_session=session_starter(stop),
                data_directory=prepared.directory,
                save=functools.partial(store.write, path),
                observer=observer,
                stop=stop,
            )
    except (SetupError, errors.StoreError) as error:
        fail(f"{error}; finished rounds are in {path}: mnist-bench tune --resume {path} goes on", Exit.USAGE)
    note_dataset(prepared)
    note(f"saved in {path}")
    found = tune_result(tune_file)
    if stop.requested and not found.complete:
        with tolerate_closed_pipe():
            _print(tune_file, found, output_format)
        fail(
            f"interrupted; finished rounds are in {path}; go on with: mnist-bench tune --resume {path}",
            Exit.INTERRUPTED,
        )
    report(tune_file, output_format)


def report(tune_file: TuneFile, output_format: Format) -> NoReturn:
    """Print what was found and exit with its status; a pure function of the file, but for the printing."""
    found = tune_result(tune_file)
    with tolerate_closed_pipe():
        _print(tune_file, found, output_format)
    add_to_job_summary(_markdown(tune_file, found))
    sys.exit(status(tune_file, found))


def status(tune_file: TuneFile, found: TuneResult) -> Exit:
    """FAILED where nothing works; INCONCLUSIVE where nothing was shown to be faster, or as good, as the tutorial's."""
    reference = tune_file.plan.candidates[REFERENCE].scenario
    broken = {ruled.candidate for each in tune_file.rounds for ruled in each.ruled} >= {REFERENCE}
    others = len(tune_file.plan.candidates) - 1
    if found.winner is None or broken or 0 < others == len(found.unfit):
        return Exit.FAILED
    shown = found.complete and (found.wins or found.winner == reference)
    return Exit.DONE if shown else Exit.INCONCLUSIVE


# --- details ----------------------------------------------------------------------------------------------------------


def _resumed(path: Path, data_dir: Path | None) -> tuple[TuneFile, datasets.Prepared]:
    """The file as it is under the lock, if its rest can be measured here."""
    tune_file = read(path)
    here = capture(software=_software([candidate.scenario for candidate in tune_file.plan.candidates]))
    facts = ("software", "mnist_bench_version", "git_commit", "usable_core_count")
    require_same_machine(path, tune_file.environment, here, facts)
    return tune_file, prepare_same(path, tune_file.dataset, data_dir)


def _software(scenarios: Sequence[Scenario]) -> Software:
    with spinner("asking the framework what it is"):
        return process.describe(Interpreter(), Cancellation(), scenarios=scenarios)


def _warn_of_a_small_budget(tune_file: TuneFile) -> None:
    """Before the first round; a budget keeps no search from having one, and a final."""
    budget_seconds, least_seconds = tune_file.plan.budget_seconds, eta.least_seconds(tune_file.plan)
    if budget_seconds is not None and budget_seconds < least_seconds and not tune_file.rounds:
        note(
            f"a budget of {units.roughly(budget_seconds)} is less than one round and the final need, "
            f"about {units.roughly(least_seconds)}: it will take that long",
            style="yellow",
        )


def _show_space(space: Space) -> None:
    out.print(setting_names(space.reference), markup=False, highlight=False, soft_wrap=True)
    for scenario in space.scenarios:
        out.print(format_setting(scenario), markup=False, highlight=False, soft_wrap=True)
    out.print(format_count(len(space.scenarios), "setting"), highlight=False, soft_wrap=True)


def _print(tune_file: TuneFile, found: TuneResult, output_format: Format) -> None:
    match output_format:
        case Format.MARKDOWN:
            write(_markdown(tune_file, found))
        case Format.TEXT:
            print_tables(tune_tables(tune_file, found), output_format)
            if found.winner is not None:
                suite, command = paste_text(tune_file, found.winner)
                write(f"{_TO_PASTE}\n\n{suite}\nor as a command:\n\n{command}\n")
        case _:
            print_tables(tune_tables(tune_file, found, most_rows=None), output_format)


_TO_PASTE: Final = "To paste, as a file fast.toml for `mnist-bench run --suite fast.toml`:"


def _markdown(tune_file: TuneFile, found: TuneResult) -> str:
    text = render_markdown(tune_tables(tune_file, found))
    if found.winner is None:
        return text
    suite, command = paste_text(tune_file, found.winner)
    return f"{text}\n{_TO_PASTE}\n\n```toml\n{suite}```\n\nor as a command:\n\n```sh\n{command}\n```\n"
