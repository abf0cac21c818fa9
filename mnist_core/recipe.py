"""What the tutorial holds fixed, and the names of its two networks. Standard library only."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class Network(str, enum.Enum):
    """The two networks of the tutorial."""

    MLP = "mlp"
    LENET = "lenet"

    def __str__(self) -> str:
        return self.value


class Hybridize(str, enum.Enum):
    """How the framework executes the network; the first four are MXNet's.

    ``OFF`` is the tutorial: its own imperative blocks, one operator at a time. ``ON`` compiles the hybridizable twin
    into one cached graph; ``STATIC`` also plans its memory once (``static_alloc`` and ``static_shape``). ``BOUND``
    leaves Gluon: network, loss and count of right answers are one graph, bound to fixed arrays by MXNet's symbolic
    executor.

    PyTorch's are ``OFF`` (eager) and ``COMPILE`` (``torch.compile``). JAX's are ``JIT``, a step compiled, and ``SCAN``,
    an epoch compiled as one scan over its steps.
    """

    OFF = "off"
    ON = "on"
    STATIC = "static"
    BOUND = "bound"
    COMPILE = "compile"
    JIT = "jit"
    SCAN = "scan"

    def __str__(self) -> str:
        return self.value


class InputPipeline(str, enum.Enum):
    """The source of a batch.

    ``NDARRAYITER`` is the tutorial's iterator, which copies the whole training set in a new order for every epoch.
    ``RESIDENT`` keeps one copy on each device and gathers every batch by a shuffled index. The orders are the same.
    """

    NDARRAYITER = "ndarrayiter"
    RESIDENT = "resident"

    def __str__(self) -> str:
        return self.value


class MetricSync(str, enum.Enum):
    """When the training accuracy is read: after every batch (the tutorial's), or once, counted on the device."""

    BATCH = "batch"
    EPOCH = "epoch"

    def __str__(self) -> str:
        return self.value


class Layers(str, enum.Enum):
    """How the same network is written down. Each adds to the one before; they differ for the LeNet alone.

    ``TUTORIAL`` calls the plain operator ``tanh``; ``ACTIVATION`` the operator ``Activation``, which oneDNN has;
    ``POOL_FIRST`` takes the tanh of the pooled values, a quarter as many: tanh grows with its argument, so that the
    maximum is the same; ``PADDED_8`` and ``PADDED`` fill the channels of the convolutions up with zeros, which stay
    zeros, to multiples of 8 and of 16: the floats in a vector of AVX2 and of AVX-512, for which oneDNN has kernels.
    ``CHANNELS_LAST`` is the peers': they pool first, too, and have the channels of images and weights innermost.
    """

    TUTORIAL = "tutorial"
    ACTIVATION = "activation"
    POOL_FIRST = "pool_first"
    PADDED_8 = "padded_8"
    PADDED = "padded"
    CHANNELS_LAST = "channels_last"

    def __str__(self) -> str:
        return self.value


class Update(str, enum.Enum):
    """How the weights are updated: by ``gluon.Trainer``, or as one array with one addition of scaled gradients."""

    TRAINER = "trainer"
    FLAT = "flat"

    def __str__(self) -> str:
        return self.value


class Kvstore(str, enum.Enum):
    """The place where ``gluon.Trainer`` sums the gradients of several contexts; with one context there is no store.

    A closed list, since ``mx.kv.create`` silently makes a local store of any misspelt name.
    """

    DEVICE = "device"
    LOCAL = "local"

    def __str__(self) -> str:
        return self.value


class Engine(str, enum.Enum):
    """MXNet's engine: ``THREADED`` hands every operation to a thread of its own, ``NAIVE`` does it at once."""

    THREADED = "threaded"
    NAIVE = "naive"

    def __str__(self) -> str:
        return self.value


class Precision(str, enum.Enum):
    """What the products of the layers are computed in; weights, updates, loss and metric are float32 always.

    ``TF32`` is NVIDIA's: the factors of a float32 product are rounded to 10 bits. ``BFLOAT16`` and ``FLOAT16`` round
    them to 7 and 10 bits, and the product as well.
    """

    FLOAT32 = "float32"
    TF32 = "tf32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"

    def __str__(self) -> str:
        return self.value

    @classmethod
    def _missing_(cls, value: object) -> Precision | None:
        """Return what other programs call so; "amp" alone is float16 in some of them and bfloat16 in others."""
        name = _OTHER_NAMES.get(str(value))
        return None if name is None else cls(name)


_OTHER_NAMES: Final = {
    "fp32": "float32",
    "bf16": "bfloat16",
    "amp_bf16": "bfloat16",
    "fp16": "float16",
    "amp_fp16": "float16",
}


@dataclass(frozen=True, slots=True)
class Loop:
    """The parts of the training loop that can be exchanged, without changing what is learnt but by rounding.

    The defaults are the tutorial's.
    """

    hybridize: Hybridize = Hybridize.OFF
    input_pipeline: InputPipeline = InputPipeline.NDARRAYITER
    metric_sync: MetricSync = MetricSync.BATCH
    layers: Layers = Layers.TUTORIAL
    update: Update = Update.TRAINER
    kvstore: Kvstore = Kvstore.DEVICE
    #: Whether the store also updates the weights, in which case every parameter is a Python call of its own.
    update_on_kvstore: bool = True
    precision: Precision = Precision.FLOAT32


MOST_EPOCHS: Final = 1_000_000
MOST_SAMPLES: Final = 1_000_000
MOST_SEED: Final = 2**32 - 1
#: The greatest power of ten that a 32-bit float holds.
_MOST_FACTOR: Final = 1e38


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

    def __post_init__(self) -> None:
        """Raise `ValueError` for what nothing can be trained with."""
        if not 1 <= self.epochs <= MOST_EPOCHS:
            raise ValueError(f"expected 1 to {MOST_EPOCHS:,} epochs")
        if self.samples is not None and not 1 <= self.samples <= MOST_SAMPLES:
            raise ValueError(f"expected 1 to {MOST_SAMPLES:,} samples")
        if not 0 <= self.seed <= MOST_SEED:
            raise ValueError(f"expected a seed from 0 to {MOST_SEED:,}, the greatest that NumPy takes")
        if not (0 < self.learning_rate <= _MOST_FACTOR and 0 < self.xavier_magnitude <= _MOST_FACTOR):
            raise ValueError(f"expected a learning rate and a magnitude above 0, at most {_MOST_FACTOR:g}")
