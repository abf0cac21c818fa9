"""Files that contradict themselves, or say what this version does not know, are told or shown, and break nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import cli
from bench.records import store
from tests import ROOT
from tests.support.cli import Command
from tests.support.tune import Machine, a_tune_plan, search

Change = Callable[[dict[str, Any]], object]


def _repeat_first_candidate(document: dict[str, Any]) -> None:
    document["plan"]["candidates"][1] = document["plan"]["candidates"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file["rounds"][0]["measurements"][0]["samples"].pop(), "not as many samples as window_seconds"),
        (lambda file: file["rounds"][0]["measurements"][0].update(candidate=99), "candidate 99 of 6"),
        (lambda file: file["rounds"][0]["ruled"].append({"candidate": 7, "ruling": "slower", "detail": ""}), "7 of 6"),
        (_repeat_first_candidate, "the plan has a candidate twice"),
    ],
)
def test_a_tune_file_that_contradicts_itself_is_one_line(
    command: Command, capsys: pytest.CaptureFixture[str], change: Change, words: str
) -> None:
    path = Path("tune.json")
    store.write(path, search(a_tune_plan(), Machine(dict.fromkeys(range(6), 0.0))))
    assert command("tune", "--replay", path) in {cli.Exit.DONE, cli.Exit.INCONCLUSIVE}
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    capsys.readouterr()
    assert command("tune", "--replay", path) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert f"not a valid tune file: {'' if words.startswith('the plan') else 'round 0: '}" in line
    assert words in line


def test_a_verdict_that_is_not_known_is_no_pass(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """A calibration may be of a version that has more verdicts."""
    known = next((ROOT / "results/calibration").glob("*-????????.json"))
    document = json.loads(known.read_text())
    gates = document["replays"][0]["gates"]
    document["replays"][0]["verdicts"] = {"splendid": gates}
    Path("c.json").write_text(json.dumps(document))
    assert command("calibrate", "--file", "c.json", "--format", "json") == cli.Exit.DONE
    rows = [row for table in json.loads(capsys.readouterr().out) for row in table["rows"] if "passed" in row]
    assert rows[0]["passed"] == 0
