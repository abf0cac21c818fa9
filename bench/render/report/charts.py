"""Curves -> pictures: SVG, drawn by Matplotlib, to be put into a page as it is.

Colours are the page's CSS variables, so that a picture is light or dark as its reader is; letters are letters, to be
searched and read aloud. No picture says anything by colour alone: each curve has a marker and a dash pattern of its
own, each point its numbers as a tooltip, each picture its words as a text alternative.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final, TypeAlias

from bench.render.model.document import Picture
from bench.render.phrases import format_count

#: Matplotlib's annotations change from version to version; what is drawn on, and what was drawn.
_Axes: TypeAlias = Any
_Artist: TypeAlias = Any

#: Width of a picture in points (1/72 inch); on a page it is scaled to its column, down to a telephone's.
_WIDTH: Final = 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 16, 26, 36
_LINE: Final = 16
#: How many letters there is room for, in a legend and above a row, in the widest font that browsers take by default.
_NAME_LETTERS, _LABEL_LETTERS = 48, 54
#: Height of a row in a picture with a row per scenario, and the places of its label and its drawing in it, in points.
_ROW: Final = 32
_ROW_TOP: Final = 6
_LABEL_AT, _DRAWN_AT = 0.3, 0.67
#: The same of a row with a histogram, which is higher: its label, the foot of the bars, and the highest bar.
_HIGH_ROW: Final = 2 * _ROW
_HIGH_LABEL_AT, _FOOT_AT, _BARS_HEIGHT = 0.14, 0.7, 0.42
#: How wide a sign is in the legend, and where its name begins.
_SIGN, _NAME_AT = 22, 28

#: Colours as Matplotlib writes them, and what stands for each of them on the page.
_TEXT, _DIM, _GRID, _PAGE = "#010101", "#020202", "#030303", "#040404"
_SERIES: Final = tuple(f"#0500{index:02x}" for index in range(6))
_VARIABLES: Final = {
    _TEXT: "var(--text)",
    _DIM: "var(--dim)",
    _GRID: "var(--line)",
    _PAGE: "var(--page)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(_SERIES)},
}
_MARKERS: Final = ("o", "s", "^", "D", "v", "P")
_DASHES: Final = ("-", "--", "-.", ":", (0, (6, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
_HATCHES: Final = ("", "///", "...", "\\\\\\", "xxx", "|||", "---", "ooo")
_LOOKS: Final = tuple(
    {"color": colour, "marker": marker, "linestyle": dash}
    for colour, marker, dash in zip(_SERIES, _MARKERS, _DASHES, strict=True)
)
#: References, which stand behind everything, are grey.
_REFERENCE_LOOKS: Final = tuple(
    {"color": _DIM, "linewidth": 1, "linestyle": dash} for dash in ((0, (1, 1.5)), (0, (5, 2)), "-", (0, (5, 2, 1, 2)))
)
MOST_REFERENCES: Final = len(_REFERENCE_LOOKS)
#: A picture of more curves is a tangle.
MOST_CURVES: Final = len(_SERIES)

_STYLE: Final = {
    "svg.fonttype": "none",
    "font.size": 11,
    "text.color": _TEXT,
    "axes.edgecolor": _DIM,
    "axes.labelcolor": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _DIM,
    "ytick.color": _DIM,
    "xtick.labelcolor": _TEXT,
    "ytick.labelcolor": _TEXT,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "hatch.color": _PAGE,
    "hatch.linewidth": 0.8,
}


def _load(name: str) -> Any:  # noqa: ANN401  # a module
    """Matplotlib takes half a second to import, which only who draws should pay."""
    return importlib.import_module(name)


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


@dataclass(slots=True)
class _Sheet:
    """A drawing being made."""

    key: str
    height: float
    figure: _Artist = field(init=False)
    tips: list[str] = field(default_factory=list)
    #: The tips with what each belongs to, where a tip does not say that itself.
    numbers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.figure = _load("matplotlib.figure").Figure(figsize=(_WIDTH / 72, self.height / 72))
        _load("matplotlib.backends.backend_svg").FigureCanvasSVG(self.figure)

    def axes(self, top: float, height: float, *, left: float = _LEFT) -> _Axes:
        """`top` from the upper edge."""
        return self.figure.add_axes(
            (left / _WIDTH, 1 - (top + height) / self.height, (_WIDTH - left - _RIGHT) / _WIDTH, height / self.height)
        )

    def tip(self, artists: Iterable[_Artist], text: str, *, of: str = "") -> None:
        for artist in artists:
            artist.set_gid(f"tip{len(self.tips)}-")
            self.tips.append(text)
            self.numbers.append(f"{of}: {text}" if of else text)

    def picture(self, *, title: str, caption: str, alternative: str) -> Picture:
        file = io.StringIO()
        with warnings.catch_warnings():
            # A letter that Matplotlib's own font lacks is measured wrongly by a little: the page has another font.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            self.figure.savefig(file, format="svg", metadata={"Date": None})
        return Picture(
            key=self.key,
            title=title,
            caption=caption,
            alternative=alternative,
            numbers=tuple(dict.fromkeys(self.numbers)),
            svg=_inline(file.getvalue(), self.key, self.tips, alternative),
        )


@contextlib.contextmanager
def _drawing(key: str, height: float) -> Iterator[_Sheet]:
    with _load("matplotlib").rc_context({**_STYLE, "svg.hashsalt": key}):
        yield _Sheet(key, height)


def _inline(svg: str, key: str, tips: Sequence[str], alternative: str) -> str:
    """Return an SVG for use inside a page: without a file's header, in the page's colours and font, with unique ids."""
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]*)"', svg)
    assert view is not None
    svg = re.sub(r"^<svg[^>]*>", "", svg, count=1)
    svg = re.sub(r' id="tip(\d+)-">', lambda match: f"><title>{escape(tips[int(match[1])])}</title>", svg)
    svg = re.sub(r'( id="|xlink:href="#|url\(#)', rf"\g<1>{key}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"#0[0-5]0[0-9a-f]{3}", lambda match: _VARIABLES.get(match[0], match[0]), svg)
    return f'<svg viewBox="{view[1]}" role="img" aria-label="{escape(alternative)}">{svg.strip()}'


def _text(axes: _Axes, x: float, y: float, text: str, **style: object) -> _Artist:
    """Whatever a file says is text and no formula."""
    return axes.text(x, y, text, parse_math=False, **style)


def _shortened(text: str, limit: int) -> str:
    """Shorten a name in its middle: names begin with the machine, and often end with what they differ in."""
    if len(text) <= limit:
        return text
    end = limit // 3
    return f"{text[: limit - end - 1]}…{text[-end:]}"


def _legend(sheet: _Sheet, top: float, names: Sequence[str]) -> _Axes:
    """A row for each name; its sign is for the caller to draw, from 0 to `_SIGN`, half a row below the name's index."""
    axes = sheet.axes(top, _LINE * len(names), left=_RIGHT)
    axes.set_axis_off()
    axes.set_xlim(0, _WIDTH - 2 * _RIGHT)
    axes.set_ylim(len(names), 0)
    for row, name in enumerate(names):
        _text(axes, _NAME_AT, row + 0.5, _shortened(name, _NAME_LETTERS), va="center", fontsize=10)
    return axes


