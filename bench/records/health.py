"""What the machine did while a block was measured, and whether the block counts."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from bench.ranges import Count, Fraction, PositiveSeconds, Ratio, Seconds
from bench.records.base import Record
from bench.records.environment import ThrottleReason

#: The rules for void blocks, fixed beforehand and blind to what was measured. A block is void in which other tenants
#: took more than this share of the machine,
VOID_STEAL_FRACTION: Final[Fraction] = 0.05
#: or before and after which the anchor took longer than this times the median of all anchors so far. An anchor lasts a
#: fifth of a second and shared machines change within seconds, so that a slow one at one end says little of the block.
VOID_ANCHOR_RATIO: Final[Ratio] = 1.25

#: A block is disturbed in which other tenants took more than this share of the machine: as much as a difference that
#: matters, so that it shows in the throughputs, if not in the ratios.
DISTURBING_STEAL_FRACTION: Final = 0.02
#: Or something waited for a CPU for most of the time: processes that take turns make each other wait for a tenth of it.
DISTURBING_PRESSURE_FRACTION: Final = 0.5
#: Or its anchor took this times the median of all anchors of the file, before and after it.
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
    #: What slowed a GPU meanwhile.
    gpu_throttle_reasons: tuple[ThrottleReason, ...] = ()


class SessionHealth(Record, frozen=True, kw_only=True):
    """What the machine did to all of a file's measurements: medians; None: it does not tell, or nothing is recorded."""

    load_average: float | None = None
    cpu_pressure_fraction: Fraction | None = None
    steal_fraction: Fraction | None = None
    anchor_seconds: PositiveSeconds | None = None
    #: Times the kernel took a core away, in a second of the measured windows.
    switches_per_second: float | None = None


def session_health(healths: Sequence[Health], switches_per_second: Iterable[float | None] = ()) -> SessionHealth:
    """Summarize the health of blocks and of processes that were alone."""
    return SessionHealth(
        load_average=_median(health.load_average for health in healths),
        cpu_pressure_fraction=_median(health.cpu_pressure_fraction for health in healths),
        steal_fraction=_median(health.steal_fraction for health in healths),
        anchor_seconds=_median(seconds for health in healths for seconds in health.anchor_seconds),
        switches_per_second=_median(switches_per_second),
    )


def _median(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return statistics.median(known) if known else None


def void_reason(
    healths: Sequence[Health],
    steal_fraction: float = VOID_STEAL_FRACTION,
    anchor_ratio: float = VOID_ANCHOR_RATIO,
    *,
    at_both_ends: bool = True,
) -> str | None:
    """Return why the last of a file's blocks does not count; None: it counts.

    It is judged by what was known of the machine when it ended; later blocks never revise that. Without `at_both_ends`
    a slow anchor at one end is enough, as it was for older files.
    """
    choose = min if at_both_ends else max
    return _reason(healths[-1], _usual_anchor_seconds(healths), steal_fraction, anchor_ratio, choose)


def void_reasons(healths: Sequence[Health]) -> dict[int, str]:
    """Return why blocks of a file are void, by their index."""
    return _known(void_reason(healths[: index + 1]) for index in range(len(healths)))


def disturbances(healths: Sequence[Health]) -> dict[int, str]:
    """Return what disturbed the blocks of a file, by their index: what a reader should know of those that count."""
    usual = _usual_anchor_seconds(healths) if healths else 0.0
    return _known(_disturbance(health, usual) for health in healths)


def _disturbance(health: Health, usual_anchor_seconds: float) -> str | None:
    pressure = health.cpu_pressure_fraction or 0
    if pressure > DISTURBING_PRESSURE_FRACTION:
        return f"for {100 * pressure:.0f} % of the time something waited for a CPU"
    return _reason(health, usual_anchor_seconds, DISTURBING_STEAL_FRACTION, DISTURBING_ANCHOR_RATIO)


def _reason(
    health: Health,
    usual_anchor_seconds: float,
    steal_fraction: float,
    anchor_ratio: float,
    choose: Callable[[Iterable[float]], float] = min,
) -> str | None:
    """Say what is wrong with a block by these limits."""
    stolen = health.steal_fraction or 0
    if stolen > steal_fraction:
        return f"{100 * stolen:.0f} % of the CPUs' time was stolen by other tenants"
    ratio = choose(health.anchor_seconds) / usual_anchor_seconds
    return f"the machine itself was {ratio:.2f} times slower than usual" if ratio > anchor_ratio else None


def _usual_anchor_seconds(healths: Sequence[Health]) -> float:
    return statistics.median(seconds for health in healths for seconds in health.anchor_seconds)


def _known(reasons: Iterable[str | None]) -> dict[int, str]:
    return {index: reason for index, reason in enumerate(reasons) if reason is not None}
