"""Choose what a search measures next: pure functions of what was measured so far.

A search begins wide and ends narrow. While it screens, candidates are measured once, the most promising first: that is
predicted from those that were measured (`surrogate`), until what is left is surely no faster or its share of the budget
is spent. From then on everything is measured in blocks, in which a few candidates and the tutorial's loop have a fresh
process each, are alive together and take turns. In heats all that are left are measured once more, a few in each block,
and the surely slower ones drop out. In the final the last few are in every block, until one is left or nothing worth
knowing can be learnt (a race: Maron and Moore,
"The racing algorithm", Artificial Intelligence Review 11, 1997; with t tests: Birattari et al., "A racing algorithm for
configuring metaheuristics", GECCO 2002).

Values are logarithms of images per second less those of the reference, the tutorial's loop, measured in between: the
drift of the machine cancels. Of an interruption nothing cancels, but it only ever slows: a measurement of several
windows counts by its fastest one in screening and heats, and by its median one in blocks. The unit of replication is
the process.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.experiments.tune.eliminations import final_is_over
from bench.experiments.tune.estimates import (
    Sample,
    contenders,
    doubtful_candidates,
    eliminated,
    fastest_rate,
    fewest_measured,
    fit_model,
    is_share_spent,
    neighbours_of_the_fastest,
    optimistic_rates,
    positions,
    screening_samples,
    times_measured,
)
from bench.experiments.tune.limits import (
    BATCH,
    BLOCK_SECONDS,
    EXHAUSTIVE_PASSES,
    FINALISTS,
    FIRST_PER_PLACE,
    HOPELESS,
    MOST_IN_BLOCK,
    SCREENING_SECONDS,
    SCREENING_SHARE,
)
from bench.records.tune import REFERENCE, Round, TunePhase, TunePlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A round to measure."""

    phase: TunePhase
    #: In the order in which they are measured; in blocks, in which they take their first turn. The reference comes in
    #: between by itself.
    candidates: tuple[int, ...]
    #: A timed window lasts at least this long.
    window_seconds: float
    #: A candidate whose value is below this needs no long window.
    hopeless_below: float = -math.inf


def next_step(plan: TunePlan, rounds: Sequence[Round]) -> Step | None:
    """Return what to measure next; None when the search is over."""
    left = contenders(plan, rounds)
    if REFERENCE in eliminated(rounds) or not left:
        return None
    if plan.exhaustive:
        if fewest_measured(rounds, TunePhase.EXHAUSTIVE, left) >= EXHAUSTIVE_PASSES:
            return None
        return _block(plan, rounds, TunePhase.EXHAUSTIVE, _next_of_pass(plan, rounds, TunePhase.EXHAUSTIVE, left))
    if _in_final(rounds, left):
        return None if final_is_over(plan, rounds, left) else _block(plan, rounds, TunePhase.FINAL, left)
    known = screening_samples(rounds)
    chosen = [] if any(each.phase is TunePhase.HEAT for each in rounds) else _to_screen(plan, rounds, known, left)
    if not chosen:
        return _block(plan, rounds, TunePhase.HEAT, _next_of_pass(plan, rounds, TunePhase.HEAT, left))
    return Step(
        phase=TunePhase.SCREENING,
        candidates=_shuffled(plan, rounds, chosen),
        window_seconds=SCREENING_SECONDS,
        hopeless_below=fastest_rate(known) - HOPELESS if known else -math.inf,
    )


def _in_final(rounds: Sequence[Round], left: Sequence[int]) -> bool:
    """Few enough are left, or were from the beginning."""
    return len(left) <= FINALISTS or any(each.phase is TunePhase.FINAL for each in rounds)


def _block(plan: TunePlan, rounds: Sequence[Round], phase: TunePhase, chosen: Sequence[int]) -> Step:
    return Step(phase=phase, candidates=_shuffled(plan, rounds, [REFERENCE, *chosen]), window_seconds=BLOCK_SECONDS)


def _next_of_pass(plan: TunePlan, rounds: Sequence[Round], phase: TunePhase, left: Sequence[int]) -> list[int]:
    """Return who is in the next block of a phase that takes all candidates in passes, each in a new random order."""
    done = fewest_measured(rounds, phase, left)
    times = times_measured(rounds, phase)
    order = [*left]
    random.Random(f"{plan.seed}/pass {done}").shuffle(order)  # noqa: S311  # an order, not a secret
    return [candidate for candidate in order if times[candidate] <= done][:MOST_IN_BLOCK]


def _shuffled(plan: TunePlan, rounds: Sequence[Round], candidates: Sequence[int]) -> tuple[int, ...]:
    """Known beforehand from the seed and the number of the round."""
    order = list(candidates)
    random.Random(f"{plan.seed}/{len(rounds)}").shuffle(order)  # noqa: S311  # as above
    return tuple(order)


def _to_screen(plan: TunePlan, rounds: Sequence[Round], known: Mapping[int, Sample], left: Sequence[int]) -> list[int]:
    """At first the most various. Then the doubtful again, those one knob from the fastest, and those with most hope."""
    unmeasured = [candidate for candidate in left if candidate not in known]
    if not known:
        return _various(plan, rounds, unmeasured)
    model = fit_model(plan, known)
    doubtful = [] if is_share_spent(plan, rounds, SCREENING_SHARE) else doubtful_candidates(rounds, known, model, left)
    if not unmeasured:
        return doubtful
    hope, neighbours = optimistic_rates(plan, model, unmeasured), neighbours_of_the_fastest(plan, known, unmeasured)
    ordered = sorted(unmeasured, key=lambda candidate: (candidate in neighbours, hope[candidate]), reverse=True)
    return [*doubtful, *ordered[:BATCH]]


def _various(plan: TunePlan, rounds: Sequence[Round], unmeasured: Sequence[int]) -> list[int]:
    """One after the other the candidate whose places were met least so far; of equals a random one."""
    order = _shuffled(plan, rounds, unmeasured)
    places = dict(zip(order, positions(plan, order), strict=True))
    met: list[dict[object, int]] = [{} for _ in next(iter(places.values()))]
    most = max(len({position[knob] for position in places.values()}) for knob in range(len(met)))
    chosen: list[int] = []
    for _ in range(min(len(order), FIRST_PER_PLACE * most)):
        best = min(
            places, key=lambda each: sum(knob.get(place, 0) for knob, place in zip(met, places[each], strict=True))
        )
        for knob, place in zip(met, places.pop(best), strict=True):
            knob[place] = knob.get(place, 0) + 1
        chosen.append(best)
    return chosen