def _legend_height(count: int) -> float:
    return _LINE * count + 8 if count else 0


def _row_axes(sheet: _Sheet, labels: Sequence[str], step: float, label_at: float = _LABEL_AT) -> _Axes:
    """A row for each label, which stands above what is drawn at `_DRAWN_AT` below the label's index."""
    axes = sheet.axes(_ROW_TOP, step * len(labels), left=_RIGHT)
    across = axes.get_yaxis_transform()
    for row, label in enumerate(labels):
        text = _shortened(label, _LABEL_LETTERS)
        _text(axes, 0.004, row + label_at, text, va="center", fontsize=10, transform=across)
    axes.set_ylim(len(labels), 0)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    return axes


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
    below = _TOP + plot + _BOTTOM
    with _drawing(key, below + (_legend_height(len(lines) + len(references)) if legend else 0)) as sheet:
        axes = sheet.axes(_TOP, plot)
        for reference, look in zip(references, _REFERENCE_LOOKS, strict=False):
            axes.plot(*_coordinates(reference), **look)
        # Intervals side by side, else one hides another.
        step = 2.5 if any(point.lower is not None for line in lines for point in line.points) else 0
        for number, (line, style) in enumerate(zip(lines, _LOOKS, strict=False)):
            _draw_line(sheet, axes, line, style, aside=step * (number - (len(lines) - 1) / 2))
        _set_axis(axes.xaxis, axes.set_xscale, x, marks)
        _set_axis(axes.yaxis, axes.set_yscale, y)
        axes.yaxis.label.set_visible(False)  # it would stand sideways
        _text(sheet.figure, 0.005, 1 - 10 / sheet.height, axes.yaxis.label.get_text(), va="center")
        if legend:
            signs = _legend(sheet, below, [line.label for line in (*lines, *references)])
            _draw_signs(signs, lines)
            for row, (_reference, look) in enumerate(zip(references, _REFERENCE_LOOKS, strict=False), len(lines)):
                signs.plot([0, _SIGN], [row + 0.5] * 2, **look)
        return sheet.picture(title=title, caption=caption, alternative=alternative)


def _draw_signs(axes: _Axes, lines: Sequence[Plotted]) -> None:
    """Each curve's marker, on its dash where the curve has one."""
    for row, (line, style) in enumerate(zip(lines, _LOOKS, strict=False)):
        dash = style["linestyle"] if line.joined else "none"
        face = {} if line.filled else {"markerfacecolor": "none"}
        look = {**style, **face, "linestyle": dash, "linewidth": 1.3}
        axes.plot([0, _SIGN / 2, _SIGN], [row + 0.5] * 3, **look, markevery=[1], markersize=5)


