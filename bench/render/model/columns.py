"""The columns a table can have, as data: what a value is called, where it comes from, how it is written.

A new column is one entry here and appears in every format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from bench import suggest
from bench.analysis.summary import Measures, Row
from bench.records.environment import Software
from bench.render import units
from bench.render.phrases import change, ends
from bench.render.sparklines import bar, sparkline
from bench.scenarios.axes import LOOP_AXES
from bench.scenarios.scenario import Scenario, axis_value
from bench.stats.intervals import Estimate
from mnist_core.recipe import Recipe

#: The value of a cell before it is formatted; None: absent.
Raw = str | int | float | bool | Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """The name of a column and how formats treat it."""

    #: The name for `--sort`, `--row` and `--column`, and the key in JSON.
    name: str
    #: The header in CSV: the name, with the unit where that has none.
    key: str
    #: The header in a table meant to be read, on one or two lines.
    title: str
    #: Whether it holds numbers, which are flush right and can be a pivot's value.
    number: bool = True
    #: Columns of greater priority make room first on a narrow terminal; 0 always stays; None: for programs only.
    priority: int | None = None
    #: False: it repeats other columns in a form for people only.
    data: bool = True
    #: Whether it holds drawings, which are for terminals only.
    picture: bool = False
    #: Whether its values are estimates, with an interval where there are processes enough.
    interval: bool = False
    #: The name in the legend; "": the title.
    term: str = ""
    #: What the legend says of it.
    explanation: str = ""


class HasScenario(Protocol):
    """A row of any table of scenarios."""

    @property
    def scenario(self) -> Scenario: ...


class HasRecipe(HasScenario, Protocol):
    """A row of a table whose scenarios may be there under several recipes."""

    @property
    def recipe(self) -> Recipe: ...


#: The rows that a column can read. A column of any scenario's axis is one of every kind of row, hence contravariant.
RowT_contra = TypeVar("RowT_contra", contravariant=True)
RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[RowT_contra]):
    """A heading, and how a row fills the cell under it."""

    heading: Heading
    value: Callable[[RowT_contra], Raw]
    #: The value as it is read; None: absent.
    text: Callable[[RowT_contra], str | None]
    #: Written behind the text and aligned separately.
    detail: Callable[[RowT_contra], str]


def make_column(
    name: str,
    value: Callable[[RowT], Raw],
    unit: Callable[[Any], str] = str,
    *,
    key: str | None = None,
    title: str | None = None,
    number: bool = True,
    priority: int | None = None,
    data: bool = True,
    picture: bool = False,
    interval: bool = False,
    explanation: str = "",
    text: Callable[[RowT], str | None] | None = None,
    detail: Callable[[RowT], str] = lambda _row: "",
) -> Column[RowT]:
    """Make a column; `text` is needed only where the value alone, formatted by `unit`, is not what is read."""
    heading = Heading(
        name=name,
        key=key or name,
        title=title or name.replace("_", " "),
        number=number,
        priority=priority,
        data=data and not picture,
        picture=picture,
        interval=interval,
        explanation=explanation,
    )
    return Column(heading=heading, value=value, text=text or _in_unit(value, unit), detail=detail)


def make_change_column(
    name: str,
    time_ratio: Callable[[RowT], Estimate | None],
    *,
    key: str,
    title: str,
    priority: int,
    explanation: str,
) -> Column[RowT]:
    """Make a column of ratios of times, which reads as 4.1 % slower [1.9, 6.4]."""

    def part(row: RowT, index: int) -> str | None:
        ratio = time_ratio(row)
        return None if ratio is None else change(ratio)[index]

    return make_column(
        name,
        time_ratio,
        key=key,
        title=title,
        interval=True,
        priority=priority,
        text=lambda row: part(row, 0),
        detail=lambda row: part(row, 1) or "",
        explanation=explanation,
    )


def _in_unit(value: Callable[[RowT], Raw], unit: Callable[[Any], str]) -> Callable[[RowT], str | None]:
    def text(row: RowT) -> str | None:
        raw = value(row)
        number = raw.value if isinstance(raw, Estimate) else raw
        return None if number is None else unit(number)

    return text


def _measured(value: Callable[[Measures], Raw]) -> Callable[[Row], Raw]:
    return lambda row: None if row.measures is None else value(row.measures)


def _loaded(fact: Callable[[Software], str]) -> Callable[[Row], Raw]:
    return lambda row: None if row.software is None else fact(row.software)


def plus_minus_of(value: Callable[[RowT], Raw]) -> Callable[[RowT], str]:
    """Make a column's detail of the half-width of an estimate; "" where it has no interval."""

    def text(row: RowT) -> str:
        estimate = value(row)
        if not isinstance(estimate, Estimate) or estimate.upper is None:
            return ""
        return units.plus_minus(estimate.value, estimate.upper)

    return text


