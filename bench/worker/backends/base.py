"""What `measure` puts its clock around: one network in training, in one framework. Which module has it is decided here.

No framework is imported by this module; the worker imports the one its scenario needs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.records.environment import Software
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from bench.worker import older
from bench.worker.protocol.requests import RankPlace
from mnist_core.devices import Device, Probe
from mnist_core.idx import Split
from mnist_core.recipe import Precision, Recipe


class TrainedEpoch(Protocol):
    """What one pass over the training set did."""

    @property
    def samples(self) -> int:
        """Images trained, each once; padding not counted."""

    @property
    def train_accuracy(self) -> float:
        """Over the epoch's batches, each judged before its own update."""

    def last_batch_loss(self) -> float:
        """Mean loss of the last batch; waits for it. NaN or infinite when the training diverged."""


class Workload(Protocol):
    """One network in training. `build`, throw-away batches, `prepare`, then epochs; the clock is the caller's.

    Made with its training images in memory; every method raises what its framework raises. Of a rank, every method but
    `wait`, `weights_digest` and what tells of memory is called on all ranks, in the same order.
    """

    def build(self) -> None:
        """Build the network with its initial weights, and its optimizer. Raise `NetworkError` if that fails."""

    def train_throwaway_batch(self, size: int) -> None:
        """Train one whole step on the first `size` images at the learning rate that is set, and wait for it.

        A rank trains its share of them, as of every batch.
        """

    def set_learning_rate(self, value: float) -> None:
        """Set the learning rate. At zero, an update is real work that leaves the weights as they were."""

    def prepare(self) -> None:
        """Put the training set where the epochs take it from."""

    def train_epoch(self) -> TrainedEpoch:
        """Train one pass over the training set. May return before the last update is done."""

    def wait(self) -> None:
        """Wait until everything that was enqueued is done: the barrier."""

    def barrier(self) -> None:
        """Wait until all ranks are here, where they exchange gradients."""

    def weights_digest(self) -> str:
        """Return the SHA-256 of all trained weights, which are waited for."""

    def weights(self) -> list[NDArray[np.float32]]:
        """Return the weights and biases of the first device, each layer's weight before its bias.

        Shapes are those of `common.WEIGHT_SHAPES`, whatever a layout adds or transposes.
        """

    def set_weights(self, weights: Sequence[NDArray[np.float32]]) -> None:
        """Put such weights onto every device, and whatever else keeps a copy of them."""

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the network's outputs (n, 10) for images (n, 1, 28, 28) in 0..1, computed as in training."""

    def evaluate(self, test: Split) -> float:
        """Return the accuracy over every image of `test`, each counted once."""

    def predictor(self, batch_size: int) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
        """Return what predicts batches of this size on the first device with the weights as they are now.

        It takes images (batch_size, 1, 28, 28) in host memory, and returns their digits (batch_size,) there.
        """

    def device_memory_bytes(self) -> int | None:
        """Return the memory in use on the scenario's GPUs, by all processes; None without a GPU."""

    def device_peak_bytes(self) -> int | None:
        """Return the most memory that the framework had allocated on them: since `prepare`, or since its start.

        None without a GPU, and where the framework does not count it.
        """


class SharedArray(Protocol):
    """An array of float32 numbers of each rank that are added up over all ranks, through the engine that trains them.

    Every method is called on all ranks, in the same order; it returns when its work is done.
    """

    def put(self, numbers: NDArray[np.float32]) -> None:
        """Put this rank's numbers where the engine takes them from."""

    def barrier(self) -> None:
        """Wait until all ranks are here."""

    def add_up(self) -> None:
        """Let every rank have the sum."""

    def total(self) -> NDArray[np.float32]:
        """Return the sum."""


class Backend(Protocol):
    """What every module named below has."""

    def describe(self) -> Software:
        """Return what this process has loaded."""

    def join(self, place: RankPlace) -> None:
        """Meet the other ranks, once in a process and before any device is used. Raise what the framework raises."""

    def share_array(self, place: RankPlace, device: Device, elements: int) -> SharedArray:
        """Make an array that ranks which have met add up; one of each length in a process."""

    def create_workload(
        self, scenario: Scenario, recipe: Recipe, train: Split, place: RankPlace | None = None
    ) -> Workload:
        """Create the scenario's workload, with its training images in memory; `place` is a rank's."""

    def probe(self, device: Device) -> Probe:
        """Try the device out in this process, which may hang or crash it."""

    def matrix_product(self, device: Device, size: int, precision: Precision) -> Callable[[], None]:
        """Return a function that multiplies two (size, size) matrices on the device, and waits for it."""

    def product_kernel(self, device: Device, size: int, precision: Precision) -> str | None:
        """Return what multiplies such matrices, in the library's own words; None where it does not tell."""

    def vector_sum(self, device: Device, elements: int) -> Callable[[], None]:
        """Return a function that adds two float32 arrays on the device (STREAM's "add"), and waits for the sum."""


_MODULES = {
    Framework.MXNET: "bench.worker.backends.mxnet",
    Framework.TORCH: "bench.worker.backends.pytorch",
    Framework.JAX: "bench.worker.backends.jax",
}


def backend_for(framework: Framework) -> Backend:
    """Import and return the backend of a framework.

    Raises `ImportError` where the framework is not installed; its message is the next step.
    """
    backend: Backend = importlib.import_module(_MODULES[framework])
    return backend


def create_workload(scenario: Scenario, recipe: Recipe, train: Split, place: RankPlace | None = None) -> Workload:
    """Create a scenario's workload in the backend of its framework. Raises as `backend_for`, and `OlderError`."""
    older.refuse_unknown(scenario.loop)
    return backend_for(scenario.framework).create_workload(scenario, recipe, train, place)
