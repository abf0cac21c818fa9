"""Searches made up for tests: candidates of a known speed, on a machine as unsteady as a test says."""

# ruff: noqa: ANN401 (a factory takes whatever fields its record has)

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from bench.experiments.tune import eliminations, racing
from bench.experiments.tune.racing import Step
from bench.experiments.tune.search_space import position, search_space
from bench.records.tune import (
    REFERENCE,
    Candidate,
    Measurement,
    MeasurementFailure,
    Round,
    TuneFile,
    TunePhase,
    TunePlan,
    with_round,
)
from bench.scenarios.scenario import Scenario
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
from tests.support.records import CREATED_AT, a_dataset, an_environment
from tests.support.sessions import READY, FakePredictions, a_window, an_evaluation

SEED = 42
#: Of the made-up reference.
BASE_RATE = 30_000.0


def candidates(network: str = "mlp", *, cores: int = 2, count: int | None = None) -> tuple[Candidate, ...]:
    """Return the reference, then as many of the space's others as asked for."""
    space = search_space(network, 100, cores=cores, gpus=())
    others = [each for each in space.scenarios if each != space.reference]
    chosen = [space.reference, *(others if count is None else others[:count])]
    return tuple(Candidate(scenario=each, omp_num_threads=each.threads_per_context(cores)) for each in chosen)


def a_tune_plan(**changes: Any) -> TunePlan:
    facts: dict[str, Any] = {
        "candidates": candidates(count=5),
        "reference_may_win": True,
        "exhaustive": False,
        "budget_seconds": None,
        "seed": SEED,
        "screening_samples": 2000,
        "final_samples": 4000,
        "test_samples": 1000,
        "command_seconds": 30.0,
        "pilot_seconds": 2.0,
    }
    return TunePlan(**facts | changes)


def a_tune_file(rounds: Sequence[Round] = (), **changes: Any) -> TuneFile:
    facts: dict[str, Any] = {
        "created_at": CREATED_AT,
        "environment": an_environment(),
        "dataset": a_dataset(),
        "plan": a_tune_plan(),
        "rounds": tuple(rounds),
    }
    return TuneFile(**facts | changes)


@dataclass
class Machine:
    """A machine that measures made-up candidates: true speeds, and all that comes between them and a number."""

    #: log(rate over the reference's) by candidate; the reference's own is 0.
    truth: Mapping[int, float]
    seed: int = 0
    #: Of one window.
    window_sd: float = 0.02
    #: Of one process, around its candidate's truth.
    process_sd: float = 0.01
    #: One process in so many is slow by this for its whole life.
    unlucky_share: float = 0.0
    unlucky_log: float = 0.25
    #: One window in so many is interrupted, which makes it up to ten times slower.
    interrupted_share: float = 0.0
    #: log of the machine's speed swings by this either way within a minute.
    drift_log: float = 0.0
    #: Candidates that crash, always or only beside others.
    crashing: frozenset[int] = frozenset()
    #: Candidates that do not learn.
    stupid: frozenset[int] = frozenset()
    seconds: float = 0.0
    generator: np.random.Generator = field(init=False)

    def __post_init__(self) -> None:
        self.generator = np.random.default_rng(self.seed)

    def measure(self, step: Step) -> Round:
        """Return what a session would have brought of it."""
        begin = self.seconds
        alive = [each for each in step.candidates if each not in self.crashing]
        failures = tuple(
            MeasurementFailure(candidate=each, reason="crashed", detail="status 1", log="", fresh=True)  # type: ignore[arg-type]
            for each in step.candidates
            if each in self.crashing
        )
        measured = self._one_by_one(alive, step) if step.phase is TunePhase.SCREENING else self._in_turns(alive)
        return Round(
            phase=step.phase,
            started_at=CREATED_AT,
            seconds=self.seconds - begin,
            measurements=tuple(measured),
            failures=failures,
        )

    def _in_turns(self, alive: Sequence[int]) -> list[Measurement]:
        self.seconds += 1.5 * len(alive) / 2
        luck = {each: self._luck() for each in alive}
        windows: dict[int, list[float]] = {each: [] for each in alive}
        for _ in range(5):
            for each in alive:
                windows[each].append(self._window(self.truth[each] + luck[each], 0.2))
        return [
            self._measurement(
                each, windows[each], (0.1, 0.1) if each in self.stupid else (0.78 + 0.001 * (each % 3), 0.9)
            )
            for each in alive
        ]

    def _one_by_one(self, alive: Sequence[int], step: Step) -> list[Measurement]:
        luck = [self._luck() for _ in range(2)]  # two processes, one for each half of the candidates
        measured = []
        for number, each in enumerate([*alive, REFERENCE]):
            if number % 4 == 0 or each == REFERENCE:
                measured.append(self._measurement(REFERENCE, [self._window(0.0, 0.05) for _ in range(3)], None))
            if each != REFERENCE:
                self.seconds += 0.05
                own = self.truth[each] + luck[each % 2]
                windows = [self._window(own, 0.02) for _ in range(3)]
                if max(windows) - math.log(BASE_RATE) >= step.hopeless_below:
                    windows += [self._window(own, step.window_seconds) for _ in range(2)]
                measured.append(self._measurement(each, windows, None))
        return measured

    def _luck(self) -> float:
        luck = self.generator.normal(0, self.process_sd)
        return luck - self.unlucky_log * (self.generator.random() < self.unlucky_share)

    def _window(self, log: float, seconds: float) -> float:
        """Return the log rate of a window; time passes."""
        drift = self.drift_log * math.sin(2 * math.pi * self.seconds / 60)
        slow = math.log(self.generator.uniform(1, 10)) if self.generator.random() < self.interrupted_share else 0.0
        self.seconds += seconds
        return float(math.log(BASE_RATE) + log + drift + self.generator.normal(0, self.window_sd) - slow)

    def _measurement(self, each: int, logs: Sequence[float], accuracies: tuple[float, float] | None) -> Measurement:
        first, last = accuracies or (None, None)
        return Measurement(
            candidate=each,
            set_up_seconds=0.1,
            samples=(1000,) * len(logs),
            window_seconds=tuple(1000 / math.exp(log) for log in logs),
            first_accuracy=first,
            last_accuracy=last,
        )


