"""A user meets `gate`, `calibrate` and `selftest`: every exit status, replay, resume, and real processes."""

from __future__ import annotations

import csv
import errno
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from bench import cli
from bench.analysis.verdict import Verdict
from bench.cli.commands import calibrate
from bench.experiments.gate import calibration
from bench.experiments.gate.evidence import evidence_of
from bench.experiments.gate.slowdown import inject
from bench.experiments.pilot import StartSession
from bench.records import store
from bench.records.environment import Software
from bench.records.gate import GateFile, GateMetric
from bench.records.result import FailureReason, InProgress
from bench.scenarios.scenario import Scenario
from bench.stats.paired import Side
from bench.worker import process
from bench.worker.process import Cancellation, Interpreter, WorkerFailure
from bench.worker.session import SessionError
from tests import ROOT
from tests.support.cli import Command
from tests.support.gate import (
    LENET,
    FakeSessions,
    a_gate_file,
    a_plan,
    blocks,
    make_machine_quiet,
    noisy,
    slowed,
    whole_gate,
)
from tests.support.idx_files import small_idx_folder
from tests.support.records import a_scenario, a_software

#: Windows of a pilot (two sides, four scenarios) and of a block (four processes, four scenarios, six turns).
PILOT, BLOCK = 2 * 4, 4 * 4 * 5


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_idx_folder(tmp_path_factory.mktemp("data"), train=400, test=50)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> FakeSessions:
    """Stand for all processes of a gate; the test says how fast they are."""
    fake = FakeSessions()

    def session_starters(
        interpreters: Mapping[Side, Interpreter], stop: Cancellation, scenarios: int
    ) -> Mapping[Side, StartSession]:
        return fake.sessions

    def describe(interpreter: Interpreter, stop: Cancellation) -> Software:
        return a_software()

    make_machine_quiet(monkeypatch)
    for module in ("bench.cli.measuring.gating", "bench.experiments.gate.setup"):
        monkeypatch.setattr(f"{module}.session_starters", session_starters)
    monkeypatch.setattr(process, "describe", describe)
    monkeypatch.setattr("bench.cli.options.secrets.randbelow", lambda _limit: 42)  # the same coins in every test
    few = functools.partial(calibration.calibrate, gates=20)  # what more of them say is tests/experiments' question
    monkeypatch.setattr(calibration, "calibrate", few)
    return fake


@pytest.fixture
def other_code(tmp_path: Path) -> Path:
    """Make a folder whose measured code differs from the working tree's by a comment."""
    folder = tmp_path / "other"
    shutil.copytree(ROOT / "mnist_core", folder / "mnist_core", ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "mnist_core" / "training.py").open("a", encoding="utf-8") as file:
        file.write("# another version\n")
    return folder


def the_file() -> Path:
    (path,) = Path("results/runs").glob("gate-*.json")
    return path


# --- gate -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("slowdown", "status", "word"),
    [
        (0.0, cli.Exit.DONE, "unchanged"),
        (-0.1, cli.Exit.DONE, "improved"),
        (0.1, cli.Exit.REGRESSED, "regressed"),
    ],
)
def test_a_gate_says_what_it_found_and_its_file_says_it_again(
    command: Command,
    passes: FakeSessions,
    other_code: Path,
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    slowdown: float,
    status: int,
    word: str,
) -> None:
    """The stored file gives the same verdict and the same text, to the bit."""
    passes.slowdown = slowdown
    assert command("gate", "--base", other_code, "--data-dir", data_dir) == status
    printed = capsys.readouterr()
    assert f"gate: {word}" in printed.out
    assert "health" in printed.out
    assert "block 1:" in printed.err
    assert command("gate", "--replay", the_file()) == status
    assert capsys.readouterr().out == printed.out


