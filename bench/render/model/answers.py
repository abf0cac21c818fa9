"""What each setting does to the speed, in words that never say more than the interval."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from bench.analysis.headline import Effect, Finding, GpuAgainstCpu
from bench.render import units
from bench.render.model.axis_columns import AXES
from bench.render.model.column import find
from bench.render.model.words.labels import full_setting
from bench.render.phrases import format_ratio, one_line
from bench.scenarios.scenario import axis_text
from bench.stats import intervals
from bench.stats.intervals import TSummary

#: The half-width that is advised: what a sweep reaches in some minutes on a shared machine with two cores.
_ADVISED_PRECISION: Final = 0.03
_MEASURE_LONGER: Final = f"; run --precision {100 * _ADVISED_PRECISION:.0f}% measures longer"


def describe_effects(effects: Iterable[Effect]) -> list[tuple[str, str]]:
    """Return a line for each: (hybridize on instead of off, 38 % faster ± 2.1)."""
    return [(_describe_change(effect), _describe_gain(effect)) for effect in effects]


def describe_gpu_against_cpu(against: GpuAgainstCpu) -> tuple[str, str]:
    """Return a line that says what the fastest row on GPUs has over the fastest on the CPU, and from which batch on."""
    both = [against.gpu.scenario, against.cpu.scenario]
    gpu, cpu = (full_setting(scenario, among=both) for scenario in both)
    text = (
        f"the fastest GPU setting ({gpu}) does {format_ratio(against.ratio)} what the fastest on the CPU ({cpu}) does"
    )
    return "GPU against CPU", one_line(text + _describe_batch_sizes(against))


def _describe_batch_sizes(against: GpuAgainstCpu) -> str:
    measured, first = list(against.by_batch_size), against.wins_from
    if len(measured) < 2:  # noqa: PLR2004  # nothing begins at the only one
        return ""
    sizes = ", ".join(f"{size:,}" for size in measured)
    if first is None:
        return f"; at batch {measured[-1]:,}, the largest of {sizes}, the GPU is not surely faster"
    if first == measured[0]:
        return f"; the GPU is faster at each batch size that both have ({sizes})"
    return f"; the GPU is faster from batch {first:,} on (measured: {sizes})"


def _describe_change(effect: Effect) -> str:
    devices = [*effect.changed.devices, *effect.usual.devices]
    counts = len(effect.changed.contexts), len(effect.usual.contexts)
    if effect.axis == "contexts" and len({device.kind for device in devices}) == 1 and counts[0] != counts[1]:
        return f"{counts[0]} contexts instead of {counts[1]}"
    changed, usual = (axis_text(scenario, effect.axis) for scenario in (effect.changed, effect.usual))
    name = "" if effect.axis == "contexts" else f"{find(effect.axis, AXES, 'axis').heading.title} "
    whose = f"{effect.changed.framework}: " if effect.axis == "precision" else ""
    return one_line(f"{whose}{name}{changed} instead of {usual}")


def _describe_gain(effect: Effect) -> str:
    found, ends = effect.finding, intervals.bounds(effect.gain)
    if ends is None:
        return f"{found}: a single block has no interval ({_side(effect.gain.value)} in it){_MEASURE_LONGER}"
    if effect.least_and_most is not None:
        both = [gain.scenario for gain in effect.least_and_most]
        least, most = (
            f"{_amount(gain.over_blocks)} ({full_setting(gain.scenario, without=effect.axis, among=both)})"
            for gain in effect.least_and_most
        )
        return f"{found}: from {least} to {most}; {_amount(effect.gain)} on average"
    if found is Finding.NO_DIFFERENCE:
        return f"{found} ({_amount(effect.gain)})"
    if found is Finding.NOT_TOLD_APART:
        hint = _MEASURE_LONGER if ends[1] - ends[0] > 2 * math.log1p(_ADVISED_PRECISION) else ""
        return f"{found}: between {_side(ends[0])} and {_side(ends[1])}{hint}"
    if _half_width(effect.gain, ends) < abs(effect.gain.value) / 2:
        return _amount(effect.gain)
    # So wide that its ends are not as far from the mean as each other.
    near, far = sorted(map(abs, ends))
    return f"between {units.points(near)} % and {units.points(far)} % {found}"


def _amount(gain: TSummary) -> str:
    """Write 38 % faster ± 2.1."""
    ends = intervals.bounds(gain)
    return _side(gain.value) + ("" if ends is None else f" ± {units.points(_half_width(gain, ends))}")


def _half_width(gain: TSummary, ends: tuple[float, float]) -> float:
    """Return how far the end beyond the mean is from it, as `units.points` writes it."""
    far = max(-ends[0], ends[1])
    return math.log1p(math.exp(far) - math.exp(abs(gain.value)))


def _side(gain: float) -> str:
    size = units.points(abs(gain))
    return f"{size} % {'slower' if gain < 0 and size != '0.0' else 'faster'}"
