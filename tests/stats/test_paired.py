"""The statistics of blocks are those of scipy, and keep what they promise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from bench.stats import paired
from bench.stats.intervals import TSummary
from bench.stats.paired import Order

SMALL = st.floats(-0.3, 0.3, allow_nan=False)
FOUR = st.lists(SMALL, min_size=4, max_size=4)


@given(y=FOUR, slope=SMALL, level=SMALL, order=st.sampled_from(Order))
def test_linear_drift_changes_neither_effect_nor_control(
    y: list[float], slope: float, level: float, order: Order
) -> None:
    """A machine that gets slower at a constant pace, or is slower altogether, looks like one that is not."""
    drifted = [value + level + slope * place for place, value in enumerate(y)]
    assert paired.effect(order, drifted) == pytest.approx(paired.effect(order, y), abs=1e-12)
    assert paired.control(drifted) == pytest.approx(paired.control(y), abs=1e-12)


@given(effect=SMALL, order=st.sampled_from(Order))
def test_the_effect_is_the_contenders_excess_and_the_control_ignores_it(effect: float, order: Order) -> None:
    """A contender that is slower by a factor gives its logarithm, whatever the order; the control stays zero."""
    y = [effect if letter == "B" else 0.0 for letter in order.value]
    assert paired.effect(order, y) == pytest.approx(effect)
    assert paired.control(y) == pytest.approx(0.0)


def test_the_variances_are_those_of_the_method() -> None:
    """Var(d) is that of one process, and Var(e) is 20/9 of it."""
    y = np.random.default_rng(1).normal(size=(200_000, 4))
    effects = [paired.effect(Order.ABBA, list(row)) for row in y[:20_000]]
    controls = [paired.control(list(row)) for row in y[:20_000]]
    assert np.var(effects) == pytest.approx(1, rel=0.05)
    assert np.var(controls) == pytest.approx(20 / 9, rel=0.05)


@given(effects=st.lists(SMALL, min_size=1, max_size=11), threshold=st.sampled_from([0.0, 0.02, -0.1]))
def test_the_sign_flip_test_counts_patterns(effects: list[float], threshold: float) -> None:
    """It equals the listing of all 2^n patterns, and is never below 2^-n."""
    values = [effect - threshold for effect in effects]
    sums = [
        math.fsum(s * v for s, v in zip(signs, values, strict=True))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    tolerance = 1e-9 * sum(map(abs, values))
    expected = sum(total >= math.fsum(values) - tolerance for total in sums) / len(sums)
    assert paired.sign_flip_p_value(effects, threshold) == pytest.approx(expected, abs=0.51 / len(sums))
    assert paired.sign_flip_p_value(effects, threshold) >= 2.0 ** -len(effects)


def test_the_sign_flip_test_is_scipys() -> None:
    """It gives the same number as `scipy.stats.permutation_test`, which lists the patterns."""
    effects = np.random.default_rng(3).normal(0.03, 0.02, 12)
    theirs = scipy.stats.permutation_test(
        (effects - 0.02,),
        np.sum,
        permutation_type="samples",
        alternative="greater",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert paired.sign_flip_p_value(list(effects), 0.02) == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize("effects", [[], [0.1] * 41, [0.1, math.nan], [math.inf]])
def test_what_has_no_sign_flip_test(effects: list[float]) -> None:
    """There may be no effects, too many, or one that is no number."""
    with pytest.raises(ValueError, match=r"."):
        paired.sign_flip_p_value(effects, 0.0)


def test_unanimous_blocks_are_detected_with_the_promised_power() -> None:
    """At that slowdown all effects exceed the threshold in nine experiments of ten."""
    n, sd, threshold = 8, 0.02, 0.02
    effects = TSummary(0.0, sd / math.sqrt(n), n - 1, n)
    slowdown = paired.unanimous_detectable_effect(effects, threshold)
    samples = np.random.default_rng(5).normal(math.log1p(slowdown), sd, (4000, n))
    assert (samples > threshold).all(axis=1).mean() == pytest.approx(0.9, abs=0.03)
