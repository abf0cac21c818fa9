"""JAX as a `Workload`: `hybridize=jit` is one compiled step per batch, `scan` one compiled epoch.

`jax_steps` has what is done with a batch.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.machine.software import describe_software
from bench.records.environment import Software
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from bench.worker.backends import common
from bench.worker.backends.common import TrainedEpoch
from bench.worker.protocol.requests import RankPlace
from mnist_core.devices import Device, DeviceKind, Probe, Unusable, last_line
from mnist_core.idx import Split
from mnist_core.order import EpochOrder, batch_sizes, batches, rank_share, shares
from mnist_core.probe import classify
from mnist_core.recipe import Hybridize, Layers, Precision, Recipe

try:
    import jax
    import jax.numpy as jnp
    from jax import lax
    from jax.extend.backend import clear_backends
    from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

    from bench.worker.backends import jax_ranks, jax_steps
    from bench.worker.backends.jax_steps import Array, Data, Rows, State
except ImportError as error:
    raise common.unavailable(Framework.JAX, error) from error

#: JAX is not installed where the types are checked.
JaxDevice: TypeAlias = Any
Sharding: TypeAlias = Any
Compiled: TypeAlias = Any


def describe() -> Software:
    features = (f"jaxlib {jax.lib.__version__}", f"platform {jax.default_backend()}")
    return describe_software("jax", str(jax.__version__), features)


def join(place: RankPlace) -> None:
    jax_ranks.join(place)


def share_array(place: RankPlace, device: Device, elements: int) -> jax_ranks.SummedArray:  # noqa: ARG001  # joined
    _devices_of([device])
    return jax_ranks.SummedArray(jax_ranks.sharding(device.index), elements)


def create_workload(scenario: Scenario, recipe: Recipe, train: Split, place: RankPlace | None = None) -> JaxWorkload:
    return JaxWorkload(scenario, recipe, train, place)


def matrix_product(device: Device, size: int, precision: Precision) -> Callable[[], None]:
    multiply, left, right = _product(device, size, precision)
    return lambda: jax.block_until_ready(multiply(left, right))


def product_kernel(device: Device, size: int, precision: Precision) -> str | None:
    """Return the library to which XLA gives a product: YNNPACK's fusion, or cuBLAS."""
    multiply, left, right = _product(device, size, precision)
    found = _KERNEL.search(multiply.lower(left, right).compile().as_text())
    return None if found is None else found[1]


#: In XLA's program.
_KERNEL: Final = re.compile(r'(?:"kind":|custom_call_target=)"(__[^"]+)"')


def _product(device: Device, size: int, precision: Precision) -> tuple[Compiled, Array, Array]:
    (place,) = _devices_of([device])
    _compute_float32_in(precision)
    generator, own_type = np.random.default_rng(0), jax_steps.TYPES.get(precision, np.float32)
    left, right = (jax.device_put(generator.random((size, size), np.float32).astype(own_type), place) for _ in range(2))
    return jax.jit(jnp.matmul), left, right


def vector_sum(device: Device, elements: int) -> Callable[[], None]:
    (place,) = _devices_of([device])
    generator = np.random.default_rng(0)
    b, c = (jax.device_put(generator.random(elements, np.float32), place) for _ in range(2))
    # The result takes the place of the one before, as in the other frameworks: new memory would be measured with it.
    add = jax.jit(lambda _a, b, c: b + c, donate_argnums=0, keep_unused=True)
    a = jax.device_put(np.zeros(elements, np.float32), place)

    def add_once() -> None:
        nonlocal a
        a = jax.block_until_ready(add(a, b, c))

    return add_once


def probe(device: Device) -> Probe:
    try:
        (place,) = _devices_of([device])
        return _computed(device, place)
    except IndexError:
        detail = f"{device} is not here: GPUs visible to JAX: {len(jax.devices(str(device.kind)))}"
        return Probe(device, Unusable.NO_SUCH_DEVICE, detail)
    except RuntimeError as error:
        reason = Unusable.NO_CUDA_BUILD if "Unknown backend" in str(error) else classify(str(error))
        return Probe(device, reason, f"{device}: {last_line(str(error))}")


