"""Gate files that are made up for tests: four invocations in each block, with the noise that the test is about."""

# ruff: noqa: ANN401 (a factory takes any field of its record)

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.experiments.gate.decision import conclude
from bench.experiments.gate.evidence import evidence_of, evidence_of_last
from bench.experiments.pilot import StartSession
from bench.machine.linux.counters import Counters
from bench.records.gate import (
    Block,
    GatedScenario,
    GateFile,
    GatePhase,
    GatePlan,
    Invocation,
    Purpose,
    ScenarioInvocation,
    SideDescription,
    draw,
)
from bench.records.health import Health
from bench.scenarios.scenario import Scenario
from bench.stats.paired import Order, Side
from bench.worker.protocol.replies import (
    Evaluated,
    OfflineDone,
    PredictionReady,
    QueriesDone,
    SessionReady,
    SetUpDone,
    WindowDone,
)
from bench.worker.protocol.requests import SessionRequest
from bench.worker.session import Session
from tests.support.records import CREATED_AT, a_dataset, a_scenario, a_software, an_environment
from tests.support.sessions import READY, FakePredictions, a_window, an_evaluation

if TYPE_CHECKING:
    import pytest

MLP, LENET = a_scenario("mlp"), a_scenario("lenet")
MLP_STATIC, LENET_STATIC = (a_scenario(network, "cpu(0)", hybridize="static") for network in ("mlp", "lenet"))
SEED = 42
FOUR = (MLP, LENET, MLP_STATIC, LENET_STATIC)

#: log seconds per sample, added to an invocation: (block, turn, side, scenario) -> number.
Noise = Callable[[int, int, Side, Scenario], float]


def a_plan(scenarios: Sequence[Scenario] = FOUR, **changes: Any) -> GatePlan:
    facts: dict[str, Any] = {
        "purpose": Purpose.GATE,
        "suite": "gate",
        "scenarios": tuple(
            GatedScenario(scenario=each, omp_num_threads=1, epoch_samples=1000, window_epochs=2, noise_floor=None)
            for each in scenarios
        ),
        "windows": 3,
        "seed": SEED,
        "margin": 0.02,
        "tolerance": 0.10,
        "accuracy_margin": 0.01,
        "alpha": 0.05,
        "looks": (8, 12, 20),
        "confirmation_alpha": 0.1,
        "confirmation_looks": (5, 10),
        "control_alpha": 0.01,
        "void_steal_fraction": 0.05,
        "void_anchor_ratio": 1.25,
        "unhealthy_fraction": 0.3,
        "max_blocks": 60,
    }
    return GatePlan(**facts | changes)


def a_health(**changes: Any) -> Health:
    facts: dict[str, Any] = {
        "steal_fraction": 0.001,
        "cpu_pressure_fraction": 0.1,
        "load_average": 1.0,
        "throttle_count": None,
        "anchor_seconds": (0.006, 0.006),
    }
    return Health(**facts | changes)


def noisy(seed: int, sd: float = 0.01) -> Noise:
    """Return independent normal noise for each invocation."""
    generator = np.random.default_rng(seed)
    return lambda _block, _turn, _side, _scenario: float(generator.normal(0, sd))


def slowed(noise: Noise, slowdown: float, scenarios: Sequence[Scenario] = FOUR) -> Noise:
    """Return the noise of a contender that is slower by this slowdown (0.1 = 10 % slower) in these scenarios."""
    extra = math.log1p(slowdown)
    return lambda block, turn, side, scenario: (
        noise(block, turn, side, scenario) + (extra if side is Side.CONTENDER and scenario in scenarios else 0.0)
    )


def a_block(
    index: int,
    noise: Noise,
    *,
    scenarios: Sequence[Scenario] = FOUR,
    order: Order | None = None,
    accuracy: Callable[[Side], float] = lambda _side: 0.9,
    trend: float = 0.0,
    **changes: Any,
) -> Block:
    """Make a block in the order that is drawn for the plan's seed; its windows drift by `trend` from first to last."""
    order = order or draw(SEED, index, ())[0]
    passes = []
    for turn, side in enumerate(order.sides):
        measured = []
        for scenario in scenarios:
            log = math.log(1e-4) + noise(index, turn, side, scenario)
            seconds = tuple(2000 * math.exp(log + trend * (window - 1) / 2) for window in range(3))
            measured.append(
                ScenarioInvocation(
                    scenario=scenario,
                    first_step_seconds=0.1,
                    warm_up_seconds=0.2,
                    samples=(2000, 2000, 2000),
                    window_seconds=seconds,
                    test_accuracy=accuracy(side),
                    involuntary_context_switches=1,
                )
            )
        passes.append(Invocation(side=side, scenarios=tuple(measured)))
    facts: dict[str, Any] = {
        "index": index,
        "phase": GatePhase.MAIN,
        "order": order,
        "started_at": CREATED_AT,
        "seconds": 30.0,
        "seed": SEED + index,
        "health": a_health(),
        "passes": tuple(passes),
    }
    return Block(**facts | changes)


def blocks(count: int, noise: Noise, **changes: Any) -> list[Block]:
    return [a_block(index, noise, **changes) for index in range(count)]


