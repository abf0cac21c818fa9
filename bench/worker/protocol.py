"""What the parent and a worker say to each other: JSON lines, a request on stdin, events and a reply on stdout.

A pass of a gate goes on after that: command, reply, command, reply, since four passes take turns.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from bench.records.base import DeviceName
from bench.records.environment import Software
from bench.records.profile import PhaseRounds, Rounds
from bench.records.result import Ceiling, Dataset, Epoch, FailureReason, Library, Run
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from mnist_core.devices import Probe
from mnist_core.recipe import Engine, Recipe


class DivergedError(Exception):
    """The loss is no number any more; one line. Here, so that a process without any framework can name it."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """The settings all messages share."""


class RunRequest(Message, frozen=True, tag="run"):
    """Measure one scenario, once."""

    scenario: Scenario
    recipe: Recipe
    repeat: Annotated[int, Meta(ge=0)]
    #: Holds the four verified IDX files; the worker checks them against `dataset.digest` again.
    data_directory: str
    dataset: Dataset
    #: What the parent put into the worker's environment; the worker refuses to measure under anything else.
    omp_num_threads: Annotated[int, Meta(ge=1)]


class SessionRequest(Message, frozen=True, tag="pass"):
    """Be one pass of a gate: load the data, then do what the commands say, one at a time, until stdin ends."""

    data_directory: str
    dataset: Dataset
    #: Test images for the accuracy after a scenario's windows.
    test_samples: Annotated[int, Meta(ge=1)]
    seed: Annotated[int, Meta(ge=0)]
    omp_num_threads: Annotated[int, Meta(ge=1)]
    #: As `omp_num_threads`, in the worker's environment; all scenarios of the pass share it.
    engine: Engine = Engine.THREADED


class SetUp(Message, frozen=True, tag="set_up"):
    """Build the scenario's network, first step, warm-up; the scenario before it is over."""

    scenario: Scenario
    #: Training images of an epoch: the first ones of the data set.
    samples: Annotated[int, Meta(ge=1)]


class RunWindow(Message, frozen=True, tag="run_window"):
    """Train one window: so many whole epochs on the first `samples` images."""

    epochs: Annotated[int, Meta(ge=1)]


class Evaluate(Message, frozen=True, tag="evaluate"):
    """The accuracy of what was trained so far."""


class OwnNetwork(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user's, to be tried out."""

    #: "package.module:factory".
    reference: str
    #: Some scenario hybridizes it.
    compiled: bool


class DescribeRequest(Message, frozen=True, tag="describe"):
    """Import the framework and say what it is, once the user's own networks were tried out."""

    framework: Framework
    own_networks: tuple[OwnNetwork, ...] = ()


class ProbeRequest(Message, frozen=True, tag="probe"):
    """Try a device out through the framework; it may hang or crash the worker."""

    framework: Framework
    device: DeviceName


class CeilingRequest(Message, frozen=True, tag="ceiling"):
    """Multiply matrices and add vectors on one device, as fast as the library can."""

    framework: Library
    device: DeviceName
    #: As of a run, but all threads there are: the ceiling of two contexts of one thread is that of two threads.
    omp_num_threads: Annotated[int, Meta(ge=1)]
    #: Rows and columns, ascending.
    matrix_sizes: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1)]
    #: Numbers in each of three arrays, ascending.
    vector_elements: Annotated[tuple[Annotated[int, Meta(ge=1)], ...], Meta(min_length=1)]


class ProfileTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What both parts of a profile are of."""

    scenario: Scenario
    seed: Annotated[int, Meta(ge=0)]
    data_directory: str
    dataset: Dataset


class PhasesRequest(Message, frozen=True, tag="phases"):
    """Measure what each phase of an epoch takes."""

    target: ProfileTarget
    #: Updates of an epoch; None: as many as make it long enough to be measured.
    steps: Annotated[int, Meta(ge=1)] | None
    rounds: Annotated[int, Meta(ge=1)]
    omp_num_threads: Annotated[int, Meta(ge=1)]


class OperatorsRequest(Message, frozen=True, tag="operators"):
    """Record one epoch with the framework's profiler, into `trace.RAW_FILE` in this directory."""

    target: ProfileTarget
    steps: Annotated[int, Meta(ge=1)]
    directory: str
    omp_num_threads: Annotated[int, Meta(ge=1)]


class EpochDone(Message, frozen=True, tag="epoch"):
    """An epoch's window and evaluation are over."""

    index: int
    epoch: Epoch


class RoundDone(Message, frozen=True, tag="round"):
    """So many rounds of a profile are over; none: it is warm, and the first one begins."""

    done: Annotated[int, Meta(ge=0)]


class RunReply(Message, frozen=True, tag="measured"):
    run: Run


class SessionReady(Message, frozen=True, tag="pass_ready"):
    """The data is in memory; commands may come."""


class SetUpDone(Message, frozen=True, tag="set_up_done"):
    first_step_seconds: Annotated[float, Meta(ge=0)]
    warm_up_seconds: Annotated[float, Meta(ge=0)]


class WindowDone(Message, frozen=True, tag="window_done"):
    #: Images really trained.
    samples: Annotated[int, Meta(ge=1)]
    #: From barrier to barrier.
    seconds: Annotated[float, Meta(gt=0)]
    involuntary_context_switches: Annotated[int, Meta(ge=0)]


class Evaluated(Message, frozen=True, tag="evaluated"):
    test_accuracy: Annotated[float, Meta(ge=0, le=1)]


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
    profiled_seconds: Annotated[float, Meta(gt=0)]


class FailureReply(Message, frozen=True, tag="failed"):
    reason: FailureReason
    #: One line.
    detail: str


class UnusableReply(Message, frozen=True, tag="unusable"):
    """The request itself cannot be done by this installation; one line with the next step. The suite stops."""

    detail: str


Request: TypeAlias = (
    RunRequest | SessionRequest | DescribeRequest | ProbeRequest | CeilingRequest | PhasesRequest | OperatorsRequest
)

Command: TypeAlias = SetUp | RunWindow | Evaluate

Reply: TypeAlias = (
    RunReply
    | SessionReady
    | SetUpDone
    | WindowDone
    | Evaluated
    | DescribeReply
    | ProbeReply
    | CeilingReply
    | PhasesReply
    | OperatorsReply
    | FailureReply
    | UnusableReply
)

Event: TypeAlias = EpochDone | RoundDone

FromWorker: TypeAlias = Event | Reply

#: The file in its directory that a profiled process writes, and the category of the phases in it.
RAW_TRACE_FILE: Final = "mxnet.json"

PHASES_DOMAIN: Final = "phases"
