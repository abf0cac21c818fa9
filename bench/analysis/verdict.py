"""What a comparison can conclude, and what that means for whoever waits for the exit status."""

from __future__ import annotations

import enum
from collections.abc import Iterable


class Verdict(str, enum.Enum):
    """Of one scenario, or of a whole comparison."""

    #: Surely faster by more than the margin.
    IMPROVED = "improved"
    #: Surely not slower by more than the tolerance. Absence of evidence is not this.
    UNCHANGED = "unchanged"
    #: Surely slower by more than the margin, or less accurate.
    REGRESSED = "regressed"
    #: The interval still reaches both sides of a limit.
    INCONCLUSIVE = "inconclusive"
    #: So few blocks or processes that no outcome of theirs could have shown a regression.
    UNDERPOWERED = "underpowered"
    #: What was measured contradicts the assumptions of the test: an unhealthy machine, an order effect, no number.
    INVALID = "invalid"
    #: One side has no result.
    MISSING = "missing"
    #: Other data, schema or scenario definition.
    INCOMPARABLE = "incomparable"

    def __str__(self) -> str:
        return self.value

    @property
    def passes(self) -> bool:
        """Good news that was shown, not merely bad news that was not."""
        return self in {Verdict.IMPROVED, Verdict.UNCHANGED}


#: A regression is said whatever else is wrong; only then does what kept the rest from being judged count.
_WORST_FIRST = (
    Verdict.REGRESSED,
    Verdict.MISSING,
    Verdict.INCOMPARABLE,
    Verdict.INVALID,
    Verdict.UNDERPOWERED,
    Verdict.INCONCLUSIVE,
    Verdict.UNCHANGED,
    Verdict.IMPROVED,
)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Of all rows together; `MISSING` for none at all, since nothing was shown."""
    return min(verdicts, key=_WORST_FIRST.index, default=Verdict.MISSING)
