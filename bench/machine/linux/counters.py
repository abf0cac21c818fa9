"""What the machine does to a measurement, read from the kernel's counters: no clock is asked, nothing is changed.

Linux counts; elsewhere every answer is None.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.machine.linux.cgroup import groups
from bench.machine.linux.system_files import ROOT, read_text

#: Fields of /proc/stat's first line that add up to all time (proc(5)); guest time is part of user time already.
_ALL_TIME: Final = slice(0, 8)
_STEAL: Final = 7


@dataclass(frozen=True, slots=True)
class Counters:
    """The kernel's counters at one moment; differences of two are facts about the time between them. None: not told."""

    #: Clock ticks of all CPUs together.
    stolen_ticks: int | None = None
    all_ticks: int | None = None
    #: Microseconds in which a task waited for a CPU.
    cpu_pressure_microseconds: int | None = None
    throttle_count: int | None = None
    #: Memory pages that were written to the swap, or read from it.
    swapped_pages: int | None = None

    def steal_fraction_since(self, before: Counters) -> float | None:
        """Return the share of all CPUs' time that a hypervisor gave to others; None: not told, or no tick passed."""
        stolen, total = _since(self.stolen_ticks, before.stolen_ticks), _since(self.all_ticks, before.all_ticks)
        return None if stolen is None or not total else min(1.0, max(0.0, stolen / total))

    def cpu_pressure_fraction_since(self, before: Counters, seconds: float) -> float | None:
        """Return the share of these seconds in which a task waited for a CPU."""
        waited = _since(self.cpu_pressure_microseconds, before.cpu_pressure_microseconds)
        return None if waited is None else min(1.0, max(0.0, waited / 1e6 / seconds))

    def throttled_since(self, before: Counters) -> int | None:
        return _grown(self.throttle_count, before.throttle_count)

    def swapped_since(self, before: Counters) -> int | None:
        """Return how many pages went to the swap or came back."""
        return _grown(self.swapped_pages, before.swapped_pages)


def read_counters(root: Path = ROOT) -> Counters:
    """Read the kernel's counters. Never raises."""
    ticks = [int(word) for word in _line(root / "proc/stat", "cpu ").split()[1:] if word.isdigit()]
    has_steal = len(ticks) > _STEAL
    # In a container the machine's own file tells of strangers, too: a group's tells of the tasks in it.
    files = [*(group / "cpu.pressure" for group in groups(root, "cpu")), root / "proc/pressure/cpu"]
    pressure = next((told for file in files if (told := _line(file, "some ").rpartition("total=")[2]).isdigit()), "")
    swapped = [_line(root / "proc/vmstat", f"{name} ").partition(" ")[2] for name in ("pswpin", "pswpout")]
    throttled = [
        int(text)
        for path in sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count"))
        if (text := read_text(path).strip()).isdigit()
    ]
    return Counters(
        stolen_ticks=ticks[_STEAL] if has_steal else None,
        all_ticks=sum(ticks[_ALL_TIME]) if has_steal else None,
        cpu_pressure_microseconds=int(pressure) if pressure.isdigit() else None,
        throttle_count=sum(throttled) if throttled else None,
        swapped_pages=sum(map(int, swapped)) if all(text.isdigit() for text in swapped) else None,
    )


def load_average() -> float | None:
    """Return the runnable tasks, averaged over the last minute; None where it is not told."""
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def _since(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else after - before


def _grown(after: int | None, before: int | None) -> int | None:
    """Return by how much a counter grew; one that was started anew meanwhile has not."""
    grown = _since(after, before)
    return None if grown is None else max(0, grown)


def _line(path: Path, start: str) -> str:
    return next((line for line in read_text(path).splitlines() if line.startswith(start)), "")
