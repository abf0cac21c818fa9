"""Student's t: means of samples, differences of means, their intervals, tests and detectable effects.

Times and rates are positive and their noise is multiplicative (a busy machine makes everything slower by a factor), so
means, intervals and ratios are taken of logarithms and given back on the original scale.

`scipy.special.stdtrit` is the quantile behind `scipy.stats.t.ppf`, `stdtr` its probability. They are used directly
because importing `scipy.stats` takes three times as long (1.2 s against 0.35 s on a busy 2-CPU machine), and
`mnist-bench show` should answer at once. The sums are Python's own: samples are a few processes or blocks, for which
NumPy's overhead is ten times the work, and `compare` may have a hundred thousand of them. The tests compare with
`scipy.stats`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scipy.special import stdtr, stdtrit

#: Confidence level of every two-sided interval here.
CONFIDENCE: Final = 0.95
#: Probability with which a slowdown as large as a detectable effect is found: in 9 comparisons of 10.
POWER: Final = 0.9


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with the ends of its 95 % interval; None if there are too few processes or blocks to have one."""

    value: float
    lower: float | None
    upper: float | None
    #: Processes or blocks behind it; of a ratio, those of the smaller sample.
    n: int

    def __post_init__(self) -> None:
        if (self.lower is None) is not (self.upper is None):
            raise ValueError("an interval has two ends or none")

    def scaled(self, factor: float) -> Estimate:
        """Return this estimate times a positive factor that is known exactly."""
        return Estimate(
            value=self.value * factor,
            lower=None if self.lower is None else self.lower * factor,
            upper=None if self.upper is None else self.upper * factor,
            n=self.n,
        )

    def inverse(self, scale: float = 1.0) -> Estimate:
        """Return `scale` over this estimate of a positive number; the ends of its interval change places.

        A lower end that underflowed to 0 gives an infinite upper end.
        """
        return Estimate(
            value=scale / self.value,
            lower=None if self.upper is None else scale / self.upper,
            upper=None if self.lower is None else scale / self.lower if self.lower > 0 else math.inf,
            n=self.n,
        )


@dataclass(frozen=True, slots=True)
class Moments:
    """Size, mean and variance of a sample."""

    n: int
    mean: float
    #: With n - 1 degrees of freedom; None for a single number.
    variance: float | None


@dataclass(frozen=True, slots=True)
class TSummary:
    """A mean, or a difference of means, with what Student's t distribution needs to bound and to test it.

    Of logarithms, exp(value) is a geometric mean or a ratio.
    """

    value: float
    #: Standard error of the value and its degrees of freedom; None where a single number says nothing about the spread.
    error: float | None
    degrees_of_freedom: float | None
    #: Numbers behind the value; of a difference of two samples, those of the smaller one.
    n: int

    def __neg__(self) -> TSummary:
        return TSummary(-self.value, self.error, self.degrees_of_freedom, self.n)


def moments(sample: Sequence[float]) -> Moments:
    """Return the moments of a sample of shape (n,). Raises `ValueError` for an empty one."""
    if not sample:
        raise ValueError("an empty sample has no mean")
    n = len(sample)
    if min(sample) == max(sample):  # exactly no spread, where sums would leave rounding errors
        return Moments(n, float(sample[0]), None if n == 1 else 0.0)
    mean = math.fsum(sample) / n
    return Moments(n, mean, math.fsum((number - mean) ** 2 for number in sample) / (n - 1))


def log_moments(sample: Sequence[float]) -> Moments:
    """Return the moments of a sample's logarithms.

    Raises `ValueError` for an empty sample or a number that is not positive and finite.
    """
    if not all(0 < number < math.inf for number in sample):
        raise ValueError(f"only positive, finite numbers have a geometric mean: {list(sample)}")
    return moments([math.log(number) for number in sample])


def t_summary(sample: Sequence[float]) -> TSummary:
    """Summarize the mean of a sample of shape (n,). Raises `ValueError` for an empty one."""
    return _mean_summary(moments(sample))


def welch_difference(above: Moments, below: Moments) -> TSummary:
    """Summarize the difference of two independent samples' means, with Welch's standard error.

    Unequal variances, degrees of freedom after Welch and Satterthwaite (Welch, "The generalization of Student's problem
    when several different population variances are involved", Biometrika 34, 1947).
    """
    value = above.mean - below.mean
    n = min(above.n, below.n)
    if above.variance is None or below.variance is None:
        return TSummary(value, None, None, n)
    squares = (above.variance / above.n, below.variance / below.n)
    total = sum(squares)
    # Without any spread the interval is a point, whatever the degrees of freedom, which would be 0 / 0. Shares of
    # the total, rather than its square, keep a tiny variance from underflowing to the same.
    shares = (squares[0] / total, squares[1] / total) if total > 0 else (1.0, 0.0)
    freedom = 1 / (shares[0] ** 2 / (above.n - 1) + shares[1] ** 2 / (below.n - 1))
    return TSummary(value, math.sqrt(total), freedom, n)


def mean_difference(differences: Sequence[TSummary], *, shared: bool = False) -> TSummary:
    """Summarize the mean of several differences, each of the same weight.

    Of logarithms, exp of it is the geometric mean of the ratios. Its spread is only that of the processes behind each
    difference: it says how sure the mean of exactly these differences is, not what another choice of scenarios would
    have given. It has no interval if one of them has none.

    The differences are independent, or, where `shared`, what disturbs one may disturb all alike: then errors add up
    instead of their squares, which no dependence exceeds.

    Raises `ValueError` for no differences.
    """
    count = len(differences)
    if not count:
        raise ValueError("no differences, no mean")
    value = math.fsum(difference.value for difference in differences) / count
    parts = [(d.error**2, d.degrees_of_freedom) for d in differences if d.error is not None and d.degrees_of_freedom]
    if len(parts) < count:
        return TSummary(value, None, None, count)
    total = math.fsum(square for square, _freedom in parts)
    if total == 0 or shared:
        error = math.fsum(math.sqrt(square) for square, _freedom in parts) / count
        return TSummary(value, error, min(freedom for _square, freedom in parts), count)
    freedom = 1 / math.fsum((square / total) ** 2 / freedom for square, freedom in parts)
    return TSummary(value, math.sqrt(total) / count, freedom, count)


