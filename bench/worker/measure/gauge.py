"""What the windows of a process take besides time: CPU time, energy, memory; none is read while the clock runs."""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.machine.energy import Meter, find_meters, read_meters, readings_between
from bench.records.energy import EnergyReading
from bench.scenarios.scenario import Scenario

_STATUS: Final = Path("/proc/self/status")
#: Takes numbers of which 5 makes the kernel forget the peak of the resident memory (proc(5)).
_CLEAR: Final = Path("/proc/self/clear_refs")
_FORGET_PEAK: Final = "5"


def exempt_from_collection() -> None:
    """Let Python's garbage collector never look again at what is there now, from the import of the framework on.

    It would do so in a window now and then, which takes longer for it. What comes later is collected as ever.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@dataclass(frozen=True, slots=True)
class Used:
    """What a window took, all threads."""

    cpu_seconds: float
    involuntary_context_switches: int
    energy: tuple[EnergyReading, ...] = ()


class Gauge:
    """Reads what a process uses at both ends of each window."""

    def __init__(self) -> None:
        self._meters: Sequence[Meter] = ()
        self._peak_bytes = 0
        self._training_peak_bytes: int | None = None

    def choose(self, scenario: Scenario) -> None:
        """Read the counters that count what this scenario trains on, in windows that are all to come."""
        self._meters = find_meters(devices=scenario.devices).meters
        self._training_peak_bytes = None

    def begin(self) -> None:
        """Begin a window; the clock is read next."""
        self._peak_bytes = self.peak_rss_bytes()
        self._has_forgotten = _forget_peak()
        self._energy = read_meters(self._meters)
        self._cpu_seconds, self._switches = _usage()

    def end(self, seconds: float) -> Used:
        """Return what the window took, which lasted so long."""
        cpu_seconds, switches = _usage()
        energy = readings_between(self._meters, self._energy, read_meters(self._meters), seconds)
        if self._has_forgotten:
            self._training_peak_bytes = max(self._training_peak_bytes or 0, _peak_rss_bytes())
        return Used(cpu_seconds - self._cpu_seconds, switches - self._switches, energy)

    def peak_rss_bytes(self) -> int:
        """Return the peak of the resident memory since the process's start."""
        return max(self._peak_bytes, _peak_rss_bytes())

    def training_peak_rss_bytes(self) -> int | None:
        """Return the same inside the windows alone; None where the kernel cannot forget what was before."""
        return self._training_peak_bytes


def _usage() -> tuple[float, int]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_nivcsw


def _forget_peak() -> bool:
    try:
        _CLEAR.write_text(_FORGET_PEAK, encoding="ascii")
    except OSError:  # no Linux, or a kernel in a sandbox
        return False
    return True


def _peak_rss_bytes() -> int:
    """Return the peak resident memory: VmHWM on Linux, where ru_maxrss survives exec and may be the parent's."""
    if _STATUS.exists():
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
