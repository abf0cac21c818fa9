"""Runs that take turns: which are alive together, in which order they measure, and what becomes of each."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.experiments.run import runner, turns
from bench.experiments.run.outcomes import run_of
from bench.experiments.run.turns import BlockRequest, MeasuredRuns, measure_runs, most_alive, units
from bench.records.energy import EnergyReading, EnergySource
from bench.records.result import Failure, FailureReason, Run
from bench.scenarios import baselines
from bench.scenarios.axes import Exchange
from bench.scenarios.scenario import Scenario, tutorial_setting
from bench.scenarios.suite import PlannedRun, expand, load_suite, parse_suite
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.protocol.replies import SetUpDone
from bench.worker.session import SessionError
from tests.support.gate import make_machine_quiet
from tests.support.records import a_cluster_host, a_dataset, a_result_set, a_run, a_scenario, an_environment
from tests.support.sessions import READY, a_window, an_evaluation
from tests.support.tune import FakeWorkers

SUITE = """
title = "turns"
[[matrix]]
network = ["mlp"]
sampling = { epochs = 2 }
[[matrix]]
network = ["mlp", "lenet"]
contexts = ["cpu(0)", "cpu(0),cpu(1)"]
hybridize = ["off", "on"]
sampling = { in_turns = true, repeats = 2, epochs = 5, samples = 1000 }
"""
PLAN = expand(parse_suite(SUITE, where="the test"))
BLOCK = tuple(run for run in PLAN if run.in_turns and run.scenario.network == "mlp" and run.repeat == 0)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    make_machine_quiet(monkeypatch)


def measured(
    workers: FakeWorkers, runs: tuple[PlannedRun, ...] = BLOCK, stop: Cancellation | None = None
) -> MeasuredRuns:
    request = BlockRequest(runs=runs, index=3, data_directory=Path("/data"), dataset=a_dataset(), usable_cores=2)
    found = measure_runs(request, lambda _framework: workers.start, stop or Cancellation(), lambda _planned: None)
    assert found is not None
    return found


def runs_of(found: MeasuredRuns) -> dict[Scenario, Run]:
    return {outcome.scenario: outcome for outcome in found.outcomes if isinstance(outcome, Run)}


# --- who is alive together --------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 100), most=st.integers(1, 9))
def test_a_block_is_of_one_network_recipe_and_repeat(seed: int, most: int) -> None:
    """Every run is in one, only a reference in several; runs that are alone stay alone."""
    found = list(units(runner.schedule(PLAN, seed), lambda: [most]))
    for unit in found:
        assert len(unit) <= max(2, most)
        assert len({(run.scenario.network, run.recipe, run.repeat, run.in_turns) for run in unit}) == 1
        assert unit[0].in_turns or len(unit) == 1
    counted = Counter(run for unit in found for run in unit)
    assert {*counted} == {*PLAN}
    for run, count in counted.items():
        assert count == 1 or run.scenario == tutorial_setting(run.scenario.network)


def test_each_part_of_a_block_that_does_not_fit_has_the_reference() -> None:
    reference = tutorial_setting("mlp")
    found = [unit for unit in units(PLAN, lambda: [2]) if len(unit) > 1 and unit[0].scenario.network == "mlp"]
    assert len(found) == 6
    assert all(reference in {run.scenario for run in unit} for unit in found)


def test_ranks_are_in_the_same_part_as_all_that_they_are_compared_with() -> None:
    """A part has room for two frameworks of the suite's three; cut anywhere, it would lose some of the second."""
    plan = expand(load_suite("cluster"), machines=2)
    block = [run for run in plan if run.scenario.network == "mlp" and run.repeat == 0]
    found = [{run.scenario for run in unit} for unit in units(block, lambda: [24, 24])]
    assert sorted(len(part) for part in found) == [13, 24]
    for part in found:
        for scenario in part:
            if scenario.exchange is not Exchange.NONE:
                one = baselines.alone(scenario, scenario.batch_size, 0)
                beside = {*baselines.each_alone(scenario), baselines.without_exchange(scenario)}
                assert beside <= part
                assert one in part or one not in {run.scenario for run in block}


