"""Eliminate candidates: which have lost, and for what reason."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from bench.experiments.tune.estimates import (
    Sample,
    asked,
    blocks,
    contenders,
    differences,
    doubtful_candidates,
    elapsed_seconds,
    fastest_candidate,
    fastest_rate,
    fewest_measured,
    fit_model,
    is_share_spent,
    leading_candidate,
    measured_in_blocks,
    neighbours_of_the_fastest,
    optimistic_rates,
    pooled_deviation,
    screening_samples,
)
from bench.experiments.tune.limits import (
    ACCURACY_DIFFERENCE,
    ACCURACY_ERRORS,
    CHOICE_FREE,
    CHOICE_FREE_ALPHA,
    FEWEST_BLOCKS,
    FINAL_ALPHA,
    FINALISTS,
    FIRST_LIMIT,
    FIRST_LOOK,
    HEAT_ALPHA,
    INDIFFERENCE,
    LEAST_BLOCKS,
    LEAST_DEVIATION,
    LEAST_SCREENED,
    LEAST_SCREENED_SHARE,
    MOST_BLOCKS,
    MOST_HEATS,
    SCREENING_SHARE,
    SEARCH_SHARE,
)
from bench.records.tune import REFERENCE, Elimination, Reason, Round, TunePhase, TunePlan
from bench.stats.intervals import t_quantile, t_summary, upper_bound


def eliminations(plan: TunePlan, rounds: Sequence[Round]) -> tuple[Elimination, ...]:
    """Return the candidates that the last of these rounds eliminates, with the reasons."""
    last = rounds[-1]
    found = [*_failed(last), *_not_learnt(plan, last)]
    gone = {ruled.candidate for ruled in found}
    left = [candidate for candidate in contenders(plan, rounds) if candidate not in gone]
    match last.phase:
        case TunePhase.SCREENING:
            found += _after_screening(plan, rounds, left)
        case TunePhase.HEAT:
            found += _after_heat(plan, rounds, left)
        case TunePhase.FINAL:
            found += _after_block(plan, rounds, left)
        case TunePhase.EXHAUSTIVE:
            pass  # an exhaustive search eliminates none for being slow
    return tuple(found)


def _failed(last: Round) -> list[Elimination]:
    """Eliminate candidates that failed in a fresh process, where nothing else can be the cause."""
    measured = {measurement.candidate for measurement in last.measurements}
    failures = {each.candidate: each for each in last.failures if each.fresh and each.candidate not in measured}
    return [
        Elimination(candidate=candidate, ruling=Reason.FAILED, detail=f"{failure.reason}: {failure.detail}")
        for candidate, failure in failures.items()
    ]


def _not_learnt(plan: TunePlan, last: Round) -> list[Elimination]:
    """Eliminate candidates that learn worse than the reference did in the same epoch."""
    reference = next((m.first_accuracy for m in last.measurements if m.candidate == REFERENCE), None)
    if reference is None:
        return []
    chance = ACCURACY_ERRORS * math.sqrt(2 * 0.25 / plan.test_samples)
    found = []
    for measurement in last.measurements:
        first, final = measurement.first_accuracy, measurement.last_accuracy
        if first is None or final is None or measurement.candidate == REFERENCE:
            continue
        if abs(first - reference) > ACCURACY_DIFFERENCE + 1 / plan.test_samples:
            detail = f"accuracy {first:.4f} after one epoch, {reference:.4f} with the tutorial's loop"
        elif final < first - ACCURACY_DIFFERENCE - chance:
            detail = f"accuracy fell from {first:.4f} to {final:.4f} while it trained"
        else:
            continue
        found.append(Elimination(candidate=measurement.candidate, ruling=Reason.NOT_LEARNT, detail=detail))
    return found


def _slower(candidate: int, leader: int, by: float, measured: str) -> Elimination:
    detail = f"{_percent(by)} slower than candidate {leader}, {measured}"
    return Elimination(candidate=candidate, ruling=Reason.SLOWER, detail=detail)


def _percent(difference: float) -> str:
    """Format a log ratio as a share of the faster one's speed: log 2 is 50 %."""
    return f"{-100 * math.expm1(-difference):.0f} %"


