"""Values that more than one verb takes from the command line, and how they are read."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.completion import offer_keywords, offer_pivot_axes, offer_suites
from bench.errors import ConfigurationError
from bench.render.formats.export import Format
from mnist_core.datasets import DatasetName

KeywordOption = Annotated[
    str | None,
    typer.Option(
        "-k",
        metavar="EXPR",
        help="Only scenarios with these words in their name, joined by and, or, not; axis=value is that value exactly: "
        "'mlp and not batch=500', 'contexts=cpu(0)'.",
        autocompletion=offer_keywords,
    ),
]

RowOption = Annotated[
    str | None,
    typer.Option(metavar="AXIS", help="Pivot: the axis down the side.", autocompletion=offer_pivot_axes),
]

ColumnOption = Annotated[
    str | None,
    typer.Option(metavar="AXIS", help="Pivot: the axis across the top.", autocompletion=offer_pivot_axes),
]

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def ratio(text: str, option: str) -> float:
    """0.02 from "0.02" or "2%". Raises `ConfigurationError` for anything that is no number from 0 to below 1."""
    number, percent = text.strip().removesuffix("%").rstrip(), text.strip().endswith("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        raise ConfigurationError(f"{option} {text}: expected a ratio such as 0.02 or 2%")
    return value


def seconds(text: str, option: str) -> float:
    """600.0 from "10m", "600s", "600" or "1h30m". Raises `ConfigurationError` for anything else, and for nothing."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    value = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if "".join(map("".join, parts)) != text.strip() or value <= 0:
        raise ConfigurationError(f"{option} {text}: expected a time such as 90s, 10m or 1h30m")
    return value


def reject_conflicts(*contradictions: tuple[object, str]) -> None:
    """Raises `ConfigurationError` with the words of the first that holds: no option is silently without effect."""
    for holds, words in contradictions:
        if holds:
            raise ConfigurationError(words)


#: Block b trains with seed + b, and NumPy takes seeds below 2^32.
MOST_SEED = 2**31 - 1

DataOption = Annotated[DatasetName, typer.Option(help="Which images; auto: MNIST if it can be had.")]

DataDirOption = Annotated[Path | None, typer.Option(help="The folder with the four IDX files, gzip or raw.")]

SuiteOption = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="A built-in suite or a TOML file; its sampling does not count here.",
        autocompletion=offer_suites,
    ),
]

SeedOption = Annotated[
    int | None,
    typer.Option(
        min=0, max=MOST_SEED, help="Draws turns and scenarios, seeds trainings; default: a new one, recorded."
    ),
]

BudgetOption = Annotated[str, typer.Option(help="Time for blocks, e.g. 90s, 10m or 1h30m.")]

FormatOption = Annotated[Format, typer.Option("--format", help="Of what is printed at the end.")]
