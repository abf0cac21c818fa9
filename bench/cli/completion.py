"""What the shell offers after Tab where Typer does not know the values itself.

The shell filters them by what is already typed.
"""

from __future__ import annotations

from pathlib import Path

from bench.render.model.axis_columns import AXES, LOOP
from bench.render.model.columns import VALUES
from bench.render.model.table import numeric
from bench.scenarios.axes import AUTO_CONTEXTS, SET_AXES
from bench.scenarios.settings import choices
from bench.scenarios.suite import BUILT_IN_SUITES
from mnist_core.devices import DeviceKind
from mnist_core.recipe import Network


def offer_networks() -> list[str]:
    """Return the built-in networks."""
    return [network.value for network in Network]


def offer_suites() -> list[str]:
    """Return the built-in suites and the TOML files of the current folder."""
    return [*BUILT_IN_SUITES, *sorted(path.name for path in Path().glob("*.toml"))]


def offer_contexts() -> list[str]:
    """Return devices without a number, which means the first: parentheses have a meaning of their own in bash."""
    return [AUTO_CONTEXTS, *(kind.value for kind in DeviceKind)]


def offer_settings() -> list[str]:
    """Return whole pairs of an axis and a value: for bash a word ends at "="."""
    return [pair for axis in SET_AXES for pair in _pairs(axis)]


def offer_keywords() -> list[str]:
    """Return words with which an expression of -k may begin."""
    return [*offer_networks(), *_pairs("framework"), *_pairs("hybridize"), *offer_settings()]


def offer_pivot_axes() -> list[str]:
    """Return the axes that a pivot of `show` or `compare` can have."""
    return [column.heading.name for column in (*AXES, LOOP)]


def offer_values() -> list[str]:
    """Return the columns that the cells of a pivot of `show` can hold."""
    return [column.heading.name for column in numeric(VALUES)]


def offer_sort_columns() -> list[str]:
    """Return the columns that `show` can sort by."""
    return [*(column.heading.name for column in AXES), *(column.heading.name for column in VALUES)]


def _pairs(axis: str) -> list[str]:
    return [f"{axis}={value}" for value in choices(axis)]
