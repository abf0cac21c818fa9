"""Measure a profile: what each phase adds to an epoch, and MXNet's own profiler. One request per process.

A phase is measured twice. What it **adds** is the difference between two epochs of the loop as it is, one that goes up
to the phase and one that ends before it: there is no barrier and no clock in either, so that what works at the same
time still does. Every phase has a pair of epochs of its own, so that nothing makes the differences sum to the epoch but
a true measurement. How long it takes when it is **waited for** is read in an epoch with a barrier around every phase,
in which nothing works at the same time any more.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from bench.records.profile import EpochPhase, PhaseRounds, PhaseTimes
from bench.worker.backends import base
from bench.worker.backends.base import TrainedEpoch, Workload
from bench.worker.measure.instrument import EpochCutError, traced, truncated_after
from bench.worker.protocol.base import DivergedError
from bench.worker.protocol.replies import OperatorsReply, PhasesReply
from bench.worker.protocol.requests import PHASES_DOMAIN, RAW_TRACE_FILE, OperatorsRequest, PhasesRequest, ProfileTarget
from mnist_core import datasets
from mnist_core.idx import Split
from mnist_core.mxnet_border import mx
from mnist_core.order import batch_sizes
from mnist_core.recipe import Recipe

#: An epoch as long as this is far longer than a barrier, and short enough that the machine hardly drifts within a
#: round.
_EPOCH_SECONDS: Final = 0.3
#: Fewer steps would be mostly the first and the last.
_LEAST_STEPS: Final = 10
#: Epochs without the profiler beside the one with it.
_UNPROFILED_EPOCHS: Final = 5


def handle_request(
    request: PhasesRequest | OperatorsRequest, on_round: Callable[[int], None]
) -> PhasesReply | OperatorsReply:
    """Reply to a request for a profile; `on_round` is told how many rounds of phases are over.

    Raises as `measure_run` does.
    """
    if isinstance(request, OperatorsRequest):
        return _operators(request)
    return _phases(request, on_round)


def _phases(request: PhasesRequest, on_round: Callable[[int], None]) -> PhasesReply:
    target = request.target
    train = _training_images(target)
    steps = request.steps or _fitting_steps(target, train)
    subject = _Subject(target, _first(train, steps * target.scenario.batch_size))
    recorder = _Recorder()
    subject.measure_round(_Recorder(), 0, random.Random(target.seed))  # noqa: S311  # what is made on first use
    generator = random.Random(target.seed)  # noqa: S311  # an order, not a secret
    on_round(0)
    for index in range(request.rounds):
        subject.measure_round(recorder, index, generator)
        on_round(index + 1)
    return PhasesReply(rounds=recorder.rounds(subject.steps, subject.samples))


def _operators(request: OperatorsRequest) -> OperatorsReply:
    target = request.target
    subject = _Subject(target, _first(_training_images(target), request.steps * target.scenario.batch_size))
    unprofiled = tuple(subject.epoch_seconds() for _ in range(_UNPROFILED_EPOCHS))
    # Not profile_all: memory counters would be most of the trace. Without continuous_dump=False a background thread
    # writes parts of the file in between.
    mx.profiler.set_config(
        profile_symbolic=True,
        profile_imperative=True,
        profile_api=True,
        continuous_dump=False,
        filename=str(Path(request.directory) / RAW_TRACE_FILE),
    )
    spans = _Spans()
    with traced(spans):
        subject.wait()
        mx.profiler.set_state("run")
        begin = time.perf_counter()
        spans.begin(EpochPhase.SHUFFLE)
        subject.train()
        spans.end()
        subject.wait()
        profiled = time.perf_counter() - begin
        mx.profiler.set_state("stop")
    mx.profiler.dump()  # once: a process's second trace is no valid JSON
    return OperatorsReply(unprofiled_seconds=unprofiled, profiled_seconds=profiled)


def _training_images(target: ProfileTarget) -> Split:
    train, _test = datasets.load(Path(target.data_directory), digest=target.dataset.digest)
    return train


def _first(split: Split, count: int) -> Split:
    return Split(split.images[:count], split.labels[:count])


def _fitting_steps(target: ProfileTarget, train: Split) -> int:
    """Return the steps of an epoch of `_EPOCH_SECONDS`, as far as there are images for them."""
    pilot = _Subject(target, _first(train, _LEAST_STEPS * target.scenario.batch_size))
    seconds = min(pilot.epoch_seconds() for _ in range(3)) / pilot.steps
    return max(_LEAST_STEPS, math.ceil(_EPOCH_SECONDS / seconds))


class _Subject:
    """A workload that is warm: the training whose phases are measured."""

    def __init__(self, target: ProfileTarget, train: Split) -> None:
        batch_size = target.scenario.batch_size
        self.samples = len(train.images)
        self.steps = math.ceil(self.samples / batch_size)
        self._workload: Workload = base.create_workload(target.scenario, Recipe(seed=target.seed), train)
        self._workload.build()
        for size in batch_sizes(self.samples, batch_size):
            self._workload.train_throwaway_batch(size)
        self._workload.prepare()
        self.epoch_seconds()  # the first epoch's memory is new

    def train(self) -> TrainedEpoch:
        return self._workload.train_epoch()

    def wait(self) -> None:
        self._workload.wait()

    def epoch_seconds(self) -> float:
        """Return the seconds of an epoch of the loop as it is. Raise `DivergedError` if its loss is not finite."""
        self.wait()
        begin = time.perf_counter()
        trained = self.train()
        self.wait()
        seconds = time.perf_counter() - begin
        loss = trained.last_batch_loss()
        if not math.isfinite(loss):
            raise DivergedError(f"the loss of an epoch ended at {loss}: the training diverged")
        return seconds

    def measure_round(self, recorder: _Recorder, index: int, generator: random.Random) -> None:
        """Measure every window once, in random order, so that drift affects all of them alike."""
        windows: list[EpochPhase | None] = [*EpochPhase, None]
        generator.shuffle(windows)
        for phase in windows:
            if phase is None:
                recorder.epochs.append(self.epoch_seconds())
                self._measure_waited(recorder)
            elif phase is EpochPhase.SHUFFLE:
                recorder.with_phase[phase].append(self._seconds_up_to(phase))
            else:
                self._measure_pair(recorder, phase, with_it_first=index % 2 == 1)

    def _measure_pair(self, recorder: _Recorder, phase: EpochPhase, *, with_it_first: bool) -> None:
        before = list(EpochPhase)[list(EpochPhase).index(phase) - 1]
        for each in (phase, before) if with_it_first else (before, phase):
            kept = recorder.with_phase if each is phase else recorder.without_phase
            kept[phase].append(self._seconds_up_to(each))

    def _seconds_up_to(self, phase: EpochPhase) -> float:
        with truncated_after(phase):
            self.wait()
            begin = time.perf_counter()
            with contextlib.suppress(EpochCutError):
                self.train()
            self.wait()
            return time.perf_counter() - begin

    def _measure_waited(self, recorder: _Recorder) -> None:
        barriers = _Barriers(self._workload)
        with traced(barriers), barriers.epoch():
            self.train()
        for phase in EpochPhase:
            recorder.waited[phase].append(barriers.seconds[phase])
        recorder.calls = barriers.calls


class _Recorder:
    """Collects what was measured, round by round."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.with_phase: dict[EpochPhase, list[float]] = {phase: [] for phase in EpochPhase}
        self.without_phase: dict[EpochPhase, list[float]] = {phase: [] for phase in EpochPhase}
        self.waited: dict[EpochPhase, list[float]] = {phase: [] for phase in EpochPhase}
        self.calls: dict[EpochPhase, int] = {}

    def rounds(self, steps: int, samples: int) -> PhaseRounds:
        return PhaseRounds(
            steps=steps,
            samples=samples,
            epoch_seconds=tuple(self.epochs),
            phases=tuple(
                PhaseTimes(
                    phase=phase,
                    without_seconds=tuple(self.without_phase[phase]) or None,
                    with_seconds=tuple(self.with_phase[phase]),
                    waited_seconds=tuple(self.waited[phase]),
                    calls=self.calls[phase],
                )
                for phase in EpochPhase
            ),
        )


