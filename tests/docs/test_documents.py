"""The documents show what the committed files say."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from bench import cli
from bench.records import store
from bench.records.result import ResultSet
from tests import ROOT
from tests.docs.documents import DOCUMENTS, STATUSES, output_of, with_tables
from tests.support.cli import Command
from tests.support.records import a_result_set, a_run


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_tables_are_those_of_the_committed_results(
    document: Path, command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No figure in a document is typed by hand: `nox -s tables`, which starts a process for each, changes nothing."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("COLUMNS")

    def in_this_process(program: str, arguments: list[str]) -> str:
        if program != "mnist-bench":
            return output_of(program, arguments)
        assert command(*arguments) in STATUSES[program]
        return capsys.readouterr().out

    text = document.read_text(encoding="utf-8")
    assert with_tables(text, in_this_process) == text


@pytest.mark.parametrize(
    "baseline", sorted((ROOT / "results" / "baselines").glob("standard-*.json")), ids=lambda p: p.name
)
def test_baselines_are_valid_and_complete(baseline: Path) -> None:
    """A committed result passes `check` and holds all its plan."""
    assert store.violations(baseline) == []
    result_set = store.read(baseline, ResultSet)
    assert len(result_set.runs) == len(result_set.plan)


def test_the_documents_with_tables_are_found() -> None:
    names = {path.name for path in DOCUMENTS}
    assert {"README.md", "comparing.md", "gate.md", "peers-intel-xeon-2-cores.md"} <= names


def test_the_rooms_in_the_architecture_are_the_real_ones() -> None:
    """Every folder of modules has its line, and every line its folder, at the same depth."""
    tree = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]
    named: list[Path] = []
    for indent, name in re.findall(r"^( *)([a-z_]+)/(?: |$)", tree, re.MULTILINE):
        depth = len(indent) // 2
        above = [each for each in named if len(each.parts) == depth]
        named.append((above[-1] if depth else Path()) / name)
    packages = {path.parent for top in ("bench", "mnist_core") for path in (ROOT / top).rglob("__init__.py")}
    real = {path.relative_to(ROOT) for path in packages} | {Path("bench/scenarios/suites")}
    assert {path for path in named if path.parts[0] in {"bench", "mnist_core"}} == real


def test_no_room_and_no_module_is_too_large() -> None:
    """A folder has eleven modules at most, and a module 400 lines."""
    for package in ("bench", "mnist_core"):
        modules = [path for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
        assert max(Counter(path.parent for path in modules).values()) <= 11
        for path in modules:
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path


def test_every_room_says_what_it_is_for() -> None:
    for package in ("bench", "mnist_core"):
        for path in (ROOT / package).rglob("__init__.py"):
            assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_relative_links_lead_somewhere() -> None:
    """No document points at a file, or at a heading of one, that is not there."""
    documents = (
        ROOT / "README.md",
        *(ROOT / "docs").glob("*"),
        *(ROOT / "docs" / "contributing").iterdir(),
        *(ROOT / ".github").glob("*.md"),
        *(ROOT / "results").glob("*.md"),
        ROOT / "CHANGELOG.md",
    )
    for document in documents:
        if document.suffix not in {".md", ".ipynb"}:
            continue
        for target, heading in re.findall(
            r"\]\((?!https?:)([^)#\\]*)(?:#([^)]+))?\)", document.read_text(encoding="utf-8")
        ):
            file = document.parent / target if target else document
            assert file.exists(), f"{document.name}: {target}"
            assert not heading or heading in headings(file), f"{document.name}: {target}#{heading}"


def test_every_path_in_a_document_is_there() -> None:
    """A module or test that a page names in code font has not moved since."""
    for document in (
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "results").glob("*.md"),
        *(ROOT / ".github").glob("*.md"),
    ):
        for path in re.findall(r"`((?:bench|mnist_core|tests|docs)/[\w./-]*)`", document.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{document.name}: {path}"


def test_the_example_of_the_python_page_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The names that scripts may import are there, and take what the page gives them."""
    page = (ROOT / "docs" / "site" / "reference" / "python.md").read_text(encoding="utf-8")
    store.write(tmp_path / "results" / "runs" / "here.json", a_result_set(a_run(throughput=9_000.0)))
    monkeypatch.chdir(tmp_path)
    exec(page.split("```python\n")[1].split("```")[0], {})
    assert capsys.readouterr().out == "mlp cpu(0),cpu(1) batch=100 hybridize=off 9000\n"


def test_the_newest_release_in_the_changelog_is_the_version() -> None:
    """It has a date, and the version is written in pyproject.toml alone."""
    releases = re.findall(
        r"^## (\S+) - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    project = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]
    assert releases[0] == project["version"]


def headings(document: Path) -> set[str]:
    """Return headings as a link names them: in small letters, with hyphens for spaces, without signs."""
    found = re.findall(r"^#+ (.*)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_the_documented_exit_statuses_are_the_programs() -> None:
    text = (ROOT / "docs" / "running.md").read_text(encoding="utf-8").split("## Exit statuses")[1].split("\n## ")[0]
    assert [int(status) for status in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)] == list(cli.Exit)


def test_the_errors_of_precisions_are_those_of_the_committed_file() -> None:
    """The table in PEERS.md has the least and the greatest that the runs recorded."""
    runs = store.read(ROOT / "results" / "baselines" / "precision-intel-xeon-2-cores.json", ResultSet).runs
    text = (ROOT / "results" / "PEERS.md").read_text(encoding="utf-8")
    for precision in ("float32", "bfloat16"):
        found = [run.numerics for run in runs if run.scenario.precision == precision]
        scores = [each.scores_error for each in found if each is not None]
        gradients = [each.gradient_error for each in found if each is not None and each.gradient_error is not None]
        (row,) = re.findall(rf"^\| {precision} \| (\S+) to (\S+) \| (\S+) to (\S+) \|$", text, re.MULTILINE)
        measured = (min(scores), max(scores), min(gradients), max(gradients))
        assert [float(each) for each in row] == [float(f"{each:.1e}") for each in measured]
