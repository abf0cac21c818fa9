"""Which blocks follow those of the suite: where one is void, where a precision was asked for, and within a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest

from bench.experiments.run import policy
from bench.experiments.run.policy import MOST_BLOCKS, contests, predicted_seconds, reached, wanted_blocks
from bench.experiments.run.runner import OnEpoch, remaining, run_plan
from bench.experiments.run.turns import BlockRequest, MeasuredRuns, OnTurn, units
from bench.records import store
from bench.records.result import Epoch, Failure, FailureReason, ResultSet, Run, RunBlock
from bench.scenarios.scenario import Scenario, tutorial_setting
from bench.scenarios.suite import PlannedRun, expand, parse_suite
from bench.stats import two_stage
from bench.worker.process import Cancellation
from bench.worker.protocol.requests import RunRequest
from mnist_core.devices import Probe
from tests.support.executor import A_BLOCK, FakeBlocks, a_slow_block
from tests.support.records import a_failure, a_result_set, a_run
from tests.support.tune import Clock

SUITE: Final = """
title = "turns"
[[matrix]]
network = ["mlp", "lenet"]
sampling = { epochs = 2 }
[[matrix]]
network = ["mlp", "lenet"]
hybridize = ["off", "on", "static"]
sampling = { in_turns = true, repeats = 3, epochs = 5, samples = 1000 }
"""
PLAN: Final = expand(parse_suite(SUITE, where="the test"))
IN_TURNS: Final = tuple(planned for planned in PLAN if planned.in_turns)
MLP: Final = tuple(planned for planned in IN_TURNS if planned.scenario.network == "mlp")


class Machine(FakeBlocks):
    """An executor whose blocks drift, whose rows have some noise of their own, and whose time a test sees pass."""

    def __init__(
        self,
        noise: Callable[[Scenario, int], float] = lambda _scenario, _block: 0.0,
        blocks: Callable[[int], RunBlock] = lambda _index: A_BLOCK,
    ) -> None:
        self.clock = Clock()
        self.noise = noise
        self.blocks = blocks
        self.asked: list[tuple[Scenario, int]] = []
        self._index = 0

    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        self.asked.append((request.scenario, request.repeat))
        speed = 10_000 * math.exp(0.3 * self._index + self.noise(request.scenario, self._index))
        self.clock.time += 5.0
        return a_run(scenario=request.scenario, recipe=request.recipe, repeat=request.repeat, throughput=speed)

    def execute_block(self, request: BlockRequest, on_turn: OnTurn) -> MeasuredRuns | None:
        self._index = request.index
        self.clock.time += A_BLOCK.seconds - 5.0 * len(request.runs)
        return super().execute_block(request, on_turn)

    def block(self, index: int) -> RunBlock:
        return self.blocks(index)


class Told:
    """An observer that keeps what it was told of blocks."""

    def __init__(self) -> None:
        self.totals: list[int] = []
        self.later: list[int] = []

    def turn(self, planned: PlannedRun) -> None: ...
    def epoch(self, planned: PlannedRun, index: int, epoch: Epoch) -> None: ...
    def finished(self, planned: PlannedRun, outcome: Run | Failure) -> None: ...
    def started(self, unit: Sequence[PlannedRun], position: int, total: int) -> None:
        self.totals.append(total)

    def block_saved(self, result_set: ResultSet, unit: Sequence[PlannedRun], later: Sequence[PlannedRun]) -> None:
        self.later.append(len(later))


def untried(plan: Sequence[PlannedRun] = MLP, precision: float | None = None) -> ResultSet:
    return a_result_set(plan=tuple(plan), runs=(), failures=(), precision=precision)


def measure(
    machine: Machine,
    result_set: ResultSet,
    budget_seconds: float = math.inf,
    *,
    stop: Cancellation | None = None,
    told: Told | None = None,
) -> ResultSet:
    final = run_plan(
        result_set,
        executor=machine,
        data_directory=Path("/data"),
        usable_cores=2,
        save=lambda _result_set: None,
        observer=told or Told(),
        probe=lambda _framework, device: Probe(device, None),
        stop=stop or Cancellation(),
        budget_seconds=budget_seconds,
        now=machine.clock,
    )
    assert store.inconsistencies(final) == []
    return final


def noisy(sd: float, network: str = "mlp") -> Callable[[Scenario, int], float]:
    """The noise of one row; the others have a tenth of it. It is the same whenever it is asked for."""

    def of(scenario: Scenario, block: int) -> float:
        own = sd if (scenario.hybridize, scenario.network) == ("on", network) else sd / 10
        return own * math.sin(12.9898 * block + 78.233 * len(scenario.hybridize)) * math.sqrt(2)

    return of


# --- as the suite says ------------------------------------------------------------------------------------------------


def test_without_a_precision_there_are_the_blocks_of_the_suite() -> None:
    final = measure(Machine(noisy(0.5)), untried(PLAN))
    assert (final.plan, remaining(final), wanted_blocks(final)) == (PLAN, (), [])
    assert len(final.blocks) == 6


# --- void blocks ------------------------------------------------------------------------------------------------------


def test_a_void_block_is_measured_again() -> None:
    """As the next repeat, with its seed, by the same plan otherwise; told as added."""
    told = Told()
    final = measure(Machine(blocks=lambda index: a_slow_block(2.0 if index == 1 else 1.0)), untried(), told=told)
    assert len(final.blocks) == 4
    added = final.plan[len(MLP) :]
    assert {(planned.repeat, planned.recipe.seed, planned.added) for planned in added} == {(3, final.seed + 3, True)}
    assert [planned.scenario for planned in added] == [planned.scenario for planned in MLP if planned.repeat == 0]
    assert {planned.timeout_seconds for planned in added} == {MLP[0].timeout_seconds}
    assert told.later == [0, 3, 3, 0]
    assert told.totals == [9, 9, 12, 12]
    (contest,) = contests(final)
    assert {len(group.runs) for group in contest.rows.values()} == {3}


def test_a_machine_that_spoils_every_block_is_not_measured_for_ever() -> None:
    """At most as many blocks are measured again as were planned."""
    stolen = msgspec.structs.replace(A_BLOCK.health, steal_fraction=0.5)
    final = measure(Machine(blocks=lambda _index: msgspec.structs.replace(A_BLOCK, health=stolen)), untried())
    assert len(final.blocks) == 6
    assert wanted_blocks(final) == []


# --- a precision ------------------------------------------------------------------------------------------------------


def test_the_first_blocks_tell_how_many_there_are() -> None:
    """By the noisiest row of the network, and never again: later blocks change nothing."""
    machine = Machine(noisy(0.06))
    final = measure(machine, untried(precision=0.03))
    (contest,) = contests(final)
    expected = max(two_stage.wanted_count(each, math.log1p(0.03), MOST_BLOCKS) for each in contest.ratios(3).values())
    assert 6 < expected < MOST_BLOCKS
    assert len(final.blocks) == expected
    assert [planned.added for planned in final.plan] == [False] * 9 + [True] * 3 * (expected - 3)
    for done in range(3, expected):
        kept = [run for run in final.runs if run.repeat < done]
        earlier = msgspec.structs.replace(
            final, runs=tuple(kept), blocks=final.blocks[:done], plan=tuple(p for p in final.plan if p.repeat < done)
        )
        assert len(wanted_blocks(earlier)) == expected - done


def test_what_was_reached_is_half_of_the_intervals() -> None:
    """The worst is that of the noisiest row, and the median of two rows their mean."""
    final = measure(Machine(noisy(0.04)), untried(precision=0.03))
    known = reached(contests(final))
    assert known is not None
    assert known.median < known.worst < 0.06
    assert reached(contests(untried())) is None


def test_a_single_planned_block_is_followed_by_more() -> None:
    """One has no spread; the first stage has two, and there are six in all."""
    once = [planned for planned in MLP if planned.repeat == 0]
    final = measure(Machine(noisy(1e-5)), untried(once, precision=0.03))
    assert len(final.blocks) == two_stage.least_count(2)


def test_each_network_has_its_own_number() -> None:
    """The quiet one is not measured as often as the noisy one, and they take turns with their blocks."""
    final = measure(Machine(noisy(0.04, "lenet")), untried(IN_TURNS, precision=0.03))
    counts = {
        network: len({run.block for run in final.runs if run.scenario.network == network})
        for network in ("mlp", "lenet")
    }
    assert counts["mlp"] == two_stage.least_count(3) < counts["lenet"]
    added = [run.scenario.network for run in final.runs if run.repeat in {3, 4}][::3]
    assert sorted(added) == ["lenet", "lenet", "mlp", "mlp"]
    assert added[0] != added[1]


def test_there_are_no_more_than_the_most_blocks() -> None:
    assert len(measure(Machine(noisy(0.5)), untried(precision=0.001)).blocks) == MOST_BLOCKS


def test_a_void_block_is_not_of_the_first_stage() -> None:
    """Whatever it measured has no say."""

    def noise(scenario: Scenario, block: int) -> float:
        return 3.0 if block == 1 and scenario.hybridize == "on" else noisy(1e-4)(scenario, block)

    final = measure(Machine(noise, lambda index: a_slow_block(2.0 if index == 1 else 1.0)), untried(precision=0.03))
    assert len(final.blocks) == two_stage.least_count(3) + 1


def test_a_row_that_always_fails_has_no_say_and_is_not_tried_again() -> None:
    """The reference alone would leave nothing to compare: then the suite's blocks are enough."""

    class Crashing(Machine):
        def __init__(self, *victims: str) -> None:
            super().__init__(noisy(1e-4))
            self.victims = victims

        def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
            if request.scenario.hybridize in self.victims:
                self.asked.append((request.scenario, request.repeat))
                which = {"scenario": request.scenario, "recipe": request.recipe, "repeat": request.repeat}
                return a_failure(reason=FailureReason.CRASHED, **which)
            return super().execute(request, timeout_seconds, on_epoch)

    machine = Crashing("static")
    final = measure(machine, untried(precision=0.03))
    assert sum(scenario.hybridize == "static" for scenario, _repeat in machine.asked) == 3
    assert len(final.blocks) == two_stage.least_count(3)
    assert len(measure(Crashing("static", "on"), untried(precision=0.03)).blocks) == 3


