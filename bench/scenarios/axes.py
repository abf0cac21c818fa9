"""The axes of a scenario: what each framework can do on them, and the loops that have a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from bench import suggest
from bench.enums import StrEnum
from bench.errors import ConfigurationError
from mnist_core.devices import DeviceError, DeviceKind, parse_devices
from mnist_core.recipe import Engine, Hybridize, InputPipeline, Layers, MetricSync, Network, Precision, Update

#: A suite's word for "the devices of this machine", resolved by `expand`.
AUTO_CONTEXTS = "auto"
#: And its word for as many ranks as there are machines.
AUTO_RANKS: Final = "auto"
AutoRanks: TypeAlias = Literal["auto"]


class Framework(StrEnum):
    """MXNet, whose tutorial is measured, and its peers: the same networks and recipe, see results/PEERS.md."""

    MXNET = "mxnet"
    TORCH = "torch"
    JAX = "jax"


class Exchange(StrEnum):
    """How ranks exchange gradients: through an engine of their framework, or not at all.

    Without an exchange each rank computes the same steps and updates its own weights: the baseline that has no network
    in it. `DIST_…` are MXNet's parameter server, `GLOO` is the all-reduce of PyTorch and JAX, `NCCL` of PyTorch. A
    closed list, since MXNet silently makes a local store of any misspelt name.
    """

    NONE = "none"
    DIST_SYNC = "dist_sync"
    DIST_ASYNC = "dist_async"
    DIST_SYNC_DEVICE = "dist_sync_device"
    GLOO = "gloo"
    NCCL = "nccl"

    @property
    def has_servers(self) -> bool:
        """Whether the gradients go through processes of their own."""
        return self in {Exchange.DIST_SYNC, Exchange.DIST_ASYNC, Exchange.DIST_SYNC_DEVICE}

    @property
    def is_synchronous(self) -> bool:
        """Whether all ranks have the same weights after every update."""
        return self not in {Exchange.NONE, Exchange.DIST_ASYNC}


class Compression(StrEnum):
    """What ranks send of their gradients to MXNet's servers: all, or two bits for each number.

    `TWO_BIT` sends the threshold, its negative or nothing, and adds what it left out to the next gradient. The weights
    come back whole.
    """

    NONE = "none"
    TWO_BIT = "2bit"


class LoopName(StrEnum):
    """Loops with a name: the tutorial's, and the fastest that is known for a network on a kind of device."""

    TUTORIAL = "tutorial"
    TUNED = "tuned"


#: What each framework can do; all layers but the first are the LeNet's. A peer's first way to execute, lay out or
#: update is what its own documentation writes, and its last is the fastest.
CHOICES: dict[Framework, dict[str, tuple[Any, ...]]] = {
    Framework.MXNET: {
        "hybridize": (Hybridize.OFF, Hybridize.ON, Hybridize.STATIC, Hybridize.BOUND),
        "layers": (Layers.TUTORIAL, Layers.ACTIVATION, Layers.POOL_FIRST, Layers.PADDED_8, Layers.PADDED),
        "update": (Update.TRAINER, Update.FLAT),
        "exchange": (Exchange.NONE, Exchange.DIST_SYNC, Exchange.DIST_ASYNC, Exchange.DIST_SYNC_DEVICE),
    },
    Framework.TORCH: {
        "hybridize": (Hybridize.OFF, Hybridize.COMPILE),
        "layers": (Layers.TUTORIAL, Layers.CHANNELS_LAST),
        "update": (Update.TRAINER, Update.FLAT),
        "exchange": (Exchange.NONE, Exchange.GLOO, Exchange.NCCL),
    },
    Framework.JAX: {
        "hybridize": (Hybridize.JIT, Hybridize.SCAN),
        "layers": (Layers.TUTORIAL, Layers.CHANNELS_LAST),
        "update": (Update.TRAINER,),
        "exchange": (Exchange.NONE, Exchange.GLOO),
    },
}

#: What a framework does not compute in on a kind of device: why, and what to use instead.
NOT_COMPUTED: Final[Mapping[tuple[Framework, DeviceKind, Precision], str]] = {
    **{
        (framework, DeviceKind.CPU, Precision.TF32): "TF32 is of NVIDIA's GPUs: on a CPU use precision=bfloat16"
        for framework in Framework
    },
    (
        Framework.MXNET,
        DeviceKind.CPU,
        Precision.FLOAT16,
    ): "MXNet multiplies no float16 on a CPU: use precision=bfloat16",
    (Framework.MXNET, DeviceKind.GPU, Precision.BFLOAT16): "MXNet has no bfloat16 on a GPU: use precision=float16",
    (Framework.JAX, DeviceKind.CPU, Precision.FLOAT16): "JAX multiplies float16 in float32 on a CPU: "
    "use precision=bfloat16",
}

#: Floats in a vector of AVX-512.
WIDEST_VECTOR: Final = 16
#: The layers of the tuned LeNet by the floats that kernels for convolutions take at once. Without such kernels zeros
#: are only more work.
_FILLED_LAYERS: Final = {8: Layers.PADDED_8, WIDEST_VECTOR: Layers.PADDED}

