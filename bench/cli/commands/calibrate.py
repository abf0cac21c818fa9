"""`calibrate` and `selftest`: what is a gate on this machine worth, and can it fail?"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.analysis.verdict import Verdict
from bench.cli.app import app, examples
from bench.cli.commands.gate import (
    GATE_SUITE,
    GateRequest,
    conclusion_of,
    interpreters_of,
    new_gate_file,
    run,
    scenarios_of,
)
from bench.cli.console import fail, note, print_tables, refuse_junit, spinner, tolerate_closed_pipe
from bench.cli.datasets import prepare
from bench.cli.exit_status import Exit
from bench.cli.options import (
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
from bench.cli.session import RESULTS_DIRECTORY, prepare_same, require_same_machine
from bench.errors import ConfigurationError, IncomparableError
from bench.experiments.gate import calibration, calibration_files, source
from bench.experiments.gate.slowdown import inject
from bench.experiments.gate.source import WORKING_TREE
from bench.machine.capture import capture
from bench.records import store
from bench.records.base import utc_now
from bench.records.gate import GateFile, Purpose
from bench.render.formats.export import Format
from bench.render.phrases import format_change, format_count
from bench.render.views.calibration import calibration_tables
from bench.render.views.gates import gate_table
from bench.stats.paired import Side
from bench.worker import process
from bench.worker.process import Cancellation, Interpreter
from mnist_core import datasets
from mnist_core.datasets import DatasetName

#: So many of identical code.
BLOCKS = 100


@app.command(epilog=examples("calibrate", 'calibrate --suite gate -k "mlp"'))
def calibrate(
    blocks: Annotated[int, typer.Option(min=8, help="Valid blocks of identical code to record, in all.")] = BLOCKS,
    suite: SuiteOption = GATE_SUITE,
    keyword: KeywordOption = None,
    seed: SeedOption = None,
    data: DataOption = DatasetName.AUTO,
    data_dir: DataDirOption = None,
    directory: Annotated[Path, typer.Option("-o", "--output", help="Folder of calibrations.")] = (
        calibration_files.CALIBRATIONS_DIRECTORY
    ),
    anew: Annotated[bool, typer.Option("--anew", help="Begin again; blocks that are there are kept aside.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show this machine's calibration; measure nothing.")] = False,
    file: Annotated[
        Path | None, typer.Option("--file", help="Show this calibration instead of this machine's.")
    ] = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Record what this machine does to identical code: noise floor, false alarms, power. Goes on where it stopped.

    Later gates on this class of machines take their noise floors from it.
    """
    refuse_junit(output_format)
    chosen = (blocks, suite, keyword, seed, data, data_dir, anew)
    untouched = (BLOCKS, GATE_SUITE, None, None, DatasetName.AUTO, None, False)
    reject_conflicts(
        (
            (show or file) and chosen != untouched,
            "--show and --file measure nothing: leave out all but --output and --format",
        ),
        (show and file, "--show is this machine's calibration, --file another: leave out one of them"),
    )
    if file is not None:
        made = calibration_files.read_calibration(file)
    elif show:
        found = calibration_files.calibration_for(capture(), directory)
        if found is None:
            raise ConfigurationError(f"no calibration of this machine in {directory}: mnist-bench calibrate makes it")
        made = found
    else:
        wishes = GateRequest(suite=suite, keyword=keyword, seed=seed, purpose=Purpose.CALIBRATION, max_blocks=blocks)
        path = calibration_files.blocks_path(capture(), directory)
        with store.exclusive(directory), store.exclusive(RESULTS_DIRECTORY):
            if anew and path.exists():
                path.rename(path.with_suffix(f".before-{_stamp()}.json"))
            gate_file = _recorded(path, wishes, data, data_dir)
        replaying = "replaying whole gates over these blocks"
        note(replaying)
        try:
            with spinner(replaying):
                made = calibration.calibrate(gate_file)
        except ValueError as error:
            fail(f"{error}; they are in {path}", Exit.INCONCLUSIVE)
        store.write(calibration_files.calibration_path(gate_file.environment, directory), made)
    print_tables(calibration_tables(made), output_format)


def _recorded(path: Path, wishes: GateRequest, data: DatasetName, data_dir: Path | None) -> GateFile:
    """So many valid blocks of identical code: those of the file, and what they lack of them; else exits."""
    with source.scratch_folder() as scratch:
        sources = {side: source.check_out(WORKING_TREE, side, scratch) for side in Side}
        interpreters = interpreters_of(sources, None)
        if path.exists():
            gate_file = _begun(path, wishes, sources[Side.CONTENDER].tree_digest, interpreters[Side.CONTENDER])
            prepared = prepare_same(path, gate_file.dataset, data_dir)
        else:
            prepared = prepare(data, data_dir)
            gate_file = new_gate_file(wishes, sources, interpreters, prepared)
        gate_file, stop = run(gate_file, interpreters, prepared, path, math.inf)
    count = len(gate_file.blocks)
    if any(block.failure is not None for block in gate_file.blocks):
        reason = conclusion_of(gate_file).rows[0].reason
        fail(f"{reason}; finished blocks are in {path}, the same command goes on", Exit.FAILED)
    complete = calibration.is_complete(gate_file)
    if not complete and stop.requested:
        fail(
            f"interrupted; {format_count(count, 'block is', 'blocks are')} in {path}, the same command goes on",
            Exit.INTERRUPTED,
        )
    if not complete:
        voids = len(conclusion_of(gate_file).voids)
        fail(f"unhealthy machine: {voids} of {count} blocks are void; they are in {path}", Exit.INCONCLUSIVE)
    return gate_file


