"""Joules of an image, or why there are none."""

from __future__ import annotations

import pytest

from bench.analysis.energy import EnergyUse, energy_of
from bench.records.energy import EnergyCounter, EnergyReading, EnergySource, EnergySupply
from bench.records.result import Run
from tests.support.records import a_cluster_host, a_run, a_scenario, an_epoch

RAPL, NVML = EnergySource.RAPL, EnergySource.NVML
TRAIN = 60_000


def reading(
    joules: float | None, domain: str = "package-0", source: EnergySource = RAPL, host: str | None = None
) -> EnergyReading:
    return EnergyReading(source=source, domain=domain, joules=joules, host=host)


def a_counted_run(*windows: tuple[EnergyReading, ...], seconds: float = 2.0, contexts: str = "cpu(0)") -> Run:
    """Make a run of windows of 1,000 images."""
    epochs = tuple(an_epoch(samples=1000, epoch_seconds=seconds, energy=energy) for energy in windows)
    return a_run(scenario=a_scenario(contexts=contexts), epochs=epochs)


def use_of(*runs: Run, supply: EnergySupply | None = None) -> EnergyUse:
    return energy_of(runs, TRAIN, supply)


def test_all_counters_of_all_windows_over_all_images() -> None:
    """Two windows of 1,000 images: 100 J of the socket and 20 J of its memory."""
    dram = "package-0 dram"
    use = use_of(a_counted_run((reading(40.0), reading(12.0, dram)), (reading(60.0), reading(8.0, dram))))
    assert use.joules_per_image is not None
    assert use.joules_per_image.value == pytest.approx(120 / 2000)
    assert use.joules_per_epoch is not None
    assert use.joules_per_epoch.value == pytest.approx(60_000 * 120 / 2000)
    assert use.counted == ((RAPL, "package-0"), (RAPL, dram))
    assert use.reason is None


def test_processes_give_an_interval() -> None:
    use = use_of(*(a_counted_run((reading(joules),)) for joules in (90.0, 100.0, 110.0)))
    assert use.joules_per_image is not None
    assert use.joules_per_image.lower is not None
    assert (use.joules_per_image.lower, use.joules_per_image.n) < (0.1, 4)


def test_short_windows_add_up() -> None:
    """Of a second in all a processor's counter is known well enough, however it is divided; a card's takes two."""
    assert use_of(a_counted_run(*[(reading(1.0),)] * 20, seconds=0.05)).joules_per_image is not None
    too_short = use_of(a_counted_run(*[(reading(1.0),)] * 19, seconds=0.05))
    assert too_short.joules_per_image is None
    assert too_short.reason == "windows of 0.95 s in all are too short for package-0, which takes 1 s"
    card = reading(50.0, "gpu(0)", NVML)
    assert use_of(a_counted_run(*[(card,)] * 4, seconds=0.5, contexts="gpu(0)")).joules_per_image is not None
    assert use_of(a_counted_run(*[(card,)] * 3, seconds=0.5, contexts="gpu(0)")).reason == (
        "windows of 1.5 s in all are too short for gpu(0), which takes 2 s"
    )


def test_a_window_that_a_card_cannot_tell_from_the_one_before_is_too_short() -> None:
    use = use_of(a_counted_run(*[(reading(9.0, "gpu(0)", NVML),)] * 100, seconds=0.05, contexts="gpu(0)"))
    assert use.reason == "a window of 0.05 s is too short for gpu(0), which takes 0.2 s"


@pytest.mark.parametrize(
    ("windows", "reason"),
    [
        ([(reading(1.0),), (reading(None),)], "package-0 has no reading of a window"),
        ([(reading(1.0),), ()], "package-0 has no reading of a window"),
        ([(reading(0.0),), (reading(0.0),)], "the counter of package-0 stands still"),
    ],
)
def test_a_sum_without_a_part_is_none(windows: list[tuple[EnergyReading, ...]], reason: str) -> None:
    assert use_of(a_counted_run(*windows)) == EnergyUse(reason=reason)


def test_a_row_on_a_card_is_not_told_by_its_processor_alone() -> None:
    assert use_of(a_counted_run((reading(1.0),), contexts="gpu(0)")).reason == "gpu(0) is not counted"


def test_processes_that_were_not_counted_alike_have_no_mean() -> None:
    runs = a_counted_run((reading(1.0),)), a_counted_run((reading(1.0), reading(1.0, "package-1")))
    assert use_of(*runs).reason == "the processes were not counted alike"


def test_older_files_have_neither_joules_nor_a_reason() -> None:
    assert use_of(a_run()) == EnergyUse()


def test_above_idle_takes_away_what_the_same_counters_said() -> None:
    """100 J in 2 s, of which the idle machine would have taken 30 W x 2 s."""
    counter = EnergyCounter(source=RAPL, domain="package-0", idle_watts=30.0)
    run = a_counted_run((reading(100.0),))
    above = use_of(run, supply=EnergySupply(sources=(counter,))).joules_per_image_above_idle
    assert above is not None
    assert above.value == pytest.approx(0.04)
    without = EnergySupply(sources=(EnergyCounter(source=RAPL, domain="package-0"),))
    assert use_of(run, supply=without).joules_per_image_above_idle is None
    hot = EnergySupply(sources=(EnergyCounter(source=RAPL, domain="package-0", idle_watts=60.0),))
    assert use_of(run, supply=hot).joules_per_image_above_idle is None


def test_machines_add_up_and_hosts_that_share_a_kernel_count_once() -> None:
    run = a_counted_run((reading(10.0, host="n0"), reading(30.0, host="n1")))
    apart = [a_cluster_host(place, kernel_hash=str(place) * 64) for place in (0, 1)]
    together = [a_cluster_host(place, kernel_hash="a" * 64) for place in (0, 1)]
    for hosts, joules in ((apart, 40.0), (together, 30.0)):
        per_image = energy_of([run], TRAIN, None, hosts).joules_per_image
        assert per_image is not None
        assert per_image.value == pytest.approx(joules / 1000)
