"""What the tutorial holds fixed, and the names of its two networks. Standard library only."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Network(str, enum.Enum):
    """The two networks of the tutorial."""

    MLP = "mlp"
    LENET = "lenet"

    def __str__(self) -> str:
        return self.value


class Hybridize(str, enum.Enum):
    """How Gluon executes the network.

    ``OFF`` is the tutorial: its own imperative blocks, one operator at a time. ``ON`` compiles the hybridizable twin
    into one cached graph; ``STATIC`` also plans its memory once (``static_alloc`` and ``static_shape``).
    """

    OFF = "off"
    ON = "on"
    STATIC = "static"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything about a training that a scenario does not vary. The defaults are the tutorial's."""

    epochs: int = 10
    #: Training images an epoch uses, the first ones of the data set; None: all of them.
    samples: int | None = None
    learning_rate: float = 0.1
    #: ``magnitude`` of ``mx.init.Xavier``; it applies to weights, biases start at zero.
    xavier_magnitude: float = 2.24
    #: Seeds MXNet's generator (initial weights) and NumPy's (the order of the training images).
    seed: int = 42
