"""Curves -> pictures. No picture says anything by colour alone.

Each curve has a marker and a dash pattern of its own, each point its numbers as a tooltip, each picture its words as a
text alternative.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bench.render.model.document import Picture
from bench.render.phrases import format_count
from bench.render.report.pictures.sheet import (
    BARS_HEIGHT,
    BOTTOM,
    DIM,
    DRAWN_AT,
    FOOT_AT,
    HATCHES,
    HIGH_DRAWN_AT,
    HIGH_LABEL_AT,
    HIGH_ROW,
    LABEL_AT,
    LOOKS,
    PAGE,
    REFERENCE_LOOKS,
    ROW,
    ROW_TOP,
    SERIES,
    SIGN,
    TOP,
    Axes,
    Sheet,
    draw_legend,
    drawing,
    legend_height,
    load,
    row_axes,
    write_text,
)

MOST_REFERENCES: Final = len(REFERENCE_LOOKS)
#: A picture of more curves is a tangle.
MOST_CURVES: Final = len(LOOKS)


@dataclass(frozen=True, slots=True)
class Point:
    """What one mark shows; `tip` has its numbers in full."""

    x: float
    y: float
    tip: str
    #: The ends of an interval, along the values' axis.
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True)
class Plotted:
    """Points under one label: a curve."""

    label: str
    points: Sequence[Point]
    #: Whether a line joins the points; not where nothing was measured between them.
    joined: bool = True
    #: Hollow marks are of what does not count.
    filled: bool = True


@dataclass(frozen=True, slots=True)
class PlottedRow:
    """A row of a picture with a row per scenario."""

    label: str
    #: In the order of the picture's legend, where it has one; None: not measured.
    points: Sequence[Point | None]
    #: A distribution behind the points, as (begin, end, height from 0 to 1) of each of its bars.
    histogram: Sequence[tuple[float, float, float]] = ()


def _ticks(value: float, _position: object = None) -> str:
    """0.01, 5,000, 20k, 1.5M: short enough to stand side by side."""
    for least, unit, letter in ((1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:.6g}{letter}"
    return f"{value:,.6g}"


# --- curves


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What is along an edge."""

    title: str
    logarithmic: bool = False
    #: Begins at zero, where it is not logarithmic.
    from_zero: bool = False
    #: Whether the axis has whole numbers, so that no tick lies between two of them.
    whole: bool = False
    #: Its ends, where several pictures are to be compared; None: those of what is drawn.
    ends: tuple[float, float] | None = None


def draw_lines(
    key: str,
    lines: Sequence[Plotted],
    *,
    title: str,
    subject: str = "",
    caption: str,
    alternative: str = "",
    x: Axis,
    y: Axis,
    references: Sequence[Plotted] = (),
    marks: Sequence[float] | None = None,
    legend: bool = True,
) -> Picture:
    """Curves with a legend below; `references` are thin and grey, `marks` the places with a number along x.

    `alternative` is by default made of the titles, the labels and the `subject`, which is what all curves are of.
    """
    names = "; ".join(line.label for line in lines)
    alternative = alternative or f"{title}, {subject}: {y.title} over {x.title}, of {names}."
    plot = 200
    below = TOP + plot + BOTTOM
    with drawing(key, below + (legend_height(len(lines) + len(references)) if legend else 0)) as sheet:
        axes = sheet.axes(TOP, plot)
        for reference, look in zip(references, REFERENCE_LOOKS, strict=False):
            axes.plot(*_coordinates(reference), **look)
        # Intervals side by side, else one hides another.
        step = 2.5 if any(point.lower is not None for line in lines for point in line.points) else 0
        for number, (line, style) in enumerate(zip(lines, LOOKS, strict=False)):
            _draw_line(sheet, axes, line, style, aside=step * (number - (len(lines) - 1) / 2))
        _set_axis(axes.xaxis, axes.set_xscale, x, marks)
        _set_axis(axes.yaxis, axes.set_yscale, y)
        axes.yaxis.label.set_visible(False)  # it would stand sideways
        write_text(sheet.figure, 0.005, 1 - 10 / sheet.height, axes.yaxis.label.get_text(), va="center")
        if legend:
            signs = draw_legend(sheet, below, [line.label for line in (*lines, *references)])
            _draw_signs(signs, lines)
            for row, (_reference, look) in enumerate(zip(references, REFERENCE_LOOKS, strict=False), len(lines)):
                signs.plot([0, SIGN], [row + 0.5] * 2, **look)
        return sheet.picture(title=title, caption=caption, alternative=alternative)


