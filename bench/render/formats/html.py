"""Tables and reports as one page that needs no other file; light or dark, as the reader's system is.

`page/` has the template, the style, and a script that sorts and filters tables; the page is complete without it. The
template escapes all texts, and a content security policy lets no other script run.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Final

import jinja2
from markupsafe import Markup, escape

from bench.render import units
from bench.render.model.column import Heading
from bench.render.model.document import Report, Section
from bench.render.model.marks import TONE_OF_MARK, Tone
from bench.render.model.table import Cell, Table, by_file, legend_of, readable
from bench.render.phrases import CONTROL, UNBROKEN, format_estimate
from bench.stats.intervals import Estimate

#: Longer texts are broken into lines.
_WIDE: Final = 48


def render_html(tables: Sequence[Table]) -> str:
    """Write a page of tables with captions and notes, and one legend."""
    title = tables[0].title if tables else "mnist-bench"
    return render_report(
        Report(title=title, short=(), sections=(Section(key="tables", title="", tables=tuple(tables)),))
    )


def render_report(report: Report) -> str:
    """Write a page of the answer and the sections, and one legend for all tables."""
    shown = [(table, readable(table)) for section in report.sections for table in section.tables]
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    page = _template().render(
        title=report.title,
        about=report.about,
        short=report.short,
        sections=report.sections,
        absent=units.ABSENT,
        by_file=by_file,
        readable=readable,
        tones=TONE_OF_MARK,
        classes=_classes,
        data_value=_data_value,
        tip=_tip,
        legend=legend_of(shown),
        style=_asset("page.css"),
        script=script,
        script_digest=digest,
    )
    return CONTROL.sub(" ", page)


@functools.cache
def _asset(name: str) -> str:
    return (resources.files("bench.render.formats") / "page" / name).read_text(encoding="utf-8")


def _unbroken(text: str) -> Markup:
    """Write a text in which no line ends within 95 % or n = 5."""
    return Markup(UNBROKEN.sub(r'<span class="unbroken">\g<0></span>', str(escape(text))))  # noqa: S704  # escaped


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["unbroken"] = _unbroken
    return environment.from_string(_asset("page.html.jinja"))


def _classes(cell: Cell, heading: Heading) -> str:
    classes = (
        "number" if heading.number else "",
        "wide" if len(cell.text) > _WIDE else "",
        TONE_OF_MARK.get(cell.mark, Tone.PLAIN).value,
    )
    return " ".join(filter(None, classes))


def _data_value(cell: Cell) -> str | int | float | None:
    """Return what the page's script sorts by; None: absent."""
    raw = cell.raw.value if isinstance(cell.raw, Estimate) else cell.raw
    return None if raw == "" else str(raw).lower() if isinstance(raw, bool) else raw


def _tip(cell: Cell) -> str:
    return format_estimate(cell.raw) if isinstance(cell.raw, Estimate) else ""
