"""Means, intervals and ratios over processes are those of scipy, and keep what they promise."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats import intervals
from bench.stats.intervals import (
    Estimate,
    TSummary,
    bounds,
    detectable_effect,
    estimate_of,
    geometric_mean,
    log_moments,
    mean_difference,
    moments,
    p_above,
    p_nonzero,
    ratio,
    t_summary,
    upper_bound,
    welch_difference,
)
from bench.stats.regression import line

positive = st.floats(min_value=1e-6, max_value=1e6)
samples = st.lists(positive, min_size=2, max_size=8)


def approximately(expected: Estimate) -> Estimate:
    """Return the estimate with its numbers compared to 1e-9."""
    close = {
        name: None if (end := getattr(expected, name)) is None else pytest.approx(end, rel=1e-9)
        for name in ("value", "lower", "upper")
    }
    return Estimate(**close, n=expected.n)  # type: ignore[arg-type]


def test_the_geometric_mean_has_scipys_t_interval_of_the_logarithms() -> None:
    """Value and interval are those of `scipy.stats.t.interval` on the logarithms, exponentiated."""
    sample = [930.0, 910.0, 955.0, 921.0]
    logs = np.log(sample)
    lower, upper = scipy.stats.t.interval(0.95, df=3, loc=logs.mean(), scale=scipy.stats.sem(logs))
    expected = Estimate(value=float(scipy.stats.gmean(sample)), lower=math.exp(lower), upper=math.exp(upper), n=4)
    assert approximately(expected) == geometric_mean(sample)


def test_the_ratio_has_scipys_welch_interval_of_the_logarithms() -> None:
    """Value and interval are those of `scipy.stats.ttest_ind` with unequal variances on the logarithms."""
    above, below = [930.0, 910.0, 955.0, 921.0], [610.0, 540.0, 590.0]
    interval = scipy.stats.ttest_ind(np.log(above), np.log(below), equal_var=False).confidence_interval(0.95)
    value = float(scipy.stats.gmean(above) / scipy.stats.gmean(below))
    expected = Estimate(value=value, lower=math.exp(interval.low), upper=math.exp(interval.high), n=3)
    assert approximately(expected) == ratio(above, below)


def test_one_process_has_a_value_and_no_interval() -> None:
    """n = 1 says nothing about the spread, so there is no interval, of a mean or of a ratio with either side alone."""
    assert Estimate(value=930.0, lower=None, upper=None, n=1) == geometric_mean([930.0])
    alone = Estimate(value=2.0, lower=None, upper=None, n=1)
    assert approximately(alone) == ratio([4.0], [1.0, 4.0])
    assert approximately(alone) == ratio([2.0, 8.0], [2.0])


def test_no_spread_gives_an_interval_of_no_width() -> None:
    """Identical processes have a zero standard error; the Welch degrees of freedom do not become 0 / 0."""
    assert approximately(Estimate(value=3.0, lower=3.0, upper=3.0, n=3)) == geometric_mean([3.0, 3.0, 3.0])
    assert approximately(Estimate(value=1.5, lower=1.5, upper=1.5, n=2)) == ratio([3.0, 3.0], [2.0, 2.0, 2.0])


@settings(deadline=None)  # a busy machine is no failure
@given(samples, positive)
def test_the_mean_is_scale_equivariant(sample: list[float], scale: float) -> None:
    """Another unit multiplies value and both ends alike."""
    plain, scaled = geometric_mean(sample), geometric_mean([scale * number for number in sample])
    assert plain.lower is not None
    assert plain.upper is not None
    expected = Estimate(value=plain.value * scale, lower=plain.lower * scale, upper=plain.upper * scale, n=plain.n)
    assert approximately(expected) == scaled


@settings(deadline=None)  # a busy machine is no failure
@given(samples, samples, positive)
def test_the_ratio_does_not_depend_on_the_unit(above: list[float], below: list[float], scale: float) -> None:
    """Multiplying both sides by one factor changes nothing."""
    scaled = ratio([scale * number for number in above], [scale * number for number in below])
    plain = ratio(above, below)
    assert math.isclose(plain.value, scaled.value, rel_tol=1e-6)
    assert plain.n == scaled.n


@settings(deadline=None)  # a busy machine is no failure
@given(samples, samples)
def test_the_ratio_the_other_way_round_is_the_inverse(above: list[float], below: list[float]) -> None:
    """a/b and b/a tell the same story: values and swapped ends are inverse."""
    one, other = ratio(above, below), ratio(below, above)
    assert math.isclose(one.value, 1 / other.value, rel_tol=1e-9)
    assert one.lower is not None
    assert other.upper is not None
    assert math.isinf(other.upper) or math.isclose(one.lower * other.upper, 1, rel_tol=1e-6)


@settings(deadline=None)  # a busy machine is no failure
@given(samples, st.integers(0, 7), st.floats(min_value=1.01, max_value=100))
def test_the_mean_grows_with_each_number(sample: list[float], index: int, factor: float) -> None:
    """A faster process never lowers the mean."""
    faster = list(sample)
    faster[index % len(sample)] *= factor
    assert geometric_mean(faster).value > geometric_mean(sample).value


@settings(deadline=None)  # a busy machine is no failure
@given(samples)
def test_the_value_lies_inside_its_interval_and_between_the_extremes(sample: list[float]) -> None:
    """lower <= value <= upper, and the smallest and largest process bound the value."""
    estimate = geometric_mean(sample)
    assert estimate.lower is not None
    assert estimate.upper is not None
    assert estimate.lower <= estimate.value <= estimate.upper
    assert min(sample) * (1 - 1e-9) <= estimate.value <= max(sample) * (1 + 1e-9)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_the_interval_of_the_mean_covers_the_truth_in_95_of_100_cases(n: int) -> None:
    """On log-normal noise the 95 % interval holds the true mean in 93 to 97 % of 2,000 simulated results."""
    generator = np.random.default_rng(20260131)
    truth = 930.0
    covered = 0
    for logs in generator.normal(math.log(truth), 0.05, size=(2000, n)):
        estimate = geometric_mean(np.exp(logs).tolist())
        assert estimate.lower is not None
        assert estimate.upper is not None
        covered += estimate.lower <= truth <= estimate.upper
    assert 0.93 <= covered / 2000 <= 0.97


@pytest.mark.parametrize(("spread", "sizes"), [(0.05, (3, 3)), (0.05, (5, 3)), (0.02, (4, 8))])
def test_the_interval_of_a_ratio_covers_the_truth_in_95_of_100_cases(spread: float, sizes: tuple[int, int]) -> None:
    """So does the Welch interval, with equal and unequal spreads and sizes."""
    generator = np.random.default_rng(20260131)
    truth = 1.5
    covered = 0
    for _ in range(2000):
        above = np.exp(generator.normal(math.log(truth), 0.05, size=sizes[0]))
        below = np.exp(generator.normal(0.0, spread, size=sizes[1]))
        estimate = ratio(above.tolist(), below.tolist())
        assert estimate.lower is not None
        assert estimate.upper is not None
        covered += estimate.lower <= truth <= estimate.upper
    assert 0.93 <= covered / 2000 <= 0.97


@pytest.mark.parametrize("number", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(
    "statistic", [geometric_mean, lambda sample: ratio(sample, [1.0]), lambda sample: ratio([1.0], sample)]
)
def test_a_number_without_a_logarithm_is_refused(statistic: Callable[[list[float]], Estimate], number: float) -> None:
    """Zero, negative and non-finite numbers are an error, never a NaN in a table."""
    with pytest.raises(ValueError, match="only positive, finite numbers"):
        statistic([1.0, number])


def test_an_empty_sample_is_refused() -> None:
    """Without a process there is no mean."""
    with pytest.raises(ValueError, match="empty sample"):
        geometric_mean([])


def test_half_an_interval_is_refused() -> None:
    """An interval with one end is a programming error."""
    with pytest.raises(ValueError, match="two ends or none"):
        Estimate(value=1.0, lower=None, upper=2.0, n=2)


def test_an_interval_beyond_the_largest_float_is_infinite() -> None:
    """An absurd spread gives an infinite upper end without a warning."""
    estimate = geometric_mean([1e-200, 1e200])
    assert estimate.upper == math.inf
    assert intervals.CONFIDENCE == 0.95


def differences(*pairs: tuple[list[float], list[float]]) -> list[TSummary]:
    return [welch_difference(log_moments(above), log_moments(below)) for above, below in pairs]


def test_the_one_sided_p_value_is_scipys() -> None:
    """Welch's test asks whether the difference of the mean logarithms is at most the threshold."""
    above, below = [930.0, 910.0, 955.0, 921.0], [610.0, 540.0, 590.0]
    (difference,) = differences((above, below))
    for threshold in (0.0, 0.3, 0.48):
        expected = scipy.stats.ttest_ind(
            np.log(above) - threshold, np.log(below), equal_var=False, alternative="greater"
        ).pvalue
        assert p_above(difference, threshold) == pytest.approx(expected, rel=1e-9)


