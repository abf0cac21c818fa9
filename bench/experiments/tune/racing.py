"""Which candidates are measured next, and which have lost: pure functions of what was measured so far.

A search begins wide and ends narrow. While it screens, candidates are measured once, the most promising first: that is
predicted from those that were measured (`surrogate`), until what is left is surely no faster or its share of the budget
is spent. In heats all that are left are measured again, each heat in fresh processes, and the surely slower ones drop
out. In the final the last few and the tutorial's loop are each measured in fresh processes of their own, alive together
and taking turns, block by block, until one is left or nothing worth knowing can be learnt (a race: Maron and Moore,
"The racing algorithm", Artificial Intelligence Review 11, 1997; with t tests: Birattari et al., "A racing algorithm for
configuring metaheuristics", GECCO 2002).

Values are logarithms of images per second less those of the reference, the tutorial's loop, measured in between: the
drift of the machine cancels. Of an interruption nothing cancels, but it only ever slows: a measurement of several
windows counts by its fastest one in screening and heats, and by its median one in blocks. The unit of replication is
the process.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.experiments.tune.search_space import position
from bench.records.tune import REFERENCE, Measurement, Phase, Round, Ruled, Ruling, TunePlan
from bench.stats.intervals import LogDifference
from bench.stats.paired import standard_error, t_quantile, t_upper_bound
from bench.stats.surrogate import Model, Position, fit

#: Candidates of the first round, for each place of the knob that has the most of them: every place of every knob is met
#: about as often.
_FIRST_PER_PLACE: Final = 6
#: Of every later one: a few seconds, after which the prediction is made anew.
_BATCH: Final = 12
#: Until so many are measured, and such a share, the prediction is not believed of anyone.
_LEAST_SCREENED: Final = 48
_LEAST_SCREENED_SHARE: Final = 1 / 8
#: An unmeasured candidate may still win while its prediction plus so many standard deviations reaches the fastest.
_HOPE: Final = 3.0
#: What is slower by this than the fastest is as bad as can be: a prediction need not tell hopeless from worse, and an
#: interrupted measurement must not drag down all that are like it.
_HOPELESS: Final = math.log(4)
#: Shares of the budget at whose end the screening, and the heats, are over.
_SCREENING_SHARE: Final = 0.4
_SEARCH_SHARE: Final = 0.6

#: A timed window lasts at least this long: in a screening, in a heat, in a block.
_SCREENING_SECONDS: Final = 0.05
_HEAT_SECONDS: Final = 0.1
_BLOCK_SECONDS: Final = 0.2

#: Faster by less than this is not worth telling apart before the final: one process differs from another by more.
_INDIFFERENCE: Final = math.log(1.03)
#: Standard deviation of a single measurement before any was repeated, as a logarithm: 2.5 of them, for a difference of
#: two, make a factor of 1.5.
_FIRST_DEVIATION: Final = 0.1
_FIRST_LIMIT: Final = _INDIFFERENCE + 2.5 * _FIRST_DEVIATION * math.sqrt(2)
#: Slower than expected by more than so many standard deviations is not believed at once.
_DOUBT: Final = 1.5
#: It is never believed to be smaller: a few repetitions agree by chance.
_LEAST_DEVIATION: Final = 0.01
#: One-sided, of each comparison with the fastest in heats.
_HEAT_ALPHA: Final = 0.005
_MOST_HEATS: Final = 3

#: Candidates in a block beside the reference: as many processes as a small machine has memory for.
FINALISTS: Final = 6
#: Blocks after which a finalist may drop out, after which the final may end, and after which it does.
_FIRST_LOOK: Final = 3
_LEAST_BLOCKS: Final = 5
_MOST_BLOCKS: Final = 16
#: Without a second block there is no interval, whatever the budget.
FEWEST_BLOCKS: Final = 2
#: One-sided, of each comparison with the fastest in the final.
_FINAL_ALPHA: Final = 0.01
#: All that are left surely within this of the fastest: it does not matter which is taken.
_WHICHEVER: Final = math.log(1.01)
_WHICHEVER_ALPHA: Final = 0.025

#: Of an exhaustive search: blocks of so many candidates, and blocks for each candidate.
_EXHAUSTIVE_BLOCK: Final = 7
EXHAUSTIVE_PASSES: Final = 2

#: After the same epoch of the same images from the same weights two loops differ by rounding: by a few images.
_ACCURACY_DIFFERENCE: Final = 0.02
#: Whoever goes on learning gets no worse but for the chance of so many standard errors.
_ACCURACY_ERRORS: Final = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A round to measure."""

    phase: Phase
    #: In the order in which they are measured; in blocks, in which they take their first turn. The reference comes in
    #: between by itself.
    candidates: tuple[int, ...]
    #: A timed window lasts at least this long.
    window_seconds: float
    #: A candidate whose value is below this needs no long window.
    hopeless_below: float = -math.inf


