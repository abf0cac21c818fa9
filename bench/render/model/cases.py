"""Verdicts as test cases."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from bench.analysis.verdict import Verdict


class CaseOutcome(str, enum.Enum):
    """The outcomes that JUnit knows."""

    PASSED = "passed"
    #: The test was made, and its answer is no.
    FAILURE = "failure"
    #: The test could not be made.
    ERROR = "error"
    #: The test was made and is undecided.
    SKIPPED = "skipped"

    def __str__(self) -> str:
        return self.value


#: The outcome of each verdict: only what passes is green, as the exit status has it. An undecided case is an error,
#: since most readers show a skipped one as green.
OUTCOME_OF_VERDICT: Final[Mapping[Verdict, CaseOutcome]] = {
    Verdict.IMPROVED: CaseOutcome.PASSED,
    Verdict.UNCHANGED: CaseOutcome.PASSED,
    Verdict.REGRESSED: CaseOutcome.FAILURE,
    Verdict.MISSING: CaseOutcome.FAILURE,
    Verdict.INCOMPARABLE: CaseOutcome.ERROR,
    Verdict.INVALID: CaseOutcome.ERROR,
    Verdict.INCONCLUSIVE: CaseOutcome.ERROR,
    Verdict.UNDERPOWERED: CaseOutcome.ERROR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JUnitCase:
    """One test case of a report."""

    name: str
    #: None: nothing ran.
    seconds: float | None
    outcome: CaseOutcome
    #: One line.
    message: str
    #: More lines.
    detail: str
