"""A real slowdown in the measured code, which shows that a gate can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.experiments.gate.source import PACKAGE

#: Code appended to `training.py`. Both sides wait for the end of each step, one of them with a slowdown of 0: they
#: differ by the spinning alone.
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
    """Make every training step of the package in this folder slower, by spinning.

    `slowdown` is relative (0.1 = 10 % slower).
    """
    training = folder / PACKAGE / "training.py"
    training.write_text(training.read_text(encoding="utf-8") + _SPIN.format(slowdown=slowdown), encoding="utf-8")
