"""Statistics over processes: pure functions of numbers.

Times and rates are positive and their noise is multiplicative (a busy machine makes everything slower by a factor), so
means, intervals and ratios are taken of logarithms and given back on the original scale.

`scipy.special.stdtrit` is the quantile behind `scipy.stats.t.ppf`, `stdtr` its probability. They are used directly
because importing `scipy.stats` takes three times as long (1.2 s against 0.35 s on a busy 2-CPU machine), and
`mnist-bench show` should answer at once. The sums are Python's own: samples are a few processes, for which NumPy's
overhead is ten times the work, and `compare` may have a hundred thousand of them. The tests compare with `scipy.stats`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.special import stdtr, stdtrit

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

    def scaled(self, factor: float) -> Estimate:
        """This estimate times a positive factor that is known exactly."""
        return Estimate(
            value=self.value * factor,
            lower=None if self.lower is None else self.lower * factor,
            upper=None if self.upper is None else self.upper * factor,
            n=self.n,
        )

    def inverse(self, scale: float = 1.0) -> Estimate:
        """`scale` over this estimate of a positive number; the ends of its interval change places.

        A lower end that underflowed to 0 gives an infinite upper end.
        """
        return Estimate(
            value=scale / self.value,
            lower=None if self.upper is None else scale / self.upper,
            upper=None if self.lower is None else scale / self.lower if self.lower > 0 else math.inf,
            n=self.n,
        )


@dataclass(frozen=True, slots=True)
class LogSample:
    """What is needed of one positive number per process, on the logarithmic scale."""

    n: int
    mean: float
    #: With n - 1; None for a single process.
    variance: float | None


@dataclass(frozen=True, slots=True)
class LogDifference:
    """A difference of mean logarithms: exp(value) is a ratio."""

    value: float
    #: Standard error and its degrees of freedom; None where a single process says nothing about the spread.
    error: float | None
    degrees_of_freedom: float | None
    #: Processes of the smaller sample; of a mean of differences, how many there are.
    n: int

    def __neg__(self) -> LogDifference:
        return LogDifference(-self.value, self.error, self.degrees_of_freedom, self.n)


def log_sample(sample: Sequence[float]) -> LogSample:
    """Raises `ValueError` for an empty sample or a number that is not positive and finite."""
    if not sample:
        raise ValueError("an empty sample has no mean")
    if not all(0 < number < math.inf for number in sample):
        raise ValueError(f"only positive, finite numbers have a geometric mean: {list(sample)}")
    n = len(sample)
    if min(sample) == max(sample):  # exactly no spread, where sums would leave rounding errors
        return LogSample(n, math.log(sample[0]), None if n == 1 else 0.0)
    logs = [math.log(number) for number in sample]
    mean = math.fsum(logs) / n
    return LogSample(n, mean, math.fsum((log - mean) ** 2 for log in logs) / (n - 1))


def log_difference(above: LogSample, below: LogSample) -> LogDifference:
    """The difference of two independent samples' means, with Welch's standard error and degrees of freedom.

    Unequal variances, degrees of freedom after Welch and Satterthwaite (Welch, "The generalization of Student's problem
    when several different population variances are involved", Biometrika 34, 1947).
    """
    value = above.mean - below.mean
    n = min(above.n, below.n)
    if above.variance is None or below.variance is None:
        return LogDifference(value, None, None, n)
    squares = (above.variance / above.n, below.variance / below.n)
    total = sum(squares)
    # Without any spread the interval is a point, whatever the degrees of freedom, which would be 0 / 0. Shares of
    # the total, rather than its square, keep a tiny variance from underflowing to the same.
    shares = (squares[0] / total, squares[1] / total) if total > 0 else (1.0, 0.0)
    freedom = 1 / (shares[0] ** 2 / (above.n - 1) + shares[1] ** 2 / (below.n - 1))
    return LogDifference(value, math.sqrt(total), freedom, n)


def mean_difference(differences: Sequence[LogDifference]) -> LogDifference:
    """Of several independent differences, each counting the same; exp of it is the geometric mean of the ratios.

    Its spread is only that of the processes behind each: it says how sure the mean of exactly these differences is, not
    what another choice of scenarios would have given. No interval where any of them has none.

    Raises `ValueError` for none at all.
    """
    count = len(differences)
    if not count:
        raise ValueError("no differences, no mean")
    value = math.fsum(difference.value for difference in differences) / count
    parts = [(d.error**2, d.degrees_of_freedom) for d in differences if d.error is not None and d.degrees_of_freedom]
    if len(parts) < count:
        return LogDifference(value, None, None, count)
    total = math.fsum(square for square, _freedom in parts)
    if total == 0:
        return LogDifference(value, 0.0, min(freedom for _square, freedom in parts), count)
    freedom = 1 / math.fsum((square / total) ** 2 / freedom for square, freedom in parts)
    return LogDifference(value, math.sqrt(total) / count, freedom, count)


def bounds(difference: LogDifference) -> tuple[float, float] | None:
    """The ends of its 95 % t interval, on the logarithmic scale; None where it has none."""
    if difference.error is None or difference.degrees_of_freedom is None:
        return None
    half_width = float(stdtrit(difference.degrees_of_freedom, (1 + CONFIDENCE) / 2)) * difference.error
    return difference.value - half_width, difference.value + half_width


def ratio_of(difference: LogDifference) -> Estimate:
    """The difference as a ratio, with its interval where it has one."""
    ends = bounds(difference)
    lower, upper = (None, None) if ends is None else (_exp(ends[0]), _exp(ends[1]))
    return Estimate(value=_exp(difference.value), lower=lower, upper=upper, n=difference.n)


def p_above(difference: LogDifference, threshold: float) -> float:
    """One-sided p-value of "the true difference is at most `threshold`", by the t distribution.

    1 where a single process says nothing about the spread; 0 or 1 where there is none.
    """
    if difference.error is None or difference.degrees_of_freedom is None:
        return 1.0
    excess = difference.value - threshold
    if difference.error == 0:
        return 0.0 if excess > 0 else 1.0
    return float(stdtr(difference.degrees_of_freedom, -excess / difference.error))


def upper_bound(difference: LogDifference, alpha: float) -> float:
    """The true difference is below it but for a probability of alpha, one-sided; infinite without a spread to go by."""
    if difference.error is None or difference.degrees_of_freedom is None:
        return math.inf
    return difference.value + float(stdtrit(difference.degrees_of_freedom, 1 - alpha)) * difference.error


def geometric_mean(sample: Sequence[float]) -> Estimate:
    """The geometric mean of one positive number per process, and its t interval.

    exp(m ± t s / √n), with m and s the mean and standard deviation (ddof 1) of the logarithms and t the 0.975 quantile
    of Student's distribution with n - 1 degrees of freedom ("Student", "The probable error of a mean", Biometrika 6,
    1908). It assumes independent processes and roughly log-normal noise. One process has no interval.

    Raises `ValueError` for an empty sample or a number that is not positive and finite.
    """
    mean = mean_of(log_sample(sample))
    # exp(log(x)) is off by a rounding error, for which nothing stored should look different.
    return mean if mean.n > 1 else Estimate(value=float(sample[0]), lower=None, upper=None, n=1)


def mean_of(logs: LogSample) -> Estimate:
    """The geometric mean of a sample that is given by its logarithms, as `geometric_mean` has it."""
    error = None if logs.variance is None else math.sqrt(logs.variance / logs.n)
    return ratio_of(LogDifference(logs.mean, error, logs.n - 1 or None, logs.n))


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Estimate:
    """The ratio of the geometric means of two independent samples of processes, and its Welch interval.

    There is no interval when either side is a single process.

    Raises `ValueError` as `geometric_mean` does.
    """
    return ratio_of(log_difference(log_sample(numerator), log_sample(denominator)))


def symmetric_estimate(value: float, half_width: float | None, scale: float, n: int) -> Estimate:
    if half_width is None:
        return Estimate(value=value, lower=None, upper=None, n=n)
    return Estimate(value=value, lower=value - half_width * scale, upper=value + half_width * scale, n=n)


def _exp(logarithm: float) -> float:
    """Beyond the largest float it is infinite, which an upper end then truly is."""
    try:
        return math.exp(logarithm)
    except OverflowError:
        return math.inf