def _draw_signs(axes: Axes, lines: Sequence[Plotted]) -> None:
    """Each curve's marker, on its dash where the curve has one."""
    for row, (line, style) in enumerate(zip(lines, LOOKS, strict=False)):
        dash = style["linestyle"] if line.joined else "none"
        face = {} if line.filled else {"markerfacecolor": "none"}
        look = {**style, **face, "linestyle": dash, "linewidth": 1.3}
        axes.plot([0, SIGN / 2, SIGN], [row + 0.5] * 3, **look, markevery=[1], markersize=5)


def _coordinates(line: Plotted) -> tuple[list[float], list[float]]:
    return [point.x for point in line.points], [point.y for point in line.points]


def _draw_line(sheet: Sheet, axes: Axes, line: Plotted, style: dict[str, Any], aside: float) -> None:
    if not line.points:
        return
    shift = load("matplotlib.transforms").ScaledTranslation(aside / 72, 0, sheet.figure.dpi_scale_trans)
    place = {"color": style["color"], "transform": axes.transData + shift}
    if line.joined:
        axes.plot(*_coordinates(line), **place, linestyle=style["linestyle"], linewidth=1.3)
    for point in line.points:
        if point.lower is not None and point.upper is not None:
            axes.plot([point.x, point.x], [point.lower, point.upper], **place, linewidth=1.3)
        face = {} if line.filled else {"markerfacecolor": "none"}
        mark = axes.plot([point.x], [point.y], **place, **face, marker=style["marker"], markersize=5, linestyle="none")
        sheet.tip(mark, point.tip)
    # What is drawn beside its place does not count for the limits of an axis.
    xs, ys = _coordinates(line)
    ends = [end for point in line.points for end in (point.lower, point.upper) if end is not None]
    axes.update_datalim([(x, y) for x, y in zip(xs, ys, strict=True)] + [(xs[0], end) for end in ends])
    axes.autoscale_view()


#: First digits of the numbers along a logarithmic axis, by the ratio of its ends up to which they are used. Over
#: more decades, these are enough.
_DIGITS: Final = ((12, (1, 1.5, 2, 3, 5, 7)), (100, (1, 2, 5)), (1000, (1, 3)))
#: The ratio of the ends of a logarithmic axis up to which it looks like a linear one, and has its numbers.
_NEARLY_LINEAR: Final = 2


def _set_axis(axis: Any, set_scale: Any, wanted: Axis, marks: Sequence[float] | None = None) -> None:  # noqa: ANN401  # as above
    """Once everything is drawn; `marks`: where numbers stand along it, instead of where Matplotlib thinks best."""
    ticker = load("matplotlib.ticker")
    linear = ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=wanted.whole)
    if wanted.logarithmic:
        set_scale("log")
        low, high = axis.get_view_interval()
        digits = next((digits for span, digits in _DIGITS if high / low < span), None)
        if marks is None and digits is not None:
            numbers = [digit * 10.0**exponent for exponent in range(-9, 13) for digit in digits]
            if high / low < _NEARLY_LINEAR:
                numbers = linear.tick_values(low, high)
            marks = [number for number in numbers if low <= number <= high] or [low, high]
        axis.set_minor_locator(ticker.NullLocator())
    else:
        axis.set_major_locator(linear)
        if wanted.ends is not None:
            axis.set_view_interval(*wanted.ends, ignore=True)
        if wanted.from_zero:
            axis.set_view_interval(0, axis.get_view_interval()[1], ignore=True)
    if marks is not None:
        axis.set_major_locator(ticker.FixedLocator(list(marks)))
    axis.set_major_formatter(ticker.FuncFormatter(_ticks))
    axis.set_label_text(f"{wanted.title} (log scale)" if wanted.logarithmic else wanted.title)


# --- one row per scenario