# --- what the measurements say


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Of one candidate: a value from each process that measured it in one kind of round, in the order of time."""

    phase: Phase
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
    """Logarithm of images per second, of the fastest or the median window."""
    rates = [
        math.log(samples / seconds)
        for samples, seconds in zip(measurement.samples, measurement.window_seconds, strict=True)
    ]
    return max(rates) if fastest else statistics.median(rates)


def searched(rounds: Iterable[Round]) -> dict[int, Known]:
    """From screening and heats, where the reference was measured before and after a few candidates.

    Whoever was screened again, since nobody believed how slow it was, has the faster of both as one value.
    """
    screened: dict[int, float] = {}
    heats: dict[int, list[float]] = {}
    for each in rounds:
        if each.phase not in {Phase.SCREENING, Phase.HEAT}:
            continue
        rates = [log_rate(measurement, fastest=True) for measurement in each.measurements]
        anchors = [index for index, m in enumerate(each.measurements) if m.candidate == REFERENCE]
        for index, measurement in enumerate(each.measurements):
            if measurement.candidate == REFERENCE or not anchors:
                continue
            before = [anchor for anchor in anchors if anchor < index][-1:]
            after = [anchor for anchor in anchors if anchor > index][:1]
            # The faster of both: an interruption of one would make whoever was measured beside it look fast.
            level = max(rates[anchor] for anchor in (*before, *after))
            candidate, value = measurement.candidate, rates[index] - level
            if each.phase is Phase.SCREENING:
                screened[candidate] = max(value, screened.get(candidate, value))
            else:
                heats.setdefault(candidate, []).append(value)
    return {
        candidate: Known(phase=Phase.HEAT, values=(value, *heats.get(candidate, ())))
        for candidate, value in screened.items()
    }


def blocks(rounds: Iterable[Round], phase: Phase) -> list[dict[int, float]]:
    """Of each block in which the reference was measured, the value of each candidate; the reference's own is 0."""
    found = []
    for each in rounds:
        if each.phase is phase:
            rates = {m.candidate: log_rate(m, fastest=False) for m in each.measurements}
            if REFERENCE in rates:
                found.append({candidate: rate - rates[REFERENCE] for candidate, rate in rates.items()})
    return found


def measured_in_blocks(rounds: Iterable[Round], phase: Phase) -> dict[int, Known]:
    found: dict[int, list[float]] = {}
    for block in blocks(rounds, phase):
        for candidate, value in block.items():
            found.setdefault(candidate, []).append(value)
    return {candidate: Known(phase=phase, values=tuple(values)) for candidate, values in found.items()}


def ruled_out(rounds: Iterable[Round]) -> dict[int, Ruled]:
    return {ruled.candidate: ruled for each in rounds for ruled in each.ruled}


def contenders(plan: TunePlan, rounds: Sequence[Round]) -> list[int]:
    """Who is left, the reference aside."""
    gone = ruled_out(rounds)
    return [index for index in range(len(plan.candidates)) if index != REFERENCE and index not in gone]


def differences(rounds: Iterable[Round], leader: int, other: int) -> list[float]:
    """By how much the leader was faster, block by block of the final."""
    return [block[leader] - block[other] for block in blocks(rounds, Phase.FINAL) if {leader, other} <= block.keys()]


