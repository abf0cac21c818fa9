"""What training took in energy, by the counters of its windows, or why that is not known. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from bench.records.energy import EnergySource, EnergySupply
from bench.records.hosts import ClusterHost, kernels_of
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
    #: Less what the same counters counted of the idle machine; None where that was not measured, or was no less.
    joules_per_image_above_idle: Estimate | None = None
    #: What is counted, such as "package-0", each with its source; the same in all processes.
    counted: tuple[tuple[EnergySource, str], ...] = ()
    #: Why there is no number although something was counted, or should have been; one line.
    reason: str | None = None


class _UnknownError(Exception):
    """Nothing can be said of a run; the message is why."""


def energy_of(runs: Sequence[Run], supply: EnergySupply | None, hosts: Sequence[ClusterHost] = ()) -> EnergyUse:
    """Return what the processes of a row took; `supply` is what their machine can count."""
    if not any(epoch.energy for run in runs for epoch in run.epochs):
        return EnergyUse()
    try:
        totals = [_joules(run, hosts) for run in runs]
        if any(each.keys() != totals[0].keys() for each in totals):
            raise _UnknownError("the processes were not counted alike")
    except _UnknownError as error:
        return EnergyUse(reason=str(error))
    counters = sorted(totals[0])
    return EnergyUse(
        joules_per_image=_per_image(runs, [math.fsum(each.values()) for each in totals]),
        joules_per_image_above_idle=_above_idle(runs, totals, supply),
        counted=tuple(dict.fromkeys((source, domain) for _machine, source, domain in counters)),
    )


def _joules(run: Run, hosts: Sequence[ClusterHost]) -> dict[_Counter, float]:
    """Return what each counter counted of a process, in all of its windows. Raise `_UnknownError` where one did not."""
    machines = {host.label: kernel for host, kernel in zip(hosts, kernels_of(hosts), strict=True)}
    readings: dict[_Counter, list[float]] = {}
    for epoch in run.epochs:
        of_window = {
            (machines.get(each.host or "", 0), each.source, each.domain): each.joules for each in epoch.energy
        }
        for counter, joules in of_window.items():
            least = LEAST[counter[1]].window
            if joules is None:
                raise _UnknownError(f"{counter[2]} has no reading of a window")
            if epoch.epoch_seconds < least:
                raise _UnknownError(_too_short("a window", epoch.epoch_seconds, counter, least))
            readings.setdefault(counter, []).append(joules)
    seconds = math.fsum(epoch.epoch_seconds for epoch in run.epochs)
    for counter, counted in readings.items():
        least = LEAST[counter[1]].total
        if len(counted) < len(run.epochs):
            raise _UnknownError(f"{counter[2]} has no reading of a window")
        if seconds < least:
            raise _UnknownError(_too_short("all windows together", seconds, counter, least))
        if not math.fsum(counted):
            raise _UnknownError(f"the counter of {counter[2]} stands still")
    counted_domains = {domain for _machine, _source, domain in readings}
    for device in run.scenario.devices:
        if device.kind is DeviceKind.GPU and str(device) not in counted_domains:
            raise _UnknownError(f"{device} is not counted")
    return {counter: math.fsum(counted) for counter, counted in readings.items()}


def _too_short(what: str, seconds: float, counter: _Counter, least: float) -> str:
    return f"{what} of {seconds:.2g} s {'is' if what == 'a window' else 'are'} too short for {counter[2]} ({least:g} s)"


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
