"""Statistics over processes: pure functions of numbers.

Times and rates are positive and their noise is multiplicative (a busy machine makes everything slower by a factor), so
means, intervals and ratios are taken of logarithms and given back on the original scale.

`scipy.special.stdtrit` is the quantile behind `scipy.stats.t.ppf`. It is used directly because importing `scipy.stats`
takes three times as long (1.2 s against 0.35 s on a busy 2-CPU machine), and `mnist-bench show` should answer at once;
the tests compare with `scipy.stats`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

#: Of every interval here, two-sided.
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the ends of its 95 % interval; None where there are too few processes to have one."""

    value: float
    lower: float | None
    upper: float | None
    #: Processes behind it; of a ratio, those of the smaller sample.
    n: int

    def __post_init__(self) -> None:
        if (self.lower is None) is not (self.upper is None):
            raise ValueError("an interval has two ends or none")


def geometric_mean(sample: Sequence[float]) -> Estimate:
    """The geometric mean of one positive number per process, and its t interval.

    exp(m ± t s / √n), with m and s the mean and standard deviation (ddof 1) of the logarithms and t the 0.975 quantile
    of Student's distribution with n - 1 degrees of freedom ("Student", "The probable error of a mean", Biometrika 6,
    1908). It assumes independent processes and roughly log-normal noise. One process has no interval.

    Raises `ValueError` for an empty sample or a number that is not positive and finite.
    """
    logs = _logs(sample)
    if logs.size == 1:
        return Estimate(value=float(sample[0]), lower=None, upper=None, n=1)
    standard_error = float(np.sqrt(logs.var(ddof=1) / logs.size))
    return _interval(float(logs.mean()), standard_error, degrees_of_freedom=logs.size - 1, n=logs.size)


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Estimate:
    """The ratio of the geometric means of two independent samples of processes, and its Welch interval.

    The difference of the mean logarithms with unequal variances and the degrees of freedom of Welch and Satterthwaite
    (Welch, "The generalization of Student's problem when several different population variances are involved",
    Biometrika 34, 1947). There is no interval when either side is a single process.

    Raises `ValueError` as `geometric_mean` does.
    """
    above, below = _logs(numerator), _logs(denominator)
    difference = float(above.mean() - below.mean())
    n = min(above.size, below.size)
    if n == 1:
        return Estimate(value=float(np.exp(difference)), lower=None, upper=None, n=n)
    squares = np.array([above.var(ddof=1) / above.size, below.var(ddof=1) / below.size])
    total = float(squares.sum())
    # Without any spread the interval is a point, whatever the degrees of freedom, which would be 0 / 0. Shares of
    # the total, rather than its square, keep a tiny variance from underflowing to the same.
    shares = squares / total if total > 0 else np.array([1.0, 0.0])
    degrees_of_freedom = 1 / float(shares[0] ** 2 / (above.size - 1) + shares[1] ** 2 / (below.size - 1))
    return _interval(difference, float(np.sqrt(total)), degrees_of_freedom=degrees_of_freedom, n=n)


def _logs(sample: Sequence[float]) -> npt.NDArray[np.float64]:
    values = np.asarray(sample, dtype=np.float64)
    if values.size == 0:
        raise ValueError("an empty sample has no mean")
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"only positive, finite numbers have a geometric mean: {list(sample)}")
    logs: npt.NDArray[np.float64] = np.log(values)
    return logs


def _interval(center: float, standard_error: float, *, degrees_of_freedom: float, n: int) -> Estimate:
    half_width = float(stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2)) * standard_error
    with np.errstate(over="ignore"):  # beyond the largest float an upper end is infinite, which is true
        value, lower, upper = np.exp([center, center - half_width, center + half_width])
    return Estimate(value=float(value), lower=float(lower), upper=float(upper), n=n)


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: reject where the adjusted value is at most alpha, and the family-wise error is alpha.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979. The
    smallest of m is multiplied by m, the next by m - 1 and so on, and none becomes smaller than the one before it. A test
    that was planned and could not be done counts with p = 1.
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
