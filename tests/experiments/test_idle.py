"""What an idle machine draws."""

from __future__ import annotations

from bench.experiments.idle import SECONDS, measure_idle
from bench.machine.energy import Meter
from bench.records.energy import EnergyCounter, EnergySource, EnergySupply


def test_watts_are_joules_over_the_time_that_really_passed() -> None:
    """A counter that goes away while the machine idles has none."""
    clock = [100.0]
    counts = {"package-0": [5_000_000, 305_000_000], "gpu(0)": [7_000_000]}

    def sleep(seconds: float) -> None:
        clock[0] += seconds + 2.0  # it woke up late

    sources = {"package-0": EnergySource.RAPL, "gpu(0)": EnergySource.NVML}
    meters = [
        Meter(source=source, domain=domain, read=lambda domain=domain: counts[domain].pop(0))  # type: ignore[misc]  # a default of a lambda
        for domain, source in sources.items()
    ]
    supply = EnergySupply(
        sources=tuple(EnergyCounter(source=source, domain=domain) for domain, source in sources.items())
    )
    measured = measure_idle(supply, meters, lambda: clock[0], sleep)
    assert SECONDS == 10.0
    assert [(each.domain, each.idle_watts) for each in measured.sources] == [("package-0", 25.0), ("gpu(0)", None)]
