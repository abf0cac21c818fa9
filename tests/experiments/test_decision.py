"""What a gate concludes from its blocks is checked on data whose truth is known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.analysis.verdict import Verdict, worst
from bench.experiments.gate.decision import Conclusion, conclude
from bench.experiments.gate.evidence import evidence_of
from bench.experiments.gate.look import judge
from bench.records.gate import Block, GateFile, GatePhase, GatePlan, InvocationFailure, Purpose
from bench.records.result import FailureReason
from bench.scenarios.scenario import Scenario
from bench.stats.paired import Order, Side
from tests.support.gate import (
    FOUR,
    LENET,
    MLP,
    Noise,
    a_block,
    a_gate_file,
    a_health,
    a_plan,
    blocks,
    noisy,
    slowed,
    whole_gate,
)


def concluded(plan: GatePlan, found: Sequence[Block]) -> Conclusion:
    return conclude(plan, evidence_of(plan, found))


def measured(plan: GatePlan, noise: Noise, **changes: Any) -> Conclusion:  # noqa: ANN401
    """Return the file of a whole gate."""
    return concluded(plan, whole_gate(plan, noise, **changes))


def verdicts(conclusion: Conclusion) -> dict[Scenario, Verdict]:
    return {row.scenario: row.verdict for row in conclusion.rows}


# --- what it says -----------------------------------------------------------------------------------------------------


def test_identical_code_is_unchanged_after_eight_blocks() -> None:
    """That is said of every scenario, with an interval around 1."""
    conclusion = measured(a_plan(), noisy(1))
    assert verdicts(conclusion) == dict.fromkeys(FOUR, Verdict.UNCHANGED)
    assert conclusion.blocks == 8
    for row in conclusion.rows:
        assert row.ratio is not None
        assert row.ratio.lower is not None
        assert row.ratio.upper is not None
        assert row.ratio.lower < 1 < row.ratio.upper


def test_a_slowdown_is_regressed_once_confirmed_in_fresh_blocks() -> None:
    """Eight blocks raise the suspicion, and five fresh ones of the suspected scenario alone confirm it."""
    plan, noise = a_plan(), slowed(noisy(2), 0.10, [LENET])
    suspicion = concluded(plan, blocks(8, noise))
    assert suspicion.wanted is not None
    assert suspicion.wanted.phase is GatePhase.CONFIRMATION
    assert [gated.scenario for gated in suspicion.wanted.scenarios] == [LENET]
    assert verdicts(suspicion)[LENET] is Verdict.INCONCLUSIVE
    conclusion = measured(plan, noise)
    assert verdicts(conclusion)[LENET] is Verdict.REGRESSED
    assert conclusion.verdict is Verdict.REGRESSED
    assert conclusion.blocks == 13
    row = next(row for row in conclusion.rows if row.scenario == LENET)
    assert row.ratio is not None
    assert row.ratio.value == pytest.approx(1.10, rel=0.02)
    assert row.confirmation is not None
    assert row.confirmation.n == 5


def test_a_suspicion_that_does_not_show_again_is_no_regression() -> None:
    """The first eight blocks had bad luck on one side; all later ones are equal."""
    quiet = noisy(3)

    def unlucky(block: int, turn: int, side: Side, scenario: Scenario) -> float:
        luck = 0.08 if block < 8 and side is Side.CONTENDER and scenario == MLP else 0.0
        return quiet(block, turn, side, scenario) + luck

    conclusion = measured(a_plan(), unlucky)
    assert Verdict.REGRESSED not in verdicts(conclusion).values()
    assert conclusion.blocks > 8 + 10


def test_a_faster_contender_is_improved() -> None:
    """It is surely faster, by more than the margin."""
    conclusion = measured(a_plan(), slowed(noisy(4), -0.10))
    assert verdicts(conclusion) == dict.fromkeys(FOUR, Verdict.IMPROVED)
    assert conclusion.verdict is Verdict.IMPROVED


def test_slower_by_less_than_the_margin_is_no_regression() -> None:
    """It is 1 % slower at a margin of 2 %."""
    assert measured(a_plan(), slowed(noisy(5, sd=0.005), 0.01)).verdict is Verdict.UNCHANGED


def test_the_noise_floor_raises_the_threshold() -> None:
    """5 % slower is nothing where identical code differs by 6 %."""
    plan, noise = a_plan(), slowed(noisy(6), 0.05)
    assert measured(plan, noise).verdict is Verdict.REGRESSED
    noisy_scenarios = tuple(msgspec.structs.replace(gated, noise_floor=0.06) for gated in plan.scenarios)
    assert measured(msgspec.structs.replace(plan, scenarios=noisy_scenarios), noise).verdict is Verdict.UNCHANGED


def test_a_noisy_machine_gets_more_blocks_and_then_no_pass() -> None:
    """All looks are used up; what could not be shown is not claimed, and the row says what it could have shown."""
    conclusion = measured(a_plan(), slowed(noisy(7, sd=0.15), 0.05))
    assert conclusion.verdict is Verdict.INCONCLUSIVE
    assert conclusion.blocks >= 20
    assert all(row.detectable is not None and row.detectable > 0.10 for row in conclusion.rows)


def test_faster_and_wrong_is_regressed() -> None:
    """A contender that skips the training is fast."""
    conclusion = measured(
        a_plan(), slowed(noisy(8), -0.30), accuracy=lambda side: 0.1 if side is Side.CONTENDER else 0.9
    )
    assert verdicts(conclusion) == dict.fromkeys(FOUR, Verdict.REGRESSED)
    assert "less accurate by 0.8" in conclusion.rows[0].reason


def test_an_accuracy_that_may_have_fallen_is_not_a_pass() -> None:
    """The accuracies are equal on average, but lie anywhere within 20 points of each other."""
    generator = np.random.default_rng(9)
    conclusion = measured(a_plan(), noisy(9), accuracy=lambda _side: float(generator.uniform(0.7, 0.9)))
    assert conclusion.verdict is Verdict.INCONCLUSIVE
    assert "accuracy could have fallen" in conclusion.rows[0].reason


# --- what it must not be fooled by ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("left_out", "effect"), [(0, math.log(8) / 6), (1, 0.0), (2, 0.0), (9, 0.0)])
def test_the_slowest_windows_of_a_process_are_left_out(left_out: int, effect: float) -> None:
    """As many as the plan says, and never all; a disturbance of one window is in no effect then."""
    block = a_block(0, lambda *_where: 0.0)
    place = next(place for place, each in enumerate(block.passes) if each.side is Side.CONTENDER)
    first, *others = block.passes[place].scenarios
    seconds, *rest = first.window_seconds
    disturbed = msgspec.structs.replace(first, window_seconds=(8 * seconds, *rest))
    passes = list(block.passes)
    passes[place] = msgspec.structs.replace(passes[place], scenarios=(disturbed, *others))
    (evidence,) = evidence_of(a_plan(left_out_windows=left_out), [msgspec.structs.replace(block, passes=tuple(passes))])
    assert evidence.rows[first.scenario, None].effect == pytest.approx(effect)


def test_drift_within_and_between_blocks_is_no_effect() -> None:
    """The machine steadily slows down by a factor of two within the gate."""
    quiet = noisy(10)
    conclusion = measured(a_plan(), lambda b, t, side, s: quiet(b, t, side, s) + 0.02 * (4 * b + t))
    assert conclusion.verdict is Verdict.UNCHANGED


def test_autocorrelated_noise_raises_no_alarm() -> None:
    """The noise is AR(1) at 0.9 over the turns; of 100 gates over identical code none says regressed."""
    alarms = 0
    for seed in range(100):
        generator = np.random.default_rng(seed)
        state = [0.0]

        def noise(*_turn: object, generator: np.random.Generator = generator, state: list[float] = state) -> float:
            state[0] = 0.9 * state[0] + float(generator.normal(0, 0.01))
            return state[0]

        alarms += measured(a_plan([MLP]), noise).verdict is Verdict.REGRESSED
    assert alarms == 0


@pytest.mark.slow
def test_outliers_raise_no_alarm_and_hide_no_slowdown_for_good() -> None:
    """One process in twenty takes half as long again."""

    def with_outliers(seed: int) -> Noise:
        generator, quiet = np.random.default_rng(seed), noisy(seed)
        return lambda b, t, side, s: quiet(b, t, side, s) + 0.4 * (generator.random() < 0.05)

    identical = [measured(a_plan([MLP]), with_outliers(seed)).verdict for seed in range(60)]
    assert Verdict.REGRESSED not in identical
    slower = [measured(a_plan([MLP]), slowed(with_outliers(seed), 0.10)).verdict for seed in range(60)]
    assert Verdict.UNCHANGED not in slower


@pytest.mark.slow
def test_a_bimodal_machine_raises_no_alarm() -> None:
    """A coin makes each process fast or 20 % slower, so the interval is wide, and nothing wrong is claimed."""

    def bimodal(seed: int) -> Noise:
        generator, quiet = np.random.default_rng(seed), noisy(seed)
        return lambda b, t, side, s: quiet(b, t, side, s) + 0.18 * (generator.random() < 0.5)

    assert Verdict.REGRESSED not in [measured(a_plan([MLP]), bimodal(seed)).verdict for seed in range(60)]


def test_an_order_effect_is_invalid() -> None:
    """The second and third turns are always slower, so that ABBA and BAAB blocks disagree."""
    quiet = noisy(11)
    conclusion = measured(a_plan(), lambda b, t, side, s: quiet(b, t, side, s) + (0.1 if t in {1, 2} else 0.0))
    assert conclusion.verdict is Verdict.INVALID
    assert "order effect" in conclusion.rows[0].reason


def test_a_control_off_zero_is_invalid() -> None:
    """The first turn is always slower, so that a side differs from itself."""
    quiet = noisy(12, sd=0.005)
    conclusion = measured(a_plan(), lambda b, t, side, s: quiet(b, t, side, s) + (0.1 if t == 0 else 0.0))
    assert conclusion.verdict is Verdict.INVALID
    assert "control is off zero" in conclusion.rows[0].reason


def test_passes_that_are_not_steady_are_invalid() -> None:
    """The last window of every process takes 20 % longer than its first."""
    generator = np.random.default_rng(13)
    found = [a_block(i, noisy(13 + i), trend=0.2 + float(generator.normal(0, 0.01))) for i in range(8)]
    conclusion = concluded(a_plan(), found)
    assert conclusion.verdict is Verdict.INVALID
    assert "not steady" in conclusion.rows[0].reason


def test_zero_variance_is_invalid() -> None:
    """No clock gives the same ratio eight times to the last bit."""
    conclusion = concluded(a_plan(), blocks(8, lambda *_turn: 0.0))
    assert conclusion.verdict is Verdict.INVALID
    assert "to the last bit" in conclusion.rows[0].reason


@pytest.mark.parametrize("count", range(8))
def test_too_few_blocks_are_underpowered(count: int) -> None:
    """However equal the sides, 2^-n is above what alpha leaves for four scenarios and three looks."""
    conclusion = concluded(a_plan(), blocks(count, noisy(14)))
    assert conclusion.verdict is Verdict.UNDERPOWERED
    assert conclusion.wanted is not None


def test_a_missing_row_is_missing() -> None:
    """One block lacks a scenario on one side."""
    found = blocks(8, noisy(15))
    passes = list(found[3].passes)
    passes[1] = msgspec.structs.replace(passes[1], scenarios=passes[1].scenarios[:-1])
    found[3] = msgspec.structs.replace(found[3], passes=tuple(passes))
    conclusion = concluded(a_plan(), found)
    assert verdicts(conclusion)[FOUR[-1]] is Verdict.MISSING
    assert conclusion.verdict is Verdict.MISSING


def test_a_number_that_is_none_is_invalid() -> None:
    """One window of one process is NaN."""
    found = blocks(8, lambda b, t, side, s: math.nan if (b, t, s) == (2, 1, MLP) else noisy(b * 10 + t)(b, t, side, s))
    conclusion = concluded(a_plan(), found)
    assert verdicts(conclusion)[MLP] is Verdict.INVALID
    assert not conclusion.verdict.passes


def test_a_crash_on_either_side_is_never_a_pass() -> None:
    """It ends the gate and names the side, and what was measured is kept."""
    failure = InvocationFailure(side=Side.CONTENDER, reason=FailureReason.CRASHED, detail="status 3", log="")
    found = [*blocks(8, noisy(16)), a_block(8, noisy(16), passes=(), failure=failure)]
    conclusion = concluded(a_plan(), found)
    assert conclusion.verdict is Verdict.MISSING
    assert conclusion.wanted is None
    assert "contender's pass failed: crashed: status 3" in conclusion.rows[0].reason
    assert conclusion.rows[0].n == 8


def test_blocks_against_the_plan_are_invalid() -> None:
    """No look asked for this confirmation, so the file was edited."""
    found = [*blocks(4, noisy(17)), a_block(4, noisy(17), phase=GatePhase.CONFIRMATION)]
    assert concluded(a_plan(), found).verdict is Verdict.INVALID


# --- the machine ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "health", [{"steal_fraction": 0.2}, {"anchor_seconds": (0.006, 0.009)}, {"anchor_seconds": (0.009, 0.006)}]
)
def test_a_disturbed_block_is_void_and_replaced(health: dict[str, Any]) -> None:
    """The rule does not look at what its processes measured."""
    found = blocks(8, noisy(18))
    found[5] = a_block(5, slowed(noisy(18), 3.0), health=a_health(**health))
    conclusion = concluded(a_plan(), found)
    assert [index for index, _why in conclusion.voids] == [5]
    assert conclusion.wanted is not None
    assert (conclusion.wanted.done, conclusion.wanted.until) == (7, 8)
    assert concluded(a_plan(), [*found, a_block(8, noisy(19))]).verdict is Verdict.UNCHANGED


def test_too_many_void_blocks_make_the_machine_unhealthy() -> None:
    """Three of the first eight are void, so that nothing more is measured."""
    found = [a_block(i, noisy(20), health=a_health(steal_fraction=0.2 * (i in {1, 2, 4}))) for i in range(5)]
    conclusion = concluded(a_plan(), found)
    assert conclusion.verdict is Verdict.INVALID
    assert conclusion.wanted is None
    assert "unhealthy" in conclusion.rows[0].reason


def test_a_machine_that_tells_nothing_has_no_void_blocks() -> None:
    """Outside Linux there is no steal time, but the fixed matrix product still counts."""
    found = blocks(8, noisy(21), health=a_health(steal_fraction=None, cpu_pressure_fraction=None, load_average=None))
    assert concluded(a_plan(), found).voids == ()


# --- errors in the long run -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """It does in 95 % of 2,000 first looks at a true slowdown of 3 %."""
    truth, plan, covered = math.log1p(0.03), a_plan([MLP]), 0
    for seed in range(2000):
        row = judge(plan, evidence_of(plan, blocks(8, slowed(noisy(seed, sd=0.02), 0.03), scenarios=[MLP])))[0]
        assert row.ratio is not None
        assert row.ratio.lower is not None
        assert row.ratio.upper is not None
        covered += math.log(row.ratio.lower) <= truth <= math.log(row.ratio.upper)
    assert 0.93 <= covered / 2000 <= 0.97


@pytest.mark.slow
def test_a_slowdown_of_just_the_margin_is_rarely_even_suspected() -> None:
    """The worst case that alpha is about, in all four scenarios: a third of 5 % at the first of three looks.

    Unadjusted for looks and scenarios it would be one gate in six.
    """
    plan, suspected = a_plan(), 0
    for seed in range(400):
        rows = judge(plan, evidence_of(plan, blocks(8, slowed(noisy(seed, sd=0.02), 0.02))))
        suspected += any(row.suspicion is not None for row in rows)
    assert suspected <= 16


def test_the_p_value_is_adjusted_for_all_scenarios_and_looks() -> None:
    """Seven of eight blocks are far above the threshold, one just below: 2 of 256 patterns, times 4, times 3."""
    quiet = noisy(44, sd=1e-4)

    def all_but_one(block: int, turn: int, side: Side, scenario: Scenario) -> float:
        slower = 0.0 if scenario != MLP or side is Side.BASELINE else 0.019 if block == 5 else 0.1
        return quiet(block, turn, side, scenario) + slower

    row = judge(a_plan(), evidence_of(a_plan(), blocks(8, all_but_one)))[0]
    assert row.p_value == pytest.approx(2 / 256 * 4 * 3)
    assert row.verdict is Verdict.INCONCLUSIVE
    unanimous = judge(a_plan(), evidence_of(a_plan(), blocks(8, slowed(quiet, 0.1, [MLP]))))[0]
    assert unanimous.p_value == pytest.approx(1 / 256 * 4 * 3)
    assert unanimous.verdict is Verdict.REGRESSED


@pytest.mark.slow
def test_five_percent_slower_is_never_called_unchanged() -> None:
    """With a spread of 2 % between blocks it is mostly regressed, else undecided."""
    verdicts = [measured(a_plan(), slowed(noisy(seed, sd=0.02), 0.05, [MLP])).verdict for seed in range(200)]
    assert {*verdicts} <= {Verdict.REGRESSED, Verdict.INCONCLUSIVE, Verdict.INVALID}
    assert verdicts.count(Verdict.REGRESSED) >= 180


@pytest.mark.slow
def test_what_a_row_says_it_would_have_suspected_it_suspects() -> None:
    """At the detectable effect that rows print on average, it does in at least eight first looks of ten."""
    plan = a_plan()
    quiet = [judge(plan, evidence_of(plan, blocks(8, noisy(seed, sd=0.02))))[0].detectable for seed in range(60)]
    assert all(detectable is not None for detectable in quiet)
    typical = float(np.median([detectable for detectable in quiet if detectable is not None]))
    suspected = 0
    for seed in range(300):
        slower = slowed(noisy(1000 + seed, sd=0.02), typical, [MLP])
        rows = judge(plan, evidence_of(plan, blocks(8, slower)))
        suspected += rows[0].suspicion is not None
    assert suspected >= 240


def test_a_calibration_goes_on_for_its_number_of_valid_blocks() -> None:
    """What they say does not matter, and each void block is replaced."""
    plan = a_plan(purpose=Purpose.CALIBRATION, max_blocks=50)
    found = blocks(50, slowed(noisy(22), 0.5))
    assert concluded(plan, found).wanted is None
    assert concluded(plan, found[:49]).wanted is not None
    found[4] = msgspec.structs.replace(found[4], health=a_health(steal_fraction=0.5))
    assert concluded(plan, found).wanted is not None
    assert concluded(plan, [*found, a_block(50, noisy(23))]).wanted is None


def test_a_calibration_on_a_hopeless_machine_ends() -> None:
    """It does after twice the blocks, void ones included."""
    plan = a_plan(purpose=Purpose.CALIBRATION, max_blocks=5)
    found = blocks(10, noisy(22), health=a_health(steal_fraction=0.5))
    assert concluded(plan, found[:9]).wanted is not None
    assert concluded(plan, found).wanted is None


def test_the_budget_of_blocks_ends_a_gate() -> None:
    """A plan of at most ten blocks wants no eleventh."""
    conclusion = measured(a_plan(max_blocks=10), slowed(noisy(24, sd=0.15), 0.05))
    assert conclusion.blocks == 10
    assert not conclusion.verdict.passes


def test_a_file_gives_the_same_conclusion_after_it_was_written_and_read() -> None:
    """It is the same to the bit."""
    gate_file = a_gate_file(blocks(13, slowed(noisy(25), 0.07)))
    again = msgspec.json.decode(msgspec.json.encode(gate_file), type=GateFile)
    assert again == gate_file
    assert concluded(again.plan, again.blocks) == concluded(gate_file.plan, gate_file.blocks)


def test_the_worst_verdict_speaks_for_all() -> None:
    """A regression is reported even beside an invalid row; no row at all is not a pass."""
    assert worst([Verdict.IMPROVED, Verdict.REGRESSED, Verdict.INVALID]) is Verdict.REGRESSED
    assert worst([Verdict.IMPROVED, Verdict.UNCHANGED]) is Verdict.UNCHANGED
    assert worst([Verdict.UNCHANGED, Verdict.UNDERPOWERED]) is Verdict.UNDERPOWERED
    assert worst([]) is Verdict.MISSING


def edited(block: Block, **changes: Any) -> Block:  # noqa: ANN401
    """Return the block with a change to the first scenario of its first process."""
    first, *others = block.passes
    scenario = msgspec.structs.replace(first.scenarios[0], **changes)
    return msgspec.structs.replace(
        block, passes=(msgspec.structs.replace(first, scenarios=(scenario, *first.scenarios[1:])), *others)
    )


@pytest.mark.parametrize(
    "edit",
    [
        lambda found: found[:3] + found[4:],
        lambda found: [*found[:3], edited(found[3], window_seconds=(0.1, 0.1)), *found[4:]],
        lambda found: [*found[:3], edited(found[3], samples=(2000, 2000)), *found[4:]],
        lambda found: [*found[:3], edited(found[3], samples=(), window_seconds=()), *found[4:]],
        lambda found: [*found[:3], edited(found[3], samples=(2000, 2000, 2100)), *found[4:]],
        lambda found: [*found[:3], msgspec.structs.replace(found[3], passes=found[3].passes[::-1][:3]), *found[4:]],
        lambda found: [*found[:3], a_block(3, noisy(1), order=Order.ABBA), a_block(4, noisy(1), order=Order.ABBA)],
        lambda found: [*found, a_block(8, noisy(1))],
    ],
    ids=["block left out", "window left out", "samples left out", "no windows", "more samples", "turn left out",
         "orders of one's own", "block too many"],
)  # fmt: skip
def test_a_file_does_not_pass_by_what_was_left_out_of_it(edit: Callable[[list[Block]], list[Block]]) -> None:
    """Each block must be as the plan has it, and nothing may follow a verdict."""
    found = blocks(8, noisy(26))
    assert concluded(a_plan(), found).verdict is Verdict.UNCHANGED
    conclusion = concluded(a_plan(), edit(found))
    assert conclusion.verdict in {Verdict.MISSING, Verdict.INVALID}
    assert conclusion.wanted is None


def test_less_accurate_is_confirmed_as_less_accurate() -> None:
    """A contender that lost accuracy in the first blocks alone, and is slower in the fresh ones, is not confirmed."""
    plan = a_plan([MLP])
    worse = blocks(8, noisy(27), scenarios=[MLP], accuracy=lambda side: 0.5 if side is Side.CONTENDER else 0.9)
    fresh = [a_block(8 + i, slowed(noisy(28), 0.2), scenarios=[MLP], phase=GatePhase.CONFIRMATION) for i in range(10)]
    conclusion = concluded(plan, [*worse, *fresh])
    assert conclusion.verdict is Verdict.INCONCLUSIVE
    assert "not confirmed" in conclusion.rows[0].reason