def test_a_difference_without_a_spread_shows_nothing_or_everything() -> None:
    """A single process shows nothing, identical ones whatever lies beyond the threshold."""
    alone, exact = differences(([2.0], [1.0, 4.0]), ([3.0, 3.0], [2.0, 2.0]))
    assert (p_above(alone, -9.0), upper_bound(alone, 0.05), bounds(alone)) == (1.0, math.inf, None)
    assert (p_above(exact, 0.4), p_above(exact, 0.41)) == (0.0, 1.0)
    assert upper_bound(exact, 0.05) == pytest.approx(math.log(1.5))


@settings(deadline=None)  # a busy machine is no failure
@given(samples, samples, st.floats(-2, 2), st.floats(0.001, 0.499))
def test_the_upper_bound_is_where_the_p_value_is_alpha(
    above: list[float], below: list[float], threshold: float, alpha: float
) -> None:
    """Test and interval are two readings of one thing: below the bound is what the test rejects."""
    (difference,) = differences((above, below))
    bound = upper_bound(difference, alpha)
    if difference.error and abs(bound - threshold) > 1e-6 * max(1, abs(bound)):
        assert (p_above(-difference, -threshold) <= alpha) == (bound <= threshold)


def test_a_mean_of_differences_is_the_geometric_mean_of_the_ratios() -> None:
    """With equal spreads, the interval of k of them is narrower by the square root of k."""
    one, other = differences(([4.0, 4.1, 3.9], [1.0, 1.1, 0.9]), ([9.0, 9.1, 8.9], [1.0, 1.1, 0.9]))
    assert math.exp(mean_difference([one, other]).value) == pytest.approx(6, rel=0.01)
    same = mean_difference([one] * 4)
    assert same.value == pytest.approx(one.value)
    assert one.error is not None
    assert one.degrees_of_freedom is not None
    assert same.error == pytest.approx(one.error / 2)
    assert same.degrees_of_freedom == pytest.approx(4 * one.degrees_of_freedom)
    assert mean_difference([one]).value == one.value


