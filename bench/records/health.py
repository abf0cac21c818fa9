"""What the machine did while a block was measured."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from bench.records.base import Count, Fraction, PositiveSeconds, Record, Seconds

#: A block is disturbed in which other tenants took more than this share of the machine: as much as a difference that
#: matters, so that it shows in the throughputs, if not in the ratios.
DISTURBING_STEAL_FRACTION: Final = 0.02
#: Or something waited for a CPU for most of the time: processes that take turns make each other wait for a tenth of it.
DISTURBING_PRESSURE_FRACTION: Final = 0.5
#: Or its anchor took this times the median of all anchors of the file.
DISTURBING_ANCHOR_RATIO: Final = 1.5


class Health(Record, frozen=True, kw_only=True):
    """What the machine did to a block; None: it does not tell."""

    #: Time that the hypervisor gave to others, of all time of all CPUs.
    steal_fraction: Fraction | None
    #: Time in which a task waited for a CPU, of the block's time (Linux's pressure stall information).
    cpu_pressure_fraction: Fraction | None
    #: Runnable tasks, averaged over the last minute, when the block began.
    load_average: Seconds | None
    #: Times the processor slowed itself for heat.
    throttle_count: Count | None
    #: Seconds of a fixed matrix product in the parent process, before and after the block.
    anchor_seconds: tuple[PositiveSeconds, PositiveSeconds]


def disturbances(healths: Sequence[Health]) -> dict[int, str]:
    """Return what disturbed the blocks of a file, by their index: what a reader should know though they count."""
    usual = statistics.median(seconds for health in healths for seconds in health.anchor_seconds) if healths else 0.0
    reasons = {index: _disturbance(health, usual) for index, health in enumerate(healths)}
    return {index: reason for index, reason in reasons.items() if reason is not None}


def _disturbance(health: Health, usual_anchor_seconds: float) -> str | None:
    if (health.steal_fraction or 0) > DISTURBING_STEAL_FRACTION:
        return f"{100 * (health.steal_fraction or 0):.0f} % of the CPUs' time was stolen by other tenants"
    if (health.cpu_pressure_fraction or 0) > DISTURBING_PRESSURE_FRACTION:
        return f"for {100 * (health.cpu_pressure_fraction or 0):.0f} % of the time something waited for a CPU"
    slowest = max(health.anchor_seconds) / usual_anchor_seconds
    return (
        f"the machine itself was {slowest:.2f} times slower than usual" if slowest > DISTURBING_ANCHOR_RATIO else None
    )
