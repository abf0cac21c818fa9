"""What a tune file holds: the candidates, every round that was measured, and what each round ruled out.

Raw values, and what was decided on them at the time: `mnist-bench tune --replay FILE` tells the same story from the
file from every version of the program. `experiments.tune.racing` decides.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bench.enums import StrEnum
from bench.ranges import Count, Fraction, Images, PositiveCount, PositiveSeconds, Seconds, Threads, TrainingSeed
from bench.records.base import Record, Timestamp
from bench.records.environment import Environment
from bench.records.result import Dataset, FailureReason, InProgress
from bench.scenarios.scenario import Scenario

#: Raised by any change after which an older reader would misread or refuse a file.
#:
#: History:
#: 1. The first: environment, dataset, plan, rounds.
#: 2. More facts of the environment: kinds of core, who scales the clock, a digest of the source, the state of GPUs.
#:    Ranks and precision of a scenario, as in the result file's version 3. `in_progress`. Every file of version 1 is
#:    one of version 2.
TUNE_SCHEMA_VERSION: Final = 2
#: The tutorial's loop, which every other is compared with.
REFERENCE: Final = 0


class TunePhase(StrEnum):
    """What a round of measurements is for; they come in this order."""

    #: Candidates one after the other, each once, in processes that live on; the reference in between.
    SCREENING = "screening"
    #: A few of those that are left and the reference, in a block: each has a fresh process, all are alive together and
    #: take turns.
    HEAT = "heat"
    #: All of the last few and the reference, in a block.
    FINAL = "final"
    #: As in a heat, but none is out for being slow: an exhaustive search.
    EXHAUSTIVE = "exhaustive"


class Reason(StrEnum):
    """The reason why a candidate is not measured any further."""

    #: It was measured, and is surely slower than the fastest.
    SLOWER = "slower"
    #: It was not measured: those like it say that it is slower.
    PREDICTED = "predicted"
    #: It was measured and may be as fast, but as many others as the final holds were faster.
    OUTRANKED = "outranked"
    #: It gave no result twice, the second time in a fresh process.
    FAILED = "failed"
    #: Its network did not learn what the reference's learnt from the same images.
    NOT_LEARNT = "not_learnt"
    #: Not measured: the budget's share for the search ended.
    OUT_OF_TIME = "out_of_time"


class Candidate(Record, frozen=True, kw_only=True):
    """One setting."""

    scenario: Scenario
    omp_num_threads: Threads


class TunePlan(Record, frozen=True, kw_only=True):
    """What is searched, and everything but the measurements that decides how."""

    #: The first is the reference.
    candidates: Annotated[tuple[Candidate, ...], Meta(min_length=1)]
    #: False: it is only compared with, since the restrictions exclude it.
    reference_may_win: bool
    #: Every candidate is measured with the same effort, however long that takes.
    exhaustive: bool
    #: Budget of the whole search; None: unlimited.
    budget_seconds: PositiveSeconds | None
    #: Orders the measurements and seeds the trainings.
    seed: TrainingSeed
    #: Training images of an epoch while screening, and in the final.
    screening_samples: Images
    final_samples: Images
    #: Test images of an accuracy.
    test_samples: Images
    #: A process that takes longer for one command, such as training a window, hangs.
    command_seconds: PositiveSeconds
    #: Duration of the pilot, which finds out before the first round how fast the reference is.
    pilot_seconds: Seconds


class Measurement(Record, frozen=True, kw_only=True):
    """What one set-up of one candidate gave."""

    candidate: Count
    set_up_seconds: Seconds
    #: Images really trained in each window, and seconds from barrier to barrier.
    samples: Annotated[tuple[PositiveCount, ...], Meta(min_length=1)]
    window_seconds: Annotated[tuple[PositiveSeconds, ...], Meta(min_length=1)]
    #: On the first test images: after one epoch, which is as much training for all of a round, and after the windows.
    #: None where only time was measured.
    first_accuracy: Fraction | None = None
    last_accuracy: Fraction | None = None


class MeasurementFailure(Record, frozen=True, kw_only=True):
    """A measurement that gave nothing."""

    candidate: Count
    reason: FailureReason
    #: One line.
    detail: str
    #: The end of the process's error output.
    log: str
    #: Whether the process had measured nothing before, so that no other candidate is to blame.
    fresh: bool


class Elimination(Record, frozen=True, kw_only=True):
    """A candidate that leaves the race."""

    candidate: Count
    ruling: Reason
    #: One line.
    detail: str


class Round(Record, frozen=True, kw_only=True):
    """What was measured between two decisions, and what was decided on it."""

    phase: TunePhase
    started_at: Timestamp
    #: Start to end, processes and the choice of what to measure included.
    seconds: PositiveSeconds
    #: In the order of time; the reference is measured in between, so that the machine's drift can be told.
    measurements: tuple[Measurement, ...]
    failures: tuple[MeasurementFailure, ...] = ()
    ruled: tuple[Elimination, ...] = ()


class TuneFile(Record, frozen=True, kw_only=True):
    """A tune file."""

    tune_schema_version: PositiveCount = TUNE_SCHEMA_VERSION
    created_at: Timestamp
    environment: Environment
    dataset: Dataset
    plan: TunePlan
    rounds: tuple[Round, ...] = ()
    #: The index of a round that was begun and has not ended.
    in_progress: InProgress | None = None


def with_round(tune_file: TuneFile, finished: Round) -> TuneFile:
    return msgspec.structs.replace(tune_file, rounds=(*tune_file.rounds, finished), in_progress=None)


def inconsistencies(tune_file: TuneFile) -> list[str]:
    """Return what the types cannot say, one line for each contradiction."""
    found = []
    candidates = tune_file.plan.candidates
    if len({candidate.scenario for candidate in candidates}) != len(candidates):
        found.append("the plan has a candidate twice")
    for index, measured in enumerate(tune_file.rounds):
        named = [each.candidate for each in measured.measurements]
        named += [each.candidate for each in measured.failures]
        named += [each.candidate for each in measured.ruled]
        if max(named, default=0) >= len(candidates):
            found.append(f"round {index}: candidate {max(named)} of {len(candidates)}")
        if any(len(each.samples) != len(each.window_seconds) for each in measured.measurements):
            found.append(f"round {index}: a measurement has not as many samples as window_seconds")
    return found
