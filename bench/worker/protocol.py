"""The messages between parent and worker, as JSON lines: a request on stdin, then events and a reply on stdout.

In a session more follow: each command on stdin gets a reply, so that several live workers can take turns.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from bench.enums import StrEnum
from bench.ranges import (
    Count,
    Epochs,
    Fraction,
    Images,
    Number,
    PositiveCount,
    PositiveSeconds,
    Ranks,
    Repeats,
    Seconds,
    Servers,
    Threads,
    TrainingSeed,
)
from bench.records.base import DeviceName, Sha256, Timestamp
from bench.records.energy import EnergyReading
from bench.records.environment import Software
from bench.records.profile import PhaseRounds, Rounds
from bench.records.result import (
    Ceiling,
    Dataset,
    Epoch,
    FailureReason,
    Library,
    Numerics,
    RankWindow,
    Run,
)
from bench.scenarios.axes import Exchange, Framework
from bench.scenarios.scenario import Scenario
from mnist_core.devices import Probe
from mnist_core.recipe import Engine, Precision, Recipe

Port = Annotated[int, Meta(ge=1, le=65_535)]


class DivergedError(Exception):
    """The loss is not finite any more; one line. It stands here because every process can import this module."""


class NumericsError(Exception):
    """What is computed is not computed in the precision that it is claimed to be in; one line."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """What all messages are: immutable, told apart by their type, without unknown fields."""


class PredictionPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a process predicts: in each turn images one by one, and a window of batches, whose sizes take turns."""

    turns: PositiveCount
    #: Of a turn.
    queries: PositiveCount
    #: Ascending; empty: there are no batches.
    batch_sizes: tuple[PositiveCount, ...]
    #: Of a window of batches, at most: whole batches alone.
    samples: PositiveCount

    def batch_size(self, turn: int) -> int:
        """Return the batch size of a turn."""
        return self.batch_sizes[turn % len(self.batch_sizes)]


class RunRequest(Message, frozen=True, tag="run"):
    """Measure one scenario, once."""

    scenario: Scenario
    recipe: Recipe
    repeat: Count
    #: The folder of the four verified IDX files; the worker checks them against `dataset.digest` again.
    data_directory: str
    dataset: Dataset
    #: OpenMP threads of each context, as in the worker's environment; the worker refuses to measure under any other.
    omp_num_threads: Threads
    #: None: it only trains.
    prediction: PredictionPlan | None = None


class RankPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which of several ranks a process is, and where all of them meet."""

    #: 0 for the first.
    rank: Count
    ranks: Ranks
    #: Without one the ranks never meet.
    exchange: Exchange
    servers: Servers
    #: The address at which the first rank, or the scheduler, waits for the others.
    address: str
    #: None: it is the one that waits, and it is to choose a free one, which it tells by `PortChosen`.
    port: Port | None
    #: The network interface of this process's machine by which the others reach it; None: the framework chooses.
    interface: str | None
    #: The IP address by which the others reach this process's machine; None: that of the interface.
    own_address: str | None = None


class SessionRequest(Message, frozen=True, tag="pass"):
    """Open a session: load data and framework, then follow the commands, one at a time, until stdin ends."""

    data_directory: str
    dataset: Dataset
    #: Test images for the accuracy after a scenario's windows.
    test_samples: Images
    seed: TrainingSeed
    omp_num_threads: Threads
    #: As in the worker's environment; all scenarios of the session share it.
    engine: Engine = Engine.THREADED
    #: As `engine`: some of it is the environment's, and what a framework was told once holds for the process.
    precision: Precision = Precision.FLOAT32
    #: Imported before the session is ready, so that sessions which start together do so at the same time.
    framework: Framework = Framework.MXNET
    #: None: it trains by itself.
    place: RankPlace | None = None


class ServerRole(StrEnum):
    """What a process of MXNet's parameter server can be that is no rank, by MXNet's own names."""

    SCHEDULER = "scheduler"
    SERVER = "server"


class ServeRequest(Message, frozen=True, tag="serve"):
    """Be the scheduler or a server of a training's ranks until stdin ends; there is no reply."""

    role: ServerRole
    #: That of any rank.
    place: RankPlace


class SetUp(Message, frozen=True, tag="set_up"):
    """Build the scenario's network, train its first step, warm up. It takes the place of the scenario before it."""

    scenario: Scenario
    #: Training images of an epoch: the first ones of the data set.
    samples: PositiveCount


