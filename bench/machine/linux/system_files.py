"""Read the kernel's files: a fact that is not told is None or empty, never an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")
ROOT: Final = Path("/")
#: A fact stands at the start of its file: the first CPU's block of /proc/cpuinfo, all flags included, is below 8 KiB.
_READ_BYTES: Final = 1 << 16


def ask_or_none(ask: Callable[[], T]) -> T | None:
    """Return the answer, or None where asking raises: no fact about a machine is worth a crash."""
    try:
        return ask()
    except Exception:  # noqa: BLE001
        return None


def read_text(path: Path) -> str:
    """Return what the file says; "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_READ_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""


def parse_count(text: str) -> int | None:
    """Parse a count of up to 15 digits: version 1 of control groups writes "no limit" as a longer one."""
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else None
