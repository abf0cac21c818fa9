"""Pictures of a line of text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.render.sparklines import LEVELS, ORIGIN, RULE, VALUE, bar, interval, sparkline


def test_a_series_goes_from_its_least_to_its_greatest() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == LEVELS
    assert sparkline([3, 1]) == "█▁"
    assert sparkline([]) == ""


def test_a_steady_series_looks_steady() -> None:
    """Noise of a thousandth is no mountain."""
    assert {*sparkline([1000.0, 1001.0, 999.5, 1000.2])} <= {*"▃▄▅▆"}
    assert sparkline([0.0, 0.0]) == "▁▁"


def test_neighbours_share_a_character_where_there_are_too_many() -> None:
    assert sparkline([1.0] * 50 + [2.0] * 50, width=4) == "▁▁██"


@given(st.lists(st.floats(0, 1e9), max_size=200), st.integers(1, 40))
def test_a_series_never_takes_more_room_than_it_has(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) == min(width, len(values))


def test_a_bar_is_as_long_as_its_share() -> None:
    assert bar(100, 100, 4) == "████"
    assert bar(50, 100, 4) == "██"
    assert bar(30, 100, 4) == "█▎"
    assert bar(1, 100, 4) == "▏"
    assert bar(0, 100) == bar(float("nan"), 100) == bar(float("inf"), 100) == ""


def test_an_interval_shows_where_zero_is() -> None:
    assert interval(5, 2, 8, 10, 11) == f"·····{ORIGIN}{RULE}{RULE}{VALUE}{RULE}·"
    assert interval(0, None, None, 10, 5) == f"··{VALUE}··"
    assert interval(50, 40, 60, 10, 5) == f"··{ORIGIN}·{VALUE}"
