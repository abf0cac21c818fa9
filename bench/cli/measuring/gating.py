"""What `gate`, `calibrate` and `selftest` share: a file with its plan, and the blocks that are measured into it."""

from __future__ import annotations

import functools
import math
from pathlib import Path

from bench.cli import options
from bench.cli.console import err, note, spinner, warn
from bench.cli.datasets import dataset_of
from bench.cli.exit_status import EXIT_OF_VERDICT, Exit
from bench.cli.measuring.precision import require_computable
from bench.cli.measuring.session import ResumeHint, measuring, trying
from bench.experiments.gate import eta
from bench.experiments.gate.blocks import run_blocks, session_starters
from bench.experiments.gate.decision import Conclusion
from bench.experiments.gate.setup import GateRequest, Sides, describe_sides, new_gate_file
from bench.experiments.run.executor import SubprocessExecutor
from bench.records import store
from bench.records.gate import GateFile
from bench.render import units
from bench.render.progress.gate import GateProgress
from bench.scenarios.scenario import Scenario
from mnist_core import datasets


def scenarios_here(request: GateRequest) -> list[tuple[Scenario, int]]:
    """Return the scenarios of a request, each with its OpenMP threads per context.

    Raises `ConfigurationError` for one that this machine cannot compute.
    """
    with spinner("trying the devices out"):
        scenarios = request.scenarios(SubprocessExecutor().probe)
    require_computable(scenario for scenario, _threads in scenarios)
    return scenarios


def plan_gate(request: GateRequest, sides: Sides, prepared: datasets.Prepared) -> GateFile:
    """Return the file before its first block; exit with FAILED where a side does not work."""
    scenarios = scenarios_here(request)
    with trying("asking both sides what they are"):
        software = describe_sides(sides)
    note("pilot: do both sides work, and how long must a window be?")
    with trying("pilot"):
        return new_gate_file(request, scenarios, sides, software, prepared.directory, dataset_of(prepared))


def measure_blocks(
    gate_file: GateFile,
    sides: Sides,
    prepared: datasets.Prepared,
    path: Path,
    *,
    budget_seconds: float,
    hint: ResumeHint,
) -> tuple[GateFile, Conclusion, bool]:
    """Measure until it is decided, the budget ends or a signal comes, and save each block; True: a signal came."""
    note(f"blocks of four passes each, into {path}")
    _note_room(gate_file, budget_seconds)
    with measuring(hint) as stop, GateProgress(err, budget_seconds, gate_file.blocks) as observer:
        gate_file, conclusion = run_blocks(
            gate_file,
            sessions=session_starters(sides.interpreters, stop, len(gate_file.plan.scenarios)),
            data_directory=prepared.directory,
            budget_seconds=budget_seconds,
            save=functools.partial(store.write, path),
            observer=observer,
            stop=stop,
        )
    return gate_file, conclusion, stop.requested


def _note_room(gate_file: GateFile, budget_seconds: float) -> None:
    """Say before the first block how many fit into the budget, and how many a verdict needs."""
    room = None if math.isinf(budget_seconds) else eta.blocks_in(gate_file, budget_seconds)
    if room is None:
        return
    count, seconds = room
    passing, regression = eta.fewest_blocks(gate_file.plan)
    done = len(gate_file.blocks)
    more = "more " if done else ""
    words = (
        f"{units.roughly(budget_seconds)} fit about {count} {more}blocks; a verdict needs {passing}, "
        f"a regression {regression}"
    )
    if done + count >= passing:
        note(words)
        return
    fewer = " or fewer scenarios (-k)" if len(gate_file.plan.scenarios) > 1 else ""
    warn(f"{words}: about {options.budget_text(passing * seconds)}, so take a larger --budget{fewer}")


def note_next_step(gate_file: GateFile, conclusion: Conclusion, path: Path) -> None:
    """Say what would end a gate that is undecided."""
    if EXIT_OF_VERDICT[conclusion.verdict] is not Exit.INCONCLUSIVE:
        return
    if conclusion.wanted is not None:
        budget = options.budget_text(eta.seconds_to_verdict(gate_file))
        note(f"undecided; mnist-bench gate --resume {path} --budget {budget} goes on")
    else:
        note(
            "undecided after all blocks of its plan: a new gate on a quieter machine may tell (mnist-bench environment)"
        )
