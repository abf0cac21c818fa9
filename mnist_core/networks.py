"""The tutorial's two networks, and the twin of each that Gluon can compile.

The tutorial's MLP is a `Sequential` and its LeNet a `Block` that calls `mx.nd` itself: `hybridize()` does next to
nothing for either. The twins hold the same layers and operators in `HybridSequential` and `HybridBlock`, and give the
same bits.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from mnist_core.idx import CLASSES, SIDE
from mnist_core.mxnet_border import gluon, mx, nd
from mnist_core.recipe import Hybridize, Layers, Network, Precision

nn = gluon.nn

#: MXNet has no types: a Gluon `Block` or `HybridBlock`, an `NDArray` or `Symbol`, and `mx.nd` or `mx.sym`.
Block: TypeAlias = Any
Array: TypeAlias = Any
Operators: TypeAlias = Any

DType: TypeAlias = np.dtype[Any]


#: Images that a user's own network is tried out with.
_TRIED: Final = 2


class NetworkError(Exception):
    """A network that cannot be built as asked; one line."""


@dataclass(frozen=True, slots=True)
class LayerMaker:
    """Makes the layers that have weights: Gluon's own, or those that compute in a type of 16 bits."""

    #: None: float32, which on a GPU may be computed as TF32; that is the environment's.
    computed_in: DType | None = None

    def dense(self, units: int, activation: str | None = None) -> Block:
        """Return a fully connected layer, and its activation."""
        if self.computed_in is None:
            return nn.Dense(units, activation=activation)
        return _CastDense(units, activation=activation, computed_in=self.computed_in)

    def convolution(self, filters: int) -> Block:
        """Return a layer of 5x5 convolutions."""
        if self.computed_in is None:
            return nn.Conv2D(filters, kernel_size=(5, 5))
        return _CastConv2D(filters, kernel_size=(5, 5), computed_in=self.computed_in)


class _CastDense(nn.Dense):  # type: ignore[misc,name-defined]  # MXNet has no types
    """A fully connected layer whose factors are rounded to another type, and its activation in float32."""

    def __init__(self, units: int, *, computed_in: DType, **arguments: Any) -> None:  # noqa: ANN401  # as above
        super().__init__(units, **arguments)
        self._computed_in = computed_in

    def hybrid_forward(self, F: Operators, x: Array, weight: Array, bias: Array) -> Array:  # noqa: N803  # Gluon's name
        rounded = [F.amp_cast(each, dtype=self._computed_in) for each in (x, weight, bias)]
        product = F.amp_cast(F.FullyConnected(*rounded, num_hidden=self._units), dtype="float32")
        return product if self.act is None else self.act(product)


class _CastConv2D(nn.Conv2D):  # type: ignore[misc,name-defined]  # MXNet has no types
    """A convolution whose factors are rounded to another type."""

    def __init__(self, filters: int, *, computed_in: DType, **arguments: Any) -> None:  # noqa: ANN401  # as above
        super().__init__(filters, **arguments)
        self._computed_in = computed_in

    def hybrid_forward(self, F: Operators, x: Array, weight: Array, bias: Array) -> Array:  # noqa: N803  # Gluon's name
        rounded = [F.amp_cast(each, dtype=self._computed_in) for each in (x, weight, bias)]
        return F.amp_cast(super().hybrid_forward(F, *rounded), dtype="float32")


#: What layers cast to; of the other precisions they cast nothing.
COMPUTED_IN: Final = {
    Precision.BFLOAT16: np.dtype([("bfloat16", np.uint16)]),  # MXNet's name for it: NumPy has none
    Precision.FLOAT16: np.dtype(np.float16),
}
_FLOAT32: Final = LayerMaker()


def build_mlp(layers: LayerMaker = _FLOAT32) -> Block:
    """The tutorial's MLP: (n, 1, 28, 28) or (n, 784) -> (n, 10); 109,386 parameters."""
    return _add_mlp_layers(nn.Sequential(), layers)


def build_hybrid_mlp(layers: LayerMaker = _FLOAT32) -> Block:
    """The MLP's compilable twin."""
    return _add_mlp_layers(nn.HybridSequential(), layers)


def _add_mlp_layers(net: Block, layers: LayerMaker) -> Block:
    with net.name_scope():
        net.add(layers.dense(128, activation="relu"))
        net.add(layers.dense(64, activation="relu"))
        net.add(layers.dense(10))
    return net


