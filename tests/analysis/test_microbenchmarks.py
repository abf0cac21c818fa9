"""Real micro-benchmarks run under pytest-benchmark, and their files are read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import cli
from bench.analysis.across import microbenchmarks
from bench.analysis.across.microbenchmarks import Microbenchmark
from bench.errors import StoreError
from bench.scenarios.scenario import Scenario
from tests import ROOT
from tests.support.cli import Command
from tests.support.records import a_scenario, an_environment


@pytest.fixture
def command(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run the command in a folder of its own."""
    (tmp_path / "here").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "here")
    return command


def a_file(path: Path, seconds: dict[str, list[float]], **environment: Any) -> Path:  # noqa: ANN401  # its fields
    """Write a file as pytest-benchmark does: the rounds of each micro-benchmark."""
    facts = msgspec.to_builtins(an_environment(**environment))
    del facts["captured_at"]
    document = {
        "machine_info": {"environment": facts},
        "commit_info": {"id": "unversioned"},
        "benchmarks": [
            {
                "name": name,
                "extra_info": {"micro": name, "scenario": msgspec.to_builtins(a_scenario())},
                "stats": {"data": rounds, "mean": sum(rounds) / len(rounds)},
            }
            for name, rounds in seconds.items()
        ],
        "datetime": "2026-01-31T12:00:00.5+00:00",
        "version": "5.3.1",
    }
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(document, indent=4))
    return path


@pytest.mark.system
def test_real_micros_are_read_by_both_tools(
    tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """pytest-benchmark's comparison and ours read them; the machine is described and its host not named."""
    files = [tmp_path / name for name in ("a.json", "b.json")]
    chosen = "metric or split_and_load or (mlp and 100 and bound) or (update and mlp)"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "tests/benchmarks", "-o", "python_files=micro_*.py", "-q"),
            *("-p", "no:cacheprovider", "--benchmark-only", "--benchmark-max-time", "0.01"),
            *("--benchmark-min-rounds", "2", "--benchmark-json", str(files[0]), "-k", chosen),
        ],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    shutil.copyfile(*files)  # a second run would be such a file, too
    side = microbenchmarks.read(files[0])
    assert {each.name for each in side.seconds} == {
        "split_and_load", "forward", "forward_backward", "update", "metric", "step",
    }  # fmt: skip
    assert Microbenchmark("split_and_load", Scenario(network="mlp", cpu_threads=1)) in side.seconds
    assert side.environment.software is not None
    assert side.environment.software.framework == "mxnet"
    assert os.uname().nodename not in files[0].read_text()
    theirs = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", *map(str, files)],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "test_split_and_load" in theirs.stdout
    assert command("compare", *files) == cli.Exit.DONE
    assert "split_and_load" in capsys.readouterr().out


def test_the_normal_test_run_has_no_micros() -> None:
    """They take minutes, and need the machine for themselves."""
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/benchmarks", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "no tests collected" in listed.stdout


