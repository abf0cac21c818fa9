"""The processes that compute beside ours, by name alone: what they were started with is nobody's business."""

from __future__ import annotations

import contextlib
import threading
from typing import Final

import psutil

#: How long they are watched.
_SECONDS: Final = 0.3
#: Percent of one CPU below which a process is not worth a name.
_LEAST_PERCENT: Final = 10.0
_MOST_NAMES: Final = 3


def busiest() -> tuple[str, ...]:
    """Return the names of the processes that take most of the CPUs, with their share of one: python3 (98 %)."""
    ours = psutil.Process()
    with contextlib.suppress(psutil.Error):
        own = {ours.pid, *(child.pid for child in ours.children(recursive=True))}
        others = [process for process in psutil.process_iter() if process.pid not in own]
        for process in others:
            _percent(process)  # the first answer is always 0
        threading.Event().wait(_SECONDS)
        found = sorted(((_percent(process), process) for process in others), key=lambda pair: -pair[0])
        return tuple(
            f"{process.name()} ({percent:.0f} %)"
            for percent, process in found[:_MOST_NAMES]
            if percent > _LEAST_PERCENT
        )
    return ()


def _percent(process: psutil.Process) -> float:
    try:
        return float(process.cpu_percent())
    except psutil.Error:  # it has ended, or is not ours to look at
        return 0.0
