"""Options that several verbs have, each declared once, and how their values are read."""

from __future__ import annotations

import contextlib
import functools
import math
import re
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bench import ranges
from bench.analysis.prices import Price
from bench.cli.completion import (
    offer_contexts,
    offer_keywords,
    offer_networks,
    offer_pivot_axes,
    offer_settings,
    offer_suites,
)
from bench.errors import ConfigurationError
from bench.records.gate import GateMetric
from bench.render.formats import export
from bench.render.phrases import format_count
from bench.scenarios import axes
from bench.scenarios.job_managers import JobManager
from bench.scenarios.settings import axis_settings, choices
from bench.scenarios.suite import Overrides
from mnist_core import recipe
from mnist_core.datasets import DatasetName

RESULTS_DIRECTORY: Final = Path("results/runs")
#: The seed of the tutorial's recipe.
DEFAULT_SEED: Final = recipe.Recipe().seed
#: The limits of a comparison, as they are written on the command line.
MARGIN, TOLERANCE, ALPHA = "2%", "10%", "5%"
#: The same margin and tolerance, by what a gate compares: the tail of a few hundred queries scatters more than a mean
#: over as many images.
LIMITS: Final = {GateMetric.THROUGHPUT: (MARGIN, TOLERANCE), GateMetric.LATENCY: ("5%", "15%")}

#: The parts of a verb's help, for its own options, too. What every verb has stands in the first part, without a name.
TRAINED, MEASURED, MACHINES = "What is trained", "How it is measured", "Several processes or machines"
IMAGES, DECIDED = "Images", "Verdicts"
_trained, _measured, _machines, _images, _decided = (
    functools.partial(typer.Option, rich_help_panel=panel) for panel in (TRAINED, MEASURED, MACHINES, IMAGES, DECIDED)
)


def one_of(words: str, known: Iterable[str]) -> dict[str, str]:
    """Return name and help of an option with many values, which would be torn apart where Typer lists them."""
    *others, last = known
    return {"metavar": "NAME", "help": f"{words}: {', '.join(others)} or {last}."}


# --- the axes of a scenario -------------------------------------------------------------------------------------------

Framework = Annotated[
    list[axes.Framework] | None, _trained(help="MXNet, or a peer: --python tells which Python has it.")
]

Network = Annotated[
    list[str] | None,
    _trained(metavar="NAME", help="mlp, lenet, or package.module:factory of your own.", autocompletion=offer_networks),
]

Loop = Annotated[list[axes.LoopName] | None, _trained(help="The tutorial's loop, or the fastest one known.")]

Contexts = Annotated[
    list[str] | None,
    _trained(
        metavar="DEVICES",
        help="A list of devices, e.g. 'cpu(0),cpu(1)', or auto.",
        autocompletion=offer_contexts,
    ),
]

BatchSize = Annotated[list[int] | None, _trained(min=1, max=ranges.MOST_IMAGES, help="Images per update.")]
Hybridize = Annotated[
    list[recipe.Hybridize] | None, _trained(**one_of("How the network is executed", recipe.Hybridize))
]
CpuThreads = Annotated[
    list[int] | None, _trained(min=1, max=ranges.MOST_THREADS, help="OpenMP threads per CPU context.")
]

Ranks = Annotated[
    list[int] | None,
    _machines(
        min=1,
        max=ranges.MOST_RANKS,
        help="Processes that train together on each batch, on this machine or those of --hosts.",
    ),
]
Exchange = Annotated[
    list[axes.Exchange] | None,
    _machines(
        **one_of("How ranks exchange gradients (default: dist_sync of MXNet, gloo of PyTorch and JAX)", axes.Exchange)
    ),
]

Settings = Annotated[
    list[str] | None,
    _trained(
        "--set",
        metavar="AXIS=VALUE,…",
        help="Another part of the loop: "
        + "; ".join(f"{axis}: {', '.join(choices(axis)) or 'a number'}" for axis in axes.SET_AXES)
        + ".",
        autocompletion=offer_settings,
    ),
]

# --- what is measured, and how long -----------------------------------------------------------------------------------

Keyword = Annotated[
    str | None,
    typer.Option(
        "-k",
        metavar="EXPR",
        help="Only scenarios with these words in their name, joined by and, or, not; axis=value is that value exactly: "
        "'mlp and not batch=500', 'contexts=cpu(0)'.",
        autocompletion=offer_keywords,
    ),
]

Suite = Annotated[
    str,
    typer.Option(
        metavar="NAME|FILE",
        help="A built-in suite or a TOML file; its repeats and epochs do not count here.",
        autocompletion=offer_suites,
    ),
]

Data = Annotated[DatasetName, _images(**one_of("Which images (auto is MNIST if it can be had)", DatasetName))]
DataDir = Annotated[Path | None, _images(help="The folder with the four IDX files, gzip or raw.")]

