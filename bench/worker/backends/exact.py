"""The tutorial's networks in float64, by NumPy alone: outputs and gradient that the frameworks' are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mnist_core.recipe import Network

#: (n, …) of float64.
Values = NDArray[np.float64]
#: Images that are computed at a time: what a convolution multiplies for them takes 13 MB.
_AT_ONCE: Final = 50
_KERNEL: Final = 5


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a network computes of some images."""

    #: (n, 10).
    scores: Values
    #: Of the mean loss: the gradients of all weights and biases, one after the other.
    gradient: Values


def evaluate(
    network: str, weights: Sequence[NDArray[np.float32]], images: NDArray[np.float32], labels: NDArray[np.uint8]
) -> Evaluated:
    """Evaluate a network on images (n, 1, 28, 28) with weights as `base.Workload.weights` returns them."""
    exact = [weight.astype(np.float64) for weight in weights]
    of_network = _mlp if network == Network.MLP else _lenet
    scores, gradients = [], [np.zeros_like(weight) for weight in exact]
    for begin in range(0, len(images), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        own_scores, own_gradients = of_network(exact, images[part].astype(np.float64), labels[part])
        scores.append(own_scores)
        for total, own in zip(gradients, own_gradients, strict=True):
            total += own / len(images)
    return Evaluated(np.concatenate(scores), np.concatenate([gradient.ravel() for gradient in gradients]))


def _mlp(weights: Sequence[Values], images: Values, labels: NDArray[np.uint8]) -> tuple[Values, list[Values]]:
    """Return the scores, and the gradients of the summed loss."""
    w1, b1, w2, b2, w3, b3 = weights
    x0 = images.reshape(len(images), -1)
    x1 = np.maximum(x0 @ w1.T + b1, 0)
    x2 = np.maximum(x1 @ w2.T + b2, 0)
    scores = x2 @ w3.T + b3
    d3 = _loss_gradient(scores, labels)
    d2 = (d3 @ w3) * (x2 > 0)
    d1 = (d2 @ w2) * (x1 > 0)
    return scores, [d1.T @ x0, d1.sum(0), d2.T @ x1, d2.sum(0), d3.T @ x2, d3.sum(0)]


def _lenet(weights: Sequence[Values], images: Values, labels: NDArray[np.uint8]) -> tuple[Values, list[Values]]:
    """Return the same of the LeNet, whose tanh follows every layer, the last too."""
    k1, c1, k2, c2, w3, b3, w4, b4 = weights
    p1 = _patches(images)
    x1, chosen1 = _pooled(np.tanh(_convolved(p1, k1, c1)))
    p2 = _patches(x1)
    x2, chosen2 = _pooled(np.tanh(_convolved(p2, k2, c2)))
    flat = x2.reshape(len(x2), -1)
    x3 = np.tanh(flat @ w3.T + b3)
    scores = np.tanh(x3 @ w4.T + b4)
    d4 = _loss_gradient(scores, labels) * (1 - scores**2)
    d3 = (d4 @ w4) * (1 - x3**2)
    d2 = _unpooled((d3 @ w3).reshape(x2.shape) * (1 - x2**2), chosen2)
    d1 = _unpooled(_input_gradient(d2, k2) * (1 - x1**2), chosen1)
    return scores, [
        *_kernel_gradients(d1, p1, k1),
        *_kernel_gradients(d2, p2, k2),
        *(d3.T @ flat, d3.sum(0)),
        *(d4.T @ x3, d4.sum(0)),
    ]


def _loss_gradient(scores: Values, labels: NDArray[np.uint8]) -> Values:
    """Return the gradient of the summed cross entropy of a softmax."""
    odds = np.exp(scores - scores.max(1, keepdims=True))
    gradient: Values = odds / odds.sum(1, keepdims=True)
    gradient[np.arange(len(labels)), labels] -= 1
    return gradient


def _patches(x: Values) -> Values:
    """Return (n, height, width, channels x 25): what a kernel of 5x5 meets at each place."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (_KERNEL, _KERNEL), axis=(2, 3))
    n, _channels, height, width = windows.shape[:4]
    return np.ascontiguousarray(windows.transpose(0, 2, 3, 1, 4, 5)).reshape(n, height, width, -1)


def _convolved(patches: Values, kernel: Values, bias: Values) -> Values:
    """Return (n, filters, height, width)."""
    return np.moveaxis(patches @ kernel.reshape(len(kernel), -1).T + bias, 3, 1)


def _pooled(x: Values) -> tuple[Values, Values]:
    """Return the maxima of 2x2, and (n, channels, height, width, 4): 1 where the first maximum of each is."""
    n, channels, height, width = x.shape
    fours = x.reshape(n, channels, height // 2, 2, width // 2, 2).transpose(0, 1, 2, 4, 3, 5)
    fours = fours.reshape(n, channels, height // 2, width // 2, 4)
    return fours.max(4), np.eye(4)[fours.argmax(4)]


def _unpooled(gradient: Values, chosen: Values) -> Values:
    """Return the gradient of what was pooled: that of each maximum at its place."""
    n, channels, height, width = gradient.shape
    spread = (gradient[..., np.newaxis] * chosen).reshape(n, channels, height, width, 2, 2)
    return spread.transpose(0, 1, 2, 4, 3, 5).reshape(n, channels, 2 * height, 2 * width)


def _kernel_gradients(gradient: Values, patches: Values, kernel: Values) -> tuple[Values, Values]:
    """Return the gradients of a kernel and of its bias, from that of what they put out."""
    of_each = np.moveaxis(gradient, 1, 3).reshape(-1, len(kernel))
    return (of_each.T @ patches.reshape(len(of_each), -1)).reshape(kernel.shape), of_each.sum(0)


def _input_gradient(gradient: Values, kernel: Values) -> Values:
    """Return the gradient of a convolution's input: the full convolution with the kernel turned around."""
    border = ((0, 0), (0, 0), (_KERNEL - 1, _KERNEL - 1), (_KERNEL - 1, _KERNEL - 1))
    turned = kernel[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    return _convolved(_patches(np.pad(gradient, border)), turned, np.zeros(len(turned)))
