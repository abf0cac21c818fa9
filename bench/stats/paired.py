"""Statistics of interleaved blocks: pure functions of numbers.

A block is four passes, ABBA or BAAB; y is a pass's mean log(seconds per sample). Everything is on the logarithmic
scale: a difference of 0.02 is 2 % slower. The unit of replication is the block: its effect is one number however many
windows its passes had.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtr, stdtrit


class Order(str, enum.Enum):
    """In which order the four passes of a block take their turns; A is the baseline. Linear drift cancels in both."""

    ABBA = "ABBA"
    BAAB = "BAAB"

    def __str__(self) -> str:
        return self.value

    @property
    def sides(self) -> tuple[Side, ...]:
        """In order of time."""
        return tuple(Side.BASELINE if letter == "A" else Side.CONTENDER for letter in self.value)


#: Two sums of the same numbers in another order differ by rounding; so close to the observed one they count as equal to
#: it, which can only raise a p-value.
_RELATIVE_TIE = 1e-9

Floats = npt.NDArray[np.float64]


def effect(order: Order, y: Sequence[float]) -> float:
    """d = (yB1 + yB2 - yA1 - yA2) / 2, the contender's excess, from the four passes in order of time.

    Linear drift cancels. Var(d) is the variance of one pass.
    """
    first, second, third, last = y
    inner_minus_outer = (second + third - first - last) / 2
    return inner_minus_outer if order is Order.ABBA else -inner_minus_outer


def control(y: Sequence[float]) -> float:
    """e = (inner first - inner second) + (outer last - outer first) / 3: zero on average, whatever the effect.

    In ABBA the inner side is B, in BAAB it is A: each side is compared only with itself, and linear drift cancels (the
    inner passes are one place apart, the outer three). Var(e) = 20/9 of the variance of one pass. What is left is what
    the test assumes to be absent: a place in the block that is always slower, drift that is never linear.
    """
    first, second, third, last = y
    return (second - third) + (last - first) / 3


def sign_flip_p_value(effects: Sequence[float], threshold: float) -> float:
    """One-sided p-value of "the effect is at most `threshold`": exact, by the randomisation alone.

    Had the sides no more than that between them, each effect minus the threshold could as well have come out with the
    other sign, since a coin decided the order of its block. The p-value is the share of the 2^n sign patterns whose sum
    is at least the observed one (Fisher, "The Design of Experiments", 1935, section 21); it is never below 2^-n.
    `scipy.stats.permutation_test` computes the same by listing all patterns. Here the two halves' sums are listed and
    matched by bisection, n 2^(n/2) steps instead of n 2^n, because a calibration replays thousands of gates.

    Raises `ValueError` for no effects, for more than 40, or for a number that is not finite.
    """
    values = np.asarray(effects, dtype=np.float64) - threshold
    if not 1 <= values.size <= 40:  # noqa: PLR2004  # the number that the docstring says
        raise ValueError(f"1 to 40 effects have a sign-flip test, not {values.size}")
    if not np.isfinite(values).all():
        raise ValueError("an effect is not a finite number")
    half = values.size // 2
    left, right = _signed_sums(values[:half]), np.sort(_signed_sums(values[half:]))
    observed = float(values.sum())
    limit = observed - _RELATIVE_TIE * float(np.abs(values).sum())
    at_least = right.size - np.searchsorted(right, limit - left, side="left")
    return float(at_least.sum() / 2.0**values.size)


def _signed_sums(values: Floats) -> Floats:
    """All 2^n sums with either sign of each value."""
    sums: Floats = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def standard_error(sample: Sequence[float]) -> float:
    """Of the mean; raises `ValueError` below two."""
    values = np.asarray(sample, dtype=np.float64)
    if values.size < 2:  # noqa: PLR2004  # one number has no spread
        raise ValueError("one number has no spread")
    return float(values.std(ddof=1) / np.sqrt(values.size))


def t_quantile(degrees_of_freedom: float, probability: float) -> float:
    return float(stdtrit(degrees_of_freedom, probability))


def normal_quantile(probability: float) -> float:
    return float(ndtri(probability))


def t_bounds(sample: Sequence[float], confidence: float) -> tuple[float, float]:
    """Two-sided t interval of the mean."""
    values = np.asarray(sample, dtype=np.float64)
    half_width = t_quantile(values.size - 1, (1 + confidence) / 2) * standard_error(sample)
    return float(values.mean()) - half_width, float(values.mean()) + half_width


def t_upper_bound(sample: Sequence[float], alpha: float) -> float:
    """One-sided: the mean is below it but for a probability of alpha."""
    values = np.asarray(sample, dtype=np.float64)
    return float(values.mean()) + t_quantile(values.size - 1, 1 - alpha) * standard_error(sample)


def zero_mean_p_value(sample: Sequence[float]) -> float:
    """Two-sided t test of a mean of zero. Without any spread: 1 at zero, else 0."""
    values = np.asarray(sample, dtype=np.float64)
    return _two_sided(float(values.mean()), standard_error(sample), values.size - 1)


def equal_means_p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided Welch test, as `scipy.stats.ttest_ind(equal_var=False)`; 1 where a sample is below two."""
    if min(len(first), len(second)) < 2:  # noqa: PLR2004  # one number has no spread
        return 1.0
    squares = standard_error(first) ** 2, standard_error(second) ** 2
    total = sum(squares)
    if total == 0:
        return 1.0 if float(np.mean(first)) == float(np.mean(second)) else 0.0
    freedom = 1 / ((squares[0] / total) ** 2 / (len(first) - 1) + (squares[1] / total) ** 2 / (len(second) - 1))
    return _two_sided(float(np.mean(first) - np.mean(second)), float(np.sqrt(total)), freedom)


def _two_sided(difference: float, error: float, degrees_of_freedom: float) -> float:
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * stdtr(degrees_of_freedom, -abs(difference) / error))


def detectable_effect(error: float, degrees_of_freedom: float, threshold: float, alpha: float, power: float) -> float:
    """The slowdown, as a ratio - 1, that a test at this alpha shows with this power, at this standard error.

    exp(threshold + (t_alpha + t_power) * error) - 1, the usual sum of the two quantiles (e.g. Bloom, "Minimum
    detectable effects", Evaluation Review 19, 1995), above the threshold rather than above zero. Infinite where it is
    beyond all numbers.
    """
    quantiles = t_quantile(degrees_of_freedom, 1 - alpha) + t_quantile(degrees_of_freedom, power)
    try:
        return math.expm1(threshold + quantiles * error)
    except OverflowError:
        return math.inf


class Side(str, enum.Enum):
    """The two sides of a comparison."""

    BASELINE = "baseline"
    CONTENDER = "contender"

    def __str__(self) -> str:
        return self.value