def build_lenet(layers: LayerMaker = _FLOAT32) -> Block:
    """The tutorial's LeNet: (n, 1, 28, 28) -> (n, 10); 431,080 parameters. tanh follows every layer, the last too."""
    return _LeNet(layers)


def build_hybrid_lenet(layers: LayerMaker = _FLOAT32) -> Block:
    """The LeNet's compilable twin."""
    return _HybridLeNet(layers)


#: Filters of the LeNet's two convolutions.
_FILTERS = (20, 50)
#: The same, filled up to whole vectors of 8 or 16 floats: what oneDNN's kernels for convolutions take, those of AVX2
#: and those of AVX-512. Others multiply matrices that are copied together first.
_PADDED_FILTERS = {Layers.PADDED_8: (24, 56), Layers.PADDED: (32, 64)}


def _add_lenet_layers(net: Block, layers: LayerMaker, filters: tuple[int, int] = _FILTERS) -> None:
    with net.name_scope():
        net.conv1 = layers.convolution(filters[0])
        net.pool1 = nn.MaxPool2D(pool_size=(2, 2), strides=(2, 2))
        net.conv2 = layers.convolution(filters[1])
        net.pool2 = nn.MaxPool2D(pool_size=(2, 2), strides=(2, 2))
        net.fc1 = layers.dense(500)
        net.fc2 = layers.dense(10)


class _LeNet(gluon.Block):  # type: ignore[misc]  # MXNet has no types
    def __init__(self, layers: LayerMaker) -> None:
        super().__init__()
        _add_lenet_layers(self, layers)

    def forward(self, x: Array) -> Array:
        x = self.pool1(nd.tanh(self.conv1(x)))
        x = self.pool2(nd.tanh(self.conv2(x)))
        x = x.reshape((0, -1))  # 0 keeps the batch axis, -1 flattens the rest
        x = nd.tanh(self.fc1(x))
        return nd.tanh(self.fc2(x))


