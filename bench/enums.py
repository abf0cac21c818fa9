"""The enumeration that every list of words in the package is made of."""

from __future__ import annotations

import enum


class StrEnum(str, enum.Enum):
    """Members are printed as their values; `enum.StrEnum` of Python 3.11, which 3.10 lacks."""

    def __str__(self) -> str:
        return str(self.value)