class _Barriers:
    """Observer with a barrier at each change of phase: a phase is charged the seconds between its two barriers."""

    def __init__(self, waited_for: Workload) -> None:
        self._workload = waited_for
        self._phase = EpochPhase.SHUFFLE
        #: The phase entered last: a network and its loss are one forward pass.
        self._last: EpochPhase | None = None
        self._begin = 0.0
        self.seconds = dict.fromkeys(EpochPhase, 0.0)
        self.calls = dict.fromkeys(EpochPhase, 0)

    @contextlib.contextmanager
    def epoch(self) -> Iterator[None]:
        self._workload.wait()
        self._begin = time.perf_counter()
        self.calls[EpochPhase.SHUFFLE] = 1
        yield
        self._charge(EpochPhase.INPUT)

    def enter(self, phase: EpochPhase) -> None:
        if phase is not self._last:
            self.calls[phase] += 1
        self._last = phase
        self._charge(phase)

    def leave(self, phase: EpochPhase) -> None:
        if phase is EpochPhase.UPDATE:
            self.calls[EpochPhase.INPUT] += 1  # the next batch, or the finding that there is none
        self._charge(EpochPhase.INPUT)

    def _charge(self, following: EpochPhase) -> None:
        self._workload.wait()
        now = time.perf_counter()
        self.seconds[self._phase] += now - self._begin
        self._begin, self._phase = now, following


class _Spans:
    """Observer that writes the phases of the Python thread into MXNet's trace, without any barrier."""

    def __init__(self) -> None:
        domain = mx.profiler.Domain(PHASES_DOMAIN)
        self._tasks = {phase: domain.new_task(str(phase)) for phase in EpochPhase}
        self._running: EpochPhase | None = None

    def begin(self, phase: EpochPhase) -> None:
        self._running = phase
        self._tasks[phase].start()

    def end(self) -> None:
        if self._running is not None:
            self._tasks[self._running].stop()
        self._running = None

    def enter(self, phase: EpochPhase) -> None:
        self.end()
        self.begin(phase)

    def leave(self, _phase: EpochPhase) -> None:
        self.end()
        self.begin(EpochPhase.INPUT)
