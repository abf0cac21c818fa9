"""Show that a change of the code changed nothing that users see: replay every committed result before and after it.

    python tests/docs/replay.py BASE_REF          # this checkout against a commit; exit 1 where an output differs

Every file in `results/` is shown, checked, compared, reported and decided again, in every format and at three widths of
terminal, by the code of either side; standard output, standard error and exit status must be equal to the byte.
`--show-help` compares the help pages, too.
"""

# ruff: noqa: T201 (a script prints its result)

from __future__ import annotations

import argparse
import concurrent.futures
import difflib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests import ROOT

FORMATS: Final = ("text", "markdown", "csv", "json", "html", "junit")
#: Characters: every column, some of them, none side by side.
WIDTHS: Final = (200, 80, 30)
#: A file's kind is told by a key that files of no other kind have; the rest are results of scripts.
_KINDS: Final = {
    "schema_version": "result",
    "gate_schema_version": "gate",
    "calibration_schema_version": "calibration",
    "tune_schema_version": "tune",
    "profile_schema_version": "profile",
}
_VERBS: Final = (
    *("run", "show", "compare", "gate", "tune", "profile", "calibrate", "selftest", "report", "history"),
    *("environment", "suites", "data", "check"),
)


def kind_of(path: Path) -> str:
    """Return the kind of a result file: "result", "gate", "calibration", "tune", "profile", or "other"."""
    document = json.loads(path.read_text(encoding="utf-8"))
    return next((kind for key, kind in _KINDS.items() if key in document), "other")


def commands(root: Path, *, with_help: bool) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the arguments of every command to replay, with the width of its terminal in characters."""
    files = sorted((root / "results").rglob("*.json"))
    names = [str(path.relative_to(root)) for path in files]
    results = [name for name, path in zip(names, files, strict=True) if kind_of(path) == "result"]
    for name, path in zip(names, files, strict=True):
        replayed = {
            "gate": ("gate", "--replay", name),
            "tune": ("tune", "--replay", name),
            "profile": ("profile", "--replay", name),
            "calibration": ("calibrate", "--show", "--file", name),
        }.get(kind_of(path), ("show", name))
        yield from _in_all_formats(replayed)
        yield ("check", name), 80
        yield ("show", name), 80
        yield ("report", name), 80
        yield ("report", name, "--format", "markdown"), 80
    for name in results:
        yield ("show", name, "--sort=-throughput"), 200
        yield from _in_all_formats(("show", name, "--row", "batch_size", "--column", "contexts"))
        yield from _in_all_formats(("compare", name, "--baseline-scenario", "cpu(0)"))
        yield from _in_all_formats(("compare", results[0], name))
        yield from _in_all_formats(("compare", name, name, "--gate"))
    yield from _in_all_formats(("history", "results/baselines"))
    yield ("history", "results/baselines", "--by", "class"), 200
    for format_ in ("html", "markdown"):
        yield ("report", "results/baselines", "--format", format_), 80
    yield ("check", "--schema"), 80
    yield ("suites",), 80
    for suite in ("smoke", "standard", "tutorial", "full", "gate", "ablation", "peers", "precision", "cluster"):
        yield ("run", "--suite", suite, "--dry-run", "--data", "synthetic"), 120
    if with_help:
        for verb in _VERBS:
            yield (verb, "--help"), 100


def _in_all_formats(arguments: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    for width in WIDTHS:
        yield (*arguments, "--format", "text"), width
    for format_ in FORMATS[1:]:
        yield (*arguments, "--format", format_), 80


def print_of(code: Path, folder: Path, arguments: tuple[str, ...], width: int) -> str:
    """Return what the code in a folder prints for a command: exit status, standard output, standard error."""
    variables = {name: value for name, value in os.environ.items() if name not in {"GITHUB_STEP_SUMMARY", "COLUMNS"}}
    variables |= {"PYTHONPATH": str(code), "COLUMNS": str(width), "TERM": "dumb", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench", *arguments],
        cwd=folder,
        env=variables,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return f"exit status {done.returncode}\n{done.stdout}\n--- standard error\n{done.stderr}"


def check_out(reference: str, folder: Path) -> None:
    """Write the tree of a commit into a folder."""
    archive = subprocess.run(["git", "archive", reference], cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder, filter="data")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("--show-help", action="store_true", help="compare the help pages, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        base, folder = Path(temporary, "base"), Path(temporary, "folder")
        check_out(options.base, base)
        shutil.copytree(ROOT / "results", folder / "results", ignore=shutil.ignore_patterns("runs"))
        todo = list(commands(folder, with_help=options.show_help))
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            before = pool.map(lambda each: print_of(base, folder, *each), todo)
            after = pool.map(lambda each: print_of(ROOT, folder, *each), todo)
            differing = 0
            for (arguments, width), old, new in zip(todo, before, after, strict=True):
                if old != new:
                    differing += 1
                    print(f"differs at {width} characters: mnist-bench {shlex.join(arguments)}")
                    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "before", "after", "", "", 0, "")
                    print("\n".join(f"  {line[:300]}" for line in [*lines][:12]))
    print(f"{len(todo)} commands replayed, {differing} print something else than at {options.base}")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