def whole_gate(plan: GatePlan, noise: Noise, begun: Sequence[Block] = (), **changes: Any) -> list[Block]:
    """Make the blocks that are wanted up to the next look, until none are; all of them are valid."""
    found = [*begun]
    evidence = evidence_of(plan, found)
    while (wanted := conclude(plan, evidence).wanted) is not None:
        scenarios = [gated.scenario for gated in wanted.scenarios]
        for _ in range(min(wanted.until - wanted.done, plan.max_blocks - len(found))):
            found.append(a_block(len(found), noise, scenarios=scenarios, phase=wanted.phase, **changes))
            evidence.append(evidence_of_last(plan, found))
    return found


def a_side(**changes: Any) -> SideDescription:
    facts: dict[str, Any] = {
        "name": "working tree",
        "git_commit": None,
        "tree_digest": "c" * 64,
        "software": a_software(),
    }
    return SideDescription(**facts | changes)


def a_gate_file(found: Sequence[Block] = (), **changes: Any) -> GateFile:
    facts: dict[str, Any] = {
        "created_at": CREATED_AT,
        "environment": an_environment(),
        "dataset": a_dataset(),
        "baseline": a_side(name="main", git_commit="a" * 40, tree_digest="d" * 64),
        "contender": a_side(),
        "plan": a_plan(),
        "blocks": tuple(found),
    }
    return GateFile(**facts | changes)


@dataclass
class FakeSessions:
    """Its `sessions` stand for `session_starters`: windows take the time that a test says, and nothing is started.

    `on_window` is called before each window, and may raise.
    """

    slowdown: float = 0.0
    sd: float = 0.01
    #: Of the contender's windows: images that it says to have trained, over those that it was told to.
    counts: float = 1.0
    accuracy: Callable[[Side], float] = lambda _side: 0.9
    on_window: Callable[[Side, Scenario], None] = lambda _side, _scenario: None
    #: Of the contender: how many times as long the slowest hundredth of a turn's queries takes, and queries of it that
    #: are answered by another digit than the evaluation's.
    tail: float = 1.0
    mismatches: int = 0
    #: Every (side, what) in order.
    calls: list[tuple[Side, str]] = field(default_factory=list)
    #: Requests in the order of their starts.
    requests: list[tuple[Side, SessionRequest]] = field(default_factory=list)
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    @property
    def sessions(self) -> dict[Side, StartSession]:
        return {side: functools.partial(self.start, side) for side in Side}

    @contextlib.contextmanager
    def start(self, side: Side, request: SessionRequest, *, command_seconds: float | None = None) -> Iterator[Session]:
        assert command_seconds is None
        self.calls.append((side, "start"))
        self.requests.append((side, request))
        try:
            yield _FakeSession(self, side)
        finally:
            self.calls.append((side, "end"))


@dataclass
class _FakeSession(FakePredictions):
    passes: FakeSessions
    side: Side
    scenario: Scenario = MLP
    samples: int = 0

    def wait_until_ready(self) -> SessionReady:
        self.passes.calls.append((self.side, "ready"))
        return READY

    def set_up(self, scenario: Scenario, samples: int) -> SetUpDone:
        self.scenario, self.samples = scenario, samples
        self.passes.calls.append((self.side, "set up"))
        return SetUpDone(0.1, 0.2, 1e-4 * samples)

    def run_window(self, epochs: int, lead_in: int = 0) -> WindowDone:
        self.passes.calls.append((self.side, "window"))
        self.passes.on_window(self.side, self.scenario)
        log = float(self.passes.generator.normal(0, self.passes.sd))
        if self.side is Side.CONTENDER:
            log += math.log1p(self.passes.slowdown)
        samples = self.samples * epochs
        if self.side is Side.CONTENDER:
            samples = round(samples * self.passes.counts)
        return a_window(samples, 1e-4 * samples * math.exp(log))

    def prepare_prediction(self, batch_sizes: Sequence[int]) -> PredictionReady:
        assert not batch_sizes
        self.passes.calls.append((self.side, "prepare"))
        return PredictionReady(warm_up=100, timer_overhead_ns=40)

    def run_queries(self, queries: int) -> QueriesDone:
        self.passes.calls.append((self.side, "queries"))
        self.passes.on_window(self.side, self.scenario)
        is_slow, generator = self.side is Side.CONTENDER, self.passes.generator
        logs = math.log(60_000) + generator.normal(0, self.passes.sd) + np.abs(generator.normal(0, 0.1, queries))
        if is_slow:
            logs += math.log1p(self.passes.slowdown)
            logs[np.argsort(logs)[-queries // 50 :]] += math.log(self.passes.tail)
        return QueriesDone(
            ns=tuple(int(number) for number in np.exp(logs)),
            warm_up=20,
            mismatches=self.passes.mismatches if is_slow else 0,
            involuntary_context_switches=1,
        )

    def run_offline(self, batch_size: int, samples: int) -> OfflineDone:
        raise AssertionError("a gate predicts no batches")

    def evaluate(self) -> Evaluated:
        self.passes.calls.append((self.side, "evaluate"))
        return an_evaluation(self.passes.accuracy(self.side))


def make_machine_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no block be void because of what else runs on the machine of the tests."""
    monkeypatch.setattr("bench.experiments.blocks._anchor_seconds", lambda _now: 0.006)
    monkeypatch.setattr("bench.experiments.blocks.read_counters", lambda: Counters(None, None, None, None))