def _computed(device: Device, place: JaxDevice) -> Probe:
    """A matrix product and a convolution of ones, whose results are exact in every precision."""
    ones = functools.partial(jnp.ones, dtype=np.float32, device=place)
    product = ones((64, 64)) @ ones((64, 64))
    convolution = lax.conv(ones((1, 1, 5, 5)), ones((1, 1, 3, 3)), (1, 1), "VALID")
    if not bool((product == 8 * 8).all() and (convolution == 3 * 3).all()):
        return Probe(device, Unusable.WRONG_RESULT, f"{device} computes wrong numbers")
    if device.kind is DeviceKind.CPU:
        return Probe(device)
    return Probe(
        device,
        gpu_name=str(place.device_kind),
        compute_capability=str(getattr(place, "compute_capability", "")) or None,
    )


class JaxWorkload:
    """One program for all devices: weights on each of them, every batch split over them, gradients summed by XLA.

    Of ranks that exchange gradients, each has one device, and one program is for all ranks.
    """

    def __init__(self, scenario: Scenario, recipe: Recipe, train: Split, place: RankPlace | None = None) -> None:
        _compute_float32_in(scenario.precision)
        self._scenario = scenario
        self._recipe = recipe
        self._samples = len(train.images)
        self._rank, self._ranks = (0, 1) if place is None else (place.rank, place.ranks)
        devices, task = _devices_of(scenario.devices), jax_steps.task_of(scenario)
        self._places = _Places.of_rank(scenario.devices[0]) if task.exchanges else _Places.of(devices)
        self._data = self._on_device(train)
        self._apply, self._scores = task.apply, jax.jit(task.apply)
        self._count = jax.jit(functools.partial(jax_steps.count, task.apply))
        self._step, self._scan = (
            jax.jit(self._places.program(functools.partial(each, task)), static_argnums=0, donate_argnums=1)
            for each in (jax_steps.step, jax_steps.scan)
        )
        self._meet = jax_ranks.adder(self._places.whole) if task.exchanges else None
        #: All full batches of an epoch; None where steps are compiled by themselves.
        self._full_batches: Callable[..., tuple[State, Array]] | None = None
        self._state: State
        self._rate: Array
        self._order: EpochOrder

    def build(self) -> None:
        """Compiles the epoch, too, where it is one program: that takes no epoch to be run."""
        self._state = State([], self._zero(), self._zero())
        self.set_weights(common.initial_weights(self._scenario.network, self._recipe))
        self.set_learning_rate(self._recipe.learning_rate)
        if self._scenario.hybridize is Hybridize.SCAN and self._samples >= self._scenario.batch_size:
            size, rows = next(self._own_rows(np.arange(self._samples), self._scenario.batch_size))
            self._full_batches = self._scan.lower(size, self._state, self._rate, self._data, rows).compile()

    def set_learning_rate(self, value: float) -> None:
        self._rate = self._places.put(np.float32(value))

    def train_throwaway_batch(self, size: int) -> None:
        """The step by itself, also where the epoch is one program."""
        # The epoch has so many batches of this size: another number of rows would be another program.
        count = self._samples // size if size == self._scenario.batch_size else 1
        ((_, rows),) = self._own_rows(np.tile(np.arange(size), count), size)
        self._state, _ = self._step(size, self._state._replace(row=self._zero()), self._rate, self._data, rows)
        self.wait()

    def prepare(self) -> None:
        """The training set is on the devices already."""
        self._order = EpochOrder(self._samples, self._recipe.seed)
        sizes = (end - begin for begin, end in batches(self._samples, self._scenario.batch_size))
        taken = (rank_share(size, self._rank, self._ranks) for size in sizes)
        self._own_samples = sum(last - first for first, last in taken)

    def train_epoch(self) -> TrainedEpoch:
        """The only wait is for the count of right answers."""
        order, batch_size = self._order.next_epoch(), self._scenario.batch_size
        self._state = self._state._replace(correct=self._zero())
        loss: Array = math.nan
        for size, rows in self._own_rows(order, batch_size):
            self._state = self._state._replace(row=self._zero())
            if self._full_batches is not None and size == batch_size:
                self._state, loss = self._full_batches(self._state, self._rate, self._data, rows)
                continue
            for _ in range(len(rows.index)):
                self._state, loss = self._step(size, self._state, self._rate, self._data, rows)
        return TrainedEpoch(
            samples=self._own_samples,
            train_accuracy=int(self._state.correct) / self._own_samples,
            last_losses=(loss,),
        )

    def wait(self) -> None:
        jax.block_until_ready(self._state)

    def barrier(self) -> None:
        if self._meet is not None:
            self._meet(self._zero())

    def weights_digest(self) -> str:
        return common.digest(self.weights())

    def weights(self) -> list[NDArray[np.float32]]:
        return jax_steps.common_form(list(map(np.asarray, self._state.weights)), self._scenario.layers)

    def set_weights(self, weights: Sequence[NDArray[np.float32]]) -> None:
        own = [self._places.put(each) for each in jax_steps.own_form(weights, self._scenario.layers)]
        self._state = self._state._replace(weights=own)

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._scenario.layers is Layers.CHANNELS_LAST:
            images = images.transpose(0, 2, 3, 1)
        return np.asarray(self._scores(self._state.weights, self._places.put(images)))

    def evaluate(self, test: Split) -> float:
        data = self._on_device(test)
        correct = self._zero()
        for _, rows in self._rows(np.arange(len(test.images)), self._scenario.batch_size):
            for row in range(len(rows.index)):
                correct = self._count(correct, self._state.weights, data, rows, np.int32(row))
        return int(correct) / len(test.images)

    def predictor(self, batch_size: int) -> Callable[[NDArray[np.float32]], NDArray[np.int32]]:
        first = self._places.devices[0]
        shape = (batch_size, 28, 28, 1) if self._scenario.layers is Layers.CHANNELS_LAST else (batch_size, 1, 28, 28)
        weights = [jax.device_put(np.asarray(weight), first) for weight in self._state.weights]

        digits = jax.jit(lambda weights, images: self._apply(weights, images.reshape(shape)).argmax(1))
        return lambda images: np.asarray(digits(weights, images))

    def device_memory_bytes(self) -> int | None:
        """Bytes that JAX really uses; it keeps what it once had."""
        return self._memory("bytes_in_use")

    def device_peak_bytes(self) -> int | None:
        return self._memory("peak_bytes_in_use")

    def _memory(self, statistic: str) -> int | None:
        if any(device.kind is DeviceKind.CPU for device in self._scenario.devices):
            return None
        return sum(int(place.memory_stats()[statistic]) for place in self._places.devices)

    def _own_rows(self, order: NDArray[np.intp], batch_size: int) -> Iterator[tuple[int, Rows]]:
        return self._rows(order, batch_size, self._rank, self._ranks)

    def _rows(
        self, order: NDArray[np.intp], batch_size: int, rank: int = 0, ranks: int = 1
    ) -> Iterator[tuple[int, Rows]]:
        """The full batches, where there are any, then the smaller last one, where there is one; each with its size.

        Of several ranks, one's share of each.
        """
        begin = 0
        for size in batch_sizes(len(order), batch_size):
            count = (len(order) - begin) // size
            index = order[begin : begin + count * size].reshape(count, size).astype(np.int32)
            begin += count * size
            columns, mask = _columns(size, self._places.count, rank, ranks)
            put, places = self._places.put, self._places
            yield (
                size,
                Rows(
                    put(index[:, columns], places.split_rows),
                    None if len(mask) * ranks == size else put(mask, places.split),
                ),
            )

    def _on_device(self, split: Split) -> Data:
        """(n, 1, 28, 28) or (n, 28, 28, 1) float32 images and (n,) int32 labels."""
        channels = 3 if self._scenario.layers is Layers.CHANNELS_LAST else 1
        images = np.expand_dims(common.as_input(split), channels)
        return Data(self._places.put(images), self._places.put(split.labels.astype(np.int32)))

    def _zero(self) -> Array:
        return self._places.put(np.int32(0))


