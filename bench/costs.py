"""What training on an image costs at least, derived from the shapes of the layers. Numbers only, no framework.

Only what no implementation can do without is counted, so that rates made of it are achieved ones, and comparable:
filling channels up with zeros, copies and accumulators add to the time, never to the cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mnist_core.recipe import Network

_FLOAT_BYTES: Final = 4
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
    """`side`: of the square that a filter puts out."""
    weights = filters * channels * kernel**2
    return Layer(weights * side**2, weights + filters, filters * side**2)


def _pooling(channels: int, side: int) -> Layer:
    return Layer(0, 0, channels * side**2)


@dataclass(frozen=True, slots=True)
class Costs:
    """Of one network. Biases, activations, pooling, loss and update are not counted as operations, only as moves."""

    layers: tuple[Layer, ...]

    @property
    def flop_per_image(self) -> int:
        """Of a training step: forward, the weights' gradients, and the inputs' but for the first layer's.

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
    def activations(self) -> int:
        """Numbers that all layers put out for an image."""
        return sum(layer.outputs for layer in self.layers)

    def update_bytes(self, images: float, contexts: int) -> float:
        """The fewest bytes a step on so many images (a mean of batches) moves between arithmetic and arrays.

        Every context has a copy of the weights: read forward, read backward (but for the first layer's) and written by
        the update. It writes a gradient, which the update reads. The update also reads one copy of the weights.
        """
        of_weights = contexts * (5 * self.parameters - self.layers[0].parameters) + self.parameters
        of_images = images * (_MOVES_OF_AN_IMAGE * _IMAGE_FLOATS + _MOVES_OF_AN_OUTPUT * self.activations)
        return _FLOAT_BYTES * (of_weights + of_images)

    def working_set_bytes(self, images: float, contexts: int) -> float:
        """What the same step touches, each array once: weights, activations, the gradients of both, and the batch."""
        per_image = _IMAGE_FLOATS + 2 * self.activations
        return _FLOAT_BYTES * (2 * contexts * self.parameters + images * per_image)


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


def costs_of(network: str) -> Costs | None:
    """None for a user's own network: its layers are not known here."""
    return _COSTS.get(network)
