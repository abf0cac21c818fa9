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

#: Matplotlib's annotations change from version to version; what is drawn on, and what was drawn.
_Axes: TypeAlias = Any
_Artist: TypeAlias = Any

#: Of a picture, in units of a 72nd of an inch; on a page it is as wide as its column, down to a telephone's.
_WIDTH: Final = 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 12, 12, 36
_LINE: Final = 14
#: Of a picture with a row per scenario: how high a row is, and where in it its label and what is drawn stand.
_ROW: Final = 30
_ROW_TOP: Final = 6
_LABEL_AT, _DRAWN_AT = 0.3, 0.67
#: How wide a sign is in the legend, and where its name begins.
_SIGN, _NAME_AT = 22, 28

#: Colours as Matplotlib writes them, and what stands for each of them on the page.
_TEXT, _DIM, _GRID, _PAGE = "#010101", "#020202", "#030303", "#040404"
_SERIES: Final = tuple(f"#0500{index:02x}" for index in range(8))
_VARIABLES: Final = {
    _TEXT: "var(--text)",
    _DIM: "var(--dim)",
    _GRID: "var(--line)",
    _PAGE: "var(--page)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(_SERIES)},
}
_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES: Final = ("-", "--", "-.", ":")
_HATCHES: Final = ("", "///", "...", "\\\\\\", "xxx", "|||", "---", "ooo")
_REFERENCE: Final = {"color": _DIM, "linewidth": 1, "linestyle": (0, (1, 2))}
#: A picture of more curves is a tangle.
MOST_CURVES: Final = len(_SERIES)

_STYLE: Final = {
    "svg.fonttype": "none",
    "font.size": 10,
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
class Line:
    """One curve."""

    label: str
    points: Sequence[Point]
    #: Where there is no measurement between the points.
    joined: bool = True


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a picture with a row per scenario."""

    label: str
    points: Sequence[Point]


@dataclass(slots=True)
class _Sheet:
    """A drawing being made."""

    key: str
    height: float
    figure: _Artist = field(init=False)
    tips: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.figure = _load("matplotlib.figure").Figure(figsize=(_WIDTH / 72, self.height / 72))
        _load("matplotlib.backends.backend_svg").FigureCanvasSVG(self.figure)

    def axes(self, top: float, height: float, *, left: float = _LEFT) -> _Axes:
        """`top` from the upper edge."""
        return self.figure.add_axes(
            (left / _WIDTH, 1 - (top + height) / self.height, (_WIDTH - left - _RIGHT) / _WIDTH, height / self.height)
        )

    def tip(self, artists: Iterable[_Artist], text: str) -> None:
        for artist in artists:
            artist.set_gid(f"tip{len(self.tips)}-")
            self.tips.append(text)

    def svg(self, alternative: str) -> str:
        file = io.StringIO()
        with warnings.catch_warnings():
            # A letter that Matplotlib's own font lacks is measured wrongly by a little: the page has another font.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            self.figure.savefig(file, format="svg", metadata={"Date": None})
        return _inline(file.getvalue(), self.key, self.tips, alternative)


@contextlib.contextmanager
def _drawing(key: str, height: float) -> Iterator[_Sheet]:
    with _load("matplotlib").rc_context({**_STYLE, "svg.hashsalt": key}):
        yield _Sheet(key, height)


def _inline(svg: str, key: str, tips: Sequence[str], alternative: str) -> str:
    """Without what only a file needs, in the page's colours and font, with ids that no other picture has."""
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]*)"', svg)
    assert view is not None
    svg = re.sub(r"^<svg[^>]*>", "", svg, count=1)
    svg = re.sub(r' id="tip(\d+)-">', lambda match: f"><title>{escape(tips[int(match[1])])}</title>", svg)
    svg = re.sub(r'( id="|xlink:href="#|url\(#)', rf"\g<1>{key}-", svg)
    svg = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"#0[0-5]0[0-9a-f]{3}", lambda match: _VARIABLES.get(match[0], match[0]), svg)
    return f'<svg viewBox="{view[1]}" role="img" aria-label="{escape(alternative)}">{svg.strip()}'


def _text(axes: _Axes, x: float, y: float, text: str, **style: object) -> _Artist:
    """Whatever a file says is text and no formula."""
    return axes.text(x, y, text, parse_math=False, **style)


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _legend(sheet: _Sheet, top: float, names: Sequence[str]) -> _Axes:
    """A row for each name; its sign is for the caller to draw, from 0 to `_SIGN`, half a row below the name's index."""
    axes = sheet.axes(top, _LINE * len(names), left=_RIGHT)
    axes.set_axis_off()
    axes.set_xlim(0, _WIDTH - 2 * _RIGHT)
    axes.set_ylim(len(names), 0)
    for row, name in enumerate(names):
        _text(axes, _NAME_AT, row + 0.5, _shortened(name, 68), va="center", fontsize=9)
    return axes


