"""A suite: a TOML file of matrices of scenarios, and the runs it asks for."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Meta

from bench import suggest
from bench.errors import ConfigurationError
from bench.ranges import (
    MOST_RUNS,
    Count,
    Epochs,
    GivenSeconds,
    HostPlace,
    Images,
    PositiveSeconds,
    Ranks,
    Repeats,
    Servers,
    Threads,
)
from bench.scenarios import baselines, diagnostics
from bench.scenarios.axes import (
    AUTO_RANKS,
    AXES,
    WIDEST_VECTOR,
    AutoRanks,
    Compression,
    Exchange,
    Framework,
    LoopName,
    canonical_contexts,
    exchange_on,
    loop_on,
    preset,
)
from bench.scenarios.hosts import check_machines
from bench.scenarios.scenario import DEFAULTS, Scenario
from mnist_core.recipe import (
    Engine,
    Hybridize,
    InputPipeline,
    Kvstore,
    Layers,
    MetricSync,
    Precision,
    Recipe,
    Update,
)

_MATRIX_AXES: Final = ("framework", "network", "loop", *AXES)
BUILT_IN_SUITES = (
    *("smoke", "standard", "tutorial", "full", "gate", "ablation"),
    *("peers", "precision", "predict", "cluster"),
)
DEFAULT_SUITE = "standard"
T = TypeVar("T")
NonEmpty = Annotated[tuple[T, ...], Meta(min_length=1)]


class Sampling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often and how long the scenarios of a matrix are measured."""

    #: Fresh processes per scenario.
    repeats: Repeats = 1
    epochs: Epochs = 10
    #: Training images of an epoch, the first ones of the data set; None: all of them.
    samples: Images | None = None
    timeout_seconds: GivenSeconds = 3600.0
    #: The processes of a repeat are alive together and take turns, a turn for each of the `epochs`. Their speeds are
    #: compared within the repeat, and the accuracy is measured once, at the end. False: each is alone.
    in_turns: bool = False
    #: Whether each process also predicts the test images with what it has trained, one by one and in batches.
    predict: bool = False


class Matrix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A product of axes, and how it is sampled. Axes left out have the loop's value, which is the tutorial's."""

    framework: NonEmpty[Framework] = (Framework.MXNET,)
    network: NonEmpty[str]
    loop: NonEmpty[LoopName] = (LoopName.TUTORIAL,)
    contexts: tuple[str, ...] = ()
    batch_size: tuple[Images, ...] = ()
    hybridize: tuple[Hybridize, ...] = ()
    cpu_threads: tuple[Threads, ...] = ()
    precision: tuple[Precision, ...] = ()
    input_pipeline: tuple[InputPipeline, ...] = ()
    metric_sync: tuple[MetricSync, ...] = ()
    layers: tuple[Layers, ...] = ()
    update: tuple[Update, ...] = ()
    kvstore: tuple[Kvstore, ...] = ()
    update_on_kvstore: tuple[bool, ...] = ()
    engine: tuple[Engine, ...] = ()
    #: "auto": powers of two up to the machines of the hosts file, and all of them; 1 and 2 without one.
    ranks: tuple[Ranks | AutoRanks, ...] = ()
    exchange: tuple[Exchange, ...] = ()
    servers: tuple[Servers, ...] = ()
    compression: tuple[Compression, ...] = ()
    hosts: tuple[Ranks, ...] = ()
    first_host: tuple[HostPlace, ...] = ()
    #: More batch sizes, as images of an update for each rank: more ranks have larger batches. An epoch has the images
    #: of the largest batch, at least.
    local_batch_size: tuple[Images, ...] = ()
    #: Beside ranks that exchange gradients, measure what tells why they are as fast as they are: each machine alone on
    #: its share, the same ranks without an exchange and, of a `batch_size`, one machine on the whole batch.
    baselines: bool = False
    sampling: Sampling = Sampling()

    def values(self, axis: str, vector_floats: int) -> tuple[Any, ...]:
        """Return the values on an axis: those that are written down, or the loop's own, see `preset`."""
        written: tuple[Any, ...] = getattr(self, axis)
        if written or axis in {"framework", "network", "loop"}:
            return written
        own = (
            preset(framework, network, loop, self.contexts, vector_floats).get(axis, DEFAULTS[axis])
            for framework, network, loop in itertools.product(self.framework, self.network, self.loop)
        )
        return tuple(dict.fromkeys(",".join(value) if axis == "contexts" else value for value in own))


