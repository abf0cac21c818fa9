"""Measure a block: processes that are alive together and take turns.

The speed of a shared machine drifts within seconds, and by up to a factor of two within a minute. Processes that take
turns of a third of a second meet the same drift, so that it cancels from the ratio of any two of them. Each is fresh
in every block, since two processes of the same code can differ for as long as they live.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Final, Generic, TypeVar

import numpy as np

from bench.experiments.pilot import Clock
from bench.machine.counters import load_average, read_counters
from bench.records.health import Health
from bench.scenarios.scenario import Scenario
from bench.worker import session
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.protocol import Evaluated, SessionReady, SetUpDone, WindowDone
from bench.worker.session import Session, SessionError

#: Rows and columns of the matrices whose product tells how fast the machine is. 2 GFLOP take so long that waking the
#: threads does not count.
_ANCHOR_SIZE: Final = 1024
_ANCHOR_REPEATS: Final = 9
LabelT = TypeVar("LabelT", bound=Hashable)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Arm(Generic[LabelT]):
    """What one process of a block measures."""

    label: LabelT
    scenario: Scenario
    #: Training images of an epoch: the first ones of the data set.
    epoch_samples: int
    #: Starts the process; it is killed when the context ends.
    start: Callable[[], AbstractContextManager[Session]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ArmMeasurement:
    """What a process measured in a block."""

    ready: SessionReady
    set_up: SetUpDone
    #: The turn before the timed ones: one epoch, as much training for every arm.
    first: WindowDone
    #: After the first turn, where it was asked for; else None.
    first_accuracy: float | None
    #: The timed turns, in order.
    windows: tuple[WindowDone, ...]
    #: After the last turn.
    evaluated: Evaluated

    @property
    def epochs_per_window(self) -> int:
        """The epochs of a timed turn."""
        return self.windows[0].samples // self.first.samples


@dataclasses.dataclass(slots=True)
class _Live(Generic[LabelT]):
    """An arm, its process, and what it gave so far."""

    arm: Arm[LabelT]
    session: Session
    ready: SessionReady | None = None
    set_up: SetUpDone | None = None
    first: WindowDone | None = None
    first_accuracy: float | None = None
    windows: list[WindowDone] = dataclasses.field(default_factory=list)
    evaluated: Evaluated | None = None

    def get_ready(self) -> None:
        self.ready = self.session.wait_until_ready()

    def begin(self) -> None:
        self.set_up = self.session.set_up(self.arm.scenario, self.arm.epoch_samples)
        self.first = self._train(1)

    def begin_and_judge(self) -> None:
        self.begin()
        self.first_accuracy = self.session.evaluate().test_accuracy

    def take_turn(self, seconds: float) -> None:
        assert self.first is not None
        self.windows.append(self._train(max(1, math.ceil(seconds / self.first.seconds))))

    def finish(self) -> None:
        self.evaluated = self.session.evaluate()

    def _train(self, epochs: int) -> WindowDone:
        return session.check_sample_count(self.session.run_window(epochs), self.arm.epoch_samples * epochs)

    def measurement(self) -> ArmMeasurement:
        assert self.ready is not None
        assert self.set_up is not None
        assert self.first is not None
        assert self.evaluated is not None
        return ArmMeasurement(
            ready=self.ready,
            set_up=self.set_up,
            first=self.first,
            first_accuracy=self.first_accuracy,
            windows=tuple(self.windows),
            evaluated=self.evaluated,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class BlockOutcome(Generic[LabelT]):
    """What a block gave: each arm is in one of the two, unless the block was ended early."""

    measurements: dict[LabelT, ArmMeasurement] = dataclasses.field(default_factory=dict)
    failures: dict[LabelT, WorkerFailure] = dataclasses.field(default_factory=dict)


def measure_block(
    arms: Sequence[Arm[LabelT]],
    *,
    turns: int,
    turn_seconds: float,
    stop: Cancellation,
    judge_first: bool = False,
    needed: LabelT | None = None,
    on_turn: Callable[[LabelT], None] = lambda _label: None,
) -> BlockOutcome[LabelT]:
    """Let the arms take so many turns, each of whole epochs that last about `turn_seconds`.

    The order of the arms is reversed after every turn, so that a linear drift cancels. An arm that fails drops out and
    the others go on. Nothing but failures comes of a block that is asked to stop, or whose `needed` arm fails.
    """
    outcome: BlockOutcome[LabelT] = BlockOutcome()
    with ExitStack() as stack:
        live: list[_Live[LabelT]] = []
        for arm in arms:
            try:
                live.append(_Live(arm, stack.enter_context(arm.start())))
            except SessionError as error:  # noqa: PERF203  # as below
                outcome.failures[arm.label] = error.failure
        stages: list[Callable[[_Live[LabelT]], None]] = [_Live.get_ready]
        stages += [_Live.begin_and_judge if judge_first else _Live.begin]
        stages += [lambda each: each.take_turn(turn_seconds)] * turns
        stages += [_Live.finish]
        for stage in stages:
            live = _after(stage, live, outcome.failures, stop, on_turn)
            if stop.requested or (needed is not None and all(each.arm.label != needed for each in live)):
                return outcome
            live.reverse()
        outcome.measurements.update((each.arm.label, each.measurement()) for each in live)
    return outcome


def _after(
    stage: Callable[[_Live[LabelT]], None],
    live: Sequence[_Live[LabelT]],
    failures: dict[LabelT, WorkerFailure],
    stop: Cancellation,
    on_turn: Callable[[LabelT], None],
) -> list[_Live[LabelT]]:
    """Let each arm do a stage of the block; return those that did not fail."""
    through = []
    for each in live:
        on_turn(each.arm.label)
        try:
            stage(each)
        except SessionError as error:  # an arm that fails must not end the others
            failures[each.arm.label] = error.failure
        else:
            through.append(each)
        if stop.requested:
            break
    return through


class HealthWatch:
    """Watches what the machine does to a block, from its construction to `health`."""

    def __init__(self, now: Clock) -> None:
        self._now = now
        self._begin = now()
        self._anchor, self._load, self._counters = _anchor_seconds(now), load_average(), read_counters()

    def health(self) -> tuple[float, Health]:
        """Return the seconds since the watch began, and what the machine did in them."""
        after = read_counters()
        seconds = self._now() - self._begin
        return seconds, Health(
            steal_fraction=after.steal_fraction_since(self._counters),
            cpu_pressure_fraction=after.cpu_pressure_fraction_since(self._counters, seconds),
            load_average=self._load,
            throttle_count=after.throttled_since(self._counters),
            anchor_seconds=(self._anchor, _anchor_seconds(self._now)),
        )


def _anchor_seconds(now: Clock) -> float:
    """Time a fixed matrix product in this process, the same whatever is measured: the machine's speed."""
    matrix = np.linspace(0, 1, _ANCHOR_SIZE**2, dtype=np.float32).reshape(_ANCHOR_SIZE, _ANCHOR_SIZE)
    seconds = []
    for _ in range(_ANCHOR_REPEATS):
        begin = now()
        matrix @ matrix
        seconds.append(now() - begin)
    return statistics.median(seconds)
