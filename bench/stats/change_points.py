"""Find where a series of numbers changed its level, by a published test rather than the last two values.

The series is split where the rank-sum statistic of what comes before against what comes after, standardized, is
largest (maximally selected rank statistics: Lausen and Schumacher, Biometrics 48, 1992; for time series Hawkins and
Deng, Journal of Quality Technology 42, 2010). The p-value of that maximum is counted over random orders of few numbers,
and Miller and Siegmund's approximation for many (Biometrics 38, 1982). Both parts of a split that is significant are
searched again (binary segmentation: Scott and Knott, Biometrics 30, 1974), and then each change is tested once more
between its neighbours alone, where others no longer blur it.

Ranks make one odd value count no more than any other. The test assumes that neighbours are independent: on a machine
that drifts over hours and is measured every few minutes, it finds the drift.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

#: Numbers of a level, at least. How many a significant change needs depends on alpha, see `fewest`.
LEAST: Final = 4
#: Longest series whose p-value is counted over random orders; beyond, the approximation is used.
_COUNTED: Final = 100
_ORDERS: Final = 9_999
#: Probability of finding a change in one series that has none.
ALPHA: Final = 0.01
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """The beginning of a new level."""

    #: Index of the first number of the new level.
    index: int
    p_value: float


def change_points(values: Sequence[float], alpha: float = ALPHA) -> list[ChangePoint]:
    """Return the changes of a series, shape (n,), in its order; none if it is shorter than `2 * LEAST`.

    `alpha` is the probability of finding any in a series without one. Raises `ValueError` for a number that is not
    finite.
    """
    series = np.asarray(values, dtype=np.float64)
    if not np.isfinite(series).all():
        raise ValueError("a series of numbers that are not all finite has no levels")
    places = sorted(_split(series, 0, len(series), alpha))
    points: list[ChangePoint] = []
    for _ in range(len(places) + 1):  # a pass may drop a change, or move it, which moves its neighbours' bounds
        points = _confirmed(series, places, alpha)
        if [point.index for point in points] == places:
            break
        places = [point.index for point in points]
    return points


def _split(series: Floats, begin: int, end: int, alpha: float) -> list[int]:
    """Return the places of changes by binary segmentation, without recursion, which could go deep."""
    found, waiting = [], [(begin, end)]
    while waiting:
        first, last = waiting.pop()
        best = _best(series[first:last])
        if best is not None and best.p_value <= alpha:
            place = first + best.index
            found.append(place)
            waiting += [(first, place), (place, last)]
    return found


def _confirmed(series: Floats, places: Sequence[int], alpha: float) -> list[ChangePoint]:
    """Test each change between its neighbours alone: its exact place, and whether it is significant there."""
    bounds = [0, *places, len(series)]
    kept: list[ChangePoint] = []
    for number in range(1, len(bounds) - 1):
        begin, end = bounds[number - 1], bounds[number + 1]
        best = _best(series[begin:end])
        if best is not None and best.p_value <= alpha:
            place = begin + best.index
            if not kept or place > kept[-1].index:
                kept.append(ChangePoint(place, best.p_value))
    return kept


def _best(series: Floats) -> ChangePoint | None:
    """Return the most likely place of a change, and the p-value of there being none; None if nothing can be tested."""
    n = len(series)
    if n < 2 * LEAST:
        return None
    ranks, ties = _ranks(series)
    before = np.arange(LEAST, n - LEAST + 1)
    sums = np.cumsum(ranks)[before - 1]
    variance = before * (n - before) / 12 * ((n + 1) - ties / (n * (n - 1)))
    if variance[0] <= 0:  # all the same
        return None
    statistics = np.abs(sums - before * (n + 1) / 2) / np.sqrt(variance)
    place = int(np.argmax(statistics))
    return ChangePoint(_located(series, int(before[place])), _p_value(float(statistics[place]), n))


def _located(series: Floats, split: int) -> int:
    """Return the split at which the numbers are nearest to the levels of their sides, by least absolute deviations.

    The largest value of the rank statistic lies near the change, but ranks do not say how far apart two numbers are.
    """
    below, above = np.abs(series - np.median(series[:split])), np.abs(series - np.median(series[split:]))
    costs = np.concatenate([[0.0], np.cumsum(below - above)])
    return LEAST + int(np.argmin(costs[LEAST : len(series) - LEAST + 1]))


def _ranks(series: Floats) -> tuple[Floats, float]:
    """Return the ranks from 1, mean ranks for ties, and the correction of the variance for ties: the sum of t³ - t."""
    _unique, places, counts = np.unique(series, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_ranks: Floats = last - (counts - 1) / 2
    return mean_ranks[places.reshape(-1)], float((counts**3 - counts).sum())


@functools.cache
def fewest(alpha: float) -> int:
    """Return the length of the shortest series in which a perfectly clear change in its middle is significant."""
    n = 2 * LEAST
    while True:
        best = _best(np.arange(n, dtype=np.float64))
        if best is not None and best.p_value <= alpha:
            return n
        n += 1


def _p_value(statistic: float, n: int) -> float:
    """Return the p-value of the maximum of the statistic over all splits of n numbers without a change."""
    approximate = _approximate_p_value(statistic, LEAST / n)
    if n > _COUNTED:
        return approximate
    maxima = _maxima_of_random_orders(n)
    reached = len(maxima) - int(np.searchsorted(maxima, statistic - _ROUNDING))
    counted = (1 + reached) / (1 + len(maxima))  # the observed order is one of them, so that it is never 0
    return min(counted, approximate)  # the approximation is the more cautious, except beyond all random orders


@functools.lru_cache(maxsize=_COUNTED)
def _maxima_of_random_orders(n: int) -> Floats:
    """Return the maxima of the statistic over random orders of n numbers without ties, sorted: shape (_ORDERS,).

    The random seed is fixed, so that they are the same in every process.
    """
    orders = np.argsort(np.random.default_rng(n).random((_ORDERS, n)), axis=1) + 1.0
    before = np.arange(LEAST, n - LEAST + 1)
    sums = np.cumsum(orders, axis=1)[:, before - 1]
    deviations = np.abs(sums - before * (n + 1) / 2) / np.sqrt(before * (n - before) * (n + 1) / 12)
    maxima: Floats = np.sort(deviations.max(axis=1))
    return maxima


#: Sums of the same ranks in another order differ by no more.
_ROUNDING: Final = 1e-9


def _approximate_p_value(statistic: float, share: float) -> float:
    """Approximate the p-value of a maximum over the splits from `share` to 1 - `share` of the series."""
    b = max(statistic, 1.0)  # below 1 the approximation does not hold, and the p-value is large anyway
    density = math.exp(-b * b / 2) / math.sqrt(2 * math.pi)
    found = density * (b - 1 / b) * 2 * math.log((1 - share) / share) + 4 * density / b
    # Never less than the p-value of a split that was fixed beforehand.
    return float(min(1.0, max(found, 2 * ndtr(-b))))