def comparison(plan: TunePlan, rounds: Sequence[Round], above: int, below: int) -> tuple[Phase, LogDifference] | None:
    """By how much one is faster than another, by the best measurements there are of both; None: there are none.

    In the final block by block; elsewhere from means, with the spread of a process that all candidates share: what was
    measured once has no interval before anything was measured twice.
    """
    if paired := differences(rounds, above, below):
        n = len(paired)
        error = standard_error(paired) if n > 1 else None
        return Phase.FINAL, LogDifference(statistics.fmean(paired), error, n - 1 or None, n)
    phase = Phase.EXHAUSTIVE if plan.exhaustive else Phase.HEAT
    known = measured_in_blocks(rounds, phase) if plan.exhaustive else searched(rounds)
    pooled = pooled_deviation(each for candidate, each in known.items() if candidate != REFERENCE)
    sides = [None if each == REFERENCE else known.get(each) for each in (above, below)]  # the reference's value is 0
    if any(side is None and each != REFERENCE for side, each in zip(sides, (above, below), strict=True)):
        return None
    first, second = (0.0 if side is None else side.mean for side in sides)
    counts = [side.n for side in sides if side is not None]
    if pooled is None or not counts:
        return phase, LogDifference(first - second, None, None, min(counts, default=0))
    error = pooled[0] * math.sqrt(math.fsum(1 / count for count in counts))
    return phase, LogDifference(first - second, error, pooled[1], min(counts))


def pooled_deviation(known: Iterable[Known]) -> tuple[float, int] | None:
    """Of one process's value around its candidate's mean, and its degrees of freedom; None: nothing was repeated."""
    squares, freedom = 0.0, 0
    for each in known:
        squares += math.fsum((value - each.mean) ** 2 for value in each.values)
        freedom += each.n - 1
    return (math.sqrt(squares / freedom), freedom) if freedom else None


def winner(plan: TunePlan, rounds: Sequence[Round]) -> int | None:
    """The fastest of those that are left, by the best measurements there are; None: nobody was measured."""
    phase = Phase.EXHAUSTIVE if plan.exhaustive else Phase.FINAL
    known = measured_in_blocks(rounds, phase) or {REFERENCE: Known(phase=Phase.HEAT, values=(0.0,)), **searched(rounds)}
    return _first(plan, known, contenders(plan, rounds))


def _first(plan: TunePlan, known: Mapping[int, Known], left: Sequence[int]) -> int | None:
    """Of those that are left, and the reference where it may win."""
    among = [*([REFERENCE] if plan.reference_may_win else []), *left]
    return max((each for each in among if each in known), key=lambda each: known[each].center, default=None)


# --- what is measured next


def next_step(plan: TunePlan, rounds: Sequence[Round]) -> Step | None:
    """None: the search is over."""
    left = contenders(plan, rounds)
    if REFERENCE in ruled_out(rounds) or not left:
        return None
    if plan.exhaustive:
        return _exhaustive_step(plan, rounds, left)
    if _in_final(rounds, left):
        return None if _final_is_over(plan, rounds, left) else _block(plan, rounds, left)
    known = searched(rounds)
    chosen = [] if any(each.phase is Phase.HEAT for each in rounds) else _to_screen(plan, rounds, known, left)
    if not chosen:
        return Step(phase=Phase.HEAT, candidates=_shuffled(plan, rounds, left), window_seconds=_HEAT_SECONDS)
    return Step(
        phase=Phase.SCREENING,
        candidates=_shuffled(plan, rounds, chosen),
        window_seconds=_SCREENING_SECONDS,
        hopeless_below=_fastest(known) - _HOPELESS if known else -math.inf,
    )


def _in_final(rounds: Sequence[Round], left: Sequence[int]) -> bool:
    """Few enough are left, or were from the beginning."""
    return len(left) <= FINALISTS or any(each.phase is Phase.FINAL for each in rounds)


def _block(plan: TunePlan, rounds: Sequence[Round], left: Sequence[int]) -> Step:
    return Step(
        phase=Phase.FINAL,
        candidates=_shuffled(plan, rounds, [REFERENCE, *left]),
        window_seconds=_BLOCK_SECONDS,
    )


def _exhaustive_step(plan: TunePlan, rounds: Sequence[Round], left: Sequence[int]) -> Step | None:
    """In each pass all candidates in a new random order; what is ruled out meanwhile is left out."""
    times = Counter(m for each in rounds for m in asked(each))
    for number in range(EXHAUSTIVE_PASSES):
        order = list(range(1, len(plan.candidates)))
        random.Random(f"{plan.seed}/pass {number}").shuffle(order)  # noqa: S311  # an order, not a secret
        todo = [candidate for candidate in order if candidate in left and times[candidate] <= number]
        if todo:
            chosen = [REFERENCE, *todo[:_EXHAUSTIVE_BLOCK]]
            return Step(
                phase=Phase.EXHAUSTIVE,
                candidates=_shuffled(plan, rounds, chosen),
                window_seconds=_BLOCK_SECONDS,
            )
    return None


