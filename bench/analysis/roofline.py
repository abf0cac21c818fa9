"""Ceilings: which of them a plan needs, what they say together, and which bound applies to a step.

After Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore architectures",
Communications of the ACM 52, 2009; the bandwidth is that of arrays as large as what a step touches, which may be a
cache's.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from bench.enums import StrEnum
from bench.records.result import Ceiling, Library
from bench.scenarios.scenario import Scenario
from mnist_core.devices import Device, DeviceKind, parse_devices
from mnist_core.recipe import Network, Precision

_FLOAT_BYTES: Final = 4
#: Of a number that a layer reads or puts out; weights and their gradients are float32 in every precision.
_VALUE_BYTES: Final = {
    Precision.FLOAT32: 4,
    Precision.TF32: 4,
    Precision.BFLOAT16: 2,
    Precision.FLOAT16: 2,
}
_IMAGE_FLOATS: Final = 28 * 28
#: Read from the data set, written into the batch, read by the first layer forward and by its weights' gradient.
_MOVES_OF_AN_IMAGE: Final = 4
#: Written, read by what comes next, read again backward; its gradient written, and read. Elementwise functions (ReLU,
#: tanh) cost nothing more: they can be applied on the way.
_MOVES_OF_AN_OUTPUT: Final = 5


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's part of an image's cost."""

    #: Multiplications, each with its addition, of the forward pass.
    multiplications: int
    #: Trained numbers, biases included.
    parameters: int
    #: Numbers it puts out.
    outputs: int


def _dense(inputs: int, outputs: int) -> Layer:
    return Layer(inputs * outputs, inputs * outputs + outputs, outputs)


def _convolution(channels: int, filters: int, kernel: int, side: int) -> Layer:
    """Return a convolution's costs; `side` is that of the square which a filter puts out."""
    weights = filters * channels * kernel**2
    return Layer(weights * side**2, weights + filters, filters * side**2)


def _pooling(channels: int, side: int) -> Layer:
    return Layer(0, 0, channels * side**2)


