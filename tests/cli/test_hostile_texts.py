"""Whatever stands in the texts of a file is shown as text, in every format."""

from __future__ import annotations

import csv
import functools
import io
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import msgspec
import pytest

from bench import cli
from bench.errors import ConfigurationError
from bench.records import store
from bench.records.base import Record
from tests.support.cli import Command
from tests.support.gate import a_gate_file, a_plan, blocks, noisy
from tests.support.profile import a_profile
from tests.support.records import a_ceiling, a_failure, a_result_set, a_run, a_scenario
from tests.support.tune import Machine, a_tune_plan, search

#: What a stranger may write into a name, a version, a reason.
POISON: Final = (
    "=cmd\x1b[31m\x9b31m\0\x7f\u202e @somebody #1 https://example.org/x www.example.org <script>alert(1)</script> "
    "[x](y) `z` | a&b\nmnist-bench: all is well\r\n+1"
)
FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


def poisoned(record: Record, text: str) -> Record:
    """Return the record with this text in every place that takes any text."""
    document = msgspec.to_builtins(record)
    for container, key in [*_strings(document)]:
        before = container[key]
        container[key] = text
        try:
            msgspec.convert(document, type(record))
        except (msgspec.ValidationError, ConfigurationError):
            container[key] = before
    return msgspec.convert(document, type(record))


def _strings(node: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401  # whatever JSON holds
    for key, value in [*(node.items() if isinstance(node, dict) else enumerate(node))]:
        if isinstance(value, str):
            yield node, key
        elif isinstance(value, dict | list):
            yield from _strings(value)
        elif isinstance(value, tuple):
            node[key] = list(value)
            yield from _strings(node[key])


@functools.cache
def files() -> dict[str, Record]:
    scenario = a_scenario()
    results = a_result_set(a_run(), a_failure(log="x"), ceilings=(a_ceiling(),))
    gate_file = a_gate_file(
        blocks(4, noisy(1), scenarios=[scenario]), plan=a_plan([scenario], looks=(4,), max_blocks=4)
    )
    searched = search(
        a_tune_plan(), Machine({0: 0.0, 1: 0.1, 2: 0.3, 3: -0.5, 4: 0.2, 5: 0.0}, crashing=frozenset({4}))
    )
    return {
        name: poisoned(record, POISON)
        for name, record in {"result": results, "gate": gate_file, "tune": searched, "profile": a_profile()}.items()
    }


def visible(text: str) -> None:
    """There is nothing in it that a terminal would obey."""
    assert [character for character in text if not character.isprintable() and character != "\n"] == []


def check_text(text: str) -> None:
    visible(text)
    assert not re.search("^mnist-bench: all is well", text, re.MULTILINE)


def check_markdown(text: str) -> None:
    visible(text)
    text = re.sub("^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)  # code: nothing in it is live
    assert "<script" not in text.replace(r"\<script", "")
    assert not re.search(r"(?<![\\`])`z|https?://|www\.|@\w|#\d", text)
    assert not re.search("^(mnist-bench: all is well|[+])", text, re.MULTILINE)


def check_csv(text: str) -> None:
    visible(text)
    cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
    assert [cell for cell in cells if cell.startswith(FORMULAS) and not re.fullmatch(r"[-+]?[\d.e+-]+", cell)] == []
    assert any(cell.startswith("'=") for cell in cells)


def check_json(text: str) -> None:
    visible(text)
    assert "somebody" in str(json.loads(text))


def check_html(text: str) -> None:
    visible(text.replace("\t", " "))
    scripts: list[str] = []

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            scripts.extend([tag] * (tag == "script"))
            assert not [value for name, value in attrs if name == "href" and value and "example" in value]

    Tags().feed(text)
    assert len(scripts) == 1  # the page's own
    assert "&lt;script&gt;" in text


def check_junit(text: str) -> None:
    visible(text)
    ET.fromstring(text)


CHECKS: Final[dict[str, Callable[[str], None]]] = {
    "text": check_text,
    "markdown": check_markdown,
    "csv": check_csv,
    "json": check_json,
    "html": check_html,
    "junit": check_junit,
}


@pytest.mark.parametrize(
    ("arguments", "formats"),
    [
        (["show", "result.json"], "text markdown csv json html"),
        (["history", "result.json"], "text markdown csv json html"),
        (["compare", "result.json", "plain.json"], "text markdown csv json html junit"),
        (["gate", "--replay", "gate.json"], "text markdown csv json html junit"),
        (["tune", "--replay", "tune.json"], "text markdown csv json html"),
        (["profile", "--replay", "profile.json"], "text markdown csv json html"),
        (["report", "result.json", "gate.json", "profile.json"], "markdown html"),
    ],
    ids=str,
)
def test_a_text_is_text_in_every_format(
    command: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], formats: str
) -> None:
    """Escapes, formulas, mentions, links, markup and lines of its own: in every field of a file, in every format."""
    for name, record in files().items():
        store.write(Path(f"{name}.json"), record)
    store.write(Path("plain.json"), a_result_set(a_run(throughput=9_000.0)))
    for output_format in formats.split():
        status = command(*arguments, "--format", output_format)
        printed = capsys.readouterr()
        assert status not in {cli.Exit.USAGE, cli.Exit.INTERNAL}, printed.err
        check_text(printed.err)
        CHECKS[output_format](printed.out)


def test_a_text_of_megabytes_is_cut(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody reads it, and a terminal or a CI's log would be full of it."""
    store.write(Path("a.json"), poisoned(a_result_set(a_failure()), "word " * 400_000))
    for output_format in ("text", "markdown", "csv", "html"):
        assert command("show", "a.json", "--format", output_format) == cli.Exit.DONE
        assert len(capsys.readouterr().out) < 200_000
