"""A model predicts settings that were not measured."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.stats import surrogate
from bench.stats.surrogate import fit

#: Four knobs of 3, 4, 2 and 2 places.
SETTINGS = list(itertools.product("abc", "wxyz", "01", "+-"))


def truth(seed: int, interaction: float = 0.3) -> dict[tuple[str, ...], float]:
    """Return values where every place has an effect, and so has every pair of the first two knobs."""
    random = np.random.default_rng(seed)
    first, second, pairs = random.normal(0, 1, 3), random.normal(0, 1, 4), random.normal(0, interaction, (3, 4))
    third = random.normal(0, 1)
    return {
        each: first["abc".index(each[0])]
        + second["wxyz".index(each[1])]
        + pairs["abc".index(each[0])]["wxyz".index(each[1])]
        + third * (each[2] == "1")  # the last knob does nothing
        for each in SETTINGS
    }


def test_it_finds_which_knobs_matter() -> None:
    """From half of the settings the others are predicted far better than by their mean."""
    for seed in range(5):
        values = truth(seed)
        chosen = [SETTINGS[index] for index in np.random.default_rng(seed).permutation(len(SETTINGS))]
        seen, unseen = chosen[:24], chosen[24:]
        model = fit(seen, [values[each] for each in seen])
        predicted = model.predict(unseen)
        actual = np.array([values[each] for each in unseen])
        assert np.sqrt(np.mean((predicted.mean - actual) ** 2)) < 0.35 * actual.std()
        assert model.weights[3] == min(surrogate._WEIGHTS)


def test_it_knows_how_sure_it_is() -> None:
    """Two standard deviations hold nineteen of twenty settings, roughly, with noise in what was measured."""
    inside = []
    for seed in range(20):
        random, values = np.random.default_rng(seed), truth(seed, interaction=0.1)
        measured = {each: value + random.normal(0, 0.2) for each, value in values.items()}
        chosen = [SETTINGS[index] for index in random.permutation(len(SETTINGS))]
        predicted = fit(chosen[:24], [measured[each] for each in chosen[:24]]).predict(chosen[24:])
        actual = np.array([measured[each] for each in chosen[24:]])
        inside += [*(abs(actual - predicted.mean) < 2 * predicted.deviation)]
    assert 0.88 <= np.mean(inside) <= 1.0


def test_a_measured_setting_is_predicted_close_to_its_measurement() -> None:
    values = truth(1)
    predicted = fit(SETTINGS, [*values.values()]).predict(SETTINGS[:5])
    np.testing.assert_allclose(predicted.mean, [values[each] for each in SETTINGS[:5]], atol=0.2)


def test_leaving_one_out_is_what_a_model_without_it_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """That model has the same weights, noise and variance, and the others' mean up to its own share of it."""
    values = truth(2)
    seen = SETTINGS[::2]
    model = fit(seen, [values[each] for each in seen])
    left_out = model.leave_one_out()
    monkeypatch.setattr(surrogate, "_most_likely", lambda _differences, _y: (model.weights, model.noise))
    for index, each in enumerate(seen):
        others = [other for other in seen if other != each]
        alone = fit(others, [values[other] for other in others])
        predicted = alone.predict([each])
        assert left_out.mean[index] == pytest.approx(predicted.mean[0], abs=0.1)


@given(values=st.lists(st.floats(-3, 3), min_size=1, max_size=20), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=50)
def test_any_measurements_give_a_finite_prediction(values: list[float], seed: int) -> None:
    """They may be equal, repeated or a single one, and the prediction is always the same."""
    random = np.random.default_rng(seed)
    seen = [SETTINGS[index] for index in random.integers(0, len(SETTINGS), len(values))]
    model = fit(seen, values)
    predicted, again = model.predict(SETTINGS), fit(seen, values).predict(SETTINGS)
    assert np.isfinite(predicted.mean).all()
    assert np.isfinite(predicted.deviation).all()
    assert (predicted.deviation >= 0).all()
    np.testing.assert_array_equal(predicted.mean, again.mean)
    left_out = model.leave_one_out()
    assert np.isfinite(left_out.mean).all()
    assert np.isfinite(left_out.deviation).all()


@pytest.mark.parametrize("values", [[], [1.0, 2.0], [float("nan")], [float("inf")]])
def test_no_measurement_is_no_prediction(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite value for each"):
        fit(SETTINGS[:1] if values else [], values)


def test_many_measurements_are_fitted_on_some_and_predicted_from_all() -> None:
    """The weights take n^3 steps; what is predicted still knows every measurement."""
    values = truth(3)
    settings_ = SETTINGS * 5
    model = fit(settings_, [values[each] for each in settings_])
    assert len(model.whitened) == len(settings_) > surrogate._MOST_FITTED
    np.testing.assert_allclose(model.predict(SETTINGS).mean, [*values.values()], atol=0.1)
