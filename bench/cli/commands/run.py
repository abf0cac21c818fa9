"""`run`: measure a suite."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import msgspec
import typer

from bench import ranges
from bench.analysis import accuracy
from bench.analysis.prices import Price
from bench.analysis.summary import summarize
from bench.cli import options
from bench.cli.app import app, examples
from bench.cli.completion import offer_suites
from bench.cli.console import err, fail, note, print_results, reject_junit, spinner, verbosity, warn
from bench.cli.datasets import dataset_of, prepare
from bench.cli.exit_status import Exit
from bench.cli.measuring.hosts import (
    Site,
    check_given,
    check_plan,
    ending_with_a_host,
    look_again,
    look_for,
    probe_first,
)
from bench.cli.measuring.joining import JOIN_OPTIONS, join_of, machines
from bench.cli.measuring.plans import (
    estimate_of,
    note_plan,
    note_reached,
    plan_of,
    reject_without_effect,
    show_plan,
)
from bench.cli.measuring.precision import computable
from bench.cli.measuring.session import (
    ResumeHint,
    measuring,
    new_file,
    note_dry_run,
    note_saved,
    prepare_rest,
    resumed_file,
)
from bench.experiments import idle
from bench.experiments.run import policy
from bench.experiments.run.ceilings import CeilingRounds, requests_of_plan, usable
from bench.experiments.run.eta import CEILING_SECONDS, CURVE_SECONDS
from bench.experiments.run.exchanges import ExchangeRounds, engines_of_plan
from bench.experiments.run.executor import SubprocessExecutor
from bench.experiments.run.plan import describe_frameworks
from bench.experiments.run.predictions import check_queries
from bench.experiments.run.runner import remaining, run_plan
from bench.machine.capture import capture, usable_core_count
from bench.records import store
from bench.records.base import utc_now
from bench.records.environment import Environment
from bench.records.result import ResultSet
from bench.render import units
from bench.render.formats.export import Format
from bench.render.phrases import format_count
from bench.render.progress.run import RunProgress
from bench.render.views.results import result_tables
from bench.scenarios.axes import is_custom
from bench.scenarios.suite import BUILT_IN_SUITES, DEFAULT_SUITE, PlannedRun
from bench.worker.interpreters import interpreters_of
from mnist_core import datasets
from mnist_core.datasets import DatasetName

MeasuredT = TypeVar("MeasuredT")


@app.command(
    epilog=examples(
        "run --suite smoke",
        "run --network mlp --batch-size 100 --batch-size 500 --repeats 5",
        'run --contexts "gpu(0)" --contexts "cpu(0)"',
        "run --hosts hosts.toml --ranks 1 --ranks 2",
        "run --join slurm --ranks 1 --ranks 2",
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
    ranks: options.Ranks = None,
    exchange: options.Exchange = None,
    settings: options.Settings = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, max=ranges.MOST_EPOCHS, help="Epochs per run.", rich_help_panel=options.MEASURED),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=ranges.MOST_IMAGES,
            help="Only the first so many training images.",
            rich_help_panel=options.MEASURED,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1, max=ranges.MOST_REPEATS, help="Fresh processes per scenario.", rich_help_panel=options.MEASURED
        ),
    ] = None,
    timeout: Annotated[float | None, options.timeout("Seconds a run may take.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Of scenarios that take turns: more blocks, until speed-ups are known to e.g. 3%.",
            rich_help_panel=options.MEASURED,
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Begin no block of turns that would end later, e.g. 90s, 8m or 1h30m.",
            rich_help_panel=options.MEASURED,
        ),
    ] = None,
    seed: options.RecipeSeed = options.DEFAULT_SEED,
    data: options.Data = DatasetName.AUTO,
    data_dir: options.DataDir = None,
    python: options.Python = None,
    hosts: options.Hosts = None,
    join: options.Join = None,
    join_address: options.JoinAddress = None,
    join_port: options.JoinPort = options.DEFAULT_JOIN_PORT,
    join_ranks: options.JoinRanks = None,
    join_timeout: options.JoinTimeout = options.DEFAULT_JOIN_SECONDS,
    ceilings: Annotated[
        bool | None,
        typer.Option(
            "--ceilings/--no-ceilings",
            help="Before, between and after the rounds: what each framework's matrix product reaches here. Ranks have "
            "the seconds of their exchanges measured in any case, unless --no-ceilings.",
            show_default=False,
            rich_help_panel=options.MEASURED,
        ),
    ] = None,
    predict: Annotated[
        bool,
        typer.Option(
            "--predict",
            help="Then also predict with what was trained: the test images one by one, and in batches.",
            rich_help_panel=options.MEASURED,
        ),
    ] = False,
    output: options.Output = None,
    resume: options.Resume = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the scenarios and the expected time.")] = False,
    price_per_hour: options.PricePerHour = None,
    currency: options.Currency = "",
    output_format: options.Format = Format.TEXT,
) -> None:
    """Measure a suite: each scenario in fresh processes, saved after each, then shown as tables.

    Axis options narrow the suite where it has the value, and replace the axis where it has not; each may be repeated.
    """
    reject_junit(output_format)
    may_change = (
        "budget",
        "ceilings",
        "data_dir",
        "python",
        "hosts",
        "join",
        *JOIN_OPTIONS,
        "price_per_hour",
        "currency",
        "dry_run",
        "output_format",
    )
    options.reject_others(context, "resume", "goes on as its file planned", *may_change)
    overrides = options.overrides_of(
        framework=framework,
        network=network,
        loop=loop,
        contexts=contexts,
        batch_size=batch_size,
        hybridize=hybridize,
        cpu_threads=cpu_threads,
        ranks=ranks,
        exchange=exchange,
        settings=settings,
        repeats=repeats,
        epochs=epochs,
        samples=samples,
        timeout_seconds=timeout,
        predict=predict,
    )
    half_width = None if precision is None else options.half_width(precision, "--precision")
    (price,) = options.prices(price_per_hour, currency, 1)
    budget_seconds = math.inf if budget is None else options.seconds(budget, "--budget")
    interpreters = interpreters_of(python or (), os.environ)
    job = join_of(context, hosts, join, join_address, join_port, join_ranks, join_timeout)
    with machines(hosts, job, interpreters, data_dir) as listed:
        executor, site = SubprocessExecutor(interpreters), Site(interpreters)
        if resume is not None:
            begun = store.read(resume, ResultSet)
            check_given(resume, begun, listed)
            suite, half_width, plan = begun.suite, begun.precision, remaining(begun)
            may_take_turns = begun.plan
        else:
            probe = probe_first(listed, interpreters) if listed else executor.probe
            plan = plan_of(suite, overrides, keyword, seed, probe, interpreters, machines=len(listed))
            may_take_turns = plan = computable(plan, overrides, is_here=not listed)
        if listed:
            check_plan(may_take_turns, listed)
        reject_without_effect(may_take_turns, turns=bool(precision or budget), predict=predict)
        if dry_run:
            custom = [planned for planned in plan if is_custom(planned.scenario.network)]
            if custom and not listed:
                with spinner("trying your network out"):
                    describe_frameworks(executor, custom)
            show_plan(plan, _suite_name(suite), half_width, budget_seconds)
            note_dry_run(context)
            return
        if resume is not None:
            with resumed_file(resume, ResultSet) as result_set:
                ceilings = bool(result_set.ceilings) or None if ceilings is None else ceilings
                if listed:
                    prepared, site = look_again(
                        resume, result_set, listed, interpreters, data_dir, output_format, _capture
                    )
                else:
                    prepared = prepare_rest(resume, result_set, _capture(result_set.plan, site), data_dir)
                _measure(result_set, prepared, resume, output_format, site, budget_seconds, price, ceilings=ceilings)
        if listed:
            prepared = prepare(data, data_dir)
            site = look_for(listed, interpreters, plan, prepared, output_format)
        environment = _capture(plan, site)  # first, if it can be: it fails at once where a framework is missing
        if not listed:
            prepared = prepare(data, data_dir)
            environment = _with_idle_watts(environment)
        result_set = ResultSet(
            suite=_suite_name(suite),
            created_at=utc_now(),
            seed=seed,
            environment=environment,
            dataset=dataset_of(prepared),
            hosts=site.records,
            plan=plan,
            precision=half_width,
        )
        with new_file(output, Path(suite).stem) as path:
            _measure(result_set, prepared, path, output_format, site, budget_seconds, price, ceilings=ceilings)


def _capture(plan: Sequence[PlannedRun], site: Site) -> Environment:
    """Return the facts about the first machine, and the frameworks of the plan there.

    Raises `SetupError` where one is missing.
    """
    with spinner("asking the frameworks what they are"):
        software, *peers = describe_frameworks(SubprocessExecutor(site.interpreters, machines=site.machines), plan)
    here = site.records[0].environment if site.records else capture()
    return msgspec.structs.replace(here, software=software, peers=tuple(peers))


def _with_idle_watts(environment: Environment) -> Environment:
    """Return the facts with what the idle machine draws, which takes ten seconds where it can count that."""
    energy = environment.energy
    if energy is None or not energy.sources:
        return environment
    with spinner(f"counting what this machine draws while idle, {idle.SECONDS:g} s"):
        return msgspec.structs.replace(environment, energy=idle.measure_idle(energy))


def _measure(
    result_set: ResultSet,
    prepared: datasets.Prepared,
    path: Path,
    output_format: Format,
    site: Site,
    budget_seconds: float,
    price: Price | None,
    *,
    ceilings: bool | None,
) -> NoReturn:
    """Make the remaining runs of the plan, save after each, show the tables and exit."""
    check_queries(result_set.plan, result_set.dataset)
    estimate = estimate_of(result_set.suite, result_set.dataset.train_samples, result_set.dataset.test_samples)
    note_plan(result_set, path, estimate, budget_seconds, ceilings=bool(ceilings))
    hint = ResumeHint("runs", path, f"mnist-bench run --resume {path}")
    is_tutorial = result_set.suite == "tutorial"
    with (
        ending_with_a_host(site, hint),
        measuring(hint) as stop,
        RunProgress(
            err,
            remaining(result_set),
            estimate.seconds,
            budget_seconds=budget_seconds,
            tutorial_lines=is_tutorial,
            verbose=verbosity.verbose,
            named=site.named,
        ) as observer,
    ):
        executor = SubprocessExecutor(site.interpreters, stop, site.machines, lambda words: warn(site.named(words)))
        probe_once = functools.cache(executor.probe)
        requests = requests_of_plan(result_set.plan, result_set.environment) if ceilings else ()
        rounds = CeilingRounds(usable(requests, probe_once), executor, warn)
        measure_curve = functools.partial(
            executor.measure_curve,
            data_directory=prepared.directory,
            dataset=result_set.dataset,
            usable_cores=usable_core_count(),
        )
        engines = () if ceilings is False else engines_of_plan(result_set.plan)
        curves = ExchangeRounds(engines, measure_curve, warn)
        result_set = run_plan(
            result_set,
            executor=executor,
            data_directory=prepared.directory,
            usable_cores=usable_core_count(),
            save=functools.partial(store.write, path),
            observer=observer,
            probe=probe_once,
            stop=stop,
            ceilings=(lambda: _announced(rounds, len(rounds), "ceiling", CEILING_SECONDS)) if rounds else None,
            curves=(lambda: _announced(curves, len(curves), "exchange curve", CURVE_SECONDS)) if curves else None,
            budget_seconds=budget_seconds,
        )
    is_unfinished = bool(remaining(result_set) or policy.wanted_blocks(result_set))
    if stop.requested and is_unfinished:
        fail(f"interrupted; {hint}", Exit.INTERRUPTED)
    print_results(result_tables([summarize(result_set, price)]), output_format)
    if result_set.precision is not None or math.isfinite(budget_seconds):
        note_reached(result_set, path, is_unfinished=is_unfinished)
    note_saved(prepared, path)
    if result_set.failures:
        failed = f"{len(result_set.failures):,} of {format_count(len(result_set.plan), 'run')} failed"
        note(f"{failed}: see the notes below the tables", style="red")
    sys.exit(_status(result_set))


def _suite_name(suite: str) -> str:
    """Return how a result file calls a suite."""
    return suite if suite in BUILT_IN_SUITES else Path(suite).name


def _announced(rounds: Callable[[], Iterator[MeasuredT]], count: int, what: str, seconds: float) -> Iterator[MeasuredT]:
    """Measure a round of what is measured beside the runs, after a note why no run begins meanwhile."""
    if count:
        note(f"measuring {format_count(count, what)}, about {units.roughly(count * seconds)}")
    return rounds()


def _status(result_set: ResultSet) -> Exit:
    """Return FAILED unless every planned run learnt what it should, and every exchange gave the right sum."""
    invalid = [run for run in result_set.runs if accuracy.judge(run, result_set.dataset) is not None]
    wrong = [curve for curve in result_set.exchanges if curve.failure is not None]
    return Exit.FAILED if invalid or wrong or result_set.failures or remaining(result_set) else Exit.DONE
