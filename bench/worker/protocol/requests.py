"""What a worker is asked to do: the first line on its stdin."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from bench.enums import StrEnum
from bench.ranges import Count, Images, PositiveCount, Ranks, Repeats, Servers, Threads, TrainingSeed
from bench.records.base import DeviceName
from bench.records.result import Dataset, Library
from bench.scenarios.axes import Exchange, Framework
from bench.scenarios.scenario import Scenario
from bench.worker.protocol.base import Message, Port
from mnist_core.recipe import Engine, Precision, Recipe


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
#: The trace that a profiled process writes into the directory of its request.
RAW_TRACE_FILE: Final = "mxnet.json"
#: The category of the phases in that trace.
PHASES_DOMAIN: Final = "phases"
