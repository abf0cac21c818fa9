"""Measure a block: processes that are alive together and take turns.

The speed of a shared machine drifts within seconds, and by up to a factor of two within a minute. Processes that take
turns of a tenth of a second meet the same drift, so that it cancels from the ratio of any two of them. Each is fresh
in every block, since two processes of the same code can differ for as long as they live.

A process may measure several scenarios, one after the other. That is honest where every process of the block measures
the same ones in the same order, as both sides of a gate do: what an earlier scenario leaves behind in a process, it
leaves in all of them, so that it cancels from their ratio, too. Scenarios that are compared with each other have a
process each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
from collections.abc import Callable, Container, Generator, Hashable, Sequence
from contextlib import AbstractContextManager
from typing import Final, Generic, TypeVar

import numpy as np

from bench.experiments.pilot import Clock, lead_in
from bench.machine.gpus.accelerators import read_throttling
from bench.machine.linux.counters import load_average, read_counters
from bench.machine.software import threads_within_quota
from bench.records.health import Health
from bench.scenarios.scenario import Scenario
from bench.worker import session
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.protocol.replies import (
    Evaluated,
    OfflineDone,
    PredictionWindows,
    QueriesDone,
    SessionReady,
    SetUpDone,
    WindowDone,
)
from bench.worker.protocol.requests import PredictionPlan
from bench.worker.session import Session, SessionError

#: Rows and columns of the matrices whose product tells how fast the machine is. 2 GFLOP take so long that waking the
#: threads does not count.
_ANCHOR_SIZE: Final = 1024
_ANCHOR_REPEATS: Final = 5
LabelT = TypeVar("LabelT", bound=Hashable)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A scenario, as a process of a block measures it."""

    scenario: Scenario
    #: Training images of an epoch: the first ones of the data set.
    epoch_samples: int
    #: Returns the epochs of a turn, from the seconds of one epoch.
    epochs: Callable[[float], int]
    #: What it predicts after the turns; None: nothing.
    prediction: PredictionPlan | None = None

    def stages(self, turns: int) -> int:
        """Return its stages: set-up, turns and evaluation, then set-up and turns of prediction."""
        return 1 + turns + 1 + (0 if self.prediction is None else 1 + self.prediction.turns)


def exactly(epochs: int) -> Callable[[float], int]:
    """Return what gives a task turns of so many epochs."""
    return lambda _epoch_seconds: epochs


