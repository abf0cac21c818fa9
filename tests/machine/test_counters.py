"""The kernel's counters are read from machines laid out in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.machine.linux.counters import Counters, load_average, read_counters

STAT = "cpu  100 0 50 800 10 0 5 35 7 0\ncpu0 50 0 25 400 5 0 2 17 3 0\nintr 1\n"
PRESSURE = "some avg10=0.00 avg60=0.12 avg300=0.50 total=123456\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n"


def lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_counters_are_read_from_the_kernels_files(tmp_path: Path) -> None:
    """Guest time is part of user time and not counted again; throttling is summed over the cores."""
    throttle = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    root = lay_out(
        tmp_path,
        {
            "proc/stat": STAT,
            "proc/pressure/cpu": PRESSURE,
            "proc/vmstat": "pgfault 9\npswpin 20\npswpout 3\n",
            throttle.format(0): "3\n",
            throttle.format(1): "4\n",
        },
    )
    assert read_counters(root) == Counters(
        stolen_ticks=35, all_ticks=1000, cpu_pressure_microseconds=123456, throttle_count=7, swapped_pages=23
    )


@pytest.mark.parametrize(
    "files", [{}, {"proc/stat": "", "proc/pressure/cpu": ""}, {"proc/stat": "cpu  1 2 3\n", "proc/pressure/cpu": "x"}]
)
def test_a_machine_that_does_not_tell_is_no_error(tmp_path: Path, files: dict[str, str]) -> None:
    """What is absent is None, never 0."""
    counters = read_counters(lay_out(tmp_path, files))
    assert counters == Counters(None, None, None, None, None)
    assert counters.steal_fraction_since(counters) is None
    assert counters.cpu_pressure_fraction_since(counters, 1.0) is None
    assert counters.throttled_since(counters) is None
    assert counters.swapped_since(counters) is None


def test_in_a_container_the_pressure_is_the_one_on_its_own_tasks(tmp_path: Path) -> None:
    """On a machine with many other containers some task always waits for a CPU."""
    own = "sys/fs/cgroup/box/cpu.pressure"
    files = {"proc/self/cgroup": "0::/box\n", own: PRESSURE.replace("123456", "42"), "proc/pressure/cpu": PRESSURE}
    assert read_counters(lay_out(tmp_path, files)).cpu_pressure_microseconds == 42


def test_differences_are_facts_about_the_time_between() -> None:
    """They are shares of the time that passed, within 0 and 1 whatever the counters do."""
    before = Counters(stolen_ticks=10, all_ticks=1000, cpu_pressure_microseconds=0, throttle_count=1)
    after = Counters(stolen_ticks=30, all_ticks=1200, cpu_pressure_microseconds=500_000, throttle_count=1)
    assert after.steal_fraction_since(before) == pytest.approx(0.1)
    assert after.cpu_pressure_fraction_since(before, 2.0) == pytest.approx(0.25)
    assert after.throttled_since(before) == 0
    assert before.steal_fraction_since(before) is None  # no tick has passed
    assert before.cpu_pressure_fraction_since(after, 2.0) == 0.0


def test_this_machine_has_a_load() -> None:
    """It has one, or does not tell it."""
    load = load_average()
    assert load is None or load >= 0