def search(plan: TunePlan, machine: Machine, *, most_rounds: int = 1000) -> TuneFile:
    """Play the whole search as a session would."""
    tune_file = a_tune_file(plan=plan)
    while (step := racing.next_step(plan, tune_file.rounds)) is not None:
        measured = machine.measure(step)
        ruled = eliminations.eliminations(plan, (*tune_file.rounds, measured))
        tune_file = with_round(tune_file, msgspec.structs.replace(measured, ruled=ruled))
        assert len(tune_file.rounds) < most_rounds
    return tune_file


def bumpy(scenarios: Sequence[Scenario], seed: int, *, sd: float = 0.25) -> dict[int, float]:
    """Draw a truth for each candidate: every knob has an effect, every pair of knobs an interaction half as large."""
    generator = np.random.default_rng(seed)
    effects: dict[object, float] = {}

    def effect(key: object, scale: float) -> float:
        return effects.setdefault(key, float(generator.normal(0, scale)))

    from_positions = [position(each) for each in scenarios]
    truth = {}
    for index, own in enumerate(from_positions):
        truth[index] = sum(effect((knob, place), sd) for knob, place in enumerate(own)) + sum(
            effect((a, own[a], b, own[b]), sd / 2) for a in range(len(own)) for b in range(a)
        )
    return {index: value - truth[REFERENCE] for index, value in truth.items()}


# --- processes


class Clock:
    """Time passes only where a fake lets it."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        self.time += 1e-9
        return self.time


@dataclass
class FakeWorkers:
    """Its `start` stands for `session_starter`: windows take the time that a test says, and nothing is started."""

    #: Seconds per image.
    cost: Callable[[Scenario], float] = lambda _scenario: 1e-4
    #: Before each set-up; may raise.
    on_set_up: Callable[[Scenario, int], None] = lambda _scenario, _set_ups_before: None
    #: Before each window; may raise.
    on_window: Callable[[Scenario], None] = lambda _scenario: None
    accuracy: Callable[[Scenario], float] = lambda _scenario: 0.9
    counts: float = 1.0
    clock: Clock = field(default_factory=Clock)
    requests: list[SessionRequest] = field(default_factory=list)
    #: (number of the process, what) in order.
    calls: list[tuple[int, str]] = field(default_factory=list)
    #: Before each window of a process, in order: the epochs that nobody counts.
    lead_ins: list[int] = field(default_factory=list)
    alive: set[int] = field(default_factory=set)
    most_alive: int = 0
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    @contextlib.contextmanager
    def start(self, request: SessionRequest, *, command_seconds: float | None = None) -> Iterator[Session]:
        number = len(self.requests)
        self.requests.append(request)
        self.calls.append((number, "start"))
        self.alive.add(number)
        self.most_alive = max(self.most_alive, len(self.alive))
        assert command_seconds is not None
        assert command_seconds > 0
        try:
            yield _FakeProcess(self, number)
        finally:
            self.alive.remove(number)
            self.calls.append((number, "end"))


@dataclass
class _FakeProcess(FakePredictions):
    workers: FakeWorkers
    number: int
    set_ups: int = 0
    scenario: Scenario | None = None
    samples: int = 0

    def _called(self, what: str) -> None:
        assert self.number in self.workers.alive
        self.workers.calls.append((self.number, what))

    def wait_until_ready(self) -> SessionReady:
        self._called("ready")
        self.workers.clock.time += 1.0
        return READY

    def set_up(self, scenario: Scenario, samples: int) -> SetUpDone:
        self._called("set up")
        self.workers.on_set_up(scenario, self.set_ups)
        self.scenario, self.samples, self.set_ups = scenario, samples, self.set_ups + 1
        return SetUpDone(0.1, 0.2, self.workers.cost(scenario) * samples)

    def run_window(self, epochs: int, lead_in: int = 0) -> WindowDone:
        self._called("window")
        assert self.scenario is not None
        self.workers.on_window(self.scenario)
        self.workers.lead_ins.append(lead_in)
        seconds = self.workers.cost(self.scenario) * self.samples * epochs
        seconds *= math.exp(self.workers.generator.normal(0, 0.005))
        self.workers.clock.time += seconds * (1 + lead_in / epochs)
        return a_window(round(self.samples * epochs * self.workers.counts), seconds)

    def evaluate(self) -> Evaluated:
        self._called("evaluate")
        assert self.scenario is not None
        return an_evaluation(self.workers.accuracy(self.scenario))

    def prepare_prediction(self, batch_sizes: Sequence[int]) -> PredictionReady:
        self._called("prepare")
        return super().prepare_prediction(batch_sizes)

    def run_queries(self, queries: int) -> QueriesDone:
        self._called("queries")
        return super().run_queries(queries)

    def run_offline(self, batch_size: int, samples: int) -> OfflineDone:
        self._called(f"batches of {batch_size}")
        return super().run_offline(batch_size, samples)