def t_quantile(degrees_of_freedom: float, probability: float) -> float:
    """Return the quantile of Student's t distribution, as `scipy.stats.t.ppf`."""
    return float(stdtrit(degrees_of_freedom, probability))


def bounds(summary: TSummary) -> tuple[float, float] | None:
    """Return the ends of the two-sided 95 % t interval; None if there is no spread to go by."""
    if summary.error is None or summary.degrees_of_freedom is None:
        return None
    half_width = t_quantile(summary.degrees_of_freedom, (1 + CONFIDENCE) / 2) * summary.error
    return summary.value - half_width, summary.value + half_width


def upper_bound(summary: TSummary, alpha: float) -> float:
    """Return what the true value is below, one-sided, except with probability alpha; infinite without a spread."""
    if summary.error is None or summary.degrees_of_freedom is None:
        return math.inf
    return summary.value + t_quantile(summary.degrees_of_freedom, 1 - alpha) * summary.error


def p_above(summary: TSummary, threshold: float) -> float:
    """Return the one-sided p-value of "the true value is at most `threshold`", by the t distribution.

    1 if a single number says nothing about the spread; 0 or 1 if there is exactly no spread.
    """
    if summary.error is None or summary.degrees_of_freedom is None:
        return 1.0
    excess = summary.value - threshold
    if summary.error == 0:
        return 0.0 if excess > 0 else 1.0
    return float(stdtr(summary.degrees_of_freedom, -excess / summary.error))


def p_nonzero(summary: TSummary) -> float:
    """Return the two-sided p-value of "the true value is zero", by the t distribution.

    As `scipy.stats.ttest_1samp` and, for a difference, `ttest_ind(equal_var=False)`. 1 if a single number says nothing
    about the spread; if there is exactly no spread, 1 at zero and 0 elsewhere.
    """
    return min(1.0, 2 * min(p_above(summary, 0.0), p_above(-summary, 0.0)))


def detectable_effect(summary: TSummary, threshold: float, alpha: float, power: float = POWER) -> float:
    """Return the relative slowdown (0.02 = 2 % slower) that a test with this spread finds with this power.

    exp(threshold + (t_alpha + t_power) * error) - 1, the usual sum of the two quantiles (e.g. Bloom, "Minimum
    detectable effects", Evaluation Review 19, 1995), above the threshold, a log ratio, rather than above zero. Infinite
    without a spread, or beyond the largest float.
    """
    if summary.error is None or summary.degrees_of_freedom is None:
        return math.inf
    quantiles = t_quantile(summary.degrees_of_freedom, 1 - alpha) + t_quantile(summary.degrees_of_freedom, power)
    try:
        return math.expm1(threshold + quantiles * summary.error)
    except OverflowError:
        return math.inf


def estimate_of(summary: TSummary) -> Estimate:
    """Return the value with its 95 % interval, if it has one."""
    lower, upper = bounds(summary) or (None, None)
    return Estimate(value=summary.value, lower=lower, upper=upper, n=summary.n)


def ratio_of(summary: TSummary) -> Estimate:
    """Return exp of the value and of its 95 % interval: of logarithms, a geometric mean or a ratio."""
    ends = bounds(summary)
    lower, upper = (None, None) if ends is None else (_exp(ends[0]), _exp(ends[1]))
    return Estimate(value=_exp(summary.value), lower=lower, upper=upper, n=summary.n)


def geometric_mean(sample: Sequence[float]) -> Estimate:
    """Return the geometric mean of one positive number per process, and its t interval.

    exp(m ± t s / √n), with m and s the mean and standard deviation (ddof 1) of the logarithms and t the 0.975 quantile
    of Student's distribution with n - 1 degrees of freedom ("Student", "The probable error of a mean", Biometrika 6,
    1908). It assumes independent processes and roughly log-normal noise. One process has no interval.

    Raises `ValueError` for an empty sample or a number that is not positive and finite.
    """
    mean = mean_of(log_moments(sample))
    # exp(log(x)) is off by a rounding error, for which nothing stored should look different.
    return mean if mean.n > 1 else Estimate(value=float(sample[0]), lower=None, upper=None, n=1)


def mean_of(logs: Moments) -> Estimate:
    """Return the geometric mean of a sample that is given by the moments of its logarithms."""
    return ratio_of(_mean_summary(logs))


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Estimate:
    """Return the ratio of the geometric means of two independent samples of processes, and its Welch interval.

    There is no interval if either side is a single process.

    Raises `ValueError` as `geometric_mean` does.
    """
    return ratio_of(welch_difference(log_moments(numerator), log_moments(denominator)))


def _mean_summary(moments: Moments) -> TSummary:
    error = None if moments.variance is None else math.sqrt(moments.variance / moments.n)
    return TSummary(moments.mean, error, moments.n - 1 or None, moments.n)


def _exp(logarithm: float) -> float:
    """Return exp, infinite beyond the largest float, which an upper end then truly is."""
    try:
        return math.exp(logarithm)
    except OverflowError:
        return math.inf