def test_one_file_is_one_process(tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """However many rounds it has, it gives a ratio of medians without an interval, and the table says so."""
    before = a_file(tmp_path / "a.json", {"step": [1.0, 1.1, 1.2, 9.0, 1.1]})
    after = a_file(tmp_path / "b.json", {"step": [2.2] * 5})
    (row,) = microbenchmarks.compare(microbenchmarks.read(before), microbenchmarks.read(after))
    assert row.ratio is not None
    assert row.ratio.value == pytest.approx(2.0)
    assert row.ratio.lower is None
    assert row.ratio.n == 1
    assert command("compare", before, after) == cli.Exit.DONE
    printed = capsys.readouterr().out
    assert "n = 1 process" in printed
    assert "0 of 1 told apart" in printed
    assert "rounds of one process are not independent" in printed.replace("\n", " ").replace("  ", " ")


def test_files_of_a_folder_are_processes_of_one_side(
    tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ratio then has an interval, and rows that it excludes from 1 are told apart."""
    for side, factor in (("before", 1.0), ("after", 1.5)):
        for index in range(4):
            a_file(
                tmp_path / side / f"{index}.json",
                {"step": [factor * (1 + index / 100)], "metric": [1 + index / 100], side: [1.0]},
            )
    assert command("compare", tmp_path / "before", tmp_path / "after", "--format", "json") == cli.Exit.DONE
    (table,) = json.loads(capsys.readouterr().out)
    rows = {row["micro"]: row for row in table["rows"]}
    assert rows["step"]["ratio"]["value"] == pytest.approx(1.5)
    assert 1.4 < rows["step"]["ratio"]["lower"] < 1.5 < rows["step"]["ratio"]["upper"] < 1.6
    assert rows["metric"]["ratio"]["lower"] < 1 < rows["metric"]["ratio"]["upper"]
    assert rows["before"]["ratio"] is None
    assert rows["after"]["baseline_seconds"] is None
    assert "1 of 4 told apart" in table["notes"][0]
    for output_format in ("text", "markdown", "csv", "html"):
        assert command("compare", tmp_path / "before", tmp_path / "after", "--format", output_format) == 0
        assert "metric" in capsys.readouterr().out


def test_another_machine_is_named(tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Two sides may be two machines; one side may not."""
    here = a_file(tmp_path / "here" / "a.json", {"step": [1.0]})
    there = a_file(tmp_path / "there" / "b.json", {"step": [1.0]}, host_hash="c" * 64)
    assert command("compare", here, there) == cli.Exit.DONE
    assert "differs" in capsys.readouterr().out
    a_file(tmp_path / "here" / "b.json", {"step": [1.0]}, host_hash="c" * 64)
    assert command("compare", tmp_path / "here", there) == cli.Exit.USAGE
    assert "one side is one machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a contender too"),
        (["b.json", "--gate"], "leave out all but --format"),
        (["b.json", "--margin", "3%"], "leave out all but --format"),
        (["b.json", "--row", "network"], "leave out all but --format"),
        (["b.json", "--format", "junit"], "leave out all but --format"),
        (["none.json"], "none.json: No such file"),
        (["other.json"], "other.json: not a file of mnist-bench's micro-benchmarks"),
        (["foreign.json"], "foreign.json: its machine_info is not mnist-bench's"),
        (["empty"], "empty: no JSON file in it"),
    ],
)
def test_wrong_use_is_one_line(
    command: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """The exit status is 2."""
    a_file(Path("a.json"), {"step": [1.0]})
    a_file(Path("b.json"), {"step": [1.0]})
    Path("other.json").write_text('{"schema_version": 2}')
    Path("empty").mkdir()
    foreign = json.loads(Path("a.json").read_text()) | {"machine_info": {"environment": {"node": "x"}}}
    Path("foreign.json").write_text(json.dumps(foreign))
    assert command("compare", "a.json", *arguments) == cli.Exit.USAGE
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize("rounds", [[], [0.0], [-1.0], ["a"]])
def test_rounds_that_are_no_times_are_refused(tmp_path: Path, rounds: list[Any]) -> None:
    """They are refused before anything is computed with them."""
    path = a_file(tmp_path / "a.json", {"step": [1.0]})
    document = json.loads(path.read_text())
    document["benchmarks"][0]["stats"]["data"] = rounds
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="not a file of mnist-bench's micro-benchmarks"):
        microbenchmarks.read(path)


def test_what_is_a_file_of_micros(tmp_path: Path) -> None:
    """Its first bytes tell. A result file, a folder without such files and a missing file are none."""
    assert microbenchmarks.is_micro(a_file(tmp_path / "m" / "a.json", {"step": [1.0]}))
    assert microbenchmarks.is_micro(tmp_path / "m")
    (tmp_path / "r.json").write_text('{"schema_version": 1}')
    assert not any(map(microbenchmarks.is_micro, (tmp_path / "r.json", tmp_path, tmp_path / "none.json")))


@pytest.mark.parametrize("date", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0099-01-01T00:00:00Z"])
def test_a_date_that_no_clock_had_is_one_line(tmp_path: Path, date: str) -> None:
    """In UTC it would be of a year that no calendar here has, or is written with fewer digits."""
    path = a_file(tmp_path / "a.json", {"step": [1.0]})
    path.write_text(path.read_text().replace("2026-01-31T12:00:00.5+00:00", date))
    with pytest.raises(StoreError, match="its machine_info is not mnist-bench's"):
        microbenchmarks.read(path)


def test_sorted_keys_are_no_other_file(tmp_path: Path, command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """A formatter that sorts keys puts others before the one that tells."""
    path = a_file(tmp_path / "a.json", {"step": [1.0]})
    path.write_text(json.dumps(json.loads(path.read_text()), sort_keys=True, indent=1))
    assert microbenchmarks.is_micro(path)
    assert command("compare", path, path) == cli.Exit.DONE
    assert "step" in capsys.readouterr().out
    path.write_text('{"benchmarks": [1, 2')
    assert not microbenchmarks.is_micro(path)


def test_without_its_rounds_a_file_has_their_median(tmp_path: Path) -> None:
    """pytest-benchmark saves rounds only if asked, and always what we make of them."""
    path = a_file(tmp_path / "a.json", {"step": [1.0, 2.0, 9.0]})
    document = json.loads(path.read_text())
    document["benchmarks"][0]["stats"] = {"median": 2.0, "mean": 4.0}
    path.write_text(json.dumps(document))
    assert list(microbenchmarks.read(path).seconds.values()) == [(2.0,)]
    document["benchmarks"][0]["stats"] = {"mean": 4.0}
    path.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="save with --benchmark-json"):
        microbenchmarks.read(path)
