"""How many blocks a wanted precision takes, by two stages: the first blocks tell it, and nobody looks again.

To measure until an interval is narrow enough is to stop where chance made it narrow, so that it covers too little.
Here a first stage, whose size is fixed beforehand, tells the spread, and the spread how many blocks there are in all
(C. Stein, "A two-sample test for a linear hypothesis whose power is independent of the variance", Annals of
Mathematical Statistics 16, 1945). Stein's interval goes by the spread of the first stage alone. With noise of heavy
tails, as that of a shared machine, it covers 90 % where n is many times the first stage. The usual t interval over
all blocks covers 91 % where the first stage was the last one, too. So there is always a second stage that is worth the
name: then the usual interval covers 93 to 97 % (J. Wittes and E. Brittain, "The role of internal pilot studies in
increasing the efficiency of clinical trials", Statistics in Medicine 9, 1990, who use it so). The tests show both.
"""

from __future__ import annotations

import math
from typing import Final

from bench.stats.intervals import TSummary, bounds

#: The fewest numbers that have a spread.
FEWEST_FIRST: Final = 2
#: The fewest numbers in all, whatever the first stage says.
FEWEST: Final = 6


def least_count(first: int) -> int:
    """Return the fewest numbers in all for a first stage of this size: half as many again, and at least six."""
    return max(FEWEST, math.ceil(1.5 * first))


def wanted_count(first: TSummary, half_width: float, most: int) -> int:
    """Return how many numbers there must be in all for a 95 % interval of about this half-width; at most so many.

    n = ceil((t s / half_width)^2), with the standard deviation s of the first stage's n0 numbers, at least two, and t
    the 0.975 quantile of Student's distribution with its degrees of freedom; never less than `least_count`.
    """
    ends = bounds(first)
    if ends is None:
        raise ValueError("a single number has no spread")
    root = (ends[1] - first.value) * math.sqrt(first.n) / half_width
    return max(least_count(first.n), math.ceil(min(most, root * root)))
