"""Typer's usage errors, as one line with the next step."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import typer

from bench import suggest

#: Typer's message for a value that an enumeration does not have; what another version says is passed on unchanged.
_NO_CHOICE: Final = re.compile(r"(?:Value error, )?['\"](?P<word>.*)['\"] is not one of (?P<known>'.*')\.?", re.DOTALL)
_NO_VERB: Final = "name a verb: `mnist-bench run --suite smoke` measures for a minute"

#: Options that name other machines, and why some verbs that measure have none.
_OF_HOSTS: Final = re.compile("--hosts|--join(-.*)?")
_ON_ONE_MACHINE: Final = {
    "tune": "tune finds what is fastest on one machine: start it there, and measure the winner with `run --hosts`",
    "profile": "profile times the phases of one process: start it there; `run --hosts` measures what an exchange takes",
    "gate": "gate compares two versions of the code, side by side on one machine: start it there",
    "calibrate": "calibrate learns how much one machine wavers: start it there",
}


def explain_usage_error(error: typer.TyperException) -> str:
    """Return the error as one line, with the nearest name that exists where there is one."""
    usage: Any = error  # its attributes depend on what is wrong
    option = getattr(usage, "option_name", None) or ""
    if _OF_HOSTS.fullmatch(option) and (why := _ON_ONE_MACHINE.get(usage.ctx.info_name)):
        return f"no option {option}: {why}"
    if option and (near := _nearest(usage, option)):
        return f"no option {option}: did you mean {near}?"
    if isinstance(error, typer.BadParameter) and (match := _NO_CHOICE.fullmatch(error.message)):
        known = re.findall(r"'([^']*)'", match["known"])
        near = suggest.meant(match["word"], known)
        hint = "is not one of its values" if near is None else f"did you mean {near!r}?"
        option = max(getattr(usage.param, "opts", ()), key=len, default="")
        return f"{option} {match['word']!r}: {hint} (known: {', '.join(known)})"
    message = error.format_message()
    return f"{message} (--help explains)" if message else _NO_VERB


def _nearest(usage: Any, option: str) -> str | None:  # noqa: ANN401  # as above
    """Return the option that was probably meant; None where no name is near."""
    possible: Sequence[str] = getattr(usage, "possibilities", None) or ()
    return suggest.meant(option, possible)
