"""Statistics of interleaved blocks: pure functions of numbers.

A block is four invocations, ABBA or BAAB. y, of shape (4,), holds the mean log(seconds per sample) of each, in order of
time. Everything is on the logarithmic scale: a difference of 0.02 is 2 % slower. The unit of replication is the block:
its effect is one number however many windows its invocations have. effects, of shape (n,), are log ratios, one per
block.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from bench.enums import StrEnum
from bench.stats.intervals import POWER, TSummary


class Side(StrEnum):
    """The two sides of a comparison."""

    BASELINE = "baseline"
    CONTENDER = "contender"


class Order(StrEnum):
    """The order in which the invocations of a block take turns; A is the baseline. Linear drift cancels in both."""

    ABBA = "ABBA"
    BAAB = "BAAB"

    @property
    def sides(self) -> tuple[Side, ...]:
        """The side of each invocation, in order of time."""
        return tuple(Side.BASELINE if letter == "A" else Side.CONTENDER for letter in self.value)


#: Sums of the same numbers in another order differ by rounding. A sum this close to the observed one, relative to the
#: sum of magnitudes, counts as equal to it, which can only raise a p-value.
_RELATIVE_TIE: Final = 1e-9
Floats = npt.NDArray[np.float64]


def effect(order: Order, y: Sequence[float]) -> float:
    """Return d = (yB1 + yB2 - yA1 - yA2) / 2, the log ratio of contender over baseline, from y of shape (4,).

    Linear drift cancels. Var(d) is the variance of one invocation.
    """
    first, second, third, last = y
    inner_minus_outer = (second + third - first - last) / 2
    return inner_minus_outer if order is Order.ABBA else -inner_minus_outer


def control(y: Sequence[float]) -> float:
    """Return e = (first inner - second inner) + (last outer - first outer) / 3: 0 on average, whatever the effect.

    y has shape (4,). In ABBA the inner side is B, in BAAB it is A: each side is compared only with itself, and linear
    drift cancels (the inner invocations are one place apart, the outer three). Var(e) is 20/9 of the variance of one
    invocation. What is left is what the test assumes to be absent: a place in the block that is always slower, or a
    drift that is not linear.
    """
    first, second, third, last = y
    return (second - third) + (last - first) / 3


def sign_flip_p_value(effects: Sequence[float], threshold: float) -> float:
    """Return the one-sided p-value of "the effect is at most `threshold`": exact, by the randomisation alone.

    `effects` are log ratios of shape (n,), one per block; the threshold is one, too. If the sides differed by no more
    than that, each effect minus the threshold could as well have had the other sign, since a coin decided the order of
    its block. The p-value is the share of the 2^n sign patterns whose sum is at least the observed one (Fisher, "The
    Design of Experiments", 1935, section 21); it is never below 2^-n.
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
    """Return the sums of values, shape (n,), with all patterns of signs: shape (2^n,)."""
    sums: Floats = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def unanimous_detectable_effect(effects: TSummary, threshold: float, power: float = POWER) -> float:
    """Return the relative slowdown (0.02 = 2 % slower) at which all n effects exceed the threshold with this power.

    Each of them does, at a spread s, with probability power^(1/n) at exp(threshold + z s) - 1, z the normal quantile of
    that. It is what a sign-flip test needs whose smallest p-value, 2^-n, is the only significant one. `effects` needs a
    spread: n is 2 at least.
    """
    assert effects.error is not None
    quantile = float(ndtri(power ** (1 / effects.n)))
    return math.expm1(threshold + quantile * effects.error * math.sqrt(effects.n))
