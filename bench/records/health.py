"""What the machine did while a block was measured, and whether the block counts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

from bench.records.base import Count, Fraction, PositiveSeconds, Ratio, Record, Seconds

#: The rules for void blocks, fixed beforehand and blind to what was measured. A block is void in which other tenants
#: took more than this share of the machine,
VOID_STEAL_FRACTION: Final[Fraction] = 0.05
#: or whose anchor took longer than this times the median of all anchors so far.
VOID_ANCHOR_RATIO: Final[Ratio] = 1.25


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


def void_reason(
    healths: Sequence[Health], steal_fraction: float = VOID_STEAL_FRACTION, anchor_ratio: float = VOID_ANCHOR_RATIO
) -> str | None:
    """Return why the last of a file's blocks does not count; None: it counts.

    It is judged by what was known of the machine when it ended; later blocks never revise that.
    """
    last = healths[-1]
    if last.steal_fraction is not None and last.steal_fraction > steal_fraction:
        return f"{100 * last.steal_fraction:.0f} % of the CPUs' time was stolen by other tenants"
    usual = statistics.median(seconds for health in healths for seconds in health.anchor_seconds)
    slowest = max(last.anchor_seconds) / usual
    if slowest > anchor_ratio:
        return f"the machine itself was {slowest:.2f} times slower than usual"
    return None


def void_reasons(healths: Sequence[Health]) -> dict[int, str]:
    """Return why blocks of a file are void, by their index."""
    reasons = {index: void_reason(healths[: index + 1]) for index in range(len(healths))}
    return {index: reason for index, reason in reasons.items() if reason is not None}
