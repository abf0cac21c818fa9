"""What windows take besides time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.machine.energy import Meter, Meters
from bench.records.energy import EnergySource
from bench.scenarios.scenario import Scenario
from bench.worker.measure import gauge
from bench.worker.measure.gauge import Gauge

MIB = 1 << 20


def counter(counts: Iterator[int]) -> Meters:
    return Meters((Meter(source=EnergySource.RAPL, domain="package-0", read=lambda: next(counts)),))


def test_a_window_has_the_energy_between_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is counted between two windows, such as an evaluation, is in neither."""
    counts = iter([1_000_000, 31_000_000, 500_000_000, 512_000_000])
    monkeypatch.setattr(gauge, "find_meters", lambda devices: counter(counts))
    measured = Gauge()
    measured.choose(Scenario(network="mlp"))
    joules = []
    for _window in range(2):
        measured.begin()
        (reading,) = measured.end(1.0).energy
        joules.append(reading.joules)
    assert joules == [30.0, 12.0]


def test_a_machine_without_counters_has_no_readings() -> None:
    measured = Gauge()
    measured.begin()
    assert measured.end(1.0).energy == ()


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this kernel cannot forget a peak")
def test_the_peak_of_the_windows_is_not_that_of_the_start_up() -> None:
    """What was there before the windows, and between them, does not count; the process's own peak keeps it."""
    measured = Gauge()
    before = measured.peak_rss_bytes()
    np.ones(256 * MIB, np.uint8)  # a start-up that took more
    whole = measured.peak_rss_bytes()
    assert whole >= before
    measured.begin()
    inside = np.ones(64 * MIB, np.uint8)
    measured.end(1.0)
    del inside
    np.ones(256 * MIB, np.uint8)  # and an evaluation
    measured.begin()
    measured.end(1.0)
    training = measured.training_peak_rss_bytes()
    assert training is not None
    assert training < measured.peak_rss_bytes() - 100 * MIB
    assert measured.peak_rss_bytes() >= whole


def test_where_the_kernel_cannot_forget_the_peak_of_the_windows_is_not_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gauge, "_CLEAR", tmp_path / "missing" / "clear_refs")
    measured = Gauge()
    measured.begin()
    measured.end(1.0)
    assert measured.training_peak_rss_bytes() is None
    assert measured.peak_rss_bytes() > 0
