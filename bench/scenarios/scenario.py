"""Scenario, Suite and how the one becomes a list of the other. No framework is imported here.

A `Scenario` is one point of the matrix and the identity on which results are joined. A `Suite` is a TOML file: a list
of matrices, each a product of axes with its own sampling. `expand` turns it into the runs to make. `tuned` is the
fastest loop that is known for a network, by name.
"""

from __future__ import annotations

import enum
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from bench import suggest
from bench.errors import ConfigurationError
from bench.scenarios import diagnostics
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
    Recipe,
    Update,
)

BUILT_IN_SUITES = ("smoke", "standard", "tutorial", "full", "gate", "ablation", "peers")

DEFAULT_SUITE = "standard"

#: A suite's word for "the devices of this machine", resolved by `expand`.
AUTO_CONTEXTS = "auto"

PositiveInt = Annotated[int, Meta(ge=1)]

PositiveFloat = Annotated[float, Meta(gt=0)]

T = TypeVar("T")

NonEmpty = Annotated[tuple[T, ...], Meta(min_length=1)]

_OWN_NETWORK = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")


class Framework(str, enum.Enum):
    """MXNet, whose tutorial is measured, and its peers: the same networks and recipe, see `bench.peers`."""

    MXNET = "mxnet"
    TORCH = "torch"
    JAX = "jax"

    def __str__(self) -> str:
        return self.value


class LoopName(str, enum.Enum):
    """Loops with a name: the tutorial's, and the fastest that is known for a network on a kind of device."""

    TUTORIAL = "tutorial"
    TUNED = "tuned"

    def __str__(self) -> str:
        return self.value


#: What each framework can do; all layers but the first are the LeNet's.
_CHOICES: dict[Framework, dict[str, tuple[Any, ...]]] = {
    Framework.MXNET: {
        "hybridize": (Hybridize.OFF, Hybridize.ON, Hybridize.STATIC, Hybridize.BOUND),
        "layers": (Layers.TUTORIAL, Layers.ACTIVATION, Layers.POOL_FIRST, Layers.PADDED),
        "update": (Update.TRAINER, Update.FLAT),
    },
    Framework.TORCH: {
        "hybridize": (Hybridize.OFF, Hybridize.COMPILE),
        "layers": (Layers.TUTORIAL, Layers.CHANNELS_LAST),
        "update": (Update.TRAINER, Update.FLAT),
    },
    Framework.JAX: {
        "hybridize": (Hybridize.JIT, Hybridize.SCAN),
        "layers": (Layers.TUTORIAL, Layers.CHANNELS_LAST),
        "update": (Update.TRAINER,),
    },
}

#: The axes, beside hybridize, that say how the loop does what it does.
LOOP_AXES = ("input_pipeline", "metric_sync", "layers", "update", "kvstore", "update_on_kvstore", "engine")

#: The peers' fair setting: the data on the device, the accuracy read once an epoch.
_PEERS_LOOP = {"input_pipeline": InputPipeline.RESIDENT, "metric_sync": MetricSync.EPOCH}


def is_own(network: str) -> bool:
    """A user's "package.module:factory", and none of the tutorial's."""
    return ":" in network