Python = Annotated[
    list[str] | None,
    _measured(metavar="FRAMEWORK=PATH", help="The Python that has this framework; repeatable. Default: this one."),
]

#: Of verbs that train as a recipe says.
RecipeSeed = Annotated[
    int, _measured(min=0, max=ranges.MOST_SEED, help="Seeds weights, shuffling and the order of the measurements.")
]

#: Of verbs that draw a new seed each time.
Seed = Annotated[
    int | None,
    _measured(
        min=0, max=ranges.MOST_SEED, help="Orders the measurements, seeds the trainings; default: a new one, recorded."
    ),
]


def timeout(explanation: str, panel: str = MEASURED) -> Any:  # noqa: ANN401  # Typer's own type is private
    """Return the option for a limit in seconds, in this part of a verb's help."""
    return typer.Option(
        min=1, max=ranges.MOST_GIVEN_SECONDS, callback=_reject_nan, help=explanation, rich_help_panel=panel
    )


def _reject_nan(value: float | None) -> float | None:
    """Raise `typer.BadParameter` for NaN, which is neither below a limit nor above it."""
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is no number of seconds")
    return value


Budget = Annotated[str, _measured(help="Time for the measurements, e.g. 90s, 10m or 1h30m.")]

Hosts = Annotated[
    Path | None, _machines(metavar="FILE", help="The machines to use: TOML, or lines such as 'node1 slots=2'.")
]

#: Of ranks that a job manager has started; see `cli.measuring.joining`.
Join = Annotated[
    JobManager | None,
    _machines(
        **one_of(
            "Who started this command on every machine (the ranks of that job are the machines to use)", JobManager
        )
    ),
]
JoinAddress = Annotated[
    str | None, _machines(metavar="HOST", help="Rank 0's name or IP address, where --join does not tell it.")
]
JoinPort = Annotated[
    int, _machines(min=1, max=65_535, metavar="PORT", help="The port at which rank 0 waits for the other ranks.")
]
JoinRanks = Annotated[
    int | None,
    _machines(min=1, max=ranges.MOST_RANKS, metavar="N", help="How many ranks there are, where --join does not tell."),
]
JoinTimeout = Annotated[float, timeout("Seconds that ranks wait for each other at the start.", MACHINES)]
#: Below the ports that kernels choose, and none of those that MPI, PyTorch or JAX have by default.
DEFAULT_JOIN_PORT: Final = 28_470
#: The nodes of a job are up when it begins, pods one after the other.
DEFAULT_JOIN_SECONDS: Final = 120.0

# --- verdicts ---------------------------------------------------------------------------------------------------------

Metric = Annotated[
    GateMetric,
    _decided(
        help="What must not get slower: training, or the prediction of single images, by its p50 and p99 (there "
        f"--margin is {LIMITS[GateMetric.LATENCY][0]} and --tolerance {LIMITS[GateMetric.LATENCY][1]})."
    ),
]
Margin = Annotated[str, _decided(help="Slower by less is no regression.")]
Tolerance = Annotated[str, _decided(help="Surely slower by less is unchanged.")]
Alpha = Annotated[str, _decided(help="Probability of any false regression, over all scenarios together.")]

# --- files and what is printed ----------------------------------------------------------------------------------------

Files = Annotated[list[Path], typer.Argument(help="Result files, or folders of them.")]

Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help=f"The file to save into; default: a new one in {RESULTS_DIRECTORY}."),
]

Resume = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Go on with an interrupted measurement, as its file planned it.")
]
Replay = Annotated[Path | None, typer.Option(metavar="FILE", help="Evaluate a stored file again; measure nothing.")]
Format = Annotated[export.Format, typer.Option("--format", **one_of("How the results are printed", export.Format))]

PricePerHour = Annotated[
    list[float] | None,
    typer.Option(
        min=0,
        max=ranges.MOST_PRICE,
        metavar="PRICE",
        help="What a machine costs an hour: once for all files, or once for each in their order. Shows what training "
        "costs; no file keeps it.",
    ),
]
Currency = Annotated[str, typer.Option(metavar="NAME", help="The currency of --price-per-hour, e.g. USD.")]

Row = Annotated[
    str | None,
    typer.Option(metavar="AXIS", help="Pivot: the axis down the side.", autocompletion=offer_pivot_axes),
]

Column = Annotated[
    str | None,
    typer.Option(metavar="AXIS", help="Pivot: the axis across the top.", autocompletion=offer_pivot_axes),
]

# --- reading them -----------------------------------------------------------------------------------------------------

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


def ratio(text: str, option: str) -> float:
    """Return 0.02 for "0.02" or "2%". Raises `ConfigurationError` for what is no number from 0 to below 1."""
    value = _ratio(text)
    if not 0 <= value < 1:
        raise ConfigurationError(f"{option} {text}: expected a ratio such as 0.02 or 2%")
    return value


