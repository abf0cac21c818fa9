"""Processes of a block take turns: their order, their stages, and what becomes of one that fails."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.experiments import blocks, pilot
from bench.experiments.blocks import Arm, BlockOutcome, HealthWatch, Task, exactly, lasting, measure_block
from bench.machine import software
from bench.records.result import FailureReason
from bench.scenarios.scenario import Scenario
from bench.worker import session
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.protocol.requests import PredictionPlan
from bench.worker.session import SessionError
from mnist_core.recipe import Engine
from tests.support.gate import LENET, MLP
from tests.support.records import a_dataset
from tests.support.tune import Clock, FakeWorkers

CRASH = WorkerFailure(FailureReason.CRASHED, "status 1", "words")
ENDS = [(2, "end"), (1, "end"), (0, "end")]


def arms(workers: FakeWorkers, *tasks: Task) -> list[Arm[str]]:
    request = session.session_request(Path("/data"), a_dataset(), 1, 1, Engine.THREADED)
    start = functools.partial(workers.start, request, command_seconds=1.0)
    return [Arm(label=label, tasks=tasks, start=start) for label in "abc"]


def a_task(scenario: Scenario = MLP, epochs: int = 2) -> Task:
    return Task(scenario=scenario, epoch_samples=1000, epochs=exactly(epochs))


def measured(
    workers: FakeWorkers,
    *tasks: Task,
    stop: Cancellation | None = None,
    needed: str = "",
    reverse: bool = True,
    judge_first: bool = False,
) -> BlockOutcome[str]:
    return measure_block(
        arms(workers, *(tasks or (a_task(),))),
        turns=2,
        stop=stop or Cancellation(),
        needed=needed,
        reverse=reverse,
        judge_first=judge_first,
    )


def failing_at(call: int, before: Callable[[], None] = lambda: None) -> Callable[[Scenario], None]:
    """Return what lets the window of this number fail."""
    windows = 0

    def fail(_scenario: Scenario) -> None:
        nonlocal windows
        windows += 1
        if windows == call:
            before()
            raise SessionError(CRASH)

    return fail


def everyone(what: str, order: str = "abc") -> list[tuple[int, str]]:
    return [("abc".index(label), what) for label in order]


def test_the_anchor_takes_no_more_threads_than_a_quota_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many as the host has CPUs the whole group would be stopped, and the block's workers with it."""
    monkeypatch.delenv("KMP_DUPLICATE_LIB_OK", raising=False)
    threadpoolctl = software._threadpoolctl()
    monkeypatch.setattr(software, "cpu_quota", lambda _root: 1.5)
    with software.threads_within_quota():
        inside = [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    assert inside
    assert {*inside} == {1}
    assert "KMP_DUPLICATE_LIB_OK" not in os.environ


def test_everyone_does_a_stage_before_anyone_does_the_next() -> None:
    """Nobody is measured while another one starts or is set up, and the order is reversed after every turn."""
    workers = FakeWorkers()
    outcome = measured(workers)
    assert workers.calls == [
        *everyone("start"),
        *everyone("ready"),
        *everyone("set up", "cba"),
        *everyone("window", "abc"),
        *everyone("window", "cba"),
        *everyone("evaluate"),
        *ENDS,
    ]
    assert {*outcome.measurements} == {*"abc"}
    assert not outcome.failures


def test_the_order_stays_where_places_count() -> None:
    workers = FakeWorkers()
    measured(workers, reverse=False)
    assert [number for number, _what in workers.calls[:-3]] == 6 * [0, 1, 2]


def test_a_process_measures_its_tasks_one_after_the_other() -> None:
    """No process is started for the second task, and each task has its own windows."""
    workers = FakeWorkers()
    outcome = measured(workers, a_task(MLP, 2), a_task(LENET, 3), reverse=False)
    stages = ["start", "ready", *2 * ["set up", "window", "window", "evaluate"]]
    assert workers.calls == [call for what in stages for call in everyone(what)] + ENDS
    for first, second in outcome.measurements.values():
        assert (first.task.scenario, second.task.scenario) == (MLP, LENET)
        assert [window.samples for window in first.windows] == [2000, 2000]
        assert [window.samples for window in second.windows] == [3000, 3000]
        assert (first.epochs_per_window, second.epochs_per_window) == (2, 3)


def test_predictions_are_in_turns_after_the_training() -> None:
    """Each turn has queries, then batches of one of the sizes, and the order is reversed after it, too."""
    plan = PredictionPlan(turns=3, queries=40, batch_sizes=(10, 100), samples=200)
    workers = FakeWorkers()
    outcome = measured(workers, dataclasses.replace(a_task(), prediction=plan))
    turn = [
        call
        for size, order in ((10, "abc"), (100, "cba"), (10, "abc"))
        for label in order
        for call in everyone("queries", label) + everyone(f"batches of {size}", label)
    ]
    assert workers.calls == [
        *(everyone("start") + everyone("ready") + everyone("set up", "cba")),
        *(everyone("window", "abc") + everyone("window", "cba")),
        *(everyone("evaluate") + everyone("prepare", "cba")),
        *turn,
        *ENDS,
    ]
    for (found,) in outcome.measurements.values():
        assert found.prediction is not None
        assert [len(window.ns) for window in found.prediction.queries] == [40, 40, 40]
        assert [window.batch_size for window in found.prediction.offline] == [10, 100, 10]


def test_who_does_not_predict_ends_before_those_that_do() -> None:
    """What it measured is there."""
    plan = PredictionPlan(turns=2, queries=40, batch_sizes=(10,), samples=20)
    workers = FakeWorkers()
    first, *others = arms(workers, a_task())
    predicting = dataclasses.replace(first, tasks=(dataclasses.replace(a_task(), prediction=plan),))
    outcome = measure_block([predicting, *others], turns=2, stop=Cancellation())
    assert {*outcome.measurements} == {*"abc"}
    assert [found.prediction is None for (found,) in outcome.measurements.values()].count(True) == 2
    assert {*ENDS[:2]} <= {*workers.calls[: workers.calls.index((0, "queries"))]}


def test_the_epoch_of_the_set_up_says_how_long_a_turn_is() -> None:
    """At 0.1 s an epoch, a turn of 0.35 s has four. A turn has one epoch at least."""
    outcome = measured(FakeWorkers(), Task(scenario=MLP, epoch_samples=1000, epochs=lasting(0.35)))
    assert {found.epochs_per_window for (found,) in outcome.measurements.values()} == {4}
    assert lasting(0.35)(100.0) == 1


def test_every_turn_has_the_same_lead_in() -> None:
    """A process whose set-up was slow trains as many epochs as the others: each epoch shuffles the images anew."""
    seconds = itertools.count(1)
    workers = FakeWorkers(cost=lambda _scenario: 1e-5 * next(seconds))
    measured(workers, Task(scenario=MLP, epoch_samples=1000, epochs=exactly(1)))
    last_set_up_and_first_to_turn = math.ceil(pilot.LEAD_IN_SECONDS / 0.03)
    assert workers.lead_ins == 6 * [last_set_up_and_first_to_turn]
    assert last_set_up_and_first_to_turn > 1


def test_one_epoch_comes_before_the_turns_where_it_is_judged() -> None:
    workers = FakeWorkers()
    outcome = measured(workers, judge_first=True)
    assert [what for number, what in workers.calls if number == 0] == [
        *("start", "ready", "set up", "window", "evaluate"),
        *("window", "window", "evaluate", "end"),
    ]
    assert all(found.first_accuracy == 0.9 for (found,) in outcome.measurements.values())
    assert all(len(found.windows) == 2 for (found,) in outcome.measurements.values())


def test_an_arm_that_fails_ends_its_process_and_no_other() -> None:
    workers = FakeWorkers(on_window=failing_at(2))
    outcome = measured(workers)
    assert outcome.failures == {"b": CRASH}
    assert {*outcome.measurements} == {"a", "c"}
    assert workers.calls.index((1, "end")) < workers.calls.index((2, "window"))


def test_an_arm_that_is_needed_ends_the_block_at_once() -> None:
    """Nobody takes another turn, nothing is measured, and no process is left."""
    workers = FakeWorkers(on_window=failing_at(2))
    outcome = measured(workers, needed="ab")
    assert outcome == BlockOutcome(failures={"b": CRASH})
    assert [number for number, what in workers.calls if what == "window"] == [0, 1]
    assert not workers.alive


def test_nothing_is_measured_of_a_block_that_is_asked_to_stop() -> None:
    stop = Cancellation()
    workers = FakeWorkers(on_window=failing_at(4, stop))
    assert not measured(workers, stop=stop).measurements
    assert [what for _number, what in workers.calls].count("window") == 4
    assert not workers.alive


def test_a_task_that_counts_wrong_fails() -> None:
    """The measured code counts its own images."""
    outcome = measured(FakeWorkers(counts=1.1))
    assert {failure.detail for failure in outcome.failures.values()} == {"a window trained 2200 images, not 2000"}


def test_an_anchor_is_used_for_two_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one after a block is the one before the next, if it is given."""
    anchors = iter((0.1, 0.2, 0.3))
    monkeypatch.setattr(blocks, "_anchor_seconds", lambda _now: next(anchors))
    _seconds, first = HealthWatch(Clock()).health()
    _seconds, second = HealthWatch(Clock(), first.anchor_seconds[1]).health()
    assert (first.anchor_seconds, second.anchor_seconds) == ((0.1, 0.2), (0.2, 0.3))