def _legend_height(count: int) -> float:
    return _LINE * count + 8 if count else 0


def _row_axes(sheet: _Sheet, labels: Sequence[str], step: float) -> _Axes:
    """A row for each label, which stands above what is drawn at `_DRAWN_AT` below the label's index."""
    axes = sheet.axes(_ROW_TOP, step * len(labels), left=_RIGHT)
    across = axes.get_yaxis_transform()
    for row, label in enumerate(labels):
        _text(axes, 0.004, row + _LABEL_AT, _shortened(label, 74), va="center", fontsize=9, transform=across)
    axes.set_ylim(len(labels), 0)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    return axes


def _ticks(value: float, _position: object = None) -> str:
    return f"{value:,.6g}"


# --- curves


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What is along an edge."""

    title: str
    logarithmic: bool = False
    #: Begins at zero, where it is not logarithmic.
    from_zero: bool = False
    #: Of whole numbers: nothing lies between two of them.
    whole: bool = False


def draw_lines(
    key: str,
    lines: Sequence[Line],
    *,
    x: Axis,
    y: Axis,
    alternative: str,
    references: Sequence[Line] = (),
    marks: Sequence[float] | None = None,
    legend: bool = True,
) -> str:
    """Curves with a legend below; `references` are thin and grey, `marks` the places with a number along x."""
    plot = 200
    below = _TOP + plot + _BOTTOM
    with _drawing(key, below + (_legend_height(len(lines) + len(references)) if legend else 0)) as sheet:
        axes = sheet.axes(_TOP, plot)
        for reference in references:
            axes.plot(*_coordinates(reference), **_REFERENCE)
        for line, style in zip(lines, _styles(), strict=False):
            _draw_line(sheet, axes, line, style)
        _set_axis(axes.xaxis, axes.set_xscale, x)
        _set_axis(axes.yaxis, axes.set_yscale, y)
        if marks is not None:
            axes.xaxis.set_major_locator(_load("matplotlib.ticker").FixedLocator(list(marks)))
            axes.xaxis.set_minor_locator(_load("matplotlib.ticker").NullLocator())
        if y.from_zero:
            axes.set_ylim(bottom=0)
        if legend:
            signs = _legend(sheet, below, [line.label for line in (*lines, *references)])
            _draw_signs(signs, [line.joined for line in lines])
            for row in range(len(lines), len(lines) + len(references)):
                signs.plot([0, _SIGN], [row + 0.5] * 2, **_REFERENCE)
        return sheet.svg(alternative)


def _draw_signs(axes: _Axes, joined: Sequence[bool]) -> None:
    """Each curve's marker, on its dash where the curve has one."""
    for row, (has_dash, style) in enumerate(zip(joined, _styles(), strict=False)):
        look = style if has_dash else {**style, "linestyle": "none"}
        axes.plot([0, _SIGN / 2, _SIGN], [row + 0.5] * 3, **look, markevery=[1], markersize=5, linewidth=1.3)


def _coordinates(line: Line) -> tuple[list[float], list[float]]:
    return [point.x for point in line.points], [point.y for point in line.points]


def _styles() -> Iterator[dict[str, Any]]:
    for colour, marker, dash in zip(_SERIES, _MARKERS, itertools.cycle(_DASHES), strict=False):
        yield {"color": colour, "marker": marker, "linestyle": dash}


def _draw_line(sheet: _Sheet, axes: _Axes, line: Line, style: dict[str, Any]) -> None:
    colour = style["color"]
    if line.joined:
        axes.plot(*_coordinates(line), color=colour, linestyle=style["linestyle"], linewidth=1.3)
    for point in line.points:
        if point.lower is not None and point.upper is not None:
            axes.plot([point.x, point.x], [point.lower, point.upper], color=colour, linewidth=1.3)
        sheet.tip(
            axes.plot([point.x], [point.y], color=colour, marker=style["marker"], markersize=5, linestyle="none"),
            point.tip,
        )


def _set_axis(axis: Any, set_scale: Any, wanted: Axis) -> None:  # noqa: ANN401  # as above
    if wanted.logarithmic:
        set_scale("log")
        axis.set_minor_formatter(_load("matplotlib.ticker").NullFormatter())
    if wanted.whole:
        axis.set_major_locator(_load("matplotlib.ticker").MaxNLocator(integer=True))
    axis.set_major_formatter(_load("matplotlib.ticker").FuncFormatter(_ticks))
    axis.set_label_text(wanted.title)


