"""When the accuracy is read: after every batch as the tutorial does, or once an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mnist_core.mxnet_border import mx, nd
from mnist_core.parts.batch import Outcome
from mnist_core.training import Context


class Metric(Protocol):
    def update(self, outcomes: Sequence[Outcome]) -> None: ...

    def get(self, samples: int) -> float: ...


class BatchMetric:
    """The tutorial's: reads every batch's output back, and so waits for it."""

    def __init__(self) -> None:
        self._metric = mx.metric.Accuracy()

    def update(self, outcomes: Sequence[Outcome]) -> None:
        self._metric.update([each.labels for each in outcomes], [each.scores for each in outcomes])

    def get(self, samples: int) -> float:  # noqa: ARG002  # the other kind does not count them itself
        return float(self._metric.get()[1])


class EpochMetric:
    """Counted on each context, read once."""

    def __init__(self, contexts: Sequence[Context]) -> None:
        self._totals = [nd.zeros((1,), ctx=context) for context in contexts]

    def update(self, outcomes: Sequence[Outcome]) -> None:
        for total, outcome in zip(self._totals, outcomes, strict=False):
            nd.elemwise_add(total, outcome.correct, out=total)

    def get(self, samples: int) -> float:
        return sum(float(total.asscalar()) for total in self._totals) / samples
