"""The rows that a picture has room for, and where they stand in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from bench.analysis.headline import Source
from bench.analysis.summary import Measures, Row
from bench.render.model.words.labels import labels_of
from bench.render.phrases import format_count, format_estimate
from bench.render.report.pictures import charts
from bench.render.report.pictures.charts import Axis, Plotted, Point
from bench.stats.intervals import Estimate
from mnist_core.devices import DeviceKind
from mnist_core.recipe import Precision


class MeasuredRow(NamedTuple):
    """A row that carries a rank, and its file."""

    source: Source
    row: Row
    measures: Measures


_FoundT = TypeVar("_FoundT")


class Place(NamedTuple):
    """A place in a roofline."""

    #: Operations per byte.
    intensity: float
    #: GFLOP/s.
    achieved: Estimate
    ceiling: float
    #: Bytes per second.
    bandwidth: float
    where: str


def under_roof(measures: Measures) -> Place | None:
    """Return a row's place under its roof; None where a part of it is not known."""
    achieved, moved = measures.achieved_gflop_per_second, measures.bytes_per_second
    ceiling, bandwidth = measures.ceiling_gflop_per_second, measures.ceiling_bytes_per_second
    if measures.roof is None or achieved is None or moved is None or ceiling is None or bandwidth is None:
        return None
    place = measures.roof.place
    where = "GPU" if place.kind is DeviceKind.GPU else format_count(place.threads, "thread")
    if place.precision is not Precision.FLOAT32:
        where += f" in {place.precision}"
    return Place(1e9 * achieved.value / moved.value, achieved, ceiling, bandwidth, where)


def fairly(
    found: Sequence[_FoundT],
    most: int,
    source: Callable[[_FoundT], Source],
    first: Callable[[_FoundT], bool] = lambda _each: False,
) -> list[_FoundT]:
    """Return as many of each file, in the order given, so that no slow machine is left out; the `first` are kept."""
    taken: Counter[str] = Counter()
    ranks = []
    for index, each in enumerate(found):
        name = source(each).name
        ranks.append((not first(each), taken[name], index))
        taken[name] += 1
    return [found[index] for _not_first, _rank, index in sorted(sorted(ranks)[:most], key=lambda rank: rank[2])]


def labelled(
    found: Sequence[tuple[MeasuredRow, _FoundT]],
    most: int,
    first: Callable[[tuple[MeasuredRow, _FoundT]], bool] = lambda _pair: False,
) -> list[tuple[str, MeasuredRow, _FoundT]]:
    """Choose rows for a picture, and label each by what tells it from the others."""
    shown = fairly(found, most, lambda pair: pair[0].source, first)
    labels = labels_of((each.source.name, each.row.scenario) for each, _value in shown)
    return [(labels.of(each.source.name, each.row.scenario), each, value) for each, value in shown]


def point_of(estimate: Estimate, label: str, unit: str) -> Point:
    """Return the point of a row, whose value lies along x."""
    return Point(estimate.value, 0, f"{label}: {format_estimate(estimate, unit)}", estimate.lower, estimate.upper)


def places_of(lines: Sequence[Plotted]) -> list[float]:
    """Return where along x any curve has a point."""
    return sorted({point.x for line in lines for point in line.points})


def value_axis(title: str, values: Sequence[float]) -> Axis:
    """Return an axis that begins at zero, or that is logarithmic where the values span decades."""
    wide = charts.decades(values)
    return Axis(title=title, logarithmic=wide, from_zero=not wide)


def say_more(count: int, shown: int, noun: str) -> str:
    """Say which of them are shown, where not all are."""
    return f" Shown: the first {shown} of {format_count(count, noun)}, by speed." if count > shown else ""
