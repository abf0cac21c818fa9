"""Estimate roughly how long a search will still take, for display alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

from bench.experiments.tune import estimates, racing
from bench.experiments.tune.limits import EXHAUSTIVE_PASSES, FEWEST_BLOCKS, FINALISTS
from bench.records.tune import REFERENCE, Round, TunePhase, TunePlan

#: The pilot is a process, a network and a few windows. A candidate of the first round mostly finds its process running;
#: in a block each has one of its own, and the cores are shared.
_PILOTS_PER_SCREENED: Final = 0.25
_PILOTS_PER_ENTRANT: Final = 1.0


def least_seconds(plan: TunePlan) -> float:
    """Return the seconds of the shortest search: pilot, one round of screening, and the fewest blocks of a final."""
    first = racing.next_step(plan, ())
    screened = len(first.candidates) if first is not None and first.phase is TunePhase.SCREENING else 0
    return plan.pilot_seconds * (1 + _PILOTS_PER_SCREENED * screened) + final_seconds(plan, ())


def final_seconds(plan: TunePlan, rounds: Sequence[Round]) -> float:
    """Return the seconds of the final's fewest blocks, which it has even beyond the budget, that are left."""
    missing = max(0, FEWEST_BLOCKS - len(estimates.blocks(rounds, TunePhase.FINAL)))
    entrants = 1 + min(FINALISTS, len(estimates.contenders(plan, rounds)))
    block = next((each for each in reversed(rounds) if each.phase is TunePhase.FINAL), None)
    one = plan.pilot_seconds * _PILOTS_PER_ENTRANT if block is None else block.seconds / len(estimates.asked(block))
    return missing * entrants * one


def exhaustive_seconds(plan: TunePlan, rounds: Sequence[Round]) -> float | None:
    """What is left of an exhaustive search, at the pace so far; None: nothing is measured yet."""
    times = Counter(candidate for each in rounds for candidate in estimates.asked(each) if candidate != REFERENCE)
    if not times:
        return None
    todo = sum(max(0, EXHAUSTIVE_PASSES - times[candidate]) for candidate in estimates.contenders(plan, rounds))
    return todo * math.fsum(each.seconds for each in rounds) / times.total()
