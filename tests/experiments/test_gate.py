"""A gate measures with fake sessions and a fake clock: turns, seeds, budget, interruption, failures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench.analysis.verdict import Verdict
from bench.errors import SetupError
from bench.experiments.attempts import DeadlyError
from bench.experiments.gate.blocks import run_blocks
from bench.experiments.gate.decision import Conclusion, Wanted, conclusion_of
from bench.experiments.gate.setup import window_sizes
from bench.experiments.pilot import PilotError
from bench.records.gate import Block, GateFile, GatePhase
from bench.records.result import FailureReason
from bench.scenarios.scenario import Scenario
from bench.stats.paired import Order, Side
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.session import SessionError
from tests.support.gate import FOUR, LENET, MLP, FakeSessions, a_gate_file, a_plan, make_machine_quiet
from tests.support.records import a_dataset


@pytest.fixture(autouse=True)
def _quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    make_machine_quiet(monkeypatch)


class Silent:
    """An observer that remembers the last conclusion."""

    conclusion: Conclusion | None = None

    def block_started(self, index: int, wanted: Wanted, order: Order) -> None: ...
    def scenario_started(self, scenario: Scenario) -> None: ...
    def block_finished(self, block: Block, conclusion: Conclusion, seconds_left: float) -> None:
        self.conclusion = conclusion


class Clock:
    """A clock whose time passes only where a test says so, but for a nanosecond a reading."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        self.time += 1e-9  # a block takes some time, however little is done in it
        return self.time

    def tick(self, _side: Side, _scenario: Scenario) -> None:
        """Measure a window that takes a second."""
        self.time += 1.0


def run(
    passes: FakeSessions,
    gate_file: GateFile | None = None,
    *,
    budget_seconds: float = math.inf,
    save: Callable[[GateFile], None] = lambda _file: None,
    stop: Cancellation | None = None,
    clock: Clock | None = None,
) -> GateFile:
    observer = Silent()
    final, conclusion = run_blocks(
        gate_file or a_gate_file(),
        sessions=passes.sessions,
        data_directory=Path("/data"),
        budget_seconds=budget_seconds,
        save=save,
        observer=observer,
        stop=stop or Cancellation(),
        now=clock or Clock(),
    )
    assert conclusion == conclusion_of(final)
    assert observer.conclusion is None or observer.conclusion is conclusion
    return final


def verdict(gate_file: GateFile) -> Verdict:
    return conclusion_of(gate_file).verdict


def test_identical_code_passes_and_slower_code_does_not() -> None:
    """Each gate ends when nothing is left to measure: after eight blocks, or thirteen with their confirmation."""
    same = run(FakeSessions())
    assert (verdict(same), len(same.blocks)) == (Verdict.UNCHANGED, 8)
    slower = run(FakeSessions(slowdown=0.10))
    assert (verdict(slower), len(slower.blocks)) == (Verdict.REGRESSED, 13)
    assert [block.phase for block in slower.blocks] == [GatePhase.MAIN] * 8 + [GatePhase.CONFIRMATION] * 5


def test_four_sessions_live_together_and_take_turns() -> None:
    """Each measures one window in the block's order, and none begins before all four are ready."""
    passes = FakeSessions()
    plan = a_plan([MLP], max_blocks=1)
    (block,) = run(passes, a_gate_file(plan=plan)).blocks
    sides = list(block.order.sides)
    expected = [(side, "start") for side in sides] + [(side, "ready") for side in sides]
    expected += [(side, "set up") for side in sides] + 3 * [(side, "window") for side in sides]
    expected += [(side, "evaluate") for side in sides]
    assert passes.calls[:-4] == expected
    assert [what for _side, what in passes.calls[-4:]] == ["end"] * 4


