"""How much two sessions on one machine differ by more than the spread within each of them says.

A session is what one call of the command measures. What drifts in hours and days (a clock, a neighbour on the same
host, where memory lies) is the same for all of a session, so that no number of repeats inside of it shows it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.stats import intervals
from bench.stats.intervals import Moments, TSummary, moments

#: Degrees of freedom below which a spread is not worth having: the interval of a standard deviation from fewer reaches
#: to more than its double.
FEWEST_DEGREES_OF_FREEDOM: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What one scenario did in several sessions of the same code, as variances of the logarithm of its speed."""

    #: Of the means of sessions.
    of_means: float
    #: Of the processes of a session; mean over sessions.
    within: float
    #: Processes of a session; the harmonic mean.
    processes: float
    #: Sessions, less one for each group of the same code.
    degrees_of_freedom: int

    @property
    def between(self) -> float:
        """What is left of the variance of the means without what the processes make of it; below 0 by chance."""
        return self.of_means - self.within / self.processes

    def of_mean_of(self, processes: int) -> float:
        """Return the variance of the mean of a session with so many processes."""
        return max(0.0, self.between) + self.within / processes


def spread_over(groups: Iterable[Sequence[Moments]]) -> Spread | None:
    """Summarize one scenario: the moments of its log speeds in each session, in groups of the same code.

    A one-way random-effects analysis of variance (Searle, Casella and McCulloch, "Variance Components", 1992, chapter
    3). None where no code has two sessions, or a session has a single process.
    """
    squares, within, reciprocals, degrees_of_freedom = 0.0, [], [], 0
    for sessions in groups:
        if len(sessions) < 2:  # noqa: PLR2004  # a single one says nothing of others
            continue
        spread = moments([session.mean for session in sessions]).variance
        assert spread is not None
        for session in sessions:
            if session.variance is None:
                return None
            within.append(session.variance)
            reciprocals.append(1 / session.n)
        squares += spread * (len(sessions) - 1)
        degrees_of_freedom += len(sessions) - 1
    if not degrees_of_freedom:
        return None
    return Spread(
        of_means=squares / degrees_of_freedom,
        within=math.fsum(within) / len(within),
        processes=len(reciprocals) / math.fsum(reciprocals),
        degrees_of_freedom=degrees_of_freedom,
    )


def between_sd(spreads: Sequence[Spread]) -> float:
    """Return the standard deviation between sessions, over all scenarios. Raises `ValueError` for no scenario.

    The scenarios of a session share its drift, so that many of them are hardly more evidence than one.
    """
    if not spreads:
        raise ValueError("no scenario, no spread")
    return math.sqrt(max(0.0, math.fsum(spread.between for spread in spreads) / len(spreads)))


def difference_of_sessions(above: Moments, below: Moments, spread: Spread) -> TSummary:
    """Summarize the difference of two sessions' means, with the spread of other sessions of the same scenario.

    The session is the unit of replication, so that the degrees of freedom are those of the other sessions.
    """
    variance = spread.of_mean_of(above.n) + spread.of_mean_of(below.n)
    value = above.mean - below.mean
    return TSummary(value, math.sqrt(variance), spread.degrees_of_freedom, min(above.n, below.n))


def across_sessions(difference: TSummary, sd: float, degrees_of_freedom: float) -> TSummary:
    """Return a difference of two sessions with what they differ by anyway: twice the variance of one.

    The degrees of freedom of the sum are Satterthwaite's. They may be so many more than those of few processes which
    happen to agree that the interval would become narrower than without any sessions: then it stays as it is. Of
    recorded sessions of the same code that calls 0.2 % of the pairs slower; the fewer degrees of freedom of the two
    would call as many, and find a fifth slower in 6 % of the pairs instead of 37 %.
    """
    own = intervals.bounds(difference)
    if own is None:
        return difference
    anyway = TSummary(difference.value, math.sqrt(2) * sd, degrees_of_freedom, difference.n)
    mean = intervals.mean_difference((difference, anyway))
    assert mean.error is not None
    total = TSummary(difference.value, 2 * mean.error, mean.degrees_of_freedom, difference.n)
    both = intervals.bounds(total)
    return difference if both is None or both[1] < own[1] else total
