"""What rows that share blocks say of each other's scatter, and how often an interval by it covers the truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from bench.stats.block_design import Spread, spread_of_rows, summarize_difference
from bench.stats.intervals import bounds, t_summary
from bench.stats.two_stage import wanted_count

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]


def by_block(speeds: Floats) -> list[dict[int, float]]:
    """Return rows of shape (rows, blocks) as `spread_of_rows` takes them."""
    return [dict(enumerate(map(float, row))) for row in speeds]


def test_it_is_the_residual_of_a_two_way_analysis_of_variance() -> None:
    """(rows - 1)(blocks - 1) degrees of freedom, and what rows and blocks have in common does not count."""
    noise = np.random.default_rng(1).normal(size=(4, 6))
    speeds = noise + np.arange(4)[:, None] + 10 * np.arange(6)
    left = noise - noise.mean(0) - noise.mean(1)[:, None] + noise.mean()
    spread = spread_of_rows(by_block(speeds))
    assert spread is not None
    assert spread.degrees_of_freedom == 15
    assert spread.variance == pytest.approx((left**2).sum() / 15)


def test_a_row_may_lack_a_block() -> None:
    """One number fewer is one degree of freedom fewer; a block of a single row says nothing."""
    rows = by_block(np.random.default_rng(2).normal(size=(3, 4)))
    whole = spread_of_rows(rows)
    rows[0][9] = 5.0
    assert spread_of_rows(rows) == pytest.approx(whole)
    del rows[1][2]
    fewer = spread_of_rows(rows)
    assert whole is not None
    assert fewer is not None
    assert (whole.degrees_of_freedom, fewer.degrees_of_freedom) == (6, 5)


def test_parts_of_a_split_block_are_blocks() -> None:
    """The reference is in both parts, and the other rows in one each."""
    generator = np.random.default_rng(3)
    rows = [dict.fromkeys(range(6), 0.0), dict.fromkeys((0, 2, 4), 0.0), dict.fromkeys((1, 3, 5), 0.0)]
    rows = [{block: float(generator.normal()) for block in row} for row in rows]
    spread = spread_of_rows(rows)
    assert spread is not None
    assert spread.degrees_of_freedom == 12 - 6 - 3 + 1


@pytest.mark.parametrize(("rows", "blocks"), [(2, 5), (3, 1), (0, 0)])
def test_too_little_has_no_spread(rows: int, blocks: int) -> None:
    assert spread_of_rows(by_block(np.zeros((rows, blocks)))) is None


def test_a_speed_that_is_no_number_has_no_spread() -> None:
    assert spread_of_rows(by_block(np.array([[1.0, 2.0], [1.0, math.inf], [0.0, 1.0]]))) is None


def test_own_and_common_spread_weigh_the_same() -> None:
    """The variance is the mean of both, with the degrees of freedom of both, as far as there are so many."""
    differences = [0.0, 0.02, 0.04]
    own = t_summary(differences)
    both = summarize_difference(differences, Spread(0.0008, 14))
    assert own.error is not None
    assert both.error is not None
    assert both.error**2 == pytest.approx((own.error**2 + 2 * 0.0008 / 3) / 2)
    assert (both.value, both.n, both.degrees_of_freedom) == (own.value, 3, 4)
    assert summarize_difference(differences, Spread(0.0008, 3)).degrees_of_freedom == 3
    assert summarize_difference(differences, None) == own


def test_a_mean_over_pairs_scatters_less() -> None:
    differences = [0.01, 0.01, 0.01]
    one, four = (summarize_difference(differences, Spread(0.0008, 14), pairs) for pairs in (1, 4))
    assert one.error is not None
    assert four.error == pytest.approx(one.error / 2)


def test_a_single_block_has_no_interval() -> None:
    """However well the spread of the others is known."""
    assert bounds(summarize_difference([0.1], Spread(0.0001, 20))) is None


# --- how often the interval covers the truth --------------------------------------------------------------------------


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return generator.normal(size=shape)


def heavy_tails(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return generator.standard_t(4, size=shape)


def covered(speeds: Floats) -> Floats:
    """Return which intervals of the ratios to the first row cover 1, of sessions of shape (sessions, rows, blocks)."""
    inside = []
    for session in speeds:
        spread = spread_of_rows(by_block(session))
        ends = [bounds(summarize_difference(list(row - session[0]), spread)) for row in session[1:]]
        inside.append([end is not None and end[0] <= 0 <= end[1] for end in ends])
    return np.asarray(inside, dtype=float)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [normal, heavy_tails])
@pytest.mark.parametrize(("rows", "blocks"), [(3, 3), (8, 5), (8, 6), (16, 5)])
def test_the_interval_covers_as_it_says(draw: Draw, rows: int, blocks: int) -> None:
    """In 93 to 97 % of sessions, while the machine wanders by a third from block to block."""
    generator = np.random.default_rng(11)
    speeds = draw(generator, (2000, rows, blocks)) + generator.normal(scale=10, size=(2000, 1, blocks))
    assert 0.93 <= covered(speeds).mean() <= 0.975


def test_it_is_narrower_and_seldom_far_too_wide() -> None:
    """Of eight rows in six blocks the usual interval is a tenth narrower than by its own blocks, the widest a fifth."""
    own: list[list[float]] = []
    shared: list[list[float]] = []
    for session in normal(np.random.default_rng(14), (400, 8, 6)):
        spread = spread_of_rows(by_block(session))
        for widths, by in ((own, None), (shared, spread)):
            ends = [bounds(summarize_difference(list(row - session[0]), by)) for row in session[1:]]
            widths.append([upper - lower for lower, upper in filter(None, ends)])
    assert np.median(shared) == pytest.approx(0.9 * np.median(own), rel=0.03)
    assert np.max(shared, axis=1).mean() == pytest.approx(0.78 * np.max(own, axis=1).mean(), rel=0.04)


@pytest.mark.slow
def test_a_noisier_row_is_covered_nearly_as_often() -> None:
    """One that scatters twice as much: over 90 % there, where the spread of all rows alone would give 85 %."""
    blocks = 6
    speeds = normal(np.random.default_rng(12), (3000, 8, blocks))
    speeds[:, -1] *= 2
    inside = covered(speeds)
    assert inside[:, -1].mean() > 0.9
    assert 0.93 <= inside.mean() <= 0.975
    pooled = 0
    for session in speeds:
        spread = spread_of_rows(by_block(session))
        assert spread is not None
        half = scipy.stats.t.ppf(0.975, spread.degrees_of_freedom) * math.sqrt(2 * spread.variance / blocks)
        pooled += abs((session[-1] - session[0]).mean()) <= half
    assert pooled / len(speeds) < 0.88


@pytest.mark.slow
@pytest.mark.parametrize("draw", [normal, heavy_tails])
@pytest.mark.parametrize(("rows", "half_width"), [(3, 1.2), (8, 1.2), (8, 2.0)])
def test_so_it_does_after_a_wanted_precision(draw: Draw, rows: int, half_width: float) -> None:
    """Three first blocks tell how many there are, by all rows, and the interval over all of them covers 93 to 97 %."""
    most, sessions, inside = 30, 1500, []
    for session in draw(np.random.default_rng(13), (sessions, rows, most)):
        first = spread_of_rows(by_block(session[:, :3]))
        counts = [
            wanted_count(summarize_difference(list((row - session[0])[:3]), first), half_width, most)
            for row in session[1:]
        ]
        inside.append(covered(session[None, :, : max(counts)]).mean())
    assert 0.93 <= np.mean(inside) <= 0.975
