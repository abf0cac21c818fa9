"""What rows that share blocks say of each other's scatter, and how often an interval by it covers the truth."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

from bench.stats.block_design import Spread, common_spread, spreads_of_rows, summarize_difference
from bench.stats.intervals import TSummary, bounds, t_summary
from bench.stats.two_stage import wanted_count

Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]


def by_block(speeds: Floats) -> list[dict[int, float]]:
    """Return rows of shape (rows, blocks) as `spreads_of_rows` takes them."""
    return [dict(enumerate(map(float, row))) for row in speeds]


def spread_of_rows(rows: list[dict[int, float]]) -> Spread | None:
    """Return the spread of rows of which none stands apart."""
    first, *others = spreads_of_rows(rows) or [None]
    assert others == [first] * len(others)
    return first


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


def scattered(*sizes: float, blocks: int = 5, seed: int = 5) -> list[dict[int, float]]:
    """Return a row for each size, by which it scatters."""
    return by_block(np.random.default_rng(seed).normal(size=(len(sizes), blocks)) * np.array(sizes)[:, None])


@pytest.mark.parametrize("apart", range(4))
def test_a_row_that_scatters_far_more_neither_lends_nor_borrows(apart: int) -> None:
    """The others have the spread that they have without it."""
    rows = scattered(*(20.0 if row == apart else 1.0 for row in range(4)))
    spreads = spreads_of_rows(rows)
    assert spreads[apart] is None
    del rows[apart], spreads[apart]
    assert spreads == [pytest.approx(spread_of_rows(rows))] * 3


def test_several_rows_may_stand_apart() -> None:
    spreads = spreads_of_rows(scattered(1, 30, 1, 900, 1, 1))
    assert [spread is None for spread in spreads] == [False, True, False, True, False, False]


def test_of_three_rows_none_stands_apart() -> None:
    """Two rows' difference is all that could be compared with the third."""
    assert None not in spreads_of_rows(scattered(1, 1, 100))


def test_a_row_apart_may_lack_blocks() -> None:
    rows = scattered(1, 20, 1, 1, blocks=8)
    del rows[1][0], rows[0][3], rows[2][7]
    rows[3][11] = 4.0
    assert [spread is None for spread in spreads_of_rows(rows)] == [False, True, False, False]


def test_a_row_that_scatters_less_is_one_of_them() -> None:
    assert None not in spreads_of_rows(scattered(1, 1, 1, 0.001))


def test_a_row_apart_is_told_as_an_f_test_would_tell_it() -> None:
    """The squares that a row adds to those of the others, of a whole table, by `scipy.stats`."""
    for seed in range(40):
        speeds = np.random.default_rng(seed).normal(size=(4, 5)) * np.array([1, 1, 1, 3])[:, None]

        def squares(table: Floats) -> float:
            return float(((table - table.mean(0) - table.mean(1)[:, None] + table.mean()) ** 2).sum())

        without = [squares(np.delete(speeds, row, axis=0)) for row in range(4)]
        others = min(without)
        ratio = (squares(speeds) - others) / 4 / (others / 8)
        is_apart = 4 * scipy.stats.f.sf(ratio, 4, 8) < 0.2
        spreads = spreads_of_rows(by_block(speeds))
        assert (None in spreads) == is_apart
        assert not is_apart or spreads[without.index(others)] is None


def test_rows_of_one_number_each_scatter_alike() -> None:
    assert spread_of_rows(by_block(np.ones((5, 4)))) == Spread(0, 12)


def test_a_difference_to_a_row_apart_has_no_common_spread() -> None:
    spread = Spread(0.01, 4)
    assert common_spread(spread, spread) == spread
    assert common_spread(spread, None) is None
    assert common_spread(None, spread) is None


# --- how often the interval covers the truth --------------------------------------------------------------------------


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return generator.normal(size=shape)