class RunWindow(Message, frozen=True, tag="run_window"):
    """Train one window: whole epochs on the first `samples` images."""

    epochs: Epochs


class Evaluate(Message, frozen=True, tag="evaluate"):
    """Evaluate what was trained so far on the test images of the session."""


class PreparePrediction(Message, frozen=True, tag="prepare_prediction"):
    """Compile the prediction of one image, and of batches, with the weights as they are now; then warm it up."""

    #: Of batches, from all test images. Empty: there are queries alone, as in a gate. They are of the session's test
    #: images, since finding the digits of all of them would take a LeNet longer than its queries.
    batch_sizes: tuple[PositiveCount, ...]


class RunQueries(Message, frozen=True, tag="run_queries"):
    """Predict test images one by one: the next ones in an order drawn from the session's seed."""

    queries: PositiveCount


class RunOffline(Message, frozen=True, tag="run_offline"):
    """Predict test images in whole batches of one of the prepared sizes, from the first image on."""

    batch_size: PositiveCount
    #: At most; more than there are begin with the first image again.
    samples: PositiveCount


class ExchangeArrays(Message, frozen=True, tag="exchange_arrays"):
    """Add up arrays over all ranks, so often, each time from a barrier on; nothing is trained."""

    #: Where the arrays are.
    device: DeviceName
    #: Of an array, in float32 numbers; 0: a barrier alone.
    size_bytes: Count
    repetitions: Repeats