class Suite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named list of matrices."""

    title: str
    matrix: NonEmpty[Matrix]
    #: Added where a framework can use a GPU: with the first one, and with all of them, beside the contexts written.
    on_gpu: tuple[Matrix, ...] = ()
    #: Whether rows of PyTorch and JAX are left out where these are not installed; else nothing is measured there.
    peers_are_optional: bool = False


class PlannedRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """One process to start: what a suite asks for, and what a result file checks itself against."""

    scenario: Scenario
    recipe: Recipe
    #: 0 for the first process of a scenario.
    repeat: Count
    timeout_seconds: PositiveSeconds
    #: It takes turns with the other runs of its network, recipe and repeat, see `Sampling.in_turns`.
    in_turns: bool = False
    #: Added while measuring, beside what the suite asks for: another block, or one in the place of a void one.
    added: bool = False
    #: It also predicts, see `Sampling.predict`; ranks do not.
    predict: bool = False


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says about a suite. Empty or None: the suite decides."""

    framework: tuple[Framework, ...] = ()
    network: tuple[str, ...] = ()
    loop: tuple[LoopName, ...] = ()
    contexts: tuple[str, ...] = ()
    batch_size: tuple[int, ...] = ()
    hybridize: tuple[Hybridize, ...] = ()
    cpu_threads: tuple[int, ...] = ()
    ranks: tuple[int, ...] = ()
    exchange: tuple[Exchange, ...] = ()
    #: Values of axes in `SET_AXES`, by name; see `axis_settings`.
    settings: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    repeats: int | None = None
    epochs: int | None = None
    samples: int | None = None
    timeout_seconds: float | None = None
    predict: bool | None = None


def load_suite(name_or_path: str) -> Suite:
    """Load a built-in suite by name, or a user's TOML file by path; both are read by the same code.

    Raises `ConfigurationError` for an unknown name, an unreadable file, or a violation of the format.
    """
    if name_or_path in BUILT_IN_SUITES:
        text = (resources.files("bench.scenarios") / "suites" / f"{name_or_path}.toml").read_text(encoding="utf-8")
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
    """Parse a suite. Raise `ConfigurationError`, naming `where`, for anything but a suite with at least one run."""
    try:
        suite = msgspec.toml.decode(text, type=Suite)
        every = with_gpus(suite, dict.fromkeys(Framework, ("gpu(0)",)))
        _check_size(every)
        for matrix in every.matrix:
            _scenarios(matrix, (), 1, WIDEST_VECTOR)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"suite {where}: {diagnostics.explain(error, Suite)}") from None
    except RecursionError:
        raise ConfigurationError(f"suite {where}: brackets are nested too deeply") from None
    except (msgspec.DecodeError, ConfigurationError, ValueError) as error:
        raise ConfigurationError(f"suite {where}: {' '.join(str(error).split())}") from None
    return suite


def with_gpus(suite: Suite, gpus: Mapping[Framework, Sequence[str]]) -> Suite:
    """Return the suite with its rows for GPUs, as far as a framework can use one of these; with no GPU, as it was."""
    added = [
        msgspec.structs.replace(
            matrix,
            framework=(framework,),
            contexts=tuple(dict.fromkeys([*matrix.contexts, usable[0], ",".join(usable)])),
        )
        for matrix in suite.on_gpu
        for framework in matrix.framework
        if (usable := gpus.get(framework))
    ]
    return msgspec.structs.replace(suite, matrix=(*suite.matrix, *added), on_gpu=())


def override(suite: Suite, overrides: Overrides, vector_floats: int = WIDEST_VECTOR) -> Suite:
    """Return the suite with the command line's values in it, for a CPU as in `expand`.

    An axis is *narrowed* when the suite has all the given values somewhere (matrices without any of them drop out), and
    *replaced* in every matrix otherwise. Sampling is always replaced.
    """
    matrices = suite.matrix
    if overrides.batch_size:
        matrices = tuple(msgspec.structs.replace(matrix, local_batch_size=()) for matrix in matrices)
    options = ("contexts", "batch_size", "hybridize", "cpu_threads", "ranks", "exchange")
    for axis in ("framework", "network", "loop", *options):
        matrices = _override_axis(matrices, axis, tuple(dict.fromkeys(getattr(overrides, axis))), vector_floats)
    for axis, values in overrides.settings:
        matrices = _override_axis(matrices, axis, values, vector_floats)
    sampling = {
        field: value
        for field in ("repeats", "epochs", "samples", "timeout_seconds", "predict")
        if (value := getattr(overrides, field)) is not None
    }
    return msgspec.structs.replace(
        suite,
        matrix=tuple(
            msgspec.structs.replace(matrix, sampling=msgspec.structs.replace(matrix.sampling, **sampling))
            for matrix in matrices
        ),
    )


def _override_axis(
    matrices: tuple[Matrix, ...], axis: str, values: tuple[Any, ...], vector_floats: int
) -> tuple[Matrix, ...]:
    if not values:
        return matrices
    before = [matrix.values(axis, vector_floats) for matrix in matrices]
    if {*values} <= {*itertools.chain.from_iterable(before)}:
        narrowed = (
            (matrix, tuple(value for value in own if value in values))
            for matrix, own in zip(matrices, before, strict=True)
        )
        return tuple(msgspec.structs.replace(matrix, **{axis: kept}) for matrix, kept in narrowed if kept)
    return tuple(msgspec.structs.replace(matrix, **{axis: values}) for matrix in matrices)