def _processes(row: Row) -> str:
    """Write the number of processes: "3", or "2/3" while some gave nothing."""
    n = 0 if row.measures is None else row.measures.n
    return str(n) if n >= row.planned else f"{n}/{row.planned}"


def _epoch(row: Row) -> str | None:
    if row.measures is None:
        return None
    return f"{'≈' if row.measures.epoch_extrapolated else ''}{units.seconds(row.measures.epoch_seconds.value)}"


def _accuracy_range(row: Row) -> str | None:
    if row.measures is None or row.measures.n == 1:
        return None
    least, greatest = row.measures.final_accuracy_min, row.measures.final_accuracy_max
    return f"{units.accuracy(least)}{units.ABSENT}{units.accuracy(greatest)}"


#: Fewer epochs are not drawn as a curve.
_LEAST_EPOCHS: Final = 3


def _learning(row: Row) -> str | None:
    if row.measures is None or len(row.measures.epoch_accuracies) < _LEAST_EPOCHS:
        return None
    return sparkline(row.measures.epoch_accuracies)


def _speedup(row: Row) -> str | None:
    if row.measures is None or row.measures.speedup is None:
        return None
    return "baseline" if row.is_baseline else units.factor(row.measures.speedup.value)


def _interval_of(value: Callable[[RowT], Raw]) -> Callable[[RowT], str]:
    """Make a column's detail of the interval's ends, for values that can be zero or less and so have no ±."""

    def text(row: RowT) -> str:
        estimate = value(row)
        return ends(estimate, units.significant) if isinstance(estimate, Estimate) else ""

    return text


def _failures(row: Row) -> str | None:
    return "; ".join(f"{failure.count} x {failure.reason}: {failure.detail}" for failure in row.failures) or None


_THROUGHPUT = _measured(lambda m: m.throughput)
_SPEEDUP = _measured(lambda m: m.speedup)
_SCALING = _measured(lambda m: m.scaling_efficiency)
_FIXED = _measured(lambda m: m.fixed_update_microseconds)
_PER_IMAGE = _measured(lambda m: m.image_microseconds)

