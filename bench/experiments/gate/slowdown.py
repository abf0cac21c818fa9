"""A real slowdown in the measured code, for showing that a gate can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.experiments.gate.source import PACKAGE

#: Waiting for the step's end is on both sides, with a slowdown of 0 on one: what differs is the spinning alone.
_SPIN: Final = """

# Injected: every training step is waited for, then spun for {slowdown:g} of its own time.
import time as _time

_plain_train_batch = train_batch


def train_batch(*arguments):
    begin = _time.perf_counter()
    losses = _plain_train_batch(*arguments)
    mx.nd.waitall()
    end = begin + (1 + {slowdown!r}) * (_time.perf_counter() - begin)
    while _time.perf_counter() < end:
        pass
    return losses
"""


def inject(folder: Path, slowdown: float) -> None:
    """Make every training step of the package in this folder take longer by this ratio - 1, spinning."""
    training = folder / PACKAGE / "training.py"
    training.write_text(training.read_text(encoding="utf-8") + _SPIN.format(slowdown=slowdown), encoding="utf-8")