def test_the_anchor_after_a_block_is_the_one_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done between two blocks, so that eight of them need nine anchors."""
    anchors = itertools.count(100)
    monkeypatch.setattr("bench.experiments.blocks._anchor_seconds", lambda _now: float(next(anchors)))
    found = run(FakeSessions()).blocks
    assert [block.health.anchor_seconds for block in found] == [(100 + index, 101 + index) for index in range(8)]


def test_both_sides_of_a_block_train_from_the_same_seed_and_blocks_from_different_ones() -> None:
    """Their accuracies are paired, and no single seed decides."""
    passes = FakeSessions()
    gate_file = run(passes)
    seeds = [request.seed for _side, request in passes.requests]
    assert seeds == [42 + index for index in range(8) for _turn in range(4)]
    assert [block.seed for block in gate_file.blocks] == [42 + index for index in range(8)]


def test_orders_are_drawn_from_the_seed() -> None:
    """They are known beforehand, and not always the same."""

    def orders(seed: int) -> list[Order]:
        plan = a_plan([MLP], seed=seed, max_blocks=16, alpha=1e-9)
        return [block.order for block in run(FakeSessions(), a_gate_file(plan=plan)).blocks]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)
    assert {*orders(1)} == {*Order}


def test_each_thread_count_has_processes_of_its_own() -> None:
    """OpenMP takes its number of threads only once."""
    plan = a_plan(FOUR, max_blocks=1)
    scenarios = tuple(
        msgspec.structs.replace(gated, omp_num_threads=2 if "cpu(1)" in gated.scenario.contexts else 1)
        for gated in plan.scenarios
    )
    passes = FakeSessions()
    (block,) = run(passes, a_gate_file(plan=msgspec.structs.replace(plan, scenarios=scenarios))).blocks
    threads = [request.omp_num_threads for _side, request in passes.requests]
    assert sorted(threads) == [1] * 4 + [2] * 4
    assert all({each.scenario for each in one.scenarios} == {*FOUR} for one in block.passes)


def test_every_block_is_saved_as_it_ends() -> None:
    """The first save comes before any block. Others note that one is begun."""
    saved: list[GateFile] = []
    final = run(FakeSessions(), save=lambda file: saved.append(file) if file.in_progress is None else None)
    assert [len(each.blocks) for each in saved] == list(range(9))
    assert saved[-1] == final


def test_what_kills_the_program_with_its_workers_is_measured_twice_and_then_said() -> None:
    """A container whose memory ends takes all of them. No finished block is lost, and later it may be tried again."""

    class Killed(BaseException):
        pass

    saved: list[GateFile] = [a_gate_file()]
    windows = 0

    def dies(_side: Side, _scenario: Scenario) -> None:
        nonlocal windows
        windows += 1
        if windows > 2 * 48:  # in the third block
            raise Killed

    def resume(sessions: FakeSessions) -> None:
        run(sessions, saved[-1], save=saved.append)

    for _ in range(2):
        with pytest.raises(Killed):
            resume(FakeSessions(on_window=dies))
    with pytest.raises(DeadlyError, match="was killed 2 times"):
        resume(FakeSessions(on_window=lambda _side, _scenario: pytest.fail("it was measured")))
    assert (len(saved[-1].blocks), saved[-1].in_progress) == (2, None)
    resume(FakeSessions())
    assert (len(saved[-1].blocks), saved[-1].in_progress) == (8, None)


def test_what_ends_a_block_without_killing_the_program_is_not_counted() -> None:
    """Ctrl-C and a framework that is missing are no reason to give up."""
    saved, stop = [a_gate_file()], Cancellation()

    def interrupt(_side: Side, _scenario: Scenario) -> None:
        stop()

    def miss(_side: Side, _scenario: Scenario) -> None:
        raise SetupError("MXNet is not installed")

    for _ in range(3):
        stop = Cancellation()
        run(FakeSessions(on_window=interrupt), saved[-1], save=saved.append, stop=stop)
        assert saved[-1].in_progress is None
        with pytest.raises(SetupError):
            run(FakeSessions(on_window=miss), saved[-1], save=saved.append)
        assert saved[-1].in_progress is None


def test_the_budget_ends_a_gate_before_the_block_that_would_exceed_it() -> None:
    """A budget of 200 s has room for four blocks of 48 s. That is too little to pass."""
    clock = Clock()
    final = run(FakeSessions(on_window=clock.tick), budget_seconds=200.0, clock=clock)
    assert len(final.blocks) == 4
    assert clock.time <= 200.0
    assert verdict(final) is Verdict.UNDERPOWERED


def test_a_resumed_gate_goes_on_as_if_it_had_not_been_interrupted() -> None:
    """The blocks that were left have the same orders and seeds."""
    whole = run(FakeSessions(slowdown=0.10))
    begun = msgspec.structs.replace(whole, blocks=whole.blocks[:5])
    rest = run(FakeSessions(slowdown=0.10), begun)
    assert [(block.order, block.seed) for block in rest.blocks] == [(block.order, block.seed) for block in whole.blocks]
    assert rest.blocks[:5] == whole.blocks[:5]


def test_a_request_to_stop_keeps_finished_blocks_and_drops_the_one_in_progress() -> None:
    """Half a block is no evidence, and a worker that was killed has not crashed."""
    stop = Cancellation()
    windows = 0

    def interrupt(_side: Side, _scenario: Scenario) -> None:
        nonlocal windows
        windows += 1
        if windows == 2 * 48 + 7:  # in the third block
            stop()
            raise SessionError(WorkerFailure(FailureReason.CRASHED, "the worker was killed by SIGKILL"))

    final = run(FakeSessions(on_window=interrupt), stop=stop)
    assert len(final.blocks) == 2
    assert all(block.failure is None for block in final.blocks)


@pytest.mark.parametrize("side", Side)
def test_a_crash_ends_the_gate_and_is_recorded(side: Side) -> None:
    """The side, the reason and the end of its output are kept, and all processes are ended."""
    windows = 0

    def crash(turn: Side, _scenario: Scenario) -> None:
        nonlocal windows
        windows += 1
        if windows > 60 and turn is side:
            raise SessionError(WorkerFailure(FailureReason.OUT_OF_MEMORY, "no memory left", "the log"))

    passes = FakeSessions(on_window=crash)
    final = run(passes)
    failure = final.blocks[-1].failure
    assert failure is not None
    assert (failure.side, failure.reason, failure.log) == (side, FailureReason.OUT_OF_MEMORY, "the log")
    assert len(final.blocks) == 2
    assert verdict(final) is Verdict.MISSING
    assert [what for _side, what in passes.calls].count("start") == [what for _side, what in passes.calls].count("end")


def test_images_that_were_not_trained_do_not_count() -> None:
    """A contender that says to have trained a tenth more than it was told is not faster but broken."""
    final = run(FakeSessions(counts=1.1))
    failure = final.blocks[-1].failure
    assert failure is not None
    assert failure.side is Side.CONTENDER
    assert failure.detail == "a window trained 2200 images, not 2000"
    assert verdict(final) is Verdict.MISSING


# --- the pilot --------------------------------------------------------------------------------------------------------


def test_the_pilot_makes_windows_long_enough_and_epochs_small_enough() -> None:
    """At 0.1 ms an image, 0.06 s are 600 images, in one epoch, and some for what the pilot's speed is off by."""
    windows = window_sizes(
        [(MLP, 1), (LENET, 1)],
        sessions=FakeSessions().sessions,
        data_directory=Path("/data"),
        dataset=a_dataset(),
        seed=1,
    )
    assert {*windows} == {MLP, LENET}
    for size in windows.values():
        assert 550 < size.epoch_samples < 800
        assert size.epochs == 1


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            SessionError(WorkerFailure(FailureReason.CRASHED, "status 1", "Traceback\nImportError: no lifeline")),
            "the baseline does not work under this harness: crashed: status 1: ImportError: no lifeline",
        ),
        (SetupError("MXNet is not installed"), "the baseline: MXNet is not installed"),
    ],
)
def test_a_side_that_does_not_work_is_found_out_before_the_first_block(error: Exception, line: str) -> None:
    """One line has its own last words."""

    def fail(_side: Side, _scenario: Scenario) -> None:
        raise error

    with pytest.raises(PilotError) as caught:
        window_sizes(
            [(MLP, 1)],
            sessions=FakeSessions(on_window=fail).sessions,
            data_directory=Path("/data"),
            dataset=a_dataset(),
            seed=1,
        )
    assert str(caught.value) == line
