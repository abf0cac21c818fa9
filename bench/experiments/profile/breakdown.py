"""A profile file -> where an epoch went. Pure.

The phases are sums of their own measurements, the epoch is measured for itself: that they agree is a test, and one that
fails on a machine that is busy with something else. See `profiling` for how a phase is measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.analysis.roofline import Layer, costs_of
from bench.records.profile import EpochPhase, PhaseTimes, ProfileFile

#: What the phases may sum to, over the epoch.
CLOSURE: Final = (0.95, 1.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One phase of an epoch, or all of them."""

    #: None for all phases together.
    phase: EpochPhase | None
    #: What the epoch takes longer for it. May be below 0: waiting early can be cheaper than waiting late.
    seconds: float
    #: Half the distance between the quartiles of its rounds; None of a sum.
    spread_seconds: float | None
    #: Seconds with a barrier before and after, so that nothing else works meanwhile.
    waited_seconds: float
    #: Calls in an epoch; None for a sum.
    calls: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One of MXNet's operators."""

    name: str
    calls_per_step: float
    mean_seconds: float
    #: Share of the time of all operators.
    share: float
    #: Share of this operator and all before it.
    cumulated_share: float
    #: Rate of the operations that no implementation can do without; None where they are not known.
    gflop_per_second: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The breakdown of an epoch into phases and operators."""

    epoch_seconds: float
    epoch_spread_seconds: float
    #: The phases, in the order of the epoch.
    parts: tuple[Part, ...]
    #: The sum of the phases.
    together: Part
    #: The greatest first.
    operators: tuple[Operator, ...]
    #: Seconds of operators in one epoch, over all threads that execute them.
    operator_seconds: float
    #: Times as long as the epoch takes where operators are not bulked, and with the profiler besides.
    unbulked_factor: float
    profiled_factor: float

    @property
    def closure(self) -> float:
        """All phases together as a share of the epoch."""
        return self.together.seconds / self.epoch_seconds

    @property
    def closes(self) -> bool:
        low, high = CLOSURE
        return low <= self.closure <= high

    @property
    def rest_seconds(self) -> float:
        """Seconds of the epoch that no phase accounts for; below 0 if the phases account for more than the epoch."""
        return self.epoch_seconds - self.together.seconds

    @property
    def overlap_seconds(self) -> float:
        """What the epoch takes longer than its phases one after the other: below 0 where they overlap."""
        return self.epoch_seconds - self.together.waited_seconds


def break_down(profile: ProfileFile) -> Breakdown:
    parts = tuple(_part(each) for each in profile.phases.phases)
    epochs = profile.phases.epoch_seconds
    epoch_seconds = middle_mean(epochs)
    profiled = profile.profiled
    operator_seconds = sum(each.total_seconds for each in profiled.operators)
    return Breakdown(
        epoch_seconds=epoch_seconds,
        epoch_spread_seconds=_spread(epochs),
        parts=parts,
        together=Part(
            phase=None,
            seconds=sum(each.seconds for each in parts),
            spread_seconds=None,
            waited_seconds=sum(each.waited_seconds for each in parts),
            calls=None,
        ),
        operators=_operators(profile, operator_seconds),
        operator_seconds=operator_seconds,
        unbulked_factor=statistics.median(profiled.unprofiled_seconds) / epoch_seconds,
        profiled_factor=profiled.profiled_seconds / epoch_seconds,
    )


def _part(times: PhaseTimes) -> Part:
    added = added_seconds(times)
    return Part(
        phase=times.phase,
        seconds=middle_mean(added),
        spread_seconds=_spread(added),
        waited_seconds=middle_mean(times.waited_seconds),
        calls=times.calls,
    )


def added_seconds(times: PhaseTimes) -> tuple[float, ...]:
    """Return by how many seconds each round's epoch was longer with the phase."""
    if times.without_seconds is None:
        return times.with_seconds
    return tuple(with_it - without for with_it, without in zip(times.with_seconds, times.without_seconds, strict=True))


def middle_mean(numbers: Sequence[float]) -> float:
    """Return the mean of the middle half: outliers do not count, and sums of it are nearly sums of means."""
    quarter = len(numbers) // 4
    return statistics.fmean(sorted(numbers)[quarter : len(numbers) - quarter])


def _spread(numbers: Sequence[float]) -> float:
    if len(numbers) == 1:
        return 0.0
    first, _median, third = statistics.quantiles(numbers, n=4, method="inclusive")
    return (third - first) / 2


def _operators(profile: ProfileFile, total: float) -> tuple[Operator, ...]:
    flop_per_image = operator_flop(profile.scenario.network)
    rows = []
    before = 0.0
    for each in profile.profiled.operators:
        before += each.total_seconds
        flop = flop_per_image.get(each.name)
        rows.append(
            Operator(
                name=each.name,
                calls_per_step=each.calls / profile.phases.steps,
                mean_seconds=each.total_seconds / each.calls,
                share=each.total_seconds / total if total else 0.0,
                cumulated_share=before / total if total else 0.0,
                gflop_per_second=None
                if flop is None or not each.total_seconds
                else flop * profile.phases.samples / each.total_seconds / 1e9,
            )
        )
    return tuple(rows)


def operator_flop(network: str) -> dict[str, int]:
    """Floating-point operations for an image, of each operator for which they are known, all its layers together.

    The first layer has no gradient of its input to compute.
    """
    costs = costs_of(network)
    flop: dict[str, int] = {}
    for index, layer in enumerate([] if costs is None else [each for each in costs.layers if each.multiplications]):
        name = _operator_name(layer)
        products = 1 if index == 0 else 2
        flop[name] = flop.get(name, 0) + 2 * layer.multiplications
        backward = f"_backward_{name}"
        flop[backward] = flop.get(backward, 0) + 2 * products * layer.multiplications
    return flop


def _operator_name(layer: Layer) -> str:
    """A convolution uses each weight at many places, a dense layer once."""
    return "Convolution" if layer.multiplications > layer.parameters else "FullyConnected"