class _HybridLeNet(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    def __init__(self, layers: LayerMaker) -> None:
        super().__init__()
        _add_lenet_layers(self, layers)

    def hybrid_forward(self, F: Operators, x: Array) -> Array:  # noqa: N803  # Gluon's name for "nd or sym"
        x = self.pool1(F.tanh(self.conv1(x)))
        x = self.pool2(F.tanh(self.conv2(x)))
        x = x.reshape((0, -1))
        x = F.tanh(self.fc1(x))
        return F.tanh(self.fc2(x))


class _RewrittenLeNet(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    """The LeNet in other operators, see `Layers`: the same function of the same weights."""

    def __init__(self, layers: Layers, maker: LayerMaker) -> None:
        super().__init__()
        self._layers = layers
        _add_lenet_layers(self, maker, _PADDED_FILTERS.get(layers, _FILTERS))

    def hybrid_forward(self, F: Operators, x: Array) -> Array:  # noqa: N803  # Gluon's name for "nd or sym"
        def tanh(values: Array) -> Array:
            return F.Activation(values, act_type="tanh")

        if self._layers is Layers.ACTIVATION:
            x = self.pool1(tanh(self.conv1(x)))
            x = self.pool2(tanh(self.conv2(x)))
        else:
            x = tanh(self.pool1(self.conv1(x)))
            x = tanh(self.pool2(self.conv2(x)))
        if is_padded(self._layers):
            x = F.slice_axis(x, axis=1, begin=0, end=_FILTERS[1])
        x = x.reshape((0, -1))
        x = tanh(self.fc1(x))
        return tanh(self.fc2(x))


def is_padded(layers: Layers) -> bool:
    """Whether the LeNet has filters of zeros beside its own."""
    return layers in _PADDED_FILTERS


def copy_padded(source: Block, target: Block) -> None:
    """The weights of one LeNet into one with more filters, which get zeros.

    They stay zeros: what they put out is 0, so that the weights behind them get no gradient, and those are zeros too,
    so that none comes back.
    """
    for small, large in zip(source.collect_params().values(), target.collect_params().values(), strict=True):
        padded = nd.zeros(large.shape)
        padded[tuple(slice(0, size) for size in small.shape)] = small.data().as_in_context(padded.context)
        large.set_data(padded)


_BUILDERS: dict[tuple[str, bool], Callable[[LayerMaker], Block]] = {
    (Network.MLP, False): build_mlp,
    (Network.MLP, True): build_hybrid_mlp,
    (Network.LENET, False): build_lenet,
    (Network.LENET, True): build_hybrid_lenet,
}


def build(
    network: str,
    hybridize: Hybridize,
    layers: Layers = Layers.TUTORIAL,
    precision: Precision = Precision.FLOAT32,
) -> Block:
    """The network a scenario names, not yet initialized; compiled on first use unless `hybridize` is off.

    `network` is "mlp", "lenet", or "package.module:factory": a function without arguments that returns a Gluon block
    for (n, 1, 28, 28) images in 0..1, in float32. `layers` other than the tutorial's are the LeNet's. Raises
    `NetworkError` when it cannot be imported, called or hybridized.
    """
    compiled = hybridize is not Hybridize.OFF
    maker = LayerMaker(COMPUTED_IN.get(precision))
    if layers is not Layers.TUTORIAL:
        if network != Network.LENET:
            raise NetworkError(f"{network}: layers={layers} is for the lenet alone")
        net = _RewrittenLeNet(layers, maker)
    else:
        net = build_own(network) if ":" in network else _BUILDERS[network, compiled](maker)
    if compiled:
        if not isinstance(net, gluon.HybridBlock):
            raise NetworkError(f"{network}: hybridize={hybridize} needs a HybridBlock, not a {type(net).__name__}")
        static = hybridize is not Hybridize.ON  # a bound network is still evaluated as a Gluon one
        net.hybridize(static_alloc=static, static_shape=static)
    return net


def build_own(reference: str) -> Block:
    """Import "package.module:factory" and call it."""
    module_name, _, factory_name = reference.partition(":")
    try:
        net = getattr(importlib.import_module(module_name), factory_name)()
    except Exception as error:  # a stranger's code may raise anything
        raise NetworkError(f"{reference}: {_cause(error)}") from error
    if not isinstance(net, gluon.Block):
        raise NetworkError(f"{reference}: returned a {type(net).__name__}, not a Gluon Block")
    if any(map(_is_initialized, net.collect_params().values())):
        raise NetworkError(
            f"{reference}: is initialized already: return it without initialize(), so that each run draws its weights "
            "by the seed, on its own devices"
        )
    return net


def _is_initialized(parameter: Any) -> bool:  # noqa: ANN401  # MXNet has no types
    try:
        parameter.list_ctx()
    except RuntimeError:
        return False
    return True


def fault_of(reference: str, *, compiled: bool) -> str | None:
    """Return why a custom network cannot be trained on digits, in one line; None if two images went through it.

    A network with too few scores would train, and look like one that does not learn. `compiled`: it will be hybridized.
    """
    try:
        net = build_own(reference)
        if compiled and not isinstance(net, gluon.HybridBlock):
            return f"{reference}: is a {type(net).__name__} and no HybridBlock: --hybridize off measures what it can do"
        net.initialize(mx.init.Xavier(), ctx=mx.cpu())
        scores = net(nd.zeros((_TRIED, 1, SIDE, SIDE)))
        shape = getattr(scores, "shape", None)
        mx.nd.waitall()
    except NetworkError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  # as above
        return f"{reference}: with {_TRIED} images: {_cause(error)}"
    if shape != (_TRIED, CLASSES):
        found = f"a {type(scores).__name__}" if shape is None else shape
        return f"{reference}: gives {found} for {_TRIED} images, and must give {(_TRIED, CLASSES)}: a score per digit"
    return None


def _cause(error: Exception) -> str:
    """What was raised, and where in the user's own files."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    # MXNet's errors bring their stack along, or are one, which ends with what happened.
    words = lines[-1].strip() if lines[0].startswith("Traceback") else lines[0]
    here, ours = Path.cwd(), Path(__file__).parent
    places = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [
        f" ({file.relative_to(here)}, line {line})"
        for file, line in places
        if file.is_relative_to(here) and not file.is_relative_to(ours) and "site-packages" not in file.parts
    ]
    where = own[-1] if own else ""
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = ": modules are looked for in the current folder and in PYTHONPATH"
    return f"{type(error).__name__}: {words}{hint}{where}"
