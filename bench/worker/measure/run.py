"""Measure runs and sessions: first step, warm-up, then epochs, each window between two barriers.

Frameworks only enqueue work; a workload's `wait` is the barrier that makes a clock reading mean something.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NoReturn

import psutil

from bench.records.base import format_timestamp
from bench.records.environment import Software
from bench.records.result import Epoch, Numerics, Run
from bench.scenarios.axes import Exchange, Framework
from bench.scenarios.scenario import Scenario
from bench.worker.backends import base, parameter_server
from bench.worker.backends.base import Workload
from bench.worker.measure import numerics
from bench.worker.measure.exchange import ArrayExchange
from bench.worker.measure.gauge import Gauge, exempt_from_collection
from bench.worker.measure.prediction import Predictions
from bench.worker.protocol.base import DivergedError
from bench.worker.protocol.commands import ExchangeArrays
from bench.worker.protocol.replies import (
    ArraysExchanged,
    Evaluated,
    PredictionReady,
    RunReply,
    SessionReady,
    SetUpDone,
    WindowDone,
)
from bench.worker.protocol.requests import RunRequest, ServeRequest, SessionRequest
from mnist_core import datasets
from mnist_core.devices import Device, Probe
from mnist_core.idx import Split
from mnist_core.order import batch_sizes
from mnist_core.recipe import Recipe

#: Field 22 of /proc/self/stat (proc(5)), counted from the first after the program's name: ticks from boot to start.
_START_TICKS = 19
#: Epochs before the first window of a session. In the first one memory is touched for the first time, which slows the
#: MLP by a quarter; in the second the allocator has what `NDArrayIter.reset` asks it for from then on. Of a rank it is
#: one: ranks may train on all images from the beginning, and then an epoch takes long.
_WARM_UP_EPOCHS, _WARM_UP_EPOCHS_OF_A_RANK = 2, 1


def describe(framework: Framework) -> Software:
    """Return what this process has loaded. Raise `ImportError` if the framework is not installed."""
    return base.backend_for(framework).describe()


def probe(framework: Framework, device: Device) -> Probe:
    """Try a device out in this process, which may hang or crash it. Raises as `describe`."""
    return base.backend_for(framework).probe(device)


def serve(request: ServeRequest) -> NoReturn:
    """Be a process of MXNet's parameter server until its ranks end, or this process is killed."""
    parameter_server.serve(request)


def measure_run(request: RunRequest, on_epoch: Callable[[int, Epoch], None]) -> RunReply:
    """Measure one scenario in this fresh process; call it once per process.

    Raises `DataError`, `NetworkError`, `DivergedError`, `ImportError`, or what the framework raises.
    """
    scenario, recipe = request.scenario, request.recipe
    train, test = datasets.load(Path(request.data_directory), digest=request.dataset.digest)
    train = Split(train.images[: recipe.samples], train.labels[: recipe.samples])
    trained_network = base.create_workload(scenario, recipe, train)
    ready = started()

    warm = _warm_up(trained_network, scenario, train, recipe)
    trained_network.prepare()
    exempt_from_collection()
    gauge = Gauge()
    gauge.choose(scenario)
    epochs: list[Epoch] = []
    cpu_seconds = 0.0
    switches = 0
    for index in range(recipe.epochs):
        trained_network.wait()
        gauge.begin()
        begin = time.perf_counter()
        trained = trained_network.train_epoch()
        trained_network.wait()
        epoch_seconds = time.perf_counter() - begin
        used = gauge.end(epoch_seconds)
        cpu_seconds += used.cpu_seconds
        switches += used.involuntary_context_switches

        loss = _finite(trained.last_batch_loss(), f"epoch {index}")

        begin = time.perf_counter()
        test_accuracy = trained_network.evaluate(test)
        trained_network.wait()
        epoch = Epoch(
            samples=trained.samples,
            epoch_seconds=epoch_seconds,
            train_accuracy=trained.train_accuracy,
            last_batch_loss=loss,
            test_accuracy=test_accuracy,
            evaluation_seconds=time.perf_counter() - begin,
            energy=used.energy,
        )
        epochs.append(epoch)
        on_epoch(index, epoch)

    run = Run(
        scenario=scenario,
        recipe=recipe,
        repeat=request.repeat,
        started_at=ready.started_at,
        omp_num_threads=request.omp_num_threads,
        per_context_batch_sizes=scenario.per_context_batch_sizes,
        startup_seconds=ready.startup_seconds,
        first_step_seconds=warm.first_step_seconds,
        warm_up_seconds=warm.warm_up_seconds,
        epochs=tuple(epochs),
        final_accuracy=test_accuracy,
        epochs_cpu_seconds=cpu_seconds,
        involuntary_context_switches=switches,
        peak_rss_bytes=gauge.peak_rss_bytes(),
        device_memory_bytes=trained_network.device_memory_bytes(),
        training_peak_rss_bytes=gauge.training_peak_rss_bytes(),
        device_peak_bytes=trained_network.device_peak_bytes(),
        numerics=warm.numerics,
    )
    if request.prediction is None:
        return RunReply(run)
    predictions = Predictions(trained_network, scenario, test, recipe.seed)
    return RunReply(run, predictions.run(request.prediction))