# --- devices


def _compute_float32_in(precision: Precision) -> None:
    """Let products of float32 be float32 all the way: a GPU would else use TF32."""
    told = "tensorfloat32" if precision is Precision.TF32 else "highest"
    jax.config.update("jax_default_matmul_precision", told)


def _columns(size: int, devices: int, rank: int, ranks: int) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Which of a batch's images each device takes, one device after the other, as many for each; False: no real one.

    All devices of all ranks take as many.
    """
    begin, end = rank_share(size, rank, ranks)
    ((_, most), *_) = shares(size, ranks)
    ((_, width), *_) = shares(most, devices)
    columns = np.zeros((devices, width), np.intp)
    mask = np.zeros((devices, width), np.bool_)
    for device, (first, last) in enumerate(shares(end - begin, devices) if end > begin else []):
        columns[device, : last - first] = begin + np.arange(first, last)
        mask[device, : last - first] = True
    return columns.reshape(-1), mask.reshape(-1)


@dataclass(frozen=True, slots=True)
class _Places:
    """The devices and shardings on which arrays are placed."""

    devices: Sequence[JaxDevice]
    #: A copy on each device.
    whole: Sharding
    #: (n,), a part on each.
    split: Sharding
    #: (batches, n), a part of every row on each.
    split_rows: Sharding
    #: Whether other processes have devices of these shardings, too.
    are_shared: bool = False

    @classmethod
    def of(cls, devices: Sequence[JaxDevice]) -> _Places:
        if len(devices) == 1:
            alone = SingleDeviceSharding(devices[0])
            return cls(devices, alone, alone, alone)
        mesh = Mesh(np.array(devices), ("device",))
        whole, split, split_rows = (
            NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("device",), (None, "device"))
        )
        return cls(devices, whole, split, split_rows)

    @classmethod
    def of_rank(cls, device: Device) -> _Places:
        """A device of each rank, with its own copy of every array."""
        everywhere = jax_ranks.sharding(device.index)
        return cls(tuple(everywhere.addressable_devices), everywhere, everywhere, everywhere, are_shared=True)

    @property
    def count(self) -> int:
        return len(self.devices)

    def put(self, array: NDArray[Any] | np.generic, sharding: Sharding | None = None) -> Array:
        """A copy on each device, without a sharding."""
        sharding = self.whole if sharding is None else sharding
        return jax_ranks.put(array, sharding) if self.are_shared else jax.device_put(array, sharding)

    def program(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of a number and arrays, as all devices run it."""
        return jax_ranks.on_each(function, self.whole) if self.are_shared else function


#: How many threads XLA's pool for the CPU has is said nowhere else. It never has fewer than there are CPU devices.
_THREADS_VARIABLE = "PJRT_NPROC"


def _devices_of(devices: Sequence[Device]) -> list[JaxDevice]:
    """Begins JAX with as many CPU devices as these are, the threads for them, and no GPU where they are all CPUs.

    Anew, if it had begun otherwise: nothing made before is usable any more. Raises `RuntimeError` where JAX has no GPU,
    `IndexError` where it has fewer.
    """
    cpus = [device.index for device in devices if device.kind is DeviceKind.CPU]
    threads = str(common.cpu_threads(devices))
    wanted: dict[str, Any] = {"jax_platforms": "cpu" if len(cpus) == len(devices) else None}
    if cpus:
        wanted["jax_num_cpu_devices"] = max(cpus) + 1
    differs = any(getattr(jax.config, name) != value for name, value in wanted.items())
    if differs or os.environ.get(_THREADS_VARIABLE) != threads:
        clear_backends()
        os.environ[_THREADS_VARIABLE] = threads
        for name, value in wanted.items():
            jax.config.update(name, value)
    return [jax.local_devices(backend=str(device.kind))[device.index] for device in devices]
