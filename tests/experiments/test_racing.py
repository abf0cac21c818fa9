"""The decisions of a search are played against made-up candidates on made-up machines."""

# ruff: noqa: ANN401 (a factory takes whatever fields its record has)

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.experiments.tune import eliminations, estimates, limits, racing
from bench.experiments.tune.estimates import comparison, winner
from bench.experiments.tune.limits import EXHAUSTIVE_PASSES, FINALISTS
from bench.experiments.tune.racing import next_step
from bench.experiments.tune.search_space import position
from bench.records.tune import REFERENCE, Measurement, Reason, Round, TuneFile, TunePhase, TunePlan
from bench.stats.intervals import ratio_of
from bench.stats.multiple_testing import exact_upper_bound
from tests.support.tune import Machine, a_tune_plan, bumpy, candidates, search

MLP = candidates("mlp")
#: What the issue is content with.
FIVE_PERCENT = math.log(1.05)


def flat(count: int, **better: float) -> dict[int, float]:
    """Return candidates as fast as the reference, but for those named `_3=0.1`."""
    return dict.fromkeys(range(count), 0.0) | {int(name[1:]): value for name, value in better.items()}


def small(count: int, **changes: Any) -> TunePlan:
    """Return a plan with the reference and so many others."""
    return a_tune_plan(candidates=candidates(count=count), **changes)


def phases(tune_file: TuneFile) -> list[TunePhase]:
    return [phase for phase, _rounds in itertools.groupby(each.phase for each in tune_file.rounds)]


def ruled(tune_file: TuneFile) -> dict[int, Reason]:
    return {candidate: each.ruling for candidate, each in estimates.eliminated(tune_file.rounds).items()}


def loss(tune_file: TuneFile, truth: Mapping[int, float]) -> float:
    """Return the logarithm of how much faster the true best is than the winner."""
    found = winner(tune_file.plan, tune_file.rounds)
    assert found is not None
    return max(truth.values()) - truth[found]


# --- it finds the best ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "unsteady",
    [
        {},
        {"window_sd": 0.05, "process_sd": 0.03, "drift_log": math.log(2) / 2},
        {"process_sd": 0.03, "unlucky_share": 0.2},
        {"window_sd": 0.05, "interrupted_share": 0.1},
    ],
    ids=["a quiet machine", "one that doubles its speed in a minute", "unlucky processes", "interruptions"],
)
def test_the_whole_space_is_searched_for_a_part_of_its_cost(unsteady: dict[str, Any]) -> None:
    """The winner is within 5 % of the best of 224, most of them never measured, where knobs interact."""
    for seed in range(4):
        truth = bumpy([each.scenario for each in MLP], seed)
        plan = a_tune_plan(candidates=MLP, budget_seconds=300.0, seed=seed)
        found = search(plan, Machine(truth=truth, seed=seed, **unsteady))
        assert loss(found, truth) < FIVE_PERCENT
        measured = {m.candidate for each in found.rounds for m in each.measurements}
        assert len(measured) < len(MLP) / 2
        assert estimates.elapsed_seconds(plan, found.rounds) <= 300.0


@pytest.mark.slow
def test_the_best_is_seldom_ruled_out_in_the_final() -> None:
    """Six finalists, the best by 2 %, processes that differ by 3 % and are unlucky now and then: 100 finals.

    The best is seldom out, and the winner is never worse than the others really are.
    """
    truth = flat(7, _1=0.5, _2=0.48, _3=0.48, _4=0.46, _5=0.44, _6=0.3)
    plan, runs, lost = small(6), 100, 0
    for seed in range(runs):
        found = search(plan, Machine(truth=truth, seed=seed, process_sd=0.03, unlucky_share=0.05))
        lost += 1 in ruled(found)
        assert loss(found, truth) <= 0.04 + 1e-9
    assert exact_upper_bound(lost, runs) < 0.08


def test_a_hopeless_candidate_costs_one_tiny_measurement() -> None:
    """It is four times slower than the fastest, and out after three short windows once that is known."""
    truth = {index: (0.0 if index < 100 else -2.0) for index in range(len(MLP))}
    found = search(a_tune_plan(candidates=MLP), Machine(truth=truth))
    later = [
        m
        for each in found.rounds[1:]
        if each.phase is TunePhase.SCREENING
        for m in each.measurements
        if truth[m.candidate] < -1
    ]
    assert later
    assert {len(m.samples) for m in later} == {3}
    assert {ruled(found)[m.candidate] for m in later} == {Reason.SLOWER}