def started() -> SessionReady:
    """Return when this process was started, and how long ago."""
    seconds = _seconds_since_start()
    started_at = datetime.now(timezone.utc) - timedelta(seconds=seconds)
    return SessionReady(started_at=format_timestamp(started_at), startup_seconds=seconds)


def _seconds_since_start() -> float:
    """Return the age of this process by the clock that counts from the boot, to a tick of the kernel (10 ms).

    psutil's time of creation is the boot's, cut to whole seconds, and the date's clock may be set meanwhile.
    """
    stat = Path("/proc/self/stat")
    if not stat.exists():
        return max(0.0, time.time() - psutil.Process().create_time())
    ticks = int(stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[_START_TICKS])
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


class SessionServer:
    """A session inside the worker: sets up scenario after scenario and trains windows, as the parent commands.

    A window is a few whole epochs on the first images of the data set, so that all costs of an epoch are in it. Every
    method raises as `measure_run` does.
    """

    #: Since it was last prepared.
    predictions: Predictions

    def __init__(self, request: SessionRequest) -> None:
        self._request, self._place = request, request.place
        self._backend = base.backend_for(request.framework)
        self._exchange: ArrayExchange | None = None
        self._gauge = Gauge()
        if request.place is not None and request.place.exchange is not Exchange.NONE:
            self._backend.join(request.place)
        self._train, test = datasets.load(Path(request.data_directory), digest=request.dataset.digest)
        self._all_test = test
        self._test = Split(test.images[: request.test_samples], test.labels[: request.test_samples])

    def set_up(self, scenario: Scenario, samples: int) -> SetUpDone:
        train = Split(self._train.images[:samples], self._train.labels[:samples])
        self._recipe = recipe = Recipe(seed=self._request.seed)
        self._scenario = scenario
        self._workload = base.create_workload(scenario, recipe, train, self._place)
        warm = _warm_up(self._workload, scenario, train, recipe, is_rank=self._place is not None)
        self._workload.prepare()
        exempt_from_collection()
        begin = time.perf_counter()
        warm_up_epochs = _WARM_UP_EPOCHS if self._place is None else _WARM_UP_EPOCHS_OF_A_RANK
        epoch_seconds = self._train_without_learning(warm_up_epochs)
        of_epochs = time.perf_counter() - begin
        self._gauge.choose(scenario)
        return SetUpDone(
            first_step_seconds=warm.first_step_seconds,
            warm_up_seconds=warm.warm_up_seconds + of_epochs,
            epoch_seconds=epoch_seconds,
            weights_digest=self._weights_digest(),
            numerics=warm.numerics,
        )

    def _train_without_learning(self, epochs: int) -> float:
        """Train epochs at a learning rate of 0, which leave the weights as they were; return the last one's seconds."""
        seconds = 0.0
        self._workload.set_learning_rate(0.0)
        for _ in range(epochs):
            begin = time.perf_counter()
            self._workload.train_epoch()
            self._workload.wait()
            seconds = time.perf_counter() - begin
        self._workload.set_learning_rate(self._recipe.learning_rate)
        return seconds

    def _weights_digest(self) -> str | None:
        return None if self._place is None else self._workload.weights_digest()

    def run_window(self, epochs: int, lead_in: int) -> WindowDone:
        """Train a window. Ranks begin it together and leave it together; each looks at its clock inside of that."""
        if lead_in:
            self._train_without_learning(lead_in)
        self._workload.wait()
        self._workload.barrier()
        self._gauge.begin()
        begin = time.perf_counter()
        trained = [self._workload.train_epoch() for _ in range(epochs)]
        self._workload.wait()
        seconds = time.perf_counter() - begin
        used = self._gauge.end(seconds)
        self._workload.barrier()
        loss = _finite(trained[-1].last_batch_loss(), "a window")
        return WindowDone(
            samples=sum(epoch.samples for epoch in trained),
            seconds=seconds,
            cpu_seconds=used.cpu_seconds,
            involuntary_context_switches=used.involuntary_context_switches,
            train_accuracy=trained[-1].train_accuracy,
            last_batch_loss=loss,
            weights_digest=self._weights_digest(),
            energy=used.energy,
        )

    def evaluate(self) -> Evaluated:
        begin = time.perf_counter()
        test_accuracy = self._workload.evaluate(self._test)
        self._workload.wait()
        return Evaluated(
            test_accuracy=test_accuracy,
            seconds=time.perf_counter() - begin,
            peak_rss_bytes=self._gauge.peak_rss_bytes(),
            device_memory_bytes=self._workload.device_memory_bytes(),
            training_peak_rss_bytes=self._gauge.training_peak_rss_bytes(),
            device_peak_bytes=self._workload.device_peak_bytes(),
        )

    def prepare_prediction(self, batch_sizes: Sequence[int]) -> PredictionReady:
        test = self._all_test if batch_sizes else self._test
        self.predictions = Predictions(self._workload, self._scenario, test, self._request.seed)
        return self.predictions.prepare(batch_sizes)

    def exchange(self, command: ExchangeArrays) -> ArraysExchanged:
        """Add up arrays over all ranks. Raise `ArithmeticError` if a sum is not that of all of them."""
        if self._place is None:
            raise ValueError("a process that trains by itself has nobody to exchange arrays with")
        if self._exchange is None or not self._exchange.fits(command):
            self._exchange = ArrayExchange(self._backend, self._place, command)
        return ArraysExchanged(self._exchange.seconds(command.repetitions))


