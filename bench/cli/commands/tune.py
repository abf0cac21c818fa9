"""`tune`: which settings of the loop are the fastest on this machine?"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from bench import ranges
from bench.cli import options
from bench.cli.app import app, examples
from bench.cli.console import (
    add_to_job_summary,
    err,
    fail,
    note,
    out,
    print_tables,
    reject_junit,
    spinner,
    tolerate_closed_pipe,
    warn,
    write,
    write_file,
)
from bench.cli.datasets import dataset_of, prepare
from bench.cli.exit_status import Exit
from bench.cli.measuring.precision import require_computable
from bench.cli.measuring.session import (
    ResumeHint,
    measuring,
    new_file,
    note_dry_run,
    note_saved,
    prepare_rest,
    require_gpus,
    resumed_file,
    software_of,
    trying,
)
from bench.errors import ConfigurationError
from bench.experiments.tune import eta
from bench.experiments.tune.pool import session_starter
from bench.experiments.tune.results import TuneResult, tune_result
from bench.experiments.tune.rounds import run_rounds
from bench.experiments.tune.search_space import Space
from bench.experiments.tune.setup import new_tune_file, space_here
from bench.machine.capture import capture
from bench.records import store
from bench.records.tune import REFERENCE, TuneFile
from bench.render import units
from bench.render.formats.export import Format, render_markdown
from bench.render.phrases import format_count
from bench.render.progress.tune import TuneProgress
from bench.render.views.tunes import describe_space, format_setting, paste_text, setting_names, tune_tables
from bench.scenarios.axes import AUTO_CONTEXTS
from mnist_core import datasets
from mnist_core.datasets import DatasetName


@app.command(
    epilog=examples(
        "tune --network lenet",
        "tune --network mlp --batch-size 500 --budget 2m",
        "tune --replay results/runs/tune.json --write-suite fast.toml",
    )
)
def tune(
    context: typer.Context,
    network: options.Network = None,
    batch_size: Annotated[
        int,
        typer.Option(
            min=1,
            max=ranges.MOST_IMAGES,
            help="Images per update; it is not searched.",
            rich_help_panel=options.TRAINED,
        ),
    ] = 100,
    budget: options.Budget = "5m",
    contexts: options.Contexts = None,
    cpu_threads: options.CpuThreads = None,
    hybridize: options.Hybridize = None,
    settings: options.Settings = None,
    exhaustive: Annotated[
        bool,
        typer.Option(
            "--exhaustive",
            help="Measure every setting with the same effort, however long it takes.",
            rich_help_panel=options.MEASURED,
        ),
    ] = False,
    seed: options.Seed = None,
    data: options.Data = DatasetName.AUTO,
    data_dir: options.DataDir = None,
    output: options.Output = None,
    replay: options.Replay = None,
    resume: options.Resume = None,
    write_suite: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the winner into a suite file, for `mnist-bench run --suite FILE`."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the settings to choose from.")] = False,
    output_format: options.Format = Format.TEXT,
) -> None:
    """Find the fastest settings of the loop for a network on this machine, and print them as a scenario to paste.

    The options from --contexts to --set restrict the search to their values; each may be repeated.

    All settings learn the same. Exit 0: found, 3: none was shown to be faster than the tutorial's loop, 5: none works.
    """
    reject_junit(output_format)
    options.reject_others(context, "replay", "measures nothing", "write_suite", "output_format")
    options.reject_others(context, "resume", "goes on as its file planned", "data_dir", "write_suite", "output_format")
    if write_suite is not None and (write_suite.exists() or not write_suite.parent.is_dir()):
        why = "exists: name another file" if write_suite.exists() else "no such folder"
        raise ConfigurationError(f"--write-suite {write_suite}: {why}")
    if exhaustive and options.is_given(context, "budget"):
        raise ConfigurationError("--exhaustive takes as long as it takes: leave out --budget or --exhaustive")
    if replay is not None:
        report(store.read(replay, TuneFile), output_format, write_suite)
    if resume is not None:
        with resumed_file(resume, TuneFile) as tune_file:
            software = software_of([candidate.scenario for candidate in tune_file.plan.candidates])
            prepared = prepare_rest(resume, tune_file, capture(software=software), data_dir)
            _measure(tune_file, prepared, resume, output_format, write_suite)
    restrictions = options.overrides_of(
        contexts=contexts, cpu_threads=cpu_threads, hybridize=hybridize, settings=settings
    )
    budget_seconds = None if exhaustive else options.seconds(budget, "--budget")
    with spinner("trying the devices out"):
        space = space_here(_one_network(network or ()), batch_size, restrictions)
    require_computable(space.scenarios)
    if dry_run:
        _show_space(space, budget_seconds)
        note_dry_run(context)
        return
    with new_file(output, "tune") as path:
        software = software_of(space.scenarios)  # first: it fails at once where MXNet is missing
        if contexts and AUTO_CONTEXTS not in contexts:  # auto's have been tried out
            require_gpus(dict.fromkeys(device for scenario in space.scenarios for device in scenario.devices))
        prepared = prepare(data, data_dir)
        note("pilot: how fast is the tutorial's loop?")
        with trying("pilot"):
            tune_file = new_tune_file(
                space,
                software,
                prepared.directory,
                dataset_of(prepared),
                exhaustive=exhaustive,
                budget_seconds=budget_seconds,
                seed=options.seed_or_random(seed),
            )
        _measure(tune_file, prepared, path, output_format, write_suite)


def _one_network(named: Sequence[str]) -> str:
    if not named:
        raise ConfigurationError("tune: name the network with --network, e.g. --network lenet")
    if len(named) > 1:
        raise ConfigurationError(f"tune searches for one network at a time: name one of {', '.join(named)}")
    return named[0]


def _measure(
    tune_file: TuneFile, prepared: datasets.Prepared, path: Path, output_format: Format, write_suite: Path | None
) -> NoReturn:
    """Measure round after round, save each, show the result and exit."""
    note(f"{format_count(len(tune_file.plan.candidates), 'setting')} to choose from, into {path}")
    _warn_of_a_small_budget(tune_file)
    hint = ResumeHint("rounds", path, f"mnist-bench tune --resume {path}")
    with measuring(hint) as stop, TuneProgress(err, tune_file) as observer:
        tune_file = run_rounds(
            tune_file,
            start_session=session_starter(stop),
            data_directory=prepared.directory,
            save=functools.partial(store.write, path),
            observer=observer,
            stop=stop,
        )
    note_saved(prepared, path)
    result = tune_result(tune_file)
    if stop.requested and not result.complete:
        with tolerate_closed_pipe():
            _print(tune_file, result, output_format)
        fail(f"interrupted; {hint}", Exit.INTERRUPTED)
    report(tune_file, output_format, write_suite)


def report(tune_file: TuneFile, output_format: Format, write_suite: Path | None = None) -> NoReturn:
    """Print what was found, write the winner where asked, and exit with its status: the same for the same file."""
    result = tune_result(tune_file)
    with tolerate_closed_pipe():
        _print(tune_file, result, output_format)
    add_to_job_summary(_markdown(tune_file, result))
    if write_suite is not None and result.winner is not None:
        suite, _command = paste_text(tune_file, result.winner)
        write_file(write_suite, suite)
        note(f"the winner is in {write_suite}: mnist-bench run --suite {write_suite} measures it")
    sys.exit(status(tune_file, result))


def status(tune_file: TuneFile, result: TuneResult) -> Exit:
    """Return FAILED where nothing works, DONE where a setting was shown to be faster, or the tutorial's the fastest."""
    reference = tune_file.plan.candidates[REFERENCE].scenario
    is_broken = any(ruled.candidate == REFERENCE for measured in tune_file.rounds for ruled in measured.ruled)
    others = len(tune_file.plan.candidates) - 1
    if result.winner is None or is_broken or 0 < others == len(result.unfit):
        return Exit.FAILED
    is_shown = result.complete and (result.wins or result.winner == reference)
    return Exit.DONE if is_shown else Exit.INCONCLUSIVE


