"""Decide from a gate's blocks: its verdicts, and what it must measure next. Pure functions of the gate file.

The same file gives the same verdicts, to the bit: a running gate calls `conclude` after each block, and a replay calls
it once. The parts of the method:

- Evidence: each block gives each scenario an effect, a control and a difference in accuracy (`evidence_of`).
- Looks: at 9, 12 and 20 valid blocks every scenario is judged on all main blocks so far (`judge`). Holm over the
  planned scenarios and Bonferroni over the looks keep the family-wise error of a whole gate at alpha.
- Confirmation: a regression counts if it shows again in fresh blocks of the suspects alone. An unconfirmed suspect
  goes on to the next look.
- Assumptions of the tests are checked on the same blocks; the only verdict of a gate that breaks one is "invalid".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from bench.analysis.verdict import Verdict, worst
from bench.experiments.gate.evidence import BlockEvidence, evidence_of
from bench.experiments.gate.look import FEWEST_BLOCKS, GateRow, Suspicion, judge, rows_of, threshold_of
from bench.records.gate import GatedScenario, GateFile, GatePhase, GatePlan, Purpose
from bench.stats import paired
from bench.stats.intervals import (
    Estimate,
    ratio_of,
    t_summary,
    upper_bound,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The next block to measure."""

    phase: GatePhase
    scenarios: tuple[GatedScenario, ...]
    #: Valid blocks of this phase so far, and the number of them at the next look.
    done: int
    until: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """What all blocks so far say."""

    verdict: Verdict
    rows: tuple[GateRow, ...]
    #: None: nothing more is to be measured, the verdict is final.
    wanted: Wanted | None
    #: Blocks so far, void ones included.
    blocks: int
    #: (index of the block, why it is void).
    voids: tuple[tuple[int, str], ...]


def conclusion_of(gate_file: GateFile) -> Conclusion:
    """Return what the blocks of a gate file allow to conclude."""
    return conclude(gate_file.plan, evidence_of(gate_file.plan, gate_file.blocks))


def conclude(plan: GatePlan, evidence: Sequence[BlockEvidence]) -> Conclusion:
    """Return the verdicts after these blocks, and which block is wanted next."""
    voids = tuple((index, block.void) for index, block in enumerate(evidence) if block.void is not None)
    valid = [block for block in evidence if block.void is None]
    main = [block for block in valid if block.phase is GatePhase.MAIN]
    if failure := next((block.failure for block in evidence if block.failure is not None), None):
        rows, wanted = _all(plan, main, Verdict.MISSING, failure), None
    elif plan.purpose is Purpose.CALIBRATION:  # its blocks are recorded, whatever they say
        rows, wanted = judge(plan, main), _wanted_main(plan, main, plan.max_blocks)
        if len(main) >= plan.max_blocks or len(evidence) >= 2 * plan.max_blocks:
            wanted = None
    elif len(voids) > plan.unhealthy_fraction * max(len(evidence), plan.looks[0]):
        reason = f"unhealthy machine: {len(voids)} of {len(evidence)} blocks void, the last since {voids[-1][1]}"
        rows, wanted = _all(plan, main, Verdict.INVALID, reason), None
    else:
        rows, wanted = _follow(plan, valid)
        if len(evidence) >= plan.max_blocks:
            wanted = None
    return Conclusion(
        verdict=worst(row.verdict for row in rows),
        rows=tuple(rows),
        wanted=wanted,
        blocks=len(evidence),
        voids=voids,
    )


def _follow(plan: GatePlan, valid: Sequence[BlockEvidence]) -> tuple[list[GateRow], Wanted | None]:
    """Return the rows after these valid blocks, and what is wanted next: looks, each with a confirmation if needed."""
    remaining = list(valid)
    main: list[BlockEvidence] = []
    rows: list[GateRow] = []
    wanted: Wanted | None = None
    for look in plan.looks:
        taken = _take(remaining, GatePhase.MAIN, look - len(main))
        main += taken
        rows = judge(plan, main)
        if len(main) < look:  # the budget may end here: these rows are then the last look
            rows, wanted = [_unconfirmed(row) for row in rows], _wanted_main(plan, main, look)
            break
        if any(row.suspicion for row in rows):
            rows, wanted = _confirm(plan, rows, remaining)
            if wanted is not None or any(row.suspicion for row in rows):
                break
        elif all(row.verdict.passes for row in rows):
            break
    if remaining:
        return _all(plan, main, Verdict.INVALID, "the file's blocks do not follow its plan"), None
    return rows, wanted


