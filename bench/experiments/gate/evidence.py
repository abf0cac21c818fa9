"""From a stored block to its evidence: one effect, one control and one accuracy difference for each scenario."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.records.gate import (
    Block,
    GateKey,
    GateMetric,
    GatePhase,
    GatePlan,
    ScenarioInvocation,
    draw,
)
from bench.records.health import void_reason
from bench.stats import paired
from bench.stats.paired import Order, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class RowEvidence:
    """What one block says of one scenario, on the logarithmic scale: a difference of 0.02 is 2 % slower."""

    #: Log ratio, contender over baseline; see `paired.effect`.
    effect: float
    #: See `paired.control`.
    control: float
    #: Contender's test accuracy minus the baseline's: same seed, mean over the two invocations of each.
    accuracy_difference: float
    #: log(last window / first window), mean over the two invocations of the baseline, and of the contender.
    trends: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEvidence:
    """What one block says of all its scenarios."""

    phase: GatePhase
    order: Order
    #: Why the block does not count, by rules that do not look at the sides; None: it counts.
    void: str | None
    #: Why the block is not complete; None: it is.
    failure: str | None
    #: Without the scenarios that one of the invocations lacks.
    rows: Mapping[GateKey, RowEvidence]


def evidence_of(plan: GatePlan, blocks: Sequence[Block]) -> list[BlockEvidence]:
    """Return the evidence of each block, in order."""
    return [evidence_of_last(plan, blocks[: index + 1]) for index in range(len(blocks))]


def evidence_of_last(plan: GatePlan, blocks: Sequence[Block]) -> BlockEvidence:
    """Return the evidence of the last block.

    Whether it is void is never revised by later blocks, see `void_reason`.
    """
    block = blocks[-1]
    failure = _failure_reason(plan, block, len(blocks) - 1)
    return BlockEvidence(
        phase=block.phase,
        order=block.order,
        void=_void_reason(plan, blocks) if failure is None else None,
        failure=failure,
        rows=_rows_of(plan, block) if failure is None else {},
    )


def _failure_reason(plan: GatePlan, block: Block, index: int) -> str | None:
    """Name the invocation that failed, or what is not as the plan says: no file passes by what it leaves out."""
    if block.failure is not None:
        return f"the {block.failure.side}'s pass failed: {block.failure.reason}: {block.failure.detail}"
    windows = {gated.scenario: gated.window_samples for gated in plan.scenarios}
    if block.index != index:
        return f"block {index} is missing"
    if block.order is not draw(plan.seed, index, plan.scenarios)[0]:
        return f"block {index} is not in the order that was drawn for it"
    if [each.side for each in block.passes] != list(block.order.sides):
        return f"block {index} does not have its four passes in the order {block.order}"
    for measured in (measured for each in block.passes for measured in each.scenarios):
        wanted = (windows.get(measured.scenario, 0),) * plan.windows
        turns = plan.windows if plan.metric is GateMetric.LATENCY else 0
        is_complete = len(measured.window_seconds) == plan.windows and len(measured.answered) == turns
        if measured.samples != wanted or not is_complete:
            return f"block {index} does not have the windows that were planned for {measured.scenario.name}"
    return None


def _void_reason(plan: GatePlan, blocks: Sequence[Block]) -> str | None:
    healths = [block.health for block in blocks]
    limits = plan.void_steal_fraction, plan.void_anchor_ratio
    return void_reason(healths, *limits, at_both_ends=plan.void_at_both_ends)


def _rows_of(plan: GatePlan, block: Block) -> dict[GateKey, RowEvidence]:
    rows = {}
    by_invocation = [{measured.scenario: measured for measured in each.scenarios} for each in block.passes]
    for gated in plan.scenarios:
        if all(gated.scenario in measured for measured in by_invocation):
            own = [measured[gated.scenario] for measured in by_invocation]
            rows[gated.key] = _row_of(plan, block, own, gated.percentile)
    return rows


def _row_of(
    plan: GatePlan, block: Block, measured: Sequence[ScenarioInvocation], percentile: float | None
) -> RowEvidence:
    logs = [[math.log(seconds) for seconds in _seconds_of_an_image(each, percentile)] for each in measured]
    y = [statistics.fmean(sorted(windows)[: max(1, len(windows) - plan.left_out_windows)]) for windows in logs]
    accuracies: dict[Side, list[float]] = {side: [] for side in Side}
    trends: dict[Side, list[float]] = {side: [] for side in Side}
    for each, found, windows in zip(block.passes, measured, logs, strict=True):
        accuracies[each.side].append(_accuracy(found))
        trends[each.side].append(windows[-1] - windows[0])
    return RowEvidence(
        effect=paired.effect(block.order, y),
        control=paired.control(y),
        accuracy_difference=statistics.fmean(accuracies[Side.CONTENDER]) - statistics.fmean(accuracies[Side.BASELINE]),
        trends=(statistics.fmean(trends[Side.BASELINE]), statistics.fmean(trends[Side.CONTENDER])),
    )


def _seconds_of_an_image(measured: ScenarioInvocation, percentile: float | None) -> list[float]:
    """Return for each window the seconds of training on an image, or this percentile of predicting one."""
    if percentile is not None:
        return [turn.seconds(percentile) for turn in measured.answered]
    return [seconds / samples for seconds, samples in zip(measured.window_seconds, measured.samples, strict=True)]


def _accuracy(measured: ScenarioInvocation) -> float:
    """Return the test accuracy, of which each query counts off that was answered by another digit."""
    mismatches = sum(turn.mismatches for turn in measured.answered)
    return measured.test_accuracy - mismatches / sum(measured.samples) if mismatches else measured.test_accuracy
