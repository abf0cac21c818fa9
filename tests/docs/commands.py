"""Find every command that a document shows, take it apart, and run it (`nox -s docs`) in an empty folder on small data.

    python -m tests.docs.commands [WORD]      # only commands with that word in them

Commands that need an hour, a network or a GPU are named below with the reason; `test_commands.py` checks that they,
too, are ones that the program understands.
"""

# ruff: noqa: T201 (a script prints its result)

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import ROOT
from tests.support.cli import every_verb
from tests.support.idx_files import small_idx_folder

DOCUMENTS = (
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / ".github" / "CONTRIBUTING.md",
    ROOT / "docs" / "tutorial.ipynb",
    ROOT / "results" / "PEERS.md",
)
_FENCE = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`(mnist-bench [^`]+|python3 -m nox [^`]+)`")
_FILES = re.compile(r"^```(?P<language>toml|python)\n(?:# (?P<name>\S+)\n)?(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)

#: What is not run, and why: a command is meant where these words are in it.
NOT_RUN = {
    "nox -s": "makes an environment; CI runs bench, tests and regress, and the others are these commands' own sessions",
    "pip install": "the network",
    "mnist-bench gate --base": "measures a commit for minutes; tests/cli/test_cli_gate.py runs it",
    "mnist-bench calibrate": "50 minutes; tests/experiments/test_calibration.py runs it on made-up blocks",
    "mnist-bench selftest": "measures for minutes; tests/cli/test_cli_gate.py runs it",
    "gpu(": "a GPU",
    "--hosts": "other machines; tests/system/test_hosts.py runs it",
    "--join": "a job manager; tests/system/test_join.py runs it with the variables of one",
    "--python torch": "environments of the peers; tests/system/test_peers.py runs it where they are",
    "--suite peers": "environments of the peers; tests/system/test_peers.py runs it where they are",
    "--suite cluster": "environments of the peers, and minutes; tests/system/test_ranks.py measures ranks",
    "mnist-bench tune --network": "minutes; tests/cli/test_cli_tune.py runs it",
    "mnist-bench tune --replay": "a file of it; tests/cli/test_cli_tune.py runs it",
    "git rev-parse": "a checkout",
    "--ceilings": "minutes; tests/cli/test_cli_ceilings.py runs it",
    "gate.json": "a gate's file; tests/cli/test_cli_gate.py runs it",
    "tune.json": "a tune file; tests/cli/test_cli_tune.py runs it",
    "micro": "pytest-benchmark's own session",
}


@dataclass(frozen=True)
class Command:
    """One line to type."""

    document: str
    text: str

    @property
    def reason_not_to_run(self) -> str | None:
        return next((why for words, why in NOT_RUN.items() if words in self.text), None)


def text_of(document: Path) -> str:
    """Return a document's text without what a command printed."""
    if document.suffix != ".ipynb":
        text = document.read_text(encoding="utf-8")
        return re.sub("<!-- table: .*?<!-- end of table -->", "", text, flags=re.DOTALL)
    cells = json.loads(document.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def commands() -> Iterator[Command]:
    """Yield commands without comments, also those of the verbs' help; a line that ends in a backslash goes on."""
    for verb in every_verb().values():
        for line in (verb.epilog or "").split("\n\n")[1:]:
            yield Command("--help", line)
    for document in DOCUMENTS:
        for block in _FENCE.findall(text_of(document)):
            for line in block.replace("\\\n", " ").splitlines():
                text = " ".join(shlex.split(line, comments=True)) and re.sub(r"\s+#.*$", "", line).strip()
                if text:
                    yield Command(str(document.relative_to(ROOT)), text)
        for line in text_of(document).splitlines():
            if line.startswith("|"):
                for text in _INLINE.findall(line):
                    yield Command(str(document.relative_to(ROOT)), text)


def files() -> dict[str, str]:
    """Return what a document tells its reader to write. The suite is mine.toml; a module's first line names it."""
    found = {}
    for document in DOCUMENTS:
        for match in _FILES.finditer(text_of(document)):
            name = match["name"] or ("mine.toml" if match["language"] == "toml" else None)
            if name is not None:
                found[name] = match["text"]
    return found


def prepare(folder: Path) -> dict[str, str]:
    """Make a home with the data and files that the documents speak of; return the variables to run in it."""
    home = folder / "home"
    data = small_idx_folder(home / "mnist", train=2100, test=200)
    shutil.copytree(data, home / "letters")
    (folder / "results" / "runs").mkdir(parents=True)
    for name in ("baselines", "calibration"):
        shutil.copytree(ROOT / "results" / name, folder / "results" / name)
    for name, text in files().items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").touch()
    if (folder / "my_nets.py").exists():
        shutil.copy(folder / "my_nets.py", folder / "my_package" / "nets.py")
    return dict(os.environ) | {
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "HOME": str(home),
        "MNIST_BENCH_DATA_DIR": str(data),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(folder),
    }


def main() -> None:
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        variables = prepare(folder)
        short = ["--network", "mlp", "--batch-size", "100", "--epochs", "1"]
        for name in ("before.json", "after.json", "here.json", "there.json", "notebook.json", "results/runs/here.json"):
            made = ["mnist-bench", "run", *short, "-o", name]
            subprocess.run(made, cwd=folder, env=variables, check=True, capture_output=True)
        for command in dict.fromkeys(each.text for each in commands() if word in each.text):
            reason = Command("", command).reason_not_to_run
            if reason is not None:
                print(f"not run  {command}: {reason}")
                continue
            if made_anew := re.search(r"mnist-bench run .*-o (\S+)", command):
                (folder / made_anew[1]).unlink(missing_ok=True)  # its reader has no such file yet
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=folder,
                env=variables,
                capture_output=True,
                text=True,
                timeout=900,
                check=False,
            )
            # A noisy machine, images too few to learn from; of a gate a stored regression: verdicts, no faults.
            verdicts = {0, 3, 5} | ({1} if "gate" in command else set())
            ok = done.returncode in verdicts and "Traceback" not in done.stderr
            failed += not ok
            print(f"{'ok' if ok else 'FAILED'} {done.returncode}  {command}", flush=True)
            if not ok:
                print(done.stderr[-2000:])
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
