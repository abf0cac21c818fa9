"""How reliable a gate is on a machine: replay whole gates over recorded blocks of identical code.

In a block of identical code the names of the sides mean nothing, so that a coin may swap them in each block, as the
design of the gate does. Each replay takes a stretch of blocks, tosses its coins, and lets the gate decide, confirmation
included. Side B scaled by 1.05 is a slowdown of 5 % with the real noise of this machine.

The replays share blocks. Their exact bounds hold for the recorded blocks under new coins; that other days of this
machine are like these is an assumption that no replay can test.
"""

from __future__ import annotations

import dataclasses
import math
import random
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from bench.analysis.verdict import Verdict
from bench.errors import StoreError
from bench.experiments.gate.decision import Conclusion, conclude
from bench.experiments.gate.evidence import BlockEvidence, RowEvidence, evidence_of
from bench.machine.fingerprint import class_digest, class_slug
from bench.records import store
from bench.records.calibration import Calibration, Replays, ScenarioCalibration
from bench.records.environment import Environment
from bench.records.gate import GateFile, GatePlan, Purpose
from bench.scenarios.scenario import Scenario
from bench.stats import multiple_testing
from bench.stats.intervals import bounds, ratio_of, t_summary
from bench.stats.paired import Order

CALIBRATIONS_DIRECTORY: Final = Path("results/calibration")
#: Gates that are replayed for each slowdown: if none of them is a false alarm, the upper bound is 0.3 %.
REPLAYS: Final = 1000
#: Relative slowdowns that are replayed (0.05 = 5 % slower); 0 is identical code.
SLOWDOWNS: Final = (0.0, 0.03, 0.05, 0.10)
#: Duration of a gate, which limits the blocks of a replay.
BUDGET_SECONDS: Final = 600.0
#: Share of a gate's first looks that stay below the noise floor.
_FLOOR_QUANTILE: Final = 0.95
#: Standard deviation of a normal distribution over its median absolute deviation.
_MAD_TO_SD: Final = 1.4826


class TooFewBlocksError(Exception):
    """Blocks that are not enough for a gate; one line that says how many are."""


def calibrate(
    gate_file: GateFile,
    *,
    gates: int = REPLAYS,
    slowdowns: Sequence[float] = SLOWDOWNS,
    seed: int = 0,
) -> Calibration:
    """Evaluate recorded blocks of identical code. Raises `TooFewBlocksError` if there are too few of them."""
    evidence = [block for block in evidence_of(gate_file.plan, gate_file.blocks) if block.failure is None]
    valid = [block for block in evidence if block.void is None]
    first_look = gate_file.plan.looks[0]
    if len(valid) < first_look:
        raise TooFewBlocksError(
            f"{len(valid)} valid blocks are too few to replay a gate, which takes {first_look} at least"
        )
    block_seconds = statistics.median(block.seconds for block in gate_file.blocks)
    floors = {
        gated.scenario: noise_floor([block.rows[gated.key].effect for block in valid], first_look, gates, seed)
        for gated in gate_file.plan.scenarios
    }
    # No more than there are: a suspicion must not be confirmed by the blocks that raised it.
    within_budget = min(len(evidence), max(first_look, int(BUDGET_SECONDS / block_seconds)))
    plan = gate_plan(gate_file.plan, floors, max_blocks=within_budget)
    return Calibration(
        created_at=gate_file.created_at,
        machine_class=class_digest(gate_file.environment),
        environment=gate_file.environment,
        dataset=gate_file.dataset,
        suite=plan.suite,
        blocks=len(evidence),
        void_blocks=len(evidence) - len(valid),
        median_block_seconds=block_seconds,
        seed=seed,
        alpha=plan.alpha,
        margin=plan.margin,
        tolerance=plan.tolerance,
        scenarios=tuple(
            _scenario(gated.scenario, floors[gated.scenario], valid, first_look, gates, seed)
            for gated in plan.scenarios
        ),
        replays=tuple(_replays(plan, evidence, slowdown, gates, seed, block_seconds) for slowdown in slowdowns),
    )


def to_go_on(gate_file: GateFile, blocks: int) -> GateFile:
    """Return the recording with so many valid blocks as its aim, and without blocks that a crash ended."""
    plan = msgspec.structs.replace(gate_file.plan, max_blocks=blocks)
    kept = tuple(block for block in gate_file.blocks if block.failure is None)
    return msgspec.structs.replace(gate_file, plan=plan, blocks=kept)


def is_complete(gate_file: GateFile) -> bool:
    """Return whether the recording has all the valid blocks that it aims at."""
    evidence = evidence_of(gate_file.plan, gate_file.blocks)
    return sum(block.void is None and block.failure is None for block in evidence) >= gate_file.plan.max_blocks


def gate_plan(plan: GatePlan, floors: dict[Scenario, float], *, max_blocks: int) -> GatePlan:
    """Return the plan of the gate that might have been measured instead, with these noise floors."""
    scenarios = tuple(msgspec.structs.replace(gated, noise_floor=floors[gated.scenario]) for gated in plan.scenarios)
    return msgspec.structs.replace(plan, purpose=Purpose.GATE, scenarios=scenarios, max_blocks=max_blocks)


