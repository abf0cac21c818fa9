"""Short phrases that views, pictures and progress lines share: changes, estimates, counts, clean text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import Final

from bench.records.environment import ThrottleReason
from bench.render import units
from bench.stats.intervals import Estimate

#: What steers a terminal, or the direction of what is read; not the ends of lines.
CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
#: Within which no line may end: 91 %, ± 4.5, 55.6 s, 3 min 11 s, n = 3.
UNBROKEN: Final = re.compile(
    r"(?:(?:±|\+/-) )?\d[\d.,]* (?:%|(?:h|min|[mnµu]?s|[KMGT]iB)\b(?: \d[\d.]* (?:min|s)\b)?)"
    r"|(?:±|\+/-) \d[\d.,]*|\bn = \d[\d,]*"
)
#: Nobody reads a longer text in a table or a message; a file may hold megabytes.
_MOST_CHARACTERS: Final = 2000


def change(ratio: Estimate) -> tuple[str, str]:
    """Word a ratio of times as ("4.1 % slower", "[1.9, 6.4]"); the interval is "" where there is none.

    The ends count in the direction of the word: a negative one lies on the other side of "equal".
    """
    slower = ratio.value >= 1
    text = f"{units.points(abs(_log(ratio.value)))} % {'slower' if slower else 'faster'}"
    if ratio.lower is None or ratio.upper is None:
        return text, ""
    ends = (_log(ratio.lower), _log(ratio.upper))
    lower, upper = ends if slower else (-ends[1], -ends[0])
    return text, f"[{units.points(lower)}, {units.points(upper)}]"


def _log(ratio: float) -> float:
    """Return the logarithm; minus infinity for 0, to which the end of a very wide interval underflows."""
    return math.log(ratio) if ratio > 0 else -math.inf


def format_change(ratio: Estimate) -> str:
    """Word a ratio of times: 4.1 % slower [1.9, 6.4]."""
    return " ".join(change(ratio)).rstrip()


def format_estimate(estimate: Estimate, unit: str = "") -> str:
    """Write an estimate in full: 12,345 images/s, 95 % interval 12,000 to 12,700, n = 5."""
    text = f"{units.significant(estimate.value)} {unit}".strip()
    if estimate.lower is None or estimate.upper is None:
        return f"{text}, n = {estimate.n}, no interval"
    return f"{text}, 95 % interval {units.bound(estimate.lower)} to {units.bound(estimate.upper)}, n = {estimate.n}"


def format_ratio(ratio: Estimate) -> str:
    """Write a ratio and its interval: 4.68 times [4.35, 5.04]."""
    return f"{units.factor(ratio.value)} {ends(ratio)}".rstrip()


def plus_minus(estimate: Estimate | None) -> str:
    """Write how far the ends of an interval are from its value: ±2.1 %; "" where there is none."""
    return "" if estimate is None or estimate.upper is None else units.plus_minus(estimate.value, estimate.upper)


def ends(estimate: Estimate, unit: Callable[[float], str] = units.bound) -> str:
    """Write the ends of an interval: [1.40, 12.3]; "" where there is none."""
    if estimate.lower is None or estimate.upper is None:
        return ""
    return f"[{unit(estimate.lower)}, {unit(estimate.upper)}]"


def clean_text(text: str) -> str:
    """Remove control characters, which could steer a terminal, and needless blanks; keep line breaks; cut at a page."""
    return "\n".join(
        " ".join("".join(character if character.isprintable() else " " for character in line).split())
        for line in shorten(text).split("\n")
    )


def printable_line(text: str) -> str:
    """Write control characters as Python does: what stands in a file begins no line of its own, and steers nothing."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in shorten(text)
    )


def harmless(text: str) -> str:
    """Return a text as it is, without control characters, and cut where nobody reads on."""
    return CONTROL.sub(" ", shorten(text))


def shorten(text: str) -> str:
    """Cut a text that nobody can read to its end."""
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def one_line(title: str) -> str:
    """Join the lines of a title."""
    return title.replace("\n", " ")


def with_arrows(text: str) -> str:
    """Write a change with the arrow that tables have."""
    return text.replace(" -> ", " → ")


def format_count(number: int, noun: str, plural: str | None = None) -> str:
    """Count something: 1 scenario, 2,000 scenarios."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def describe_reasons(reasons: Iterable[ThrottleReason]) -> str:
    """Name what slows a GPU: power cap, heat."""
    return ", ".join(str(reason).replace("_", " ") for reason in reasons)


def shorten_hash(digest: str) -> str:
    """Return the first digits of a commit or a digest, as people write one."""
    return digest[:10]