def asked(each: Round) -> set[int]:
    """Who was to be measured in a round, with or without a result."""
    return {m.candidate for m in each.measurements} | {failure.candidate for failure in each.failures}


def _shuffled(plan: TunePlan, rounds: Sequence[Round], candidates: Sequence[int]) -> tuple[int, ...]:
    """Known beforehand from the seed and the number of the round."""
    order = list(candidates)
    random.Random(f"{plan.seed}/{len(rounds)}").shuffle(order)  # noqa: S311  # as above
    return tuple(order)


def elapsed_seconds(plan: TunePlan, rounds: Iterable[Round]) -> float:
    return plan.pilot_seconds + math.fsum(each.seconds for each in rounds)


def _spent(plan: TunePlan, rounds: Iterable[Round], share: float) -> bool:
    return plan.budget_seconds is not None and elapsed_seconds(plan, rounds) >= share * plan.budget_seconds


# --- screening


def _positions(plan: TunePlan, candidates: Iterable[int]) -> list[Position]:
    return [position(plan.candidates[candidate].scenario) for candidate in candidates]


def _to_screen(plan: TunePlan, rounds: Sequence[Round], known: Mapping[int, Known], left: Sequence[int]) -> list[int]:
    """At first the most various. Then the doubtful again, those one knob from the fastest, and those with most hope."""
    unmeasured = [candidate for candidate in left if candidate not in known]
    if not known:
        return _various(plan, rounds, unmeasured)
    model = _model(plan, known)
    doubtful = [] if _spent(plan, rounds, _SCREENING_SHARE) else _doubtful(rounds, known, model, left)
    if not unmeasured:
        return doubtful
    hope, neighbours = _hopes(plan, model, unmeasured), _neighbours(plan, known, unmeasured)
    ordered = sorted(unmeasured, key=lambda candidate: (candidate in neighbours, hope[candidate]), reverse=True)
    return [*doubtful, *ordered[:_BATCH]]


def _various(plan: TunePlan, rounds: Sequence[Round], unmeasured: Sequence[int]) -> list[int]:
    """One after the other the candidate whose places were met least so far; of equals a random one."""
    order = _shuffled(plan, rounds, unmeasured)
    places = dict(zip(order, _positions(plan, order), strict=True))
    met: list[dict[object, int]] = [{} for _ in next(iter(places.values()))]
    most = max(len({position[knob] for position in places.values()}) for knob in range(len(met)))
    chosen: list[int] = []
    for _ in range(min(len(order), _FIRST_PER_PLACE * most)):
        best = min(
            places, key=lambda each: sum(knob.get(place, 0) for knob, place in zip(met, places[each], strict=True))
        )
        for knob, place in zip(met, places.pop(best), strict=True):
            knob[place] = knob.get(place, 0) + 1
        chosen.append(best)
    return chosen


def _model(plan: TunePlan, known: Mapping[int, Known]) -> Model:
    floor = _fastest(known) - _HOPELESS
    return fit(_positions(plan, known), [max(each.mean, floor) for each in known.values()])


def _hopes(plan: TunePlan, model: Model, unmeasured: Sequence[int]) -> dict[int, float]:
    """How fast an unmeasured candidate may still be."""
    predicted = model.predict(_positions(plan, unmeasured))
    upper = predicted.mean + _HOPE * predicted.deviation
    return {candidate: float(value) for candidate, value in zip(unmeasured, upper, strict=True)}


def _doubtful(rounds: Sequence[Round], known: Mapping[int, Known], model: Model, left: Sequence[int]) -> list[int]:
    """Who was screened once and was far slower than those like it, which are not slow at all: an interruption?"""
    screened = Counter(m.candidate for each in rounds if each.phase is Phase.SCREENING for m in each.measurements)
    expected = model.leave_one_out()
    return [
        candidate
        for candidate, mean, deviation in zip(known, expected.mean, expected.deviation, strict=True)
        if candidate in left
        and screened[candidate] == 1
        and known[candidate].mean < mean - _DOUBT * deviation
        and mean + deviation > _fastest(known) - _FIRST_LIMIT
    ]


