"""`calibrate` and `selftest`: what is a gate on this machine worth, and can it fail?"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from bench import ranges
from bench.analysis.verdict import Verdict
from bench.cli import options
from bench.cli.app import app, examples
from bench.cli.console import fail, note, print_tables, reject_junit, spinner, tolerate_closed_pipe
from bench.cli.datasets import prepare
from bench.cli.exit_status import Exit
from bench.cli.measuring.gating import measure_blocks, plan_gate, scenarios_here
from bench.cli.measuring.session import ResumeHint, path_named_now, prepare_rest
from bench.errors import ConfigurationError, IncomparableError
from bench.experiments.gate import calibration, source
from bench.experiments.gate.decision import Conclusion
from bench.experiments.gate.setup import GATE_SUITE, GateRequest, Sides
from bench.experiments.gate.slowdown import inject
from bench.experiments.gate.source import WORKING_TREE
from bench.experiments.scratch import scratch_folder
from bench.machine.capture import capture
from bench.records import store
from bench.records.calibration import Calibration
from bench.records.gate import GateFile, GateMetric, Purpose
from bench.render.formats.export import Format
from bench.render.phrases import format_change
from bench.render.views.calibration import calibration_tables
from bench.render.views.gates import gate_table
from bench.stats.paired import Side
from bench.worker import process
from bench.worker.process import Cancellation
from mnist_core import datasets
from mnist_core.datasets import DatasetName

_ANEW: Final = "use --anew to start again; it keeps these blocks aside"


@app.command(epilog=examples("calibrate", 'calibrate --suite gate -k "mlp"'))
def calibrate(
    context: typer.Context,
    blocks: Annotated[
        int, typer.Option(min=8, max=ranges.MOST_REPEATS, help="Valid blocks of identical code to record, in all.")
    ] = 100,
    suite: options.Suite = GATE_SUITE,
    keyword: options.Keyword = None,
    seed: options.Seed = None,
    data: options.Data = DatasetName.AUTO,
    data_dir: options.DataDir = None,
    directory: Annotated[Path, typer.Option("-o", "--output", help="Folder of calibrations.")] = (
        calibration.CALIBRATIONS_DIRECTORY
    ),
    anew: Annotated[bool, typer.Option("--anew", help="Start again; blocks that are there are kept aside.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Show this machine's calibration; measure nothing.")] = False,
    file: Annotated[
        Path | None, typer.Option("--file", help="Show this calibration instead of this machine's.")
    ] = None,
    output_format: options.Format = Format.TEXT,
) -> None:
    """Record what this machine does to identical code: noise floor, false alarms, power. Goes on where it stopped.

    Later gates on this class of machines take their noise floors from it.
    """
    reject_junit(output_format)
    if show and file:
        raise ConfigurationError("--show is this machine's calibration, --file another: leave out one of them")
    for option in ("show", "file"):
        options.reject_others(context, option, "measures nothing", "directory", "output_format")
    if file is not None:
        result = store.read(file, Calibration)
    elif show:
        result = _calibration_here(directory)
    else:
        request = GateRequest(
            suite=suite,
            keyword=keyword,
            seed=options.seed_or_random(seed),
            purpose=Purpose.CALIBRATION,
            max_blocks=blocks,
        )
        path = calibration.blocks_path(capture(), directory)
        with store.exclusive(directory), store.exclusive(options.RESULTS_DIRECTORY):
            if anew and path.exists():
                path.rename(path_named_now(path.parent, f"{path.stem}.before"))
            gate_file = _record(path, request, data, data_dir, seed_given=seed is not None)
        result = _evaluate(gate_file, path)
        store.write(calibration.calibration_path(gate_file.environment, directory), result)
    print_tables(calibration_tables(result), output_format)


def _calibration_here(directory: Path) -> Calibration:
    """Return the calibration of this class of machines. Raises `ConfigurationError` where there is none."""
    result = calibration.calibration_for(capture(), directory)
    if result is None:
        raise ConfigurationError(f"no calibration of this machine in {directory}: mnist-bench calibrate makes it")
    return result


def _record(
    path: Path, request: GateRequest, data: DatasetName, data_dir: Path | None, *, seed_given: bool
) -> GateFile:
    """Measure the valid blocks of identical code that the file still lacks; exit where they cannot be had."""
    with scratch_folder() as scratch:
        sides = Sides({side: source.check_out(WORKING_TREE, side, scratch) for side in Side})
        if path.exists():
            gate_file = _begun(path, request, sides, data, seed_given=seed_given)
            prepared = prepare_rest(path, gate_file, capture(), data_dir, ("mnist_bench_version", "usable_core_count"))
        else:
            prepared = prepare(data, data_dir)
            gate_file = plan_gate(request, sides, prepared)
        hint = ResumeHint("blocks", path, "the same command")
        gate_file, conclusion, interrupted = measure_blocks(
            gate_file, sides, prepared, path, budget_seconds=math.inf, hint=hint
        )
    if any(block.failure is not None for block in gate_file.blocks):
        fail(f"{conclusion.rows[0].reason}; {hint}", Exit.FAILED)
    if not calibration.is_complete(gate_file):
        if interrupted:
            fail(f"interrupted; {hint}", Exit.INTERRUPTED)
        voids = f"{len(conclusion.voids)} of {len(gate_file.blocks)} blocks are void"
        fail(f"unhealthy machine: {voids}; they are in {path}", Exit.INCONCLUSIVE)
    return gate_file


def _begun(path: Path, request: GateRequest, sides: Sides, data: DatasetName, *, seed_given: bool) -> GateFile:
    """Return a recording to go on with.

    Raises `ConfigurationError` or `IncomparableError` where its rest would not be of the same kind.
    """
    gate_file = store.read(path, GateFile)
    if gate_file.plan.purpose is not Purpose.CALIBRATION:
        raise ConfigurationError(f"{path}: does not hold blocks of a calibration: {_ANEW}")
    scenarios = [scenario for scenario, _threads in scenarios_here(request)]
    changes = {
        "other scenarios": scenarios != [gated.scenario for gated in gate_file.plan.scenarios],
        "another seed": seed_given and request.seed != gate_file.plan.seed,
        "other data": data not in {DatasetName.AUTO, gate_file.dataset.name},
    }
    if any(changes.values()):
        changed = " and ".join(what for what, is_so in changes.items() if is_so)
        raise ConfigurationError(f"{path}: was begun with {changed}: {_ANEW}")
    if gate_file.contender.tree_digest != sides.sources[Side.CONTENDER].tree_digest:
        raise IncomparableError(f"{path}: was recorded with other measured code: {_ANEW}")
    with spinner("asking the framework what it is"):
        software = process.describe(sides.interpreters[Side.CONTENDER], Cancellation())
    if gate_file.contender.software != software:
        raise IncomparableError(f"{path}: was recorded with other software: {_ANEW}")
    return calibration.to_go_on(gate_file, request.max_blocks)


def _evaluate(gate_file: GateFile, path: Path) -> Calibration:
    """Return what the blocks say; exit with INCONCLUSIVE where they do not suffice."""
    replaying = "replaying whole gates over these blocks"
    note(replaying)
    try:
        with spinner(replaying):
            return calibration.calibrate(gate_file)
    except calibration.TooFewBlocksError as error:
        fail(f"{error}; they are in {path}", Exit.INCONCLUSIVE)


@app.command(epilog=examples("selftest"))
def selftest(
    slowdown: Annotated[
        str, typer.Option(help="Spun into every training step of the contender, or into every prediction.")
    ] = "10%",
    metric: options.Metric = GateMetric.THROUGHPUT,
    budget: options.Budget = "10m",
    suite: options.Suite = GATE_SUITE,
    keyword: options.Keyword = None,
    seed: options.Seed = None,
    data: options.Data = DatasetName.AUTO,
    data_dir: options.DataDir = None,
    output_format: options.Format = Format.TEXT,
) -> None:
    """Show that the gate can fail, and can pass: a real slowdown must be "regressed", identical code must not."""
    reject_junit(output_format)
    injected, budget_seconds = options.ratio(slowdown, "--slowdown"), options.seconds(budget, "--budget")
    if injected == 0:
        raise ConfigurationError("--slowdown 0: that is the other half of the test; name a slowdown, e.g. 10%")
    prepared = prepare(data, data_dir)
    verdicts = []
    with store.exclusive(options.RESULTS_DIRECTORY):
        for number, share in enumerate((injected, 0.0), start=1):
            each = "prediction" if metric is GateMetric.LATENCY else "step"
            what = f"{100 * share:g} % spun into each {each} of the contender" if share else "identical code"
            note(f"gate {number} of 2: {what}")
            margin, tolerance = options.LIMITS[metric]
            request = GateRequest(
                suite=suite,
                metric=metric,
                keyword=keyword,
                seed=options.seed_or_random(seed),
                margin=options.ratio(margin, "--margin"),
                tolerance=options.ratio(tolerance, "--tolerance"),
            )
            path = path_named_now(options.RESULTS_DIRECTORY, f"selftest-{100 * share:g}-percent")
            gate_file, conclusion = _gate_with_slowdown(share, request, prepared, path, budget_seconds)
            _report_half(gate_file, conclusion, share, output_format)
            verdicts.append(conclusion.verdict)
    slowed, identical = verdicts
    note(f"injected {100 * injected:g} %: {slowed}, expected regressed")
    note(f"identical code: {identical}, expected unchanged, and never regressed")
    sys.exit(selftest_status(slowed, identical))


def _gate_with_slowdown(
    slowdown: float, request: GateRequest, prepared: datasets.Prepared, path: Path, budget_seconds: float
) -> tuple[GateFile, Conclusion]:
    """Measure the working tree against itself: after each step the contender spins for a share of the step's time.

    Both sides wait for the end of each step, so that they differ by nothing else.
    """
    with scratch_folder() as scratch:
        trees = {}
        for side, share in ((Side.BASELINE, 0.0), (Side.CONTENDER, slowdown)):
            tree = source.check_out(WORKING_TREE, side, scratch)
            inject(tree.folder, share, request.metric)
            what = "prediction" if request.metric is GateMetric.LATENCY else "step"
            trees[side] = source.redescribe(tree, f"working tree, {100 * share:g} % spun into each {what}")
        sides = Sides(trees)
        hint = ResumeHint("blocks", path)
        gate_file, conclusion, interrupted = measure_blocks(
            plan_gate(request, sides, prepared),
            sides,
            prepared,
            path,
            budget_seconds=budget_seconds,
            hint=hint,
        )
    if interrupted:
        fail(f"interrupted; {hint}", Exit.INTERRUPTED)
    return gate_file, conclusion


def _report_half(gate_file: GateFile, conclusion: Conclusion, injected: float, output_format: Format) -> None:
    with tolerate_closed_pipe():
        print_tables([gate_table(gate_file, conclusion)], output_format)
    for row in conclusion.rows:
        change = "nothing" if row.ratio is None else format_change(row.ratio)
        note(f"injected {100 * injected:g} %, found {change}: {row.verdict}: {row.name}")


def selftest_status(slowed: Verdict, identical: Verdict) -> Exit:
    """Return DONE only where the gate failed what is slower and passed what is not."""
    if Verdict.MISSING in {slowed, identical}:
        return Exit.FAILED
    if identical is Verdict.REGRESSED:
        return Exit.REGRESSED
    return Exit.DONE if slowed is Verdict.REGRESSED and identical.passes else Exit.INCONCLUSIVE
