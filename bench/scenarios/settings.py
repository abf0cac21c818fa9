"""Values of the axes that have no option of their own, read from `--set AXIS=VALUE`."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from bench import suggest
from bench.errors import ConfigurationError
from bench.ranges import MOST_RANKS
from bench.scenarios.axes import SET_AXES
from bench.scenarios.scenario import Scenario

_AXIS_TYPES: Final = {field.name: field.type for field in msgspec.structs.fields(Scenario)}


def axis_settings(texts: Sequence[str]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """Read (axis, values) from "update=flat" or "update=flat,trainer". Raises `ConfigurationError` for what is none."""
    settings = []
    for text in texts:
        axis, _, values = text.partition("=")
        if axis not in SET_AXES:
            raise ConfigurationError(suggest.unknown("axis", axis, SET_AXES))
        settings.append((axis, tuple(_setting(axis, each) for each in values.split(","))))
    return tuple(settings)


def _setting(axis: str, text: str) -> Any:  # noqa: ANN401  # a value of the axis
    try:
        return msgspec.convert(text, _AXIS_TYPES[axis], strict=False)
    except msgspec.ValidationError:
        if known := choices(axis):
            raise ConfigurationError(suggest.unknown(axis, text, known)) from None
        raise ConfigurationError(f"{axis}={text}: expected a whole number from 0 to {MOST_RANKS:,}") from None


def choices(axis: str) -> list[str]:
    """Return the values of an axis that has a few: of an enumeration, or of yes and no; nothing of a number."""
    kind = _AXIS_TYPES[axis]
    if isinstance(kind, enum.EnumMeta):
        return [*map(str, kind)]
    return ["true", "false"] if kind is bool else []
