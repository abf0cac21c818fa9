"""JAX as a `Workload`: `hybridize=jit` is one compiled step per batch, `scan` one compiled epoch.

Written for speed: all that a step needs lies on the device and its weights are donated, so that a step is one call; a
pooling is the maximum of four slices, whose gradient is cheaper than a window's; on the CPU a convolution is a matrix
product of patches, since XLA's own is slow there, and inside a loop far slower still.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.machine.software import describe_software
from bench.records.environment import Software
from bench.scenarios.axes import Exchange, Framework
from bench.scenarios.scenario import Scenario
from bench.worker.backends import common
from bench.worker.backends.common import TrainedEpoch
from bench.worker.protocol import RankPlace
from mnist_core.devices import Device, DeviceKind, Probe, Unusable, last_line
from mnist_core.idx import Split
from mnist_core.order import EpochOrder, batch_sizes, batches, rank_share, shares
from mnist_core.probe import classify
from mnist_core.recipe import Hybridize, Layers, Network, Recipe

try:
    import jax
    import jax.numpy as jnp
    from jax import lax
    from jax.extend.backend import clear_backends
    from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

    from bench.worker.backends import jax_ranks
except ImportError as error:
    raise common.unavailable(Framework.JAX, error) from error

#: JAX is not installed where the types are checked.
Array: TypeAlias = Any
JaxDevice: TypeAlias = Any
Sharding: TypeAlias = Any

jax.config.update("jax_default_matmul_precision", "highest")  # float32 all the way: a GPU would else use TF32


def describe() -> Software:
    features = (f"jaxlib {jax.lib.__version__}", f"platform {jax.default_backend()}")
    return describe_software("jax", str(jax.__version__), features)


def join(place: RankPlace) -> None:
    jax_ranks.join(place)


def create_workload(scenario: Scenario, recipe: Recipe, train: Split, place: RankPlace | None = None) -> JaxWorkload:
    return JaxWorkload(scenario, recipe, train, place)


def matrix_product(device: Device, size: int) -> Callable[[], None]:
    (place,) = _devices_of([device])
    generator = np.random.default_rng(0)
    left, right = (jax.device_put(generator.random((size, size), np.float32), place) for _ in range(2))
    multiply = jax.jit(jnp.matmul)
    return lambda: jax.block_until_ready(multiply(left, right))


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


# --- the networks, as functions of their weights


Apply: TypeAlias = Callable[[Sequence[Array], Array], Array]


def _mlp(weights: Sequence[Array], images: Array) -> Array:
    first, first_bias, second, second_bias, last, last_bias = weights
    x = jax.nn.relu(images.reshape(len(images), -1) @ first + first_bias)
    x = jax.nn.relu(x @ second + second_bias)
    return x @ last + last_bias


def _lenet(
    weights: Sequence[Array],
    images: Array,
    *,
    convolved: Callable[[Array, Array, Array], Array],
    activated: Callable[[Array], Array],
) -> Array:
    conv1, conv1_bias, conv2, conv2_bias, fc1, fc1_bias, fc2, fc2_bias = weights
    x = activated(convolved(images, conv1, conv1_bias))
    x = activated(convolved(x, conv2, conv2_bias))
    x = jnp.tanh(x.reshape(len(x), -1) @ fc1 + fc1_bias)
    return jnp.tanh(x @ fc2 + fc2_bias)


def _network_of(scenario: Scenario) -> Apply:
    if scenario.network == Network.MLP:
        return _mlp
    on_cpu = all(device.kind is DeviceKind.CPU for device in scenario.devices)
    if scenario.layers is Layers.TUTORIAL:
        convolved = _convolved_by_patches if on_cpu else _convolved
        return functools.partial(_lenet, convolved=convolved, activated=lambda x: _pooled(jnp.tanh(x), 2))
    convolved = _convolved_by_patches_last if on_cpu else _convolved_last
    # tanh grows with its argument: the maximum is the same, and it is taken of a quarter as many.
    return functools.partial(_lenet, convolved=convolved, activated=lambda x: jnp.tanh(_pooled(x, 1)))


#: Height and width of the kernels.
_KERNEL = 5


def _convolved(images: Array, kernel: Array, bias: Array) -> Array:
    numbers = ("NCHW", "HWIO", "NCHW")
    return lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=numbers) + bias[:, None, None]


def _convolved_last(images: Array, kernel: Array, bias: Array) -> Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=numbers) + bias


def _convolved_by_patches(images: Array, kernel: Array, bias: Array) -> Array:
    height, width = (size - _KERNEL + 1 for size in images.shape[2:])
    patches = jnp.concatenate([images[:, :, i : i + height, j : j + width] for i, j in _OFFSETS], axis=1)
    return jnp.einsum("nkhw,ko->nohw", patches, kernel.reshape(patches.shape[1], -1)) + bias[:, None, None]


def _convolved_by_patches_last(images: Array, kernel: Array, bias: Array) -> Array:
    height, width = (size - _KERNEL + 1 for size in images.shape[1:3])
    patches = jnp.concatenate([images[:, i : i + height, j : j + width] for i, j in _OFFSETS], axis=3)
    return patches @ kernel.reshape(patches.shape[3], -1) + bias


_OFFSETS = [(i, j) for i in range(_KERNEL) for j in range(_KERNEL)]


def _pooled(x: Array, height_axis: int) -> Array:
    """Maxima of 2 x 2, of the axis and the next."""
    for axis in (height_axis, height_axis + 1):
        even, odd = (lax.slice_in_dim(x, first, None, 2, axis) for first in (0, 1))
        x = jnp.maximum(even, odd)
    return x


def own_form(weights: Sequence[NDArray[np.float32]], layers: Layers) -> list[NDArray[np.float32]]:
    """`peers.initial_weights` as the networks here take them.

    Kernels are (height, width, inputs, outputs) and others (inputs, outputs), the inputs in the order of the layers.
    """
    own = []
    for weight in weights:
        if weight.ndim == len("OIHW"):
            own.append(weight.transpose(2, 3, 1, 0))
        elif weight.shape[1:] == (math.prod(common.FLATTENED),) and layers is Layers.CHANNELS_LAST:
            own.append(weight.reshape(-1, *common.FLATTENED).transpose(2, 3, 1, 0).reshape(weight.shape[::-1]))
        else:
            own.append(weight.T)
    return own


# --- a step


class _State(NamedTuple):
    """What a step takes over and gives back, all on the device."""

    weights: list[Array]
    #: (): the next batch's row in `_Rows.index`.
    row: Array
    #: (): right answers so far.
    correct: Array


class _Data(NamedTuple):
    """A data set, with a copy on each device."""

    images: Array
    labels: Array


class _Rows(NamedTuple):
    """Batches of one size."""

    #: (batches, n): where the images of each lie in the data set, one device's after the other's.
    index: Array
    #: (n,): 0 where a device has one image fewer than the first; None: no device has.
    mask: Array | None


class _Network(NamedTuple):
    """What is trained."""

    apply: Apply
    #: Adds up the gradients over all ranks.
    summed: Callable[[Sequence[Array]], Sequence[Array]]


def _updated(
    network: _Network, size: int, state: _State, rate: Array, data: _Data, index: Array, mask: Array | None
) -> tuple[_State, Array]:
    """One update on the batch at the index, and the mean loss of the batch; of a rank, its part of that."""
    labels = _at(data.labels, index)

    def loss_of(weights: Sequence[Array]) -> tuple[Array, Array]:
        scores = network.apply(weights, _at(data.images, index))
        losses = -(jax.nn.one_hot(labels, 10) * jax.nn.log_softmax(scores)).sum(1)
        return _real(losses, mask).sum() / size, _real(scores.argmax(1) == labels, mask).sum(dtype=np.int32)

    (loss, correct), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.weights)
    gradients = network.summed(gradients)
    weights = [weight - rate * gradient for weight, gradient in zip(state.weights, gradients, strict=True)]
    return _State(weights, state.row + 1, state.correct + correct), loss


def _at(array: Array, index: Array) -> Array:
    return array.at[index].get(mode="promise_in_bounds")


def _real(values: Array, mask: Array | None) -> Array:
    return values if mask is None else values * mask


def _step(network: _Network, size: int, state: _State, rate: Array, data: _Data, rows: _Rows) -> tuple[_State, Array]:
    index = lax.dynamic_index_in_dim(rows.index, state.row, keepdims=False)
    return _updated(network, size, state, rate, data, index, rows.mask)


def _scan(network: _Network, size: int, state: _State, rate: Array, data: _Data, rows: _Rows) -> tuple[_State, Array]:
    def body(carried: tuple[_State, Array], index: Array) -> tuple[tuple[_State, Array], None]:
        state, _ = carried
        return _updated(network, size, state, rate, data, index, rows.mask), None

    (state, loss), _ = lax.scan(body, (state, jnp.float32(0)), rows.index)
    return state, loss


def _count(apply: Apply, correct: Array, weights: Sequence[Array], data: _Data, rows: _Rows, row: int) -> Array:
    """`correct` and the right answers of one row."""
    index = lax.dynamic_index_in_dim(rows.index, row, keepdims=False)
    right = apply(weights, _at(data.images, index)).argmax(1) == _at(data.labels, index)
    return correct + _real(right, rows.mask).sum(dtype=np.int32)


class JaxWorkload:
    """One program for all devices: weights on each of them, every batch split over them, gradients summed by XLA.

    Of ranks that exchange gradients, each has one device, and one program is for all ranks.
    """

    def __init__(self, scenario: Scenario, recipe: Recipe, train: Split, place: RankPlace | None = None) -> None:
        self._scenario = scenario
        self._recipe = recipe
        self._samples = len(train.images)
        self._rank, self._ranks = (0, 1) if place is None else (place.rank, place.ranks)
        devices, self._exchanges = _devices_of(scenario.devices), scenario.exchange is not Exchange.NONE
        self._places = _Places.of_rank(scenario.devices[0]) if self._exchanges else _Places.of(devices)
        self._data = self._on_device(train)
        apply = _network_of(scenario)
        network = _Network(apply, jax_ranks.summed if self._exchanges else lambda gradients: gradients)
        self._count = jax.jit(functools.partial(_count, apply))
        self._step, self._scan = (
            jax.jit(self._places.program(functools.partial(each, network)), static_argnums=0, donate_argnums=1)
            for each in (_step, _scan)
        )
        self._meet = jax.jit(self._places.program(lambda _, numbers: network.summed(numbers)), static_argnums=0)
        #: All full batches of an epoch; None where steps are compiled by themselves.
        self._full_batches: Callable[..., tuple[_State, Array]] | None = None
        self._state: _State
        self._rate: Array
        self._order: EpochOrder

    @property
    def weights(self) -> list[Array]:
        """The weights in JAX's own form, see `own_form`."""
        return self._state.weights

    def build(self) -> None:
        """Compiles the epoch, too, where it is one program: that takes no epoch to be run."""
        initial = own_form(common.initial_weights(self._scenario.network, self._recipe), self._scenario.layers)
        self._state = _State([self._places.put(each) for each in initial], self._zero(), self._zero())
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
        """Add up a number, which no rank has before all have come."""
        if self._exchanges:
            jax.block_until_ready(self._meet(1, [self._zero()]))

    def weights_digest(self) -> str:
        return common.digest(map(np.asarray, self.weights))

    def evaluate(self, test: Split) -> float:
        data = self._on_device(test)
        correct = self._zero()
        for _, rows in self._rows(np.arange(len(test.images)), self._scenario.batch_size):
            for row in range(len(rows.index)):
                correct = self._count(correct, self._state.weights, data, rows, np.int32(row))
        return int(correct) / len(test.images)

    def device_memory_bytes(self) -> int | None:
        """Bytes that JAX really uses; it reserves three quarters of a card from the start."""
        if any(device.kind is DeviceKind.CPU for device in self._scenario.devices):
            return None
        return sum(int(place.memory_stats()["bytes_in_use"]) for place in self._places.devices)

    def _own_rows(self, order: NDArray[np.intp], batch_size: int) -> Iterator[tuple[int, _Rows]]:
        return self._rows(order, batch_size, self._rank, self._ranks)

    def _rows(
        self, order: NDArray[np.intp], batch_size: int, rank: int = 0, ranks: int = 1
    ) -> Iterator[tuple[int, _Rows]]:
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
                _Rows(
                    put(index[:, columns], places.split_rows),
                    None if len(mask) * ranks == size else put(mask, places.split),
                ),
            )

    def _on_device(self, split: Split) -> _Data:
        """(n, 1, 28, 28) or (n, 28, 28, 1) float32 images and (n,) int32 labels."""
        channels = 3 if self._scenario.layers is Layers.CHANNELS_LAST else 1
        images = np.expand_dims(common.as_input(split), channels)
        return _Data(self._places.put(images), self._places.put(split.labels.astype(np.int32)))

    def _zero(self) -> Array:
        return self._places.put(np.int32(0))


# --- devices


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
        return cls(everywhere.addressable_devices, everywhere, everywhere, everywhere, are_shared=True)

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
