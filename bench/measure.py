"""The clock: first step, warm-up, then epochs, each window between two barriers -> Run.

MXNet only enqueues work; `mx.nd.waitall()` is the barrier that makes a clock reading mean something.
"""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import psutil

from bench.environment import describe_software
from bench.protocol import DivergedError, Evaluated, PassRequest, RunRequest, SetUpDone, WindowDone
from bench.record import Epoch, Run, Software
from bench.scenario import Scenario
from mnist_core import datasets, networks, training
from mnist_core.devices import Device, DeviceKind
from mnist_core.idx import Split
from mnist_core.mxnet_border import features, mx, to_context, version
from mnist_core.networks import Block
from mnist_core.recipe import Recipe
from mnist_core.training import Context, Trainer


@dataclass(frozen=True, slots=True)
class _Usage:
    """What this process has used so far, all threads."""

    cpu_seconds: float
    involuntary_context_switches: int

    @classmethod
    def now(cls) -> _Usage:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(usage.ru_utime + usage.ru_stime, usage.ru_nivcsw)


def describe() -> Software:
    """What this process has loaded."""
    return describe_software("mxnet", version(), tuple(name for name, on in sorted(features().items()) if on))


def measure(request: RunRequest, on_epoch: Callable[[int, Epoch], None]) -> Run:
    """One fresh process's measurement of one scenario; call it once per process.

    Raises `DataError`, `NetworkError`, `DivergedError`, or what MXNet raises.
    """
    scenario, recipe = request.scenario, request.recipe
    started_at = datetime.fromtimestamp(psutil.Process().create_time(), tz=timezone.utc)
    contexts = [to_context(device) for device in scenario.devices]
    train, test = datasets.load(Path(request.data_directory), digest=request.dataset.digest)
    train = Split(train.images[: recipe.samples], train.labels[: recipe.samples])
    train_images, test_images = training.as_input(train.images), training.as_input(test.images)
    # The two clocks may disagree by a step of the system's; a start-up below zero would cost the whole run.
    startup_seconds = max(0.0, time.time() - psutil.Process().create_time())

    warm = _warmed_up(scenario, recipe, contexts, train)

    train_batches = training.training_batches(train_images, train.labels, scenario.batch_size)
    test_batches = training.evaluation_batches(test_images, test.labels, scenario.batch_size)
    epochs: list[Epoch] = []
    cpu_seconds = 0.0
    switches = 0
    for index in range(recipe.epochs):
        mx.nd.waitall()
        before = _Usage.now()
        begin = time.perf_counter()
        trained = training.train_epoch(warm.net, train_batches, warm.trainer, contexts)
        mx.nd.waitall()
        epoch_seconds = time.perf_counter() - begin
        after = _Usage.now()
        cpu_seconds += after.cpu_seconds - before.cpu_seconds
        switches += after.involuntary_context_switches - before.involuntary_context_switches

        loss = _finite(trained.last_batch_loss(), f"epoch {index}")

        begin = time.perf_counter()
        test_accuracy = training.evaluate(warm.net, test_batches, contexts)
        mx.nd.waitall()
        epoch = Epoch(
            samples=trained.samples,
            epoch_seconds=epoch_seconds,
            train_accuracy=trained.train_accuracy,
            last_batch_loss=loss,
            test_accuracy=test_accuracy,
            evaluation_seconds=time.perf_counter() - begin,
        )
        epochs.append(epoch)
        on_epoch(index, epoch)

    return Run(
        scenario=scenario,
        recipe=recipe,
        repeat=request.repeat,
        started_at=started_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        omp_num_threads=request.omp_num_threads,
        per_context_batch_sizes=scenario.per_context_batch_sizes,
        startup_seconds=startup_seconds,
        first_step_seconds=warm.first_step_seconds,
        warm_up_seconds=warm.warm_up_seconds,
        epochs=tuple(epochs),
        final_accuracy=epochs[-1].test_accuracy,
        epochs_cpu_seconds=cpu_seconds,
        involuntary_context_switches=switches,
        peak_rss_bytes=_peak_rss_bytes(),
        device_memory_bytes=_device_memory_bytes(scenario.devices),
    )