def _fastest(known: Mapping[int, Known]) -> float:
    return max(each.mean for each in known.values())


def _leader(known: Mapping[int, Known], left: Iterable[int]) -> int | None:
    among = [candidate for candidate in left if candidate in known]
    return max(among, key=lambda candidate: known[candidate].mean, default=None)


def _neighbours(plan: TunePlan, known: Mapping[int, Known], unmeasured: Sequence[int]) -> set[int]:
    """Who differs from the fastest by one knob."""
    leader = _leader(known, known)
    assert leader is not None
    ((own),) = _positions(plan, [leader])
    return {
        candidate
        for candidate, other in zip(unmeasured, _positions(plan, unmeasured), strict=True)
        if sum(mine != theirs for mine, theirs in zip(own, other, strict=True)) == 1
    }


# --- who has lost


def rulings(plan: TunePlan, rounds: Sequence[Round]) -> tuple[Ruled, ...]:
    """Who is out after the last of these rounds, and why."""
    last = rounds[-1]
    found = [*_failed(last), *_not_learnt(plan, last)]
    gone = {ruled.candidate for ruled in found}
    left = [candidate for candidate in contenders(plan, rounds) if candidate not in gone]
    match last.phase:
        case Phase.SCREENING:
            found += _after_screening(plan, rounds, left)
        case Phase.HEAT:
            found += _after_heat(plan, rounds, left)
        case Phase.FINAL:
            found += _after_block(plan, rounds, left)
        case Phase.EXHAUSTIVE:
            pass  # nobody is ruled out for being slow
    return tuple(found)


def _failed(last: Round) -> list[Ruled]:
    """Whoever failed where nothing else can be to blame."""
    measured = {measurement.candidate for measurement in last.measurements}
    failures = {each.candidate: each for each in last.failures if each.fresh and each.candidate not in measured}
    return [
        Ruled(candidate=candidate, ruling=Ruling.FAILED, detail=f"{failure.reason}: {failure.detail}")
        for candidate, failure in failures.items()
    ]


def _not_learnt(plan: TunePlan, last: Round) -> list[Ruled]:
    """Judged where the reference trained the same epoch."""
    reference = next((m.first_accuracy for m in last.measurements if m.candidate == REFERENCE), None)
    if reference is None:
        return []
    chance = _ACCURACY_ERRORS * math.sqrt(2 * 0.25 / plan.test_samples)
    found = []
    for measurement in last.measurements:
        first, final = measurement.first_accuracy, measurement.last_accuracy
        if first is None or final is None or measurement.candidate == REFERENCE:
            continue
        if abs(first - reference) > _ACCURACY_DIFFERENCE + 1 / plan.test_samples:
            detail = f"accuracy {first:.4f} after one epoch, {reference:.4f} with the tutorial's loop"
        elif final < first - _ACCURACY_DIFFERENCE - chance:
            detail = f"accuracy fell from {first:.4f} to {final:.4f} while it trained"
        else:
            continue
        found.append(Ruled(candidate=measurement.candidate, ruling=Ruling.NOT_LEARNT, detail=detail))
    return found


def _slower(candidate: int, leader: int, by: float, measured: str) -> Ruled:
    detail = f"{_percent(by)} slower than candidate {leader}, {measured}"
    return Ruled(candidate=candidate, ruling=Ruling.SLOWER, detail=detail)


def _percent(difference: float) -> str:
    """Of the faster one's speed: log 2 is 50 % slower."""
    return f"{-100 * math.expm1(-difference):.0f} %"


def _after_screening(plan: TunePlan, rounds: Sequence[Round], left: Sequence[int]) -> list[Ruled]:
    known = searched(rounds)
    leader = _leader(known, left)
    if leader is None:
        return []
    model = _model(plan, known)
    doubtful = _doubtful(rounds, known, model, left)
    behind = {each: known[leader].mean - known[each].mean for each in left if each in known and each not in doubtful}
    found = [_slower(each, leader, by, "measured once") for each, by in behind.items() if by > _FIRST_LIMIT]
    unmeasured = [candidate for candidate in left if candidate not in known]
    if unmeasured:
        hope = _hopes(plan, model, unmeasured)
        goes_on = (
            len(known) < max(_LEAST_SCREENED, _LEAST_SCREENED_SHARE * len(plan.candidates))
            or max(hope.values()) >= _fastest(known)
            or _neighbours(plan, known, unmeasured)
            or doubtful
        )
        if goes_on and not _spent(plan, rounds, _SCREENING_SHARE):
            return found
        found += [_unmeasured(each, hope[each], _fastest(known)) for each in unmeasured]
    gone = {ruled.candidate for ruled in found}
    if _spent(plan, rounds, _SEARCH_SHARE):
        found += _outranked(known, [candidate for candidate in left if candidate not in gone])
    return found