def test_the_fastests_neighbours_are_all_measured() -> None:
    """They are measured whatever was predicted, since one knob's worth must be known and predictions may be wrong."""
    truth = bumpy([each.scenario for each in MLP], 5)
    found = search(a_tune_plan(candidates=MLP), Machine(truth=truth, seed=5))
    known = estimates.screening_samples(found.rounds)
    fastest = max(known, key=lambda candidate: known[candidate].values[0])
    own = position(MLP[fastest].scenario)
    for candidate, other in enumerate(MLP):
        if sum(a != b for a, b in zip(own, position(other.scenario), strict=True)) == 1:
            assert candidate in {*known, REFERENCE}


def test_no_prediction_rules_out_a_candidate_before_enough_was_measured() -> None:
    truth = {index: 0.1 * (index == 7) for index in range(len(MLP))}
    found = search(a_tune_plan(candidates=MLP), Machine(truth=truth, window_sd=0.001, process_sd=0.001))
    at = next(index for index, each in enumerate(found.rounds) if any(r.ruling is Reason.PREDICTED for r in each.ruled))
    assert len(estimates.screening_samples(found.rounds[: at + 1])) >= limits.LEAST_SCREENED


def test_an_interrupted_measurement_gets_a_second_chance() -> None:
    """The best was stalled in all its windows. Those like it are fast, so its time is not believed."""
    truth = bumpy([each.scenario for each in MLP], 3)
    best = max(truth, key=truth.__getitem__)
    machine = Stalling(truth=truth, seed=3, victim=best)
    found = search(a_tune_plan(candidates=MLP), machine)
    assert machine.stalled
    assert winner(found.plan, found.rounds) == best
    known = estimates.screening_samples(found.rounds)[best]
    assert known.values[0] > truth[best] - 0.2  # the faster of both counts


class Stalling(Machine):
    """A machine that stalls one candidate's first measurement."""

    def __init__(self, *, victim: int, **facts: Any) -> None:
        super().__init__(**facts)
        self.victim = victim
        self.stalled = False

    def measure(self, step: racing.Step) -> Round:
        if self.victim not in step.candidates or self.stalled:
            return super().measure(step)
        self.stalled = True
        honest, self.truth = self.truth, {**self.truth, self.victim: self.truth[self.victim] - 2}
        try:
            return super().measure(step)
        finally:
            self.truth = honest


# --- it ends, whatever happens ----------------------------------------------------------------------------------------


