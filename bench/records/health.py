"""What the machine did while a block was measured."""

from __future__ import annotations

from bench.records.base import Count, Fraction, PositiveSeconds, Record, Seconds


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
