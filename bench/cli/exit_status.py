"""What the exit status means; the same for every verb."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import typer

from bench.analysis.verdict import Verdict
from bench.errors import ConfigurationError, IncomparableError, SchemaError, SetupError, StoreError
from mnist_core.idx import DataError


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


def status_of(error: BaseException | None) -> int:
    """Return the exit status with which the program ends by this error, or without any."""
    match error:
        case None | BrokenPipeError():  # the reader has enough, as `head` has
            return Exit.DONE
        case SystemExit(code=code):
            # A 1 that is no `Exit` is Typer's, for help that is piped into a program which reads only a part of it.
            return code if isinstance(code, int) and (isinstance(code, Exit) or code != 1) else Exit.DONE
        case SchemaError() | IncomparableError():
            return Exit.INCOMPARABLE
        case ConfigurationError() | DataError() | SetupError() | StoreError() | typer.TyperException() | OSError():
            return Exit.USAGE
        case KeyboardInterrupt() | typer.Abort():
            return Exit.INTERRUPTED
        case _:
            return Exit.INTERNAL