def noise_floor(effects: Sequence[float], look: int, windows: int, seed: int) -> float:
    """Return the relative slowdown (0.02 = 2 %) that identical code seems to have.

    It is the 95 % quantile of |mean effect| over random stretches of `look` blocks, relabelled at random. `effects` are
    log ratios of shape (n,), one per block.
    """
    generator = np.random.default_rng(seed)
    values = np.asarray(effects, dtype=np.float64)
    starts = generator.integers(0, values.size, windows)
    stretches = values[(starts[:, np.newaxis] + np.arange(look)) % values.size]
    means = np.abs((stretches * generator.choice([-1.0, 1.0], stretches.shape)).mean(axis=1))
    return float(np.expm1(np.quantile(means, _FLOOR_QUANTILE)))


def relabelled(block: BlockEvidence) -> BlockEvidence:
    """Return the same four invocations with the sides swapped; the control does not depend on the sides."""
    return dataclasses.replace(
        block,
        order=Order.BAAB if block.order is Order.ABBA else Order.ABBA,
        rows={
            key: dataclasses.replace(
                row, effect=-row.effect, accuracy_difference=-row.accuracy_difference, trends=row.trends[::-1]
            )
            for key, row in block.rows.items()
        },
    )


def slowed(block: BlockEvidence, slowdown: float) -> BlockEvidence:
    """Return the same block with a contender that is slower by this relative slowdown (0.05 = 5 %)."""
    return dataclasses.replace(
        block,
        rows={
            key: dataclasses.replace(row, effect=row.effect + math.log1p(slowdown)) for key, row in block.rows.items()
        },
    )


def replay(plan: GatePlan, stream: Sequence[BlockEvidence]) -> Conclusion:
    """Let a gate decide over a stream of blocks; each serves the phase that is wanted when it comes."""
    taken: list[BlockEvidence] = []
    conclusion = conclude(plan, taken)
    while conclusion.wanted is not None and len(taken) < len(stream):
        missing = min(conclusion.wanted.until - conclusion.wanted.done, len(stream) - len(taken))
        phase = conclusion.wanted.phase
        taken += [dataclasses.replace(block, phase=phase) for block in stream[len(taken) : len(taken) + missing]]
        conclusion = conclude(plan, taken)
    return conclusion


def stretch(evidence: Sequence[BlockEvidence], length: int, generator: random.Random) -> list[BlockEvidence]:
    """Return so many blocks from a random place on, cyclically, each relabelled or not by a coin."""
    start = generator.randrange(len(evidence))
    blocks = [evidence[(start + step) % len(evidence)] for step in range(length)]
    return [relabelled(block) if generator.random() < 0.5 else block for block in blocks]  # noqa: PLR2004  # a coin


def _replays(
    plan: GatePlan, evidence: Sequence[BlockEvidence], slowdown: float, gates: int, seed: int, block_seconds: float
) -> Replays:
    generator = random.Random(f"{seed}/{slowdown}")  # noqa: S311  # a replay, not a secret
    verdicts = dict.fromkeys(map(str, Verdict), 0)
    blocks = []
    for _ in range(gates):
        stream = [slowed(block, slowdown) for block in stretch(evidence, plan.max_blocks, generator)]
        conclusion = replay(plan, stream)
        verdicts[str(conclusion.verdict)] += 1
        blocks.append(conclusion.blocks)
    regressed = verdicts[str(Verdict.REGRESSED)]
    return Replays(
        slowdown=slowdown,
        gates=gates,
        verdicts={verdict: count for verdict, count in verdicts.items() if count},
        regressed=regressed / gates,
        regressed_upper=multiple_testing.exact_upper_bound(regressed, gates),
        regressed_lower=1 - multiple_testing.exact_upper_bound(gates - regressed, gates),
        median_blocks=statistics.median(blocks),
        median_seconds=statistics.median(blocks) * block_seconds,
    )


def _scenario(
    scenario: Scenario, floor: float, valid: Sequence[BlockEvidence], look: int, gates: int, seed: int
) -> ScenarioCalibration:
    key = scenario, None
    effects = [block.rows[key].effect for block in valid]
    center = statistics.median(effects)
    ratio = ratio_of(t_summary(effects))
    assert ratio.lower is not None
    assert ratio.upper is not None
    generator = random.Random(f"{seed}/{scenario.name}")  # noqa: S311  # a replay, not a secret
    covered = 0
    for _ in range(gates):
        rows: list[RowEvidence] = [block.rows[key] for block in stretch(valid, look, generator)]
        ends = bounds(t_summary([row.effect for row in rows]))
        covered += ends is not None and ends[0] <= 0 <= ends[1]
    return ScenarioCalibration(
        scenario=scenario,
        noise_floor=floor,
        effect_robust_sd=_MAD_TO_SD * statistics.median(abs(effect - center) for effect in effects),
        ratio=ratio.value,
        ratio_lower=ratio.lower,
        ratio_upper=ratio.upper,
        coverage=covered / gates,
    )


def calibration_path(environment: Environment, directory: Path = CALIBRATIONS_DIRECTORY) -> Path:
    """Return where the calibration of this class of machines is stored."""
    return directory / f"{class_slug(environment)}.json"


def blocks_path(environment: Environment, directory: Path = CALIBRATIONS_DIRECTORY) -> Path:
    """Return where the recorded blocks behind that calibration are stored."""
    return directory / f"{class_slug(environment)}.blocks.json"


def calibration_for(environment: Environment, directory: Path = CALIBRATIONS_DIRECTORY) -> Calibration | None:
    """Return the calibration of this class of machines; None if it has none.

    Raises `StoreError` for one that cannot be read.
    """
    path = calibration_path(environment, directory)
    if not path.exists():
        return None
    calibration = store.read(path, Calibration)
    if calibration.machine_class != class_digest(environment):
        raise StoreError(f"{path}: is the calibration of another class of machines; remove it and calibrate here")
    return calibration
