"""Counters of energy: RAPL of processors, by Linux's powercap, and NVML of NVIDIA's cards. Nothing is estimated.

They are read at both ends of a window, and by no thread in between. A counter of RAPL begins anew at a number that is
known, so that a window may pass it once; one that is long enough to pass it twice has no reading.
"""

from __future__ import annotations

import functools
import importlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.machine.linux.system_files import ROOT, ask_or_none, read_text
from bench.machine.linux.virtualization import virtualization
from bench.records.energy import EnergyCounter, EnergyReading, EnergySource, EnergySupply
from mnist_core.devices import Device, DeviceKind

#: No socket and no card draws more, so that a counter which grew by more was reset, not used.
_MOST_WATTS: Final = 1000.0
#: Readings are this much further apart than the ends of their window, at most.
_EDGE_SECONDS: Final = 0.1
_POWERCAP: Final = "sys/class/powercap"
#: Zones that are counted, by the names of their directories: sockets, and of the zones inside of them the memory. The
#: same zones may be there again as registers in memory (mmio), which count where the first are missing.
_ZONES: Final = ("intel-rapl:*", "intel-rapl-mmio:*")
_READABLE: Final = f"sudo chmod a+r /{_POWERCAP}/intel-rapl*/energy_uj (until the next boot)"
_MICROJOULES_PER_MILLIJOULE: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """A counter of energy."""

    source: EnergySource
    domain: str
    #: Returns the microjoules so far. May raise.
    read: Callable[[], int]
    #: The number at which it begins anew; None: it never does.
    range_microjoules: int | None = None

    def joules(self, before: int | None, after: int | None, seconds: float) -> float | None:
        """Return by how much it grew in these seconds; None where two numbers do not tell."""
        if before is None or after is None:
            return None
        most, grown = 1e6 * _MOST_WATTS * (seconds + _EDGE_SECONDS), after - before
        if self.range_microjoules is not None:
            if most >= self.range_microjoules:
                return None
            grown %= self.range_microjoules
        return grown / 1e6 if 0 <= grown <= most else None


def read_meters(meters: Sequence[Meter]) -> list[int | None]:
    """Return what each counter says now; None of one that cannot be read. Never raises."""
    return [ask_or_none(meter.read) for meter in meters]