# --- one row per scenario


def draw_rows(
    key: str,
    rows: Sequence[Bar],
    *,
    x: Axis,
    alternative: str,
    reference: float | None = None,
    bars: bool = False,
    legend: Sequence[str] = (),
) -> str:
    """Each row its label above its points, with intervals; `reference` is a line through all of them.

    With `bars` each row's one point is the end of a bar. `legend` names the points of a row, by their order.
    """
    below = _ROW_TOP + _ROW * len(rows) + _BOTTOM
    with _drawing(key, below + _legend_height(len(legend))) as sheet:
        axes = _row_axes(sheet, [row.label for row in rows], _ROW)
        if reference is not None:
            axes.axvline(reference, **_REFERENCE)
        for place, row in enumerate(rows):
            for number, (point, style) in enumerate(zip(row.points, _styles(), strict=False)):
                _draw_row_point(sheet, axes, point, place + _DRAWN_AT, style, bar=bars, raised=number % 2 == 1)
        _set_axis(axes.xaxis, axes.set_xscale, x)
        if x.from_zero:
            axes.set_xlim(left=0)
        _widen(axes, logarithmic=x.logarithmic)
        if legend:
            _draw_signs(_legend(sheet, below, legend), [False] * len(legend))
        return sheet.svg(alternative)


def _widen(axes: _Axes, *, logarithmic: bool) -> None:
    """A logarithmic axis over less than a decade has no number along it unless it is told which."""
    low, high = axes.get_xlim()
    if logarithmic and low > 0 and high / low < 30:  # noqa: PLR2004  # about where decades alone are enough
        wanted = [m * 10.0**e for e in range(-9, 13) for m in (1, 1.5, 2, 3, 5, 7)]
        inside = [value for value in wanted if low <= value <= high]
        axes.xaxis.set_major_locator(_load("matplotlib.ticker").FixedLocator(inside or [low, high]))
        axes.xaxis.set_minor_locator(_load("matplotlib.ticker").NullLocator())


def _draw_row_point(
    sheet: _Sheet, axes: _Axes, point: Point, y: float, style: dict[str, Any], *, bar: bool, raised: bool
) -> None:
    colour = style["color"]
    if bar:
        sheet.tip(axes.barh([y], [point.x], height=0.3, color=colour), point.tip)
        return
    if raised:  # else two points of a row could hide each other
        y += 0.14
    if point.lower is not None and point.upper is not None:
        axes.plot([point.lower, point.upper], [y, y], color=colour, linewidth=1.6)
    sheet.tip(
        axes.plot([point.x], [y], color=colour, marker=style["marker"], markersize=5.5, linestyle="none"), point.tip
    )


# --- parts of a whole


def draw_parts(key: str, wholes: Sequence[tuple[str, Sequence[tuple[str, float, str]]]], *, alternative: str) -> str:
    """Each whole a bar of (part, share of the whole, tip); the parts' names are in a legend."""
    names = list(dict.fromkeys(part for _label, parts in wholes for part, _share, _tip in parts))
    looks = {name: _look(index) for index, name in enumerate(names)}
    step = 1.5 * _ROW
    below = _ROW_TOP + step * len(wholes) + _BOTTOM
    with _drawing(key, below + _legend_height(len(names))) as sheet:
        axes = _row_axes(sheet, [label for label, _parts in wholes], step)
        for place, (_label, parts) in enumerate(wholes):
            begin = 0.0
            for part, share, tip in parts:
                width = 100 * max(share, 0)
                sheet.tip(axes.barh([place + _DRAWN_AT], [width], left=begin, height=0.4, **looks[part]), tip)
                begin += width
        axes.set_xlim(left=0)
        _set_axis(axes.xaxis, axes.set_xscale, Axis(title="% of the epoch"))
        signs = _legend(sheet, below, names)
        for row, name in enumerate(names):
            signs.barh([row + 0.5], [_SIGN], height=0.7, **looks[name])
        return sheet.svg(alternative)


def _look(index: int) -> dict[str, Any]:
    colour, hatch = _SERIES[index % len(_SERIES)], _HATCHES[index % len(_HATCHES)]
    return {"color": colour, "hatch": hatch, "edgecolor": _PAGE, "linewidth": 0.5}


def decades(values: Iterable[float]) -> bool:
    """Whether they span so much that a logarithmic axis shows them better."""
    positive = [value for value in values if value > 0 and math.isfinite(value)]
    return bool(positive) and max(positive) / min(positive) > 20  # noqa: PLR2004  # a factor that dwarfs the smallest