@pytest.mark.parametrize(
    ("slowdown", "status", "word"), [(0.0, cli.Exit.DONE, "unchanged"), (0.2, cli.Exit.REGRESSED, "regressed")]
)
def test_a_gate_of_latency_judges_the_percentiles_of_single_images(
    command: Command,
    passes: FakeSessions,
    other_code: Path,
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    slowdown: float,
    status: int,
    word: str,
) -> None:
    """p50 and p99 have a row each, the limits are those of a latency, and its file says the same again."""
    passes.slowdown = slowdown
    arguments = ("gate", "--base", other_code, "--data-dir", data_dir, "--metric", "latency", "-k", "mlp")
    assert command(*arguments) == status
    printed = capsys.readouterr()
    assert f"gate: {word}" in printed.out
    assert "service time" in printed.out
    plan = store.read(the_file(), GateFile).plan
    assert (plan.metric, plan.margin, plan.tolerance) == (GateMetric.LATENCY, 0.05, 0.15)
    assert [gated.percentile for gated in plan.scenarios] == [0.5, 0.99] * 2
    assert command("gate", "--replay", the_file()) == status
    assert capsys.readouterr().out == printed.out
    assert command("gate", "--replay", the_file(), "--format", "json") == status
    (table,) = json.loads(capsys.readouterr().out)
    assert table["facts"]["metric"] == "latency"
    assert [row["percentile"] for row in table["rows"]] == [0.5, 0.99] * 2
    assert command("gate", "--replay", the_file(), "--format", "junit") == status
    cases = ET.fromstring(capsys.readouterr().out).iter("testcase")  # our own
    assert [name.rpartition(", ")[2] for case in cases if (name := case.get("name"))] == ["p50", "p99"] * 2


def test_limits_that_are_given_count_for_a_latency_too(
    command: Command, passes: FakeSessions, other_code: Path, data_dir: Path
) -> None:
    """8 % slower is more than the usual margin, and less than one of 10 %."""
    passes.slowdown = 0.08
    arguments = ("gate", "--base", other_code, "--data-dir", data_dir, "--metric", "latency", "-k", "mlp")
    assert command(*arguments, "-o", "usual.json") == cli.Exit.REGRESSED
    assert command(*arguments, "-o", "given.json", "--margin", "10%") == cli.Exit.DONE


