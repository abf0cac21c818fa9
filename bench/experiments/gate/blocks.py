"""Measure interleaved blocks of baseline and contender until the decision wants no more or the budget ends.

A block is four fresh processes, two of each side, alive together and taking turns: one window of the first, one of the
second, and so on, for each scenario. Turns are a third of a second apart, so that the drift of a shared machine, which
takes seconds to minutes, hits all four alike. While one works the others wait for their next command.

A gate's side effects are here: processes, the clock, and one save after every block.
"""

from __future__ import annotations

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, ParamSpec, Protocol, TypeVar

from bench.experiments.blocks import HealthWatch
from bench.experiments.gate.decision import Conclusion, Wanted, conclusion_of
from bench.experiments.pilot import Clock, StartSession
from bench.records.base import utc_now
from bench.records.gate import (
    Block,
    GatedScenario,
    GateFile,
    Invocation,
    InvocationFailure,
    ScenarioInvocation,
    draw,
    with_block,
)
from bench.scenarios.scenario import Scenario
from bench.stats.paired import Order, Side
from bench.worker import session
from bench.worker.process import Cancellation, Interpreter
from bench.worker.protocol import SessionRequest, SetUpDone, WindowDone
from bench.worker.session import Session, SessionError
from mnist_core.recipe import Engine

#: Seconds after which a block hangs, for each of its scenarios; it takes a few seconds for each.
_TIMEOUT_SECONDS: Final = 120.0


P = ParamSpec("P")
T = TypeVar("T")


class GateObserver(Protocol):
    """Is told what happens as it happens."""

    def block_started(self, index: int, wanted: Wanted, order: Order) -> None: ...
    def scenario_started(self, scenario: Scenario) -> None: ...
    def block_finished(self, block: Block, conclusion: Conclusion, seconds_left: float) -> None: ...


def session_starters(
    interpreters: Mapping[Side, Interpreter], stop: Cancellation, scenarios: int
) -> dict[Side, StartSession]:
    """Return, for each side, what starts its sessions; a session measures at most so many scenarios."""
    life_seconds = _TIMEOUT_SECONDS * (1 + scenarios)
    return {
        side: functools.partial(session.start, interpreter, life_seconds=life_seconds, stop=stop)
        for side, interpreter in interpreters.items()
    }


def run_blocks(
    gate_file: GateFile,
    *,
    sessions: Mapping[Side, StartSession],
    data_directory: Path,
    budget_seconds: float,
    save: Callable[[GateFile], None],
    observer: GateObserver,
    stop: Cancellation,
    now: Clock = time.monotonic,
) -> tuple[GateFile, Conclusion]:
    """Measure the blocks that the decision wants, and save after each; return the file and its conclusion.

    Ends when nothing more is wanted, when the next block would not end within the budget, or when asked to stop. A
    block that is not finished then is dropped, since half a block is no evidence. Raises what `save` raises.
    """
    begin = now()
    save(gate_file)
    conclusion = conclusion_of(gate_file)
    while (wanted := conclusion.wanted) is not None and not stop.requested:
        if now() - begin + _expected_seconds(gate_file, wanted) > budget_seconds:
            break
        block = _measure_block(gate_file, wanted, sessions, data_directory, observer, now)
        if _was_interrupted(block, stop):
            break
        gate_file = with_block(gate_file, block)
        save(gate_file)
        conclusion = conclusion_of(gate_file)
        observer.block_finished(block, conclusion, budget_seconds - (now() - begin))
    return gate_file, conclusion


def _was_interrupted(block: Block, stop: Cancellation) -> bool:
    """Return whether the block failed because a request to stop killed its workers."""
    return stop.requested and block.failure is not None


def _expected_seconds(gate_file: GateFile, wanted: Wanted) -> float:
    """Predict the duration of the next block from the blocks before it; 0 for the first one."""
    of_one = [
        block.seconds / len(block.passes[0].scenarios)
        for block in gate_file.blocks
        if block.passes and block.passes[0].scenarios
    ]
    return statistics.median(of_one) * len(wanted.scenarios) if of_one else 0.0


