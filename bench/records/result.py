"""What a result file holds: frozen records with units in their names. Raw values only; everything derived is computed.

The records are the format: `schema()` exports them as JSON Schema, `store` reads and writes them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from bench.enums import StrEnum
from bench.ranges import (
    Count,
    Epochs,
    Fraction,
    HostPlace,
    Images,
    NonNegative,
    Number,
    PositiveCount,
    PositiveFraction,
    PositiveRate,
    PositiveSeconds,
    Ranks,
    Repeats,
    Seconds,
    Servers,
    Threads,
    TrainingSeed,
)
from bench.records.base import DeviceName, Record, Sha256, Timestamp
from bench.records.energy import EnergyReading
from bench.records.environment import ClusterHost, Environment, ThreadPool
from bench.records.health import Health
from bench.records.prediction import Prediction
from bench.scenarios.axes import Compression, Exchange, Framework
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import PlannedRun
from mnist_core.recipe import Precision, Recipe

#: Raised by any change after which an older reader would misread or refuse a file.
#:
#: History:
#: 1. The first: environment, dataset, plan, runs, failures.
#: 2. More axes of a scenario (the parts of the loop; other frameworks), `environment.peers`, `ceilings`. Every file of
#:    version 1 is one of version 2 with the tutorial's values and nothing measured beside the runs.
#: 3. Runs that take turns, in `blocks`: `in_turns` of a planned run, `block`, `place` and `test_samples` of a run,
#:    `passes` of an epoch, whose evaluation may be absent. `precision` of a file and `added` of a planned run, for
#:    blocks beyond those of the suite. `health` of a run that was alone. `in_progress`, and more facts of the
#:    environment: kinds of core, who scales the clock, a digest of the source. Every file of version 2 is one of
#:    version 3 without any. Ranks that train together: `ranks`, `exchange` and `servers` of a scenario, `ranks` of an
#:    epoch, the reasons `rank_lost` and `ranks_differ`; `exchanges` of a file. Several machines: `hosts` of a file;
#:    `hosts` and `first_host` of a scenario; `host` of a failure. `compression` of a scenario.
#:    `energy` of an epoch and of the environment; `training_peak_rss_bytes` and `device_peak_bytes` of a run.
#:    `precision` of a scenario, `numerics` of a run, the reason `precision_not_in_effect`; `precision` and
#:    `kernel` of a ceiling.
#:    `predict` of a planned run and `prediction` of a run.
#:    `environment.accelerators` and `gpu_throttle_reasons` of a health.
#:    Layers `padded_8`. `lead_in_epochs` of a run. `mean_seconds` of an exchange.
SCHEMA_VERSION: Final = 3


class FailureReason(StrEnum):
    """The reason why a run gave no result."""

    TIMEOUT = "timeout"
    OUT_OF_MEMORY = "out_of_memory"
    NO_DEVICE = "no_device"
    CRASHED = "crashed"
    DIVERGED = "diverged"
    INTERRUPTED = "interrupted"
    #: The connection to another rank broke, and which of them is to blame could not be told.
    RANK_LOST = "rank_lost"
    #: Ranks that exchange all gradients must have the same weights, and had not.
    RANKS_DIFFER = "ranks_differ"
    #: What was computed is too exact for the scenario's precision, or not exact enough.
    PRECISION_NOT_IN_EFFECT = "precision_not_in_effect"


class Dataset(Record, frozen=True):
    """Which images. Results on different digests are never compared."""

    name: str
    #: Over the contents of the four files, see `mnist_core.datasets`.
    digest: Sha256
    #: Where they came from, in words.
    source: str
    train_samples: Images
    test_samples: Images


class RankWindow(Record, frozen=True, kw_only=True):
    """What one of several ranks measured of a window, by its own clock."""

    #: Images of its shares.
    samples: PositiveCount
    #: From the barrier that all ranks passed to its own last update done; the slowest rank's are the window's.
    seconds: PositiveSeconds
    #: User and system time of its process inside the window, all threads.
    cpu_seconds: Seconds
    #: Times the kernel took a core away from it inside the window.
    involuntary_context_switches: Count


class Epoch(Record, frozen=True):
    """A timed window: an epoch, or in a process that takes turns as many of them as a turn needs."""

    #: Images really trained inside the window; padding never counts.
    samples: PositiveCount
    #: From the barrier before the first batch is asked for to the barrier after the last update.
    epoch_seconds: PositiveSeconds
    #: Over the epoch's own batches while the weights still changed, as the tutorial prints it.
    train_accuracy: Fraction
    #: Mean loss of the epoch's last batch.
    last_batch_loss: Number
    #: After this epoch, on the whole test set or the run's `test_samples`; None where it was not evaluated.
    test_accuracy: Fraction | None
    #: Evaluation's own window; not part of `epoch_seconds`.
    evaluation_seconds: PositiveSeconds | None
    #: Epochs inside the window, each over the images of the recipe.
    passes: Epochs = 1
    #: Of each rank, in their order; empty for a process that trains by itself.
    ranks: tuple[RankWindow, ...] = ()
    #: Of each counter of its machine that counts what trains; a socket's counts whatever else runs on it, too.
    energy: tuple[EnergyReading, ...] = ()


class Numerics(Record, frozen=True, kw_only=True):
    """How exactly a process computes, measured before its warm-up: the difference from the same in float64.

    Errors are the 2-norm of the difference over that of the exact numbers.
    """

    #: What it was to compute in.
    precision: Precision
    #: The first training images, a batch of them.
    images: Images
    #: Of the network's outputs.
    scores_error: NonNegative
    #: Of the gradient of all weights and biases together; None: of ranks, whose gradients are added up elsewhere.
    gradient_error: NonNegative | None = None


class Run(Record, frozen=True):
    """What one fresh process measured for one scenario."""

    scenario: Scenario
    recipe: Recipe
    repeat: Count
    started_at: Timestamp
    #: OpenMP threads each context was given, set before the framework was imported.
    omp_num_threads: Threads
    #: Images per context and full batch.
    per_context_batch_sizes: tuple[PositiveCount, ...]
    #: From the process's start to the framework imported and the data in memory.
    startup_seconds: Seconds
    #: From building the network to the first update done.
    first_step_seconds: Seconds
    #: Touching every batch shape the epochs use, with weights that are thrown away.
    warm_up_seconds: Seconds
    epochs: Annotated[tuple[Epoch, ...], Meta(min_length=1)]
    final_accuracy: Fraction
    #: User and system time of the process inside the epoch windows, all threads.
    epochs_cpu_seconds: Seconds
    #: Times the kernel took a core away inside the epoch windows; None where it does not count them.
    involuntary_context_switches: Count | None
    #: High-water mark of the process's resident memory.
    peak_rss_bytes: PositiveCount
    #: Memory in use on the GPUs of the scenario after the last epoch; None without a GPU.
    device_memory_bytes: Count | None
    #: The block in which it took turns, an index of `blocks`; None: it was alone.
    block: Count | None = None
    #: Its place in the first turn of the block; every turn reverses the order.
    place: Count | None = None
    #: Uncounted epochs at a learning rate of 0 before each turn; 0 of a run that was alone, and in older files.
    lead_in_epochs: Count = 0
    #: Test images of the accuracies, the first ones of the data set; None: all of them.
    test_samples: Images | None = None
    #: What the machine did meanwhile; of a run that took turns it is the block's.
    health: Health | None = None
    #: High-water mark of its resident memory inside the epoch windows alone; None where the kernel cannot forget that
    #: of the start-up, and in older files.
    training_peak_rss_bytes: PositiveCount | None = None
    #: Most memory that PyTorch had allocated on the GPUs of the scenario since the training set was there, or JAX since
    #: its start; None without a GPU, and of MXNet, which does not count it.
    device_peak_bytes: Count | None = None
    #: None: not probed, as in older files, and of a user's own network.
    numerics: Numerics | None = None
    #: None: it was not to predict, see `PlannedRun.predict`.
    prediction: Prediction | None = None


class Failure(Record, frozen=True):
    """A planned run that gave nothing, and why."""

    scenario: Scenario
    recipe: Recipe
    repeat: Count
    reason: FailureReason
    #: One line.
    detail: str
    #: The end of the process's error output.
    log: str
    #: The label of the machine that failed, and not the training on it: its process ended, or gave no sign of life.
    host: str | None = None


class Library(StrEnum):
    """What multiplies matrices for a ceiling: NumPy, or one of the frameworks."""

    NUMPY = "numpy"
    MXNET = "mxnet"
    TORCH = "torch"
    JAX = "jax"


class MatrixProduct(Record, frozen=True):
    """The product of two square matrices, in the precision of the ceiling."""

    size: PositiveCount
    #: Rate of the fastest repetition: 2 size³ operations over its seconds.
    gflop_per_second: PositiveRate


class VectorSum(Record, frozen=True):
    """a = b + c on float32 arrays."""

    #: Numbers in each of the three arrays.
    elements: PositiveCount
    #: Rate of the fastest repetition: 12 bytes per element, two numbers read and one written, over its seconds.
    bytes_per_second: PositiveRate


class Ceiling(Record, frozen=True, kw_only=True):
    """How fast one library multiplied and added on one device, in a fresh process, at one time."""

    measured_at: Timestamp
    device: DeviceName
    #: Threads in all, set before the library was imported.
    omp_num_threads: Threads
    framework: Library
    framework_version: str
    #: What the process had loaded: a BLAS without kernels for the processor is a low ceiling.
    thread_pools: tuple[ThreadPool, ...]
    #: From small to large, until larger ones won no more.
    matrix_products: Annotated[tuple[MatrixProduct, ...], Meta(min_length=1)]
    #: From small to large; the last are far larger than any cache.
    vector_sums: Annotated[tuple[VectorSum, ...], Meta(min_length=1)]
    #: Of the matrix products. The vectors are float32 always: a bandwidth is in bytes.
    precision: Precision = Precision.FLOAT32
    #: What multiplied, in the library's own words, often with its instructions; None: it does not tell.
    kernel: str | None = None

    @property
    def fastest_product(self) -> MatrixProduct:
        return max(self.matrix_products, key=lambda product: product.gflop_per_second)

    @property
    def gflop_per_second(self) -> float:
        """The rate of the fastest product."""
        return self.fastest_product.gflop_per_second

    @property
    def bandwidth_bytes_per_second(self) -> float:
        """The memory's: of the largest arrays."""
        return self.vector_sums[-1].bytes_per_second


