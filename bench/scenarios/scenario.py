"""One point of the matrix: what is trained, on what, and how. Results are joined on it; no framework is imported."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Collection
from typing import Any

import msgspec

from bench import suggest
from bench.errors import ConfigurationError
from bench.ranges import Images, Threads
from bench.scenarios.axes import CHOICES, LOOP_AXES, PEERS_LOOP, Framework, LoopName, format_axis_value, preset
from mnist_core.devices import Device, DeviceError, DeviceKind, parse_devices
from mnist_core.recipe import Engine, Hybridize, InputPipeline, Kvstore, Layers, Loop, MetricSync, Network, Update

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

    def __post_init__(self) -> None:
        _check_network(self.network)
        _check_parts(self.framework, self.network, self.hybridize, _parts(self))
        _check_contexts(self.contexts)
        if self.batch_size < len(self.contexts):
            raise ConfigurationError(
                f"batch_size {self.batch_size} is smaller than the number of contexts ({len(self.contexts)}): "
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
        """Images of each context, as `split_data(even_split=False)` divides a batch: the first ones get one more."""
        share, left_over = divmod(self.batch_size, len(self.contexts))
        return tuple(share + (index < left_over) for index in range(len(self.contexts)))

    @property
    def name(self) -> str:
        """The scenario in words, for people and for `-k`; it is never parsed back."""
        parts = [str(self.network), ",".join(self.contexts), f"batch={self.batch_size}", f"hybridize={self.hybridize}"]
        if self.framework is not Framework.MXNET:
            parts.insert(0, str(self.framework))
        if self.cpu_threads is not None:
            parts.append(f"threads={self.cpu_threads}")
        if (words := self.loop_summary) not in {"", LoopName.TUTORIAL.value}:
            parts.append(words)
        return " ".join(parts)

    def threads_per_context(self, physical_cores: int) -> int:
        """Return the OpenMP threads of each CPU context on a machine with this many usable physical cores."""
        if self.cpu_threads is not None:
            return self.cpu_threads
        cpu_contexts = sum(device.kind is DeviceKind.CPU for device in self.devices)
        return max(1, physical_cores // max(1, cpu_contexts))


DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in msgspec.structs.fields(Scenario) if field.default is not msgspec.NODEFAULT
}


@functools.lru_cache(maxsize=4096)  # the parts of a hundred thousand scenarios are few
def _check_parts(framework: Framework, network: str, hybridize: Hybridize, parts: tuple[Any, ...]) -> None:
    own = dict(zip(LOOP_AXES, parts, strict=True))
    for axis, allowed in CHOICES[framework].items():
        value = hybridize if axis == "hybridize" else own[axis]
        if value not in allowed:
            raise ConfigurationError(f"{axis}={value} is none of {framework}'s: {', '.join(map(str, allowed))}")
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
    """Return what the others of one network are compared with: the tutorial's setting, or else the first by name."""
    tutorial = tutorial_setting(next(iter(scenarios)).network)
    return tutorial if tutorial in scenarios else min(scenarios, key=lambda scenario: scenario.name)


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
