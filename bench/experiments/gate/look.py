"""One look of a gate: judge every planned scenario on the blocks so far. Pure functions of the evidence."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.analysis.verdict import Verdict
from bench.experiments.gate.evidence import BlockEvidence, RowEvidence
from bench.records.gate import GatedScenario, GateKey, GatePlan, name_of
from bench.scenarios.scenario import Scenario
from bench.stats import multiple_testing, paired
from bench.stats.intervals import (
    Estimate,
    TSummary,
    bounds,
    detectable_effect,
    estimate_of,
    moments,
    p_nonzero,
    ratio_of,
    t_summary,
    upper_bound,
    welch_difference,
)
from bench.stats.paired import Order, Side

#: Blocks, at least, of a row with a spread.
FEWEST_BLOCKS: Final = 2


class Suspicion(enum.Enum):
    """The kind of a suspected regression; only the same kind confirms it."""

    SLOWER = "slower"
    LESS_ACCURATE = "less accurate"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """The verdict on one scenario, and the numbers behind it."""

    scenario: Scenario
    #: Of the latency of a single image; None: its training.
    percentile: float | None
    verdict: Verdict
    #: Why this verdict, in one line.
    reason: str
    #: None unless the verdict is "regressed".
    suspicion: Suspicion | None
    #: Valid main blocks behind the row.
    n: int
    #: Contender's seconds per image over the baseline's: above 1 is slower. 95 % t interval over blocks.
    ratio: Estimate | None
    #: p-value of "slower by at most the threshold", adjusted for all scenarios and looks; compare with alpha.
    p_value: float | None
    #: Relative slowdown (0.02 = 2 % slower) up to which a row has not regressed: the margin or, if greater, the noise
    #: floor.
    threshold: float
    #: Relative slowdown that so many blocks with this spread would have shown with `POWER`; None: no slowdown at all.
    detectable: float | None
    #: Ratio of the blocks' own A/A comparison, which must not differ from 1.
    control: Estimate | None
    #: Contender's test accuracy minus the baseline's, with its 95 % t interval over blocks.
    accuracy: Estimate | None
    #: Ratio in the confirmation blocks since the last look; None: not suspected.
    confirmation: Estimate | None

    @property
    def key(self) -> GateKey:
        return self.scenario, self.percentile

    @property
    def name(self) -> str:
        return name_of(self.key)


def judge(plan: GatePlan, main: Sequence[BlockEvidence]) -> list[GateRow]:
    """Judge every planned scenario on these main blocks.

    "Regressed" is a suspicion here, which `conclude` wants to see confirmed. p-values are adjusted by Holm over the
    scenarios and by Bonferroni over the looks.
    """
    evidence = {gated.key: rows_of(gated.key, main) for gated in plan.scenarios}
    slower, faster = [], []
    for gated in plan.scenarios:
        effects = [row.effect for row in evidence[gated.key]]
        threshold = threshold_of(plan, gated)
        # A calibration has more blocks than a gate ever looks at: they are recorded, not judged.
        testable = 0 < len(effects) == len(main) <= plan.looks[-1] and all(map(math.isfinite, effects))
        slower.append(paired.sign_flip_p_value(effects, threshold) if testable else 1.0)
        faster.append(paired.sign_flip_p_value([-effect for effect in effects], threshold) if testable else 1.0)
    adjusted = zip(multiple_testing.holm_adjusted(slower), multiple_testing.holm_adjusted(faster), strict=True)
    return [
        _row(plan, gated, main, evidence[gated.key], len(plan.looks) * of_slower, len(plan.looks) * of_faster)
        for gated, (of_slower, of_faster) in zip(plan.scenarios, adjusted, strict=True)
    ]


def rows_of(key: GateKey, blocks: Iterable[BlockEvidence]) -> list[RowEvidence]:
    """Return the evidence on one scenario, from the blocks that have it."""
    return [block.rows[key] for block in blocks if key in block.rows]


def threshold_of(plan: GatePlan, gated: GatedScenario) -> float:
    """Return the log ratio up to which a slowdown is no regression: the margin or, if greater, the noise floor."""
    return math.log1p(max(plan.margin, gated.noise_floor or 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Summary:
    """The evidence of one or more blocks on one scenario, each kind summarized once; all numbers are finite."""

    #: Of the log ratios, contender over baseline.
    effects: TSummary
    controls: TSummary
    #: Of the differences in test accuracy, contender minus baseline.
    accuracy: TSummary
    #: Log ratio above which a slowdown is a regression.
    threshold: float
    #: p-values of "slower" and "faster by at most the threshold", adjusted for all scenarios and looks.
    slower_p_value: float
    faster_p_value: float
    #: Relative slowdown (0.02 = 2 % slower) that such blocks would have shown; infinite: none at all.
    detectable: float


def _row(
    plan: GatePlan,
    gated: GatedScenario,
    main: Sequence[BlockEvidence],
    evidence: Sequence[RowEvidence],
    slower_p_value: float,
    faster_p_value: float,
) -> GateRow:
    threshold = threshold_of(plan, gated)
    accuracy = t_summary([row.accuracy_difference for row in evidence]) if evidence else None
    summary = None
    if accuracy is not None and all(map(_is_finite, evidence)):
        effects = t_summary([row.effect for row in evidence])
        summary = _Summary(
            effects=effects,
            controls=t_summary([row.control for row in evidence]),
            accuracy=accuracy,
            threshold=threshold,
            slower_p_value=slower_p_value,
            faster_p_value=faster_p_value,
            detectable=_detectable(plan, effects, threshold),
        )
    verdict, reason, suspicion = _verdict(plan, main, evidence, summary)
    return GateRow(
        scenario=gated.scenario,
        percentile=gated.percentile,
        verdict=verdict,
        reason=reason,
        suspicion=suspicion,
        n=len(evidence),
        ratio=None if summary is None else ratio_of(summary.effects),
        p_value=min(1.0, slower_p_value) if evidence else None,
        threshold=math.expm1(threshold),
        detectable=None if summary is None or math.isinf(summary.detectable) else summary.detectable,
        control=None if summary is None else ratio_of(summary.controls),
        accuracy=None if accuracy is None else estimate_of(accuracy),
        confirmation=None,
    )


def _detectable(plan: GatePlan, effects: TSummary, threshold: float) -> float:
    """Return the detectable relative slowdown at the strictest alpha of a look; infinite: none at all.

    It is that of a t test or, if only unanimous blocks are significant and that takes more, of unanimous blocks.
    """
    alpha = plan.alpha / len(plan.looks) / len(plan.scenarios)
    by_t_test = detectable_effect(effects, threshold, alpha)
    if effects.error is None or alpha * 2.0**effects.n >= 2:  # noqa: PLR2004  # then a second sign pattern is significant
        return by_t_test
    return max(by_t_test, paired.unanimous_detectable_effect(effects, threshold))


_Judgement = tuple[Verdict, str, Suspicion | None]


def _verdict(
    plan: GatePlan, main: Sequence[BlockEvidence], evidence: Sequence[RowEvidence], summary: _Summary | None
) -> _Judgement:
    """Return verdict, reason and suspicion: faults of the measurement first, then bad news, then good news."""
    n = len(evidence)
    if n < len(main):
        return Verdict.MISSING, f"{len(main) - n} of {len(main)} blocks lack it", None
    if not n:
        return Verdict.UNDERPOWERED, "no valid block yet", None
    if summary is None:
        return Verdict.INVALID, "a measurement is not a finite number", None
    best_p_value = min(1.0, 2.0**-n * len(plan.scenarios) * len(plan.looks))
    if n < FEWEST_BLOCKS or best_p_value > plan.alpha:
        blocks = f"{n} {'block' if n == 1 else 'blocks'}"
        reason = f"{blocks} cannot show a regression: p is {best_p_value:.2g} at best, and alpha {plan.alpha:g}"
        return Verdict.UNDERPOWERED, reason, None
    if broken := _broken_assumption(plan, main, evidence, summary):
        return Verdict.INVALID, broken, None
    return _decided(plan, summary)


def _decided(plan: GatePlan, summary: _Summary) -> _Judgement:
    """Judge two or more blocks that keep the assumptions of the tests."""
    look_alpha = plan.alpha / len(plan.looks)
    effects, accuracy, threshold = summary.effects, summary.accuracy, summary.threshold
    lower, upper = bounds(effects) or (-math.inf, math.inf)
    bound = upper_bound(effects, look_alpha)
    if upper_bound(accuracy, look_alpha / len(plan.scenarios)) < -plan.accuracy_margin:
        return Verdict.REGRESSED, f"less accurate by {-accuracy.value:.4f}", Suspicion.LESS_ACCURATE
    if summary.slower_p_value <= plan.alpha and lower > threshold:
        return Verdict.REGRESSED, f"slower by more than {_percent(threshold)}", Suspicion.SLOWER
    if upper_bound(-accuracy, look_alpha) > plan.accuracy_margin:
        verdict, reason = Verdict.INCONCLUSIVE, f"accuracy could have fallen by more than {plan.accuracy_margin:g}"
    elif summary.faster_p_value <= plan.alpha and upper < -threshold:
        verdict, reason = Verdict.IMPROVED, f"faster by more than {_percent(threshold)}"
    elif effects.value > threshold:  # not shown to be slower yet, but no reason to call it unchanged
        verdict, reason = Verdict.INCONCLUSIVE, f"on average slower by more than {_percent(threshold)}, not surely"
    elif bound >= math.log1p(plan.tolerance):
        verdict, reason = Verdict.INCONCLUSIVE, f"could be up to {_percent(bound)} slower"
    elif summary.detectable > plan.detectable_limit:
        limit = _percent(math.log1p(plan.detectable_limit))
        verdict, reason = Verdict.INCONCLUSIVE, f"too noisy: {limit} slower might not have been suspected"
    else:
        verdict, reason = Verdict.UNCHANGED, f"at most {_percent(bound)} slower"
    return verdict, reason, None


def _is_finite(row: RowEvidence) -> bool:
    return all(map(math.isfinite, (row.effect, row.control, row.accuracy_difference, *row.trends)))


def _broken_assumption(
    plan: GatePlan, main: Sequence[BlockEvidence], evidence: Sequence[RowEvidence], summary: _Summary
) -> str | None:
    """Return which assumption of the tests the blocks contradict; the scenarios share the alpha of each check."""
    alpha = plan.control_alpha / len(plan.scenarios)
    if summary.effects.error == 0:
        return "every block gave the same ratio, to the last bit: no clock does that"
    if p_nonzero(summary.controls) <= alpha:
        off = _percent(abs(summary.controls.value))
        return f"the control is off zero by {off}: one side differs from itself by its place in the block"
    abba, baab = (
        [row.effect for block, row in zip(main, evidence, strict=True) if block.order is order] for order in Order
    )
    if abba and baab and p_nonzero(welch_difference(moments(abba), moments(baab))) <= alpha:
        return "order effect: ABBA and BAAB blocks disagree"
    for side, trends in zip(Side, zip(*(row.trends for row in evidence), strict=True), strict=True):
        trend = t_summary(trends)
        if abs(trend.value) > math.log1p(plan.steadiness_margin) and p_nonzero(trend) <= alpha:
            return f"not steady: the {side}'s last window differs from its first by {_percent(abs(trend.value))}"
    return None


def _percent(log: float) -> str:
    """Format a log ratio as a percentage."""
    return f"{100 * math.expm1(log):.1f} %"