_ANEW = "--anew begins again and keeps these blocks aside"


def _stamp() -> str:
    return utc_now().replace(":", "").replace("-", "")


def _begun(path: Path, wishes: GateRequest, tree_digest: str, interpreter: Interpreter) -> GateFile:
    """A recording to go on with, if its rest would be of the same kind."""
    gate_file = calibration_files.read_gate(path)
    if gate_file.plan.purpose is not Purpose.CALIBRATION:
        raise ConfigurationError(f"{path}: is not a calibration's blocks: {_ANEW}")
    wanted = [scenario for scenario, _threads in scenarios_of(wishes.suite, wishes.keyword)]
    if wishes.seed is not None or wanted != [gated.scenario for gated in gate_file.plan.scenarios]:
        raise ConfigurationError(f"{path}: was begun with other scenarios or another seed: {_ANEW}")
    require_same_machine(path, gate_file.environment, capture(), ("mnist_bench_version", "usable_core_count"))
    if gate_file.contender.tree_digest != tree_digest:
        raise IncomparableError(f"{path}: was recorded with other measured code: {_ANEW}")
    with spinner("asking the framework what it is"):
        software = process.describe(interpreter, Cancellation())
    if gate_file.contender.software != software:
        raise IncomparableError(f"{path}: was recorded with other software: {_ANEW}")
    return calibration.to_go_on(gate_file, wishes.max_blocks)


@app.command(epilog=examples("selftest"))
def selftest(
    slowdown: Annotated[str, typer.Option(help="Spun into every training step of the contender.")] = "10%",
    budget: BudgetOption = "10m",
    suite: SuiteOption = GATE_SUITE,
    keyword: KeywordOption = None,
    seed: SeedOption = None,
    data: DataOption = DatasetName.AUTO,
    data_dir: DataDirOption = None,
    output_format: FormatOption = Format.TEXT,
) -> None:
    """Show that the gate can fail, and can pass: a real slowdown must be "regressed", identical code must not."""
    refuse_junit(output_format)
    injected, budget_seconds = ratio(slowdown, "--slowdown"), seconds(budget, "--budget")
    if injected == 0:
        raise ConfigurationError("--slowdown 0: that is the other half of the test; name a slowdown, e.g. 10%")
    wishes = GateRequest(suite=suite, keyword=keyword, seed=seed)
    prepared = prepare(data, data_dir)
    stamp = _stamp()
    verdicts = []
    with store.exclusive(RESULTS_DIRECTORY):
        for number, each in enumerate((injected, 0.0), start=1):
            what = f"{100 * each:g} % spun into each step of the contender" if each else "identical code"
            note(f"gate {number} of 2: {what}")
            path = RESULTS_DIRECTORY / f"selftest-{100 * each:g}-percent-{stamp}.json"
            gate_file = _selftest(each, wishes, prepared, path, budget_seconds)
            conclusion = conclusion_of(gate_file)
            with tolerate_closed_pipe():
                print_tables([gate_table(gate_file, conclusion)], output_format)
            verdicts.append(conclusion.verdict)
            for row in conclusion.rows:
                found = "nothing" if row.ratio is None else format_change(row.ratio)
                note(f"injected {100 * each:g} % per step, found {found}: {row.verdict}: {row.scenario.name}")
    slowed, identical = verdicts
    note(f"injected {100 * injected:g} %: {slowed}, expected regressed")
    note(f"identical code: {identical}, expected unchanged, and never regressed")
    sys.exit(selftest_status(slowed, identical))


def selftest_status(slowed: Verdict, identical: Verdict) -> Exit:
    """DONE where the gate failed what is slower and passed what is not; a test that showed less did not succeed."""
    if Verdict.MISSING in {slowed, identical}:
        return Exit.FAILED
    if identical is Verdict.REGRESSED:
        return Exit.REGRESSED
    return Exit.DONE if slowed is Verdict.REGRESSED and identical.passes else Exit.INCONCLUSIVE


def _selftest(
    slowdown: float, wishes: GateRequest, prepared: datasets.Prepared, path: Path, budget_seconds: float
) -> GateFile:
    """Both sides wait for each step's end; the contender then spins for a share of its time."""
    with source.scratch_folder() as scratch:
        sources = {side: source.check_out(WORKING_TREE, side, scratch) for side in Side}
        inject(sources[Side.BASELINE].folder, 0.0)
        inject(sources[Side.CONTENDER].folder, slowdown)
        sources = {
            side: source.redescribe(tree, f"working tree, {100 * each:g} % spun into each step")
            for (side, tree), each in zip(sources.items(), (0.0, slowdown), strict=True)
        }
        interpreters = interpreters_of(sources, None)
        gate_file = new_gate_file(wishes, sources, interpreters, prepared)
        gate_file, stop = run(gate_file, interpreters, prepared, path, budget_seconds)
    if stop.requested:
        fail(f"interrupted; finished blocks are in {path}", Exit.INTERRUPTED)
    return gate_file
