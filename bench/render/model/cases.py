"""Verdicts as test cases."""

from __future__ import annotations

import enum
from dataclasses import dataclass


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
