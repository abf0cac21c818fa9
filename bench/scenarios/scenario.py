"""One point of the matrix: what is trained, on what, and how. Results are joined on it; no framework is imported."""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Collection
from typing import Any

import msgspec

from bench import suggest
from bench.errors import ConfigurationError
from bench.ranges import HostPlace, Images, Ranks, Servers, Threads
from bench.scenarios.axes import (
    CHOICES,
    LOOP_AXES,
    NOT_COMPUTED,
    PEERS_LOOP,
    Compression,
    Exchange,
    Framework,
    LoopName,
    format_axis_value,
    preset,
)
from mnist_core.devices import Device, DeviceError, DeviceKind, parse_devices
from mnist_core.recipe import (
    Engine,
    Hybridize,
    InputPipeline,
    Kvstore,
    Layers,
    Loop,
    MetricSync,
    Network,
    Precision,
    Update,
)

#: The parts of a scenario's loop, in the order of `LOOP_AXES`.
_parts = operator.attrgetter(*LOOP_AXES)
_OWN_NETWORK = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")


@functools.lru_cache(maxsize=256)  # ten thousand result files name the same few, a hundred times each
def _check_network(network: str) -> None:
    if network not in {known.value for known in Network} and not _OWN_NETWORK.fullmatch(network):
        known = [known.value for known in Network]
        words = f"known: {', '.join(known)}, or package.module:factory"
        raise ConfigurationError(suggest.unknown("network", network, known, known_words=words))


@functools.lru_cache(maxsize=256)  # as above
def _check_contexts(contexts: tuple[str, ...]) -> None:
    try:
        devices = parse_devices(",".join(contexts))
    except DeviceError as error:
        raise ConfigurationError(f"contexts: {error}") from None
    if tuple(str(device) for device in devices) != contexts:
        raise ConfigurationError(f"contexts must be written as {[str(device) for device in devices]}")