class CustomNetwork(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user's network, to be tried out."""

    #: "package.module:factory".
    reference: str
    #: Whether some scenario hybridizes it.
    compiled: bool


class DescribeRequest(Message, frozen=True, tag="describe"):
    """Import the framework, try the custom networks out, and reply with what is loaded."""

    framework: Framework
    custom_networks: tuple[CustomNetwork, ...] = ()


class ProbeRequest(Message, frozen=True, tag="probe"):
    """Try a device out through the framework, which may hang or crash the worker."""

    framework: Framework
    device: DeviceName


class CeilingRequest(Message, frozen=True, tag="ceiling"):
    """Multiply matrices and add vectors on one device, as fast as the library can."""

    framework: Library
    device: DeviceName
    #: Threads of the library in all: two contexts of one thread each have the ceiling of two threads.
    omp_num_threads: Threads
    #: Rows and columns, ascending.
    matrix_sizes: Annotated[tuple[PositiveCount, ...], Meta(min_length=1)]
    #: Numbers in each of three arrays, ascending.
    vector_elements: Annotated[tuple[PositiveCount, ...], Meta(min_length=1)]
    #: Of the matrices.
    precision: Precision = Precision.FLOAT32


class ProfileTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The training that both parts of a profile measure."""

    scenario: Scenario
    seed: TrainingSeed
    data_directory: str
    dataset: Dataset


class PhasesRequest(Message, frozen=True, tag="phases"):
    """Measure what each phase of an epoch takes."""

    target: ProfileTarget
    #: Updates of an epoch; None: enough for the epoch to be measured.
    steps: PositiveCount | None
    rounds: Repeats
    omp_num_threads: Threads


class OperatorsRequest(Message, frozen=True, tag="operators"):
    """Record one epoch with the framework's profiler, into `RAW_TRACE_FILE` in this directory."""

    target: ProfileTarget
    steps: PositiveCount
    directory: str
    omp_num_threads: Threads


class EpochDone(Message, frozen=True, tag="epoch"):
    """An epoch's window and evaluation are over."""

    index: Count
    epoch: Epoch


class RoundDone(Message, frozen=True, tag="round"):
    """Another round of a profile is over, or the warm-up before the first."""

    #: Rounds that are over.
    done: Count


class PortChosen(Message, frozen=True, tag="port_chosen"):
    """The port at which the first rank, or the scheduler, is about to wait for the others."""

    port: Port


class PredictionReady(Message, frozen=True, tag="prediction_ready"):
    #: Queries that do not count, before the first window.
    warm_up: Count
    #: As in a `SingleStream`.
    timer_overhead_ns: Count


class QueriesDone(Message, frozen=True, tag="queries_done"):
    #: Of each query, in order.
    ns: tuple[PositiveCount, ...]
    #: Queries that do not count, before the others.
    warm_up: Count
    #: Queries whose digit is not the one that the evaluation finds.
    mismatches: Count
    involuntary_context_switches: Count


class OfflineDone(Message, frozen=True, tag="offline_done"):
    batch_size: PositiveCount
    #: Images really predicted.
    samples: PositiveCount
    seconds: PositiveSeconds


class PredictionWindows(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a process measured of a `PredictionPlan`, a window of each kind for each turn."""

    ready: PredictionReady
    queries: tuple[QueriesDone, ...]
    offline: tuple[OfflineDone, ...]


class RunReply(Message, frozen=True, tag="measured"):
    #: Without its prediction.
    run: Run
    prediction: PredictionWindows | None = None


class SessionReady(Message, frozen=True, tag="pass_ready"):
    """Data and framework are in memory, and commands may follow."""

    started_at: Timestamp
    #: From the process's start until now.
    startup_seconds: Seconds


class SetUpDone(Message, frozen=True, tag="set_up_done"):
    first_step_seconds: Seconds
    #: With the epoch below.
    warm_up_seconds: Seconds
    #: Of the last part of the warm-up: one whole epoch, which is up to a quarter slower than those that follow.
    epoch_seconds: PositiveSeconds
    #: Of the initial weights; of a rank alone.
    weights_digest: Sha256 | None = None
    #: None: not probed.
    numerics: Numerics | None = None


class WindowDone(Message, frozen=True, tag="window_done"):
    #: Images really trained.
    samples: PositiveCount
    #: From the barrier before the first epoch to the barrier after the last.
    seconds: PositiveSeconds
    #: User and system time of the process inside the window, all threads.
    cpu_seconds: Seconds
    involuntary_context_switches: Count
    #: Of the last epoch of the window.
    train_accuracy: Fraction
    #: Of a rank, its share of it: those of all ranks add up to the batch's mean loss.
    last_batch_loss: Number
    #: Of a rank, the weights after the window.
    weights_digest: Sha256 | None = None
    #: Of a window that ranks trained together, what each of them measured.
    ranks: tuple[RankWindow, ...] = ()
    energy: tuple[EnergyReading, ...] = ()


class Evaluated(Message, frozen=True, tag="evaluated"):
    test_accuracy: Fraction
    seconds: PositiveSeconds
    #: High-water mark of the process's resident memory until now.
    peak_rss_bytes: PositiveCount
    #: Memory in use on the GPUs of the scenario; None without a GPU.
    device_memory_bytes: Count | None
    #: As in a `Run`, of the windows since the set-up.
    training_peak_rss_bytes: PositiveCount | None = None
    device_peak_bytes: Count | None = None


class ArraysExchanged(Message, frozen=True, tag="arrays_exchanged"):
    #: Of each repetition, until this rank had the sum, which was the right one.
    seconds: tuple[PositiveSeconds, ...]


class DescribeReply(Message, frozen=True, tag="described"):
    software: Software


class ProbeReply(Message, frozen=True, tag="probed"):
    probe: Probe


class CeilingReply(Message, frozen=True, tag="ceiling_measured"):
    ceiling: Ceiling


class PhasesReply(Message, frozen=True, tag="phases_measured"):
    rounds: PhaseRounds


class OperatorsReply(Message, frozen=True, tag="operators_profiled"):
    #: Epochs as the profiled one, before the profiler began.
    unprofiled_seconds: Rounds
    profiled_seconds: PositiveSeconds


class FailureReply(Message, frozen=True, tag="failed"):
    reason: FailureReason
    #: One line.
    detail: str


class UnusableReply(Message, frozen=True, tag="unusable"):
    """This installation cannot do what was requested; one line with the next step. The whole suite stops."""

    detail: str


Request: TypeAlias = (
    RunRequest
    | SessionRequest
    | ServeRequest
    | DescribeRequest
    | ProbeRequest
    | CeilingRequest
    | PhasesRequest
    | OperatorsRequest
)
Command: TypeAlias = SetUp | RunWindow | Evaluate | PreparePrediction | RunQueries | RunOffline | ExchangeArrays

Reply: TypeAlias = (
    RunReply
    | SessionReady
    | SetUpDone
    | WindowDone
    | Evaluated
    | PredictionReady
    | QueriesDone
    | OfflineDone
    | ArraysExchanged
    | DescribeReply
    | ProbeReply
    | CeilingReply
    | PhasesReply
    | OperatorsReply
    | FailureReply
    | UnusableReply
)

Event: TypeAlias = EpochDone | RoundDone | PortChosen
FromWorker: TypeAlias = Event | Reply
#: The trace that a profiled process writes into the directory of its request.
RAW_TRACE_FILE: Final = "mxnet.json"
#: The category of the phases in that trace.
PHASES_DOMAIN: Final = "phases"
