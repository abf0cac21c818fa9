"""Put the site's pages into one folder: the repository's own under their own paths, and two generated from the code.

A page keeps its path in the repository, so that a link between two of them works on GitHub and in the site alike.

    python -m tests.docs.site BUILD      # BUILD/mkdocs.yml and BUILD/pages
"""

from __future__ import annotations

import enum
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import griffe
import msgspec

from bench.records.calibration import Calibration
from bench.records.gate import GateFile
from bench.records.profile import ProfileFile
from bench.records.result import ResultSet
from bench.records.tune import TuneFile
from tests import ROOT

SOURCE: Final = ROOT / "docs" / "site"

#: What stands in the site under its own path: pages, and what they show or link to.
REPOSITORY_FILES: Final = (
    *("README.md", "CHANGELOG.md", "LICENSE", ".github/CONTRIBUTING.md", ".github/workflows/*.yml"),
    *("docs/*.md", "docs/*.ipynb", "docs/contributing/*.md", "docs/images/*"),
    *("results/*.md", "results/tables/*.md", "bench/scenarios/suites/*.toml"),
)

#: The kinds of file, each by what it holds at its top.
FILE_KINDS: Final[dict[str, type[msgspec.Struct]]] = {
    "Result file": ResultSet,
    "Gate file": GateFile,
    "Calibration": Calibration,
    "Tune file": TuneFile,
    "Profile file": ProfileFile,
}

Schema = dict[str, Any]


def assemble(build: Path) -> None:
    """Write the configuration and every page, with what a page shows or links to."""
    pages = build / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    for pattern in REPOSITORY_FILES:
        for path in ROOT.glob(pattern):
            copy = pages / _visible(path.relative_to(ROOT).as_posix())
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".md":
                copy.write_text(_visible(path.read_text(encoding="utf-8"), before=r"\]\((?:\.\./)*"), encoding="utf-8")
            else:
                shutil.copyfile(path, copy)
    shutil.copytree(SOURCE / "reference", pages / "reference")
    (pages / "reference" / "command-line.md").write_text(command_line(), encoding="utf-8")
    (pages / "reference" / "file-formats.md").write_text(file_formats(), encoding="utf-8")
    shutil.copyfile(SOURCE / "site.css", pages / "site.css")
    shutil.copyfile(SOURCE / "mkdocs.yml", build / "mkdocs.yml")


def _visible(text: str, before: str = "^") -> str:
    """Return paths without the dot of .github, since a site leaves out folders that begin with one."""
    return re.sub(rf"({before})\.github/", r"\1github/", text)


def command_line() -> str:
    """Return the reference of every verb and option, as Typer writes it, with the examples as code."""
    command = [sys.executable, "-m", "typer", "bench.cli", "utils", "docs", "--name", "mnist-bench"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    text = text.replace("# `mnist-bench`", "# Command line", 1)
    text = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+", "", text)  # cut short by Typer; the table of contents has them
    return re.sub(
        r"Examples:\n\n((?:mnist-bench .*\n\n?)+)",
        lambda match: "**Examples**:\n\n```sh\n" + match[1].replace("\n\n", "\n") + "```\n\n",
        text,
    )


def file_formats() -> str:
    """Return a table for each kind of object in a file: its fields, their types and what they mean."""
    sources = griffe.GriffeLoader(search_paths=[ROOT], extensions=griffe.load_extensions("griffe_sphinx"))
    for package in ("bench", "mnist_core"):
        sources.load(package)
    lines = [
        "# File formats",
        "",
        "Every file is JSON. What a machine does not tell is `null`. [Metrics](../results/README.md) says how the",
        "numbers come about; `mnist-bench check --schema` prints the JSON Schema of a result file.",
    ]
    written: set[str] = set()
    for title, record in FILE_KINDS.items():
        lines += ["", f"## {title}"]
        schema = msgspec.json.schema(record)["$defs"]
        for name, cls in classes(record).items():
            if name not in written:
                written.add(name)
                lines += ["", f"### {name}", "", *_object(cls, schema[name], _comments(sources, cls))]
    return "\n".join(lines) + "\n"


def classes(record: type) -> dict[str, type]:
    """Return every class that is met in a record, by name, from the top down."""
    found: dict[str, type] = {}

    def visit(node: Any) -> None:  # noqa: ANN401  # msgspec's types of types have no common fields
        cls = getattr(node, "cls", None)
        if isinstance(cls, type):
            if cls.__name__ in found:
                return
            found[cls.__name__] = cls
        for field in getattr(node, "fields", ()):
            visit(field.type)
        for part in ("type", "item_type", "value_type"):
            if isinstance(inner := getattr(node, part, None), msgspec.inspect.Type):
                visit(inner)
        for inner in (*getattr(node, "item_types", ()), *getattr(node, "types", ())):
            visit(inner)

    visit(msgspec.inspect.type_info(record))
    return found


def _comments(sources: griffe.GriffeLoader, cls: type) -> dict[str, str]:
    """Return the comment beside each field or value of a class, by name."""
    members = sources.modules_collection[f"{cls.__module__}.{cls.__qualname__}"].members.items()
    return {name: member.docstring.value for name, member in members if not member.is_alias and member.docstring}


def _object(cls: type, schema: Schema, comments: dict[str, str]) -> Iterator[str]:
    yield _paragraphs(schema.get("description", ""))
    yield ""
    if issubclass(cls, enum.Enum):
        yield from ("| value | means |", "| --- | --- |")
        for member in cls:
            yield f"| `{member.value}` | {_cell(comments.get(member.name, ''))} |"
        return
    yield from ("| field | type | means |", "| --- | --- | --- |")
    for name, field in schema["properties"].items():
        default = f"; default `{msgspec.json.encode(field['default']).decode()}`" if "default" in field else ""
        yield f"| `{name}` | {_type(field)}{default} | {_cell(comments.get(name, ''))} |"


def _type(field: Schema) -> str:
    """Return a field's type in words, with a link where it is an object or an enumeration."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"])
    if field["type"] == "array":
        if "prefixItems" in field:
            return f"list of {len(field['prefixItems'])}: {', '.join(_type(each) for each in field['prefixItems'])}"
        return f"list of {_type(field['items'])}"
    if field["type"] == "object":
        return f"object of {_type(field['additionalProperties'])}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {_limit(field[key])}" for key, sign in signs.items() if key in field]
    return " ".join([field["type"], *([", ".join(limits)] if limits else [])])


def _limit(number: float) -> str:
    """Write a count in full, and a fraction as it is."""
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:g}"


def _paragraphs(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    assemble(Path(sys.argv[1]))
