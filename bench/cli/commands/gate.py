"""`gate`: is this working tree slower than that commit? Both are measured here, in turns."""

from __future__ import annotations

import functools
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from bench import errors
from bench.cli.app import app, examples
from bench.cli.console import add_to_job_summary, err, fail, note, print_tables, spinner, tolerate_closed_pipe, write
from bench.cli.datasets import dataset_of, note_dataset, prepare
from bench.cli.exit_status import EXIT_OF_VERDICT, Exit
from bench.cli.options import (
    MOST_SEED,
    BudgetOption,
    DataDirOption,
    DataOption,
    FormatOption,
    KeywordOption,
    SeedOption,
    SuiteOption,
    ratio,
    reject_conflicts,
    seconds,
)
from bench.cli.session import RESULTS_DIRECTORY, on_signals, plan_here, prepare_same, require_same_machine
from bench.errors import ConfigurationError, IncomparableError, SetupError
from bench.experiments.gate import calibration_files, source
from bench.experiments.gate.blocks import MAX_BLOCKS, plan, run_blocks, session_starters, window_sizes
from bench.experiments.gate.decision import Conclusion, conclude
from bench.experiments.gate.evidence import evidence_of
from bench.experiments.gate.source import WORKING_TREE, SourceTree
from bench.experiments.pilot import PilotError
from bench.machine.capture import capture, usable_core_count
from bench.records import store
from bench.records.base import utc_now
from bench.records.environment import Software
from bench.records.gate import GateFile, Purpose, SideDescription
from bench.render.formats.export import Format, render_markdown
from bench.render.formats.junit import render_junit
from bench.render.model.cases import CaseOutcome, JUnitCase
from bench.render.phrases import format_count
from bench.render.progress.gate import GateProgress
from bench.render.views.gates import gate_cases, gate_table
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import Overrides
from bench.stats.paired import Side
from bench.worker import process
from bench.worker.process import Cancellation, Interpreter
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.recipe import Recipe

GATE_SUITE = "gate"

BUDGET, MARGIN, TOLERANCE, ALPHA = "10m", "2%", "10%", "5%"

#: What a file must share with the machine and software that go on with it; the measured code is checked by its digest.
_LASTING_FACTS = ("software", "mnist_bench_version", "usable_core_count")


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """What a gate is asked to decide, and by which limits."""

    suite: str = GATE_SUITE
    keyword: str | None = None
    #: None: a new one. The test is exact because a coin decides each block's turns, so it must be tossed each time.
    seed: int | None = None
    margin: float = 0.02
    tolerance: float = 0.10
    alpha: float = 0.05
    purpose: Purpose = Purpose.GATE
    max_blocks: int = MAX_BLOCKS

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ConfigurationError("--alpha: a probability between 0 and 1, e.g. 5%")
        if self.tolerance < self.margin:
            raise ConfigurationError("--tolerance: not below --margin: what is within the margin has not regressed")