@given(
    count=st.integers(0, 30),
    seed=st.integers(0, 1000),
    crashing=st.sets(st.integers(1, 30)),
    stupid=st.sets(st.integers(1, 30)),
    noise=st.sampled_from([0.0, 0.01, 0.3]),
    budget=st.sampled_from([None, 1.0, 30.0, 300.0]),
    exhaustive=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_every_search_ends_in_order(
    count: int,
    seed: int,
    crashing: set[int],
    stupid: set[int],
    noise: float,
    budget: float | None,
    *,
    exhaustive: bool,
) -> None:
    """No candidate is out twice, measured after it is out, or wins then. Every block has the reference."""
    plan = small(count, budget_seconds=budget, seed=seed, exhaustive=exhaustive)
    truth = bumpy([each.scenario for each in plan.candidates], seed)
    machine = Machine(
        truth=truth,
        seed=seed,
        window_sd=noise,
        process_sd=noise,
        crashing=frozenset(crashing),
        stupid=frozenset(stupid),
    )
    found = search(plan, machine)
    gone: set[int] = set()
    for each in found.rounds:
        asked = {m.candidate for m in each.measurements} | {failure.candidate for failure in each.failures}
        assert not asked & gone
        assert REFERENCE in asked
        for one in each.ruled:
            assert one.candidate not in gone | {REFERENCE}
            gone.add(one.candidate)
    first = winner(plan, found.rounds)
    assert first is not None
    assert first not in gone
    assert len(gone) + len(estimates.contenders(plan, found.rounds)) == count
    order = [TunePhase.SCREENING, TunePhase.HEAT, TunePhase.FINAL]
    seen = phases(found)
    assert seen in ([], [TunePhase.EXHAUSTIVE]) or seen == [phase for phase in order if phase in seen]
    assert next_step(plan, found.rounds) is None


def test_few_candidates_go_straight_to_the_final() -> None:
    """A single one needs no heats: five blocks say how it compares with the reference."""
    found = search(small(1), Machine(truth=flat(2, _1=0.3)))
    assert phases(found) == [TunePhase.FINAL]
    assert len(found.rounds) == 5
    result = comparison(found.plan, found.rounds, 1, REFERENCE)
    assert result is not None
    ratio = ratio_of(result[1])
    assert ratio.n == 5
    assert ratio.lower is not None
    assert ratio.upper is not None
    assert ratio.lower < math.exp(0.3) < ratio.upper


def test_equals_are_not_told_apart_forever() -> None:
    """All are as fast as the tutorial's loop, and the final has a winner at its last block at the latest."""
    found = search(small(5), Machine(truth=flat(6)))
    assert len(found.rounds) <= limits.MOST_BLOCKS
    result = comparison(found.plan, found.rounds, winner(found.plan, found.rounds) or 1, REFERENCE)
    assert result is not None
    assert ratio_of(result[1]).value == pytest.approx(1, abs=0.03)


def test_equals_on_a_steady_machine_end_the_final_early() -> None:
    """They are surely within a hundredth of each other, so that any of them may be taken."""
    found = search(small(3), Machine(truth=flat(4, _1=0.3, _2=0.3, _3=0.3), window_sd=0.002, process_sd=0.001))
    assert len(found.rounds) == limits.LEAST_BLOCKS
    assert len(estimates.contenders(found.plan, found.rounds)) == 3


def test_nothing_is_left_where_everything_crashes() -> None:
    """Each candidate is out with its reason, and only the reference remains."""
    found = search(small(30), Machine(truth=flat(31), crashing=frozenset(range(1, 31))))
    assert ruled(found) == dict.fromkeys(range(1, 31), Reason.FAILED)
    assert estimates.eliminated(found.rounds)[1].detail == "crashed: status 1"
    assert winner(found.plan, found.rounds) == REFERENCE


def test_a_search_ends_with_its_reference() -> None:
    """When the reference no longer works there is nothing to compare with."""
    found = search(small(3), Machine(truth=flat(4), crashing=frozenset({REFERENCE})))
    assert ruled(found) == {REFERENCE: Reason.FAILED}
    assert len(found.rounds) == 1


def test_a_candidate_that_does_not_learn_is_out_however_fast() -> None:
    """The fastest has another accuracy after the same epoch than the reference."""
    found = search(small(3), Machine(truth=flat(4, _1=0.2, _2=2.0), stupid=frozenset({2})))
    assert ruled(found)[2] is Reason.NOT_LEARNT
    assert "0.1000 after one epoch" in estimates.eliminated(found.rounds)[2].detail
    assert winner(found.plan, found.rounds) == 1


def test_a_candidate_that_unlearns_is_out() -> None:
    """The first epoch was right, and then something broke."""
    plan = small(2)
    step = next_step(plan, ())
    assert step is not None
    measured = Machine(truth=flat(3)).measure(step)
    broken = Round(
        phase=measured.phase,
        started_at=measured.started_at,
        seconds=measured.seconds,
        measurements=tuple(
            Measurement(
                candidate=m.candidate,
                set_up_seconds=m.set_up_seconds,
                samples=m.samples,
                window_seconds=m.window_seconds,
                first_accuracy=0.78,
                last_accuracy=0.1 if m.candidate == 1 else 0.9,
            )
            for m in measured.measurements
        ),
    )
    (out,) = eliminations.eliminations(plan, (broken,))
    assert (out.candidate, out.ruling) == (1, Reason.NOT_LEARNT)
    assert out.detail == "accuracy fell from 0.7800 to 0.1000 while it trained"


def test_the_tutorials_loop_wins_where_nothing_is_faster() -> None:
    """Where the options left it out it is only compared with."""
    truth = flat(4, _1=-0.2, _2=-0.3, _3=-0.1)
    found = search(small(3), Machine(truth=truth))
    assert winner(found.plan, found.rounds) == REFERENCE
    found = search(small(3, reference_may_win=False), Machine(truth=truth))
    assert winner(found.plan, found.rounds) == 3


# --- seed, budget, exhaustive search ----------------------------------------------------------------------------------


def test_seed_and_measurements_decide_everything() -> None:
    """The same search twice is the same; another seed measures in another order."""
    truth = bumpy([each.scenario for each in MLP], 1)

    def steps(seed: int) -> list[tuple[int, ...]]:
        found = search(a_tune_plan(candidates=MLP, seed=seed), Machine(truth=truth, seed=9))
        return [tuple(m.candidate for m in each.measurements) for each in found.rounds]

    assert steps(1) == steps(1)
    assert steps(1)[0] != steps(2)[0]


@pytest.mark.parametrize("budget", [5.0, 20.0, 60.0])
def test_the_budget_bounds_a_search(budget: float) -> None:
    """A round that began is finished, and two blocks are always measured, without which there is no interval."""
    truth = bumpy([each.scenario for each in MLP], 2)
    plan = a_tune_plan(candidates=MLP, budget_seconds=budget)
    found = search(plan, Machine(truth=truth, seed=2))
    final = [each.seconds for each in found.rounds if each.phase is TunePhase.FINAL]
    searching = [each.seconds for each in found.rounds if each.phase is not TunePhase.FINAL]
    assert len(final) >= 2
    assert sum(searching) - searching[-1] + plan.pilot_seconds <= limits.SEARCH_SHARE * budget
    assert estimates.elapsed_seconds(plan, found.rounds) <= max(
        budget, plan.pilot_seconds + sum(searching) + sum(final[:2]) + 1e-9
    )


def test_what_the_budget_leaves_unmeasured_says_so() -> None:
    truth = bumpy([each.scenario for each in MLP], 2)
    plan = a_tune_plan(candidates=MLP, budget_seconds=5.0)
    found = search(plan, Machine(truth=truth, seed=2))
    rulings = Counter(ruled(found).values())
    assert rulings[Reason.OUT_OF_TIME] > 0
    unmeasured = {candidate for candidate, each in ruled(found).items() if each is Reason.OUT_OF_TIME}
    assert not unmeasured & {m.candidate for each in found.rounds for m in each.measurements}


def test_the_final_has_room_for_a_few() -> None:
    """Of forty equals the heats cannot rule out any."""
    plan = small(40)
    found = search(plan, Machine(truth=flat(41, **{f"_{index}": 0.5 for index in range(1, 41)})))
    assert phases(found) == [TunePhase.SCREENING, TunePhase.HEAT, TunePhase.FINAL]
    times = estimates.times_measured(found.rounds, TunePhase.HEAT)
    assert 0 < max(times[each] for each in range(1, 41)) <= limits.MOST_HEATS
    first_block = next(each for each in found.rounds if each.phase is TunePhase.FINAL)
    assert len(first_block.measurements) == FINALISTS + 1
    assert Counter(ruled(found).values())[Reason.OUTRANKED] >= 30


def test_an_exhaustive_search_measures_all_alike() -> None:
    """Each is measured as often, in fresh processes and changing order, and none is out for being slow."""
    plan = small(20, exhaustive=True, budget_seconds=1.0)
    truth = flat(21, _5=1.0, _6=-3.0)
    found = search(plan, Machine(truth=truth, crashing=frozenset({9})))
    asked = Counter(m.candidate for each in found.rounds for m in each.measurements if m.candidate != REFERENCE)
    assert asked == dict.fromkeys([*range(1, 9), *range(10, 21)], EXHAUSTIVE_PASSES)
    assert ruled(found) == {9: Reason.FAILED}
    half = len(found.rounds) // 2
    firsts = [{m.candidate for m in each.measurements} for each in (found.rounds[0], found.rounds[half])]
    assert firsts[0] != firsts[1]
    assert winner(plan, found.rounds) == 5
    result = comparison(plan, found.rounds, 5, 6)
    assert result is not None
    assert result[0] is TunePhase.EXHAUSTIVE
    assert ratio_of(result[1]).value == pytest.approx(math.exp(4), rel=0.1)
    assert result[1].degrees_of_freedom == 19  # the spread of a process is all candidates' together


def test_the_median_of_pairs_is_not_moved_by_one_bad_process() -> None:
    known = estimates.Sample(phase=TunePhase.FINAL, values=(1.0, 1.1, 0.9, 1.0, -2.0))
    assert known.center == pytest.approx(0.975, abs=0.03)
    assert known.mean == pytest.approx(0.4)