def _warn_of_a_small_budget(tune_file: TuneFile) -> None:
    """Say before the first round that every search has one, and a final, whatever its budget is."""
    budget_seconds, least_seconds = tune_file.plan.budget_seconds, eta.least_seconds(tune_file.plan)
    if budget_seconds is not None and budget_seconds < least_seconds and not tune_file.rounds:
        warn(
            f"a budget of {units.roughly(budget_seconds)} is less than one round and the final need, "
            f"about {units.roughly(least_seconds)}: it will take that long"
        )


def _show_space(space: Space, budget_seconds: float | None) -> None:
    """List every setting, and sum up below, where it is in sight."""
    lines = [setting_names(space.reference), *map(format_setting, space.scenarios)]
    for line in (*lines, format_count(len(space.scenarios), "setting")):
        out.print(line, markup=False, highlight=False, soft_wrap=True)
    time = "every one of them takes as long as it takes"
    if budget_seconds is not None:
        time = f"about {units.roughly(budget_seconds)}, the budget, for a part of them"
    for line in (*describe_space(space.scenarios), time):
        note(line)


_TO_PASTE: Final = "To paste, as a file fast.toml for `mnist-bench run --suite fast.toml`:"


def _print(tune_file: TuneFile, result: TuneResult, output_format: Format) -> None:
    match output_format:
        case Format.MARKDOWN:
            write(_markdown(tune_file, result))
        case Format.TEXT:
            print_tables(tune_tables(tune_file, result), output_format)
            if result.winner is not None:
                suite, command = paste_text(tune_file, result.winner)
                write(f"{_TO_PASTE}\n\n{suite}\nor as a command:\n\n{command}\n")
        case _:
            print_tables(tune_tables(tune_file, result, most_rows=None), output_format)


def _markdown(tune_file: TuneFile, result: TuneResult) -> str:
    text = render_markdown(tune_tables(tune_file, result))
    if result.winner is None:
        return text
    suite, command = paste_text(tune_file, result.winner)
    return f"{text}\n{_TO_PASTE}\n\n```toml\n{suite}```\n\nor as a command:\n\n```sh\n{command}\n```\n"
