"""What the measurements of a search say about its candidates."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.experiments.tune.limits import DOUBT, FIRST_LIMIT, HOPE, HOPELESS
from bench.experiments.tune.search_space import position
from bench.records.tune import REFERENCE, Elimination, Measurement, Round, TunePhase, TunePlan
from bench.stats.intervals import TSummary, t_summary
from bench.stats.surrogate import Model, Position, fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The values of one candidate: one from each process that measured it in a kind of round, in the order of time."""

    phase: TunePhase
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def center(self) -> float:
        """The median of all pairs' means, which one bad process in four does not move far.

        Hodges and Lehmann, "Estimates of location based on rank tests", Annals of Mathematical Statistics 34, 1963.
        """
        pairs = itertools.combinations_with_replacement(self.values, 2)
        return statistics.median((first + second) / 2 for first, second in pairs)

    @property
    def n(self) -> int:
        return len(self.values)


def log_rate(measurement: Measurement, *, fastest: bool) -> float:
    """Return the logarithm of the images per second of the fastest, or of the median, window."""
    rates = [
        math.log(samples / seconds)
        for samples, seconds in zip(measurement.samples, measurement.window_seconds, strict=True)
    ]
    return max(rates) if fastest else statistics.median(rates)


def screening_samples(rounds: Iterable[Round]) -> dict[int, Sample]:
    """Return the samples of screening and heats.

    In the screening the reference was measured before and after a few candidates, in a block of a heat beside them. A
    value is a log ratio to the reference. A candidate that was screened twice, because its first value was doubtful,
    has the faster of both as one value.
    """
    screened: dict[int, float] = {}
    heats: dict[int, list[float]] = {}
    for each in rounds:
        if each.phase not in {TunePhase.SCREENING, TunePhase.HEAT}:
            continue
        rates = [log_rate(measurement, fastest=True) for measurement in each.measurements]
        anchors = [index for index, m in enumerate(each.measurements) if m.candidate == REFERENCE]
        for index, measurement in enumerate(each.measurements):
            if measurement.candidate == REFERENCE or not anchors:
                continue
            before = [anchor for anchor in anchors if anchor < index][-1:]
            after = [anchor for anchor in anchors if anchor > index][:1]
            # The faster of both: if one was interrupted, candidates measured beside it would look fast.
            level = max(rates[anchor] for anchor in (*before, *after))
            candidate, value = measurement.candidate, rates[index] - level
            if each.phase is TunePhase.SCREENING:
                screened[candidate] = max(value, screened.get(candidate, value))
            else:
                heats.setdefault(candidate, []).append(value)
    return {
        candidate: Sample(phase=TunePhase.HEAT, values=(value, *heats.get(candidate, ())))
        for candidate, value in screened.items()
    }


def blocks(rounds: Iterable[Round], phase: TunePhase) -> list[dict[int, float]]:
    """Return, for each block with the reference, the log ratio of each candidate to it; the reference's own is 0."""
    found = []
    for each in rounds:
        if each.phase is phase:
            rates = {m.candidate: log_rate(m, fastest=False) for m in each.measurements}
            if REFERENCE in rates:
                found.append({candidate: rate - rates[REFERENCE] for candidate, rate in rates.items()})
    return found


def measured_in_blocks(rounds: Iterable[Round], phase: TunePhase) -> dict[int, Sample]:
    found: dict[int, list[float]] = {}
    for block in blocks(rounds, phase):
        for candidate, value in block.items():
            found.setdefault(candidate, []).append(value)
    return {candidate: Sample(phase=phase, values=tuple(values)) for candidate, values in found.items()}


def eliminated(rounds: Iterable[Round]) -> dict[int, Elimination]:
    return {ruled.candidate: ruled for each in rounds for ruled in each.ruled}


def contenders(plan: TunePlan, rounds: Sequence[Round]) -> list[int]:
    """Return the candidates that are not eliminated, without the reference."""
    gone = eliminated(rounds)
    return [index for index in range(len(plan.candidates)) if index != REFERENCE and index not in gone]


def differences(rounds: Iterable[Round], leader: int, other: int) -> list[float]:
    """Return by how much the leader was faster (log ratios), block by block of the final."""
    return [
        block[leader] - block[other] for block in blocks(rounds, TunePhase.FINAL) if {leader, other} <= block.keys()
    ]


def comparison(plan: TunePlan, rounds: Sequence[Round], above: int, below: int) -> tuple[TunePhase, TSummary] | None:
    """Return by how much one candidate is faster than another, by the best measurements of both; None without any.

    In the final block by block; elsewhere from means, with the spread of a process that all candidates share: what was
    measured once has no interval before anything was measured twice.
    """
    if paired := differences(rounds, above, below):
        return TunePhase.FINAL, t_summary(paired)
    phase = TunePhase.EXHAUSTIVE if plan.exhaustive else TunePhase.HEAT
    known = measured_in_blocks(rounds, phase) if plan.exhaustive else screening_samples(rounds)
    pooled = pooled_deviation(each for candidate, each in known.items() if candidate != REFERENCE)
    sides = [None if each == REFERENCE else known.get(each) for each in (above, below)]  # the reference's value is 0
    if any(side is None and each != REFERENCE for side, each in zip(sides, (above, below), strict=True)):
        return None
    first, second = (0.0 if side is None else side.mean for side in sides)
    counts = [side.n for side in sides if side is not None]
    if pooled is None or not counts:
        return phase, TSummary(first - second, None, None, min(counts, default=0))
    error = pooled[0] * math.sqrt(math.fsum(1 / count for count in counts))
    return phase, TSummary(first - second, error, pooled[1], min(counts))


