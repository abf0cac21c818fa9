"""Percentiles are measured values whose exact ranks cover the truth, and buckets keep three digits of every value."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.intervals import bounds, t_summary
from bench.stats.order_statistics import (
    Ranks,
    TooFewError,
    bucket_end,
    bucket_of,
    fewest_values,
    percentile,
    percentile_name,
    percentile_rank,
    percentile_ranks,
)

FRACTIONS = (0.5, 0.9, 0.95, 0.99, 0.999)


@pytest.mark.parametrize(
    ("count", "fraction", "ranks"),
    [
        (1_000, 0.99, Ranks(990, 983, 997)),
        (5_000, 0.99, Ranks(4_950, 4_936, 4_964)),
        (10_000, 0.5, Ranks(5_000, 4_902, 5_099)),
        (10_000, 0.9, Ranks(9_000, 8_941, 9_059)),
        (10_000, 0.99, Ranks(9_900, 9_880, 9_920)),
        (10_000, 0.999, Ranks(9_990, 9_983, 9_997)),
    ],
)
def test_the_ranks_are_those_of_the_exact_binomial_distribution(count: int, fraction: float, ranks: Ranks) -> None:
    """As worked out by hand from tables of it."""
    assert percentile_ranks(count, fraction) == ranks


@given(st.integers(3_688, 2_000_000), st.sampled_from(FRACTIONS))
def test_the_ranks_are_scipys(count: int, fraction: float) -> None:
    """By `scipy.stats.binom`: each end misses the percentile with a probability of 2.5 % at most, and barely so."""
    ranks = percentile_ranks(count, fraction)
    below = scipy.stats.binom(count, fraction)
    assert (ranks.lower, ranks.upper) == (below.ppf(0.025), below.ppf(0.975) + 1)
    assert below.cdf(ranks.lower - 1) <= 0.025 < below.cdf(ranks.lower)
    assert below.sf(ranks.upper - 1) <= 0.025 < below.sf(ranks.upper - 2)
    assert 1 <= ranks.lower <= ranks.rank <= ranks.upper <= count


@given(st.integers(1, 5_000), st.sampled_from([0.07, 0.29, *FRACTIONS]))
def test_a_percentile_is_numpys_order_statistic(count: int, fraction: float) -> None:
    """The value at which the share of all values reaches it, with the decimal fraction that is meant."""
    assert percentile_rank(count, fraction) == math.ceil(round(count * fraction, 6))
    is_whole = math.isclose(count * fraction, round(count * fraction))  # where NumPy's depends on how 0.999 is rounded
    if fraction in FRACTIONS and not is_whole:
        values = np.arange(count)
        assert values[percentile_rank(count, fraction) - 1] == np.percentile(
            values, round(100 * fraction, 1), method="inverted_cdf"
        )


@pytest.mark.parametrize(("fraction", "fewest"), [(0.5, 6), (0.9, 36), (0.99, 368), (0.999, 3_688), (0.01, 368)])
def test_too_few_values_are_refused(fraction: float, fewest: int) -> None:
    """One value fewer and the largest, or the smallest, would be an end that misses too often."""
    assert fewest_values(fraction) == fewest
    ranks = percentile_ranks(fewest, fraction)
    assert 1 <= ranks.lower <= ranks.rank <= ranks.upper <= fewest
    with pytest.raises(TooFewError, match=f"takes {fewest:,} values at least, and there are {fewest - 1:,}"):
        percentile_ranks(fewest - 1, fraction)


@pytest.mark.parametrize(("fraction", "rank"), [(0.9, 9_071), (0.99, 9_924)])
def test_mlperfs_early_stopping_ends_just_above_our_interval(fraction: float, rank: int) -> None:
    """Its estimate for 10,000 queries is a one-sided bound of 99 %, and one rank more.

    `MinPassingQueriesFinder` of MLPerf's loadgen asks that at most t slow queries had a probability of 1 % at most,
    and takes the t-th value from the end.
    """
    slow = scipy.stats.binom(10_000, 1 - fraction)
    allowed = max(t for t in range(10_000 - rank, 10_000 - rank + 5) if slow.cdf(t) <= 0.01)
    assert 10_000 - allowed + 1 == rank
    assert percentile_ranks(10_000, fraction).upper < rank


def test_a_percentile_is_a_measured_value() -> None:
    """Never one between two of them."""
    values = [2**power for power in range(1_000)]
    assert percentile(values, 0.99) == (2**989, 2**982, 2**996)


@pytest.mark.parametrize(("fraction", "name"), [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9")])
def test_a_percentile_has_its_usual_name(fraction: float, name: str) -> None:
    assert percentile_name(fraction) == name


def test_intervals_cover_the_percentiles_of_a_process() -> None:
    """In 93 to 97 of 100 of 2,000 runs of 10,000 queries, whose times have a long tail: one in fifty is far slower.

    The few queries above p99.9 leave ranks no finer choice: its interval covers a little more.
    """
    generator = np.random.default_rng(16)
    runs, queries = 2_000, 10_000
    ranks = {fraction: percentile_ranks(queries, fraction) for fraction in (0.5, 0.9, 0.99, 0.999)}
    truths = {fraction: _log_of_percentile(fraction) for fraction in ranks}
    places = sorted({rank - 1 for each in ranks.values() for rank in (each.lower, each.upper)})
    covered = dict.fromkeys(ranks, 0)
    for _ in range(runs):
        logs = generator.normal(0, 0.1, queries)
        logs[generator.random(queries) < 0.02] += 2
        found = np.partition(logs, places)
        for fraction, each in ranks.items():
            covered[fraction] += bool(found[each.lower - 1] <= truths[fraction] <= found[each.upper - 1])
    for fraction, count in covered.items():
        below = scipy.stats.binom(queries, fraction)
        exact = below.cdf(ranks[fraction].upper - 1) - below.cdf(ranks[fraction].lower - 1)
        assert count / runs == pytest.approx(exact, abs=0.015)
        assert 0.93 <= count / runs <= (0.97 if fraction < 0.999 else 0.98), fraction


def _log_of_percentile(fraction: float) -> float:
    """Return the logarithm of the true percentile of the times above, a mixture of two log-normal distributions."""

    def excess(logarithm: float) -> float:
        normal = scipy.stats.norm
        return float(0.98 * normal.cdf(logarithm / 0.1) + 0.02 * normal.cdf((logarithm - 2) / 0.1)) - fraction

    return float(scipy.optimize.brentq(excess, -1, 4))


def test_what_other_processes_give_is_told_by_processes_alone() -> None:
    """The interval of a process is far too narrow for it; Student's t over the processes' logarithms covers it.

    Processes of the same code differ by 3 % here, whose p99 each knows to half a percent by its 10,000 queries.
    """
    generator = np.random.default_rng(17)
    sessions, processes, queries = 1_000, 5, 10_000
    ranks = percentile_ranks(queries, 0.99)
    truth = 0.1 * scipy.stats.norm.ppf(0.99)
    width = 0.1 * float(np.ptp(scipy.stats.norm.ppf([ranks.lower / queries, ranks.upper / queries]))) / 2
    own = across = 0
    for _ in range(sessions):
        shifts = generator.normal(0, 0.03, processes)
        # Order statistics of uniform numbers are beta distributed: no need to draw and sort them all.
        logs = shifts + 0.1 * scipy.stats.norm.ppf(generator.beta(ranks.rank, queries + 1 - ranks.rank, processes))
        own += bool(abs(logs[0] - truth) <= width)
        ends = bounds(t_summary(logs.tolist()))
        assert ends is not None
        across += bool(ends[0] <= truth <= ends[1])
    assert 0.93 <= across / sessions <= 0.97
    assert own / sessions < 0.5


@given(st.integers(0, 10**15))
def test_a_bucket_keeps_three_digits(value: int) -> None:
    """Buckets lie side by side and are at most 1 % wide, or a nanosecond."""
    edge = bucket_of(value)
    assert edge <= value < bucket_end(edge)
    assert bucket_of(bucket_end(edge)) == bucket_end(edge)
    assert bucket_of(edge) == edge
    assert bucket_end(edge) - edge <= max(1, value / 100)
    assert len(str(edge).rstrip("0")) <= 3