def half_width(text: str, option: str) -> float:
    """Return 0.03 for "3%". Raises `ConfigurationError` for what is no number above 0 and up to 1."""
    value = _ratio(text)
    with contextlib.suppress(ValueError):
        precision = recipe.Precision(text)
        raise ConfigurationError(
            f"{option} is how exactly speed-ups are to be known, such as 3%: "
            f"use --set precision={precision} to compute in {precision}"
        )
    if not ranges.LEAST_PROBABILITY <= value <= 1:
        raise ConfigurationError(f"{option} {text}: expected a half-width such as 3% or 0.03, at most 100%")
    return value


def probability(text: str, option: str) -> float:
    """Return 0.05 for "5%". Raises `ConfigurationError` for what is no number above 0 and below 1."""
    value = _ratio(text)
    if not ranges.LEAST_PROBABILITY <= value < 1:
        raise ConfigurationError(f"{option} {text}: expected a probability between 0 and 1, e.g. 5%")
    return value


def _ratio(text: str) -> float:
    """Return the number that a text stands for; NaN where it stands for none."""
    number, percent = text.strip().removesuffix("%").rstrip(), text.strip().endswith("%")
    try:
        return float(number) / (100 if percent else 1)
    except ValueError:
        return math.nan


def seconds(text: str, option: str) -> float:
    """Return 600.0 for "10m", "600s" or "600". Raises `ConfigurationError` for what is no time, and for none at all."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    value = sum(float(number) * _UNITS[unit or "s"] for number, unit in parts)
    if "".join(map("".join, parts)) != text.strip() or value <= 0:
        raise ConfigurationError(f"{option} {text}: expected a time such as 90s, 10m or 1h30m")
    if value > ranges.MOST_GIVEN_SECONDS:
        raise ConfigurationError(f"{option} {text}: at most 720h, which is 30 days")
    return value


def budget_text(seconds: float) -> str:
    """Write a time as --budget takes it, rounded up: 90s, 6m."""
    minutes = math.ceil(seconds / _UNITS["m"])
    return f"{minutes}m" if minutes > 1 else f"{max(1, math.ceil(seconds))}s"


def prices(given: Sequence[float] | None, currency: str, files: int) -> Sequence[Price | None]:
    """Return the price of each of so many files.

    Raises `ConfigurationError` where there are several, but not one for each, and for a currency without a price.
    """
    if not given:
        reject_conflicts((currency, "--currency names that of --price-per-hour: add --price-per-hour, or leave it out"))
        return [None] * files
    if len(given) not in {1, files}:
        raise ConfigurationError(
            f"--price-per-hour is given {len(given)} times, for {format_count(files, 'file')}: give it once for all of "
            "them, or once for each"
        )
    each = [Price(value, currency) for value in given]
    return each if len(each) == files else each * files


def seed_or_random(seed: int | None) -> int:
    """Return the seed that was given, else a new one."""
    return secrets.randbelow(ranges.MOST_SEED) if seed is None else seed


def overrides_of(*, settings: Sequence[str] | None = None, **values: Any) -> Overrides:  # noqa: ANN401  # lists and numbers
    """Return what the options of axes and of sampling ask for; None or nothing leaves a value to the suite.

    Raises `ConfigurationError` for a setting that does not exist.
    """
    given: dict[str, Any] = {
        name: tuple(each) if isinstance(each, list) else each for name, each in values.items() if each
    }
    return Overrides(settings=axis_settings(settings or ()), **given)


def is_given(context: typer.Context, name: str) -> bool:
    """Tell whether a parameter of the verb stands on the command line; a default does not count."""
    source = context.get_parameter_source(name)
    # By name: ParameterSource belongs to Click, of which Typer has a copy of its own.
    return source is not None and source.name == "COMMANDLINE"


def others_given(context: typer.Context, *allowed: str) -> bool:
    """Tell whether a parameter of the verb besides these stands on the command line."""
    return any(is_given(context, name) for name in context.params if name not in allowed)


def reject_others(context: typer.Context, option: str, why: str, *allowed: str) -> None:
    """Raise `ConfigurationError` where `option` is given together with a parameter that is not among the allowed.

    `why` says what the option does, as in "--replay measures nothing".
    """
    if is_given(context, option) and others_given(context, option, *allowed):
        flags = {parameter.name: max(parameter.opts, key=len) for parameter in context.command.params}
        *most, last = (flags[name] for name in allowed)
        listed = f"{', '.join(most)} and {last}" if most else last
        raise ConfigurationError(f"{flags[option]} {why}: leave out all but {listed}")


def reject_conflicts(*conflicts: tuple[object, str]) -> None:
    """Raise `ConfigurationError` with the message of the first conflict: no option is silently without effect."""
    for is_there, message in conflicts:
        if is_there:
            raise ConfigurationError(message)