@dataclass(frozen=True, slots=True)
class Costs:
    """What training one network costs. Biases, activations, pooling, loss and update count as moves alone."""

    layers: tuple[Layer, ...]

    @property
    def flop_per_image(self) -> int:
        """Operations of a training step: forward, gradients of the weights, and of all inputs but the first layer's.

        A multiplication and its addition are two.
        """
        forward = sum(layer.multiplications for layer in self.layers)
        inputs = sum(layer.multiplications for layer in self.layers[1:])
        return 2 * (2 * forward + inputs)

    @property
    def parameters(self) -> int:
        """Trained numbers."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def gradient_bytes(self) -> int:
        """Of what ranks exchange for an update: a float32 number for each trained one."""
        return _FLOAT_BYTES * self.parameters

    @property
    def activations(self) -> int:
        """Numbers that all layers put out for an image."""
        return sum(layer.outputs for layer in self.layers)

    def update_bytes(self, images: float, contexts: int, precision: Precision = Precision.FLOAT32) -> float:
        """Return the fewest bytes a step on so many images (a mean of batches) moves between arithmetic and arrays.

        Every context has a copy of the weights: read forward, read backward (but for the first layer's) and written by
        the update. It writes a gradient, which the update reads. The update also reads one copy of the weights.
        """
        of_weights = contexts * (5 * self.parameters - self.layers[0].parameters) + self.parameters
        of_images = images * (_MOVES_OF_AN_IMAGE * _IMAGE_FLOATS + _MOVES_OF_AN_OUTPUT * self.activations)
        return _FLOAT_BYTES * of_weights + _VALUE_BYTES[precision] * of_images

    def working_set_bytes(self, images: float, contexts: int, precision: Precision = Precision.FLOAT32) -> float:
        """Return the bytes that the same step touches: weights, activations, the gradients of both, and the batch."""
        per_image = _IMAGE_FLOATS + 2 * self.activations
        return _FLOAT_BYTES * 2 * contexts * self.parameters + _VALUE_BYTES[precision] * images * per_image


_COSTS: Final = {
    Network.MLP.value: Costs((_dense(_IMAGE_FLOATS, 128), _dense(128, 64), _dense(64, 10))),
    Network.LENET.value: Costs(
        (
            _convolution(1, 20, 5, 24),
            _pooling(20, 12),
            _convolution(20, 50, 5, 8),
            _pooling(50, 4),
            _dense(50 * 4 * 4, 500),
            _dense(500, 10),
        )
    ),
}


#: Of what ranks exchange for an update of each network.
GRADIENT_BYTES: Final = {network: costs.gradient_bytes for network, costs in _COSTS.items()}


def costs_of(network: str) -> Costs | None:
    """Return what a network costs; None for a custom one, whose layers are not known here."""
    return _COSTS.get(network)


BYTES_PER_ELEMENT: Final = 12
#: Three arrays so many times as large as the largest cache together: whatever it keeps of one pass is of no use to the
#: next, which begins at the other end.
BEYOND_CACHE: Final = 4
#: What hypervisors tell of caches may be the whole host's: no more than this part of the memory is taken for it.
MEMORY_PART: Final = 8


class Bound(StrEnum):
    """What limits a step."""

    #: The matrix product's rate, in the row's precision.
    COMPUTE = "compute"
    #: The bandwidth.
    MEMORY = "memory"
    #: More than half of a step does not grow with the batch.
    OVERHEAD = "overhead"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """What a ceiling is of: CPU contexts are virtual and GPUs of a machine alike, so that threads and kind decide."""

    kind: DeviceKind
    #: In all.
    threads: int
    precision: Precision = Precision.FLOAT32


def place_of(scenario: Scenario, omp_num_threads: int) -> Place | None:
    """Return where a scenario trains; None for a mixture of kinds, which has no ceiling of its own.

    `omp_num_threads` are those of each CPU context. All ranks are taken to share one machine.
    """
    kinds = [device.kind for device in scenario.devices]
    if len({*kinds}) > 1:
        return None
    threads = omp_num_threads * (scenario.part_count if kinds[0] is DeviceKind.CPU else 1)
    return Place(kinds[0], threads, scenario.precision)


@dataclass(frozen=True, slots=True)
class Spread:
    """How a rate varied over time."""

    median: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True)
class RoofLevel:
    """What one library reached on one device, over time."""

    device: Device
    threads: int
    precision: Precision
    framework: Library
    ceilings: tuple[Ceiling, ...]

    @property
    def gflop_per_second(self) -> Spread:
        return self._spread(lambda ceiling: ceiling.gflop_per_second)

    @property
    def bandwidth_bytes_per_second(self) -> Spread:
        return self._spread(lambda ceiling: ceiling.bandwidth_bytes_per_second)

    @property
    def size(self) -> int:
        """Size of the matrices that were fastest most often."""
        return statistics.mode(ceiling.fastest_product.size for ceiling in self.ceilings)

    def _spread(self, value: Callable[[Ceiling], float]) -> Spread:
        values = [value(ceiling) for ceiling in self.ceilings]
        return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Roof:
    """The levels of one place; the best of them is the ceiling."""

    place: Place
    levels: tuple[RoofLevel, ...]

    @property
    def best(self) -> RoofLevel:
        """The library with the fastest matrix product."""
        return max(self.levels, key=lambda level: level.gflop_per_second.median)

    @property
    def gflop_per_second(self) -> float:
        """Rate of one device: the median over time of the best library."""
        return self.best.gflop_per_second.median

    def gflop_per_second_of(self, contexts: int) -> float:
        """Return the rate of n contexts: n times that of one GPU, but the same for CPU contexts, which share cores."""
        return self.gflop_per_second * (contexts if self.place.kind is DeviceKind.GPU else 1)

    @property
    def bandwidth_bytes_per_second(self) -> float:
        """Bandwidth of one device's memory: the best library's median over time, on the largest arrays."""
        return max(level.bandwidth_bytes_per_second.median for level in self.levels)

    def bandwidth_at(self, working_set_bytes: float, contexts: int = 1) -> float:
        """Return the bandwidth of the smallest measured arrays that together are as large; the memory's beyond them.

        Several contexts count as in `gflop_per_second_of`.
        """
        rates: dict[int, list[float]] = {}
        for level in self.levels:
            of_level: dict[int, list[float]] = {}
            for ceiling in level.ceilings:
                for vector_sum in ceiling.vector_sums:
                    of_level.setdefault(vector_sum.elements, []).append(vector_sum.bytes_per_second)
            for elements, values in of_level.items():
                rates.setdefault(elements, []).append(statistics.median(values))
        large_enough = [elements for elements in rates if elements * BYTES_PER_ELEMENT >= working_set_bytes]
        rate = max(rates[min(large_enough)]) if large_enough else self.bandwidth_bytes_per_second
        return rate * (contexts if self.place.kind is DeviceKind.GPU else 1)

    def bound(self, costs: Costs, images: float, contexts: int) -> Bound:
        """Return what bounds a step of this size. Several GPUs multiply both rates, so that their number cancels."""
        precision = self.place.precision
        intensity = costs.flop_per_image * images / costs.update_bytes(images, contexts, precision)
        bandwidth = self.bandwidth_at(costs.working_set_bytes(images, contexts, precision))
        return Bound.COMPUTE if intensity * bandwidth >= 1e9 * self.gflop_per_second else Bound.MEMORY


def levels(ceilings: Iterable[Ceiling]) -> tuple[RoofLevel, ...]:
    """Group ceilings by device, threads and precision, as first measured; libraries in the order of `Library`."""
    grouped: dict[tuple[str, int, Precision], dict[Library, list[Ceiling]]] = {}
    for ceiling in ceilings:
        libraries = grouped.setdefault((ceiling.device, ceiling.omp_num_threads, ceiling.precision), {})
        libraries.setdefault(ceiling.framework, []).append(ceiling)
    return tuple(
        RoofLevel(parse_devices(device)[0], threads, precision, library, tuple(libraries[library]))
        for (device, threads, precision), libraries in grouped.items()
        for library in Library
        if library in libraries
    )


def roofs(ceilings: Iterable[Ceiling]) -> dict[Place, Roof]:
    """Return a roof for each place at which a ceiling was measured."""
    grouped: dict[Place, list[RoofLevel]] = {}
    for level in levels(ceilings):
        grouped.setdefault(Place(level.device.kind, level.threads, level.precision), []).append(level)
    return {place: Roof(place, tuple(of_place)) for place, of_place in grouped.items()}
