"""The generated pages of the site hold what the code has, and its navigation every page; `nox -s site` builds it."""

from __future__ import annotations

import re

import pytest

from tests import ROOT
from tests.support.cli import every_verb

site = pytest.importorskip(
    "tests.docs.site", reason="the site's own environment has griffe: nox -s site", exc_type=ImportError
)


def test_every_verb_and_option_is_in_the_reference() -> None:
    """Their examples are code to copy."""
    text = site.command_line()
    for name, verb in every_verb().items():
        section = text.split(f"## `mnist-bench {name}`\n")[1].split("\n## ")[0]
        for parameter in verb.params:
            if not parameter.hidden and parameter.param_type_name == "option":
                assert parameter.opts[0] in section, f"{name} {parameter.opts}"
        assert "**Examples**:\n\n```sh\nmnist-bench " in section


def test_every_field_of_every_kind_of_file_is_in_the_reference() -> None:
    """Each object is there once, and each link to one leads to its heading."""
    text = site.file_formats()
    names = re.findall(r"^### (\w+)$", text, re.MULTILINE)
    assert len(names) == len(set(names))
    assert {name.lower() for name in names} >= set(re.findall(r"\]\(#(\w+)\)", text))
    for record in site.FILE_KINDS.values():
        section = text.split(f"### {record.__name__}\n")[1].split("\n### ")[0]
        assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == list(record.__struct_fields__)


def test_a_comment_beside_a_field_is_its_meaning() -> None:
    kind = "integer ≥ 1, ≤ 9,007,199,254,740,992"
    assert (
        f"| `samples` | {kind} | Images really trained inside the window; padding never counts. |"
        in site.file_formats()
    )


def test_every_page_is_in_the_navigation() -> None:
    """A new page of the repository does not stay unfound."""
    navigation = (ROOT / "docs" / "site" / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")[1]
    named = set(re.findall(r"(\S+\.md)$", navigation, re.MULTILINE))
    pages = {path.relative_to(ROOT).as_posix() for pattern in site.REPOSITORY_FILES for path in ROOT.glob(pattern)}
    generated = {"reference/command-line.md", "reference/file-formats.md", "reference/python.md"}
    assert named == {page.removeprefix(".") for page in pages if page.endswith(".md")} | generated