# gc: neither can be part of a cycle, and a hundred thousand of them cost the collector a tenth of a `--dry-run`.
class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One point of the matrix. Equal scenarios are comparable; nothing else is.

    The defaults are the tutorial's. Raises `ConfigurationError` for values that cannot be trained.
    """

    framework: Framework = Framework.MXNET
    #: "mlp", "lenet", or "package.module:factory" for a user's own Gluon network.
    network: str
    #: Device names, e.g. ("cpu(0)", "cpu(1)"). CPU devices are virtual: no core is bound to one.
    contexts: tuple[str, ...] = ("cpu(0)", "cpu(1)")
    #: The global batch: images per update, split over the contexts.
    batch_size: Images = 100
    hybridize: Hybridize = Hybridize.OFF
    #: OpenMP threads of each CPU context; None: physical cores / CPU contexts, at least 1.
    cpu_threads: Threads | None = None
    input_pipeline: InputPipeline = InputPipeline.NDARRAYITER
    metric_sync: MetricSync = MetricSync.BATCH
    layers: Layers = Layers.TUTORIAL
    update: Update = Update.TRAINER
    kvstore: Kvstore = Kvstore.DEVICE
    update_on_kvstore: bool = True
    engine: Engine = Engine.THREADED
    #: Processes that train together, each on its share of every batch and on all of the contexts.
    ranks: Ranks = 1
    exchange: Exchange = Exchange.NONE
    #: Processes that add up the gradients, where the exchange has any.
    servers: Servers = 0
    compression: Compression = Compression.NONE
    #: Machines over which the ranks are spread, one after the other; see `hosts.placement`.
    hosts: Ranks = 1
    #: The place in the hosts file of the first rank's machine.
    first_host: HostPlace = 0
    precision: Precision = Precision.FLOAT32

    def __post_init__(self) -> None:
        _check_network(self.network)
        _check_parts(self.framework, self.network, self.hybridize, self.exchange, _parts(self))
        _check_contexts(self.contexts)
        if self.precision is not Precision.FLOAT32:
            _check_precision(self)
        if self.has_ranks or self.servers or self.hosts > 1 or self.compression is not Compression.NONE:
            _check_ranks(self)
        if self.batch_size < self.part_count:
            each = "contexts" if self.ranks == 1 else "ranks' contexts"
            raise ConfigurationError(
                f"batch_size {self.batch_size} is smaller than the number of {each} ({self.part_count}): "
                "at least one of them would never train"
            )

    @property
    def loop(self) -> Loop:
        """What `mnist_core.loop` needs to know of it."""
        return Loop(
            hybridize=self.hybridize,
            input_pipeline=self.input_pipeline,
            metric_sync=self.metric_sync,
            layers=self.layers,
            update=self.update,
            kvstore=self.kvstore,
            update_on_kvstore=self.update_on_kvstore,
            precision=self.precision,
        )

    @property
    def loop_summary(self) -> str:
        """The loop in the fewest words: "tutorial", "tuned", or the nearer of the two and what differs from it."""
        return _summarize_loop(self.framework, self.network, self.contexts, _parts(self))

    @property
    def devices(self) -> tuple[Device, ...]:
        return parse_devices(",".join(self.contexts))

    @property
    def per_context_batch_sizes(self) -> tuple[int, ...]:
        """Images of each context, as `split_data(even_split=False)` divides a batch: the first ones get one more.

        A batch is divided over the ranks, and the share of a rank over its contexts; one rank's come after the other's.
        """
        shares = _divided(self.batch_size, self.ranks)
        return tuple(part for share in shares for part in _divided(share, len(self.contexts)))

    @property
    def part_count(self) -> int:
        """The parts that a batch is divided into: the contexts of all ranks."""
        return self.ranks * len(self.contexts)

    @property
    def has_ranks(self) -> bool:
        """Whether it is trained by processes that train together, or by one that trains as they do."""
        return self.ranks > 1 or self.exchange is not Exchange.NONE

    @property
    def trains_as_one(self) -> bool:
        """Whether it makes the updates that one process would make, to the rounding of float32."""
        return self.compression is Compression.NONE and (self.exchange.is_synchronous or not self.has_ranks)

    @property
    def name(self) -> str:
        """The scenario in words, for people and for `-k`; it is never parsed back."""
        parts = [str(self.network), ",".join(self.contexts), f"batch={self.batch_size}", f"hybridize={self.hybridize}"]
        if self.framework is not Framework.MXNET:
            parts.insert(0, str(self.framework))
        if self.cpu_threads is not None:
            parts.append(f"threads={self.cpu_threads}")
        if self.precision is not Precision.FLOAT32:
            parts.append(f"precision={self.precision}")
        if (words := self.loop_summary) not in {"", LoopName.TUTORIAL.value}:
            parts.append(words)
        if self.has_ranks:
            parts += [f"ranks={self.ranks}", f"exchange={self.exchange}"]
            parts += [f"servers={self.servers}"] * (self.servers > 1)
            parts += [f"compression={self.compression}"] * (self.compression is not Compression.NONE)
            parts += [f"hosts={self.hosts}"] * (self.hosts > 1)
        if self.first_host:
            parts.append(f"first_host={self.first_host}")
        return " ".join(parts)

    def threads_per_context(self, physical_cores: int, ranks: int | None = None) -> int:
        """Return the OpenMP threads of each CPU context on a machine with this many usable physical cores.

        So many `ranks` share that machine; None: as many as on the first one.
        """
        if self.cpu_threads is not None:
            return self.cpu_threads
        cpu_contexts = sum(device.kind is DeviceKind.CPU for device in self.devices)
        sharing = math.ceil(self.ranks / self.hosts) if ranks is None else ranks
        return max(1, physical_cores // max(1, cpu_contexts * sharing))


DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in msgspec.structs.fields(Scenario) if field.default is not msgspec.NODEFAULT
}


def _divided(size: int, parts: int) -> tuple[int, ...]:
    """Divide so many images as `mnist_core.order.shares` does, which needs NumPy."""
    share, left_over = divmod(size, parts)
    return tuple(share + (index < left_over) for index in range(parts))


@functools.lru_cache(maxsize=4096)  # the parts of a hundred thousand scenarios are few
def _check_parts(
    framework: Framework, network: str, hybridize: Hybridize, exchange: Exchange, parts: tuple[Any, ...]
) -> None:
    own = dict(zip(LOOP_AXES, parts, strict=True)) | {"hybridize": hybridize, "exchange": exchange}
    for axis, allowed in CHOICES[framework].items():
        if own[axis] not in allowed:
            raise ConfigurationError(f"{axis}={own[axis]} is none of {framework}'s: {', '.join(map(str, allowed))}")
    if own["layers"] is not Layers.TUTORIAL and network != Network.LENET:
        raise ConfigurationError(f"layers={own['layers']} is the lenet's alone: {network} has no such layer")
    if framework is Framework.MXNET:
        return
    if ":" in network:
        raise ConfigurationError(f"network {network!r} is a Gluon network: framework {framework} cannot train it")
    for axis, value in own.items():
        only = PEERS_LOOP.get(axis, DEFAULTS[axis])
        if axis not in CHOICES[framework] and value != only:
            raise ConfigurationError(f"framework {framework} is measured with {axis}={format_axis_value(only)} alone")


def _check_precision(scenario: Scenario) -> None:
    """Raise `ConfigurationError` for what is not computed in such a precision; the message says what to use instead."""
    precision = scenario.precision
    if ":" in scenario.network:
        raise ConfigurationError(
            f"precision={precision} is of mlp and lenet, where it is checked against exact numbers: "
            f"leave it out for {scenario.network!r}"
        )
    for device in scenario.devices:
        if (reason := NOT_COMPUTED.get((scenario.framework, device.kind, precision))) is not None:
            raise ConfigurationError(f"precision={precision}: {reason}")
    if precision is Precision.FLOAT16 and scenario.framework is Framework.MXNET and scenario.update is Update.FLAT:
        raise ConfigurationError(
            f"precision={precision}: update=flat divides gradients by the batch size, which the smallest of float16 "
            "do not survive: use update=trainer"
        )


def _check_ranks(scenario: Scenario) -> None:
    """Raise `ConfigurationError` for ranks that cannot train together; the message names what to use instead."""
    exchange = scenario.exchange
    with_servers = " or ".join(str(each) for each in Exchange if each.has_servers)
    on_gpus = all(device.kind is DeviceKind.GPU for device in scenario.devices)
    conflicts = (
        (
            scenario.hosts > scenario.ranks,
            f"hosts={scenario.hosts} and ranks={scenario.ranks}: a machine would have no rank; use more ranks",
        ),
        (exchange.has_servers and not scenario.servers, f"exchange={exchange} needs a server: servers=1 or more"),
        (
            scenario.servers and not exchange.has_servers,
            f"servers={scenario.servers}: exchange={exchange} has none; leave servers out, or use {with_servers}",
        ),
        (
            exchange is Exchange.DIST_ASYNC and not (scenario.update is Update.TRAINER and scenario.update_on_kvstore),
            f"exchange={exchange} updates the weights on its servers: use update=trainer and update_on_kvstore=true",
        ),
        (
            scenario.compression is not Compression.NONE and not (exchange.has_servers and scenario.ranks > 1),
            f"compression={scenario.compression} is of ranks of MXNet: use framework=mxnet ranks=2 exchange=dist_sync",
        ),
        (
            exchange is not Exchange.NONE and scenario.kvstore is not Kvstore.DEVICE,
            f"kvstore={scenario.kvstore} is of one process; exchange={exchange} has its own store: leave kvstore out",
        ),
        (
            exchange in {Exchange.GLOO, Exchange.NCCL} and len(scenario.contexts) > 1,
            f"exchange={exchange} trains one context in each rank: use contexts={scenario.contexts[0]} and more ranks",
        ),
        (  # JAX has no other collectives than NCCL's between GPUs
            exchange is Exchange.GLOO and scenario.framework is Framework.JAX and on_gpus,
            f"exchange={exchange} of framework jax is between CPUs: use contexts=cpu(0)",
        ),
        (exchange is Exchange.NCCL and not on_gpus, f"exchange={exchange} is between GPUs: use exchange=gloo"),
    )
    for is_there, message in conflicts:
        if is_there:
            raise ConfigurationError(message)


@functools.lru_cache(maxsize=4096)  # as above
def _summarize_loop(framework: Framework, network: str, contexts: tuple[str, ...], parts: tuple[Any, ...]) -> str:
    own = dict(zip(LOOP_AXES, parts, strict=True))
    fewest: list[str] = []
    for name in LoopName:
        base = DEFAULTS | preset(framework, network, name, contexts)
        words = [
            str(name),
            *(f"{axis}={format_axis_value(value)}" for axis, value in own.items() if value != base[axis]),
        ]
        if not fewest or len(words) < len(fewest):
            fewest = words
    return " ".join(fewest)


def tutorial_setting(network: str) -> Scenario:
    """Return what the tutorial itself runs: the default of every axis."""
    return Scenario(network=network)


def reference_of(scenarios: Collection[Scenario]) -> Scenario:
    """Return what the others of one network are compared with: the tutorial's setting, also that on one context alone.

    Without either it is the first by name.
    """
    tutorial = tutorial_setting(next(iter(scenarios)).network)
    alone = msgspec.structs.replace(tutorial, contexts=tutorial.contexts[:1])
    first = min(scenarios, key=lambda scenario: scenario.name)
    return next((scenario for scenario in (tutorial, alone) if scenario in scenarios), first)


def all_but(scenario: Scenario, *axes: str) -> tuple[object, ...]:
    """Return what two scenarios share that differ in these axes alone."""
    return tuple(getattr(scenario, field.name) for field in msgspec.structs.fields(Scenario) if field.name not in axes)


def axis_value(scenario: Scenario, name: str) -> str | int | None:
    """Return an axis's value as a suite file has it, contexts joined by commas; "loop" is the loop's parts in words."""
    if name == "loop":
        return scenario.loop_summary
    value = getattr(scenario, name)
    if isinstance(value, tuple):
        return ",".join(value)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if value is None or is_number else format_axis_value(value)


def axis_text(scenario: Scenario, axis: str) -> str:
    """Return the axis's value as it is written in a suite file; "default" for none."""
    value = axis_value(scenario, axis)
    return "default" if value is None else str(value)
