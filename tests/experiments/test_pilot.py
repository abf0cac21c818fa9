"""The pilot decides how long timed windows are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.experiments import pilot
from bench.experiments.pilot import lead_in, turn_epochs, window_size


@given(
    batch_size=st.integers(1, 1000),
    seconds=st.floats(1e-7, 1e-2),
    train_samples=st.integers(1, 60_000),
)
def test_a_window_is_whole_epochs_of_what_is_there(batch_size: int, seconds: float, train_samples: int) -> None:
    """It has no more images than the data set, maps no memory anew, and is long enough where possible."""
    size = window_size(batch_size, seconds, train_samples)
    assert 1 <= size.epoch_samples <= train_samples
    assert size.epoch_samples <= max(5000, batch_size)
    if train_samples >= batch_size:
        assert size.epochs * size.epoch_samples * seconds >= pilot.WINDOW_SECONDS


@pytest.mark.parametrize(
    ("epoch_seconds", "epochs"), [(0.001, 50), (0.03, 2), (0.05, 1), (1.9, 1), (2.0, 0), (60.0, 0)]
)
def test_what_leads_in_is_long_enough_and_never_doubles_a_long_turn(epoch_seconds: float, epochs: int) -> None:
    assert lead_in(epoch_seconds) == epochs


@pytest.mark.parametrize(("epoch_seconds", "epochs"), [(0.001, 100), (0.03, 4), (0.14, 2), (1.9, 2), (2.0, 1)])
def test_a_turn_is_twice_what_leads_in_to_it(epoch_seconds: float, epochs: int) -> None:
    """And a long epoch is one by itself."""
    assert turn_epochs(epoch_seconds) == epochs