class ExchangeTime(Record, frozen=True, kw_only=True):
    """How long ranks took to add up an array; of each repetition the slowest rank counts, from a barrier on."""

    #: Of the array, in float32 numbers; 0: a barrier alone.
    size_bytes: Count
    repetitions: Repeats
    min_seconds: PositiveSeconds
    median_seconds: PositiveSeconds
    max_seconds: PositiveSeconds
    #: None: measured before it was kept.
    mean_seconds: PositiveSeconds | None = None


class ExchangeCurve(Record, frozen=True, kw_only=True):
    """How long the engine of some ranks took to add up arrays, in fresh processes, at one time; nothing was trained."""

    measured_at: Timestamp
    framework: Framework
    #: Where each rank had the arrays.
    device: DeviceName
    #: As in the scenarios whose gradients it exchanges.
    ranks: Ranks
    exchange: Exchange
    servers: Servers
    compression: Compression = Compression.NONE
    hosts: Ranks = 1
    first_host: HostPlace = 0
    omp_num_threads: Threads
    #: None: none was measured.
    barrier: ExchangeTime | None
    #: From small to large; every sum was checked.
    times: tuple[ExchangeTime, ...]
    #: Why larger arrays were not measured, in one line: a rank failed, or a sum was wrong.
    failure: str | None = None