def heavy_tails(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return generator.standard_t(4, size=shape)


def differences(session: Floats) -> list[TSummary]:
    """Return what each row differs by from the first one, of a session of shape (rows, blocks)."""
    of_first, *spreads = spreads_of_rows(by_block(session))
    return [
        summarize_difference(list(row - session[0]), common_spread(spread, of_first))
        for row, spread in zip(session[1:], spreads, strict=True)
    ]


def covered(speeds: Floats) -> Floats:
    """Return which intervals of the ratios to the first row cover 1, of sessions of shape (sessions, rows, blocks)."""
    inside = []
    for session in speeds:
        ends = [bounds(difference) for difference in differences(session)]
        inside.append([end is not None and end[0] <= 0 <= end[1] for end in ends])
    return np.asarray(inside, dtype=float)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [normal, heavy_tails])
@pytest.mark.parametrize(("rows", "blocks"), [(3, 3), (8, 5), (8, 6), (16, 5)])
def test_the_interval_covers_as_it_says(draw: Draw, rows: int, blocks: int) -> None:
    """In 93 to 97 % of sessions, while the machine wanders by a third from block to block."""
    generator = np.random.default_rng(11)
    speeds = draw(generator, (1500, rows, blocks)) + generator.normal(scale=10, size=(1500, 1, blocks))
    assert 0.93 <= covered(speeds).mean() <= 0.975


def test_it_is_narrower_and_seldom_far_too_wide() -> None:
    """Of eight rows in six blocks the usual interval is a tenth narrower than by its own blocks, the widest a sixth."""
    own: list[list[float]] = []
    shared: list[list[float]] = []
    for session in normal(np.random.default_rng(14), (400, 8, 6)):
        by_own = [t_summary(list(row - session[0])) for row in session[1:]]
        for widths, summaries in ((own, by_own), (shared, differences(session))):
            widths.append([upper - lower for lower, upper in filter(None, map(bounds, summaries))])
    assert np.median(shared) == pytest.approx(0.9 * np.median(own), rel=0.03)
    assert np.max(shared, axis=1).mean() == pytest.approx(0.825 * np.max(own, axis=1).mean(), rel=0.04)


@pytest.mark.slow
@pytest.mark.parametrize("draw", [normal, heavy_tails])
@pytest.mark.parametrize("times", [2, 3, 4, 6, 10])
def test_a_noisier_row_is_covered_nearly_as_often(draw: Draw, times: int) -> None:
    """In over 92 % of sessions; and the others' intervals are hardly wider than without it."""
    speeds = draw(np.random.default_rng(12), (800, 8, 5))
    alike = [
        upper - lower for session in speeds[:400] for lower, upper in filter(None, map(bounds, differences(session)))
    ]
    speeds[:, -1] *= times
    inside = covered(speeds)
    assert inside[:, -1].mean() > 0.92
    assert 0.93 <= inside[:, :-1].mean() <= 0.97
    others = [bounds(each) for session in speeds[:400] for each in differences(session)[:-1]]
    assert np.median([end[1] - end[0] for end in others if end]) < 1.05 * np.median(alike)


@pytest.mark.slow
def test_so_is_every_row_where_the_reference_is_the_noisy_one() -> None:
    speeds = normal(np.random.default_rng(15), (800, 8, 5))
    speeds[:, 0] *= 5
    assert 0.92 <= covered(speeds).mean() <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("draw", [normal, heavy_tails])
@pytest.mark.parametrize(("rows", "half_width"), [(3, 1.2), (8, 1.2), (8, 2.0)])
def test_so_it_does_after_a_wanted_precision(draw: Draw, rows: int, half_width: float) -> None:
    """Three first blocks tell how many there are, by all rows, and the interval over all of them covers 93 to 97 %."""
    most, sessions, inside = 30, 1000, []
    for session in draw(np.random.default_rng(13), (sessions, rows, most)):
        counts = [wanted_count(each, half_width, most) for each in differences(session[:, :3])]
        inside.append(covered(session[None, :, : max(counts)]).mean())
    assert 0.93 <= np.mean(inside) <= 0.975