def test_without_the_tutorials_setting_the_first_row_by_name_is_the_reference() -> None:
    """It is the one that every part of a block measures, in whatever order they were drawn."""
    plan = [planned for planned in MLP if planned.scenario != tutorial_setting("mlp")]
    final = measure(Machine(noisy(0.04)), untried(plan, precision=0.03))
    (contest,) = contests(final)
    assert contest.reference[0] == min((planned.scenario for planned in plan), key=lambda scenario: scenario.name)
    (split, *others) = units(plan[::-1], lambda: [2])
    assert all(contest.reference[0] in {planned.scenario for planned in unit} for unit in (split, *others))
    assert len(contest.ratios()) == 1
    assert len(final.blocks) > two_stage.least_count(3)


# --- a budget ---------------------------------------------------------------------------------------------------------


def test_no_block_begins_that_would_not_end_within_the_budget() -> None:
    """Runs that are alone come first: 2 of 5 s, then blocks of 30 s, as long as there is time for one."""
    machine, told = Machine(noisy(0.5)), Told()
    final = measure(machine, untried(PLAN, precision=0.01), 10 + 7 * 30 + 29, told=told)
    assert [repeat for _scenario, repeat in machine.asked[:2]] == [0, 0]
    assert {run.block for run in final.runs[:2]} == {None}
    assert len(final.blocks) == 7
    assert machine.clock.time < 10 + 7 * 30 + 1
    assert remaining(final) == ()
    assert wanted_blocks(final)


