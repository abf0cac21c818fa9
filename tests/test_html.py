"""The page, read back by a parser that is not ours."""

from __future__ import annotations

from html.parser import HTMLParser

import msgspec
from factories import a_failure, a_result_set, a_run, a_scenario, an_environment

from bench.record import FailureReason
from bench.render.html import render_html
from bench.render.tables import tables


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
    return Page(render_html(tables([a_result_set(*records, **changes)])))  # type: ignore[arg-type]


def test_a_page_has_the_tables_cells() -> None:
    """Headings, one row per scenario, every value as in the other formats."""
    page = page_of(a_run(throughput=9_000.0), a_run(scenario=a_scenario(batch_size=500), throughput=12_345.0))
    assert page.rows[0][:4] == ["contexts", "batch", "hybridize", "images/s"]
    assert [row[3] for row in page.rows[1:]] == ["9,000", "12,345"]
    assert page.rows[2][0] == "★ cpu(0),cpu(1)"


def test_a_page_needs_nothing_else() -> None:
    """No link, no image, no address of another file; one script, which a policy names by its digest."""
    page = page_of()
    assert not {"link", "img", "iframe", "object"} & {*page.tags}
    assert page.tags.count("script") == 1
    assert not {"src", "href", "onload", "style"} & {*page.attributes}
    assert "http" not in page.text
    assert "@import" not in page.text
    assert "url(" not in page.text


def test_words_from_a_file_are_text_and_no_elements() -> None:
    """A processor or an error that is called like an element stays one's name."""
    hostile = '<script>alert("1 & 2")</script>'
    environment = an_environment(host_processor_model_name=hostile)
    failure = a_failure(reason=FailureReason.CRASHED, detail=hostile)
    page = page_of(failure, environment=environment)
    assert page.tags.count("script") == 1
    assert page.text.count(hostile) == 2


def test_a_page_follows_light_and_dark() -> None:
    """Both are the reader's choice."""
    assert "prefers-color-scheme: dark" in render_html(tables([a_result_set()]))


def test_no_tables_are_a_page_too() -> None:
    """An empty file is no error."""
    empty = msgspec.structs.replace(a_result_set(), plan=(), runs=())
    assert Page(render_html(tables([empty]))).rows == []
