"""Signs and tones of rows: what a verdict looks like in every view; a tone repeats a sign in colour."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from bench.analysis.verdict import Outcome, Relation, Verdict

FASTEST: Final = "★"
AS_FAST: Final = "☆"
FASTER: Final = "▲"
SLOWER: Final = "▼"
LEVEL: Final = "="
OPEN: Final = "?"
MISSING: Final = "○"
OTHER: Final = "≠"
INVALID: Final = "!"
FAILED: Final = "✗"
NOT_RUN: Final = "·"
REFUSED: Final = "✘"

#: The legend of every sign. A sign, never colour alone, carries a row's meaning.
MARKS: Final = {
    FASTEST: "fastest valid row of its network, by images/s",
    AS_FAST: "not told from the fastest: what separates them may be chance; in 19 of 20 tables the row that truly is "
    "the fastest has one of these two signs",
    INVALID: "invalid, carries no rank: the reason stands under the table",
    FAILED: "failed: the reason stands under the table; show FILE --verbose prints the whole output",
    NOT_RUN: "not run yet",
    REFUSED: "nothing can be measured like this: the reason, and what helps, stand under the table",
    FASTER: "faster, or improved",
    SLOWER: "slower, or regressed",
    LEVEL: "unchanged, or not told apart",
    OPEN: "undecided: not told apart, inconclusive or underpowered",
    MISSING: "missing on one side, or failed: the reason stands beside or under the table",
    OTHER: "not comparable: the reason stands above or under the table",
}


class Tone(enum.Enum):
    """Whether a row is good or bad news, or less important than others."""

    PLAIN = ""
    GOOD = "good"
    BAD = "bad"
    DIM = "dim"


#: The tone of a row or cell with this sign.
TONE_OF_MARK: Final = {
    **dict.fromkeys((FASTEST, AS_FAST, FASTER), Tone.GOOD),
    **dict.fromkeys((INVALID, FAILED, SLOWER, MISSING, REFUSED), Tone.BAD),
    NOT_RUN: Tone.DIM,
}

MARK_OF_OUTCOME: Final[Mapping[Outcome, str]] = {
    Verdict.IMPROVED: FASTER,
    Verdict.UNCHANGED: LEVEL,
    Verdict.REGRESSED: SLOWER,
    Verdict.INCONCLUSIVE: OPEN,
    Verdict.UNDERPOWERED: OPEN,
    Verdict.INVALID: INVALID,
    Verdict.MISSING: MISSING,
    Verdict.INCOMPARABLE: OTHER,
    Relation.FASTER: FASTER,
    Relation.SLOWER: SLOWER,
    Relation.NOT_TOLD_APART: OPEN,
}

#: The tone of a row whose verdict has this sign.
_TONE_OF_VERDICT: Final = {**TONE_OF_MARK, OPEN: Tone.DIM, OTHER: Tone.BAD}


def tone_of_outcome(outcome: Outcome) -> Tone:
    """Return the tone of a compared row: a mere relation of two machines is neither good nor bad."""
    return _TONE_OF_VERDICT.get(MARK_OF_OUTCOME[outcome], Tone.PLAIN) if isinstance(outcome, Verdict) else Tone.PLAIN
