"""What a calibration says is checked on blocks whose truth is known."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from bench.analysis.verdict import Verdict
from bench.experiments.gate import calibration
from bench.experiments.gate.evidence import evidence_of
from bench.records.gate import GateFile, Purpose
from tests.support.gate import FOUR, MLP, a_block, a_gate_file, a_health, a_plan, blocks, noisy, slowed

GATES = 60


def recorded(count: int = 40, sd: float = 0.01) -> GateFile:
    plan = a_plan(purpose=Purpose.CALIBRATION, max_blocks=count)
    return a_gate_file(blocks(count, noisy(31, sd)), plan=plan)


def test_a_quiet_machine_gives_no_false_alarm_and_finds_a_slowdown() -> None:
    """With 1 % of noise, no gate alarms at 0 % and all do at 10 %, and exact bounds say how sure that is."""
    made = calibration.calibrate(recorded(), gates=GATES)
    identical, three, five, ten = made.replays
    assert (identical.regressed, ten.regressed) == (0.0, 1.0)
    assert three.regressed <= five.regressed
    assert five.regressed > 0.8
    assert identical.regressed_upper == pytest.approx(1 - 0.05 ** (1 / GATES))
    assert ten.regressed_lower == pytest.approx(0.05 ** (1 / GATES))
    assert sum(identical.verdicts.values()) == GATES
    assert made.blocks == 40


def test_the_noise_floor_is_what_first_looks_stay_below() -> None:
    """It is near 2 standard errors of a mean of eight blocks, whose effects spread like one invocation."""
    made = calibration.calibrate(recorded(400), gates=400, slowdowns=())
    for each in made.scenarios:
        assert each.noise_floor == pytest.approx(1.96 * 0.01 / math.sqrt(8), rel=0.35)
        assert each.effect_robust_sd == pytest.approx(0.01, rel=0.25)
        assert each.ratio_lower <= each.ratio <= each.ratio_upper
        assert 0.9 <= each.coverage <= 0.99
    assert {each.scenario for each in made.scenarios} == {*FOUR}
    assert made.noise_floor(MLP) == made.scenarios[0].noise_floor


def test_the_same_blocks_give_the_same_calibration() -> None:
    """It is the same to the bit; another seed gives another one."""
    gate_file = recorded()
    assert calibration.calibrate(gate_file, gates=20) == calibration.calibrate(gate_file, gates=20)
    assert calibration.calibrate(gate_file, gates=20) != calibration.calibrate(gate_file, gates=20, seed=5)


def test_relabelling_turns_the_effect_and_leaves_the_control() -> None:
    """The four invocations stay the same, and relabelling twice changes nothing."""
    (block,) = evidence_of(a_plan(), [a_block(0, slowed(noisy(32), 0.1))])
    turned = calibration.relabelled(block)
    for scenario, row in block.rows.items():
        assert turned.rows[scenario].effect == -row.effect
        assert turned.rows[scenario].control == row.control
    assert turned.order is not block.order
    assert calibration.relabelled(turned) == block


def test_a_scaled_side_is_a_slowdown() -> None:
    """Side B times 1.05 is 5 % slower, which changes the effect alone."""
    (block,) = evidence_of(a_plan(), [a_block(0, noisy(33))])
    for scenario, row in calibration.slowed(block, 0.05).rows.items():
        assert row.effect == pytest.approx(block.rows[scenario].effect + math.log(1.05))
        assert row.control == block.rows[scenario].control


def test_a_replay_takes_blocks_as_the_gate_would() -> None:
    """It takes eight for an unchanged contender, thirteen for a regressed one, and all for an undecided one."""
    plan = a_plan()
    evidence = evidence_of(plan, blocks(40, noisy(34)))
    same = calibration.replay(plan, evidence)
    assert (same.verdict, same.blocks) == (Verdict.UNCHANGED, 8)
    slow = calibration.replay(plan, [calibration.slowed(block, 0.2) for block in evidence])
    assert (slow.verdict, slow.blocks) == (Verdict.REGRESSED, 13)
    loud = evidence_of(plan, blocks(15, slowed(noisy(35, sd=0.2), 0.05)))
    assert calibration.replay(plan, loud).blocks == 15


def test_void_blocks_stay_void_in_a_replay() -> None:
    """A gate would have replaced them, too."""
    found = blocks(20, noisy(36))
    found[3] = a_block(3, noisy(37), health=a_health(steal_fraction=0.5))
    gate_file = a_gate_file(found, plan=a_plan(purpose=Purpose.CALIBRATION, max_blocks=19))
    assert calibration.calibrate(gate_file, gates=10).void_blocks == 1
    assert calibration.replay(a_plan(), evidence_of(a_plan(), found)).blocks == 9


def test_too_few_blocks_are_no_calibration() -> None:
    """A gate's first look takes eight."""
    with pytest.raises(calibration.TooFewBlocksError, match="7 valid blocks are too few"):
        calibration.calibrate(recorded(7))


def test_a_stretch_follows_itself_around() -> None:
    """It may begin anywhere, so that every block is used as often as any other."""
    evidence = evidence_of(a_plan(), blocks(10, noisy(38)))
    effects = {round(abs(block.rows[MLP, None].effect), 12) for block in evidence}
    found = calibration.stretch(evidence, 10, random.Random(1))
    assert {round(abs(block.rows[MLP, None].effect), 12) for block in found} == effects


@pytest.mark.slow
def test_coverage_is_as_promised_on_many_blocks() -> None:
    """The truth is in 93 to 97 % of the 95 % intervals, where blocks are independent."""
    made = calibration.calibrate(recorded(300), gates=1500, slowdowns=())
    assert all(0.93 <= each.coverage <= 0.97 for each in made.scenarios), [each.coverage for each in made.scenarios]
    assert np.isfinite([each.effect_robust_sd for each in made.scenarios]).all()
