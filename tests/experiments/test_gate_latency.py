"""A gate of latency: turns of the same queries, a row for each percentile, and the tests that training has."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.analysis.verdict import Verdict
from bench.experiments.gate import eta
from bench.experiments.gate.calibration import relabelled, replay
from bench.experiments.gate.decision import conclusion_of
from bench.experiments.gate.evidence import BlockEvidence, RowEvidence, evidence_of
from bench.experiments.gate.look import Suspicion
from bench.experiments.gate.setup import GateRequest, _looks, _plan
from bench.records.gate import GATED_PERCENTILES, GatedScenario, GateFile, GateMetric, GatePhase, GatePlan
from bench.scenarios.scenario import Scenario
from bench.stats.paired import Order, Side
from tests.experiments.test_gate import run, verdict
from tests.support.gate import FOUR, LENET, MLP, FakeSessions, a_gate_file, a_plan, make_machine_quiet

TURNS, QUERIES = 10, 500


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    make_machine_quiet(monkeypatch)


def a_latency_plan(*scenarios: Scenario, **changes: object) -> GatePlan:
    gated = tuple(
        GatedScenario(
            scenario=scenario,
            omp_num_threads=1,
            epoch_samples=QUERIES,
            window_epochs=1,
            noise_floor=None,
            percentile=percentile,
        )
        for scenario in scenarios or (MLP,)
        for percentile in GATED_PERCENTILES
    )
    limits: dict[str, Any] = {"margin": 0.05, "tolerance": 0.15, "detectable_limit": 0.15}
    plan = a_plan(metric=GateMetric.LATENCY, windows=TURNS, looks=_looks(_request(), len(gated)), **limits)
    return msgspec.structs.replace(plan, scenarios=gated, **changes)


def _request() -> GateRequest:
    return GateRequest(seed=42, metric=GateMetric.LATENCY)


@pytest.mark.parametrize(("metric", "left_out"), [(GateMetric.THROUGHPUT, 1), (GateMetric.LATENCY, 0)])
def test_a_gate_of_training_alone_leaves_out_the_slowest_turn(metric: GateMetric, left_out: int) -> None:
    """The tail of a turn of queries is what a gate of latency is for."""
    plan = _plan(GateRequest(seed=42, metric=metric), a_plan().scenarios)
    assert plan.left_out_windows == left_out
    assert plan.windows > 1


def measured(sessions: FakeSessions, *scenarios: Scenario, **changes: object) -> GateFile:
    return run(sessions, a_gate_file(plan=a_latency_plan(*scenarios, **changes)))


def test_identical_prediction_passes_and_slower_prediction_does_not() -> None:
    """A fifth slower is regressed, in the median and in the tail, and shown again in fresh blocks."""
    same = measured(FakeSessions())
    assert (verdict(same), len(same.blocks)) == (Verdict.UNCHANGED, 9)
    slower = measured(FakeSessions(slowdown=0.2))
    conclusion = conclusion_of(slower)
    assert (conclusion.verdict, len(slower.blocks)) == (Verdict.REGRESSED, 14)
    assert [block.phase for block in slower.blocks[9:]] == [GatePhase.CONFIRMATION] * 5
    assert [(row.percentile, row.verdict) for row in conclusion.rows] == [
        (0.5, Verdict.REGRESSED),
        (0.99, Verdict.REGRESSED),
    ]
    for row in conclusion.rows:
        assert row.ratio is not None
        assert row.ratio.value == pytest.approx(1.2, rel=0.02)


def test_a_longer_tail_alone_is_regressed() -> None:
    """What the median does not show is the reason for p99."""
    rows = conclusion_of(measured(FakeSessions(tail=1.3))).rows
    assert [(row.percentile, row.verdict) for row in rows] == [(0.5, Verdict.UNCHANGED), (0.99, Verdict.REGRESSED)]
    assert [row.name for row in rows] == [f"{MLP.name}, p50", f"{MLP.name}, p99"]


def test_other_digits_than_the_evaluations_are_a_loss_of_accuracy() -> None:
    """Five wrong digits of 500 are one in a hundred, which is allowed; fifteen are not, however fast."""
    assert verdict(measured(FakeSessions(mismatches=3))) is Verdict.UNCHANGED
    conclusion = conclusion_of(measured(FakeSessions(mismatches=15, slowdown=-0.2)))
    assert conclusion.verdict is Verdict.REGRESSED
    assert {row.suspicion for row in conclusion.rows} == {Suspicion.LESS_ACCURATE}


def test_both_sides_answer_the_same_queries_in_turns() -> None:
    """After a window of training, and compiled before the first turn; no batches are predicted."""
    sessions = FakeSessions()
    (block,) = measured(sessions, max_blocks=1).blocks
    sides = list(block.order.sides)
    stages = ("start", "ready", "set up", "window", "evaluate", "prepare", *("queries",) * TURNS)
    assert sessions.calls[:-4] == [(side, what) for what in stages for side in sides]
    for invocation in block.passes:
        (own,) = invocation.scenarios
        assert own.samples == (QUERIES,) * TURNS
        assert len(own.answered) == TURNS
        assert own.involuntary_context_switches == TURNS
        assert all(0 < turn.p50_ns < turn.p99_ns for turn in own.answered)


def test_a_scenario_is_measured_once_for_all_of_its_percentiles() -> None:
    """The draw of a block and the time of it go by scenarios."""
    sessions = FakeSessions()
    gate_file = measured(sessions, MLP, LENET, max_blocks=1)
    assert [len(invocation.scenarios) for invocation in gate_file.blocks[0].passes] == [2] * 4
    assert sum(what == "set up" for _side, what in sessions.calls) == 2 * 4
    assert eta.block_seconds(gate_file, gate_file.plan.scenarios) == pytest.approx(gate_file.blocks[0].seconds)


def test_a_file_without_its_turns_is_no_pass() -> None:
    gate_file = measured(FakeSessions())
    block = gate_file.blocks[3]
    (own,) = block.passes[1].scenarios
    cut = msgspec.structs.replace(own, answered=own.answered[:-1])
    invocation = msgspec.structs.replace(block.passes[1], scenarios=(cut,))
    passes = (block.passes[0], invocation, *block.passes[2:])
    blocks = (*gate_file.blocks[:3], msgspec.structs.replace(block, passes=passes), *gate_file.blocks[4:])
    conclusion = conclusion_of(msgspec.structs.replace(gate_file, blocks=blocks))
    assert conclusion.verdict is Verdict.MISSING
    assert "does not have the windows that were planned" in conclusion.rows[0].reason


@pytest.mark.parametrize(("rows", "first"), [(2, 9), (4, 9), (8, 10), (16, 11)])
def test_at_the_first_look_one_block_may_disagree(rows: int, first: int) -> None:
    looks = _looks(_request(), rows)
    assert looks == (first, first + 3, first + 11)
    assert 2 * 2.0**-first * rows * len(looks) <= 0.05


def simulated(generator: np.random.Generator, plan: GatePlan, blocks: int, slowdown: float) -> list[BlockEvidence]:
    """Make evidence with assumed, not measured, noise: medians scatter by 2 % and tails by 6 %, with heavy tails."""
    found = []
    for _ in range(blocks):
        rows = {}
        for gated in plan.scenarios:
            sd = 0.02 if gated.percentile == 0.5 else 0.06
            noise = sd * generator.standard_t(4, 2) / math.sqrt(2)
            rows[gated.key] = RowEvidence(
                effect=float(noise[0]) + math.log1p(slowdown),
                control=float(noise[1]) * math.sqrt(20 / 9),
                accuracy_difference=0.0,
                trends=(0.0, 0.0),
            )
        order = Order.ABBA if generator.random() < 0.5 else Order.BAAB
        found.append(BlockEvidence(phase=GatePhase.MAIN, order=order, void=None, failure=None, rows=rows))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("slowdown", "least", "most"), [(0.0, 0.0, 0.0), (0.05, 0.0, 0.05), (0.2, 0.98, 1.0)], ids=["0", "5", "20"]
)
def test_a_gate_of_four_scenarios_seldom_errs(slowdown: float, least: float, most: float) -> None:
    """Of 60 gates of identical code none is regressed, and of those a fifth slower nearly all are."""
    generator = np.random.default_rng(16)
    plan = a_latency_plan(*FOUR)
    gates = 60
    regressed = sum(
        replay(plan, simulated(generator, plan, 40, slowdown)).verdict is Verdict.REGRESSED for _ in range(gates)
    )
    assert least <= regressed / gates <= most


def test_relabelling_keeps_the_rows_of_both_percentiles() -> None:
    """Recorded blocks of identical code can be replayed, as those of training are."""
    gate_file = measured(FakeSessions(), max_blocks=4)
    for block in evidence_of(gate_file.plan, gate_file.blocks):
        turned = relabelled(block)
        assert set(turned.rows) == {(MLP, 0.5), (MLP, 0.99)}
        assert all(turned.rows[key].effect == -row.effect for key, row in block.rows.items())
        assert dataclasses.replace(turned, rows={}, order=block.order) == dataclasses.replace(block, rows={})
    assert {each.side for each in gate_file.blocks[0].passes} == set(Side)