class Pass:
    """One fresh process's part of a gate: scenario after scenario, window by window, as the parent says.

    A window is a few whole `train_epoch` on the first images of the data set, so that whatever is slow in that is in
    the window. Every method raises as `measure` does.
    """

    def __init__(self, request: PassRequest) -> None:
        self._request = request
        self._train, test = datasets.load(Path(request.data_directory), digest=request.dataset.digest)
        self._test = Split(test.images[: request.test_samples], test.labels[: request.test_samples])

    def set_up(self, scenario: Scenario, samples: int) -> SetUpDone:
        train = Split(self._train.images[:samples], self._train.labels[:samples])
        images = training.as_input(train.images)
        self._batch_size = scenario.batch_size
        self._contexts = [to_context(device) for device in scenario.devices]
        self._warm = _warmed_up(scenario, Recipe(seed=self._request.seed), self._contexts, train)
        self._batches = training.training_batches(images, train.labels, scenario.batch_size)
        warm_up_seconds = self._warm.warm_up_seconds + self._warm_up_memory()
        return SetUpDone(self._warm.first_step_seconds, warm_up_seconds)

    def _warm_up_memory(self) -> float:
        """Seconds of one epoch without learning: the first one's memory is new, which costs an MLP a quarter of it."""
        trainer, learning_rate = self._warm.trainer, self._warm.trainer.learning_rate
        begin = time.perf_counter()
        trainer.set_learning_rate(0.0)
        training.train_epoch(self._warm.net, self._batches, trainer, self._contexts)
        mx.nd.waitall()
        trainer.set_learning_rate(learning_rate)
        return time.perf_counter() - begin

    def run_window(self, epochs: int) -> WindowDone:
        mx.nd.waitall()
        before = _Usage.now()
        begin = time.perf_counter()
        trained = [
            training.train_epoch(self._warm.net, self._batches, self._warm.trainer, self._contexts)
            for _ in range(epochs)
        ]
        mx.nd.waitall()
        seconds = time.perf_counter() - begin
        switches = _Usage.now().involuntary_context_switches - before.involuntary_context_switches
        _finite(trained[-1].last_batch_loss(), "a window")
        return WindowDone(sum(epoch.samples for epoch in trained), seconds, switches)

    def evaluate(self) -> Evaluated:
        images = training.as_input(self._test.images)
        batches = training.evaluation_batches(images, self._test.labels, self._batch_size)
        return Evaluated(training.evaluate(self._warm.net, batches, self._contexts))


@dataclass(frozen=True, slots=True)
class _WarmedUp:
    """A network with its initial weights, everything that is made on first use already made."""

    net: Block
    trainer: Trainer
    first_step_seconds: float
    warm_up_seconds: float


def _warmed_up(scenario: Scenario, recipe: Recipe, contexts: Sequence[Context], train: Split) -> _WarmedUp:
    """Build, train the first step, touch every batch shape that an epoch on `train` meets.

    With a learning rate of zero an update is real work that leaves every weight as it was, to the last bit. So the
    epochs start from the initial weights.
    """
    training.seed_everything(recipe.seed)
    begin = time.perf_counter()
    net = networks.build(scenario.network, scenario.hybridize)
    training.initialize(net, contexts, recipe)
    trainer = training.make_trainer(net, recipe)
    trainer.set_learning_rate(0.0)
    sizes = training.batch_sizes(len(train.images), scenario.batch_size)
    _throwaway_step(net, trainer, contexts, train, sizes[0])
    first_step_seconds = time.perf_counter() - begin

    begin = time.perf_counter()
    for size in sizes:
        _throwaway_step(net, trainer, contexts, train, size)
    warm_up_seconds = time.perf_counter() - begin
    trainer.set_learning_rate(recipe.learning_rate)
    return _WarmedUp(net, trainer, first_step_seconds, warm_up_seconds)


def _finite(loss: float, when: str) -> float:
    if not math.isfinite(loss):
        raise DivergedError(f"the loss of {when} ended at {loss}: the training diverged")
    return loss


def _throwaway_step(net: Block, trainer: Trainer, contexts: Sequence[Context], train: Split, size: int) -> None:
    """One whole training step on the first `size` images, waited for."""
    images = mx.nd.array(training.as_input(train.images[:size]))
    labels = mx.nd.array(train.labels[:size].astype("float32"))
    training.train_batch(net, images, labels, trainer, contexts, mx.metric.Accuracy())
    mx.nd.waitall()


def _peak_rss_bytes() -> int:
    """Linux: VmHWM, since ru_maxrss there survives exec and may be the parent's. Elsewhere ru_maxrss."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _device_memory_bytes(devices: Sequence[Device]) -> int | None:
    """Memory in use on the scenario's GPUs, by whoever uses it; None without a GPU."""
    gpus = [device for device in devices if device.kind is DeviceKind.GPU]
    if not gpus:
        return None
    in_use = 0
    for device in gpus:
        free, total = mx.context.gpu_memory_info(device.index)
        in_use += total - free
    return in_use
