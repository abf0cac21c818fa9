"""The two networks in float64 NumPy, from their mathematics alone: forward, loss, gradients and one step of SGD.

The probe of numerics compares frameworks with it, and so do the tests of `mnist_core`. Nothing here knows a framework.
Every operation is a function of its input that returns its output and the way back: a function from the loss's gradient
by the output to its gradients by the input and by the operation's own weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import starmap
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mnist_core.recipe import Network

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]


class Layer(NamedTuple):
    """What one layer learns, or the loss's gradient by it: (outputs, inputs…) and (outputs,)."""

    weight: Floats
    bias: Floats


#: In the order of the forward pass.
Weights: TypeAlias = tuple[Layer, ...]
Backward: TypeAlias = Callable[[Floats], tuple[Floats, Layer | None]]
Operation: TypeAlias = Callable[[Floats], tuple[Floats, Backward]]
#: Images that `evaluate` computes at a time: what a convolution multiplies for them takes 13 MB.
_AT_ONCE: Final = 50


def layers(arrays: Iterable[NDArray[np.floating[Any]]]) -> Weights:
    """Return layers from weight, bias, weight, bias, …"""
    doubles = [array.astype(np.float64) for array in arrays]
    return tuple(starmap(Layer, zip(doubles[::2], doubles[1::2], strict=True)))


class Evaluated(NamedTuple):
    """What a network computes of some images."""

    #: (n, 10).
    scores: Floats
    #: Of the mean loss by every weight and bias, one after the other.
    gradient: Floats