def test_a_mean_of_differences_without_any_spread_or_with_a_lone_process() -> None:
    """The one has a point, the other no interval; without any difference there is no mean."""
    exact, alone = differences(([3.0, 3.0], [2.0, 2.0]), ([3.0], [2.0]))
    assert bounds(mean_difference([exact, exact])) == pytest.approx((math.log(1.5), math.log(1.5)))
    assert bounds(mean_difference([exact, alone])) is None
    with pytest.raises(ValueError, match="no differences"):
        mean_difference([])


def test_the_interval_of_a_mean_of_differences_covers_the_truth_in_95_of_100_cases() -> None:
    """There are 5 scenarios of unequal spread, with 3 processes a side."""
    generator = np.random.default_rng(20260131)
    covered = 0
    for _ in range(2000):
        pairs = [
            (np.exp(generator.normal(0.3, spread, 3)).tolist(), np.exp(generator.normal(0, spread, 3)).tolist())
            for spread in (0.01, 0.02, 0.03, 0.04, 0.05)
        ]
        ends = bounds(mean_difference(differences(*pairs)))
        assert ends is not None
        covered += ends[0] <= 0.3 <= ends[1]
    assert 0.93 <= covered / 2000 <= 0.97


# --- a line through batch sizes


sizes = st.lists(st.integers(1, 5_000), min_size=2, max_size=6, unique=True)


@settings(deadline=None)  # a busy machine is no failure
@given(sizes, st.floats(0, 1e5), st.floats(1e-3, 1e3), st.integers(1, 4))
def test_a_line_without_noise_is_found(xs: list[int], fixed: float, each: float, repeats: int) -> None:
    """Intercept and slope are exact to the rounding of sums, whatever the batch sizes and processes."""
    found = line([(float(x), fixed + each * x) for x in xs for _ in range(repeats)])
    scale = fixed + each * max(xs)
    assert found.intercept.value == pytest.approx(fixed, abs=1e-6 * scale)
    assert found.slope.value == pytest.approx(each, abs=1e-6 * scale)
    assert found.slope.n == len(xs) * repeats
    assert (found.slope.lower is None) is (len(xs) == 2)


