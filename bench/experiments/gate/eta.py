"""Estimate how many blocks a budget has room for, and how many a verdict needs; for display alone."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Final

from bench.records.gate import GatedScenario, GateFile, GatePhase, GatePlan

#: The pilot of a gate has a process of each side, a block two. On a 2-core machine these are more than the turns.
_PILOTS_PER_BLOCK: Final = 2.0


def fewest_blocks(plan: GatePlan) -> tuple[int, int]:
    """Return the valid blocks that a verdict needs at least: one that passes, and a regression."""
    return plan.looks[0], plan.looks[0] + plan.confirmation_looks[0]


def block_seconds(gate_file: GateFile, scenarios: Sequence[GatedScenario]) -> float | None:
    """Predict the duration of a block of these scenarios, by the blocks before it; None without any."""
    of_one = [
        block.seconds / len(block.passes[0].scenarios)
        for block in gate_file.blocks
        if block.passes and block.passes[0].scenarios
    ]
    return statistics.median(of_one) * len({gated.scenario for gated in scenarios}) if of_one else None


def blocks_in(gate_file: GateFile, budget_seconds: float) -> tuple[int, float] | None:
    """Return how many blocks of all scenarios fit into the budget, and the seconds of one; None: not known yet."""
    one = _whole_block_seconds(gate_file)
    return None if one is None else (max(1, math.floor(budget_seconds / one)), one)


def _whole_block_seconds(gate_file: GateFile) -> float | None:
    """Predict the duration of a block of all scenarios, before the first one by the pilot."""
    known, pilot = block_seconds(gate_file, gate_file.plan.scenarios), gate_file.plan.pilot_seconds
    return _PILOTS_PER_BLOCK * pilot if known is None and pilot is not None else known


def seconds_to_verdict(gate_file: GateFile) -> float:
    """Return the seconds of the blocks that are missing to the fewest that a regression needs, or else of one look."""
    one = _whole_block_seconds(gate_file) or 0.0
    valid = sum(block.phase is GatePhase.MAIN and block.failure is None for block in gate_file.blocks)
    _passing, regression = fewest_blocks(gate_file.plan)
    missing = regression - valid
    if missing <= 0:
        further = [look - valid for look in gate_file.plan.looks if look > valid]
        missing = min(further, default=0) + gate_file.plan.confirmation_looks[0]
    return one * missing
