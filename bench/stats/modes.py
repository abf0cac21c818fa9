"""Samples that fall into two groups, as the times of a machine with two speeds do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

#: Numbers that a group needs, and the least ratio of the two groups' nearest numbers.
_FEWEST: Final = 2
_LEAST_RATIO: Final = 1.25


def two_groups(sample: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Split positive numbers of shape (n,) at their widest gap; None where there are no two groups.

    There are two where the gap is wider than either group, by their ratios, and at least a quarter.
    """
    ordered = sorted(sample)
    places = range(_FEWEST, len(ordered) - _FEWEST + 1)
    if not places:
        return None
    split = max(places, key=lambda place: ordered[place] / ordered[place - 1])
    low, high = tuple(ordered[:split]), tuple(ordered[split:])
    gap = high[0] / low[-1]
    is_apart = gap >= _LEAST_RATIO and math.log(gap) > max(math.log(group[-1] / group[0]) for group in (low, high))
    return (low, high) if is_apart else None