def evaluate(
    network: Network,
    arrays: Iterable[NDArray[np.floating[Any]]],
    images: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]],
) -> Evaluated:
    """Compute scores and gradient of (n, 1, 28, 28) images, a part of them at a time."""
    weights = layers(arrays)
    scores: list[Floats] = []
    gradient: Floats = np.zeros(sum(layer.weight.size + layer.bias.size for layer in weights))
    for begin in range(0, len(images), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        own_images, own_labels = images[part].astype(np.float64), labels[part].astype(np.int64)
        outputs, backward = _run(_OPERATIONS[network](weights), own_images)
        own = backward(_losses_gradient(outputs, own_labels) / len(images))
        gradient += np.concatenate([each.ravel() for layer in own for each in layer])
        scores.append(outputs)
    return Evaluated(np.concatenate(scores), gradient)


def forward(network: Network, weights: Weights, images: Floats) -> Floats:
    """Compute the scores: (n, 1, 28, 28) -> (n, 10)."""
    outputs, _ = _run(_OPERATIONS[network](weights), images)
    return outputs


def losses(outputs: Floats, labels: Integers) -> Floats:
    """Return -log of the softmax's share for its label, for each image."""
    chosen: Floats = _log_softmax(outputs)[np.arange(len(labels)), labels]
    return -chosen


def gradients(network: Network, weights: Weights, images: Floats, labels: Integers) -> Weights:
    """Return the gradients of the images' mean loss by every weight."""
    outputs, backward = _run(_OPERATIONS[network](weights), images)
    return backward(_losses_gradient(outputs, labels) / len(labels))


def _losses_gradient(outputs: Floats, labels: Integers) -> Floats:
    """Return the gradient of the summed loss by every output."""
    gradient = np.exp(_log_softmax(outputs))
    gradient[np.arange(len(labels)), labels] -= 1
    return gradient


def sgd_step(
    network: Network, weights: Weights, images: Floats, labels: Integers, *, learning_rate: float = 0.1
) -> Weights:
    """Return the weights after one step down the gradient of the images' mean loss."""
    steps = gradients(network, weights, images, labels)
    return tuple(
        Layer(layer.weight - learning_rate * step.weight, layer.bias - learning_rate * step.bias)
        for layer, step in zip(weights, steps, strict=True)
    )


def _mlp(weights: Weights) -> Sequence[Operation]:
    first, second, third = weights
    return [partial(_dense, first), _relu, partial(_dense, second), _relu, partial(_dense, third)]


def _lenet(weights: Weights) -> Sequence[Operation]:
    first, second, third, fourth = weights
    return [
        *(partial(_convolution, first, is_first=True), _tanh, _max_pool),
        *(partial(_convolution, second), _tanh, _max_pool),
        *(partial(_dense, third), _tanh),
        *(partial(_dense, fourth), _tanh),
    ]


_OPERATIONS: dict[Network, Callable[[Weights], Sequence[Operation]]] = {Network.MLP: _mlp, Network.LENET: _lenet}


def _run(operations: Sequence[Operation], x: Floats) -> tuple[Floats, Callable[[Floats], Weights]]:
    """Return the last output, and the way from its gradient to the gradients by all weights."""
    backwards: list[Backward] = []
    for operation in operations:
        x, backward = operation(x)
        backwards.append(backward)

    def backward_through_all(gradient: Floats) -> Weights:
        layers: list[Layer] = []
        for backward in reversed(backwards):
            gradient, layer = backward(gradient)
            if layer is not None:
                layers.append(layer)
        return tuple(reversed(layers))

    return x, backward_through_all


def _dense(layer: Layer, x: Floats) -> tuple[Floats, Backward]:
    rows = x.reshape(len(x), -1)

    def backward(gradient: Floats) -> tuple[Floats, Layer]:
        by_input = (gradient @ layer.weight).reshape(x.shape)
        return by_input, Layer(gradient.T @ rows, gradient.sum(axis=0))

    return rows @ layer.weight.T + layer.bias, backward


def _convolution(layer: Layer, x: Floats, *, is_first: bool = False) -> tuple[Floats, Backward]:
    """Correlate, as networks do: each output is the product of a window and the kernel, which is not flipped.

    Of the first operation nobody asks for the gradient by its input, which is a third of its work.
    """
    outputs, inputs, kernel_rows, kernel_columns = layer.weight.shape
    rows, columns = x.shape[2] - kernel_rows + 1, x.shape[3] - kernel_columns + 1
    # Each place of the kernel meets a shifted view of the input. n: image, i: input, p: place, o: output, r, c: pixel.
    views = [
        np.s_[:, :, row : row + rows, column : column + columns]
        for row, column in np.ndindex(kernel_rows, kernel_columns)
    ]
    windows = np.stack([x[view] for view in views], axis=2)
    kernel = layer.weight.reshape(outputs, inputs, len(views))
    y: Floats = np.einsum("niprc,oip->norc", windows, kernel, optimize=True)

    def backward(gradient: Floats) -> tuple[Floats, Layer]:
        by_kernel: Floats = np.einsum("norc,niprc->oip", gradient, windows, optimize=True)
        weights = Layer(by_kernel.reshape(layer.weight.shape), gradient.sum(axis=(0, 2, 3)))
        if is_first:
            return np.empty(0), weights
        by_windows: Floats = np.einsum("norc,oip->niprc", gradient, kernel, optimize=True)
        by_input = np.zeros_like(x)
        for place, view in enumerate(views):
            by_input[view] += by_windows[:, :, place]
        return by_input, weights

    return y + layer.bias[:, np.newaxis, np.newaxis], backward


def _max_pool(x: Floats) -> tuple[Floats, Backward]:
    """Take the maximum of every 2x2 block, which alone has a gradient; of equal ones the first."""
    images, channels, rows, columns = x.shape
    blocks = x.reshape(images, channels, rows // 2, 2, columns // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    flat = blocks.reshape(images, channels, rows // 2, columns // 2, 4)
    chosen = flat.argmax(axis=-1)[..., np.newaxis]

    def backward(gradient: Floats) -> tuple[Floats, None]:
        by_flat = np.zeros_like(flat)
        np.put_along_axis(by_flat, chosen, gradient[..., np.newaxis], axis=-1)
        return by_flat.reshape(blocks.shape).transpose(0, 1, 2, 4, 3, 5).reshape(x.shape), None

    return np.take_along_axis(flat, chosen, axis=-1)[..., 0], backward


def _tanh(x: Floats) -> tuple[Floats, Backward]:
    y = np.tanh(x)
    return y, lambda gradient: (gradient * (1 - y**2), None)


def _relu(x: Floats) -> tuple[Floats, Backward]:
    return np.maximum(x, 0), lambda gradient: (gradient * (x > 0), None)


def _log_softmax(x: Floats) -> Floats:
    shifted: Floats = x - x.max(axis=1, keepdims=True)
    return np.subtract(shifted, np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
