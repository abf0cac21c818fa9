"""The number of blocks after the first ones, and how often the interval over all of them then covers the truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import scipy.special
import scipy.stats

from bench.stats.intervals import t_summary
from bench.stats.two_stage import FEWEST, least_count, wanted_count

MOST = 50
Floats = npt.NDArray[np.float64]


def test_it_is_steins_number() -> None:
    """By scipy's quantile, rounded up; a spread ten times as large takes a hundred times as many."""
    first = [0.00, 0.02, 0.01, 0.05]
    t = scipy.stats.t.ppf(0.975, 3)
    for half_width in (0.01, 0.005):
        expected = math.ceil((t * np.std(first, ddof=1) / half_width) ** 2)
        assert wanted_count(t_summary(first), half_width, 10_000) == expected > least_count(4)
    hundredfold = wanted_count(t_summary([10 * number for number in first]), 0.01, 10**6)
    assert hundredfold == pytest.approx(100 * wanted_count(t_summary(first), 0.01, 10**6), rel=0.02)


@pytest.mark.parametrize(("first", "least"), [(2, 6), (3, 6), (4, 6), (5, 8), (8, 12)])
def test_there_is_always_a_second_stage(first: int, least: int) -> None:
    """Even where the first numbers are all the same, by luck."""
    assert wanted_count(t_summary([1.0] * first), 0.01, MOST) == least_count(first) == least >= FEWEST


def test_there_are_no_more_than_the_most() -> None:
    """However small the half-width is, down to the smallest number there is."""
    assert wanted_count(t_summary([0.0, 1.0]), 5e-324, MOST) == MOST
    assert wanted_count(t_summary([0.0, 1.0]), 0.01, MOST) == MOST


def test_a_single_number_has_no_spread() -> None:
    with pytest.raises(ValueError, match="no spread"):
        wanted_count(t_summary([1.0]), 0.01, MOST)


# --- how often the interval covers the truth --------------------------------------------------------------------------


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return generator.normal(size=shape)


def heavy_tails(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return generator.standard_t(3, size=shape) / math.sqrt(3)


def outliers(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """One number in ten is four times as far off."""
    noise = generator.normal(size=shape)
    return np.where(generator.random(shape) < 0.1, 4 * noise, noise) / math.sqrt(2.5)


def covered(sample: Floats, first: int, half_width: float) -> Floats:
    """Return which rows' intervals cover 0, from ratios of shape (sessions, rows, MOST): floats of 0 and 1.

    The first row is one that decides how many blocks there are, where the rows are not equally noisy.
    """
    counts = [
        max(wanted_count(t_summary(list(row[:first])), half_width, MOST) for row in session) for session in sample
    ]
    inside = []
    for session, count in zip(sample, counts, strict=True):
        known = session[:, :count]
        ends = scipy.special.stdtrit(count - 1, 0.975) * known.std(axis=1, ddof=1) / math.sqrt(count)
        inside.append(np.abs(known.mean(axis=1)) <= ends)
    return np.asarray(inside, dtype=float)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [normal, heavy_tails, outliers])
@pytest.mark.parametrize("first", [2, 4])
@pytest.mark.parametrize("half_width", [0.7, 1.5])
@pytest.mark.parametrize("rows", [1, 7])
def test_the_usual_interval_covers_as_it_says(
    draw: Callable[[np.random.Generator, tuple[int, ...]], Floats], first: int, half_width: float, rows: int
) -> None:
    """In 93 to 97 % of sessions, for a lone ratio, for the noisiest of several, and for the others.

    The half-width is in standard deviations of the noisiest row, so that there are from six blocks to fifty.
    """
    sessions = 10_000 if rows == 1 else 3_000
    sample = draw(np.random.default_rng(17), (sessions, rows, MOST))
    sample[:, 1:] /= 2
    inside = covered(sample, first, half_width)
    assert 0.93 <= inside[:, 0].mean() <= 0.97
    if rows > 1:
        assert 0.93 <= inside[:, 1:].mean() <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("draw", [normal, heavy_tails])
def test_a_drift_does_not_matter(draw: Callable[[np.random.Generator, tuple[int, ...]], Floats]) -> None:
    """What a block does to all of its rows is in no ratio, however far the machine wanders from block to block."""
    generator = np.random.default_rng(23)
    drift = generator.normal(scale=0.2, size=(2000, 1, MOST)).cumsum(axis=2)
    speeds = drift + 0.02 * draw(generator, (2000, 5, MOST))
    inside = covered(speeds[:, 1:] - speeds[:, :1], 4, math.log1p(0.03))
    assert 0.93 <= inside.mean() <= 0.97


@pytest.mark.slow
def test_steins_own_interval_would_cover_too_little_with_outliers() -> None:
    """The reason for the usual interval: the first stage alone seldom knows of the outliers that the later blocks hold.

    Here the others of seven rows ask for many blocks, whose mean has them.
    """
    sample = outliers(np.random.default_rng(5), (3_000, 7, MOST))
    inside = []
    for session in sample:
        count = max(wanted_count(t_summary(list(row[:4])), 0.5, MOST) for row in session)
        ends = scipy.special.stdtrit(3, 0.975) * session[:, :4].std(axis=1, ddof=1) / math.sqrt(count)
        inside.append(np.abs(session[:, :count].mean(axis=1)) <= ends)
    assert np.mean(inside) < 0.92
    assert 0.93 <= covered(sample, 4, 0.5).mean() <= 0.97


@pytest.mark.slow
def test_without_a_second_stage_it_would_cover_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason for `least_count`: one that stops at a lucky first stage is wrong too often."""
    monkeypatch.setattr("bench.stats.two_stage.least_count", lambda first: first)
    sample = normal(np.random.default_rng(5), (10_000, 1, MOST))
    assert covered(sample, 3, 1.0).mean() < 0.92
