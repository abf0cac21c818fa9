"""What the parts of a loop hand each other: a rank's share of a batch, one context's part of it, what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from mnist_core.networks import Array
from mnist_core.order import rank_share

#: MXNet has no types.
Store: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Rank:
    """Which of several processes this is that train together, each on its share of every batch."""

    rank: int
    ranks: int
    #: The distributed store through which they exchange gradients; None: they do not.
    store: Store | None
    #: Whether they send two bits for each number of a gradient.
    compresses: bool = False

    def share(self, size: int) -> tuple[int, int]:
        """(begin, end) of its images of a batch."""
        return (0, size) if self.ranks == 1 else rank_share(size, self.rank, self.ranks)  # once for every batch


ALONE = Rank(0, 1, None)


@dataclass(frozen=True, slots=True)
class Part:
    """One context's share of a batch."""

    images: Array
    labels: Array


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step computed on one context, before its update."""

    labels: Array
    #: (n,): of each image.
    losses: Array
    #: (n, 10): the network's output; None where a compiled graph keeps it to itself.
    scores: Array | None
    #: (1,): right answers, where they are counted on the device.
    correct: Array | None
