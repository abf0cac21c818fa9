"""What a search found: its winner, who cannot be told from it, what each knob is worth, and what it cost.

Pure functions of a tune file; `race` has decided it all, here it is put into numbers for people.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.experiments.tune import estimates, racing
from bench.experiments.tune.estimates import Sample
from bench.experiments.tune.search_space import KNOBS, position
from bench.records.tune import REFERENCE, Elimination, Measurement, Reason, Round, TuneFile, TunePhase, TunePlan
from bench.scenarios.scenario import Scenario
from bench.stats.intervals import Estimate, TSummary, geometric_mean, ratio_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedCandidate:
    """One candidate that came as far as a process of its own; `n` of its estimates are processes."""

    candidate: int
    scenario: Scenario
    #: Images per second.
    throughput: Estimate
    #: Over the tutorial's loop in the same blocks; None for that loop itself.
    speedup: Estimate | None
    #: Ratio of the winner's speed to this one's; None for the winner itself.
    behind: Estimate | None
    #: On the first test images, after its last windows; the mean over processes.
    accuracy: float | None
    is_winner: bool
    ruled: Elimination | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnobEffect:
    """What the winner would lose with one knob turned."""

    knob: str
    scenario: Scenario
    #: The winner's throughput over this one's; None where this one was not measured.
    ratio: Estimate | None
    #: The kind of round in which both were measured; None: in none.
    phase: TunePhase | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One or more rounds of the same kind."""

    phase: TunePhase
    first_round: int
    last_round: int
    #: Candidates that were measured, the reference aside, and those that gave nothing.
    measured: int
    failed: int
    seconds: float
    ruled: Mapping[Reason, int]
    #: Candidates left after it.
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneResult:
    """What is known when a search has ended, wherever it ended."""

    #: None if no candidate works.
    winner: Scenario | None
    #: Over the tutorial's loop; without an interval where the search ended before its final.
    speedup: Estimate | None
    #: The fastest first; empty where the search ended before its final.
    standings: tuple[RankedCandidate, ...]
    worths: tuple[KnobEffect, ...]
    stages: tuple[Stage, ...]
    #: Candidates that do not work, as (scenario, reason).
    unfit: tuple[tuple[Scenario, Elimination], ...]
    candidates: int
    #: Candidates that were measured at all.
    measured: int
    seconds: float
    #: The search came to its own end.
    complete: bool

    @property
    def wins(self) -> bool:
        """Something was shown to be faster than the tutorial's loop."""
        return self.speedup is not None and self.speedup.lower is not None and self.speedup.lower > 1


def tune_result(tune_file: TuneFile) -> TuneResult:
    plan, rounds = tune_file.plan, tune_file.rounds
    phase = TunePhase.EXHAUSTIVE if plan.exhaustive else TunePhase.FINAL
    in_blocks = estimates.measured_in_blocks(rounds, phase)
    first = estimates.winner(plan, rounds)
    return TuneResult(
        winner=None if first is None else plan.candidates[first].scenario,
        speedup=None if first is None else _ratio(estimates.comparison(plan, rounds, first, REFERENCE)),
        standings=() if first not in in_blocks else tuple(_standings(plan, rounds, in_blocks, first)),
        worths=() if first is None else tuple(_worths(plan, rounds, first)),
        stages=tuple(_stages(plan, rounds)),
        unfit=tuple(
            (plan.candidates[candidate].scenario, ruled)
            for candidate, ruled in estimates.eliminated(rounds).items()
            if ruled.ruling in {Reason.FAILED, Reason.NOT_LEARNT}
        ),
        candidates=len(plan.candidates),
        measured=len({m.candidate for each in rounds for m in each.measurements}),
        seconds=estimates.elapsed_seconds(plan, rounds),
        complete=racing.next_step(plan, rounds) is None,
    )


def _ratio(found: tuple[TunePhase, TSummary] | None) -> Estimate | None:
    return None if found is None else ratio_of(found[1])


def _standings(
    plan: TunePlan, rounds: Sequence[Round], in_blocks: Mapping[int, Sample], first: int
) -> Iterator[RankedCandidate]:
    """The fastest first; the tutorial's loop wherever its place is."""
    gone = estimates.eliminated(rounds)
    measurements: dict[int, list[Measurement]] = {}
    for each in rounds:
        if each.phase in {TunePhase.FINAL, TunePhase.EXHAUSTIVE}:
            for measurement in each.measurements:
                measurements.setdefault(measurement.candidate, []).append(measurement)
    for candidate in sorted(in_blocks, key=lambda each: (each == first, in_blocks[each].center), reverse=True):
        own = measurements[candidate]
        accuracies = [m.last_accuracy for m in own if m.last_accuracy is not None]
        yield RankedCandidate(
            candidate=candidate,
            scenario=plan.candidates[candidate].scenario,
            throughput=geometric_mean([math.exp(estimates.log_rate(m, fastest=False)) for m in own]),
            speedup=None
            if candidate == REFERENCE
            else _ratio(estimates.comparison(plan, rounds, candidate, REFERENCE)),
            behind=None if candidate == first else _ratio(estimates.comparison(plan, rounds, first, candidate)),
            accuracy=statistics.fmean(accuracies) if accuracies else None,
            is_winner=candidate == first,
            ruled=gone.get(candidate),
        )


def _worths(plan: TunePlan, rounds: Sequence[Round], first: int) -> Iterator[KnobEffect]:
    """Knob by knob, the least loss first; what was not measured comes last."""
    positions = [position(candidate.scenario) for candidate in plan.candidates]
    for number, knob in enumerate(KNOBS):
        turned = [
            candidate
            for candidate, other in enumerate(positions)
            if [at for at, place in enumerate(other) if place != positions[first][at]] == [number]
        ]
        worths = []
        for candidate in turned:
            found = estimates.comparison(plan, rounds, first, candidate)
            phase = None if found is None else found[0]
            scenario = plan.candidates[candidate].scenario
            worths.append(KnobEffect(knob=knob, scenario=scenario, ratio=_ratio(found), phase=phase))
        yield from sorted(worths, key=lambda worth: math.inf if worth.ratio is None else worth.ratio.value)


def _stages(plan: TunePlan, rounds: Sequence[Round]) -> Iterator[Stage]:
    """A stage ends with its kind of round, or where somebody was ruled out."""
    left = len(plan.candidates) - 1
    begin = 0
    for index, each in enumerate(rounds):
        left -= sum(ruled.candidate != REFERENCE for ruled in each.ruled)
        ends = index + 1 == len(rounds) or rounds[index + 1].phase is not each.phase or each.ruled
        if ends:
            stage = rounds[begin : index + 1]
            yield Stage(
                phase=each.phase,
                first_round=begin,
                last_round=index,
                measured=len({m.candidate for one in stage for m in one.measurements} - {REFERENCE}),
                failed=len({failure.candidate for one in stage for failure in one.failures} - {REFERENCE}),
                seconds=math.fsum(one.seconds for one in stage),
                ruled=Counter(ruled.ruling for one in stage for ruled in one.ruled),
                left=left,
            )
            begin = index + 1
