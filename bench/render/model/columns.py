"""The columns a table can have, as data: what a value is called, where it comes from, how it is written.

A new column is one entry here and appears in every format.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from bench import suggest
from bench.analysis.summary import Measures, Row
from bench.render import units
from bench.render.phrases import change, ends, plus_minus
from bench.render.sparklines import bar, sparkline
from bench.scenarios.axes import LOOP_AXES
from bench.scenarios.scenario import Scenario, axis_value, tutorial_setting
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
    #: Whether it tells rows apart and may share a column with others of the kind where there is little room.
    axis: bool = False
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
_FoundT = TypeVar("_FoundT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[RowT_contra]):
    """A heading, and how a row fills the cell under it."""

    heading: Heading
    value: Callable[[RowT_contra], Raw]
    #: The value as it is read, and a detail that is written behind it and aligned separately; None: absent.
    words: Callable[[RowT_contra], tuple[str | None, str] | None]


def make_column(
    name: str,
    value: Callable[[RowT], Raw] | None = None,
    unit: Callable[[Any], str] = str,
    *,
    key: str | None = None,
    title: str | None = None,
    number: bool = True,
    priority: int | None = None,
    data: bool = True,
    picture: bool = False,
    interval: bool = False,
    axis: bool = False,
    explanation: str = "",
    text: Callable[[RowT], str | None] | None = None,
    detail: Callable[[Any], str] | None = None,
    words: Callable[[RowT], tuple[str, str] | None] | None = None,
) -> Column[RowT]:
    """Make a column whose cells hold a value, written by `unit`, and behind it the `detail` of an estimate's interval.

    By default the value is what a row has under the column's name. Where people read something else, `text` makes the
    text of a row's cell, and `words` both its text and its detail.
    """
    read: Callable[[RowT], Raw] = value or operator.attrgetter(name)

    def formatted(row: RowT) -> tuple[str | None, str]:
        raw = read(row)
        number = raw.value if isinstance(raw, Estimate) else raw
        written = None if number is None else unit(number)
        return written if text is None else text(row), "" if raw is None or detail is None else detail(raw)

    heading = Heading(
        name=name,
        key=key or name,
        title=title or name.replace("_", " "),
        number=number and not picture,
        priority=priority,
        data=data and not picture,
        picture=picture,
        interval=interval or detail is not None,
        axis=axis,
        explanation=explanation,
    )
    return Column(heading=heading, value=read, words=words or formatted)


def make_change_column(
    name: str,
    time_ratio: Callable[[RowT], Estimate | None] | None = None,
    **options: Any,  # noqa: ANN401  # make_column's
) -> Column[RowT]:
    """Make a column of ratios of times, which reads as 4.1 % slower [1.9, 6.4]."""
    read: Callable[[RowT], Estimate | None] = time_ratio or operator.attrgetter(name)

    def words(row: RowT) -> tuple[str, str] | None:
        ratio = read(row)
        return None if ratio is None else change(ratio)

    return make_column(name, read, interval=True, words=words, **options)


def _measured(value: Callable[[Measures], _FoundT | None]) -> Callable[[Row], _FoundT | None]:
    return lambda row: None if row.measures is None else value(row.measures)


def _measure(name: str, unit: Callable[[Any], str] = str, **options: Any) -> Column[Row]:  # noqa: ANN401  # make_column's
    """Make a column of what `Measures` has under the same name."""
    return make_column(name, _measured(operator.attrgetter(name)), unit, **options)


def _processes(row: Row) -> str:
    """Write the number of processes: "3", or "2/3" while some gave nothing."""
    n = 0 if row.measures is None else row.measures.n
    return str(n) if n >= row.planned else f"{n}/{row.planned}"


def _epoch(measures: Measures) -> str:
    return f"{'≈' if measures.epoch_extrapolated else ''}{units.seconds(measures.epoch_seconds.value)}"


def _accuracy_range(measures: Measures) -> str | None:
    if measures.n == 1:
        return None
    return f"{units.accuracy(measures.final_accuracy_min)}{units.ABSENT}{units.accuracy(measures.final_accuracy_max)}"


#: Fewer epochs are not drawn as a curve.
_LEAST_EPOCHS: Final = 3


def _learning(measures: Measures) -> str | None:
    accuracies = measures.epoch_accuracies
    return None if len(accuracies) < _LEAST_EPOCHS else sparkline(accuracies)


def _speedup(row: Row) -> str | None:
    if row.measures is None or row.measures.speedup is None:
        return None
    return "baseline" if row.is_baseline else units.factor(row.measures.speedup.value)


def _failures(row: Row) -> str | None:
    return "; ".join(f"{failure.count} x {failure.reason}: {failure.detail}" for failure in row.failures) or None


def _significant_ends(estimate: Estimate) -> str:
    """Write the ends of an interval, for values that can be zero or less and so have no ±."""
    return ends(estimate, units.significant)


#: The versions of a row's software, by their names in `Software`.
VERSIONS: Final = ("framework_version", "numpy", "python")


def _version(name: str) -> Column[Row]:
    return make_column(name, lambda row: None if row.software is None else getattr(row.software, name), number=False)


#: What was measured, in the order of a wide table.
VALUES: Final[Sequence[Column[Row]]] = (
    _measure(
        "throughput",
        units.significant,
        key="throughput_images_per_second",
        title="images/s",
        priority=0,
        detail=plus_minus,
        explanation="images trained per second of the epoch windows, geometric mean over n processes; ± is its 95 % t "
        f"interval over processes (log scale; {units.TIMES_OVER} where it is wider than 100 %): n = 1 has none",
    ),
    _measure("n", key="n_processes", priority=6, text=_processes, explanation="fresh processes; 2/3: of 3 planned"),
    _measure(
        "epoch_seconds",
        units.seconds,
        title="epoch",
        interval=True,
        priority=3,
        text=_measured(_epoch),
        explanation="one pass over all {train_samples} training images; ≈ is extrapolated from the part that was run",
    ),
    _measure("epoch_extrapolated", number=False),
    _measure(
        "update_microseconds",
        units.significant,
        title="µs/step",
        interval=True,
        priority=5,
        explanation="one step: a batch asked for, split, trained on, weights updated, metric updated",
    ),
    _measure(
        "final_accuracy",
        units.accuracy,
        title="final\naccuracy",
        priority=1,
        explanation="on {test_images} test images after the last epoch, mean over processes",
    ),
    make_column(
        "learning",
        _measured(_learning),
        priority=11,
        picture=True,
        explanation="test accuracy after each epoch, from the least to the greatest; mean over processes",
    ),
    _measure("final_accuracy_min", units.accuracy),
    _measure("final_accuracy_max", units.accuracy),
    make_column(
        "final_accuracy_range",
        _measured(_accuracy_range),
        title="accuracy\nrange",
        priority=12,
        data=False,
    ),
    _measure(
        "speedup",
        units.factor,
        title="speed-up",
        priority=2,
        text=_speedup,
        detail=plus_minus,
        explanation="images/s over those of the tutorial's own setting: {tutorial}{compared}",
    ),
    _measure(
        "scaling_efficiency",
        units.percent,
        title="scaling",
        interval=True,
        priority=4,
        explanation="images/s over (number of contexts x images/s on the first of them alone); virtual CPU contexts "
        "share the same cores, so do not expect 100 % of them",
    ),
    _measure(
        "time_to_accuracy_seconds",
        units.seconds,
        title="to target\naccuracy",
        priority=10,
        explanation="epoch windows up to the first epoch that reached {targets}; evaluation excluded; median",
    ),
    _measure(
        "first_step_seconds",
        units.seconds,
        title="first\nstep",
        priority=7,
        explanation="from building the network to the first update done, median",
    ),
    _measure(
        "warm_up_seconds",
        units.seconds,
        title="warm-up",
        priority=14,
        explanation="every batch shape touched once before the first epoch window, median",
    ),
    _measure(
        "startup_seconds",
        units.seconds,
        title="start-up",
        priority=16,
        explanation="from the process's start to the framework imported and the data in memory, median",
    ),
    _measure(
        "peak_rss_bytes",
        units.memory,
        title="peak\nmemory",
        priority=8,
        explanation="most resident memory of any of the processes, data set included",
    ),
    _measure(
        "device_memory_bytes",
        units.memory,
        title="device\nmemory",
        priority=11,
        explanation="in use on the scenario's GPUs after the last epoch",
    ),
    _measure(
        "busy_cpus",
        units.significant,
        title="busy\nCPUs",
        priority=13,
        explanation="CPU time over wall time inside the epoch windows, median",
    ),
    _measure("omp_num_threads", title="OpenMP\nthreads", priority=15, explanation="of each CPU context"),
    _measure(
        "utilisation",
        units.share,
        interval=True,
        priority=4,
        explanation="GFLOP/s over the ceiling: the fastest matrix product that was measured between the runs, "
        "on as many threads and in the same precision",
    ),
    _measure(
        "achieved_gflop_per_second",
        units.significant,
        title="GFLOP/s",
        interval=True,
        priority=7,
        explanation="images/s times the multiplications and additions that training on an image needs",
    ),
    _measure("ceiling_gflop_per_second", units.significant),
    _measure(
        "bytes_per_second",
        units.giga,
        title="GB/s",
        interval=True,
        priority=8,
        explanation="the fewest bytes that a step must move, over its time",
    ),
    make_column(
        "bound",
        _measured(lambda measures: None if measures.bound is None else str(measures.bound)),
        number=False,
        priority=4,
        explanation="what applies to a step: overhead where over half of it is fixed (known from two batch sizes on); "
        "else compute or memory, whichever ceiling is lower, however far below it the step is",
    ),
    _measure(
        "fixed_update_microseconds",
        units.significant,
        title="fixed\nµs/step",
        priority=6,
        detail=_significant_ends,
        explanation="what a step takes however small the batch: from the line through all batch sizes, with its 95 % t "
        "interval",
    ),
    _measure(
        "image_microseconds",
        units.significant,
        title="µs/image",
        priority=7,
        detail=_significant_ends,
        explanation="what each image of a batch adds to that",
    ),
    make_column("status", lambda row: str(row.status), number=False),
    make_column("invalid_reason", lambda row: row.invalid, number=False),
    make_column("failures", _failures, number=False),
    make_column("planned_processes", lambda row: row.planned),
    *(_version(name) for name in VERSIONS),
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
#: The axes that are numbers: their titles, and what the legend says of them.
_NUMBER_AXES: Final = {
    "batch_size": ("batch", "images per update, over all contexts together"),
    "cpu_threads": ("threads", "OpenMP threads of each CPU context; default: physical cores over CPU contexts"),
    "ranks": ("ranks", "processes that train together; those on one machine share its cores"),
    "servers": ("servers", "processes that add up the ranks' gradients"),
    "hosts": ("hosts", "hosts of the hosts file over which the ranks are spread"),
    "first_host": ("first host", "the first rank's, counted from 0 in the order of the hosts file"),
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

    title, explanation = _NUMBER_AXES.get(name, (name, ""))
    return make_column(
        name,
        lambda row: axis_value(row.scenario, name),
        title=title,
        number=name in _NUMBER_AXES,
        priority=0,
        axis=True,
        text=text,
        explanation=explanation,
    )


#: One for each field of a Scenario.
AXES: Final[Sequence[Column[HasScenario]]] = tuple(_axis(field.name) for field in msgspec.structs.fields(Scenario))

#: The parts of the loop in a few words for people, since most parts are the same in most rows.
LOOP: Final[Column[HasScenario]] = make_column(
    "loop",
    lambda row: axis_value(row.scenario, "loop"),
    priority=0,
    axis=True,
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

    return make_column("bar", drawn, title=" ", priority=4, picture=True)


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


def tells_of(axis: Axis, scenarios: Sequence[Scenario]) -> bool:
    """Whether an axis describes any of these scenarios, of one network: a minor one does off the tutorial's setting."""
    name, tutorial = axis.heading.name, tutorial_setting(scenarios[0].network)
    return name in MAIN_AXES or any(axis_value(scenario, name) != axis_value(tutorial, name) for scenario in scenarios)


def varies(axis: Axis, scenarios: Iterable[Scenario]) -> bool:
    """Whether the scenarios differ on this axis."""
    return len({axis_value(scenario, axis.heading.name) for scenario in scenarios}) > 1