def _coordinates(line: Plotted) -> tuple[list[float], list[float]]:
    return [point.x for point in line.points], [point.y for point in line.points]


def _draw_line(sheet: _Sheet, axes: _Axes, line: Plotted, style: dict[str, Any], aside: float) -> None:
    if not line.points:
        return
    shift = _load("matplotlib.transforms").ScaledTranslation(aside / 72, 0, sheet.figure.dpi_scale_trans)
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


def _set_axis(axis: Any, set_scale: Any, wanted: Axis, marks: Sequence[float] | None = None) -> None:  # noqa: ANN401  # as above
    """Once everything is drawn; `marks`: where numbers stand along it, instead of where Matplotlib thinks best."""
    ticker = _load("matplotlib.ticker")
    if wanted.logarithmic:
        set_scale("log")
        low, high = axis.get_view_interval()
        digits = next((digits for span, digits in _DIGITS if high / low < span), None)
        if marks is None and digits is not None:
            numbers = [digit * 10.0**exponent for exponent in range(-9, 13) for digit in digits]
            marks = [number for number in numbers if low <= number <= high] or [low, high]
        axis.set_minor_locator(ticker.NullLocator())
    else:
        axis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=wanted.whole))
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
    step, label_at, drawn_at = (_HIGH_ROW, _HIGH_LABEL_AT, _FOOT_AT + 0.08) if is_high else (_ROW, _LABEL_AT, _DRAWN_AT)
    below = _ROW_TOP + step * len(rows) + _BOTTOM
    with _drawing(key, below + _legend_height(len(legend))) as sheet:
        axes = _row_axes(sheet, [row.label for row in rows], step, label_at)
        if reference is not None:
            axes.axvline(reference, **_REFERENCE_LOOKS[0])
        for place, row in enumerate(rows):
            _draw_histogram(axes, row.histogram, place)
            for number, (point, style) in enumerate(zip(row.points, _LOOKS, strict=False)):
                if point is not None:
                    # Every second point is drawn lower, else two points of a row could hide each other.
                    _draw_row_point(sheet, axes, point, place + drawn_at + 0.14 * (number % 2), style, bar=bars)
        _set_axis(axes.xaxis, axes.set_xscale, x)
        if legend:
            _draw_signs(_legend(sheet, below, legend), [Plotted(name, (), joined=False) for name in legend])
        alternative = f"{title}, {subject}: {format_count(len(rows), 'row')} from {rows[0].label} to {rows[-1].label}."
        return sheet.picture(title=title, caption=caption, alternative=alternative)


def _draw_histogram(axes: _Axes, bars: Sequence[tuple[float, float, float]], place: int) -> None:
    """Draw bars on the foot of a row; the row's points have their place below it."""
    foot = place + _FOOT_AT
    for begin, end, height in bars:
        axes.fill_between([begin, end], foot - height * _BARS_HEIGHT, foot, color=_DIM, alpha=0.5, linewidth=0)


def _draw_row_point(sheet: _Sheet, axes: _Axes, point: Point, y: float, style: dict[str, Any], *, bar: bool) -> None:
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
        name: {"color": colour, "hatch": hatch, "edgecolor": _PAGE, "linewidth": 0.5}
        for name, colour, hatch in zip(names, itertools.cycle(_SERIES), itertools.cycle(_HATCHES), strict=False)
    }
    step = 1.5 * _ROW
    below = _ROW_TOP + step * len(wholes) + _BOTTOM
    with _drawing(key, below + _legend_height(len(names))) as sheet:
        axes = _row_axes(sheet, [label for label, _parts in wholes], step)
        for place, (label, parts) in enumerate(wholes):
            begin = 0.0
            for part, share, tip in parts:
                width = 100 * max(share, 0)
                drawn = axes.barh([place + _DRAWN_AT], [width], left=begin, height=0.4, **looks[part])
                sheet.tip(drawn, tip, of=label)
                begin += width
        _set_axis(axes.xaxis, axes.set_xscale, Axis(title="% of the epoch", from_zero=True))
        signs = _legend(sheet, below, names)
        for row, name in enumerate(names):
            signs.barh([row + 0.5], [_SIGN], height=0.7, **looks[name])
        alternative = f"{title}: of {'; '.join(label for label, _parts in wholes)}, each phase's share."
        return sheet.picture(title=title, caption=caption, alternative=alternative)


def decades(values: Iterable[float]) -> bool:
    """Whether they span so much that a logarithmic axis shows them better."""
    positive = [value for value in values if value > 0 and math.isfinite(value)]
    return bool(positive) and max(positive) / min(positive) > 20  # noqa: PLR2004  # a factor that dwarfs the smallest
