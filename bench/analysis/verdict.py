"""What a comparison can conclude, and which conclusions pass a gate."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bench.enums import StrEnum
from bench.errors import ConfigurationError
from bench.stats import intervals
from bench.stats.intervals import TSummary, detectable_effect


class Verdict(StrEnum):
    """The conclusion about one scenario, or about a whole comparison."""

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

    @property
    def passes(self) -> bool:
        """Good news that was shown, not merely bad news that was not."""
        return self in {Verdict.IMPROVED, Verdict.UNCHANGED}


#: A regression is reported first, even if other rows could not be judged.
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
    """Return the verdict of all rows together; `MISSING` if there are none, since nothing was shown."""
    return min(verdicts, key=_WORST_FIRST.index, default=Verdict.MISSING)


#: Above this detectable slowdown (1.0 = twice as slow) a comparison is underpowered: no verdict of it can pass.
_HOPELESS: Final = 1.0


class Relation(StrEnum):
    """How two machines or two scenarios compare. Neither is an earlier version of the other, so none can regress."""

    FASTER = "faster"
    SLOWER = "slower"
    NOT_TOLD_APART = "not told apart"


Outcome = Verdict | Relation


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a verdict depends on besides the measurements.

    Raises `ConfigurationError` for limits that contradict each other.
    """

    #: Relative slowdown up to which nothing counts as a regression (0.02 = 2 % slower).
    margin: float = 0.02
    #: Relative slowdown below which the whole interval must lie for "unchanged" (0.10 = 10 % slower).
    tolerance: float = 0.10
    #: One-sided and family-wise: over all scenarios of both files.
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.margin < math.inf:
            raise ConfigurationError(f"a margin is at least 0, not {self.margin:g}")
        if not self.margin <= self.tolerance < math.inf:
            raise ConfigurationError(
                f"the tolerance ({self.tolerance:g}) must not be below the margin ({self.margin:g}): "
                "what is slower by no more than the margin has not regressed"
            )
        if not 0 < self.alpha < 0.5:  # noqa: PLR2004  # beyond it a coin decides better
            raise ConfigurationError(f"--alpha {self.alpha:g}: expected a probability above 0, below 0.5, such as 5%")


#: What the command line's flags change.
DEFAULT_SETTINGS: Final = Settings()


def detectable_slowdown(slowdown: TSummary, settings: Settings, *, scenarios: int) -> float:
    """Return the relative slowdown that these samples would show with probability `POWER` (0.05 = 5 % slower).

    The level of the test is alpha over the number of scenarios, as for the smallest p-value. Infinite without a spread.
    """
    return detectable_effect(slowdown, math.log1p(settings.margin), settings.alpha / scenarios)


def decide(slowdown: TSummary, p_slower: float, p_faster: float, detectable: float, settings: Settings) -> Verdict:
    """Conclude from two samples of processes; the p-values are adjusted for all scenarios of the comparison."""
    ends = intervals.bounds(slowdown)
    if ends is None:
        return Verdict.UNDERPOWERED
    margin, (lower, upper) = math.log1p(settings.margin), ends
    if p_slower <= settings.alpha and lower > margin:
        return Verdict.REGRESSED
    if p_faster <= settings.alpha and upper < -margin:
        return Verdict.IMPROVED
    if detectable >= _HOPELESS:
        return Verdict.UNDERPOWERED
    if intervals.upper_bound(slowdown, settings.alpha) < math.log1p(settings.tolerance):
        return Verdict.UNCHANGED
    return Verdict.INCONCLUSIVE


def relate(slowdown: TSummary) -> Relation:
    """Relate two machines, or two scenarios, by which side of zero the whole 95 % interval lies on."""
    lower, upper = intervals.bounds(slowdown) or (-math.inf, math.inf)
    return Relation.SLOWER if lower > 0 else Relation.FASTER if upper < 0 else Relation.NOT_TOLD_APART
