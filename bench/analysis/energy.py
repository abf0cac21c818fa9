"""What training took in energy, by the counters of its windows, or why that is not known. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from bench.records.energy import EnergySource, EnergySupply
from bench.records.environment import ClusterHost, kernels_of
from bench.records.result import Run
from bench.stats import intervals
from bench.stats.intervals import Estimate
from mnist_core.devices import DeviceKind


class Least(NamedTuple):
    """The shortest windows whose readings mean something, in seconds: one of them, and all of a process together."""

    window: float
    total: float


#: A processor's counter moves every millisecond: at either end of a window it is late by half of that, which in many
#: windows cancels. A card's moves every 20 to 100 ms and its sensor sleeps for most of the time (arXiv 2312.02741), so
#: that a short window has what was computed before it.
LEAST: Final[Mapping[EnergySource, Least]] = {EnergySource.RAPL: Least(0.02, 1.0), EnergySource.NVML: Least(0.2, 2.0)}

#: What is counted: the machine's place, who counts, and the domain.
_Counter: TypeAlias = tuple[int, EnergySource, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyUse:
    """What a row's training took in energy."""

    #: Of each process, all joules over all images; geometric mean over processes. None: not known.
    joules_per_image: Estimate | None = None
    #: Of all training images at that.
    joules_per_epoch: Estimate | None = None
    #: Less what the same counters counted of the idle machine; None where that was not measured, or was no less.
    joules_per_image_above_idle: Estimate | None = None
    #: What is counted, such as "package-0", each with its source; the same in all processes.
    counted: tuple[tuple[EnergySource, str], ...] = ()
    #: Why there is no number although something was counted, or should have been; one line.
    reason: str | None = None


def energy_of(
    runs: Sequence[Run], train_samples: int, supply: EnergySupply | None, hosts: Sequence[ClusterHost] = ()
) -> EnergyUse:
    """Return what the processes of a row took; `supply` is what their machine can count."""
    if not any(epoch.energy for run in runs for epoch in run.epochs):
        return EnergyUse()
    readings = [_readings(run, hosts) for run in runs]
    faults = [_fault(run, own) for run, own in zip(runs, readings, strict=True)]
    if any(own.keys() != readings[0].keys() for own in readings):
        faults.append("the processes were not counted alike")
    if reason := next(filter(None, faults), None):
        return EnergyUse(reason=reason)
    totals = [{counter: math.fsum(filter(None, joules)) for counter, joules in own.items()} for own in readings]
    per_image = _per_image(runs, [math.fsum(total.values()) for total in totals])
    return EnergyUse(
        joules_per_image=per_image,
        joules_per_epoch=per_image.scaled(train_samples),
        joules_per_image_above_idle=_above_idle(runs, totals, supply),
        counted=tuple(dict.fromkeys((source, domain) for _machine, source, domain in sorted(totals[0]))),
    )


def _readings(run: Run, hosts: Sequence[ClusterHost]) -> dict[_Counter, list[float | None]]:
    """Return what each counter counted in each window of a process; hosts that share a kernel share its counters."""
    machines = {host.label: kernel for host, kernel in zip(hosts, kernels_of(hosts), strict=True)}
    windows = [
        {(machines.get(each.host or "", 0), each.source, each.domain): each.joules for each in epoch.energy}
        for epoch in run.epochs
    ]
    counters = dict.fromkeys(counter for window in windows for counter in window)
    return {counter: [window.get(counter) for window in windows] for counter in counters}


def _fault(run: Run, readings: Mapping[_Counter, Sequence[float | None]]) -> str | None:
    """Return why the readings of a process are no energy of its training; None: they are."""
    seconds = [epoch.epoch_seconds for epoch in run.epochs]
    total = math.fsum(seconds)
    for (_machine, source, domain), joules in readings.items():
        least = LEAST[source]
        if None in joules:
            return f"{domain} has no reading of a window"
        if min(seconds) < least.window:
            return f"a window of {min(seconds):.2g} s is too short for {domain}, which takes {least.window:g} s"
        if total < least.total:
            return f"windows of {total:.2g} s in all are too short for {domain}, which takes {least.total:g} s"
        if not any(joules):
            return f"the counter of {domain} stands still"
    domains = {domain for _machine, _source, domain in readings}
    gpus = [str(device) for device in run.scenario.devices if device.kind is DeviceKind.GPU]
    return next((f"{gpu} is not counted" for gpu in gpus if gpu not in domains), None)


def _above_idle(
    runs: Sequence[Run], totals: Sequence[Mapping[_Counter, float]], supply: EnergySupply | None
) -> Estimate | None:
    watts = {(each.source, each.domain): each.idle_watts for each in (supply.sources if supply else ())}
    idle = [watts.get(counter[1:]) for counter in totals[0]]
    known = [each for each in idle if each is not None]
    if len(known) < len(idle):
        return None
    joules = [
        math.fsum(total.values()) - math.fsum(known) * math.fsum(epoch.epoch_seconds for epoch in run.epochs)
        for run, total in zip(runs, totals, strict=True)
    ]
    return _per_image(runs, joules) if min(joules) > 0 else None


def _per_image(runs: Sequence[Run], joules: Iterable[float]) -> Estimate:
    return intervals.geometric_mean(
        [own / sum(epoch.samples for epoch in run.epochs) for run, own in zip(runs, joules, strict=True)]
    )