def draw_rows(
    key: str,
    rows: Sequence[PlottedRow],
    *,
    title: str,
    subject: str,
    caption: str,
    x: Axis,
    reference: float | None = None,
    bars: bool = False,
    legend: Sequence[str] = (),
) -> Picture:
    """Each row its label above its points, with intervals; `reference` is a line through all of them.

    `subject` is what all rows are of. With `bars` each row's one point is the end of a bar. `legend` names the points
    of a row, by their order.
    """
    is_high = any(row.histogram for row in rows)
    step, label_at, drawn_at = (HIGH_ROW, HIGH_LABEL_AT, HIGH_DRAWN_AT) if is_high else (ROW, LABEL_AT, DRAWN_AT)
    below = ROW_TOP + step * len(rows) + BOTTOM
    with drawing(key, below + legend_height(len(legend))) as sheet:
        axes = row_axes(sheet, [row.label for row in rows], step, label_at)
        if reference is not None:
            axes.axvline(reference, **REFERENCE_LOOKS[0])
        for place, row in enumerate(rows):
            _draw_histogram(axes, row.histogram, place)
            for number, (point, style) in enumerate(zip(row.points, LOOKS, strict=False)):
                if point is not None:
                    # Every second point is drawn lower, else two points of a row could hide each other.
                    _draw_row_point(sheet, axes, point, place + drawn_at + 0.14 * (number % 2), style, bar=bars)
        _set_axis(axes.xaxis, axes.set_xscale, x)
        if legend:
            _draw_signs(draw_legend(sheet, below, legend), [Plotted(name, (), joined=False) for name in legend])
        alternative = f"{title}, {subject}: {format_count(len(rows), 'row')} from {rows[0].label} to {rows[-1].label}."
        return sheet.picture(title=title, caption=caption, alternative=alternative)


def _draw_histogram(axes: Axes, bars: Sequence[tuple[float, float, float]], place: int) -> None:
    """Draw bars on the foot of a row; the row's points have their place below it."""
    foot = place + FOOT_AT
    for begin, end, height in bars:
        axes.fill_between([begin, end], foot - height * BARS_HEIGHT, foot, color=DIM, alpha=0.5, linewidth=0)


def _draw_row_point(sheet: Sheet, axes: Axes, point: Point, y: float, style: dict[str, Any], *, bar: bool) -> None:
    colour = style["color"]
    if bar:
        sheet.tip(axes.barh([y], [point.x], height=0.3, color=colour), point.tip)
        return
    if point.lower is not None and point.upper is not None:
        axes.plot([point.lower, point.upper], [y, y], color=colour, linewidth=1.6)
    sheet.tip(
        axes.plot([point.x], [y], color=colour, marker=style["marker"], markersize=5.5, linestyle="none"), point.tip
    )


# --- parts of a whole


def draw_parts(
    key: str, wholes: Sequence[tuple[str, Sequence[tuple[str, float, str]]]], *, title: str, caption: str
) -> Picture:
    """Each whole a bar of (part, share of the whole, tip); the parts' names are in a legend."""
    names = list(dict.fromkeys(part for _label, parts in wholes for part, _share, _tip in parts))
    looks = {
        name: {"color": colour, "hatch": hatch, "edgecolor": PAGE, "linewidth": 0.5}
        for name, colour, hatch in zip(names, itertools.cycle(SERIES), itertools.cycle(HATCHES), strict=False)
    }
    step = 1.5 * ROW
    below = ROW_TOP + step * len(wholes) + BOTTOM
    with drawing(key, below + legend_height(len(names))) as sheet:
        axes = row_axes(sheet, [label for label, _parts in wholes], step)
        for place, (label, parts) in enumerate(wholes):
            begin = 0.0
            for part, share, tip in parts:
                width = 100 * max(share, 0)
                drawn = axes.barh([place + DRAWN_AT], [width], left=begin, height=0.4, **looks[part])
                sheet.tip(drawn, tip, of=label)
                begin += width
        _set_axis(axes.xaxis, axes.set_xscale, Axis(title="% of the epoch", from_zero=True))
        signs = draw_legend(sheet, below, names)
        for row, name in enumerate(names):
            signs.barh([row + 0.5], [SIGN], height=0.7, **looks[name])
        alternative = f"{title}: of {'; '.join(label for label, _parts in wholes)}, each phase's share."
        return sheet.picture(title=title, caption=caption, alternative=alternative)


def decades(values: Iterable[float]) -> bool:
    """Whether they span so much that a logarithmic axis shows them better."""
    positive = [value for value in values if value > 0 and math.isfinite(value)]
    return bool(positive) and max(positive) / min(positive) > 20  # noqa: PLR2004  # a factor that dwarfs the smallest