@app.command(
    epilog=examples(
        "gate --base origin/main", "gate --base v1.0 --budget 20m --strict", "gate --replay results/runs/gate.json"
    )
)
def gate(
    base: Annotated[
        str | None, typer.Option(metavar="REF|DIR", help="The baseline: a git reference or a folder with mnist_core.")
    ] = None,
    base_python: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The baseline's Python: another MXNet or NumPy build.")
    ] = None,
    suite: SuiteOption = GATE_SUITE,
    keyword: KeywordOption = None,
    budget: BudgetOption = BUDGET,
    margin: Annotated[str, typer.Option(help="Slower by less is no regression.")] = MARGIN,
    tolerance: Annotated[
        str | None, typer.Option(help="Surely slower by less is unchanged.", show_default=TOLERANCE)
    ] = None,
    alpha: Annotated[str, typer.Option(help="Error that all scenarios and looks share.")] = ALPHA,
    seed: SeedOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Unchanged only where surely within the margin: --tolerance = --margin.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Measure also where both sides are identical.")] = False,
    data: DataOption = DatasetName.AUTO,
    data_dir: DataDirOption = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help=f"Gate file; default: a new one in {RESULTS_DIRECTORY}.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Decide again from a gate file; measure nothing.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Go on with an interrupted gate, by the limits in its file.")
    ] = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Measure a baseline and this working tree in turns, and decide: exit 0 passed, 1 regressed, 3 undecided, 5 failed.

    The harness is the same on both sides; what differs is the package mnist_core and, if asked, the Python.
    """
    limits = (suite, keyword, margin, tolerance, alpha, seed, strict, force, data, output)
    defaults = (GATE_SUITE, None, MARGIN, None, ALPHA, None, False, False, DatasetName.AUTO, None)
    sources_given = (base, base_python, budget, data_dir) != (None, None, BUDGET, None)
    reject_conflicts(
        (
            (replay or resume) and limits != defaults,
            "--replay and --resume decide by the limits in their file: leave out the others",
        ),
        (replay and (resume or sources_given), "--replay measures nothing: leave out all but --format"),
        (strict and tolerance, "--strict makes the tolerance the margin: leave out --tolerance or --strict"),
    )
    if replay is not None:
        report(_of_a_gate(replay), output_format)
    budget_seconds = seconds(budget, "--budget")
    if resume is not None:
        _of_a_gate(resume)  # a file that is none must not cost a lock in its folder
        with store.exclusive(resume.parent), source.scratch_folder() as scratch:
            gate_file, interpreters, prepared = _resumed(resume, base, base_python, data_dir, scratch)
            measure(gate_file, interpreters, prepared, resume, budget_seconds, output_format)
    if base is None:
        raise ConfigurationError("gate: name the baseline with --base, e.g. --base origin/main")
    wishes = GateRequest(
        suite=suite,
        keyword=keyword,
        seed=seed,
        margin=ratio(margin, "--margin"),
        tolerance=ratio(margin if strict else tolerance or TOLERANCE, "--tolerance"),
        alpha=ratio(alpha, "--alpha"),
    )
    clone = _clone_here()
    path = output or RESULTS_DIRECTORY / f"gate-{utc_now().replace(':', '').replace('-', '')}.json"
    with store.exclusive(path.parent), source.scratch_folder() as scratch:
        if path.exists():
            raise ConfigurationError(f"{path} exists: name another --output, or --resume {path}")
        sources = {
            Side.BASELINE: source.check_out(base, Side.BASELINE, scratch, source=clone),
            Side.CONTENDER: source.check_out(WORKING_TREE, Side.CONTENDER, scratch, source=clone),
        }
        interpreters = interpreters_of(sources, base_python)
        if are_identical(sources, interpreters) and not force:
            _report_identical(base, clone, sources[Side.BASELINE].tree_digest, output_format)
        prepared = prepare(data, data_dir)
        gate_file = new_gate_file(wishes, sources, interpreters, prepared, base_python)
        measure(gate_file, interpreters, prepared, path, budget_seconds, output_format)


def _clone_here() -> Path:
    clone = source.clone_of(Path.cwd())
    if not Path.cwd().is_relative_to(clone):
        note(f"not in a clone: the working tree is {clone}", style="yellow")
    return clone


def interpreters_of(sources: Mapping[Side, SourceTree], base_python: Path | None) -> dict[Side, Interpreter]:
    if base_python is not None and not base_python.is_file():
        raise ConfigurationError(f"--base-python {base_python}: no such file; name a Python, e.g. old/bin/python")
    pythons = {Side.BASELINE: str(base_python or sys.executable), Side.CONTENDER: sys.executable}
    return {side: Interpreter(pythons[side], sources[side].folder) for side in Side}


def are_identical(sources: Mapping[Side, SourceTree], interpreters: Mapping[Side, Interpreter]) -> bool:
    return len({sources[side].tree_digest for side in Side}) == len({interpreters[side].python for side in Side}) == 1


def new_gate_file(
    wishes: GateRequest,
    sources: Mapping[Side, SourceTree],
    interpreters: Mapping[Side, Interpreter],
    prepared: datasets.Prepared,
    base_python: Path | None = None,
) -> GateFile:
    """The file before its first block: both sides were asked what they are and tried out."""
    scenarios = scenarios_of(wishes.suite, wishes.keyword)
    seed = secrets.randbelow(MOST_SEED) if wishes.seed is None else wishes.seed
    stop = Cancellation()
    software = {side: _software(side, interpreters[side], stop) for side in Side}
    environment, dataset = capture(software=software[Side.CONTENDER]), dataset_of(prepared)
    calibration = calibration_files.calibration_for(environment)
    note("pilot: do both sides work, and how long must a window be?")
    try:
        with spinner("pilot"):
            windows = window_sizes(
                scenarios,
                sessions=session_starters(interpreters, stop, len(scenarios)),
                data_directory=prepared.directory,
                dataset=dataset,
                seed=seed,
            )
    except PilotError as error:
        fail(f"{error}", Exit.FAILED)
    return GateFile(
        created_at=utc_now(),
        environment=environment,
        dataset=dataset,
        baseline=_description(sources[Side.BASELINE], software[Side.BASELINE], base_python),
        contender=_description(sources[Side.CONTENDER], software[Side.CONTENDER]),
        plan=plan(
            scenarios,
            windows,
            {each: None if calibration is None else calibration.noise_floor(each) for each, _threads in scenarios},
            purpose=wishes.purpose,
            suite=wishes.suite,
            seed=seed,
            margin=wishes.margin,
            tolerance=wishes.tolerance,
            alpha=wishes.alpha,
            max_blocks=wishes.max_blocks,
        ),
    )


def run(
    gate_file: GateFile,
    interpreters: Mapping[Side, Interpreter],
    prepared: datasets.Prepared,
    path: Path,
    budget_seconds: float,
) -> tuple[GateFile, Cancellation]:
    """Blocks until it is decided, the budget ends, or someone asks to stop; each is saved as it ends."""
    stop = Cancellation()
    note(f"blocks of four passes each, into {path}")
    try:
        with GateProgress(err, budget_seconds, gate_file.blocks) as observer, on_signals(stop):
            gate_file = run_blocks(
                gate_file,
                sessions=session_starters(interpreters, stop, len(gate_file.plan.scenarios)),
                data_directory=prepared.directory,
                budget_seconds=budget_seconds,
                save=functools.partial(store.write, path),
                observer=observer,
                stop=stop,
            )
    except (SetupError, errors.StoreError) as error:
        fail(f"{error}; finished blocks are in {path}", Exit.USAGE)
    return gate_file, stop


def conclusion_of(gate_file: GateFile) -> Conclusion:
    return conclude(gate_file.plan, evidence_of(gate_file.plan, gate_file.blocks))


def measure(
    gate_file: GateFile,
    interpreters: Mapping[Side, Interpreter],
    prepared: datasets.Prepared,
    path: Path,
    budget_seconds: float,
    output_format: Format,
) -> NoReturn:
    gate_file, stop = run(gate_file, interpreters, prepared, path, budget_seconds)
    if stop.requested and conclusion_of(gate_file).wanted is not None:
        fail(
            f"interrupted; {format_count(len(gate_file.blocks), 'finished block is', 'finished blocks are')} "
            f"in {path}; go on with: mnist-bench gate --resume {path}",
            Exit.INTERRUPTED,
        )
    note_dataset(prepared)
    note(f"saved in {path}")
    report(gate_file, output_format)


def _report_identical(base: str, clone: Path, tree_digest: str, output_format: Format) -> NoReturn:
    same = f"the same measured code ({tree_digest[:12]}), under the same Python"
    words = f"{base} and the working tree, {clone}, hold {same}"
    note(f"identical: {words}: nothing to measure (--force does it all the same)")
    if output_format is Format.JUNIT:
        case = JUnitCase(
            name="identical code", seconds=None, outcome=CaseOutcome.PASSED, message=words, detail="nothing to measure"
        )
        write(render_junit("mnist-bench gate", [case]))
    sys.exit(Exit.DONE)


def report(gate_file: GateFile, output_format: Format) -> NoReturn:
    """Print the verdicts and exit with their status; a pure function of the file, but for the printing."""
    conclusion = conclusion_of(gate_file)
    table = gate_table(gate_file, conclusion)
    with tolerate_closed_pipe():
        if output_format is Format.JUNIT:
            write(render_junit("mnist-bench gate", gate_cases(conclusion)))
        else:
            print_tables([table], output_format)
    add_to_job_summary(render_markdown([table]))
    sys.exit(EXIT_OF_VERDICT[conclusion.verdict])


def _of_a_gate(path: Path) -> GateFile:
    gate_file = calibration_files.read_gate(path)
    if gate_file.plan.purpose is not Purpose.GATE:  # its blocks decide nothing
        raise ConfigurationError(f"{path}: is a calibration: mnist-bench calibrate goes on with it, or shows it")
    return gate_file


def _resumed(
    path: Path, base: str | None, base_python: Path | None, data_dir: Path | None, scratch: Path
) -> tuple[GateFile, dict[Side, Interpreter], datasets.Prepared]:
    """The file as it is under the lock, and its sides as they were: the commit by its hash, a folder by its digest."""
    gate_file = _of_a_gate(path)
    if gate_file.baseline.python != (None if base_python is None else str(base_python)):
        python = gate_file.baseline.python or "this Python"
        raise ConfigurationError(f"{path}: its baseline ran on {python}: name the same with --base-python")
    clone = _clone_here()
    reference = base or gate_file.baseline.git_commit
    if reference is None:
        raise ConfigurationError(f"{path}: its baseline was a folder ({gate_file.baseline.name}): name it with --base")
    sources = {
        Side.BASELINE: source.check_out(reference, Side.BASELINE, scratch, source=clone),
        Side.CONTENDER: source.check_out(WORKING_TREE, Side.CONTENDER, scratch, source=clone),
    }
    interpreters = interpreters_of(sources, base_python)
    stop = Cancellation()
    sides_before = ((Side.BASELINE, gate_file.baseline), (Side.CONTENDER, gate_file.contender))
    for side, before in sides_before:
        if sources[side].tree_digest != before.tree_digest:
            raise IncomparableError(f"{path}: the {side}'s code is not what it was ({before.name}); measure anew")
        if _software(side, interpreters[side], stop) != before.software:
            raise IncomparableError(f"{path}: the {side}'s software is not what it was; measure anew")
    here = capture(software=gate_file.contender.software)
    require_same_machine(path, gate_file.environment, here, _LASTING_FACTS)
    return gate_file, interpreters, prepare_same(path, gate_file.dataset, data_dir)


def scenarios_of(suite: str, keyword: str | None) -> list[tuple[Scenario, int]]:
    """Each once, with its OpenMP threads on this machine."""
    scenarios = dict.fromkeys(run.scenario for run in plan_here(suite, Overrides(), keyword, Recipe().seed))
    cores = usable_core_count()
    return [(scenario, scenario.threads_per_context(cores)) for scenario in scenarios]


def _software(side: Side, interpreter: Interpreter, stop: Cancellation) -> Software:
    try:
        with spinner(f"asking the {side} what it is"):
            return process.describe(interpreter, stop)
    except SetupError as error:  # a change that breaks the import has failed, not its user
        fail(f"the {side} does not work under this harness: {error}", Exit.FAILED)


def _description(source: SourceTree, software: Software, python: Path | None = None) -> SideDescription:
    return SideDescription(
        name=source.name,
        git_commit=source.git_commit,
        tree_digest=source.tree_digest,
        software=software,
        python=None if python is None else str(python),
    )