#: The axes, beside hybridize, that say how the loop does what it does.
LOOP_AXES = ("input_pipeline", "metric_sync", "layers", "update", "kvstore", "update_on_kvstore", "engine")
#: The axes that place a training on the machines of a hosts file.
HOST_AXES = ("hosts", "first_host")
#: The axes of several processes that train together, and of the machines that they are on.
RANK_AXES = ("ranks", "exchange", "servers", "compression", *HOST_AXES)
#: The axes that have no option of their own: `--set AXIS=VALUE`.
SET_AXES = (*LOOP_AXES, "precision", "servers", "compression", *HOST_AXES)
#: The peers' fair setting: the data on the device, the accuracy read once an epoch.
PEERS_LOOP = {"input_pipeline": InputPipeline.RESIDENT, "metric_sync": MetricSync.EPOCH}


def is_custom(network: str) -> bool:
    """Tell whether a network is a user's "package.module:factory", and none of the tutorial's."""
    return ":" in network


def format_axis_value(value: object) -> str:
    """Return a value as it is written in a suite file."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def fastest_lenet(vector_floats: int) -> Layers:
    """Return the layers of the fastest LeNet on a CPU whose kernels for convolutions take so many floats at once."""
    return _FILLED_LAYERS.get(vector_floats, Layers.POOL_FIRST)


def preset(
    framework: Framework,
    network: str,
    name: LoopName,
    contexts: Sequence[str],
    vector_floats: int = WIDEST_VECTOR,
) -> dict[str, Any]:
    """Return the axes in which a named loop differs from the defaults; without `contexts`, it chooses them, too.

    What is measured goes by the CPU here, whose kernels take `vector_floats` at once. The words for a scenario go by
    the widest: they are the same on every machine that reads a file, and "tuned" is the loop that it always was.

    The tuned loops are what `mnist-bench tune` and the suite `ablation` found on 2-core machines. A GPU's differs where
    the choice is the CPU's own: the naive engine would wait for the GPU after every operation. A peer's tutorial loop
    is the one that its own documentation writes.
    """
    if framework is not Framework.MXNET:
        return _peer_preset(framework, network, name)
    if name is LoopName.TUTORIAL:
        return {}
    on_gpu = any(context.startswith(str(DeviceKind.GPU)) for context in contexts)
    chosen: dict[str, Any] = {
        "contexts": ("cpu(0)",),
        "hybridize": Hybridize.BOUND,
        "input_pipeline": InputPipeline.RESIDENT,
        "metric_sync": MetricSync.EPOCH,
        "update": Update.FLAT,
    }
    if network == Network.LENET:
        chosen["layers"] = Layers.POOL_FIRST if on_gpu else fastest_lenet(vector_floats)
    if on_gpu:
        return chosen
    if network == Network.MLP:  # so small that a second thread waits more than it works: the other core is Python's
        return {**chosen, "cpu_threads": 1}
    return {**chosen, "engine": Engine.NAIVE}


def loop_on(
    framework: Framework, network: str, name: LoopName, contexts: Sequence[str], vector_floats: int
) -> dict[str, Any]:
    """Return a named loop's axes on contexts that somebody else chose; without any it chooses them, too.

    The naive engine, the fastest on one context, runs everything where it is called: two contexts one after the other.
    """
    chosen = preset(framework, network, name, contexts, vector_floats)
    return {axis: value for axis, value in chosen.items() if axis != "engine" or len(contexts) < 2}  # noqa: PLR2004


def exchange_on(framework: Framework, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the exchange and the servers of ranks for which somebody else has chosen some axes.

    Several ranks exchange gradients as their framework usually does, and servers are one where there are any.
    """
    usual = Exchange.DIST_SYNC if framework is Framework.MXNET else Exchange.GLOO
    exchange = chosen.get("exchange", usual if chosen.get("ranks", 1) > 1 else Exchange.NONE)
    return {"exchange": exchange, "servers": 1 if exchange.has_servers else 0}


def _peer_preset(framework: Framework, network: str, name: LoopName) -> dict[str, Any]:
    """Return a peer's plain loop: the first of its choices on each axis; or its fastest: the last."""
    place = -1 if name is LoopName.TUNED else 0
    choices = {axis: allowed[place] for axis, allowed in CHOICES[framework].items() if axis in {"hybridize", "update"}}
    if network == Network.LENET:
        choices["layers"] = CHOICES[framework]["layers"][place]
    return {**PEERS_LOOP, **choices, "contexts": ("cpu(0)",)}


#: Every axis but framework and network, in the order in which a suite varies them.
AXES = ("contexts", "batch_size", "hybridize", "cpu_threads", "precision", *LOOP_AXES, *RANK_AXES)


def canonical_contexts(text: str, *, gpu_contexts: Sequence[str] = ()) -> tuple[str, ...]:
    """Return ("cpu(0)", "cpu(1)") for "cpu(0), cpu(1)"; `auto` is all usable GPUs, else cpu(0)."""
    if text.strip() == AUTO_CONTEXTS:
        return tuple(gpu_contexts) or ("cpu(0)",)
    try:
        return tuple(str(device) for device in parse_devices(text))
    except DeviceError as error:
        if suggest.meant(text, [AUTO_CONTEXTS]):
            raise ConfigurationError(f"contexts: unknown device {text!r}: did you mean {AUTO_CONTEXTS}?") from None
        others = "" if str(error).endswith("?") else f", or {AUTO_CONTEXTS}"
        raise ConfigurationError(f"contexts: {error}{others}") from None
