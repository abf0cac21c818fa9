"""What a worker tells: events while it works, and a reply to each request and command."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from bench.ranges import Count, Fraction, Number, PositiveCount, PositiveSeconds, Seconds
from bench.records.base import Sha256, Timestamp
from bench.records.energy import EnergyReading
from bench.records.environment import Software
from bench.records.profile import PhaseRounds, Rounds
from bench.records.result import Ceiling, Epoch, FailureReason, Numerics, RankWindow, Run
from bench.worker.protocol.base import Message, Port
from mnist_core.devices import Probe


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
    #: With the warm-up's epochs.
    warm_up_seconds: Seconds
    #: Of the warm-up's last epoch.
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