def expand(
    suite: Suite,
    *,
    seed: int = Recipe().seed,
    gpu_contexts: Sequence[str] = (),
    machines: int = 1,
    vector_floats: int = WIDEST_VECTOR,
) -> tuple[PlannedRun, ...]:
    """Return every run the suite asks for, each once, in the suite's order; repeat r trains with seed + r.

    `gpu_contexts` is what `auto` stands for on this machine; without any it is the CPU. `vector_floats` of its CPU are
    what a tuned loop goes by, see `preset`. Ranks are spread over as many
    of the `machines` as they can be, where the suite does not say over how many. Raise `ConfigurationError` for a
    scenario that needs others.
    """
    planned: dict[tuple[Scenario, Recipe, int], PlannedRun] = {}
    _check_size(suite)
    for matrix in suite.matrix:
        scenarios = _scenarios(matrix, tuple(gpu_contexts), machines, vector_floats)
        sampling = _with_whole_batches(matrix, scenarios)
        recipes = [
            Recipe(epochs=sampling.epochs, samples=sampling.samples, seed=seed + repeat)
            for repeat in range(sampling.repeats)
        ]
        for scenario in scenarios:
            check_machines(scenario, machines)
            for repeat, recipe in enumerate(recipes):
                run = PlannedRun(
                    scenario=scenario,
                    recipe=recipe,
                    repeat=repeat,
                    timeout_seconds=sampling.timeout_seconds,
                    in_turns=sampling.in_turns,
                    predict=sampling.predict and not scenario.has_ranks,
                )
                before = planned.setdefault((scenario, recipe, repeat), run)
                planned[scenario, recipe, repeat] = msgspec.structs.replace(
                    before,
                    timeout_seconds=max(before.timeout_seconds, run.timeout_seconds),
                    in_turns=before.in_turns or run.in_turns,
                    predict=before.predict or run.predict,
                )
    return tuple(planned.values())


def _with_whole_batches(matrix: Matrix, scenarios: Sequence[Scenario]) -> Sampling:
    """Return the matrix's sampling, with an epoch that has the images of a batch that grew with its ranks."""
    sampling = matrix.sampling
    if sampling.samples is None or not matrix.local_batch_size:
        return sampling
    largest = max(scenario.batch_size for scenario in scenarios)
    return msgspec.structs.replace(sampling, samples=max(sampling.samples, largest))


def _check_size(suite: Suite) -> None:
    """Raise `ConfigurationError` for a suite of so many runs that their plan alone would fill the memory."""
    runs = sum(
        matrix.sampling.repeats
        * math.prod(
            len(values)
            for name in _MATRIX_AXES
            if (values := getattr(matrix, name) + (matrix.local_batch_size if name == "batch_size" else ()))
        )
        for matrix in suite.matrix
    )
    if runs > MOST_RUNS:
        raise ConfigurationError(f"asks for {runs:,} runs: at most {MOST_RUNS:,} can be planned")


@functools.lru_cache(maxsize=64)  # a suite is made once when it is read, to find what is wrong with it, and then again
def _scenarios(
    matrix: Matrix, gpu_contexts: tuple[str, ...], machines: int, vector_floats: int
) -> tuple[Scenario, ...]:
    """Expand a matrix: written axes vary in their order in the file format, the others have the value of the loop."""
    given: dict[str, tuple[Any, ...]] = {axis: values for axis in AXES if (values := getattr(matrix, axis))}
    given["contexts"] = tuple(canonical_contexts(text, gpu_contexts=gpu_contexts) for text in matrix.contexts) or (
        None,
    )
    if matrix.local_batch_size:
        given["batch_size"] = (*matrix.batch_size, *map(_Local, matrix.local_batch_size))
    if AUTO_RANKS in matrix.ranks:
        given["ranks"] = tuple(dict.fromkeys(itertools.chain.from_iterable(_counted(matrix.ranks, machines))))
    made = []
    for framework, network, loop, *written in itertools.product(
        matrix.framework, matrix.network, matrix.loop, *given.values()
    ):
        chosen = {axis: value for axis, value in zip(given, written, strict=True) if value is not None}
        size = chosen.get("batch_size")
        if isinstance(size, _Local):
            chosen["batch_size"] = size.images * chosen.get("ranks", 1)
        own = loop_on(framework, network, loop, chosen.get("contexts", ()), vector_floats)
        own |= exchange_on(framework, chosen)
        own["hosts"] = max(1, min(chosen.get("ranks", 1), machines - chosen.get("first_host", 0)))
        scenario = Scenario(**{"framework": framework, "network": network, **own, **chosen})
        made.append(scenario)
        if matrix.baselines and scenario.ranks > 1 and scenario.exchange is not Exchange.NONE:
            if not isinstance(size, _Local):
                made.append(baselines.alone(scenario, scenario.batch_size, scenario.first_host))
            made += [*baselines.each_alone(scenario), baselines.without_exchange(scenario)]
    return tuple(dict.fromkeys(made))


class _Local(NamedTuple):
    """A batch size that is written for each rank."""

    images: int


def _counted(ranks: Iterable[int | AutoRanks], machines: int) -> Iterator[tuple[int, ...]]:
    """Yield the numbers of ranks that each value of the axis stands for."""
    for value in ranks:
        most = max(2, machines)
        powers = (1 << power for power in range(most.bit_length()))
        yield (value,) if value != AUTO_RANKS else (*(power for power in powers if power < most), most)
