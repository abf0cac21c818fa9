"""What two sessions differ by: the estimate finds what was put in, and intervals with it cover the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.stats.intervals import Moments, TSummary, bounds, moments, welch_difference
from bench.stats.sessions import Spread, across_sessions, between_sd, difference_of_sessions, spread_over

BLOCKS = 3
SESSIONS = 20
SCENARIOS = 6


def a_session(generator: np.random.Generator, between: float, within: float, blocks: int = BLOCKS) -> list[Moments]:
    """The speeds of a session: a shift of its own, shared by its scenarios in part, and blocks around it."""
    shared = generator.normal(0, between * math.sqrt(0.5))
    return [
        moments((shared + generator.normal(0, between * math.sqrt(0.5)) + generator.normal(0, within, blocks)).tolist())
        for _ in range(SCENARIOS)
    ]


def spreads_of(sessions: Sequence[Sequence[Moments]]) -> list[Spread]:
    found = [spread_over([of_one]) for of_one in zip(*sessions, strict=True)]
    return [spread for spread in found if spread is not None]


def test_the_estimate_is_what_was_put_in() -> None:
    """Over many draws the variance is right on average, with much spread within the sessions and with little."""
    generator = np.random.default_rng(7)
    for within in (0.005, 0.05):
        squares = []
        for _ in range(200):
            spreads = spreads_of([a_session(generator, 0.04, within) for _ in range(SESSIONS)])
            assert {spread.degrees_of_freedom for spread in spreads} == {SESSIONS - 1}
            squares.append(between_sd(spreads) ** 2)
        assert math.sqrt(np.mean(squares)) == pytest.approx(0.04, rel=0.08)


def test_groups_of_other_code_add_their_degrees_of_freedom() -> None:
    """What two versions differ by is no difference between sessions."""
    generator = np.random.default_rng(8)
    one = [a_session(generator, 0.0, 0.01)[0] for _ in range(4)]
    other = [Moments(each.n, each.mean + 1, each.variance) for each in one]
    spread = spread_over([one, other, one[:1]])
    assert spread is not None
    assert spread.degrees_of_freedom == 6
    assert spread.of_means < 0.02**2


def test_nothing_is_known_from_lone_sessions_or_lone_processes() -> None:
    """A session that was not repeated says nothing, nor does one whose scenario has one process."""
    generator = np.random.default_rng(9)
    assert spread_over([a_session(generator, 0.1, 0.01)[:1]]) is None
    assert spread_over([[Moments(1, 0.0, None), Moments(1, 1.0, None)]]) is None
    assert spread_over([]) is None
    with pytest.raises(ValueError, match="no scenario"):
        between_sd([])


def test_a_session_of_more_processes_is_surer_but_for_what_sessions_differ_by() -> None:
    """Of the variance of a mean only the processes' part becomes less with their number."""
    spread = Spread(of_means=0.05**2 + 0.03**2 / 3, within=0.03**2, processes=3, degrees_of_freedom=19)
    assert spread.of_mean_of(3) == pytest.approx(spread.of_means)
    assert spread.of_mean_of(10**9) == pytest.approx(0.05**2)
    by_chance = Spread(of_means=0.0, within=0.03**2, processes=3, degrees_of_freedom=19)
    assert by_chance.of_mean_of(3) == pytest.approx(0.03**2 / 3)


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [BLOCKS, 6])
@pytest.mark.parametrize(("between", "within"), [(0.0, 0.02), (0.02, 0.02), (0.05, 0.01)])
def test_intervals_across_sessions_cover_the_truth(between: float, within: float, blocks: int) -> None:
    """Of two sessions of the same code, with the spread of twenty others of it, 19 in 20 intervals hold 0 or more.

    Without it hardly more than half of them do where sessions differ. The two may have other numbers of processes.
    """
    generator = np.random.default_rng(10)
    covered = {"by scenario": 0, "over all": 0, "not at all": 0}
    total = 0
    for _ in range(300):
        spreads = spreads_of([a_session(generator, between, within) for _ in range(SESSIONS)])
        sd = between_sd(spreads)
        one, other = (a_session(generator, between, within, blocks) for _ in range(2))
        for before, after, spread in zip(one, other, spreads, strict=True):
            difference = welch_difference(before, after)
            covered["by scenario"] += _holds_zero(difference_of_sessions(before, after, spread))
            covered["over all"] += _holds_zero(across_sessions(difference, sd, SESSIONS - 1))
            covered["not at all"] += _holds_zero(difference)
            total += 1
    assert 0.93 <= covered["by scenario"] / total <= 0.98
    assert covered["over all"] / total >= 0.94
    assert between < 0.05 or covered["not at all"] / total < 0.6


def _holds_zero(difference: TSummary) -> bool:
    ends = bounds(difference)
    assert ends is not None
    return ends[0] <= 0 <= ends[1]


def test_a_difference_without_a_spread_stays_without_an_interval() -> None:
    """Of single processes nothing is known; a spread of 0 changes nothing, and none makes an interval narrower."""
    alone = TSummary(0.1, None, None, 1)
    assert across_sessions(alone, 0.1, 19) == alone
    known = TSummary(0.1, 0.01, 4.0, 3)
    assert across_sessions(known, 0.0, 19) == known
    assert across_sessions(known, 0.001, 19) == known
    wide = across_sessions(known, 0.1, 19)
    assert wide.error == pytest.approx(math.sqrt(0.01**2 + 2 * 0.1**2))
    assert wide.degrees_of_freedom == pytest.approx((0.01**2 + 2 * 0.1**2) ** 2 / (0.01**4 / 4 + 4 * 0.1**4 / 19))
    assert across_sessions(known, 0.1, 2).degrees_of_freedom == pytest.approx(2, rel=0.02)


@given(st.floats(1e-6, 1), st.floats(1, 30), st.floats(0, 1), st.floats(1, 60))
def test_no_spread_makes_an_interval_narrower(error: float, freedom: float, sd: float, more_freedom: float) -> None:
    """What sessions differ by is added: few processes that happen to agree are never surer for it."""
    own = bounds(TSummary(0.0, error, freedom, 3))
    across = bounds(across_sessions(TSummary(0.0, error, freedom, 3), sd, more_freedom))
    assert own is not None
    assert across is not None
    assert across[1] >= own[1] * (1 - 1e-9)