@functools.lru_cache(maxsize=256)  # ten thousand result files name the same few, a hundred times each
def _check_network(network: str) -> None:
    if network not in {known.value for known in Network} and not _OWN_NETWORK.match(network):
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
    batch_size: PositiveInt = 100
    hybridize: Hybridize = Hybridize.OFF
    #: OpenMP threads of each CPU context; None: physical cores / CPU contexts, at least 1.
    cpu_threads: PositiveInt | None = None
    input_pipeline: InputPipeline = InputPipeline.NDARRAYITER
    metric_sync: MetricSync = MetricSync.BATCH
    layers: Layers = Layers.TUTORIAL
    update: Update = Update.TRAINER
    kvstore: Kvstore = Kvstore.DEVICE
    update_on_kvstore: bool = True
    engine: Engine = Engine.THREADED

    def __post_init__(self) -> None:
        _check_network(self.network)
        _check_parts(self.framework, self.network, self.hybridize, self._parts)
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
    def _parts(self) -> tuple[Any, ...]:
        """Of the loop, in the order of `LOOP_AXES`."""
        return (
            self.input_pipeline,
            self.metric_sync,
            self.layers,
            self.update,
            self.kvstore,
            self.update_on_kvstore,
            self.engine,
        )

    @property
    def loop_words(self) -> str:
        """The loop in the fewest words: "tutorial", "tuned", or the nearer of the two and what differs from it."""
        return _loop_words(self.framework, self.network, self.contexts, self._parts)

    @property
    def devices(self) -> tuple[Device, ...]:
        return parse_devices(",".join(self.contexts))

    @property
    def per_context_batch_sizes(self) -> tuple[int, ...]:
        """As MXNet's `split_data(even_split=False)` divides a full batch: the first contexts take what is left over."""
        share, left_over = divmod(self.batch_size, len(self.contexts))
        return tuple(share + (index < left_over) for index in range(len(self.contexts)))

    @property
    def name(self) -> str:
        """For people and for `-k`; never parsed back."""
        parts = [str(self.network), ",".join(self.contexts), f"batch={self.batch_size}", f"hybridize={self.hybridize}"]
        if self.framework is not Framework.MXNET:
            parts.insert(0, str(self.framework))
        if self.cpu_threads is not None:
            parts.append(f"threads={self.cpu_threads}")
        if (words := self.loop_words) not in {"", LoopName.TUTORIAL.value}:
            parts.append(words)
        return " ".join(parts)

    def threads_per_context(self, physical_cores: int) -> int:
        """OpenMP threads for each CPU context, on a machine with so many usable physical cores."""
        if self.cpu_threads is not None:
            return self.cpu_threads
        cpu_contexts = sum(device.kind is DeviceKind.CPU for device in self.devices)
        return max(1, physical_cores // max(1, cpu_contexts))


_DEFAULTS: dict[str, Any] = {
    field.name: field.default for field in msgspec.structs.fields(Scenario) if field.default is not msgspec.NODEFAULT
}


@functools.lru_cache(maxsize=4096)  # the parts of a hundred thousand scenarios are few
def _check_parts(framework: Framework, network: str, hybridize: Hybridize, parts: tuple[Any, ...]) -> None:
    own = dict(zip(LOOP_AXES, parts, strict=True))
    for axis, allowed in _CHOICES[framework].items():
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
        only = _PEERS_LOOP.get(axis, _DEFAULTS[axis])
        if axis not in _CHOICES[framework] and value != only:
            raise ConfigurationError(f"framework {framework} is measured with {axis}={_word(only)} alone")


@functools.lru_cache(maxsize=4096)  # as above
def _loop_words(framework: Framework, network: str, contexts: tuple[str, ...], parts: tuple[Any, ...]) -> str:
    own = dict(zip(LOOP_AXES, parts, strict=True))
    fewest: list[str] = []
    for name in LoopName:
        base = _DEFAULTS | preset(framework, network, name, contexts)
        words = [str(name), *(f"{axis}={_word(value)}" for axis, value in own.items() if value != base[axis])]
        if not fewest or len(words) < len(fewest):
            fewest = words
    return " ".join(fewest)


def _word(value: object) -> str:
    """As it is written in a suite file."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def preset(framework: Framework, network: str, name: LoopName, contexts: Sequence[str]) -> dict[str, Any]:
    """The axes in which a loop with a name differs from the defaults; `contexts` empty: its own choice of them.

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
        chosen["layers"] = Layers.POOL_FIRST if on_gpu else Layers.PADDED
    if on_gpu:
        return chosen
    if network == Network.MLP:  # so small that a second thread waits more than it works: the other core is Python's
        return {**chosen, "cpu_threads": 1}
    return {**chosen, "engine": Engine.NAIVE}


def _peer_preset(framework: Framework, network: str, name: LoopName) -> dict[str, Any]:
    is_torch, is_tuned = framework is Framework.TORCH, name is LoopName.TUNED
    plain, compiled = (Hybridize.OFF, Hybridize.COMPILE) if is_torch else (Hybridize.JIT, Hybridize.SCAN)
    chosen: dict[str, Any] = {**_PEERS_LOOP, "hybridize": compiled if is_tuned else plain, "contexts": ("cpu(0)",)}
    if is_tuned and network == Network.LENET:
        chosen["layers"] = Layers.CHANNELS_LAST
    if is_tuned and is_torch:
        chosen["update"] = Update.FLAT
    return chosen


def tutorial_setting(network: str) -> Scenario:
    """What the tutorial itself runs, which are the defaults of every axis."""
    return Scenario(network=network)


def tuned(network: str) -> Scenario:
    """The fastest loop that is known for a network on the CPU."""
    return Scenario(network=network, **preset(Framework.MXNET, network, LoopName.TUNED, ()))


#: Every axis but framework and network, in the order in which a suite varies them.
AXES = ("contexts", "batch_size", "hybridize", "cpu_threads", *LOOP_AXES)


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often and how long the scenarios of a matrix are measured."""

    #: Fresh processes per scenario.
    repeats: PositiveInt = 1
    epochs: PositiveInt = 10
    #: The first so many training images make an epoch; None: all of them.
    samples: PositiveInt | None = None
    timeout_seconds: PositiveFloat = 3600.0


class Matrix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A product of axes, and how it is sampled. Axes left out have the loop's value, which is the tutorial's."""

    framework: NonEmpty[Framework] = (Framework.MXNET,)
    network: NonEmpty[str]
    loop: NonEmpty[LoopName] = (LoopName.TUTORIAL,)
    contexts: tuple[str, ...] = ()
    batch_size: tuple[PositiveInt, ...] = ()
    hybridize: tuple[Hybridize, ...] = ()
    cpu_threads: tuple[PositiveInt, ...] = ()
    input_pipeline: tuple[InputPipeline, ...] = ()
    metric_sync: tuple[MetricSync, ...] = ()
    layers: tuple[Layers, ...] = ()
    update: tuple[Update, ...] = ()
    kvstore: tuple[Kvstore, ...] = ()
    update_on_kvstore: tuple[bool, ...] = ()
    engine: tuple[Engine, ...] = ()
    sampling: Sampling = Sampling()

    def values(self, axis: str) -> tuple[Any, ...]:
        """What it has on an axis: written down, or the loop's own."""
        written: tuple[Any, ...] = getattr(self, axis)
        if written or axis in {"framework", "network", "loop"}:
            return written
        own = (
            preset(framework, network, loop, self.contexts).get(axis, _DEFAULTS[axis])
            for framework, network, loop in itertools.product(self.framework, self.network, self.loop)
        )
        return tuple(dict.fromkeys(",".join(value) if axis == "contexts" else value for value in own))


class Suite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named list of matrices."""

    title: str
    matrix: NonEmpty[Matrix]


class PlannedRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One process to start: what a suite asks for, and what a result file checks itself against."""

    scenario: Scenario
    recipe: Recipe
    #: 0 for the first process of a scenario.
    repeat: Annotated[int, Meta(ge=0)]
    timeout_seconds: PositiveFloat


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says about a suite. Empty or None: the suite decides."""

    framework: tuple[Framework, ...] = ()
    network: tuple[str, ...] = ()
    loop: tuple[LoopName, ...] = ()
    contexts: tuple[str, ...] = ()
    batch_size: tuple[int, ...] = ()
    hybridize: tuple[Hybridize, ...] = ()
    cpu_threads: tuple[int, ...] = ()
    #: Of `LOOP_AXES`, by name; see `axis_settings`.
    settings: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    repeats: int | None = None
    epochs: int | None = None
    samples: int | None = None
    timeout_seconds: float | None = None


def load_suite(name_or_path: str) -> Suite:
    """A built-in suite by name, or a user's TOML file by path; both are read by the same code.

    Raises `ConfigurationError` for an unknown name, an unreadable file, or a violation of the format.
    """
    if name_or_path in BUILT_IN_SUITES:
        text = (resources.files("bench") / "suites" / f"{name_or_path}.toml").read_text(encoding="utf-8")
    elif name_or_path.endswith(".toml") or "/" in name_or_path:
        try:
            text = Path(name_or_path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise ConfigurationError(
                f"suite file {name_or_path}: {reason} (built in: {', '.join(BUILT_IN_SUITES)})"
            ) from None
    else:
        words = f"built in: {', '.join(BUILT_IN_SUITES)}; or the path of a .toml file"
        raise ConfigurationError(suggest.unknown("suite", name_or_path, BUILT_IN_SUITES, known_words=words))
    return parse_suite(text, where=name_or_path)


def parse_suite(text: str, *, where: str) -> Suite:
    """Raises `ConfigurationError`, naming `where`, for anything that is not a suite with at least one run."""
    try:
        suite = msgspec.toml.decode(text, type=Suite)
        for matrix in suite.matrix:
            _scenarios(matrix, ())
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"suite {where}: {diagnostics.in_words(error, Suite)}") from None
    except (msgspec.DecodeError, ConfigurationError, ValueError) as error:
        raise ConfigurationError(f"suite {where}: {' '.join(str(error).split())}") from None
    return suite


def override(suite: Suite, overrides: Overrides) -> Suite:
    """The suite with the command line's wishes in it.

    An axis is *narrowed* when the suite has all the given values somewhere (matrices without any of them drop out), and
    *replaced* in every matrix otherwise. Sampling is always replaced.
    """
    matrices = suite.matrix
    for axis in ("framework", "network", "loop", "contexts", "batch_size", "hybridize", "cpu_threads"):
        matrices = _override_axis(matrices, axis, tuple(dict.fromkeys(getattr(overrides, axis))))
    for axis, values in overrides.settings:
        matrices = _override_axis(matrices, axis, values)
    sampling = {
        field: value
        for field in ("repeats", "epochs", "samples", "timeout_seconds")
        if (value := getattr(overrides, field)) is not None
    }
    return msgspec.structs.replace(
        suite,
        matrix=tuple(
            msgspec.structs.replace(matrix, sampling=msgspec.structs.replace(matrix.sampling, **sampling))
            for matrix in matrices
        ),
    )


def _override_axis(matrices: tuple[Matrix, ...], axis: str, values: tuple[Any, ...]) -> tuple[Matrix, ...]:
    if not values:
        return matrices
    if {*values} <= {value for matrix in matrices for value in matrix.values(axis)}:
        narrowed = ((matrix, tuple(v for v in matrix.values(axis) if v in values)) for matrix in matrices)
        return tuple(msgspec.structs.replace(matrix, **{axis: kept}) for matrix, kept in narrowed if kept)
    return tuple(msgspec.structs.replace(matrix, **{axis: values}) for matrix in matrices)


def expand(suite: Suite, *, seed: int = Recipe().seed, gpu_contexts: Sequence[str] = ()) -> tuple[PlannedRun, ...]:
    """Every run the suite asks for, each once, in the suite's order; repeat r trains with seed + r.

    `gpu_contexts` is what `auto` stands for on this machine; without any it is the CPU.
    """
    planned: dict[tuple[Scenario, Recipe, int], PlannedRun] = {}
    for matrix in suite.matrix:
        sampling = matrix.sampling
        recipes = [
            Recipe(epochs=sampling.epochs, samples=sampling.samples, seed=seed + repeat)
            for repeat in range(sampling.repeats)
        ]
        for scenario in _scenarios(matrix, tuple(gpu_contexts)):
            for repeat, recipe in enumerate(recipes):
                run = PlannedRun(
                    scenario=scenario, recipe=recipe, repeat=repeat, timeout_seconds=sampling.timeout_seconds
                )
                before = planned.setdefault((scenario, recipe, repeat), run)
                if run.timeout_seconds > before.timeout_seconds:
                    planned[scenario, recipe, repeat] = run
    return tuple(planned.values())


@functools.lru_cache(maxsize=64)  # a suite is made once when it is read, to find what is wrong with it, and then again
def _scenarios(matrix: Matrix, gpu_contexts: tuple[str, ...]) -> tuple[Scenario, ...]:
    """Written axes vary in their order in the file format; the others have the value of the loop."""
    given: dict[str, tuple[Any, ...]] = {axis: values for axis in AXES if (values := getattr(matrix, axis))}
    given["contexts"] = tuple(canonical_contexts(text, gpu_contexts=gpu_contexts) for text in matrix.contexts) or (
        None,
    )
    made = []
    for framework, network, loop, *written in itertools.product(
        matrix.framework, matrix.network, matrix.loop, *given.values()
    ):
        chosen = {axis: value for axis, value in zip(given, written, strict=True) if value is not None}
        own = preset(framework, network, loop, chosen.get("contexts", ()))
        made.append(Scenario(**{"framework": framework, "network": network, **own, **chosen}))
    return tuple(made)


def axis_settings(texts: Sequence[str]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """(axis, values) from "update=flat" or "update=flat,trainer"; raises `ConfigurationError` for what is none."""
    types = {field.name: field.type for field in msgspec.structs.fields(Scenario)}
    settings = []
    for text in texts:
        axis, _, values = text.partition("=")
        if axis not in LOOP_AXES:
            raise ConfigurationError(suggest.unknown("axis", axis, LOOP_AXES))
        settings.append((axis, tuple(_setting(axis, each, types[axis]) for each in values.split(","))))
    return tuple(settings)


def _setting(axis: str, text: str, kind: Any) -> Any:  # noqa: ANN401  # an axis's type, and a value of it
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        known = [*map(str, kind)] if isinstance(kind, enum.EnumMeta) else ["true", "false"]
        raise ConfigurationError(suggest.unknown(axis, text, known)) from None


def canonical_contexts(text: str, *, gpu_contexts: Sequence[str] = ()) -> tuple[str, ...]:
    """("cpu(0)", "cpu(1)") from "cpu(0), cpu(1)"; `auto` is all usable GPUs, else cpu(0)."""
    if text.strip() == AUTO_CONTEXTS:
        return tuple(gpu_contexts) or ("cpu(0)",)
    try:
        return tuple(str(device) for device in parse_devices(text))
    except DeviceError as error:
        if suggest.meant(text, [AUTO_CONTEXTS]):
            raise ConfigurationError(f"contexts: unknown device {text!r}: did you mean {AUTO_CONTEXTS}?") from None
        others = "" if str(error).endswith("?") else f", or {AUTO_CONTEXTS}"
        raise ConfigurationError(f"contexts: {error}{others}") from None


def select(planned: Iterable[PlannedRun], expression: str) -> tuple[PlannedRun, ...]:
    """The runs whose scenario matches; see `matcher`."""
    matches = matcher(expression)
    return tuple(run for run in planned if matches(run.scenario))


class _Matcher(msgspec.Struct, frozen=True):
    #: An OR of ANDs of (wanted, word).
    alternatives: tuple[tuple[tuple[bool, str], ...], ...]

    def __call__(self, scenario: Scenario) -> bool:
        name = scenario.name.lower()
        return any(all(_holds(scenario, name, word) is wanted for wanted, word in terms) for terms in self.alternatives)


def matcher(expression: str) -> Callable[[Scenario], bool]:
    """As pytest's `-k` without grouping: words joined by `and`, `or` and `not`, whatever the case.

    A word is a part of the scenario's name; axis=value is the whole value of that axis, so that batch=10 is not
    batch=100 and contexts=cpu(0) is that device alone. Raises `ConfigurationError` for what is no expression.
    """
    alternatives = []
    for alternative in re.split(r"\s+or\s+", re.sub(r",\s+", ",", expression.strip().lower())):
        terms = []
        for term in re.split(r"\s+and\s+", alternative):
            words = term.split()
            wanted = words[:1] != ["not"]
            text = " ".join(words if wanted else words[1:])
            if not text or {"and", "or", "not"} & {*text.split()}:
                raise ConfigurationError(f"-k {expression!r}: expected words joined by 'and', 'or' and 'not'")
            _check_word(text, expression)
            terms.append((wanted, text))
        alternatives.append(tuple(terms))
    return _Matcher(tuple(alternatives))


#: In a name some axes are shorter than in a suite file.
_SHORT_AXES = {"batch": "batch_size", "threads": "cpu_threads"}

_NAMED_AXES = ("framework", "network", *AXES, *_SHORT_AXES)


def _check_word(text: str, expression: str) -> None:
    if re.search(r"[()]", re.sub(r"\w\(\d+\)", "", text)):
        raise ConfigurationError(
            f"-k {expression!r}: parentheses belong to a device such as cpu(0); they do not group: "
            "'a and b or c' is either both of a and b, or c"
        )
    axis, equals, _value = text.partition("=")
    if equals and " " not in text and axis not in _NAMED_AXES:
        raise ConfigurationError(f"-k {expression!r}: {suggest.unknown('axis', axis, _NAMED_AXES)}")


def _holds(scenario: Scenario, name: str, word: str) -> bool:
    axis, equals, value = word.partition("=")
    if not equals:
        return word in name
    if " " in word:  # of a name that was copied
        return f" {word} " in f" {name} "
    own = getattr(scenario, _SHORT_AXES.get(axis, axis))
    return value == (",".join(own) if axis == "contexts" else _word(own)).lower()


def worker_variables(threads: int, engine: Engine = Engine.THREADED) -> Mapping[str, str]:
    """The environment of a worker whose every context may use so many threads.

    All of them, since a library that reads another name than OMP_NUM_THREADS would oversubscribe silently. The threaded
    engine is MXNet's own choice, which the user's variables may refine.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    variables = {name: str(threads) for name in names} | {"OMP_DYNAMIC": "FALSE"}
    if engine is Engine.NAIVE:
        variables["MXNET_ENGINE_TYPE"] = "NaiveEngine"
    return variables