def test_what_is_known_of_the_memory_decides() -> None:
    gib = 1 << 30
    assert most_alive(10 * gib, [gib // 2, gib]) == 8
    assert most_alive(10 * gib, []) == 10
    assert most_alive(None, [gib]) == 2


def test_every_process_of_a_training_takes_memory_on_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks, a server and the scheduler are four processes. What two took together is not what each takes."""
    gib = 1 << 30
    monkeypatch.setattr(runner, "available_memory_bytes", lambda: 10 * gib)
    ranks = a_run(scenario=a_scenario(ranks=2, hosts=1, exchange=Exchange.DIST_SYNC, servers=1), peak_rss_bytes=2 * gib)
    assert runner._room(a_result_set(ranks)) == [8]
    limited = an_environment(host_memory_capacity_bytes=64 * gib, cgroup_memory_limit_bytes=5 * gib)
    hosts = (a_cluster_host(0), a_cluster_host(1, environment=limited))
    assert runner._room(a_result_set(ranks, hosts=hosts)) == [8, 4]
    block = [msgspec.structs.replace(BLOCK[0], scenario=ranks.scenario), *BLOCK[:3]]
    assert [len(unit) for unit in units(block, lambda: [7])] == [4]
    assert [len(unit) for unit in units(block, lambda: [6])] == [2, 3]
    assert [len(unit) for unit in units(block, lambda: [0])] == [2, 2, 2]


# --- what a block gives -----------------------------------------------------------------------------------------------


def test_all_take_turns_and_give_a_run_each() -> None:
    """All alive before the first is set up; as many windows as the recipe has epochs, one evaluation, at the end."""
    workers = FakeWorkers(cost=lambda scenario: 1.8e-5 if scenario.hybridize == "on" else 3.7e-5)
    found = measured(workers)
    assert workers.most_alive == len(BLOCK) == 4
    what = [what for _number, what in workers.calls]
    assert what[:8] == ["start"] * 4 + ["ready"] * 4
    assert what[8:12] == ["set up"] * 4
    assert what[12:36] == ["window"] * 20 + ["evaluate"] * 4
    turn = [number for number, call in workers.calls[12:32] if call == "window"]
    assert turn[:4] == turn[4:8][::-1] == turn[8:12]
    for scenario, run in runs_of(found).items():
        assert len(run.epochs) == run.recipe.epochs == 5
        led_in = 3 if scenario.hybridize == "on" else 2
        assert {epoch.passes for epoch in run.epochs} == {2 * led_in}
        assert {epoch.samples for epoch in run.epochs} == {2 * led_in * 1000}
        assert [epoch.test_accuracy for epoch in run.epochs] == [None] * 4 + [0.9]
        assert (run.final_accuracy, run.block, run.test_samples) == (0.9, 3, 1000)
        assert run.lead_in_epochs == led_in
    assert [run.place for run in runs_of(found).values()] == [0, 1, 2, 3]


def test_a_run_keeps_what_was_counted_in_its_turns() -> None:
    """Energy is of each window, and peaks of memory are of all of them."""
    energy = (EnergyReading(source=EnergySource.RAPL, domain="package-0", joules=2.0),)
    window = msgspec.structs.replace(a_window(1000, 0.05), energy=energy)
    evaluated = msgspec.structs.replace(an_evaluation(0.9), training_peak_rss_bytes=5, device_peak_bytes=7)
    set_up = SetUpDone(first_step_seconds=0.1, warm_up_seconds=0.2, epoch_seconds=0.05)
    run = run_of(BLOCK[0], 1, READY, set_up, [(window, None), (window, evaluated)])
    assert [epoch.energy for epoch in run.epochs] == [energy, energy]
    assert (run.training_peak_rss_bytes, run.device_peak_bytes) == (5, 7)


def test_the_order_is_drawn_for_each_block() -> None:
    """From the seed, so that the same file is made again; another block has another order."""
    first = [outcome.scenario for outcome in measured(FakeWorkers()).outcomes]
    assert first == [outcome.scenario for outcome in measured(FakeWorkers()).outcomes]
    orders = set()
    for index in range(8):
        request = BlockRequest(runs=BLOCK, index=index, data_directory=Path(), dataset=a_dataset(), usable_cores=2)
        found = measure_runs(request, lambda _framework: FakeWorkers().start, Cancellation(), lambda _planned: None)
        assert found is not None
        orders.add(tuple(outcome.scenario for outcome in found.outcomes))
    assert len(orders) > 4


def test_one_that_fails_does_not_end_the_others() -> None:
    victim = BLOCK[1].scenario

    def crash(scenario: Scenario) -> None:
        if scenario == victim:
            raise SessionError(WorkerFailure(FailureReason.CRASHED, "status 1", "words"))

    found = measured(FakeWorkers(on_window=crash))
    (failure,) = (outcome for outcome in found.outcomes if isinstance(outcome, Failure))
    assert (failure.scenario, failure.reason, failure.detail) == (victim, FailureReason.CRASHED, "status 1")
    assert len(runs_of(found)) == 3


def test_a_window_that_trained_too_few_images_is_a_failure() -> None:
    found = measured(FakeWorkers(counts=0.5))
    assert not runs_of(found)
    assert all("images, not" in outcome.detail for outcome in found.outcomes if isinstance(outcome, Failure))


@pytest.mark.parametrize("call", [1, 9, 30])
def test_half_a_block_is_no_evidence(call: int) -> None:
    """Whenever it is asked to stop, and no process is left."""
    stop, workers, asked = Cancellation(), FakeWorkers(), []

    def on_turn(planned: PlannedRun) -> None:
        asked.append(planned)
        if len(asked) == call:
            stop.requested = True

    request = BlockRequest(runs=BLOCK, index=0, data_directory=Path(), dataset=a_dataset(), usable_cores=2)
    assert turns.measure_runs(request, lambda _framework: workers.start, stop, on_turn) is None
    assert len(asked) == call
    assert not workers.alive