def _after_screening(plan: TunePlan, rounds: Sequence[Round], left: Sequence[int]) -> list[Elimination]:
    known = screening_samples(rounds)
    leader = leading_candidate(known, left)
    if leader is None:
        return []
    model = fit_model(plan, known)
    doubtful = doubtful_candidates(rounds, known, model, left)
    behind = {each: known[leader].mean - known[each].mean for each in left if each in known and each not in doubtful}
    found = [_slower(each, leader, by, "measured once") for each, by in behind.items() if by > FIRST_LIMIT]
    unmeasured = [candidate for candidate in left if candidate not in known]
    if unmeasured:
        hope = optimistic_rates(plan, model, unmeasured)
        goes_on = (
            len(known) < max(LEAST_SCREENED, LEAST_SCREENED_SHARE * len(plan.candidates))
            or max(hope.values()) >= fastest_rate(known)
            or neighbours_of_the_fastest(plan, known, unmeasured)
            or doubtful
        )
        if goes_on and not is_share_spent(plan, rounds, SCREENING_SHARE):
            return found
        found += [_unmeasured(each, hope[each], fastest_rate(known)) for each in unmeasured]
    gone = {ruled.candidate for ruled in found}
    if is_share_spent(plan, rounds, SEARCH_SHARE):
        found += _outranked(known, [candidate for candidate in left if candidate not in gone])
    return found


def _unmeasured(candidate: int, hope: float, fastest: float) -> Elimination:
    if hope < fastest:
        detail = f"at least {_percent(fastest - hope)} slower than the fastest, if it is like those measured"
        return Elimination(candidate=candidate, ruling=Reason.PREDICTED, detail=detail)
    return Elimination(
        candidate=candidate, ruling=Reason.OUT_OF_TIME, detail="the budget's share for screening had ended"
    )


def _after_heat(plan: TunePlan, rounds: Sequence[Round], left: Sequence[int]) -> list[Elimination]:
    known = screening_samples(rounds)
    leader = leading_candidate(known, left)
    pooled = pooled_deviation(known[candidate] for candidate in left if candidate in known)
    if leader is None or pooled is None:
        return []
    deviation, quantile = max(pooled[0], LEAST_DEVIATION), t_quantile(pooled[1], 1 - HEAT_ALPHA)
    found = []
    for candidate in left:
        by = known[leader].mean - known[candidate].mean
        error = deviation * math.sqrt(1 / known[leader].n + 1 / known[candidate].n)
        if by > INDIFFERENCE + quantile * error:
            found.append(_slower(candidate, leader, by, f"in {known[candidate].n} processes"))
    gone = {ruled.candidate for ruled in found}
    heats = fewest_measured(rounds, TunePhase.HEAT, left)
    if heats >= MOST_HEATS or is_share_spent(plan, rounds, SEARCH_SHARE):
        found += _outranked(known, [candidate for candidate in left if candidate not in gone])
    return found


def _outranked(known: Mapping[int, Sample], left: Sequence[int]) -> list[Elimination]:
    """Eliminate those that the final has no room for."""
    ranked = sorted(left, key=lambda candidate: known[candidate].mean, reverse=True)
    detail = f"{FINALISTS} others were faster, though not surely"
    return [Elimination(candidate=each, ruling=Reason.OUTRANKED, detail=detail) for each in ranked[FINALISTS:]]


def _after_block(plan: TunePlan, rounds: Sequence[Round], left: Sequence[int]) -> list[Elimination]:
    leader = fastest_candidate(plan, measured_in_blocks(rounds, TunePhase.FINAL), left)
    if leader is None:  # the reference failed in every block so far
        return []
    found = []
    for candidate in left:
        ahead = differences(rounds, leader, candidate)
        if candidate != leader and len(ahead) >= FIRST_LOOK and upper_bound(-t_summary(ahead), FINAL_ALPHA) < 0:
            found.append(_slower(candidate, leader, statistics.fmean(ahead), f"in {len(ahead)} blocks"))
    return found


def final_is_over(plan: TunePlan, rounds: Sequence[Round], left: Sequence[int]) -> bool:
    final = [each for each in rounds if each.phase is TunePhase.FINAL]
    done = len(blocks(final, TunePhase.FINAL))
    if done < FEWEST_BLOCKS:
        return False
    if done >= MOST_BLOCKS:
        return True
    if done >= LEAST_BLOCKS and _is_choice_free(plan, rounds, left):
        return True
    if plan.budget_seconds is None:
        return False
    expected = final[-1].seconds * (1 + len(left)) / len(asked(final[-1]))
    return elapsed_seconds(plan, rounds) + expected > plan.budget_seconds


def _is_choice_free(plan: TunePlan, rounds: Sequence[Round], left: Sequence[int]) -> bool:
    """Return whether the leader alone is left, or all that are left are surely as fast."""
    leader = fastest_candidate(plan, measured_in_blocks(rounds, TunePhase.FINAL), left)
    assert leader is not None
    ahead = [differences(rounds, leader, candidate) for candidate in left if candidate != leader]
    return all(upper_bound(t_summary(each), CHOICE_FREE_ALPHA) < CHOICE_FREE for each in ahead)
