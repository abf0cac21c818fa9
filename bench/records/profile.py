"""What a profile file holds: where the epochs of one scenario went, phase by phase and operator by operator.

Raw values only; `experiments.profile.breakdown` derives the tables.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from bench.enums import StrEnum
from bench.ranges import Count, PositiveCount, PositiveSeconds, Seconds, Threads, TrainingSeed
from bench.records.base import Record, Timestamp
from bench.records.environment import Environment
from bench.records.result import Dataset
from bench.scenarios.scenario import Scenario

#: Raised by any change after which an older reader would misread or refuse a file.
#:
#: History:
#: 1. The first.
#: 2. More facts of the environment: kinds of core, who scales the clock, a digest of the source, the state of GPUs.
#:    Ranks and precision of a scenario, as in the result file's version 3. Every file of version 1 is one of version 2.
PROFILE_SCHEMA_VERSION: Final = 2
#: One number for each round.
Rounds = Annotated[tuple[PositiveSeconds, ...], Meta(min_length=1)]


class EpochPhase(StrEnum):
    """What an epoch does, in its order.

    ``SHUFFLE`` lasts until the first batch is there. ``INPUT`` is every other batch asked for, split and loaded, and
    the Python of the loop itself. ``FORWARD`` includes the loss. ``METRIC`` is the training accuracy; where a compiled
    graph counts the right answers, counting is part of its forward pass.
    """

    SHUFFLE = "shuffle"
    INPUT = "input"
    FORWARD = "forward"
    BACKWARD = "backward"
    METRIC = "metric"
    UPDATE = "update"


class PhaseTimes(Record, frozen=True, kw_only=True):
    """One phase, measured in two ways."""

    phase: EpochPhase
    #: Whole epochs, from barrier to barrier, in which this phase and all later ones are skipped; None for the first
    #: phase, without which there is no epoch.
    without_seconds: Rounds | None
    #: The same with this phase, each measured beside the one of the same place in `without_seconds`.
    with_seconds: Rounds
    #: This phase's part of an epoch in which every phase is waited for before the next one begins.
    waited_seconds: Annotated[tuple[Seconds, ...], Meta(min_length=1)]
    #: Times that it began in an epoch.
    calls: PositiveCount


class PhaseRounds(Record, frozen=True, kw_only=True):
    """What one fresh process measured of the phases."""

    #: Updates of a measured epoch.
    steps: PositiveCount
    #: Images of a measured epoch: the first ones of the data set.
    samples: PositiveCount
    #: Seconds of an epoch of the loop as it is, one for each round.
    epoch_seconds: Rounds
    #: In the order of `EpochPhase`.
    phases: tuple[PhaseTimes, ...]


class OperatorTimes(Record, frozen=True, kw_only=True):
    """One of MXNet's operators, as its profiler saw it in one epoch."""

    name: str
    calls: PositiveCount
    total_seconds: Seconds
    min_seconds: Seconds
    max_seconds: Seconds


class ProfiledEpoch(Record, frozen=True, kw_only=True):
    """What another fresh process, in which MXNet does not bulk operators, measured of the same epoch."""

    #: Without the profiler.
    unprofiled_seconds: Rounds
    #: Seconds of the one epoch that the profiler recorded.
    profiled_seconds: PositiveSeconds
    #: Threads of the engine that executed anything.
    engine_threads: Count
    #: The greatest total first.
    operators: tuple[OperatorTimes, ...]


class ProfileFile(Record, frozen=True, kw_only=True):
    """A profile file."""

    profile_schema_version: PositiveCount = PROFILE_SCHEMA_VERSION
    created_at: Timestamp
    environment: Environment
    dataset: Dataset
    scenario: Scenario
    #: Seeds the weights, the shuffling, and the order in which the windows of a round were measured.
    seed: TrainingSeed
    omp_num_threads: Threads
    phases: PhaseRounds
    profiled: ProfiledEpoch


def inconsistencies(profile: ProfileFile) -> list[str]:
    """Return what the types cannot say, one line for each contradiction."""
    found = []
    if tuple(each.phase for each in profile.phases.phases) != tuple(EpochPhase):
        found.append(f"phases are not {', '.join(EpochPhase)}")
    rounds = len(profile.phases.epoch_seconds)
    for each in profile.phases.phases:
        lengths = {len(each.with_seconds), len(each.waited_seconds)}
        if each.without_seconds is not None:
            lengths.add(len(each.without_seconds))
        if lengths != {rounds}:
            found.append(f"{each.phase} was not measured in all of {rounds} rounds")
        if (each.without_seconds is None) is not (each.phase is EpochPhase.SHUFFLE):
            found.append(f"{each.phase}: only the first phase is measured alone")
    return found
