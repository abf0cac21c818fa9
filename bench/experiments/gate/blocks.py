"""Measure interleaved blocks of baseline and contender until the decision wants no more or the budget ends.

A block is four fresh processes, two of each side, alive together and taking turns: one window of the first, one of the
second, and so on, for each scenario. Turns are a tenth of a second apart, so that the drift of a shared machine, which
takes seconds to minutes, hits all four alike. While one works the others wait for their next command.

A gate's side effects are here: processes, the clock, and one save after every block.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import msgspec

from bench.experiments import blocks
from bench.experiments.attempts import attempt
from bench.experiments.blocks import Arm, HealthWatch, Measurement, Task, exactly
from bench.experiments.gate import eta
from bench.experiments.gate.decision import Conclusion, Wanted, conclusion_of
from bench.experiments.pilot import Clock, StartSession
from bench.records.base import utc_now
from bench.records.gate import (
    GATED_PERCENTILES,
    AnsweredTurn,
    Block,
    GatedScenario,
    GateFile,
    GateMetric,
    Invocation,
    InvocationFailure,
    ScenarioInvocation,
    draw,
    with_block,
)
from bench.scenarios.scenario import Scenario
from bench.stats.order_statistics import percentile_rank
from bench.stats.paired import Order, Side
from bench.worker import session
from bench.worker.process import Cancellation, Interpreter
from bench.worker.protocol.replies import QueriesDone
from bench.worker.protocol.requests import PredictionPlan, SessionRequest
from mnist_core.recipe import Engine, Precision

#: Seconds after which a block hangs, for each of its scenarios; it takes a few seconds for each.
_TIMEOUT_SECONDS: Final = 120.0


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
    block that is not finished then is dropped, since half a block is no evidence. Raises what `save` raises, and
    `DeadlyError` for a block that has ended this program before.
    """
    begin = now()
    save(gate_file)
    conclusion = conclusion_of(gate_file)
    anchor_seconds = None
    while (wanted := conclusion.wanted) is not None and not stop.requested:
        if now() - begin + (eta.block_seconds(gate_file, wanted.scenarios) or 0.0) > budget_seconds:
            break
        watch = HealthWatch(now, anchor_seconds)
        with attempt(gate_file, len(gate_file.blocks), save):
            block = _measure_block(gate_file, wanted, sessions, data_directory, observer, stop, watch)
        if block is None:
            save(gate_file)
            break
        _before, anchor_seconds = block.health.anchor_seconds
        gate_file = with_block(gate_file, block)
        save(gate_file)
        conclusion = conclusion_of(gate_file)
        observer.block_finished(block, conclusion, budget_seconds - (now() - begin))
    return gate_file, conclusion


def _measure_block(
    gate_file: GateFile,
    wanted: Wanted,
    sessions: Mapping[Side, StartSession],
    data_directory: Path,
    observer: GateObserver,
    stop: Cancellation,
    watch: HealthWatch,
) -> Block | None:
    """Measure a block; return None if it was asked to stop before its end."""
    index, planned = len(gate_file.blocks), gate_file.plan
    order, scenarios = draw(planned.seed, index, wanted.scenarios)
    gated = {each.scenario: each for each in scenarios}
    observer.block_started(index, wanted, order)
    started_at = utc_now()
    passes: list[list[ScenarioInvocation]] = [[] for _side in order.sides]
    failure = None
    pairs = [(each.scenario, each.omp_num_threads) for each in gated.values()]
    is_latency = planned.metric is GateMetric.LATENCY
    for (threads, engine, precision), group in by_variables(pairs):
        request = session.session_request(
            data_directory, gate_file.dataset, planned.seed + index, threads, engine, group[0].framework, precision
        )
        arms = _arms(order, sessions, request, [gated[each] for each in group], planned.windows if is_latency else None)
        outcome = blocks.measure_block(
            arms,
            turns=1 if is_latency else planned.windows,
            stop=stop,
            reverse=False,  # ABBA is balanced as it is, and `paired.control` compares fixed places
            needed=range(len(arms)),
            on_turn=lambda _place, scenario: observer.scenario_started(scenario),
        )
        if stop.requested and not outcome.measurements:
            return None
        for place, measured in outcome.measurements.items():
            passes[place] += map(_answers if is_latency else _scenario_invocation, measured)
        for place, ended in outcome.failures.items():
            failure = InvocationFailure(
                side=order.sides[place], reason=ended.reason, detail=ended.detail, log=ended.log
            )
        if failure is not None:
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
        else tuple(Invocation(side=side, scenarios=tuple(own)) for side, own in zip(order.sides, passes, strict=True)),
        failure=failure,
    )


def _arms(
    order: Order,
    sessions: Mapping[Side, StartSession],
    request: SessionRequest,
    scenarios: Sequence[GatedScenario],
    query_turns: int | None,
) -> list[Arm[int]]:
    """Return the four processes of a block, labelled by their places in its order; with turns of queries, if any."""
    tasks = tuple(
        Task(
            scenario=gated.scenario,
            epoch_samples=min(gated.epoch_samples, request.dataset.train_samples),
            epochs=exactly(gated.window_epochs),
            prediction=None
            if query_turns is None
            else PredictionPlan(turns=query_turns, queries=gated.epoch_samples, batch_sizes=(), samples=1),
        )
        for gated in scenarios
    )
    return [
        Arm(label=place, tasks=tasks, start=functools.partial(sessions[side], request))
        for place, side in enumerate(order.sides)
    ]


def _scenario_invocation(measured: Measurement) -> ScenarioInvocation:
    return ScenarioInvocation(
        scenario=measured.task.scenario,
        first_step_seconds=measured.set_up.first_step_seconds,
        warm_up_seconds=measured.set_up.warm_up_seconds,
        samples=tuple(window.samples for window in measured.windows),
        window_seconds=tuple(window.seconds for window in measured.windows),
        test_accuracy=measured.evaluated.test_accuracy,
        involuntary_context_switches=sum(window.involuntary_context_switches for window in measured.windows),
    )


def _answers(measured: Measurement) -> ScenarioInvocation:
    """Return what a process took for its queries, after a window of training that is no part of it."""
    assert measured.prediction is not None
    turns = measured.prediction.queries
    return msgspec.structs.replace(
        _scenario_invocation(measured),
        samples=tuple(len(turn.ns) for turn in turns),
        window_seconds=tuple(1e-9 * sum(turn.ns) for turn in turns),
        involuntary_context_switches=sum(turn.involuntary_context_switches for turn in turns),
        answered=tuple(map(_answered_turn, turns)),
    )


def _answered_turn(turn: QueriesDone) -> AnsweredTurn:
    ascending = sorted(turn.ns)
    p50_ns, p99_ns = (ascending[percentile_rank(len(ascending), fraction) - 1] for fraction in GATED_PERCENTILES)
    return AnsweredTurn(p50_ns=p50_ns, p99_ns=p99_ns, mismatches=turn.mismatches)


#: OpenMP threads, engine and precision.
Variables: TypeAlias = tuple[int, Engine, Precision]


def by_variables(scenarios: Sequence[tuple[Scenario, int]]) -> list[tuple[Variables, list[Scenario]]]:
    """Group (scenario, OpenMP threads) by what a process reads only once: thread count, engine and precision."""
    groups: dict[Variables, list[Scenario]] = {}
    for scenario, threads in scenarios:
        groups.setdefault((threads, scenario.engine, scenario.precision), []).append(scenario)
    return list(groups.items())