class RunBlock(Record, frozen=True, kw_only=True):
    """Runs whose processes were alive together and took turns: only the machine's drift inside of it is theirs."""

    started_at: Timestamp
    #: Start to end, processes included.
    seconds: PositiveSeconds
    health: Health


class InProgress(Record, frozen=True, kw_only=True):
    """What was begun and has not ended. In a file that nobody writes, the program was killed in it."""

    #: Indices of the plan's runs, or none where it was what is measured beside them; in a gate's or a search's file, of
    #: the block or round.
    runs: tuple[Count, ...]
    #: Times that they were begun.
    times: PositiveCount


class ResultSet(Record, frozen=True, kw_only=True):
    """A result file."""

    schema_version: PositiveCount = SCHEMA_VERSION
    suite: str
    created_at: Timestamp
    #: Orders the runs and seeds the trainings.
    seed: TrainingSeed
    environment: Environment
    dataset: Dataset
    #: Those of the hosts file, in its order. A scenario's `first_host` and `hosts` choose from them, and the first
    #: one's facts are those of `environment`. Empty: all was measured on that machine alone.
    hosts: tuple[ClusterHost, ...] = ()
    #: What was to be run. A planned run in neither `runs` nor `failures` has not been tried.
    plan: tuple[PlannedRun, ...]
    #: Half-width of the 95 % interval of a speed-up up to which rows that take turns are measured (0.03 = 3 %); None: a
    #: fixed number of blocks.
    precision: PositiveFraction | None = None
    runs: tuple[Run, ...] = ()
    failures: tuple[Failure, ...] = ()
    #: Measured before, between and after the rounds of runs, in the order of time.
    ceilings: tuple[Ceiling, ...] = ()
    #: Of ranks that exchange gradients: measured before the first run and after the last, in the order of time.
    exchanges: tuple[ExchangeCurve, ...] = ()
    #: In the order of time; `Run.block` points into it.
    blocks: tuple[RunBlock, ...] = ()
    in_progress: InProgress | None = None


RunKey = tuple[Scenario, Recipe, int]


def key(run: PlannedRun | Run | Failure) -> RunKey:
    """Return what makes two records the same run of a plan."""
    return (run.scenario, run.recipe, run.repeat)


def schema() -> dict[str, Any]:
    """Return the result file's JSON Schema (2020-12)."""
    exported = msgspec.json.schema(ResultSet)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "mnist-bench result file", **exported}
