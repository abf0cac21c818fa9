"""Pictures within a line of text: a series, a bar, an interval. `formats.text` maps them to ASCII."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Final

#: The levels of a series, from low to high.
LEVELS: Final = "▁▂▃▄▅▆▇█"
#: The end of a bar: one to seven eighths of a character.
_EIGHTHS: Final = "▏▎▍▌▋▊▉"
#: The parts of an interval: its line, its value, and zero.
RULE, VALUE, ORIGIN = "─", "●", "│"
#: Fills the rest of an interval's width; a blank would be taken for the cell's margin.
_TRACK: Final = "·"
#: The least relative range that a series is drawn over, so that noise does not fill the height.
_FLAT: Final = 0.02


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Draw a series: one character for each number, or for the mean of several neighbours; "" for no numbers.

    The height spans from the least to the greatest, but at least 2 % of it: a steady series looks steady.
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
    """Draw a bar from zero, as long as the value's share of the greatest, to an eighth of a character."""
    if not 0 < value < math.inf or most <= 0:
        return ""
    eighths = max(1, round(8 * width * min(1.0, value / most)))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest - 1] if rest else "")


def interval(value: float, lower: float | None, upper: float | None, most: float, width: int = 21) -> str:
    """Draw a value and its interval from -most to most, with zero in the middle; ends beyond are cut off."""
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
