"""`gate`: is this working tree slower than that commit? Both are measured here, in turns."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final, NoReturn

import msgspec
import typer

from bench.cli import options
from bench.cli.app import app, examples
from bench.cli.console import add_to_job_summary, fail, note, print_tables, tolerate_closed_pipe, warn, write
from bench.cli.datasets import prepare
from bench.cli.exit_status import EXIT_OF_VERDICT, Exit
from bench.cli.measuring.gating import measure_blocks, note_next_step, plan_gate, scenarios_here
from bench.cli.measuring.session import ResumeHint, new_file, note_saved, prepare_rest, resumed_file, trying
from bench.errors import ConfigurationError
from bench.experiments.gate import source
from bench.experiments.gate.decision import Conclusion, conclusion_of
from bench.experiments.gate.setup import (
    GATE_SUITE,
    GateRequest,
    Sides,
    check_out_sides,
    require_prediction,
    require_same_sides,
)
from bench.experiments.scratch import scratch_folder
from bench.machine.capture import capture
from bench.records import store
from bench.records.gate import GateFile, GateMetric, Purpose
from bench.render.formats.export import Format, render_markdown
from bench.render.formats.junit import render_junit
from bench.render.model.cases import CaseOutcome, JUnitCase
from bench.render.phrases import format_count
from bench.render.views.gates import OWN_CODE_IS_THE_SAME, gate_cases, gate_table, own_networks
from bench.stats.paired import Side
from mnist_core import datasets
from mnist_core.datasets import DatasetName

#: What the rest of a file must share with its beginning. The measured code is checked by its digest, and the commit of
#: the harness may be another.
_LASTING_FACTS: Final = (
    *("software", "mnist_bench_version", "usable_core_count"),
    *("cgroup_cpu_quota", "accelerator_driver", "variables"),
)


@app.command(
    epilog=examples(
        "gate --base origin/main",
        "gate --base v1.0 --budget 20m --strict",
        "gate --base origin/main --metric latency",
        "gate --replay results/runs/gate.json",
    )
)
def gate(
    context: typer.Context,
    base: Annotated[
        str | None, typer.Option(metavar="REF|DIR", help="The baseline: a git reference or a folder with mnist_core.")
    ] = None,
    base_python: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The baseline's Python: another MXNet or NumPy build.")
    ] = None,
    suite: options.Suite = GATE_SUITE,
    keyword: options.Keyword = None,
    budget: options.Budget = "10m",
    metric: options.Metric = GateMetric.THROUGHPUT,
    margin: options.Margin = options.MARGIN,
    tolerance: options.Tolerance = options.TOLERANCE,
    alpha: options.Alpha = options.ALPHA,
    seed: options.Seed = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Unchanged only where surely within the margin: --tolerance = --margin.",
            rich_help_panel=options.DECIDED,
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Measure also where both sides are identical.", rich_help_panel=options.MEASURED),
    ] = False,
    data: options.Data = DatasetName.AUTO,
    data_dir: options.DataDir = None,
    output: options.Output = None,
    replay: options.Replay = None,
    resume: options.Resume = None,
    output_format: options.Format = Format.TEXT,
) -> None:
    """Measure a baseline and this working tree in turns, and decide: exit 0 passed, 1 regressed, 3 undecided, 5 failed.

    The harness is the same on both sides; what differs is the package mnist_core and, if asked, the Python.
    """
    options.reject_others(context, "replay", "measures nothing", "output_format")
    may_change = ("base", "base_python", "budget", "data_dir", "output_format")
    options.reject_others(context, "resume", "decides by the limits in its file", *may_change)
    if strict and options.is_given(context, "tolerance"):
        raise ConfigurationError("--strict makes the tolerance the margin: leave out --tolerance or --strict")
    if replay is not None:
        gate_file = _read(replay)
        report(gate_file, conclusion_of(gate_file), replay, output_format)
    budget_seconds = options.seconds(budget, "--budget")
    if resume is not None:
        begun = _read(resume)  # a calibration's file is resumed by `calibrate`
        if not options.is_given(context, "budget"):
            budget_seconds = begun.plan.budget_seconds or budget_seconds
        with resumed_file(resume, GateFile) as gate_file, scratch_folder() as scratch:
            sides = _sides_of(resume, gate_file, scratch, base, base_python)
            here = capture(software=gate_file.contender.software)
            prepared = prepare_rest(resume, gate_file, here, data_dir, _LASTING_FACTS)
            _measure(gate_file, sides, prepared, resume, budget_seconds, output_format)
    if base is None:
        raise ConfigurationError("gate: name the baseline with --base, e.g. --base origin/main")
    usual_margin, usual_tolerance = options.LIMITS[metric]
    margin = margin if options.is_given(context, "margin") else usual_margin
    tolerance = tolerance if options.is_given(context, "tolerance") else usual_tolerance
    request = GateRequest(
        suite=suite,
        metric=metric,
        keyword=keyword,
        seed=options.seed_or_random(seed),
        margin=options.ratio(margin, "--margin"),
        tolerance=options.ratio(margin if strict else tolerance, "--tolerance"),
        alpha=options.probability(alpha, "--alpha"),
        budget_seconds=budget_seconds,
    )
    clone = _clone_here()
    with new_file(output, "gate") as path, scratch_folder() as scratch:
        sides = check_out_sides(base, scratch, clone, base_python)
        if metric is GateMetric.LATENCY:
            require_prediction(sides)
        if sides.are_identical and not force:
            own = own_networks(scenario for scenario, _threads in scenarios_here(request))
            _report_identical(base, clone, sides.sources[Side.BASELINE].tree_digest, own, output_format)
        ahead = _warn_of_a_base_ahead(base, sides, clone)
        prepared = prepare(data, data_dir)
        gate_file = plan_gate(request, sides, prepared)
        baseline = msgspec.structs.replace(gate_file.baseline, commits_ahead=ahead)
        gate_file = msgspec.structs.replace(gate_file, baseline=baseline)
        if own := own_networks(gated.scenario for gated in gate_file.plan.scenarios):
            warn(f"{own}: {OWN_CODE_IS_THE_SAME}")
        _measure(gate_file, sides, prepared, path, budget_seconds, output_format)


def _read(path: Path) -> GateFile:
    gate_file = store.read(path, GateFile)
    if gate_file.plan.purpose is not Purpose.GATE:  # its blocks decide nothing
        raise ConfigurationError(f"{path}: this is a calibration file; use `mnist-bench calibrate`")
    return gate_file


def _clone_here() -> Path:
    clone = source.clone_of(Path.cwd())
    if not Path.cwd().is_relative_to(clone):
        warn(f"not in a clone: the working tree is {clone}")
    return clone


def _warn_of_a_base_ahead(base: str, sides: Sides, clone: Path) -> int | None:
    """Say where the baseline has moved on since this tree left it; return by how many commits, None for none."""
    ahead = source.commits_ahead(sides.sources[Side.BASELINE], clone)
    if ahead is None:
        return None
    count, parting = ahead
    warn(
        f"{base} has {format_count(count, 'commit')} to {source.PACKAGE} that this working tree lacks, and is "
        f"compared with all of them: merge {base}, or compare with --base {parting[:12]}, where the two part"
    )
    return count


def _sides_of(path: Path, gate_file: GateFile, scratch: Path, base: str | None, base_python: Path | None) -> Sides:
    """Check out the sides of a file as they were: a commit by its hash, a folder by its digest.

    Raises `ConfigurationError` where the command line must name one of them, `IncomparableError` where one has changed.
    """
    before = gate_file.baseline
    if before.python != (None if base_python is None else str(base_python)):
        raise ConfigurationError(
            f"{path}: its baseline ran on {before.python or 'this Python'}: name the same with --base-python"
        )
    clone, reference = _clone_here(), base or before.git_commit
    if reference is None:
        raise ConfigurationError(f"{path}: its baseline was a folder ({before.name}): name it with --base")
    sides = check_out_sides(reference, scratch, clone, base_python)
    with trying("asking both sides what they are"):
        require_same_sides(path, gate_file, sides)
    return sides


def _measure(
    gate_file: GateFile,
    sides: Sides,
    prepared: datasets.Prepared,
    path: Path,
    budget_seconds: float,
    output_format: Format,
) -> NoReturn:
    hint = ResumeHint("blocks", path, f"mnist-bench gate --resume {path}")
    gate_file, conclusion, interrupted = measure_blocks(
        gate_file, sides, prepared, path, budget_seconds=budget_seconds, hint=hint
    )
    if interrupted and conclusion.wanted is not None:
        fail(f"interrupted; {hint}", Exit.INTERRUPTED)
    note_saved(prepared, path)
    report(gate_file, conclusion, path, output_format)


def report(gate_file: GateFile, conclusion: Conclusion, path: Path, output_format: Format) -> NoReturn:
    """Print the verdicts and exit with their status: the same for the same file."""
    table = gate_table(gate_file, conclusion)
    with tolerate_closed_pipe():
        if output_format is Format.JUNIT:
            write(render_junit("mnist-bench gate", gate_cases(conclusion)))
        else:
            print_tables([table], output_format)
    add_to_job_summary(render_markdown([table]))
    note_next_step(gate_file, conclusion, path)
    sys.exit(EXIT_OF_VERDICT[conclusion.verdict])


def _report_identical(base: str, clone: Path, tree_digest: str, own: str, output_format: Format) -> NoReturn:
    """Exit where nothing is to be measured: with INCONCLUSIVE where own networks are not judged."""
    same = f"the same measured code ({tree_digest[:12]}), under the same Python"
    message = f"{base} and the working tree, {clone}, hold {same}"
    unjudged = f"{own}: your own code is read from this folder on both sides, and a change of it is not judged"
    if output_format is Format.JUNIT:
        case = JUnitCase(
            name="identical code",
            seconds=None,
            outcome=CaseOutcome.ERROR if own else CaseOutcome.PASSED,
            message=unjudged if own else message,
            detail="nothing to measure",
        )
        write(render_junit("mnist-bench gate", [case]))
    elif output_format is not Format.TEXT:  # a program reads an empty answer, not none
        print_tables([], output_format)
    if own:
        advice = "compare two versions of it by mnist-bench run and compare, or leave it out with -k"
        fail(f"identical: {message}; {unjudged}: {advice}", Exit.INCONCLUSIVE)
    note(f"identical: {message}: nothing to measure (--force measures all the same)")
    sys.exit(Exit.DONE)
