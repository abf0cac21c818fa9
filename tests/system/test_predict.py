"""`run --predict` with real workers: alone and in turns, from the command line to the file and the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from bench import cli
from bench.analysis import accuracy
from bench.records import store
from bench.records.result import ResultSet
from tests.support.cli import Command
from tests.support.idx_files import small_idx_folder

pytestmark = pytest.mark.system

_SUITE: Final = """
title = "alone, and in turns"
[[matrix]]
network = ["mlp"]
contexts = ["cpu(0)"]
loop = ["tuned"]
sampling = { repeats = 1, epochs = 1 }
[[matrix]]
network = ["mlp"]
contexts = ["cpu(0)"]
hybridize = ["off", "static"]
sampling = { in_turns = true, repeats = 1, epochs = 2, samples = 100 }
"""


def test_each_process_also_predicts(command: Command, tmp_path: Path) -> None:
    """All test images one by one, as digits that the evaluation finds, and batches of the sizes that there are."""
    data = small_idx_folder(tmp_path / "data", train=200, test=410)
    Path("suite.toml").write_text(_SUITE, encoding="utf-8")
    arguments = ("--suite", "suite.toml", "--data-dir", data, "-o", "file.json")
    assert command("run", "--predict", *arguments) in {cli.Exit.DONE, cli.Exit.FAILED}  # an epoch may miss its band
    result_set = store.read(Path("file.json"), ResultSet)
    assert not result_set.failures
    assert [run.block for run in result_set.runs].count(None) == 1
    for run in result_set.runs:
        assert run.prediction is not None
        stream = run.prediction.single_stream
        assert stream is not None
        assert stream.queries == 400  # as many in each of 20 turns
        assert (stream.warm_up, stream.mismatches) == (100 + 20 * 20, 0)
        assert [each.fraction for each in stream.percentiles] == [0.5, 0.9, 0.95, 0.99]
        ends = [(each.low_ns, each.ns, each.high_ns) for each in stream.percentiles]
        assert ends == [tuple(sorted(each)) for each in ends]
        assert [(each.batch_size, each.samples, len(each.seconds)) for each in run.prediction.offline] == [
            (10, 410, 10),
            (100, 400, 10),
        ]
        assert "predicted" not in (accuracy.judge(run, result_set.dataset) or "")


def test_too_few_test_images_are_refused_before_anything_is_measured(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_idx_folder(tmp_path / "data", train=200, test=300)
    arguments = ("--suite", "smoke", "-k", "mlp and off", "--data-dir", data, "-o", "file.json")
    assert command("run", "--predict", *arguments) == cli.Exit.USAGE
    assert "368 queries at least" in capsys.readouterr().err
    assert not Path("file.json").exists()


def test_ranks_alone_cannot_be_asked_to_predict(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("run", "--predict", "--suite", "smoke", "--ranks", "2", "--dry-run") == cli.Exit.USAGE
    assert "--predict is for scenarios of one process" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "frameworks"), [((), {"mxnet"}), (("--framework", "mxnet", "--framework", "jax"), {"mxnet", "jax"})]
)
def test_peers_that_are_not_installed_are_left_out(
    command: Command,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    frameworks: set[str],
) -> None:
    """One that was asked for stays in the plan, so that the run says that it is missing."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert command("run", "--suite", "predict", "--dry-run", *arguments) == cli.Exit.DONE
    captured = capsys.readouterr()
    listed = [line for line in captured.out.splitlines() if " x " in line]
    found = {name for name in ("torch", "jax") if any(f" {name}" in line for line in listed)} | {"mxnet"}
    assert found == frameworks
    assert ("not installed here (torch, jax)" in " ".join(captured.err.split())) == (not arguments)