def _measure_block(
    gate_file: GateFile,
    wanted: Wanted,
    sessions: Mapping[Side, StartSession],
    data_directory: Path,
    observer: GateObserver,
    now: Clock,
) -> Block:
    index, planned = len(gate_file.blocks), gate_file.plan
    order, scenarios = draw(planned.seed, index, wanted.scenarios)
    gated = {each.scenario: each for each in scenarios}
    observer.block_started(index, wanted, order)
    started_at, watch = utc_now(), HealthWatch(now)
    rows: list[list[ScenarioInvocation]] = []
    failure = None
    for (threads, engine), group in by_variables([(each.scenario, each.omp_num_threads) for each in scenarios]):
        request = session.session_request(data_directory, gate_file.dataset, planned.seed + index, threads, engine)
        try:
            rows += _take_turns(order, sessions, request, [gated[each] for each in group], planned.windows, observer)
        except _SideFailedError as error:
            failure = error.failure
            break
    seconds, health = watch.health()
    return Block(
        index=index,
        phase=wanted.phase,
        order=order,
        started_at=started_at,
        seconds=seconds,
        seed=planned.seed + index,
        health=health,
        passes=()
        if failure is not None
        else tuple(
            Invocation(side=side, scenarios=own) for side, own in zip(order.sides, zip(*rows, strict=True), strict=True)
        ),
        failure=failure,
    )


class _SideFailedError(Exception):
    def __init__(self, failure: InvocationFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


def _take_turns(
    order: Order,
    sessions: Mapping[Side, StartSession],
    request: SessionRequest,
    scenarios: Sequence[GatedScenario],
    windows: int,
    observer: GateObserver,
) -> list[list[ScenarioInvocation]]:
    """Let four sessions measure in turns; return, for each scenario, what the four measured, in order of time.

    Raises `_SideFailedError`.
    """
    rows = []
    with contextlib.ExitStack() as stack:
        four = [(side, _attempt(side, stack.enter_context, sessions[side](request))) for side in order.sides]
        for side, each in four:
            _attempt(side, each.wait_until_ready)
        for gated in scenarios:
            observer.scenario_started(gated.scenario)
            set_ups = [_attempt(side, each.set_up, gated.scenario, gated.epoch_samples) for side, each in four]
            turns = [[_attempt(side, _run_window, each, gated) for side, each in four] for _ in range(windows)]
            accuracies = [_attempt(side, each.evaluate).test_accuracy for side, each in four]
            parts = zip(set_ups, zip(*turns, strict=True), accuracies, strict=True)
            rows.append([_scenario_invocation(gated.scenario, *of_one) for of_one in parts])
    return rows


def _run_window(session_: Session, gated: GatedScenario) -> WindowDone:
    return session.check_sample_count(session_.run_window(gated.window_epochs), gated.window_samples)


def _attempt(side: Side, action: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what the action returns; turn its `SessionError` into a `_SideFailedError` of this side."""
    try:
        return action(*args, **kwargs)
    except SessionError as error:
        failure = error.failure
        raise _SideFailedError(
            InvocationFailure(side=side, reason=failure.reason, detail=failure.detail, log=failure.log)
        ) from error


def _scenario_invocation(
    scenario: Scenario, set_up: SetUpDone, windows: Sequence[WindowDone], test_accuracy: float
) -> ScenarioInvocation:
    return ScenarioInvocation(
        scenario=scenario,
        first_step_seconds=set_up.first_step_seconds,
        warm_up_seconds=set_up.warm_up_seconds,
        samples=tuple(window.samples for window in windows),
        window_seconds=tuple(window.seconds for window in windows),
        test_accuracy=test_accuracy,
        involuntary_context_switches=sum(window.involuntary_context_switches for window in windows),
    )


def by_variables(scenarios: Sequence[tuple[Scenario, int]]) -> list[tuple[tuple[int, Engine], list[Scenario]]]:
    """Group (scenario, OpenMP threads) by what a process reads only once: thread count and engine."""
    groups: dict[tuple[int, Engine], list[Scenario]] = {}
    for scenario, threads in scenarios:
        groups.setdefault((threads, scenario.engine), []).append(scenario)
    return list(groups.items())
