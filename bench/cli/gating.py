"""What `gate`, `calibrate` and `selftest` share: a file with its plan, and the blocks that are measured into it."""

from __future__ import annotations

import functools
from pathlib import Path

from bench.cli.console import err, note, spinner
from bench.cli.datasets import dataset_of
from bench.cli.session import ResumeHint, measuring, trying
from bench.experiments.gate.blocks import run_blocks, session_starters
from bench.experiments.gate.decision import Conclusion
from bench.experiments.gate.setup import GateRequest, Sides, describe_sides, new_gate_file
from bench.experiments.run.runner import SubprocessExecutor
from bench.records import store
from bench.records.gate import GateFile
from bench.render.progress.gate import GateProgress
from bench.scenarios.scenario import Scenario
from mnist_core import datasets


def scenarios_here(request: GateRequest) -> list[tuple[Scenario, int]]:
    """Return the scenarios of a request, each with its OpenMP threads per context."""
    with spinner("trying the devices out"):
        return request.scenarios(SubprocessExecutor().probe)


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
