"""Changes of level are found where they are and not where there are none, on noise of a known kind."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import change_points as change_points_module
from bench.stats.change_points import LEAST, change_points, fewest

SEEDS = range(100)


def series(seed: int, count: int, *steps: tuple[int, float], sd: float = 0.01) -> list[float]:
    """Return logarithms: noise, and from each place on so much more."""
    noise = np.random.default_rng(seed).normal(0, sd, count)
    for place, height in steps:
        noise[place:] += height
    return list(map(float, noise))


def places(values: list[float]) -> list[int]:
    return [point.index for point in change_points(values)]


@pytest.mark.parametrize("count", [12, 40, 200, 1000])
def test_a_flat_series_has_no_change(count: int) -> None:
    """One is found at most as often as alpha says, and that is at most five times in a hundred."""
    assert sum(bool(change_points(series(seed, count))) for seed in SEEDS) <= 5


@pytest.mark.slow
@pytest.mark.parametrize("count", [40, 200, 1000])
def test_a_step_of_five_percent_is_found_where_it_is(count: int) -> None:
    """With noise of 1 %, wherever it lies; a neighbour that the noise moved over the step is no miss of ours."""
    found = 0
    for seed in SEEDS:
        at = int(np.random.default_rng(seed + 1000).integers(8, count - 8))
        points = places(series(seed, count, (at, 0.05)))
        found += any(point == at for point in points)
    assert found >= 95


def test_a_clear_change_shows_in_as_few_files_as_promised() -> None:
    """It shows in no fewer. The less certainty is asked for, the fewer files it takes."""
    assert fewest(0.05) <= fewest(0.01) <= fewest(0.001)
    assert fewest(0.01 / 500) < 50, "five hundred scenarios that share one alpha"
    n = fewest(0.01)
    assert n < 16
    steps = [0.0] * (n // 2) + [1.0] * (n - n // 2)
    clear = [step + place * 1e-6 for place, step in enumerate(steps)]
    assert places(clear) == [n // 2]
    assert places(clear[1:-1]) == []


def test_counted_and_approximate_p_values_meet() -> None:
    """They do where one takes over from the other, and the approximation is the more cautious."""
    for statistic in (2.5, 3.0, 3.5):
        counted, approximate = (
            change_points_module._p_value(statistic, n)
            for n in (change_points_module._COUNTED, change_points_module._COUNTED + 1)
        )
        assert 0.2 < counted / approximate < 1.2


def test_several_steps_are_found_in_their_order() -> None:
    """A step that undoes another is found, too."""
    hits = sum(places(series(seed, 90, (30, 0.06), (60, -0.06))) == [30, 60] for seed in SEEDS)
    assert hits >= 85


def test_one_odd_value_is_no_change() -> None:
    """That holds however odd it is: a neighbour's backup is no regression."""
    found = 0
    for seed in SEEDS:
        values = series(seed, 40)
        values[20] += 1.0
        found += bool(change_points(values))
    assert found <= 5


def test_short_and_constant_series_have_none() -> None:
    assert change_points([]) == []
    assert change_points([1.0] * 50) == []
    assert change_points(series(1, 2 * LEAST - 1, (LEAST, 1.0))) == []


def test_a_number_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="not all finite"):
        change_points([1.0, float("nan"), 2.0])


@given(
    st.lists(st.floats(-1e6, 1e6), max_size=60),
    st.floats(1e-3, 1e3),
    st.floats(-1e3, 1e3),
)
def test_only_the_order_of_the_numbers_counts(values: list[float], scale: float, offset: float) -> None:
    """Places rise, lie inside the series, and stay the same in another unit."""
    found = places(values)
    assert found == sorted({*found})
    assert all(LEAST <= place <= len(values) - LEAST for place in found)
    moved = [scale * value + offset for value in values]
    if np.argsort(moved, kind="stable").tolist() == np.argsort(values, kind="stable").tolist() and len({*moved}) == len(
        {*values}
    ):
        assert places(moved) == found


@given(st.lists(st.floats(-1e3, 1e3), min_size=8, max_size=40))
def test_backwards_the_changes_are_mirrored(values: list[float]) -> None:
    """There are as many; a place may differ where two splits are equally likely."""
    assert len(places(values)) == len(places(values[::-1]))