#: What was measured, in the order of a wide table.
VALUES: Final[Sequence[Column[Row]]] = (
    make_column(
        "throughput",
        _THROUGHPUT,
        units.significant,
        key="throughput_images_per_second",
        title="images/s",
        interval=True,
        priority=0,
        detail=plus_minus_of(_THROUGHPUT),
        explanation="images trained per second of the epoch windows, geometric mean over n processes; ± is its 95 % t "
        f"interval over processes (log scale; {units.TIMES_OVER} where it is wider than 100 %): n = 1 has none",
    ),
    make_column(
        "n",
        _measured(lambda m: m.n),
        key="n_processes",
        priority=6,
        text=_processes,
        explanation="fresh processes; 2/3: of 3 planned",
    ),
    make_column(
        "epoch_seconds",
        _measured(lambda m: m.epoch_seconds),
        units.seconds,
        title="epoch",
        interval=True,
        priority=2,
        text=_epoch,
        explanation="one pass over all {train_samples} training images; ≈ is extrapolated from the part that was run",
    ),
    make_column("epoch_extrapolated", _measured(lambda m: m.epoch_extrapolated), number=False),
    make_column(
        "update_microseconds",
        _measured(lambda m: m.update_microseconds),
        units.significant,
        title="µs/step",
        interval=True,
        priority=5,
        explanation="one step: a batch asked for, split, trained on, weights updated, metric updated",
    ),
    make_column(
        "final_accuracy",
        _measured(lambda m: m.final_accuracy),
        units.accuracy,
        title="final\naccuracy",
        priority=1,
        explanation="on all {test_samples} test images after the last epoch, mean over processes",
    ),
    make_column(
        "learning",
        _learning,
        number=False,
        priority=11,
        picture=True,
        explanation="test accuracy after each epoch, from the least to the greatest; mean over processes",
    ),
    make_column("final_accuracy_min", _measured(lambda m: m.final_accuracy_min), units.accuracy),
    make_column("final_accuracy_max", _measured(lambda m: m.final_accuracy_max), units.accuracy),
    make_column(
        "final_accuracy_range",
        _accuracy_range,
        title="accuracy\nrange",
        priority=12,
        data=False,
    ),
    make_column(
        "speedup",
        _SPEEDUP,
        units.factor,
        title="speed-up",
        interval=True,
        priority=3,
        text=_speedup,
        explanation="images/s over those of the tutorial's own setting: {tutorial}",
    ),
    make_column("speedup_interval", plus_minus_of(_SPEEDUP), title="speed-up\ninterval", priority=9, data=False),
    make_column(
        "scaling_efficiency",
        _SCALING,
        units.percent,
        title="scaling",
        interval=True,
        priority=4,
        explanation="images/s over (number of contexts x images/s on the first of them alone); virtual CPU contexts "
        "share the same cores, so do not expect 100 % of them",
    ),
    make_column(
        "time_to_accuracy_seconds",
        _measured(lambda m: m.time_to_accuracy_seconds),
        units.seconds,
        title="to target\naccuracy",
        priority=10,
        explanation="epoch windows up to the first epoch that reached {targets}; evaluation excluded; median",
    ),
    make_column(
        "first_step_seconds",
        _measured(lambda m: m.first_step_seconds),
        units.seconds,
        title="first\nstep",
        priority=7,
        explanation="from building the network to the first update done, median",
    ),
    make_column(
        "warm_up_seconds",
        _measured(lambda m: m.warm_up_seconds),
        units.seconds,
        title="warm-up",
        priority=14,
        explanation="every batch shape touched once before the first epoch window, median",
    ),
    make_column(
        "startup_seconds",
        _measured(lambda m: m.startup_seconds),
        units.seconds,
        title="start-up",
        priority=16,
        explanation="from the process's start to the framework imported and the data in memory, median",
    ),
    make_column(
        "peak_rss_bytes",
        _measured(lambda m: m.peak_rss_bytes),
        units.memory,
        title="peak\nmemory",
        priority=8,
        explanation="most resident memory of any of the processes, data set included",
    ),
    make_column(
        "device_memory_bytes",
        _measured(lambda m: m.device_memory_bytes),
        units.memory,
        title="device\nmemory",
        priority=11,
        explanation="in use on the scenario's GPUs after the last epoch",
    ),
    make_column(
        "busy_cpus",
        _measured(lambda m: m.busy_cpus),
        units.significant,
        title="busy\nCPUs",
        priority=13,
        explanation="CPU time over wall time inside the epoch windows, median",
    ),
    make_column(
        "omp_num_threads",
        _measured(lambda m: m.omp_num_threads),
        title="OpenMP\nthreads",
        priority=15,
        explanation="of each CPU context",
    ),
    make_column(
        "utilisation",
        _measured(lambda m: m.utilisation),
        units.share,
        interval=True,
        priority=4,
        explanation="GFLOP/s over the ceiling: the fastest float32 matrix product that was measured between the runs, "
        "on as many threads",
    ),
    make_column(
        "achieved_gflop_per_second",
        _measured(lambda m: m.achieved_gflop_per_second),
        units.significant,
        title="GFLOP/s",
        interval=True,
        priority=7,
        explanation="images/s times the multiplications and additions that training on an image needs",
    ),
    make_column("ceiling_gflop_per_second", _measured(lambda m: m.ceiling_gflop_per_second), units.significant),
    make_column(
        "bytes_per_second",
        _measured(lambda m: m.bytes_per_second),
        units.giga,
        title="GB/s",
        interval=True,
        priority=8,
        explanation="the fewest bytes that a step must move, over its time",
    ),
    make_column(
        "bound",
        _measured(lambda m: None if m.bound is None else str(m.bound)),
        number=False,
        priority=4,
        explanation="what applies to a step: overhead where over half of it is fixed (known from two batch sizes on); "
        "else compute or memory, whichever ceiling is lower, however far below it the step is",
    ),
    make_column(
        "fixed_update_microseconds",
        _FIXED,
        units.significant,
        title="fixed\nµs/step",
        interval=True,
        priority=6,
        detail=_interval_of(_FIXED),
        explanation="what a step takes however small the batch: from the line through all batch sizes, with its 95 % t "
        "interval",
    ),
    make_column(
        "image_microseconds",
        _PER_IMAGE,
        units.significant,
        title="µs/image",
        interval=True,
        priority=7,
        detail=_interval_of(_PER_IMAGE),
        explanation="what each image of a batch adds to that",
    ),
    make_column("status", lambda row: str(row.status), number=False),
    make_column("invalid_reason", lambda row: row.invalid, number=False),
    make_column("failures", _failures, number=False),
    make_column("planned_processes", lambda row: row.planned),
    make_column("framework_version", _loaded(lambda software: software.framework_version), number=False),
    make_column("numpy", _loaded(lambda software: software.numpy), number=False),
    make_column("python", _loaded(lambda software: software.python), number=False),
)

#: Columns that a reader sees only where there is a ceiling to compare them with.
BESIDE_CEILINGS: Final = frozenset(
    {
        "achieved_gflop_per_second",
        "bytes_per_second",
        "bound",
        "fixed_update_microseconds",
        "image_microseconds",
    }
)

