"""The page is read back by a parser that is not ours."""

from __future__ import annotations

import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.analysis.summary import summarize
from bench.records.result import FailureReason
from bench.render.formats import html
from bench.render.formats.html import render_html, render_report
from bench.render.model.document import Report
from bench.render.phrases import UNBROKEN
from bench.render.report.pictures.charts import MOST_CURVES
from bench.render.views.results import result_tables
from tests.support.records import a_failure, a_result_set, a_run, a_scenario, an_environment


class Page(HTMLParser):
    """What a browser would make of it: the elements, the cells of each row, the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _value in attrs]
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")
        if tag not in {"meta", "br"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & {*self._open}:
            self.rows[-1][-1] += data


def page_of(*records: object, **changes: object) -> Page:
    return Page(render_html(result_tables([summarize(a_result_set(*records, **changes))])))  # type: ignore[arg-type]


def test_a_page_has_the_tables_cells() -> None:
    """It has the headings, one row per scenario, and every value as in the other formats."""
    page = page_of(a_run(throughput=9_000.0), a_run(scenario=a_scenario(batch_size=500), throughput=12_345.0))
    assert page.rows[0][:2] == ["batch", "images/s"]
    assert [row[1] for row in page.rows[1:]] == ["9,000", "12,345"]
    assert page.rows[2][0] == "★ 500"
    assert "cpu(0),cpu(1), hybridize off" in page.text


def test_a_page_needs_nothing_else() -> None:
    """It has no link, image or address of another file, and one script, which a policy names by its digest."""
    page = page_of()
    assert not {"link", "img", "iframe", "object"} & {*page.tags}
    assert page.tags.count("script") == 1
    assert not {"src", "href", "onload", "style"} & {*page.attributes}
    assert "http" not in page.text
    assert "@import" not in page.text
    assert "url(" not in page.text


def test_words_from_a_file_are_text_and_no_elements() -> None:
    """A processor or an error may be called like an element."""
    hostile = '<script>alert("1 & 2")</script>'
    environment = an_environment(host_processor_model_name=hostile)
    failure = a_failure(reason=FailureReason.CRASHED, detail=hostile)
    page = page_of(failure, environment=environment)
    assert page.tags.count("script") == 1
    assert page.text.count(hostile) == 2


def test_no_line_ends_within_a_quantity() -> None:
    page = render_report(Report(title="a", short=(("mlp", "<95 % of 12,000, n = 5>"),), sections=()))
    assert '&lt;<span class="unbroken">95 %</span> of 12,000, <span class="unbroken">n = 5</span>&gt;' in page


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("21 % faster ± 4.5 (batch 500)", ["21 %", "± 4.5"]),
        ("takes 3 min 11 s, or 1 h 02 min", ["3 min 11 s", "1 h 02 min"]),
        ("55.6 s of 1,200 ms and 45.2 µs", ["55.6 s", "1,200 ms", "45.2 µs"]),
        ("1.10 GiB, +/- 4.5 %, n = 12", ["1.10 GiB", "+/- 4.5 %", "n = 12"]),
        ("5 steps of 3 minutes, 2 contexts", []),
    ],
)
def test_a_quantity_is_a_number_with_all_that_belongs_to_it(text: str, kept: list[str]) -> None:
    assert [found[0] for found in UNBROKEN.finditer(text)] == kept


def test_a_page_follows_light_and_dark() -> None:
    """Both are the reader's choice."""
    assert "prefers-color-scheme: dark" in render_html(result_tables([summarize(a_result_set())]))


#: What an eye without red or green cones makes of linear RGB (Machado, Oliveira and Fernandes, "A physiologically-based
#: model for simulation of color vision deficiency", IEEE TVCG 15(6), 2009, table 1, severity 1).
EYES = {
    "all cones": np.eye(3),
    "no red ones": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "no green ones": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
#: Linear sRGB to CIE XYZ, in units of its white (IEC 61966-2-1).
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) / [
    [0.9505],
    [1.0],
    [1.089],
]


def linear(colour: str) -> NDArray[np.float64]:
    encoded = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert a colour to CIE L*a*b*, in which a distance of about 2 can just be seen."""
    x, y, z = np.cbrt(XYZ @ np.clip(rgb, 0, 1))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_colour_blind_tell_curves_apart(scheme: str, eye: str) -> None:
    """Any two colours are far apart, and each stands out from what it is drawn on (WCAG 2.1: 3 to 1)."""
    css = (Path(html.__file__).parent / "page" / "page.css").read_text()
    part = css.split("@media (prefers-color-scheme: dark)")[scheme == "dark"].split("@media print")[0]
    series = re.findall(r"--series-\d: (#[0-9a-f]{6})", part)
    assert len(series) == MOST_CURVES
    seen = [lab(EYES[eye] @ linear(colour)) for colour in series]
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)) > 25
    luminance = [float(XYZ[1] @ linear(colour)) for colour in (*series, re.findall(r"--panel: (#\w+)", part)[0])]
    for colour in luminance[:-1]:
        lighter, darker = max(colour, luminance[-1]), min(colour, luminance[-1])
        assert (lighter + 0.05) / (darker + 0.05) >= 3


def test_no_tables_are_a_page_too() -> None:
    """An empty file is no error."""
    empty = msgspec.structs.replace(a_result_set(), plan=(), runs=())
    assert Page(render_html(result_tables([summarize(empty)]))).rows == []
