"""Measure prediction: test images one by one, and in batches, from arrays in host memory to digits there.

Nothing but the query is between two readings of the clock: its time goes into an array that is there already, its digit
is judged after the window, and Python collects no garbage meanwhile. Each process reads its result, and waits for
nothing else.
"""

from __future__ import annotations

import contextlib
import gc
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.scenarios.scenario import Scenario
from bench.worker.backends import common
from bench.worker.backends.base import Workload
from bench.worker.measure.gauge import exempt_from_collection
from bench.worker.protocol.replies import OfflineDone, PredictionReady, PredictionWindows, QueriesDone
from bench.worker.protocol.requests import PredictionPlan
from mnist_core.idx import Split
from mnist_core.order import batches

#: Queries before the first window: what is made on first use, such as reordered weights, is there after a few.
_WARM_UP: Final = 100
#: Queries before each window, in which the caches fill: other processes had the machine meanwhile.
_LEAD_IN: Final = 20
#: Batches of each size before the first window.
_WARM_UP_BATCHES: Final = 3
#: Pairs of readings that tell what the clock takes.
_CLOCK_READINGS: Final = 1001
_Predict: TypeAlias = Callable[[NDArray[np.float32]], NDArray[Any]]


class Predictions:
    """The prediction of a trained network, on one data set; its methods raise what the framework raises."""

    def __init__(self, workload: Workload, scenario: Scenario, test: Split, seed: int) -> None:
        self._workload = workload
        self._batch_size = scenario.batch_size
        self._images = common.as_input(test)[:, np.newaxis]
        self._order = np.random.default_rng(seed).permutation(len(self._images))
        self._next = 0
        self._expected: NDArray[np.int64]
        self._predict: dict[int, _Predict] = {}

    def run(self, plan: PredictionPlan) -> PredictionWindows:
        """Measure all turns of a plan."""
        ready = self.prepare(plan.batch_sizes)
        queries, offline = [], []
        for turn in range(plan.turns):
            queries.append(self.run_queries(plan.queries))
            offline.append(self.run_offline(plan.batch_size(turn), plan.samples))
        return PredictionWindows(ready=ready, queries=tuple(queries), offline=tuple(offline))

    def prepare(self, batch_sizes: Sequence[int]) -> PredictionReady:
        """Compile each shape, find the digits of the evaluation, and warm up."""
        self._expected = np.concatenate(
            [
                self._workload.scores(self._images[begin:end]).argmax(1)
                for begin, end in batches(len(self._images), self._batch_size)
            ]
        )
        self._predict = {size: self._workload.predictor(size) for size in (1, *batch_sizes)}
        for size in batch_sizes:
            for _ in range(_WARM_UP_BATCHES):
                self._predict[size](self._images[:size])
        self._ask(np.resize(self._order, _WARM_UP))
        exempt_from_collection()
        return PredictionReady(warm_up=_WARM_UP, timer_overhead_ns=_timer_overhead_ns())

    def run_queries(self, queries: int) -> QueriesDone:
        """Predict the next images one by one."""
        places = np.take(self._order, range(self._next, self._next + queries), mode="wrap")
        self._next += queries
        with _no_garbage_collection():
            self._ask(places[-_LEAD_IN:])
            before = _switches()
            times, digits = self._ask(places)
            switches = _switches() - before
        return QueriesDone(
            ns=tuple(map(int, times)),
            warm_up=min(_LEAD_IN, queries),
            mismatches=int((digits != self._expected[places]).sum()),
            involuntary_context_switches=switches,
        )

    def run_offline(self, batch_size: int, samples: int) -> OfflineDone:
        """Predict the first images in whole batches."""
        predict, available = self._predict[batch_size], len(self._images) // batch_size
        parts = [self._images[k * batch_size :][:batch_size] for k in range(available)]
        count = max(1, samples // batch_size)
        with _no_garbage_collection():
            predict(parts[0])
            begin = time.perf_counter()
            for k in range(count):
                predict(parts[k % available])
            seconds = time.perf_counter() - begin
        return OfflineDone(batch_size=batch_size, samples=count * batch_size, seconds=seconds)

    def _ask(self, places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the nanoseconds and the digit of the image at each of these places."""
        images = [self._images[place : place + 1] for place in places]
        times, digits = np.zeros((2, len(places)), np.int64)
        predict, clock = self._predict[1], time.perf_counter_ns
        for place, image in enumerate(images):
            begin = clock()
            digit = int(predict(image)[0])
            times[place] = clock() - begin
            digits[place] = digit
        return times, digits


def _timer_overhead_ns() -> int:
    clock = time.perf_counter_ns
    return round(statistics.median(-(clock() - clock()) for _ in range(_CLOCK_READINGS)))


def _switches() -> int:
    """Return how often the kernel took a core away from this process so far, all threads."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
