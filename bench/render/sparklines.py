"""Pictures of a line of text: a series, a bar, an interval. Pure; `text` has their ASCII twins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

#: From low to high.
LEVELS: Final = "▁▂▃▄▅▆▇█"
#: Eighths of a character, from one to seven; a whole one is █.
_EIGHTHS: Final = "▏▎▍▌▋▊▉"
#: An interval's line, its value, and the place it is compared with.
RULE, VALUE, ORIGIN = "─", "●", "│"
#: Where none of these is; no blank, which a table would take for the cell's margin.
_TRACK: Final = "·"
#: A series that moves by less is drawn flat: its noise is not worth a mountain.
_FLAT: Final = 0.02


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """One character for each number, or for the mean of several neighbours; "" of nothing.

    From the least to the greatest, but over at least 2 % of it: a steady series looks steady.
    """
    if not values:
        return ""
    count = min(width, len(values))
    bounds = [round(place * len(values) / count) for place in range(count + 1)]
    means = [math.fsum(values[a:b]) / (b - a) for a, b in itertools.pairwise(bounds)]
    low, high = min(means), max(means)
    least = _FLAT * abs(high)
    if high - low < least:
        low = (low + high - least) / 2
        high = low + least
    if high == low:  # zeros
        return LEVELS[0] * count
    return "".join(LEVELS[min(len(LEVELS) - 1, int((mean - low) / (high - low) * len(LEVELS)))] for mean in means)


def bar(value: float, most: float, width: int = 16) -> str:
    """From zero; as long as the value's share of the greatest, to an eighth of a character."""
    if not 0 < value < math.inf or most <= 0:
        return ""
    eighths = max(1, round(8 * width * min(1.0, value / most)))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest - 1] if rest else "")


def interval(value: float, lower: float | None, upper: float | None, most: float, width: int = 21) -> str:
    """A value and its interval on a scale from -most to most with zero in the middle; an end beyond it is cut off."""
    middle = width // 2

    def place(number: float) -> int:
        return min(width - 1, max(0, round((number / most + 1) * middle)))

    drawn = [_TRACK] * width
    if lower is not None and upper is not None:
        for index in range(place(lower), place(upper) + 1):
            drawn[index] = RULE
    drawn[middle] = ORIGIN
    drawn[place(value)] = VALUE
    return "".join(drawn)
