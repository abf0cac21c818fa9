"""Adjust p-values for many tests, and bound a probability from a count."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.special import betaincinv

from bench.stats.intervals import CONFIDENCE


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values by Holm's step-down method: reject those at most alpha for a family-wise error of alpha.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979. The
    smallest of m is multiplied by m, the next by m - 1 and so on, and none becomes smaller than the one before it. A
    planned test that could not be done counts with p = 1.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def exact_upper_bound(events: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """Return the one-sided upper confidence bound of a proportion (Clopper and Pearson, Biometrika 26, 1934).

    The 1 - alpha quantile of Beta(k + 1, n - k), as `scipy.stats.binomtest(k, n).proportion_ci` finds it; 1 for k = n.
    Raises `ValueError` for more events than trials, or for no trials.
    """
    if not 0 <= events <= trials or trials == 0:
        raise ValueError(f"{events} events in {trials} trials have no proportion")
    return 1.0 if events == trials else float(betaincinv(events + 1, trials - events, confidence))