def pooled_deviation(known: Iterable[Sample]) -> tuple[float, int] | None:
    """Return the standard deviation of a value around its candidate's mean, and its degrees of freedom.

    None if nothing was repeated.
    """
    squares, freedom = 0.0, 0
    for each in known:
        squares += math.fsum((value - each.mean) ** 2 for value in each.values)
        freedom += each.n - 1
    return (math.sqrt(squares / freedom), freedom) if freedom else None


def winner(plan: TunePlan, rounds: Sequence[Round]) -> int | None:
    """Return the fastest remaining candidate, by the best measurements there are; None if none was measured."""
    phase = TunePhase.EXHAUSTIVE if plan.exhaustive else TunePhase.FINAL
    known = measured_in_blocks(rounds, phase) or {
        REFERENCE: Sample(phase=TunePhase.HEAT, values=(0.0,)),
        **screening_samples(rounds),
    }
    return fastest_candidate(plan, known, contenders(plan, rounds))


def fastest_candidate(plan: TunePlan, known: Mapping[int, Sample], left: Sequence[int]) -> int | None:
    """Return the fastest of the remaining candidates, and of the reference if it may win; None if none is known."""
    among = [*([REFERENCE] if plan.reference_may_win else []), *left]
    return max((each for each in among if each in known), key=lambda each: known[each].center, default=None)


def elapsed_seconds(plan: TunePlan, rounds: Iterable[Round]) -> float:
    return plan.pilot_seconds + math.fsum(each.seconds for each in rounds)


def is_share_spent(plan: TunePlan, rounds: Iterable[Round], share: float) -> bool:
    return plan.budget_seconds is not None and elapsed_seconds(plan, rounds) >= share * plan.budget_seconds


def positions(plan: TunePlan, candidates: Iterable[int]) -> list[Position]:
    return [position(plan.candidates[candidate].scenario) for candidate in candidates]


def fit_model(plan: TunePlan, known: Mapping[int, Sample]) -> Model:
    floor = fastest_rate(known) - HOPELESS
    return fit(positions(plan, known), [max(each.mean, floor) for each in known.values()])


def optimistic_rates(plan: TunePlan, model: Model, unmeasured: Sequence[int]) -> dict[int, float]:
    """How fast an unmeasured candidate may still be."""
    predicted = model.predict(positions(plan, unmeasured))
    upper = predicted.mean + HOPE * predicted.deviation
    return {candidate: float(value) for candidate, value in zip(unmeasured, upper, strict=True)}


def doubtful_candidates(
    rounds: Sequence[Round], known: Mapping[int, Sample], model: Model, left: Sequence[int]
) -> list[int]:
    """Return candidates screened once and far below their leave-one-out prediction: probably an interruption."""
    screened = Counter(m.candidate for each in rounds if each.phase is TunePhase.SCREENING for m in each.measurements)
    expected = model.leave_one_out()
    return [
        candidate
        for candidate, mean, deviation in zip(known, expected.mean, expected.deviation, strict=True)
        if candidate in left
        and screened[candidate] == 1
        and known[candidate].mean < mean - DOUBT * deviation
        and mean + deviation > fastest_rate(known) - FIRST_LIMIT
    ]


def fastest_rate(known: Mapping[int, Sample]) -> float:
    return max(each.mean for each in known.values())


def leading_candidate(known: Mapping[int, Sample], left: Iterable[int]) -> int | None:
    among = [candidate for candidate in left if candidate in known]
    return max(among, key=lambda candidate: known[candidate].mean, default=None)


def neighbours_of_the_fastest(plan: TunePlan, known: Mapping[int, Sample], unmeasured: Sequence[int]) -> set[int]:
    """Return the candidates that differ from the fastest in one knob."""
    leader = leading_candidate(known, known)
    assert leader is not None
    ((own),) = positions(plan, [leader])
    return {
        candidate
        for candidate, other in zip(unmeasured, positions(plan, unmeasured), strict=True)
        if sum(mine != theirs for mine, theirs in zip(own, other, strict=True)) == 1
    }


def times_measured(rounds: Iterable[Round], phase: TunePhase) -> Counter[int]:
    """Return in how many rounds of a phase each candidate was to be measured."""
    return Counter(candidate for each in rounds if each.phase is phase for candidate in asked(each))


def fewest_measured(rounds: Iterable[Round], phase: TunePhase, left: Iterable[int]) -> int:
    """Return in how many rounds of a phase each of the remaining candidates was to be measured, at least."""
    times = times_measured(rounds, phase)
    return min(times[candidate] for candidate in left)


def asked(each: Round) -> set[int]:
    """Return the candidates that a round was to measure, with or without a result."""
    return {m.candidate for m in each.measurements} | {failure.candidate for failure in each.failures}
