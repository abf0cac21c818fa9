"""Where a batch comes from: the tutorial's iterator, or a copy of the data set on each context."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from mnist_core import training
from mnist_core.mxnet_border import nd
from mnist_core.networks import Array
from mnist_core.order import EpochOrder, batches, shares
from mnist_core.parts.batch import Part, Rank
from mnist_core.training import Context


class Inputs(Protocol):
    def __call__(self, context: int, size: int) -> Part | None:
        """The arrays to write a share of `size` images into; None: new ones."""


class Batches(Protocol):
    def epoch(self, inputs: Inputs) -> Iterator[tuple[list[Part], int]]:
        """Each batch as one part for each context that has one, and its size."""


class IteratorBatches:
    """The tutorial's: `NDArrayIter`, split and loaded."""

    def __init__(self, iterator: training.DataIter, contexts: Sequence[Context], rank: Rank) -> None:
        self._iterator = iterator
        self._contexts = contexts
        self._rank = rank

    def epoch(self, inputs: Inputs) -> Iterator[tuple[list[Part], int]]:
        self._iterator.reset()
        for batch in self._iterator:
            images, labels = training.real_part(batch)
            size = images.shape[0]
            first, last = self._rank.share(size)
            if last - first < size:
                images, labels = images[first:last], labels[first:last]
            yield filled(split(images, labels, self._contexts) if first < last else [], inputs), size


class ResidentBatches:
    """One copy of the data set on each context; a batch is gathered by a shuffled index."""

    def __init__(
        self,
        images: Array,
        labels: Array,
        contexts: Sequence[Context],
        batch_size: int,
        order: EpochOrder,
        rank: Rank,
    ) -> None:
        self._data = [Part(nd.array(images, ctx=each), nd.array(labels, ctx=each)) for each in contexts]
        self._contexts = contexts
        self._order = order
        # Where every context's share of every batch begins and ends: the same in every epoch.
        self._plan = []
        for begin, end in batches(len(images), batch_size):
            own, own_end = rank.share(end - begin)
            parts = shares(own_end - own, len(contexts)) if own < own_end else []
            self._plan.append(([(begin + own + first, begin + own + last) for first, last in parts], end - begin))

    def epoch(self, inputs: Inputs) -> Iterator[tuple[list[Part], int]]:
        order = self._order.next_epoch().astype(np.int32)
        indices = [nd.array(order, ctx=each, dtype=np.int32) for each in self._contexts]
        for places, size in self._plan:
            yield [self._gather(k, indices[k][first:last], inputs) for k, (first, last) in enumerate(places)], size

    def _gather(self, context: int, index: Array, inputs: Inputs) -> Part:
        data = self._data[context]
        into = inputs(context, index.shape[0])
        if into is None:
            return Part(nd.take(data.images, index), nd.take(data.labels, index))
        nd.take(data.images, index, out=into.images)
        nd.take(data.labels, index, out=into.labels)
        return into


def split(images: Array, labels: Array, contexts: Sequence[Context]) -> list[Part]:
    parts = zip(training.split_and_load(images, contexts), training.split_and_load(labels, contexts), strict=True)
    return [Part(x, y) for x, y in parts]


def filled(parts: Sequence[Part], inputs: Inputs) -> list[Part]:
    """The parts where the step reads them."""
    filled = []
    for context, part in enumerate(parts):
        into = inputs(context, part.images.shape[0])
        if into is not None:
            part.images.copyto(into.images)
            part.labels.copyto(into.labels)
        filled.append(into or part)
    return filled
