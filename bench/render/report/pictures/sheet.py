"""The sheet that a picture is drawn on: its measures, its colours, and how it becomes a part of a page.

Colours are the page's CSS variables, so that a picture is light or dark as its reader is; letters are letters, to be
searched and read aloud.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Final, TypeAlias

from bench.render.model.document import Picture

#: Matplotlib's annotations change from version to version; what is drawn on, and what was drawn.
Axes: TypeAlias = Any
Artist: TypeAlias = Any

#: Width of a picture in points (1/72 inch); on a page it is scaled to its column, down to a telephone's.
_WIDTH: Final = 330
_LEFT, _RIGHT, TOP, BOTTOM = 42, 16, 26, 36
_LINE: Final = 16
#: How many letters there is room for, in a legend and above a row, in the widest font that browsers take by default.
_NAME_LETTERS, _LABEL_LETTERS = 48, 54
#: Height of a row in a picture with a row per scenario, and the places of its label and its drawing in it, in points.
ROW: Final = 32
ROW_TOP: Final = 6
LABEL_AT, DRAWN_AT = 0.3, 0.67
#: The same of a row with a histogram, which is higher: its label, the foot of the bars, the highest bar, its points.
HIGH_ROW: Final = 2 * ROW
HIGH_LABEL_AT, FOOT_AT, BARS_HEIGHT, HIGH_DRAWN_AT = 0.14, 0.7, 0.42, 0.78
#: How wide a sign is in the legend, and where its name begins.
SIGN, _NAME_AT = 22, 28

#: Colours as Matplotlib writes them, and what stands for each of them on the page.
_TEXT, DIM, _GRID, PAGE = "#010101", "#020202", "#030303", "#040404"
SERIES: Final = tuple(f"#0500{index:02x}" for index in range(6))
_VARIABLES: Final = {
    _TEXT: "var(--text)",
    DIM: "var(--dim)",
    _GRID: "var(--line)",
    PAGE: "var(--page)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES)},
}
_MARKERS: Final = ("o", "s", "^", "D", "v", "P")
_DASHES: Final = ("-", "--", "-.", ":", (0, (6, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
HATCHES: Final = ("", "///", "...", "\\\\\\", "xxx", "|||", "---", "ooo")
LOOKS: Final = tuple(
    {"color": colour, "marker": marker, "linestyle": dash}
    for colour, marker, dash in zip(SERIES, _MARKERS, _DASHES, strict=True)
)
#: References, which stand behind everything, are grey.
REFERENCE_LOOKS: Final = tuple(
    {"color": DIM, "linewidth": 1, "linestyle": dash} for dash in ((0, (1, 1.5)), (0, (5, 2)), "-", (0, (5, 2, 1, 2)))
)

_STYLE: Final = {
    "svg.fonttype": "none",
    "font.size": 11,
    "text.color": _TEXT,
    "axes.edgecolor": DIM,
    "axes.labelcolor": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": DIM,
    "ytick.color": DIM,
    "xtick.labelcolor": _TEXT,
    "ytick.labelcolor": _TEXT,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": _GRID,
    "grid.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "hatch.color": PAGE,
    "hatch.linewidth": 0.8,
}


def load(name: str) -> Any:  # noqa: ANN401  # a module
    """Matplotlib takes half a second to import, which only who draws should pay."""
    return importlib.import_module(name)


@dataclass(slots=True)
class Sheet:
    """A drawing being made."""

    key: str
    height: float
    figure: Artist = field(init=False)
    tips: list[str] = field(default_factory=list)
    #: The tips with what each belongs to, where a tip does not say that itself.
    numbers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.figure = load("matplotlib.figure").Figure(figsize=(_WIDTH / 72, self.height / 72))
        load("matplotlib.backends.backend_svg").FigureCanvasSVG(self.figure)

    def axes(self, top: float, height: float, *, left: float = _LEFT) -> Axes:
        """`top` from the upper edge."""
        return self.figure.add_axes(
            (left / _WIDTH, 1 - (top + height) / self.height, (_WIDTH - left - _RIGHT) / _WIDTH, height / self.height)
        )

    def tip(self, artists: Iterable[Artist], text: str, *, of: str = "") -> None:
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
def drawing(key: str, height: float) -> Iterator[Sheet]:
    with load("matplotlib").rc_context({**_STYLE, "svg.hashsalt": key}):
        yield Sheet(key, height)


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


def write_text(axes: Axes, x: float, y: float, text: str, **style: object) -> Artist:
    """Whatever a file says is text and no formula."""
    return axes.text(x, y, text, parse_math=False, **style)


def _shortened(text: str, limit: int) -> str:
    """Shorten a name in its middle: names begin with the machine, and often end with what they differ in."""
    if len(text) <= limit:
        return text
    end = limit // 3
    return f"{text[: limit - end - 1]}…{text[-end:]}"


def draw_legend(sheet: Sheet, top: float, names: Sequence[str]) -> Axes:
    """A row for each name; its sign is for the caller to draw, from 0 to `SIGN`, half a row below the name's index."""
    axes = sheet.axes(top, _LINE * len(names), left=_RIGHT)
    axes.set_axis_off()
    axes.set_xlim(0, _WIDTH - 2 * _RIGHT)
    axes.set_ylim(len(names), 0)
    for row, name in enumerate(names):
        write_text(axes, _NAME_AT, row + 0.5, _shortened(name, _NAME_LETTERS), va="center", fontsize=10)
    return axes


def legend_height(count: int) -> float:
    return _LINE * count + 8 if count else 0


def row_axes(sheet: Sheet, labels: Sequence[str], step: float, label_at: float = LABEL_AT) -> Axes:
    """A row for each label, which stands above what is drawn at `DRAWN_AT` below the label's index."""
    axes = sheet.axes(ROW_TOP, step * len(labels), left=_RIGHT)
    across = axes.get_yaxis_transform()
    for row, label in enumerate(labels):
        text = _shortened(label, _LABEL_LETTERS)
        write_text(axes, 0.004, row + label_at, text, va="center", fontsize=10, transform=across)
    axes.set_ylim(len(labels), 0)
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    return axes