def test_what_is_alone_is_measured_with_any_budget() -> None:
    """A block has no more time then; it stays in the plan, and is not called a failure."""
    final = measure(Machine(), untried(PLAN), 1.0)
    assert ([run.block for run in final.runs], final.failures) == ([None, None], ())
    assert remaining(final) == IN_TURNS


def test_the_time_of_a_block_is_predicted_from_those_before_it() -> None:
    """Of the same rows, by its number of processes; nothing is known of the first."""
    block = [planned for planned in MLP if planned.repeat == 0]
    assert predicted_seconds(untried(), block) == 0.0
    final = measure(Machine(), untried())
    assert predicted_seconds(final, block) == pytest.approx(30.0)
    assert predicted_seconds(final, block[1:]) == pytest.approx(20.0)
    lenet = [planned for planned in IN_TURNS if planned.scenario.network == "lenet"]
    assert predicted_seconds(final, lenet[:3]) == 0.0


def test_a_short_block_may_fit_where_a_long_one_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(_result_set: ResultSet, block: Sequence[PlannedRun]) -> float:
        return 1000.0 if block[0].scenario.network == "lenet" else 1.0

    monkeypatch.setattr(policy, "predicted_seconds", seconds)
    final = measure(Machine(noisy(1e-4)), untried(IN_TURNS, precision=0.03), 900.0)
    assert {run.scenario.network for run in final.runs} == {"mlp"}
    assert len(final.blocks) == two_stage.least_count(3)


# --- interrupted and resumed ------------------------------------------------------------------------------------------


def measured(result_set: ResultSet) -> set[Run]:
    """All runs, but for their places: within a block these are drawn."""
    return {msgspec.structs.replace(run, place=None) for run in result_set.runs}


def test_an_interrupted_block_of_the_policy_is_measured_when_it_goes_on() -> None:
    """Every finished block is kept, and in the end the file has as many as it would have had."""
    stop = Cancellation()

    class StopsInTheFifth(Machine):
        def execute_block(self, request: BlockRequest, on_turn: OnTurn) -> MeasuredRuns | None:
            if request.index == 4:
                stop()
                return None
            return super().execute_block(request, on_turn)

    straight = measure(Machine(noisy(0.04)), untried(precision=0.03))
    begun = measure(StopsInTheFifth(noisy(0.04)), untried(precision=0.03), stop=stop)
    assert (len(begun.blocks), len(begun.runs)) == (4, 12)
    assert {failure.reason for failure in begun.failures} == {FailureReason.INTERRUPTED}
    final = measure(Machine(noisy(0.04)), begun)
    assert (len(final.blocks), final.failures) == (len(straight.blocks), ())
    assert final.plan == straight.plan
    assert measured(final) == measured(straight)


def test_what_the_budget_ended_goes_on_without_one() -> None:
    straight = measure(Machine(noisy(0.04)), untried(precision=0.03))
    begun = measure(Machine(noisy(0.04)), untried(precision=0.03), 150.0)
    assert 3 < len(begun.blocks) < len(straight.blocks)
    assert measured(measure(Machine(noisy(0.04)), begun)) == measured(straight)
