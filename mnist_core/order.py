"""The order in which an epoch meets the images: the same for every input pipeline and every framework."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


class EpochOrder:
    """The orders that `NDArrayIter(shuffle=True)` makes from the same seed, without moving an image.

    The iterator shuffles one index array again and again, and reorders the images, as they lie, by it (mxnet/io/io.py,
    `_shuffle_data`), once when it is made and once for every epoch.
    """

    def __init__(self, samples: int, seed: int) -> None:
        self._random = np.random.RandomState(seed)  # the generator behind NumPy's global functions, on its own
        self._index = np.arange(samples)
        self._order = np.arange(samples)
        self.next_epoch()

    def next_epoch(self) -> NDArray[np.intp]:
        """(samples,): the place in the data set of the first image, the second, and so on. Not to be written to."""
        self._random.shuffle(self._index)
        self._order = self._order[self._index]
        return self._order


def batches(samples: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """(begin, end) of each batch; the last may be smaller."""
    for begin in range(0, samples, batch_size):
        yield begin, min(begin + batch_size, samples)


def shares(size: int, parts: int) -> list[tuple[int, int]]:
    """(begin, end) of each part of a batch, as MXNet's `split_data(even_split=False)` divides it.

    The first parts take what is left over; a batch with fewer images than `parts` has one part for each image.
    """
    parts = min(parts, size)
    each, left_over = divmod(size, parts)
    ends = [each * (part + 1) + min(part + 1, left_over) for part in range(parts)]
    return list(zip([0, *ends], ends, strict=False))


def rank_share(size: int, rank: int, ranks: int) -> tuple[int, int]:
    """(begin, end) of one of several ranks' part of a batch; of a batch with too few images, the last have none."""
    parts = shares(size, ranks)
    return parts[rank] if rank < len(parts) else (size, size)


def batch_sizes(samples: int, batch_size: int) -> list[int]:
    """The batch sizes an epoch meets: full batches and, where there is one, the smaller last batch."""
    return sorted({size for size in (min(batch_size, samples), samples % batch_size) if size}, reverse=True)
