"""Scenario, Suite and how the one becomes a list of the other. No framework is imported here.

A `Scenario` is one point of the matrix and the identity on which results are joined. A `Suite` is a TOML file: a list
of matrices, each a product of axes with its own sampling. `expand` turns it into the runs to make.
"""

from __future__ import annotations

import difflib
import enum
import functools
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from mnist_core.devices import Device, DeviceError, DeviceKind, parse_devices
from mnist_core.recipe import Hybridize, Network, Recipe

BUILT_IN_SUITES = ("smoke", "standard", "tutorial", "full", "gate")
DEFAULT_SUITE = "standard"
#: A suite's word for "the devices of this machine", resolved by `expand`.
AUTO_CONTEXTS = "auto"

PositiveInt = Annotated[int, Meta(ge=1)]
PositiveFloat = Annotated[float, Meta(gt=0)]
T = TypeVar("T")
NonEmpty = Annotated[tuple[T, ...], Meta(min_length=1)]

_OWN_NETWORK = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")


class ConfigurationError(Exception):
    """A scenario or suite that cannot be run as written; one line that says what to change."""


class Framework(str, enum.Enum):
    MXNET = "mxnet"

    def __str__(self) -> str:
        return self.value


@functools.lru_cache(maxsize=256)  # ten thousand result files name the same few, a hundred times each
def _check_network(network: str) -> None:
    if network not in {known.value for known in Network} and not _OWN_NETWORK.match(network):
        close = difflib.get_close_matches(network, [known.value for known in Network], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(f"unknown network {network!r}{hint} (known: mlp, lenet, or package.module:factory)")


@functools.lru_cache(maxsize=256)  # as above
def _check_contexts(contexts: tuple[str, ...]) -> None:
    try:
        devices = parse_devices(",".join(contexts))
    except DeviceError as error:
        raise ConfigurationError(f"contexts: {error}") from None
    if tuple(str(device) for device in devices) != contexts:
        raise ConfigurationError(f"contexts must be written as {[str(device) for device in devices]}")


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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

    def __post_init__(self) -> None:
        _check_network(self.network)
        _check_contexts(self.contexts)
        if self.batch_size < len(self.contexts):
            raise ConfigurationError(
                f"batch_size {self.batch_size} is smaller than the number of contexts ({len(self.contexts)}): "
                "at least one of them would never train"
            )

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
        if self.cpu_threads is not None:
            parts.append(f"threads={self.cpu_threads}")
        return " ".join(parts)

    def threads_per_context(self, physical_cores: int) -> int:
        """OpenMP threads for each CPU context, on a machine with so many usable physical cores."""
        if self.cpu_threads is not None:
            return self.cpu_threads
        cpu_contexts = sum(device.kind is DeviceKind.CPU for device in self.devices)
        return max(1, physical_cores // max(1, cpu_contexts))


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often and how long the scenarios of a matrix are measured."""

    #: Fresh processes per scenario.
    repeats: PositiveInt = 1
    epochs: PositiveInt = 10
    #: The first so many training images make an epoch; None: all of them.
    samples: PositiveInt | None = None
    timeout_seconds: PositiveFloat = 3600.0


class Matrix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A product of axes, and how it is sampled. Axes left out have the tutorial's value."""

    network: NonEmpty[str]
    contexts: NonEmpty[str] = ("cpu(0),cpu(1)",)
    batch_size: NonEmpty[PositiveInt] = (100,)
    hybridize: NonEmpty[Hybridize] = (Hybridize.OFF,)
    cpu_threads: tuple[PositiveInt, ...] = ()
    sampling: Sampling = Sampling()


class Suite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named list of matrices."""

    title: str
    matrix: NonEmpty[Matrix]


class PlannedRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One process to start: what a suite asks for, and what a result file checks itself against."""

    scenario: Scenario
    recipe: Recipe
    #: 0 for the first process of a scenario.
    repeat: Annotated[int, Meta(ge=0)]
    timeout_seconds: PositiveFloat


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says about a suite. Empty or None: the suite decides."""

    network: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    batch_size: tuple[int, ...] = ()
    hybridize: tuple[Hybridize, ...] = ()
    cpu_threads: tuple[int, ...] = ()
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
            raise ConfigurationError(f"suite file {name_or_path}: {reason}") from None
    else:
        close = difflib.get_close_matches(name_or_path, BUILT_IN_SUITES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigurationError(
            f"unknown suite {name_or_path!r}{hint} "
            f"(built in: {', '.join(BUILT_IN_SUITES)}; or the path of a .toml file)"
        )
    return parse_suite(text, where=name_or_path)


def parse_suite(text: str, *, where: str) -> Suite:
    """Raises `ConfigurationError`, naming `where`, for anything that is not a suite with at least one run."""
    try:
        suite = msgspec.toml.decode(text, type=Suite)
        expand(suite)
    except (msgspec.DecodeError, ConfigurationError, ValueError) as error:
        raise ConfigurationError(f"suite {where}: {' '.join(str(error).split())}") from None
    return suite


def override(suite: Suite, overrides: Overrides) -> Suite:
    """The suite with the command line's wishes in it.

    An axis is *narrowed* when the suite has all the given values somewhere (matrices without any of them drop out), and
    *replaced* in every matrix otherwise. Sampling is always replaced.
    """
    matrices = suite.matrix
    for axis in ("network", "contexts", "batch_size", "hybridize", "cpu_threads"):
        matrices = _override_axis(matrices, axis, tuple(dict.fromkeys(getattr(overrides, axis))))
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
    if {*values} <= {value for matrix in matrices for value in getattr(matrix, axis)}:
        narrowed = ((matrix, tuple(v for v in getattr(matrix, axis) if v in values)) for matrix in matrices)
        return tuple(msgspec.structs.replace(matrix, **{axis: kept}) for matrix, kept in narrowed if kept)
    return tuple(msgspec.structs.replace(matrix, **{axis: values}) for matrix in matrices)


def expand(suite: Suite, *, seed: int = Recipe().seed, gpu_contexts: Sequence[str] = ()) -> tuple[PlannedRun, ...]:
    """Every run the suite asks for, each once, in the suite's order; repeat r trains with seed + r.

    `gpu_contexts` is what `auto` stands for on this machine; without any it is the CPU.
    """
    planned: dict[tuple[Scenario, Recipe, int], PlannedRun] = {}
    for matrix in suite.matrix:
        sampling = matrix.sampling
        for network, contexts, batch_size, hybridize, cpu_threads in itertools.product(
            matrix.network, matrix.contexts, matrix.batch_size, matrix.hybridize, matrix.cpu_threads or (None,)
        ):
            scenario = Scenario(
                network=network,
                contexts=canonical_contexts(contexts, gpu_contexts=gpu_contexts),
                batch_size=batch_size,
                hybridize=hybridize,
                cpu_threads=cpu_threads,
            )
            for repeat in range(sampling.repeats):
                recipe = Recipe(epochs=sampling.epochs, samples=sampling.samples, seed=seed + repeat)
                run = PlannedRun(
                    scenario=scenario, recipe=recipe, repeat=repeat, timeout_seconds=sampling.timeout_seconds
                )
                before = planned.setdefault((scenario, recipe, repeat), run)
                if run.timeout_seconds > before.timeout_seconds:
                    planned[scenario, recipe, repeat] = run
    return tuple(planned.values())


def canonical_contexts(text: str, *, gpu_contexts: Sequence[str] = ()) -> tuple[str, ...]:
    """("cpu(0)", "cpu(1)") from "cpu(0), cpu(1)"; `auto` is all usable GPUs, else cpu(0)."""
    if text.strip() == AUTO_CONTEXTS:
        return tuple(gpu_contexts) or ("cpu(0)",)
    try:
        return tuple(str(device) for device in parse_devices(text))
    except DeviceError as error:
        raise ConfigurationError(f"contexts: {error}") from None


def select(planned: Iterable[PlannedRun], expression: str) -> tuple[PlannedRun, ...]:
    """The runs whose scenario's name matches, as pytest's `-k` without parentheses: substrings, `and`, `or`, `not`.

    Raises `ConfigurationError` for an expression that is not one.
    """
    matches = _compile(expression)
    return tuple(run for run in planned if matches(run.scenario.name.lower()))


class _Matcher(msgspec.Struct, frozen=True):
    #: An OR of ANDs of (wanted, substring).
    alternatives: tuple[tuple[tuple[bool, str], ...], ...]

    def __call__(self, name: str) -> bool:
        return any(all((text in name) is wanted for wanted, text in terms) for terms in self.alternatives)


def _compile(expression: str) -> _Matcher:
    alternatives = []
    for alternative in re.split(r"\s+or\s+", expression.strip().lower()):
        terms = []
        for term in re.split(r"\s+and\s+", alternative):
            words = term.split()
            wanted = words[:1] != ["not"]
            text = " ".join(words if wanted else words[1:])
            if not text or {"and", "or", "not"} & {*text.split()}:
                raise ConfigurationError(f"-k {expression!r}: expected words joined by 'and', 'or' and 'not'")
            terms.append((wanted, text))
        alternatives.append(tuple(terms))
    return _Matcher(tuple(alternatives))


def thread_variables(threads: int) -> Mapping[str, str]:
    """The environment of a worker whose every context may use so many threads.

    All of them, since a library that reads another name than OMP_NUM_THREADS would oversubscribe silently.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {name: str(threads) for name in names} | {"OMP_DYNAMIC": "FALSE"}
