"""The report in a real browser: it renders, sorts, filters, says what the JSON says, and lets no stranger's script run.

Needs Chromium and Playwright (`nox -s browser`); skipped without them.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.analysis.headline import source_of
from bench.analysis.summary import summarize
from bench.render.formats.export import render_json
from bench.render.formats.html import render_report
from bench.render.report.assemble import make_report
from bench.render.views.results import result_tables
from tests.render.test_report import a_hostile_result, a_rich_result
from tests.support.records import an_environment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="no Playwright: nox -s browser"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

WIDTHS = (375, 1600)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = importlib.import_module("playwright.sync_api")
    with api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Any]:  # noqa: ANN401  # untyped here
    """Open a page of the given text; fail the test where the console has anything to say."""
    complaints: list[str] = []
    contexts: list[Any] = []

    def open_page(text: str, width: int = 1600, **options: object) -> Any:  # noqa: ANN401
        (tmp_path / "report.html").write_text(text, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto((tmp_path / "report.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def a_page(machines: int = 1) -> str:
    made = [
        a_rich_result(environment=an_environment(host_hash=f"{number}" * 64, host_processor_model_name=f"CPU {number}"))
        for number in range(machines)
    ]
    return render_report(make_report([source_of(f"machine-{number}", each) for number, each in enumerate(made)]))


@pytest.mark.parametrize("machines", [1, 3])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_wider_than_the_screen(opened: Any, width: int, machines: int) -> None:  # noqa: ANN401
    """Tables of one machine, and of three side by side, scroll inside their own frame."""
    page = opened(a_page(machines), width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate(
        """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && !e.closest('svg')
            && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.tagName + '.' + e.className)"""
    )
    assert wide == []
    assert page.evaluate("[...document.querySelectorAll('svg')].every(e => e.getBoundingClientRect().height > 50)")


def test_the_cells_are_the_jsons_numbers(opened: Any) -> None:  # noqa: ANN401
    """Every throughput of every table is there, as stored and as shown."""
    result_set = a_rich_result()
    page = opened(a_page())
    documents = json.loads(render_json(result_tables([summarize(result_set)])))
    for document in documents:
        table = page.locator("section.table", has=page.locator("h3", has_text=document["title"])).locator("table").first
        headings = table.locator("thead th").all_inner_texts()
        column = next(index for index, text in enumerate(headings) if text.startswith("images/s"))
        cells = table.locator(f"tbody tr td:nth-child({column + 1})")
        for index, row in enumerate(document["rows"]):
            value = row["throughput"]
            cell = cells.nth(index)
            if value is None:
                assert cell.get_attribute("data-value") is None
                continue
            assert float(cell.get_attribute("data-value")) == value["value"]
            shown = float(cell.inner_text().split()[0].replace(",", ""))
            assert shown == pytest.approx(value["value"], rel=0.005)


def test_a_table_sorts_and_filters(opened: Any) -> None:  # noqa: ANN401
    """It sorts by number down and up and by text, and rows are counted."""
    page = opened(a_page())
    table = page.locator("section.table", has=page.locator("h3", has_text="mlp: 10 epochs")).first
    button = table.locator("th button", has_text="images/s")
    column = 1 + table.locator("th").all_inner_texts().index(button.inner_text())

    def speeds() -> list[float]:
        cells = table.locator(f"tbody tr:not([hidden]) td:nth-child({column})").all()
        return [float(cell.get_attribute("data-value")) for cell in cells if cell.get_attribute("data-value")]

    unsorted = speeds()
    button.click()
    assert speeds() == sorted(unsorted, reverse=True)
    assert table.locator("th[aria-sort=descending]").count() == 1
    button.click()
    assert speeds() == sorted(speeds())
    button.click()
    assert speeds() == unsorted
    assert table.locator("th[aria-sort]").count() == 0
    for words in ("cpu(0),cpu(1) 2000", "batch=2000 contexts=cpu(0),cpu(1)", "mlp cpu(0),cpu(1) batch=2000"):
        table.locator("input").fill(words)
        assert table.locator("tbody tr:not([hidden])").count() == 1, words
        assert "1 of" in table.locator("output").inner_text()


def test_a_pictures_numbers_need_no_pointing(opened: Any) -> None:  # noqa: ANN401
    """A telephone has nothing to point with: they open below it."""
    figure = opened(a_page(), 375).locator("figure").first
    assert not figure.locator("li").first.is_visible()
    figure.locator("summary").click()
    assert "95 % interval" in figure.locator("li").first.inner_text()


def test_dark_is_dark_and_print_is_light(opened: Any) -> None:  # noqa: ANN401
    def background(page: Any) -> str:  # noqa: ANN401
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    assert background(opened(a_page(), color_scheme="light")) == "rgb(255, 255, 255)"
    dark = opened(a_page(), color_scheme="dark")
    assert background(dark) == "rgb(21, 24, 28)"
    assert dark.evaluate("getComputedStyle(document.querySelector('svg text')).fill") != "rgb(0, 0, 0)"
    dark.emulate_media(media="print")
    assert background(dark) == "rgb(255, 255, 255)"
    assert not dark.locator(".filter").first.is_visible()


@pytest.mark.parametrize("machines", [1, 3])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_accessibility_finds_nothing_serious(opened: Any, width: int, scheme: str, machines: int) -> None:  # noqa: ANN401
    """axe-core checks it, contrast included."""
    if importlib.util.find_spec("axe_playwright_python") is None:
        pytest.skip("no axe-playwright-python: nox -s browser")
    # The page's policy forbids the inspector's own script, too.
    page = opened(a_page(machines), width, color_scheme=scheme, bypass_csp=True)
    results = importlib.import_module("axe_playwright_python.sync_playwright").Axe().run(page)
    serious = [
        (violation["id"], violation["nodes"][0]["html"][:200])
        for violation in results.response["violations"]
        if violation["impact"] in {"serious", "critical"}
    ]
    assert serious == []


def test_a_strangers_script_does_not_run(opened: Any) -> None:  # noqa: ANN401
    """It is shown as text: no dialogue opens, nothing is fetched, nothing is said on the console."""
    page = opened(render_report(make_report([source_of("<script>alert(1)</script>", a_hostile_result())])))
    assert page.evaluate("document.scripts.length") == 1
    assert "alert(1)" in page.inner_text("h1")