def test_a_line_is_numpys_weighted_least_squares_with_scipys_quantile() -> None:
    """Residuals are over their group's mean; the covariance is what is left, on n - 2 degrees of freedom."""
    points = [(50.0, 800.0), (50.0, 820.0), (200.0, 1_390.0), (200.0, 1_420.0), (1_000.0, 4_700.0), (1_000.0, 4_500.0)]
    weights = [1 / mean for mean in (810.0, 1_405.0, 4_600.0) for _ in range(2)]
    xs, ys = np.array(points).T
    coefficients, covariance = np.polyfit(xs, ys, 1, w=np.array(weights), cov=True)
    half_widths = scipy.stats.t.ppf(0.975, 4) * np.sqrt(np.diag(covariance))
    slope, intercept = (
        Estimate(value, lower=value - half_width, upper=value + half_width, n=6)
        for value, half_width in zip(coefficients, half_widths, strict=True)
    )
    found = line(points)
    assert (approximately(intercept), approximately(slope)) == (found.intercept, found.slope)


@settings(deadline=None)  # a busy machine is no failure
@given(sizes, st.floats(0.01, 100))
def test_a_line_does_not_depend_on_the_unit(xs: list[int], factor: float) -> None:
    """In milliseconds or microseconds, everything is multiplied alike."""
    points = [(float(x), 500 + 3 * x + (10 * index % 7)) for index, x in enumerate(sorted(xs))]
    plain, scaled = line(points), line([(x, factor * y) for x, y in points])
    assert scaled.slope.value == pytest.approx(factor * plain.slope.value)
    assert scaled.intercept.value == pytest.approx(factor * plain.intercept.value, abs=1e-6 * factor)


@pytest.mark.parametrize("batch_sizes", [(100, 500, 1_000), (32, 100, 300, 1_000)])
@pytest.mark.parametrize("repeats", [1, 3, 10])
@pytest.mark.parametrize(("fixed", "each"), [(600.0, 4.0), (20.0, 10.0)])
@pytest.mark.parametrize("noise", [0.02, 0.15])
def test_the_intervals_of_a_line_cover_the_truth_95_times_in_100(
    batch_sizes: tuple[int, ...], repeats: int, fixed: float, each: float, noise: float
) -> None:
    """Of 3,000 lines with log-normal noise, the share is known to 1.2 %, three standard errors."""
    generator = random.Random(7)
    covered = [0, 0]
    for _ in range(3_000):
        points = [
            (x, (fixed + each * x) * math.exp(generator.gauss(0, noise))) for x in batch_sizes for _ in range(repeats)
        ]
        found = line(points)
        for index, (estimate, truth) in enumerate(((found.intercept, fixed), (found.slope, each))):
            assert estimate.lower is not None
            assert estimate.upper is not None
            covered[index] += estimate.lower <= truth <= estimate.upper
    assert all(0.93 < count / 3_000 < 0.97 for count in covered), covered


def test_a_curve_is_no_line_however_sure_its_points_are() -> None:
    """Processes that agree to a thousandth cannot make the intercept of a bent curve sure: its means decide."""
    bent = {50: 1_000.0, 200: 1_200.0, 1_000: 4_000.0, 2_000: 9_000.0}
    exact = [(float(x), y * jitter) for x, y in bent.items() for jitter in (0.999, 1.0, 1.001)]
    found, of_means = line(exact), line([(float(x), y) for x, y in bent.items()])
    assert found.intercept.lower == pytest.approx(of_means.intercept.lower, rel=1e-3)
    assert found.slope.upper == pytest.approx(of_means.slope.upper, rel=1e-3)


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(100.0, 5.0)],
        [(100.0, 5.0), (100.0, 6.0)],
        [(100.0, 5.0), (200.0, 0.0)],
        [(100.0, 5.0), (200.0, math.nan)],
        [(100.0, 5.0), (200.0, math.inf)],
        [(0.0, 5.0), (200.0, 6.0)],
    ],
)
def test_what_has_no_line_is_refused(points: list[tuple[float, float]]) -> None:
    """A single batch size has none, nor have times that are not positive numbers."""
    with pytest.raises(ValueError, match=r"different x|positive"):
        line(points)


# --- estimates in other units -----------------------------------------------------------------------------------------


