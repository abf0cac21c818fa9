"""One formatter per unit: the only place where a number is rounded.

Three significant digits tell results apart on any machine quiet enough to tell them apart at all.
"""

from __future__ import annotations

import math

ABSENT = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
_MILLISECOND = 1e-3
_MINUTE = 60.0
_HOUR = 60 * _MINUTE
#: Up to here seconds are easier to compare as seconds.
_LONGEST_SECONDS = 100.0
_KIB = 1024.0
_FOUR_DIGITS = 1000.0
#: An interval wider than this says only that there are too few processes.
_WIDEST_PERCENT = 999.0


def significant(number: float, digits: int = 3) -> str:
    """Rounded to so many digits, but never before the decimal point; thousands separated: 12,345, 930, 93.1, 0.0931."""
    if number == 0:
        return "0"
    # Rounded first: 99.96 has three digits before the point once it has become 100.
    rounded = float(f"{number:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{number:,.{decimals}f}"


def seconds(number: float) -> str:
    """4.86 s, 345 ms, 45.2 µs, 2 min 05 s, 1 h 02 min."""
    rounded = float(f"{number:.2e}")
    if number == 0:
        return "0 s"
    if rounded < _MILLISECOND:
        return f"{significant(number * 1e6)} µs"
    if rounded < 1:
        return f"{significant(number * 1e3)} ms"
    if rounded < _LONGEST_SECONDS:
        return f"{significant(number)} s"
    if round(number) < _HOUR:
        minutes, rest = divmod(round(number), 60)
        return f"{minutes} min {rest:02} s"
    hours, rest = divmod(round(number / _MINUTE), 60)
    return f"{hours:,} h {rest:02} min"


def memory(number: float) -> str:
    """812 MiB, 1.23 GiB."""
    mebibytes = number / _KIB**2
    if float(f"{mebibytes:.2e}") < _FOUR_DIGITS:
        return f"{significant(mebibytes)} MiB"
    return f"{significant(mebibytes / _KIB)} GiB"


def accuracy(number: float) -> str:
    """0.9761: a test set of 10,000 images has no more digits."""
    return f"{number:.4f}"


def factor(number: float) -> str:
    """As 1.52 times, 12.3 times, with the sign."""
    return f"{significant(number)}{TIMES}"


def percent(number: float) -> str:
    """0.87 is 87 %."""
    return f"{100 * number:,.0f} %"


def plus_minus(value: float, upper: float) -> str:
    """How far the upper end of an interval is from its value, in percent of the value: ±2.1 %.

    On the logarithmic scale both ends are the same factor away: here the value times, and over, 1.021.
    """
    width = 100 * (upper / value - 1)
    return f"±{significant(width, 2)} %" if width <= _WIDEST_PERCENT else f"±>{_WIDEST_PERCENT:.0f} %"
