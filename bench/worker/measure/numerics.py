"""The numerics probe: whether a process computes in the precision that it is to compute in.

A precision that is ignored trains as well and only looks slow, or fast. So each process shows, before it is measured,
how far its outputs and one gradient are from the same numbers in float64. Each precision has a band of such errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.records.result import Numerics
from bench.scenarios.axes import Framework, is_custom
from bench.scenarios.scenario import Scenario
from bench.worker.backends import common
from bench.worker.backends.base import Workload
from bench.worker.measure import exact
from bench.worker.protocol.base import NumericsError
from mnist_core.devices import DeviceKind
from mnist_core.idx import Split
from mnist_core.recipe import Network, Precision

#: The most images that are probed. More would take longer than what is to be measured.
_MOST_IMAGES: Final = 1000
#: The same for each context of MXNet on CPUs, which computes any number without compiling anything. Exact numbers of a
#: LeNet take several times as long as its training.
_MOST_IMAGES_OF_A_CPU: Final = 20
#: A learning rate so large that an update is mostly gradient, and a power of two, by which it is divided exactly.
_LEARNING_RATE: Final = 2.0**10


@dataclass(frozen=True, slots=True)
class Band:
    """The errors of a precision: below them it is not in effect, above them something is less exact."""

    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class _Bands:
    scores: Band
    gradient: Band


#: The errors of MXNet, PyTorch and JAX on CPUs, of both networks at batches of 10, 100 and 500, over eight seeds and
#: draws of images, were of scores and gradients: float32 9e-8 to 7e-7 and 1e-7 to 4e-6, bfloat16 3e-3 to 7e-3 and 3e-3
#: to 0.11, float16 (PyTorch's) 4e-4 to 6e-4 and 4e-4 to 0.02. TF32 rounds factors as float16 does, and no product. A
#: gradient has more than rounding: an output near 0 may fall to the other side, or another pixel be a pool's maximum.
#: Where one pixel did so, on images of noise, PyTorch's and JAX's float32 gradients of a LeNet were 1e-4 and 1.4e-3
#: off, and their scores 6e-7: the scores tell what was not computed in float32.
BANDS: Final = {
    Precision.FLOAT32: _Bands(Band(0.0, 1e-5), Band(0.0, 5e-3)),
    Precision.TF32: _Bands(Band(5e-5, 2e-3), Band(1e-4, 1e-1)),
    Precision.BFLOAT16: _Bands(Band(1e-3, 3e-2), Band(1e-3, 5e-1)),
    Precision.FLOAT16: _Bands(Band(5e-5, 2e-3), Band(1e-4, 1e-1)),
}


def probe(workload: Workload, scenario: Scenario, train: Split, batch: int, *, is_rank: bool) -> Numerics | None:
    """Compare what a built network computes with exact numbers; it is left as it was, at a learning rate of 0.

    It trains on batches of `batch` images. Return None for a user's own network, whose layers are not known. Raise
    `NumericsError` for an error outside of its precision's band.
    """
    if is_custom(scenario.network):
        return None
    images = min(batch, _most_images(scenario))
    part = Split(train.images[:images], train.labels[:images])
    weights, inputs = workload.weights(), common.as_input(part)[:, np.newaxis]
    reference = exact.evaluate(Network(scenario.network), weights, inputs, part.labels)
    found = Numerics(
        precision=scenario.precision,
        images=images,
        scores_error=_error(workload.scores(inputs), reference.scores),
        gradient_error=None if is_rank else _gradient_error(workload, weights, images, reference.gradient),
    )
    check(found)
    return found


def _most_images(scenario: Scenario) -> int:
    """Return how many images are probed at most.

    Where another number than it trains on would be compiled for this alone, or computed by another algorithm, as on a
    GPU, it is a whole batch.
    """
    is_on_cpus = all(device.kind is DeviceKind.CPU for device in scenario.devices)
    if scenario.framework is Framework.MXNET and is_on_cpus:
        return _MOST_IMAGES_OF_A_CPU * len(scenario.devices)
    return _MOST_IMAGES


def _gradient_error(
    workload: Workload, weights: list[NDArray[np.float32]], images: int, reference: NDArray[np.float64]
) -> float:
    """Train one batch so that the weights move by its gradient, and set them back."""
    workload.set_learning_rate(_LEARNING_RATE)
    workload.train_throwaway_batch(images)
    moved = [
        (before.astype(np.float64) - after).ravel() for before, after in zip(weights, workload.weights(), strict=True)
    ]
    workload.set_learning_rate(0.0)
    workload.set_weights(weights)
    return _error(np.concatenate(moved) / _LEARNING_RATE, reference)


def _error(found: NDArray[np.float32] | NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Return the 2-norm of the difference over that of the reference."""
    return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))


def check(found: Numerics) -> None:
    """Raise `NumericsError` for errors outside of the bands of the precision."""
    bands = BANDS[found.precision]
    compared = (("scores", found.scores_error, bands.scores), ("gradient", found.gradient_error, bands.gradient))
    for what, error, band in compared:
        if error is None or band.lower <= error <= band.upper:
            continue
        wrong = "is not in effect" if error < band.lower else "is claimed, and what was computed is less precise"
        raise NumericsError(
            f"precision={found.precision} {wrong}: the {what} of {found.images:,} images differ from exact numbers by "
            f"{error:.1e}, and those of {found.precision} by {band.lower:.0e} to {band.upper:.0e}"
        )
