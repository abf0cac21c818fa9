"""How JAX trains on a batch: networks as functions of their weights, one update, a compiled epoch of updates.

Written for speed: all that a step needs lies on the device and its weights are donated, so that a step is one call; a
pooling is the maximum of four slices, whose gradient is cheaper than a window's; on the CPU a convolution is a matrix
product of patches, since XLA's own is slow there, and inside a loop far slower still.

In types of 16 bits, weights and images are rounded where they are used, and the loss is scaled for float16. Weights,
biases, loss, gradients of weights and update are float32.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from bench.scenarios.axes import Exchange
from bench.scenarios.scenario import Scenario
from bench.worker.backends import common, jax_ranks
from mnist_core.devices import DeviceKind
from mnist_core.recipe import Layers, Network, Precision

#: JAX is not installed where the types are checked.
Array: TypeAlias = Any

# --- the networks, as functions of their weights

Apply: TypeAlias = Callable[[Sequence[Array], Array], Array]


def _mlp(weights: Sequence[Array], images: Array) -> Array:
    first, first_bias, second, second_bias, last, last_bias = weights
    x = jax.nn.relu(_plus(images.reshape(len(images), -1) @ first, first_bias))
    x = jax.nn.relu(_plus(x @ second, second_bias))
    return _plus(x @ last, last_bias)


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
    x = jnp.tanh(_plus(x.reshape(len(x), -1) @ fc1, fc1_bias))
    return jnp.tanh(_plus(x @ fc2, fc2_bias))


def _plus(product: Array, bias: Array) -> Array:
    """Add a bias in float32, so that its gradient, a sum over 57,600 places, is float32; what comes out is as before.

    The sum of so many numbers of bfloat16 is a fifth off.
    """
    return (product + bias).astype(product.dtype)


#: What is computed in types of 16 bits.
TYPES: Final = {Precision.BFLOAT16: jnp.bfloat16, Precision.FLOAT16: jnp.float16}


def task_of(scenario: Scenario) -> Task:
    return Task(
        _network_of(scenario),
        exchanges=scenario.exchange is not Exchange.NONE,
        loss_scale=common.LOSS_SCALE if scenario.precision is Precision.FLOAT16 else 1,
    )


def _network_of(scenario: Scenario) -> Apply:
    """Return the network, whose scores are float32 whatever it computes in."""
    apply, own_type = _float32_network(scenario), TYPES.get(scenario.precision)
    if own_type is None:
        return apply

    def rounded(weights: Sequence[Array], images: Array) -> Array:
        own = [weight if weight.ndim == 1 else weight.astype(own_type) for weight in weights]
        return apply(own, images.astype(own_type)).astype(np.float32)

    return rounded


def _float32_network(scenario: Scenario) -> Apply:
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
    product = lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=numbers)
    return _plus(product, bias[:, None, None])


def _convolved_last(images: Array, kernel: Array, bias: Array) -> Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return _plus(lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=numbers), bias)


def _convolved_by_patches(images: Array, kernel: Array, bias: Array) -> Array:
    height, width = (size - _KERNEL + 1 for size in images.shape[2:])
    patches = jnp.concatenate([images[:, :, i : i + height, j : j + width] for i, j in _OFFSETS], axis=1)
    product = jnp.einsum("nkhw,ko->nohw", patches, kernel.reshape(patches.shape[1], -1))
    return _plus(product, bias[:, None, None])


def _convolved_by_patches_last(images: Array, kernel: Array, bias: Array) -> Array:
    height, width = (size - _KERNEL + 1 for size in images.shape[1:3])
    patches = jnp.concatenate([images[:, i : i + height, j : j + width] for i, j in _OFFSETS], axis=3)
    return _plus(patches @ kernel.reshape(patches.shape[3], -1), bias)


_OFFSETS = [(i, j) for i in range(_KERNEL) for j in range(_KERNEL)]


def _pooled(x: Array, height_axis: int) -> Array:
    """Maxima of 2 x 2, of the axis and the next."""
    for axis in (height_axis, height_axis + 1):
        even, odd = (lax.slice_in_dim(x, first, None, 2, axis) for first in (0, 1))
        x = jnp.maximum(even, odd)
    return x


def own_form(weights: Sequence[NDArray[np.float32]], layers: Layers) -> list[NDArray[np.float32]]:
    """`common.initial_weights` as the networks here take them.

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


