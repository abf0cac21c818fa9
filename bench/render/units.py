"""One formatter per unit; numbers are rounded nowhere else.

Three significant digits tell results apart on any machine quiet enough to tell them apart at all.
"""

from __future__ import annotations

import math

ABSENT = "\N{EN DASH}"
TIMES = "\N{MULTIPLICATION SIGN}"
#: The sign of an interval whose ends are the value times and over the same factor.
TIMES_OVER = f"{TIMES}÷"
_MILLISECOND = 1e-3
_MINUTE = 60.0
_HOUR = 60 * _MINUTE
#: `roughly` writes no more seconds than this, and no more minutes; hours are used beyond.
_LONGEST_ROUGH = 120
#: Longer times are written in minutes.
_LONGEST_SECONDS = 100.0
_KIB = 1024.0
_MEGA, _GIGA = 1e6, 1e9
_TWO_DIGITS = 10.0
_FOUR_DIGITS = 1000.0
#: A limit for logarithms: its exponential is far beyond what is written out, and does not overflow.
_HUGE_LOGARITHM = 100.0
#: Numbers beyond these are written as 0 and as infinite: no unit here makes one of anything that can be measured.
_NOTHING, _ENDLESS = 1e-30, 1e30
#: Wider intervals are written as beyond this: they only say that there are too few processes.
_WIDEST_PERCENT = 999.0
_WIDEST_FACTOR = 10.0


def significant(number: float, digits: int = 3) -> str:
    """Round to significant digits, but never before the decimal point: 12,345, 930, 93.1, 0.0931."""
    if abs(number) < _NOTHING:
        return "0"
    if abs(number) > _ENDLESS:
        return f"{'-' if number < 0 else ''}\N{INFINITY}"
    # Rounded first: 99.96 has three digits before the point once it has become 100.
    rounded = float(f"{number:.{digits - 1}e}")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{number:,.{decimals}f}"


def seconds(number: float) -> str:
    """Write a time: 4.86 s, 345 ms, 45.2 µs, 2 min 05 s, 1 h 02 min."""
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


def roughly(seconds: float) -> str:
    """Write a time that is only known or needed roughly: 45 s, 48 min, 2.5 h."""
    if round(seconds) < _LONGEST_ROUGH:
        return f"{seconds:.0f} s"
    if round(seconds / _MINUTE) <= _LONGEST_ROUGH:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{significant(seconds / _HOUR, 2)} h"


def memory(number: float) -> str:
    """Write bytes: 812 MiB, 1.23 GiB."""
    mebibytes = number / _KIB**2
    if float(f"{mebibytes:.2e}") < _FOUR_DIGITS:
        return f"{significant(mebibytes)} MiB"
    return f"{significant(mebibytes / _KIB)} GiB"


def accuracy(number: float) -> str:
    """Write an accuracy with the digits that 10,000 test images give it: 0.9761."""
    return f"{number:.4f}"


def factor(number: float) -> str:
    """Write a ratio with the multiplication sign: 1.52 times, 12.3 times."""
    return f"{significant(number)}{TIMES}"


def percent(number: float) -> str:
    """Write a share in whole percent: 0.87 is 87 %."""
    return f"{100 * number:,.0f} %"


def share(number: float) -> str:
    """Write a share, which may be small, with two digits: 0.42 is 42 %, 0.0041 is 0.41 %."""
    return f"{significant(100 * number, 2)} %"


def tenths(number: float) -> str:
    """Write a share in tenths of a percent: 0.8742 is 87.4 %, 0 is 0.0 %."""
    text = f"{100 * number:.1f}"
    return f"{text.removeprefix('-') if float(text) == 0 else text} %"


def milli(number: float) -> str:
    """Write a number in thousandths: joules as 12.3 for mJ."""
    return significant(number * 1e3)


def giga(number: float) -> str:
    """Write a number in billions: bytes per second as 20.1 for GB/s."""
    return significant(number / _GIGA)


def mega(number: float) -> str:
    """Write a number in millions: bytes per second as 117 for MB/s."""
    return significant(number / _MEGA)


def percentage(ratio: float) -> str:
    """Write a relative difference (a ratio less 1): 4.1 %, 12 %, 2 %; >999 % beyond."""
    return f"{_points(100 * ratio).removesuffix('.0')} %"


def points(logarithm: float) -> str:
    """Write a difference of logarithms in percent, without the sign: 4.1, 12, -3.0."""
    return _points(100 * math.expm1(min(logarithm, _HUGE_LOGARITHM)))


def _points(percent: float) -> str:
    if percent > _WIDEST_PERCENT:
        return f">{_WIDEST_PERCENT:.0f}"
    one_digit = f"{percent:.1f}"
    return f"{percent:.0f}" if abs(float(one_digit)) >= _TWO_DIGITS else one_digit.replace("-0.0", "0.0")


def signed(ratio: float) -> str:
    """Write how far a ratio is from 1, in percent: 0.95 is -5.0, 1.019 is +1.9."""
    return f"{100 * (ratio - 1):+.1f}"


def bound(ratio: float) -> str:
    """Write an end of a ratio's interval, which may be infinite: 1.40, 12.3, ∞."""
    return significant(ratio)


def accuracy_change(number: float) -> str:
    """Write a difference of accuracies: +0.0012, -0.0034, 0.0000."""
    text = f"{number:+.4f}"
    return text[1:] if float(text) == 0 else text


def plus_minus(value: float, upper: float) -> str:
    """Write how far the upper end of an interval is from its value, in percent of the value: ±2.1 %.

    On the logarithmic scale both ends are the same factor away: here the value times, and over, 1.021. From twice the
    value on that factor is written, as 3.4 times or over, since nothing can be 240 % less than it is.
    """
    factor = upper / value
    if factor < 2:  # noqa: PLR2004  # see above
        return f"±{significant(100 * (factor - 1), 2)} %"
    return f"{TIMES_OVER}{significant(factor, 2)}" if factor <= _WIDEST_FACTOR else f"{TIMES_OVER}>{_WIDEST_FACTOR:.0f}"