def _confirm(
    plan: GatePlan, rows: Sequence[GateRow], remaining: list[BlockEvidence]
) -> tuple[list[GateRow], Wanted | None]:
    """Return the rows after the confirmation of the suspects, and what it wants; take its blocks from `remaining`."""
    gated = {each.key: each for each in plan.scenarios}
    suspicions = {row.key: row.suspicion for row in rows if row.suspicion is not None}
    suspects = [gated[key] for key in suspicions]
    fresh: list[BlockEvidence] = []
    for look in plan.confirmation_looks:
        fresh += _take(remaining, GatePhase.CONFIRMATION, look - len(fresh))
        if len(fresh) < look:
            wanted = Wanted(phase=GatePhase.CONFIRMATION, scenarios=tuple(suspects), done=len(fresh), until=look)
            return [_unconfirmed(row, fresh) for row in rows], wanted
        confirmed = {each.key for each in suspects if _shows_again(plan, each, suspicions[each.key], fresh)}
        if confirmed:
            return [_confirmed(row, fresh) if row.key in confirmed else _unconfirmed(row, fresh) for row in rows], None
    return [_unconfirmed(row, fresh) for row in rows], None


def _shows_again(plan: GatePlan, gated: GatedScenario, suspicion: Suspicion, fresh: Sequence[BlockEvidence]) -> bool:
    """Return whether the suspicion shows again in the fresh blocks; the looks of a confirmation share its alpha."""
    alpha = plan.confirmation_alpha / len(plan.confirmation_looks)
    found = rows_of(gated.key, fresh)
    if len(found) < FEWEST_BLOCKS:
        return False
    if suspicion is Suspicion.SLOWER:
        return paired.sign_flip_p_value([row.effect for row in found], threshold_of(plan, gated)) <= alpha
    return upper_bound(t_summary([row.accuracy_difference for row in found]), alpha) < -plan.accuracy_margin


def _take(remaining: list[BlockEvidence], phase: GatePhase, count: int) -> list[BlockEvidence]:
    """Remove and return the next `count` blocks, as far as they are of this phase."""
    taken: list[BlockEvidence] = []
    while remaining and len(taken) < count and remaining[0].phase is phase:
        taken.append(remaining.pop(0))
    return taken


def _wanted_main(plan: GatePlan, main: Sequence[BlockEvidence], until: int) -> Wanted:
    return Wanted(phase=GatePhase.MAIN, scenarios=plan.scenarios, done=len(main), until=until)


def _confirmation(row: GateRow, fresh: Sequence[BlockEvidence]) -> Estimate | None:
    effects = [found.effect for found in rows_of(row.key, fresh)]
    return ratio_of(t_summary(effects)) if effects else None


def _confirmed(row: GateRow, fresh: Sequence[BlockEvidence]) -> GateRow:
    confirmation = _confirmation(row, fresh)
    return dataclasses.replace(
        row, confirmation=confirmation, reason=f"{row.reason}; confirmed in {_count_fresh(fresh)}"
    )


def _unconfirmed(row: GateRow, fresh: Sequence[BlockEvidence] = ()) -> GateRow:
    """Return an inconclusive row for a suspicion, which is no regression yet; any other row as it is."""
    if row.suspicion is None:
        return row
    blocks = f"not confirmed in {_count_fresh(fresh)}" if fresh else "not confirmed yet"
    return dataclasses.replace(
        row,
        verdict=Verdict.INCONCLUSIVE,
        suspicion=None,
        reason=f"suspected ({row.reason}), {blocks}",
        confirmation=_confirmation(row, fresh),
    )


def _count_fresh(fresh: Sequence[BlockEvidence]) -> str:
    return f"{len(fresh)} fresh block{'' if len(fresh) == 1 else 's'}"


def _all(plan: GatePlan, main: Sequence[BlockEvidence], verdict: Verdict, reason: str) -> list[GateRow]:
    return [dataclasses.replace(row, verdict=verdict, reason=reason, suspicion=None) for row in judge(plan, main)]
