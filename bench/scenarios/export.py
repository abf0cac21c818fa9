"""A scenario as text to paste: a suite file, and a command line. Both are read back as exactly that scenario."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from bench.scenarios.axes import AXES, RANK_AXES, SET_AXES, format_axis_value
from bench.scenarios.scenario import DEFAULTS, Scenario

#: The suite for `mnist-bench run`: one matrix, trained and measured as the tutorial is.
_SUITE = "tutorial"


def suite_text(scenario: Scenario, *, title: str, repeats: int) -> str:
    """Return a TOML file that `mnist-bench run --suite FILE` measures.

    Every axis is written down, even a default, but not those of ranks where there is one.
    """
    lines = [f"title = {_quoted(title)}", "", "[[matrix]]", f"network = [{_quoted(scenario.network)}]"]
    lines += [f"{axis} = [{_toml(value)}]" for axis, value in _axes(scenario)]
    lines.append(f"sampling = {{ repeats = {repeats} }}")
    return "\n".join(lines) + "\n"


def run_command(scenario: Scenario, *, repeats: int) -> str:
    """Return a command for a POSIX shell that measures what the suite does."""
    words = ["mnist-bench", "run", "--suite", _SUITE, "--network", scenario.network]
    for axis, value in _axes(scenario):
        word = format_axis_value(value)
        words += ["--set", f"{axis}={word}"] if axis in SET_AXES else [f"--{axis.replace('_', '-')}", word]
    return shlex.join([*words, "--repeats", str(repeats)])


def _axes(scenario: Scenario) -> Iterator[tuple[str, object]]:
    """Yield the axes that are not left to the machine, with their values."""
    for axis in AXES:
        value = getattr(scenario, axis)
        if value is not None and (axis not in RANK_AXES or value != DEFAULTS[axis]):
            yield axis, ",".join(value) if axis == "contexts" else value


def _toml(value: object) -> str:
    return format_axis_value(value) if isinstance(value, bool | int) else _quoted(format_axis_value(value))


def _quoted(text: str) -> str:
    """Quote a text for TOML, whose basic strings are JSON's but for DEL, which JSON leaves as it is."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