def readings_between(
    meters: Sequence[Meter], before: Sequence[int | None], after: Sequence[int | None], seconds: float
) -> tuple[EnergyReading, ...]:
    """Return what the counters grew by in these seconds, from what `read_meters` returned at both ends."""
    return tuple(
        EnergyReading(source=meter.source, domain=meter.domain, joules=meter.joules(first, last, seconds))
        for meter, first, last in zip(meters, before, after, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Meters:
    """The counters that can be read, and why others cannot."""

    meters: tuple[Meter, ...] = ()
    #: As in an `EnergySupply`.
    reason: str | None = None
    remedy: str | None = None

    @property
    def supply(self) -> EnergySupply:
        """What a file has of them."""
        return EnergySupply(
            sources=tuple(EnergyCounter(source=meter.source, domain=meter.domain) for meter in self.meters),
            reason=self.reason,
            remedy=self.remedy,
        )


def find_meters(
    root: Path = ROOT,
    devices: Sequence[Device] | None = None,
    variables: Mapping[str, str] = os.environ,
    nvml: Any | None = None,  # noqa: ANN401  # the module is untyped
) -> Meters:
    """Return the counters of this machine's processors and of its cards: of these devices alone, if given.

    `nvml` is the module that speaks with NVIDIA's driver; None: nvidia-ml-py, where it is installed. Never raises.
    """
    cards = Meters()
    if devices is None or any(device.kind is DeviceKind.GPU for device in devices):
        cards = _find_cards(devices, variables, nvml)
    processors = _find_processors(root)
    return Meters(
        (*processors.meters, *cards.meters),
        "; ".join(filter(None, (processors.reason, cards.reason))) or None,
        "; ".join(filter(None, (processors.remedy, cards.remedy))) or None,
    )


# --- processors


def _find_processors(root: Path) -> Meters:
    zones = dict(_zones(root / _POWERCAP))
    if not zones:
        fault, guest_of = "has no socket" if (root / _POWERCAP).is_dir() else "is missing", virtualization(root)
        if guest_of is not None:
            fault += f", as in most virtual machines and containers ({guest_of})"
        remedy = None if guest_of or fault == "is missing" else "sudo modprobe intel_rapl_msr"
        return Meters((), f"no RAPL here: /{_POWERCAP} {fault}", remedy)
    meters = tuple(
        Meter(
            source=EnergySource.RAPL,
            domain=domain,
            read=functools.partial(_read_count, zone / "energy_uj"),
            range_microjoules=ask_or_none(functools.partial(_read_count, zone / "max_energy_range_uj")),
        )
        for domain, zone in zones.items()
    )
    if None in read_meters(meters):  # a sum of some sockets would be taken for that of all
        return Meters((), "the counters of RAPL are for root alone", _READABLE)
    return Meters(meters)


def _zones(powercap: Path) -> Iterator[tuple[str, Path]]:
    """Yield the sockets and their memory, by what they are called; the first of each name comes last.

    A zone without a name counts nobody knows what, and "psys" counts the sockets again.
    """
    for pattern in reversed(_ZONES):
        names = {path.name: read_text(path / "name") for path in sorted(powercap.glob(pattern))}
        for zone, name in names.items():
            socket = names.get(zone.rpartition(":")[0], "")
            if re.fullmatch(r"package-\d+(-die-\d+)?", name):
                yield name, powercap / zone
            elif name == "dram" and socket.startswith("package-"):
                yield f"{socket} {name}", powercap / zone


def _read_count(path: Path) -> int:
    return int(path.read_bytes())


# --- cards


def _handles(driver: Any, variables: Mapping[str, str]) -> list[Any]:  # noqa: ANN401  # as above
    """Ask by name: what knows the cards needs today's `mnist_core`, and a gate's worker may have an older one."""
    try:
        accelerators = importlib.import_module("bench.machine.gpus.accelerators")
    except ImportError:
        return []
    return list(accelerators.visible_devices(driver, variables))


def _find_cards(devices: Sequence[Device] | None, variables: Mapping[str, str], nvml: Any | None) -> Meters:  # noqa: ANN401  # as above
    """Return the counters of NVIDIA's cards. Without a driver there are none, and nothing is missing."""
    driver = ask_or_none(lambda: _open_driver(nvml))
    if driver is None:
        wanted = devices is not None
        return Meters((), "no NVML here: NVIDIA's driver does not answer" if wanted else None)
    handles = ask_or_none(lambda: _handles(driver, variables)) or []
    places = range(len(handles)) if devices is None else [d.index for d in devices if d.kind is DeviceKind.GPU]
    meters = tuple(
        Meter(
            source=EnergySource.NVML,
            domain=str(Device(DeviceKind.GPU, place)),
            read=functools.partial(_read_card, driver, handles[place]),
        )
        for place in places
        if place < len(handles)
    )
    counting = tuple(meter for meter, count in zip(meters, read_meters(meters), strict=True) if count is not None)
    mute = [meter.domain for meter in meters if meter not in counting]
    return Meters(
        counting,
        f"{', '.join(mute)}: its driver counts no energy: it does since Volta, for whole cards" if mute else None,
    )


def _open_driver(nvml: Any | None) -> Any:  # noqa: ANN401  # as above
    """Return the module that speaks with the driver, which stays open until this process ends."""
    module = importlib.import_module("pynvml") if nvml is None else nvml
    module.nvmlInit()
    return module


def _read_card(nvml: Any, handle: Any) -> int:  # noqa: ANN401  # as above
    return int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * _MICROJOULES_PER_MILLIJOULE
