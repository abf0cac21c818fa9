"""A verdict as a test case."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class CaseOutcome(str, enum.Enum):
    """What JUnit knows."""

    PASSED = "passed"
    #: What was asked has the answer no.
    FAILURE = "failure"
    #: It could not be asked.
    ERROR = "error"
    #: It has no answer.
    SKIPPED = "skipped"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class JUnitCase:
    """A test case."""

    name: str
    #: None: nothing ran.
    seconds: float | None
    outcome: CaseOutcome
    #: One line.
    message: str
    #: What else there is to say.
    detail: str
