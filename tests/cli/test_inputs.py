"""Files of another kind, folders, and folders with broken files are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import cli
from bench.records import store
from tests.support.cli import Command
from tests.support.records import a_result_set

#: What each kind of file begins with.
KINDS = {
    "result.json": '{"schema_version": 2}',
    "gate.json": '{"gate_schema_version": 1}',
    "tune.json": '{"tune_schema_version": 1}',
    "profile.json": '{"profile_schema_version": 1}',
    "calibration.json": '{"calibration_schema_version": 1}',
    "micro.json": '{"machine_info": {}}',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a sound result, a file of another kind, and one that was cut off."""
    folder = tmp_path / "in"
    store.write(folder / "a.json", a_result_set())
    (folder / "tune.json").write_text(KINDS["tune.json"])
    (folder / "cut.json").write_text('{"schema_version": 2')
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "gate.json"], "is a gate file: mnist-bench gate --replay gate.json shows it"),
        (["history", "tune.json"], "is a tune file: mnist-bench tune --replay tune.json shows it"),
        (["compare", "profile.json", "sound.json"], "mnist-bench profile --replay profile.json shows it"),
        (["compare", "sound.json", "gate.json"], "mnist-bench gate --replay gate.json shows it"),
        (["show", "micro.json"], "mnist-bench compare micro.json OTHER shows it"),
        (["gate", "--replay", "result.json"], "is a result file: mnist-bench show result.json shows it"),
        (["gate", "--resume", "tune.json"], "mnist-bench tune --replay tune.json shows it"),
        (["tune", "--replay", "gate.json"], "mnist-bench gate --replay gate.json shows it"),
        (["profile", "--replay", "calibration.json"], "mnist-bench calibrate --file calibration.json shows it"),
        (["calibrate", "--file", "result.json"], "mnist-bench show result.json shows it"),
        (["report", "tune.json"], "mnist-bench tune --replay tune.json shows it"),
        (["run", "--resume", "gate.json"], "mnist-bench gate --replay gate.json shows it"),
    ],
)
def test_a_file_of_another_kind_says_what_shows_it(
    command: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    for name, begin in KINDS.items():
        Path(name).write_text(begin)
    store.write(Path("sound.json"), a_result_set())
    assert command(*arguments) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_check_says_it_too(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    Path("gate.json").write_text(KINDS["gate.json"])
    assert command("check", "gate.json") == cli.Exit.USAGE
    assert capsys.readouterr().out == "gate.json: is a gate file: mnist-bench gate --replay gate.json shows it\n"


@pytest.mark.parametrize("verb", [["show"], ["report", "-o", "r.html"], ["compare", "b.json"]], ids=str)
def test_a_broken_file_does_not_hide_its_folder(
    command: Command, folder: Path, capsys: pytest.CaptureFixture[str], verb: list[str]
) -> None:
    """One note names it and says why. Files of another kind may be many, and need no note."""
    store.write(Path("b.json"), a_result_set())
    assert command(*verb, "in") == cli.Exit.DONE
    noted = [line for line in capsys.readouterr().err.splitlines() if "left out" in line]
    assert noted == ["left out: in/cut.json: not JSON, or cut off"]
    assert command(*verb, "in/cut.json") == cli.Exit.USAGE
    assert command("compare", "--gate", "b.json", "in") == cli.Exit.USAGE  # it decides by all of them
    assert "in/cut.json: not JSON" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["show", "report", "history", "check"])
def test_before_the_first_run_the_next_step_is_to_measure(
    command: Command, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The examples name the folder in which a run saves."""
    assert command(verb, "results/runs") == cli.Exit.USAGE
    assert capsys.readouterr().err.endswith("nothing was measured in this folder yet; mnist-bench run saves there\n")


def test_check_takes_folders(command: Command, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a folder, too, it names what is broken."""
    assert command("check", "in") == cli.Exit.USAGE
    assert capsys.readouterr().out.splitlines() == ["in/a.json: valid", "in/cut.json: not JSON, or cut off"]
    (folder / "cut.json").unlink()
    assert command("check", "in") == cli.Exit.DONE
    (folder / "a.json").unlink()
    assert command("check", "in") == cli.Exit.USAGE
    assert "no result file in in" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["show"], ["check"], ["history"], ["report", "--format", "markdown"], ["compare", "b.json"]],
    ids=str,
)
def test_results_one_folder_deeper_are_found(
    command: Command, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """So lies what a CI's download makes: a folder for each artifact."""
    store.write(Path("b.json"), a_result_set())
    store.write(Path("runs/first/a.json"), a_result_set())
    store.write(Path("runs/second/a.json"), a_result_set())
    Path("runs/first/._a.json").write_bytes(b"\0\5\x16\7")  # macOS keeps its own attributes so
    os.mkfifo("runs/first/pipe.json")  # opening it would wait for a program that writes
    assert command(*arguments, "runs") == cli.Exit.DONE
    assert "left out" not in capsys.readouterr().err
    store.write(Path("runs/own.json"), a_result_set())
    assert command("check", "runs") == cli.Exit.DONE
    assert capsys.readouterr().out == "runs/own.json: valid\n"  # a folder's own files are what it is named for


def test_a_name_cannot_speak_for_the_program(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """A file's name may hold line breaks and escapes, and so may a key in it; they are shown, and not obeyed."""
    Path("in").mkdir()
    Path("in/\x1b[2J\nmnist-bench: all is well.json").write_text("{")
    Path("in/key.json").write_text('{"schema_version": 3, "\\u001b[31m\\nmnist-bench: fine": 1}')
    for verb in ("show", "check"):
        assert command(verb, "in") == cli.Exit.USAGE
        printed = capsys.readouterr()
        assert "\x1b" not in printed.out + printed.err
        assert not [line for line in (printed.out + printed.err).splitlines() if line.startswith("mnist-bench: all is")]
        assert "\\x1b[2J\\nmnist-bench: all is well.json" in printed.out + printed.err


def test_a_report_of_very_many_files_says_what_shows_them_better(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is made all the same."""
    for number in range(21):
        store.write(Path(f"many/{number}.json"), a_result_set())
    assert command("report", "many", "--format", "markdown") == cli.Exit.DONE
    assert "21 files side by side make a large page: mnist-bench history" in capsys.readouterr().err