def test_code_that_predicts_nothing_has_no_latency(
    command: Command, passes: FakeSessions, other_code: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An older commit is refused with the reason before anything is measured."""
    (other_code / "mnist_core" / "prediction.py").unlink()
    arguments = ("gate", "--base", other_code, "--data-dir", data_dir)
    assert command(*arguments, "--metric", "latency") == cli.Exit.USAGE
    told = " ".join(capsys.readouterr().err.split())
    assert f"the baseline ({other_code}) has no mnist_core/prediction.py" in told
    assert "or compare the training" in told
    assert not passes.calls
    assert command(*arguments) == cli.Exit.DONE


def test_an_undecided_gate_is_no_pass(command: Command, passes: FakeSessions, other_code: Path, data_dir: Path) -> None:
    """The blocks are too noisy to tell, and the exit status is 3."""
    passes.sd = 0.3
    assert command("gate", "--base", other_code, "--data-dir", data_dir) == cli.Exit.INCONCLUSIVE


def test_an_undecided_gate_says_what_it_needed_and_how_to_go_on(
    command: Command, passes: FakeSessions, other_code: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The budget is in the file. What fits into it is said before, and the next command at the end."""
    over_at_once = "0.000001s"  # before the file is saved for the first time
    arguments = ("gate", "--base", other_code, "--data-dir", data_dir, "--budget", over_at_once)
    assert command(*arguments) == cli.Exit.INCONCLUSIVE
    printed = capsys.readouterr()
    assert "a verdict needs 9, a regression 14: about " in printed.err
    assert "take a larger --budget or fewer scenarios (-k)" in printed.err
    hint = f"undecided; mnist-bench gate --resume {the_file()} --budget "
    assert hint in printed.err
    assert printed.out.count("no valid block yet") == 1  # and not once for each scenario
    assert store.read(the_file(), GateFile).plan.budget_seconds == 0.000001
    assert command("gate", "--replay", the_file()) == cli.Exit.INCONCLUSIVE
    assert hint in capsys.readouterr().err
    blocks = len(store.read(the_file(), GateFile).blocks)
    assert (
        command("gate", "--resume", the_file(), "--data-dir", data_dir, "--base", other_code) == cli.Exit.INCONCLUSIVE
    )
    assert len(store.read(the_file(), GateFile).blocks) == blocks  # its budget is that of its file, not the default


@pytest.mark.parametrize("side", Side)
def test_a_crash_on_either_side_is_a_failure(
    command: Command,
    passes: FakeSessions,
    other_code: Path,
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    side: Side,
) -> None:
    """In the pilot or in a block, it gives exit status 5, and keeps what was measured before."""

    def crash(turn: Side, _scenario: Scenario) -> None:
        if turn is side:
            raise SessionError(WorkerFailure(FailureReason.CRASHED, "status 1", "ValueError: broken"))

    passes.on_window = crash
    assert command("gate", "--base", other_code, "--data-dir", data_dir) == cli.Exit.FAILED
    error = capsys.readouterr().err
    assert f"the {side} does not work under this harness: crashed: status 1: ValueError: broken" in error
    windows = 0

    def crash_later(turn: Side, scenario: Scenario) -> None:
        nonlocal windows
        windows += 1
        if windows > PILOT + BLOCK + 5:
            crash(turn, scenario)

    passes.on_window = crash_later
    assert command("gate", "--base", other_code, "--data-dir", data_dir) == cli.Exit.FAILED
    assert f"the {side}'s pass failed: crashed" in capsys.readouterr().out
    assert len(store.read(the_file(), GateFile).blocks) >= 1


def test_identical_code_is_said_and_not_measured(
    command: Command, passes: FakeSessions, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is measured only where that is asked for."""
    assert command("gate", "--base", ROOT, "--data-dir", data_dir) == cli.Exit.DONE
    assert "identical" in capsys.readouterr().err
    assert passes.calls == []
    assert command("gate", "--base", ROOT, "--data-dir", data_dir, "--force") == cli.Exit.DONE
    assert len(store.read(the_file(), GateFile).blocks) == 9


def test_an_own_network_is_not_judged_by_identical_code(
    command: Command, passes: FakeSessions, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is read from the same folder on both sides, so that a change of it would have passed as identical."""
    Path("own.toml").write_text('title = "own"\n[[matrix]]\nnetwork = ["my_nets:build"]\ncontexts = ["cpu(0)"]\n')
    arguments = ("gate", "--base", ROOT, "--data-dir", data_dir, "--suite", "own.toml")
    assert command(*arguments) == cli.Exit.INCONCLUSIVE
    assert "my_nets:build: your own code" in capsys.readouterr().err
    assert command(*arguments, "--format", "junit") == cli.Exit.INCONCLUSIVE
    assert "<error" in capsys.readouterr().out


def test_identical_code_is_an_answer_that_programs_can_read(
    command: Command, passes: FakeSessions, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("gate", "--base", ROOT, "--data-dir", data_dir, "--format", "json") == cli.Exit.DONE
    assert json.loads(capsys.readouterr().out) == []


def test_strict_accepts_nothing_above_the_margin(
    command: Command, passes: FakeSessions, other_code: Path, data_dir: Path
) -> None:
    """1.85 % slower is surely below 10 %, but not surely below 2 %."""
    passes.slowdown = 0.0185
    arguments = ("gate", "--base", other_code, "--data-dir", data_dir)
    assert command(*arguments, "-o", "a.json") == cli.Exit.DONE
    assert command(*arguments, "-o", "b.json", "--strict") == cli.Exit.INCONCLUSIVE


def test_an_interrupted_gate_goes_on(
    command: Command,
    passes: FakeSessions,
    other_code: Path,
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After Ctrl-C in the fourth block it exits with 130 and has three blocks; --resume measures the other six."""
    windows = 0

    def interrupt(_side: Side, _scenario: Scenario) -> None:
        nonlocal windows
        windows += 1
        if windows == PILOT + 3 * BLOCK + 5:
            signal.raise_signal(signal.SIGINT)
            raise SessionError(WorkerFailure(FailureReason.CRASHED, "the worker was killed by SIGKILL"))

    passes.on_window = interrupt
    assert command("gate", "--base", other_code, "--data-dir", data_dir) == cli.Exit.INTERRUPTED
    assert f"mnist-bench gate --resume {the_file()}" in capsys.readouterr().err
    assert len(store.read(the_file(), GateFile).blocks) == 3
    passes.on_window = lambda _side, _scenario: None
    resume = ("gate", "--resume", the_file(), "--data-dir", data_dir)
    assert command(*resume) == cli.Exit.USAGE  # a folder is not known by its name
    assert "name it with --base" in capsys.readouterr().err
    assert command(*resume, "--base", ROOT) == cli.Exit.INCOMPARABLE
    assert "the baseline's code is not what it was" in capsys.readouterr().err
    assert command(*resume, "--base", other_code) == cli.Exit.DONE
    assert len(store.read(the_file(), GateFile).blocks) == 9


def test_a_gate_that_was_killed_twice_in_a_block_says_so_before_it_tries_again(
    command: Command, passes: FakeSessions, other_code: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loop around --resume would otherwise be killed for ever; what is finished stays."""
    arguments = ("--base", other_code, "--data-dir", data_dir)
    assert command("gate", *arguments) == cli.Exit.DONE
    whole, path = store.read(the_file(), GateFile), the_file()
    store.write(
        path, msgspec.structs.replace(whole, blocks=whole.blocks[:3], in_progress=InProgress(runs=(3,), times=2))
    )
    capsys.readouterr()
    assert command("gate", "--resume", path, *arguments) == cli.Exit.FAILED
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("mnist-bench: mnist-bench itself was killed 2 times")
    assert last.endswith(f"finished blocks are in {path}; go on with mnist-bench gate --resume {path}")
    assert command("gate", "--resume", path, *arguments) == cli.Exit.DONE
    assert store.read(path, GateFile).blocks[:3] == whole.blocks[:3]


def test_what_spoils_the_comparison_is_in_the_table(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """A log of the job may be gone, or nobody reads it: the base has moved on, or a user's own code is judged too."""
    own = msgspec.structs.replace(a_plan(), scenarios=a_plan([a_scenario("my_nets:build", "cpu(0)")]).scenarios)
    side = msgspec.structs.replace(a_gate_file().baseline, commits_ahead=3)
    store.write(Path("g.json"), a_gate_file(plan=own, baseline=side))
    assert command("gate", "--replay", "g.json") == cli.Exit.INCONCLUSIVE
    printed = capsys.readouterr().out
    assert "the baseline had 3 commits to the measured code that the contender lacked" in printed
    assert "my_nets:build: your own code is the same on both sides" in printed


def test_a_full_disk_at_the_first_block_names_no_file(
    command: Command,
    passes: FakeSessions,
    other_code: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """There is none to go on with."""

    def full(_self: Path, _target: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    assert command("gate", "--base", other_code, "--data-dir", data_dir, "-o", "g.json") == cli.Exit.USAGE
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "mnist-bench: g.json: cannot be written: No space left on device; nothing is saved"


@pytest.mark.parametrize("output_format", ["markdown", "csv", "json", "junit", "html"])
def test_every_format_has_the_verdict_of_every_scenario(
    command: Command, capsys: pytest.CaptureFixture[str], output_format: str
) -> None:
    """One of the four scenarios is slower in all formats."""
    gate_file = a_gate_file(whole_gate(a_plan(), slowed(noisy(41), 0.1, [LENET])))
    store.write(Path("g.json"), gate_file)
    assert command("gate", "--replay", "g.json", "--format", output_format) == cli.Exit.REGRESSED
    text = capsys.readouterr().out
    expected = ["unchanged", "regressed", "unchanged", "unchanged"]
    match output_format:
        case "csv":
            assert [row["verdict"] for row in csv.DictReader(text.splitlines())] == expected
        case "json":
            (table,) = json.loads(text)
            assert [row["verdict"] for row in table["rows"]] == expected
            assert table["facts"]["verdict"] == "regressed"
        case "junit":
            cases = ET.fromstring(text).findall(".//testcase")
            assert [case.find("failure") is not None for case in cases] == [False, True, False, False]
        case _:
            assert text.count("unchanged") >= 3
            assert "confirmed in 5 fresh blocks" in text


def test_the_job_summary_gets_the_table(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It does where a GitHub job asks for a summary."""
    store.write(Path("g.json"), a_gate_file(blocks(8, noisy(42))))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert command("gate", "--replay", "g.json") == cli.Exit.DONE
    assert "| = unchanged |" in (tmp_path / "summary.md").read_text()


def test_an_edited_file_gives_no_pass(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """A scenario or process is dropped, a number is none, the schema is newer, or the file is of another kind."""
    gate_file = a_gate_file(blocks(8, noisy(43)))

    def status(changed: GateFile | bytes) -> int:
        Path("edited.json").write_bytes(changed if isinstance(changed, bytes) else msgspec.json.encode(changed))
        return command("gate", "--replay", "edited.json")

    block = gate_file.blocks[2]
    shorter = msgspec.structs.replace(block, passes=block.passes[:3])
    lacking = msgspec.structs.replace(
        block,
        passes=tuple(msgspec.structs.replace(each, scenarios=each.scenarios[1:]) for each in block.passes),
    )
    for changed in (shorter, lacking):
        found = (*gate_file.blocks[:2], changed, *gate_file.blocks[3:])
        assert status(msgspec.structs.replace(gate_file, blocks=found)) == cli.Exit.FAILED
    assert status(msgspec.structs.replace(gate_file, blocks=())) == cli.Exit.INCONCLUSIVE
    text = msgspec.json.encode(gate_file)
    assert status(text.replace(b'"window_seconds":[', b'"window_seconds":[null,', 1)) == cli.Exit.USAGE
    assert status(text.replace(b'"gate_schema_version":', b'"gate_schema_version":9')) == cli.Exit.INCOMPARABLE
    assert status(b"{}") == cli.Exit.USAGE
    assert status(text[:1000]) == cli.Exit.USAGE
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--base"),
        (["--base", ""], "--base is empty"),
        (["--replay", "g.json", "--margin", "5%"], "--replay measures nothing"),
        (["--replay", "g.json", "--resume", "g.json"], "--replay measures nothing: leave out all but --format"),
        (["--replay", "g.json", "--base", "main"], "--replay measures nothing"),
        (["--replay", "g.json", "--budget", "1m"], "--replay measures nothing"),
        (["--resume", "g.json", "--data", "mnist"], "by the limits in its file: leave out all but --base, "),
        (["--base", "HEAD", "--strict", "--tolerance", "20%"], "leave out --tolerance or --strict"),
        (["--base", "no-such-reference"], "neither a folder nor a git reference"),
        (["--base", "HEAD", "--margin", "x"], "--margin"),
        (["--base", "HEAD", "--margin", "2", "--alpha", "5%"], "--margin"),
        (["--base", "HEAD", "--alpha", "0"], "--alpha"),
        (["--base", "HEAD", "--tolerance", "1%"], "--tolerance"),
        (["--base", "HEAD", "--budget", "soon"], "--budget"),
        (["--base", "HEAD", "--base-python", "no/python"], "--base-python"),
        (["--base", "HEAD", "--force", "--suite", "no-such-suite"], "unknown suite"),
        (["--base", "HEAD", "--force", "-k", "no-such-scenario"], "no scenario is left"),
        (["--replay", "none.json"], "none.json"),
        (["--resume", "none.json"], "none.json"),
    ],
)
def test_wrong_usage_is_one_line(
    command: Command, data_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """The exit status is 2, the line says what is wrong, and there is no traceback."""
    data = [] if "--replay" in arguments else ["--data-dir", data_dir]
    assert command("gate", *data, *arguments) == cli.Exit.USAGE
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


# --- calibrate and selftest -------------------------------------------------------------------------------------------


def test_a_calibration_is_recorded_resumed_shown_and_used(
    command: Command,
    passes: FakeSessions,
    other_code: Path,
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It has ten blocks, then twelve. A later gate on this machine takes its noise floors."""
    assert command("calibrate", "--show") == cli.Exit.USAGE
    assert "no calibration of this machine" in capsys.readouterr().err
    assert command("calibrate", "--blocks", 10, "--data-dir", data_dir) == cli.Exit.DONE
    assert "noise" in capsys.readouterr().out
    assert command("calibrate", "--blocks", 12, "--data-dir", data_dir) == cli.Exit.DONE
    (path,) = Path("results/calibration").glob("*.blocks.json")
    assert len(store.read(path, GateFile).blocks) == 12
    capsys.readouterr()
    assert command("calibrate", "--show", "--format", "json") == cli.Exit.DONE
    shown = json.loads(capsys.readouterr().out)
    floors = [row["noise_floor"] for row in shown[0]["rows"]]
    assert command("gate", "--base", other_code, "--data-dir", data_dir) == cli.Exit.DONE
    assert [gated.noise_floor for gated in store.read(the_file(), GateFile).plan.scenarios] == floors
    for option in ("--resume", "--replay"):
        assert command("gate", option, path) == cli.Exit.USAGE
        assert "is a calibration" in capsys.readouterr().err


def test_an_interrupted_or_failed_calibration_goes_on_and_is_not_used(
    command: Command, passes: FakeSessions, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A crash in the third block exits with 5 and leaves no calibration; the same command does the rest."""
    windows = 0

    def crash(_side: Side, _scenario: Scenario) -> None:
        nonlocal windows
        windows += 1
        if windows == PILOT + 2 * BLOCK + 5:
            raise SessionError(WorkerFailure(FailureReason.CRASHED, "status 1"))

    passes.on_window = crash
    arguments = ("calibrate", "--blocks", 10, "--data-dir", data_dir)
    assert command(*arguments) == cli.Exit.FAILED
    assert "go on with the same command" in capsys.readouterr().err
    assert command("calibrate", "--show") == cli.Exit.USAGE
    assert command(*arguments) == cli.Exit.DONE
    (path,) = Path("results/calibration").glob("*.blocks.json")
    assert [block.index for block in store.read(path, GateFile).blocks] == [*range(10)]
    changes = {
        "other scenarios": ["-k", "mlp"],
        "another seed": ["--seed", "7"],
        "other data": ["--data", "mnist"],
        "other scenarios and another seed": ["-k", "mlp", "--seed", "7"],
    }
    for change, options in changes.items():
        capsys.readouterr()
        assert command(*arguments, *options) == cli.Exit.USAGE
        assert f"was begun with {change}: use --anew" in capsys.readouterr().err
    assert command(*arguments, "--seed", 42, "--data", "custom") == cli.Exit.DONE  # its own


def test_a_calibration_of_other_code_is_not_mixed(
    command: Command, passes: FakeSessions, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message says how to start a new one, and --anew keeps the old blocks beside the new ones."""
    assert command("calibrate", "--blocks", 9, "--data-dir", data_dir) == cli.Exit.DONE
    (path,) = Path("results/calibration").glob("*.blocks.json")
    old = store.read(path, GateFile)
    side = msgspec.structs.replace(old.contender, tree_digest="e" * 64)
    store.write(path, msgspec.structs.replace(old, contender=side))
    assert command("calibrate", "--blocks", 9, "--data-dir", data_dir) == cli.Exit.INCOMPARABLE
    assert "--anew" in capsys.readouterr().err
    assert command("calibrate", "--blocks", 9, "--data-dir", data_dir, "--anew") == cli.Exit.DONE
    assert len(list(Path("results/calibration").glob("*.json"))) == 3


@pytest.mark.parametrize(
    ("found", "status"), [(0.1, cli.Exit.DONE), (0.0, cli.Exit.INCONCLUSIVE)], ids=["works", "finds nothing"]
)
def test_the_selftest_demands_both_answers(
    command: Command,
    passes: FakeSessions,
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    found: float,
    status: int,
) -> None:
    """The injected slowdown must be regressed, identical code must not. A gate that finds nothing fails."""
    starts = 0

    def slow_in_the_first_half(_side: Side, _scenario: Scenario) -> None:
        nonlocal starts
        starts += 1
        if starts > PILOT + 9 * BLOCK + 5 * BLOCK:  # pilot, nine blocks and a confirmation of the first gate
            passes.slowdown = 0.0

    passes.slowdown = found
    passes.on_window = slow_in_the_first_half
    assert command("selftest", "--slowdown", "10%", "--data-dir", data_dir) == status
    printed = capsys.readouterr()
    assert f"injected 10 %: {'regressed' if found else 'unchanged'}, expected regressed" in printed.err
    assert "identical code: unchanged, expected unchanged, and never regressed" in printed.err


@pytest.mark.parametrize(
    ("slowed_side", "identical", "status"),
    [
        (Verdict.REGRESSED, Verdict.UNCHANGED, cli.Exit.DONE),
        (Verdict.REGRESSED, Verdict.REGRESSED, cli.Exit.REGRESSED),
        (Verdict.REGRESSED, Verdict.INVALID, cli.Exit.INCONCLUSIVE),
        (Verdict.REGRESSED, Verdict.MISSING, cli.Exit.FAILED),
        (Verdict.MISSING, Verdict.UNCHANGED, cli.Exit.FAILED),
        (Verdict.UNCHANGED, Verdict.UNCHANGED, cli.Exit.INCONCLUSIVE),
    ],
)
def test_a_selftest_that_showed_less_did_not_succeed(slowed_side: Verdict, identical: Verdict, status: int) -> None:
    """Both halves must give their answer."""
    assert calibrate.selftest_status(slowed_side, identical) == status


# --- real processes ---------------------------------------------------------------------------------------------------


def start(data_dir: Path, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "gate", "--data-dir", str(data_dir), *arguments],
        cwd=folder,
        env={**os.environ, "MNIST_BENCH_CACHE_DIR": str(folder / "cache"), "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.system
def test_a_change_that_breaks_the_import_has_failed(data_dir: Path, other_code: Path, tmp_path: Path) -> None:
    """The exit status is 5 with one line, not a traceback, since nothing was typed wrong."""
    (other_code / "mnist_core" / "training.py").write_text("def broken(:\n")
    process = start(data_dir, tmp_path, "--base", str(other_code))
    printed = process.communicate(timeout=120)[0]
    assert process.returncode == cli.Exit.FAILED, printed
    assert "the baseline does not work under this harness" in printed
    assert "SyntaxError" in printed
    assert "Traceback" not in printed


@pytest.mark.system
def test_a_baseline_whose_predictions_take_three_times_as_long_is_seen_in_a_block(
    command: Command, data_dir: Path, other_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real processes answer real queries: the median and the tail say so, and every digit is the evaluation's."""
    monkeypatch.setattr("bench.experiments.gate.setup._TURNS", 2)
    monkeypatch.setattr("bench.experiments.gate.setup._QUERIES", 100)
    inject(other_code, 2.0, GateMetric.LATENCY)
    arguments = ("gate", "--base", other_code, "--data-dir", data_dir, "--metric", "latency", "--budget", "1s")
    assert command(*arguments, "-k", "mlp and hybridize=static") == cli.Exit.INCONCLUSIVE
    gate_file = store.read(the_file(), GateFile)
    (block,) = evidence_of(gate_file.plan, gate_file.blocks)
    assert block.failure is None
    assert len(block.rows) == 2
    assert block.rows[gate_file.plan.scenarios[0].key].effect < -0.5
    answered = [turn for each in gate_file.blocks[0].passes for own in each.scenarios for turn in own.answered]
    assert len(answered) == 4 * 2
    assert sum(turn.mismatches for turn in answered) == 0