def common_form(weights: Sequence[NDArray[np.float32]], layers: Layers) -> list[NDArray[np.float32]]:
    """Return new arrays in the form of `common.initial_weights`: the way back from `own_form`."""
    given = []
    for weight in weights:
        if weight.ndim == len("HWIO"):
            given.append(weight.transpose(3, 2, 0, 1).copy())
        elif weight.shape[:-1] == (math.prod(common.FLATTENED),) and layers is Layers.CHANNELS_LAST:
            channels, *sides = common.FLATTENED
            given.append(weight.reshape(*sides, channels, -1).transpose(3, 2, 0, 1).reshape(weight.shape[::-1]))
        else:
            given.append(weight.T.copy())
    return given


# --- a step


class State(NamedTuple):
    """What a step takes over and gives back, all on the device."""

    weights: list[Array]
    #: (): the next batch's row in `Rows.index`.
    row: Array
    #: (): right answers so far.
    correct: Array


class Data(NamedTuple):
    """A data set, with a copy on each device."""

    images: Array
    labels: Array


class Rows(NamedTuple):
    """Batches of one size."""

    #: (batches, n): where the images of each lie in the data set, one device's after the other's.
    index: Array
    #: (n,): 0 where a device has one image fewer than the first; None: no device has.
    mask: Array | None


class Task(NamedTuple):
    """What is trained, and how."""

    apply: Apply
    #: Whether the gradients are added up over ranks, each of which has one device.
    exchanges: bool
    #: By what the loss is multiplied for the gradients' way.
    loss_scale: int


def _updated(
    task: Task, size: int, state: State, rate: Array, data: Data, index: Array, mask: Array | None
) -> tuple[State, Array]:
    """One update on the batch at the index, and the mean loss of the batch; of a rank, its part of that."""
    labels = _at(data.labels, index)

    def loss_of(weights: Sequence[Array]) -> tuple[Array, tuple[Array, Array]]:
        scores = task.apply(weights, _at(data.images, index))
        losses = -(jax.nn.one_hot(labels, 10) * jax.nn.log_softmax(scores)).sum(1)
        loss = _real(losses, mask).sum() / size
        return loss * task.loss_scale, (loss, _real(scores.argmax(1) == labels, mask).sum(dtype=np.int32))

    (_, (loss, correct)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.weights)
    if task.exchanges:
        gradients = jax_ranks.summed(gradients)
    rate = rate / task.loss_scale
    weights = [weight - rate * gradient for weight, gradient in zip(state.weights, gradients, strict=True)]
    return State(weights, state.row + 1, state.correct + correct), loss


def _at(array: Array, index: Array) -> Array:
    return array.at[index].get(mode="promise_in_bounds")


def _real(values: Array, mask: Array | None) -> Array:
    return values if mask is None else values * mask


def step(task: Task, size: int, state: State, rate: Array, data: Data, rows: Rows) -> tuple[State, Array]:
    index = lax.dynamic_index_in_dim(rows.index, state.row, keepdims=False)
    return _updated(task, size, state, rate, data, index, rows.mask)


def scan(task: Task, size: int, state: State, rate: Array, data: Data, rows: Rows) -> tuple[State, Array]:
    def body(carried: tuple[State, Array], index: Array) -> tuple[tuple[State, Array], None]:
        state, _ = carried
        return _updated(task, size, state, rate, data, index, rows.mask), None

    (state, loss), _ = lax.scan(body, (state, jnp.float32(0)), rows.index)
    return state, loss


def count(apply: Apply, correct: Array, weights: Sequence[Array], data: Data, rows: Rows, row: int) -> Array:
    """`correct` and the right answers of one row."""
    index = lax.dynamic_index_in_dim(rows.index, row, keepdims=False)
    right = apply(weights, _at(data.images, index)).argmax(1) == _at(data.labels, index)
    return correct + _real(right, rows.mask).sum(dtype=np.int32)