@dataclass(frozen=True, slots=True)
class _WarmUp:
    first_step_seconds: float
    warm_up_seconds: float
    numerics: Numerics | None


def _warm_up(
    trained_network: Workload, scenario: Scenario, train: Split, recipe: Recipe, *, is_rank: bool = False
) -> _WarmUp:
    """Build, train the first step, probe the numerics, touch every batch size that an epoch meets.

    With a learning rate of zero an update is real work that leaves every weight as it was, to the last bit. So the
    epochs start from the initial weights. Raise `NumericsError` for another precision than the scenario's.
    """
    sizes = batch_sizes(len(train.images), scenario.batch_size)
    begin = time.perf_counter()
    trained_network.build()
    trained_network.set_learning_rate(0.0)
    trained_network.train_throwaway_batch(sizes[0])
    first_step_seconds = time.perf_counter() - begin

    found = numerics.probe(trained_network, scenario, train, sizes[0], is_rank=is_rank)

    begin = time.perf_counter()
    for size in sizes:
        trained_network.train_throwaway_batch(size)
    warm_up_seconds = time.perf_counter() - begin
    trained_network.set_learning_rate(recipe.learning_rate)
    return _WarmUp(first_step_seconds, warm_up_seconds, found)


def _finite(loss: float, when: str) -> float:
    if not math.isfinite(loss):
        raise DivergedError(f"the loss of {when} ended at {loss}: the training diverged")
    return loss
