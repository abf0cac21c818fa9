"""Percentiles of many times as order statistics, with exact intervals, and buckets that keep their distribution.

A percentile is a value that was measured, never one between two (`numpy.percentile`'s method "inverted_cdf"): of times
with a long tail nothing lies between the last ones. Its interval goes from one measured value to another. Whatever the
distribution, the number of values below its true percentile is binomial, so that exact ranks follow (H. A. David and
H. N. Nagaraja, "Order Statistics", 3rd edition, 2003, section 7.1).

This holds for independent values. Queries of one process share its state, so that the interval describes this process
in these seconds. What other processes would give is told by their own percentiles: Student's t over the logarithms.

`scipy.special.bdtrik` is the quantile behind `scipy.stats.binom.ppf`, whose import takes three times as long.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from scipy.special import bdtr, bdtrik

from bench.stats.intervals import CONFIDENCE

#: Significant decimal digits of a bucket's edges: neighbours differ by 0.1 to 1 %.
BUCKET_DIGITS: Final = 3


class TooFewError(ValueError):
    """There are too few values for a percentile with an interval; one line that says how many it takes."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """Places of a percentile and of the ends of its 95 % interval among ascending values; the first is 1."""

    rank: int
    lower: int
    upper: int


def percentile_name(fraction: float) -> str:
    """Return how a percentile is called: "p50", "p99.9"."""
    return f"p{float(100 * _exactly(fraction)):g}"


def percentile_rank(count: int, fraction: float) -> int:
    """Return the rank of a percentile: the first that has this share of all values at or below it."""
    return max(1, math.ceil(_exactly(fraction) * count))


def fewest_values(fraction: float) -> int:
    """Return how many values it takes until the interval of a percentile has two ends.

    The largest value is above the percentile except with probability fraction^n, and the smallest below it except with
    (1 - fraction)^n. Each may fail in half of what the confidence leaves: 368 values for p99, 3,688 for p99.9.
    """
    return math.ceil(math.log((1 - CONFIDENCE) / 2) / math.log(max(fraction, 1 - fraction)))


def percentile_ranks(count: int, fraction: float) -> Ranks:
    """Return the ranks of a percentile (0 < fraction < 1) of so many values and of its interval.

    Raises `TooFewError` where they are too few.
    """
    if count < (fewest := fewest_values(fraction)):
        raise TooFewError(f"{percentile_name(fraction)} takes {fewest:,} values at least, and there are {count:,}")
    tail = (1 - CONFIDENCE) / 2
    return Ranks(
        rank=percentile_rank(count, fraction),
        lower=_binomial_quantile(tail, count, fraction),
        upper=_binomial_quantile(1 - tail, count, fraction) + 1,
    )


def percentile(ascending: Sequence[int], fraction: float) -> tuple[int, int, int]:
    """Return the percentile of ascending values and the ends of its interval.

    Raises `TooFewError` where they are too few.
    """
    ranks = percentile_ranks(len(ascending), fraction)
    return ascending[ranks.rank - 1], ascending[ranks.lower - 1], ascending[ranks.upper - 1]


def bucket_of(value: int) -> int:
    """Return the lower edge of a number's bucket, which is the number cut to three significant digits."""
    return value - value % _bucket_width(value)


def bucket_end(edge: int) -> int:
    """Return the upper edge of the bucket that begins at `edge`: the next one's lower edge."""
    return edge + _bucket_width(edge)


def _bucket_width(value: int) -> int:
    return int(10 ** max(0, len(str(value)) - BUCKET_DIGITS))


def _exactly(fraction: float) -> Fraction:
    """Return the decimal fraction that was meant: 0.07 x 100 is 7, and not 7.000000000000001."""
    return Fraction(str(fraction))


def _binomial_quantile(probability: float, count: int, fraction: float) -> int:
    """Return the smallest number whose cumulative binomial probability is at least so much."""
    found = math.ceil(float(bdtrik(probability, count, fraction)))
    return found - 1 if found > 0 and bdtr(found - 1, count, fraction) >= probability else found