#: Axes that are always shown; the others are where a row is off the default.
MAIN_AXES: Final = ("contexts", "batch_size", "hybridize")
_AXIS_TITLES: Final = {"batch_size": "batch", "cpu_threads": "threads"}
_NUMBER_AXES: Final = frozenset({"batch_size", "cpu_threads"})

_AXIS_EXPLANATIONS: Final = {
    "batch_size": "images per update, over all contexts together",
    "cpu_threads": "OpenMP threads of each CPU context; default: physical cores over CPU contexts",
}

_NUMBERED: Final = re.compile(r"(.*)\((\d+)\)")
#: At least this many consecutive devices are written as the first and the last.
_MANY_CONTEXTS: Final = 3


def _abridged(contexts: Sequence[str]) -> str:
    """Write contexts as cpu(0),cpu(1) or gpu(0)…gpu(7): a long list would push out what was measured."""
    first = _NUMBERED.fullmatch(contexts[0])
    if first is not None and len(contexts) >= _MANY_CONTEXTS:
        consecutive = [f"{first[1]}({int(first[2]) + step})" for step in range(len(contexts))]
        if consecutive == list(contexts):
            return f"{contexts[0]}…{contexts[-1]}"
    return ",".join(contexts)


def _axis(name: str) -> Column[HasScenario]:
    def text(row: HasScenario) -> str:
        if name == "contexts":
            return _abridged(row.scenario.contexts)
        value = axis_value(row.scenario, name)
        return "default" if value is None else str(value)

    return make_column(
        name,
        lambda row: axis_value(row.scenario, name),
        title=_AXIS_TITLES.get(name, name),
        number=name in _NUMBER_AXES,
        priority=0,
        text=text,
        explanation=_AXIS_EXPLANATIONS.get(name, ""),
    )


#: One for each field of a Scenario.
AXES: Final[Sequence[Column[HasScenario]]] = tuple(_axis(field.name) for field in msgspec.structs.fields(Scenario))

#: The parts of the loop in a few words for people, since most parts are the same in most rows.
LOOP: Final[Column[HasScenario]] = make_column(
    "loop",
    lambda row: axis_value(row.scenario, "loop"),
    priority=0,
    number=False,
    data=False,
    explanation="tutorial, or tuned: the fastest known for the network; then the parts that differ from it",
)

SHOWN_AXES: Final[Sequence[Column[HasScenario]]] = (
    *(axis for axis in AXES if axis.heading.name not in LOOP_AXES),
    LOOP,
)


def bars(rows: Iterable[Row]) -> Column[Row]:
    """Make a column of throughputs as bars, the longest for the greatest of these rows."""
    values = {id(row): row.measures.throughput.value for row in rows if row.measures is not None}
    most = max(values.values(), default=0.0)

    def drawn(row: Row) -> str | None:
        return bar(values[id(row)], most) if id(row) in values and len(values) > 1 else None

    return make_column("bar", drawn, title=" ", number=False, priority=4, picture=True)


def find(name: str, columns: Iterable[Column[RowT]], what: str) -> Column[RowT]:
    """Find a column by its name, its CSV header or its header in a table.

    Raise `ValueError` for an unknown one, with a suggestion.
    """
    known: dict[str, Column[RowT]] = {}
    for column in columns:
        heading = column.heading
        for alias in (heading.name, heading.key, heading.title.replace("\n", " ")):
            known.setdefault(alias.lower(), column)
    found = known.get(name.strip().lower())
    if found is None:
        near = suggest.meant(name, known)
        hint = "" if near is None else f"; did you mean {known[near].heading.name!r}?"
        names = ", ".join(dict.fromkeys(column.heading.name for column in known.values()))
        raise ValueError(f"unknown {what} {name!r}{hint} (known: {names})")
    return found


Axis = Column[HasScenario]
ScenarioRowT = TypeVar("ScenarioRowT", bound=HasScenario)
_RecipeRowT = TypeVar("_RecipeRowT", bound=HasRecipe)


def group_rows(rows: Iterable[_RecipeRowT], *, by_network: bool) -> list[list[_RecipeRowT]]:
    """Split rows by recipe, and by network where asked: what trained another way belongs into another table."""
    groups: dict[tuple[str | None, Recipe], list[_RecipeRowT]] = {}
    for row in rows:
        groups.setdefault((row.scenario.network if by_network else None, row.recipe), []).append(row)
    return list(groups.values())


def varies(axis: Axis, scenarios: Iterable[Scenario]) -> bool:
    """Whether the scenarios differ on this axis."""
    return len({axis_value(scenario, axis.heading.name) for scenario in scenarios}) > 1
