"""What the exit status means; the same for every verb."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from bench.analysis.verdict import Verdict


class Exit(enum.IntEnum):
    """The exit statuses of the program."""

    DONE = 0
    REGRESSED = 1
    USAGE = 2
    INCONCLUSIVE = 3
    INCOMPARABLE = 4
    FAILED = 5
    #: A fault of the program itself (sysexits.h: EX_SOFTWARE); Python's own 1 would say "regressed".
    INTERNAL = 70
    INTERRUPTED = 130


#: The exit status of a comparison's overall verdict: only what was shown passes.
EXIT_OF_VERDICT: Final[Mapping[Verdict, Exit]] = {
    Verdict.IMPROVED: Exit.DONE,
    Verdict.UNCHANGED: Exit.DONE,
    Verdict.REGRESSED: Exit.REGRESSED,
    Verdict.INCONCLUSIVE: Exit.INCONCLUSIVE,
    Verdict.UNDERPOWERED: Exit.INCONCLUSIVE,
    Verdict.INVALID: Exit.INCONCLUSIVE,
    Verdict.INCOMPARABLE: Exit.INCOMPARABLE,
    Verdict.MISSING: Exit.FAILED,
}