def _unmeasured(candidate: int, hope: float, fastest: float) -> Ruled:
    if hope < fastest:
        detail = f"at least {_percent(fastest - hope)} slower than the fastest, if it is like those measured"
        return Ruled(candidate=candidate, ruling=Ruling.PREDICTED, detail=detail)
    return Ruled(candidate=candidate, ruling=Ruling.OUT_OF_TIME, detail="the budget's share for screening had ended")


def _after_heat(plan: TunePlan, rounds: Sequence[Round], left: Sequence[int]) -> list[Ruled]:
    known = searched(rounds)
    leader = _leader(known, left)
    pooled = pooled_deviation(known[candidate] for candidate in left if candidate in known)
    if leader is None or pooled is None:
        return []
    deviation, quantile = max(pooled[0], _LEAST_DEVIATION), t_quantile(pooled[1], 1 - _HEAT_ALPHA)
    found = []
    for candidate in left:
        by = known[leader].mean - known[candidate].mean
        error = deviation * math.sqrt(1 / known[leader].n + 1 / known[candidate].n)
        if by > _INDIFFERENCE + quantile * error:
            found.append(_slower(candidate, leader, by, f"in {known[candidate].n} processes"))
    gone = {ruled.candidate for ruled in found}
    heats = sum(each.phase is Phase.HEAT for each in rounds)
    if heats >= _MOST_HEATS or _spent(plan, rounds, _SEARCH_SHARE):
        found += _outranked(known, [candidate for candidate in left if candidate not in gone])
    return found


def _outranked(known: Mapping[int, Known], left: Sequence[int]) -> list[Ruled]:
    """Those for whom the final has no room."""
    ranked = sorted(left, key=lambda candidate: known[candidate].mean, reverse=True)
    detail = f"{FINALISTS} others were faster, though not surely"
    return [Ruled(candidate=each, ruling=Ruling.OUTRANKED, detail=detail) for each in ranked[FINALISTS:]]


def _after_block(plan: TunePlan, rounds: Sequence[Round], left: Sequence[int]) -> list[Ruled]:
    leader = _first(plan, measured_in_blocks(rounds, Phase.FINAL), left)
    if leader is None:  # the reference failed in every block so far
        return []
    found = []
    for candidate in left:
        ahead = differences(rounds, leader, candidate)
        if candidate != leader and len(ahead) >= _FIRST_LOOK and _lower_bound(ahead, _FINAL_ALPHA) > 0:
            found.append(_slower(candidate, leader, statistics.fmean(ahead), f"in {len(ahead)} blocks"))
    return found


def _lower_bound(differences_: Sequence[float], alpha: float) -> float:
    return -t_upper_bound([-each for each in differences_], alpha)


def _final_is_over(plan: TunePlan, rounds: Sequence[Round], left: Sequence[int]) -> bool:
    final = [each for each in rounds if each.phase is Phase.FINAL]
    done = len(blocks(final, Phase.FINAL))
    if done < FEWEST_BLOCKS:
        return False
    if done >= _MOST_BLOCKS:
        return True
    if done >= _LEAST_BLOCKS and _whichever(plan, rounds, left):
        return True
    if plan.budget_seconds is None:
        return False
    expected = final[-1].seconds * (1 + len(left)) / len(asked(final[-1]))
    return elapsed_seconds(plan, rounds) + expected > plan.budget_seconds


def _whichever(plan: TunePlan, rounds: Sequence[Round], left: Sequence[int]) -> bool:
    """Nobody else is left, or only those that are surely as fast."""
    leader = _first(plan, measured_in_blocks(rounds, Phase.FINAL), left)
    assert leader is not None
    ahead = [differences(rounds, leader, candidate) for candidate in left if candidate != leader]
    return all(t_upper_bound(each, _WHICHEVER_ALPHA) < _WHICHEVER for each in ahead)