def lasting(seconds: float) -> Callable[[float], int]:
    """Return what gives a task turns of the fewest whole epochs that last so long."""
    return lambda epoch_seconds: max(1, math.ceil(seconds / epoch_seconds))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Arm(Generic[LabelT]):
    """What one process of a block measures: as many tasks as any other arm's, one after the other."""

    label: LabelT
    tasks: tuple[Task, ...]
    #: Starts the process; it is killed when the context ends.
    start: Callable[[], AbstractContextManager[Session]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What a process measured of a task."""

    task: Task
    ready: SessionReady
    set_up: SetUpDone
    #: After one epoch, where it was asked for; else None.
    first_accuracy: float | None
    #: The timed turns, in order.
    windows: tuple[WindowDone, ...]
    #: Uncounted epochs before each of them.
    lead_in: int
    #: After the last turn.
    evaluated: Evaluated
    prediction: PredictionWindows | None = None

    @property
    def epochs_per_window(self) -> int:
        """The epochs of a timed turn."""
        return self.windows[0].samples // self.task.epoch_samples


@dataclasses.dataclass(frozen=True, slots=True)
class BlockOutcome(Generic[LabelT]):
    """What a block gave: each arm is in one of the two, unless the block was ended early."""

    #: By arm, one for each of its tasks.
    measurements: dict[LabelT, tuple[Measurement, ...]] = dataclasses.field(default_factory=dict)
    failures: dict[LabelT, WorkerFailure] = dataclasses.field(default_factory=dict)


def measure_block(
    arms: Sequence[Arm[LabelT]],
    *,
    turns: int,
    stop: Cancellation,
    reverse: bool = True,
    judge_first: bool = False,
    needed: Container[LabelT] = (),
    on_turn: Callable[[LabelT, Scenario], None] = lambda _label, _scenario: None,
    on_failure: Callable[[LabelT, WorkerFailure], None] = lambda _label, _failure: None,
) -> BlockOutcome[LabelT]:
    """Let the arms take so many turns with each of their tasks.

    The order of the arms is reversed after every turn, so that a linear drift cancels; or else it stays as it is. An
    arm that fails drops out and the others go on. Nothing but failures comes of a block that is asked to stop, or that
    loses a `needed` arm. With `judge_first` each arm is evaluated after one epoch, which comes before its turns.
    """
    outcome: BlockOutcome[LabelT] = BlockOutcome()
    measured: dict[LabelT, tuple[Measurement, ...]] = {}
    lead_ins: dict[Scenario, int] = {}
    live = [(arm.label, _measure_arm(arm, turns, on_turn, lead_ins, judge_first=judge_first)) for arm in arms]
    with contextlib.ExitStack() as stack:
        for _label, process in live:
            stack.callback(process.close)
        for stage in range(2 + max(sum(task.stages(turns) for task in arm.tasks) for arm in arms)):
            for label, process in live:
                try:
                    measured[label] = next(process, measured.get(label, ()))
                except SessionError as error:
                    outcome.failures[label] = error.failure
                    on_failure(label, error.failure)
                if stop.requested or (label in needed and label in outcome.failures):
                    return outcome
            live = [(label, process) for label, process in live if label not in outcome.failures]
            if reverse and stage > 0:
                live.reverse()
        outcome.measurements.update((label, measured[label]) for label, _process in live)
    return outcome


def _measure_arm(
    arm: Arm[LabelT],
    turns: int,
    on_turn: Callable[[LabelT, Scenario], None],
    lead_ins: dict[Scenario, int],
    *,
    judge_first: bool,
) -> Generator[tuple[Measurement, ...], None, None]:
    """Do what one process does in a block, and yield after each stage what is measured so far.

    The stages are its start, its being ready, and for each task the set-up, the turns and the evaluation, then what is
    compiled for its prediction and the turns of that. One that has fewer stages than another ends before it. The
    first arm that has a scenario says how many epochs lead in to its turns, since each epoch shuffles the images: all
    arms with that scenario train on them in the same order. Raises `SessionError`.
    """
    measured: tuple[Measurement, ...] = ()
    with arm.start() as process:
        yield measured
        on_turn(arm.label, arm.tasks[0].scenario)
        ready = process.wait_until_ready()
        yield measured
        for task in arm.tasks:
            on_turn(arm.label, task.scenario)
            set_up = process.set_up(task.scenario, task.epoch_samples)
            first_accuracy = None
            if judge_first:
                _train(process, task, 1)
                first_accuracy = process.evaluate().test_accuracy
            yield measured
            epochs = task.epochs(set_up.epoch_seconds)
            before = lead_ins.setdefault(task.scenario, lead_in(set_up.epoch_seconds))
            windows: list[WindowDone] = []
            for _ in range(turns):
                on_turn(arm.label, task.scenario)
                windows.append(_train(process, task, epochs, before))
                yield measured
            on_turn(arm.label, task.scenario)
            finished = Measurement(
                task=task,
                ready=ready,
                set_up=set_up,
                first_accuracy=first_accuracy,
                windows=tuple(windows),
                lead_in=before,
                evaluated=process.evaluate(),
            )
            if task.prediction is not None:
                queries: list[QueriesDone] = []
                offline: list[OfflineDone] = []
                yield measured
                on_turn(arm.label, task.scenario)
                prepared = process.prepare_prediction(task.prediction.batch_sizes)
                for turn in range(task.prediction.turns):
                    yield measured
                    on_turn(arm.label, task.scenario)
                    queries.append(process.run_queries(task.prediction.queries))
                    if task.prediction.batch_sizes:
                        offline.append(process.run_offline(task.prediction.batch_size(turn), task.prediction.samples))
                predicted = PredictionWindows(ready=prepared, queries=tuple(queries), offline=tuple(offline))
                finished = dataclasses.replace(finished, prediction=predicted)
            measured = (*measured, finished)
            yield measured


def _train(process: Session, task: Task, epochs: int, before: int = 0) -> WindowDone:
    return session.check_sample_count(process.run_window(epochs, before), task.epoch_samples * epochs)


class HealthWatch:
    """Watches what the machine does to a block, from its construction to `health`.

    `anchor_seconds` is the anchor after the block before, where nothing was done since: it is then this block's first.
    """

    def __init__(self, now: Clock, anchor_seconds: float | None = None) -> None:
        self._now = now
        self._throttling = read_throttling()
        self._begin = now()
        self._anchor = _anchor_seconds(now) if anchor_seconds is None else anchor_seconds
        self._load, self._counters = load_average(), read_counters()

    def health(self) -> tuple[float, Health]:
        """Return the seconds since the watch began, and what the machine did in them."""
        after = read_counters()
        seconds = self._now() - self._begin
        throttling = read_throttling()  # after the time was taken: a driver may take a second to answer
        return seconds, Health(
            steal_fraction=after.steal_fraction_since(self._counters),
            cpu_pressure_fraction=after.cpu_pressure_fraction_since(self._counters, seconds),
            load_average=self._load,
            throttle_count=after.throttled_since(self._counters),
            anchor_seconds=(self._anchor, _anchor_seconds(self._now)),
            gpu_throttle_reasons=throttling.since(self._throttling),
        )


def _anchor_seconds(now: Clock) -> float:
    """Time a fixed matrix product in this process, the same whatever is measured: the machine's speed."""
    matrix = np.linspace(0, 1, _ANCHOR_SIZE**2, dtype=np.float32).reshape(_ANCHOR_SIZE, _ANCHOR_SIZE)
    seconds = []
    with threads_within_quota():
        for _ in range(_ANCHOR_REPEATS):
            begin = now()
            matrix @ matrix
            seconds.append(now() - begin)
    return statistics.median(seconds)