def test_an_estimate_changes_its_unit_with_its_interval() -> None:
    """10 a second are 600 a minute and 0.1 s each; the ends of the inverse change places."""
    rate = Estimate(value=10.0, lower=8.0, upper=20.0, n=3)
    assert rate.scaled(60) == Estimate(value=600.0, lower=480.0, upper=1200.0, n=3)
    assert rate.inverse() == Estimate(value=0.1, lower=0.05, upper=0.125, n=3)
    assert rate.inverse(2.0) == rate.inverse().scaled(2)


def test_an_estimate_without_an_interval_has_none_in_other_units() -> None:
    """A lower end that underflowed to zero leaves the inverse without a bound above."""
    alone = Estimate(value=4.0, lower=None, upper=None, n=1)
    assert alone.scaled(0.5) == Estimate(value=2.0, lower=None, upper=None, n=1)
    assert alone.inverse() == Estimate(value=0.25, lower=None, upper=None, n=1)
    assert Estimate(value=4.0, lower=0.0, upper=8.0, n=2).inverse().upper == math.inf


# --- plain means and differences --------------------------------------------------------------------------------------

SMALL = st.floats(-0.3, 0.3, allow_nan=False)


def p_of_mean(sample: list[float]) -> float:
    return p_nonzero(t_summary(sample))


def p_of_difference(first: list[float], second: list[float]) -> float:
    return p_nonzero(welch_difference(moments(first), moments(second)))


@given(sample=st.lists(SMALL, min_size=2, max_size=20, unique=True))
def test_t_tests_are_scipys(sample: list[float]) -> None:
    """They are the interval, the one-sided bound and the two-sided test of a mean."""
    if np.std(sample) < 1e-6:
        return
    interval = scipy.stats.ttest_1samp(sample, 0).confidence_interval(0.95)
    assert bounds(t_summary(sample)) == pytest.approx((interval.low, interval.high))
    one_sided = scipy.stats.ttest_1samp(sample, 0, alternative="less").confidence_interval(0.95)
    assert upper_bound(t_summary(sample), 0.05) == pytest.approx(one_sided.high)
    assert p_of_mean(sample) == pytest.approx(scipy.stats.ttest_1samp(sample, 0).pvalue)


@given(
    first=st.lists(SMALL, min_size=2, max_size=9, unique=True),
    second=st.lists(SMALL, min_size=2, max_size=9, unique=True),
)
def test_welchs_test_is_scipys(first: list[float], second: list[float]) -> None:
    """It is two-sided, with unequal variances."""
    if min(np.std(first), np.std(second)) < 1e-6:
        return
    expected = scipy.stats.ttest_ind(first, second, equal_var=False).pvalue
    assert p_of_difference(first, second) == pytest.approx(expected, abs=1e-9)


def test_without_spread_a_test_is_certain() -> None:
    """If all are equal the p-value is 1 where nothing differs, else 0. With too few it is 1: nothing is known."""
    assert p_of_mean([0.0, 0.0]) == 1.0
    assert p_of_mean([0.1, 0.1]) == 0.0
    assert p_of_difference([0.1, 0.1], [0.1, 0.1]) == 1.0
    assert p_of_difference([0.1, 0.1], [0.2, 0.2]) == 0.0
    assert p_of_difference([0.1], [0.2, 0.3]) == 1.0


def test_the_detectable_effect_is_detected() -> None:
    """At that slowdown a t test above the threshold rejects in the promised share of experiments."""
    n, sd, threshold, alpha, power = 12, 0.02, 0.02, 0.01, 0.9
    slowdown = detectable_effect(TSummary(0.0, sd / math.sqrt(n), n - 1, n), threshold, alpha, power)
    samples = np.random.default_rng(5).normal(math.log1p(slowdown), sd, (4000, n))
    rejected = scipy.stats.ttest_1samp(samples, threshold, axis=1, alternative="greater").pvalue <= alpha
    assert rejected.mean() == pytest.approx(power, abs=0.03)


def test_a_mean_keeps_its_unit_in_an_estimate() -> None:
    """Value and ends are not exponentiated; one number has no interval, and no number no mean."""
    summary = t_summary([0.1, 0.2, 0.6])
    ends = bounds(summary)
    assert ends is not None
    assert estimate_of(summary) == Estimate(value=summary.value, lower=ends[0], upper=ends[1], n=3)
    assert summary.value == pytest.approx(0.3)
    assert estimate_of(t_summary([0.1])) == Estimate(value=0.1, lower=None, upper=None, n=1)
    assert detectable_effect(t_summary([0.1]), 0.0, 0.05) == math.inf
    with pytest.raises(ValueError, match="empty sample"):
        t_summary([])
