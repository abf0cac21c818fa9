"""A shell starts the program: pipes close, outputs are full or shut, and signals come at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import cli
from bench.records import store
from tests.support.cli import Command
from tests.support.gate import a_gate_file, a_plan, noisy, slowed, whole_gate
from tests.support.records import a_result_set, a_run


def in_shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    line = command.replace("mnist-bench", f"{sys.executable} -m bench")
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that the commands read."""
    made = tmp_path_factory.mktemp("files")
    store.write(made / "run.json", a_result_set(a_run()))
    store.write(made / os.fsdecode(b"caf\xe9.json"), a_result_set(a_run()))
    store.write(made / "gate.json", a_gate_file(whole_gate(a_plan(), slowed(noisy(1), 0.2))))
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        ("mnist-bench --help | head -1", cli.Exit.DONE, ""),
        ("mnist-bench show run.json | head -1", cli.Exit.DONE, ""),
        ("mnist-bench show run.json >&-", cli.Exit.DONE, ""),
        ("mnist-bench show run.json 2>&-", cli.Exit.DONE, ""),
        ("mnist-bench show run.json > /dev/full", cli.Exit.USAGE, "No space left on device"),
        ("mnist-bench gate --replay gate.json > /dev/full", cli.Exit.REGRESSED, "the output could not be written: No"),
        ("mnist-bench", cli.Exit.USAGE, "name a verb"),
        ("mnist-bench show 'my:boom:nets.json'", cli.Exit.USAGE, "my:boom:nets.json: No such file"),
        ("PYTHONIOENCODING=ascii mnist-bench run --dry-run --suite smoke > plan.txt", cli.Exit.DONE, ""),
        ("PYTHONIOENCODING=latin-1 mnist-bench run --dry-run --suite smoke > plan.txt", cli.Exit.DONE, ""),
        ("PYTHONIOENCODING=ascii mnist-bench show $'caf\\xe9.json' > shown.txt", cli.Exit.DONE, ""),
        ("PYTHONIOENCODING=ascii mnist-bench check $'caf\\xe9.json' > checked.txt", cli.Exit.DONE, ""),
        ("PYTHONIOENCODING=utf-8 mnist-bench check $'caf\\xe9.json' > checked.txt", cli.Exit.DONE, ""),
        ("PYTHONIOENCODING=ascii mnist-bench run --contexts x", cli.Exit.USAGE, "write cpu(0), cpu(1), ... or"),
    ],
)
def test_outputs_that_end_early(folder: Path, command: str, status: cli.Exit, words: str) -> None:
    """There is at most one line on stderr and never a traceback, and the status is the one that the work deserves."""
    ended = in_shell(command, folder)
    assert ended.returncode == status, ended.stderr
    assert words in ended.stderr
    assert len(ended.stderr.splitlines()) == (1 if words else 0)


@pytest.mark.slow
def test_formats_for_programs_are_utf_8_in_any_locale(tmp_path: Path) -> None:
    """What a program reads does not depend on the locale of the shell that wrote it."""
    store.write(tmp_path / "run.json", a_result_set(a_run(), suite="Grüße"))
    formats, encodings = ("markdown", "csv", "json", "html"), ("ascii", "latin-1", "utf-8")
    code = (  # one process for all formats: each begins with what the one before has left of stdout
        "import sys; from bench import cli\n"
        f"for output_format in {formats}:\n"
        "    sys.argv = ['mnist-bench', 'show', 'run.json', '--format', output_format]\n"
        "    try: cli.main()\n"
        "    except SystemExit as end: assert not end.code\n"
    )
    for encoding in encodings:
        with (tmp_path / encoding).open("wb") as output:
            variables = {**os.environ, "PYTHONIOENCODING": encoding}
            subprocess.run([sys.executable, "-c", code], cwd=tmp_path, stdout=output, env=variables, check=True)
    (text,) = {(tmp_path / encoding).read_text(encoding="utf-8") for encoding in encodings}
    assert text.count("Grüße") >= len(formats)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_is_imported(tmp_path: Path, signal_number: signal.Signals) -> None:
    code = (
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == 'bench.cli': os.kill(os.getpid(), {int(signal_number)})\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from bench.__main__ import main\n"
        "main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (cli.Exit.INTERRUPTED, "mnist-bench: interrupted\n")


def test_interrupted_where_nothing_is_measured(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so; Typer alone would be silent."""

    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "read", interrupted)
    Path("run.json").touch()
    assert command("show", "run.json") == cli.Exit.INTERRUPTED
    assert capsys.readouterr().err == "mnist-bench: interrupted\n"


def test_verbose_shows_our_own_code_alone(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """It shows where an error came from, without the layers of libraries above."""
    assert command("run", "--verbose", "--network", "alexnet") == cli.Exit.USAGE
    told = capsys.readouterr().err
    assert "scenario.py" in told
    assert "typer" not in told
