"""How a change is said in words; shared by whatever shows one."""

from __future__ import annotations

import math

from bench.render import units
from bench.stats import Estimate


def change(ratio: Estimate) -> tuple[str, str]:
    """("4.1 % slower", "[1.9, 6.4]") from seconds over seconds; the interval is "" where there is none.

    The ends count in the direction of the word: a negative one lies on the other side of "equal".
    """
    slower = ratio.value >= 1
    text = f"{units.points(abs(math.log(ratio.value)))} % {'slower' if slower else 'faster'}"
    if ratio.lower is None or ratio.upper is None:
        return text, ""
    ends = (math.log(ratio.lower), math.log(ratio.upper))
    lower, upper = ends if slower else (-ends[1], -ends[0])
    return text, f"[{units.points(lower)}, {units.points(upper)}]"


def change_words(ratio: Estimate) -> str:
    """4.1 % slower [1.9, 6.4]."""
    return " ".join(change(ratio)).rstrip()
