"""A real slowdown in the measured code, which shows that a gate can fail."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.experiments.gate.source import PACKAGE
from bench.records.gate import GateMetric

#: Code appended to `training.py`, and to `prediction.py`. Both sides wait for the end of each step, one of them with a
#: slowdown of 0: they differ by the spinning alone. A prediction is waited for as it is.
_SPIN_TRAINING: Final = """

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


_SPIN_PREDICTION: Final = """

# Injected: every prediction is spun for {slowdown:g} of its own time.
import time as _time


def _spun(make):
    def made(*arguments):
        plain = make(*arguments)

        def predict(images):
            begin = _time.perf_counter()
            digits = plain(images)
            end = begin + (1 + {slowdown!r}) * (_time.perf_counter() - begin)
            while _time.perf_counter() < end:
                pass
            return digits

        return predict

    return made


gluon_predictor, bound_predictor = _spun(gluon_predictor), _spun(bound_predictor)
"""
_SPINS: Final = {
    GateMetric.THROUGHPUT: ("training.py", _SPIN_TRAINING),
    GateMetric.LATENCY: ("prediction.py", _SPIN_PREDICTION),
}


def inject(folder: Path, slowdown: float, metric: GateMetric = GateMetric.THROUGHPUT) -> None:
    """Make every training step, or every prediction, of the package in this folder slower, by spinning.

    `slowdown` is relative (0.1 = 10 % slower).
    """
    name, spin = _SPINS[metric]
    module = folder / PACKAGE / name
    module.write_text(module.read_text(encoding="utf-8") + spin.format(slowdown=slowdown), encoding="utf-8")
