"""A user meets `profile`: real processes, its file, its trace, and every wrong use in one line."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import cli
from bench.cli.commands import profile
from bench.cli.commands.profile import one_scenario
from bench.experiments.profile.breakdown import break_down
from bench.machine.linux.cpu import vector_floats
from bench.records import store
from bench.records.environment import Software
from bench.records.profile import ProfileFile
from bench.records.result import FailureReason
from bench.scenarios.axes import LoopName
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import Overrides
from bench.worker import process
from bench.worker.process import WorkerFailure
from bench.worker.protocol.replies import PhasesReply, Reply
from bench.worker.protocol.requests import OperatorsRequest, PhasesRequest
from mnist_core.recipe import Engine, Network
from tests.support.cli import Command
from tests.support.idx_files import small_idx_folder
from tests.support.profile import a_profile, phase_rounds
from tests.support.records import a_result_set, a_software, tuned

STEPS = 3


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_idx_folder(tmp_path_factory.mktemp("data"), train=400, test=50)


@pytest.mark.system
@pytest.mark.parametrize(
    ("options", "scenario", "calls"),
    [
        (
            ["--network", "mlp", "--cpu-threads", 1],
            Scenario(network="mlp", cpu_threads=1),
            {"FullyConnected": 6, "_backward_FullyConnected": 6, "Activation": 4},
        ),
        (
            ["--network", "lenet", "--loop", "tuned", "--cpu-threads", 1, "--batch-size", 50],
            msgspec.structs.replace(tuned("lenet", vector_floats()), cpu_threads=1, batch_size=50),
            {"Convolution": 2, "_backward_Convolution": 2, "FullyConnected": 2, "Pooling": 2, "Activation": 4},
        ),
    ],
)
def test_a_profile_from_end_to_end(
    command: Command,
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[object],
    scenario: Scenario,
    calls: dict[str, int],
) -> None:
    """Two processes; every phase, every operator as often as the network has it, a trace, and the same from the file.

    Whether the sum is the epoch depends on what else this machine does.
    """
    status = command(
        "profile",
        *options,
        "--data-dir",
        data_dir,
        "--steps",
        STEPS,
        "--rounds",
        2,
        "--trace",
        "t.json",
        "-o",
        "p.json",
    )
    printed = capsys.readouterr()
    assert status in {cli.Exit.DONE, cli.Exit.INCONCLUSIVE}
    found = store.read(Path("p.json"), ProfileFile)
    assert (found.scenario, found.phases.steps) == (scenario, STEPS)
    assert found.phases.samples == STEPS * scenario.batch_size
    assert found.environment.software is not None
    assert (status == cli.Exit.DONE) is break_down(found).closes
    operators = {each.name: each.calls / STEPS for each in found.profiled.operators}
    assert operators.items() >= calls.items()
    assert (found.profiled.engine_threads == 0) is (scenario.engine is Engine.NAIVE)

    events = json.loads(Path("t.json").read_bytes())["traceEvents"]
    names = {event["name"] for event in events}
    assert names >= {*calls, "shuffle", "input", "forward", "backward", "metric", "update"}

    for word in ("where an epoch goes", "overlap", "rest", "MXNet's operators", "GFLOP/s"):
        assert word in printed.out
    assert command("profile", "--replay", "p.json") == status
    assert capsys.readouterr().out == printed.out


@pytest.mark.parametrize(
    ("epoch", "status", "words"),
    [
        (21.0, cli.Exit.DONE, ""),
        (25.0, cli.Exit.INCONCLUSIVE, "too unsteady"),
        (18.0, cli.Exit.INCONCLUSIVE, "measure again with --rounds "),
    ],
)
def test_a_sum_that_is_not_the_epoch_is_no_result(
    command: Command, capsys: pytest.CaptureFixture[str], epoch: float, status: int, words: str
) -> None:
    """The exit status is 3, and the percentage is printed."""
    store.write(Path("p.json"), a_profile(phases=phase_rounds(adds=(1, 2, 3, 4, 5, 6), epoch=epoch)))
    assert command("profile", "--replay", "p.json") == status
    printed = capsys.readouterr()
    assert words in printed.err
    assert f"{100 * 21 / epoch:.1f} %" in printed.out


@pytest.mark.parametrize("output_format", ["text", "markdown", "csv", "json", "html"])
def test_every_format_shows_both_tables(
    command: Command, capsys: pytest.CaptureFixture[str], output_format: str
) -> None:
    """They are those of the phases and of the operators; programs get raw numbers."""
    store.write(Path("p.json"), a_profile())
    assert command("profile", "--replay", "p.json", "--format", output_format) == cli.Exit.DONE
    printed = capsys.readouterr().out
    assert "shuffle" in printed
    assert "FullyConnected" in printed
    if output_format == "json":
        phases, operators = json.loads(printed)
        assert phases["rows"][2]["share"] == pytest.approx(0.3)
        assert phases["facts"]["phases_over_epoch"] == pytest.approx(1.0)
        assert operators["rows"][0]["calls_per_step"] == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give one value of --network"),
        (
            ["--network", "mlp", "--batch-size", 100, "--batch-size", 500, "--set", "engine=naive,threaded"],
            "give one value of --batch-size and of --set engine",
        ),
        (["--network", "mlp", "--batch-size", 100, "--batch-size", 500], "these are 2"),
        (["--network", "mlp", "--set", "engine=naive,threaded", "--set", "update=flat,trainer"], "and 2 more"),
        (["--network", "mpl"], "did you mean 'mlp'"),
        (["--network", "mlp", "--framework", "torch"], "torch is not supported"),
        (["--network", "mlp", "--set", "motor=naive"], "unknown axis"),
        (["--network", "mlp", "--set", "engine=steam"], "unknown engine 'steam' (known: "),
        (["--network", "mlp", "--steps", 0], "--steps"),
        (["--network", "mlp", "--rounds", 0], "--rounds"),
        (["--network", "mlp", "--format", "junit"], "junit"),
        (["--network", "mlp", "--data-dir", "nowhere"], "nowhere"),
        (["--network", "mlp", "--trace", "nowhere/t.json"], "no such folder"),
        (["--replay", "none.json"], "none.json"),
        (["--replay", "none.json", "--network", "mlp"], "leave out all but --format"),
        (["--replay", "none.json", "--timeout", 5], "leave out all but --format"),
        (["--replay", "none.json", "--steps", 5], "leave out all but --format"),
    ],
)
def test_wrong_use_is_one_line(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[object],
    words: str,
) -> None:
    """The exit status is 2, before anything is measured."""
    monkeypatch.setattr(process, "send_request", lambda *_arguments, **_more: pytest.fail("it was measured"))
    monkeypatch.setattr(process, "describe", lambda *_arguments, **_more: Software("3", "mxnet", "1", (), "1", ()))
    assert command("profile", *arguments) == cli.Exit.USAGE
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        ("{", cli.Exit.USAGE, "not JSON"),
        ('{"schema_version": 1}', cli.Exit.USAGE, "is a result file: mnist-bench show p.json shows it"),
        ('{"profile_schema_version": 99}', cli.Exit.INCOMPARABLE, "profile schema version 99 is newer"),
        ('{"profile_schema_version": 1}', cli.Exit.USAGE, "not a valid profile file"),
    ],
)
def test_files_that_are_no_profile(
    command: Command, capsys: pytest.CaptureFixture[str], content: str, status: int, words: str
) -> None:
    """One line names the file and says what it is not."""
    Path("p.json").write_text(content)
    assert command("profile", "--replay", "p.json") == status
    assert f"p.json: {words}" in capsys.readouterr().err


def test_a_profile_with_a_round_missing_is_refused(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """What the types cannot say is checked when a file is read."""
    profile = a_profile()
    store.write(
        Path("p.json"),
        msgspec.structs.replace(profile, phases=msgspec.structs.replace(profile.phases, epoch_seconds=(1.0,))),
    )
    assert command("profile", "--replay", "p.json") == cli.Exit.USAGE
    assert "not measured in all of 1 rounds" in capsys.readouterr().err


def test_a_file_that_is_there_is_kept(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """What could not be saved is not measured either."""
    store.write(Path("p.json"), a_result_set())
    before = Path("p.json").read_bytes()
    assert command("profile", "--network", "mlp", "-o", "p.json") == cli.Exit.USAGE
    assert "exists" in capsys.readouterr().err
    assert Path("p.json").read_bytes() == before


@pytest.mark.parametrize("failing", [PhasesRequest, OperatorsRequest])
def test_a_process_that_fails_is_a_failure(
    command: Command,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failing: type[object],
) -> None:
    """The exit status is 5 with the reason, and nothing is saved."""

    def ask(_interpreter: object, request: object, _kind: object, **_more: object) -> Reply | WorkerFailure:
        if isinstance(request, failing):
            return WorkerFailure(FailureReason.TIMEOUT, "no result within 1 s")
        return PhasesReply(phase_rounds(adds=(1, 2, 3, 4, 5, 6), epoch=21.0))

    monkeypatch.setattr(process, "send_request", ask)
    monkeypatch.setattr("bench.cli.commands.profile.software_of", lambda _scenarios: a_software())
    status = command("profile", "--network", "mlp", "--data-dir", data_dir)
    assert status == cli.Exit.FAILED
    assert "timeout: no result within 1 s" in capsys.readouterr().err
    assert not list(Path("results/runs").glob("*.json"))


@pytest.mark.system
def test_a_gpu_that_cannot_be_used_is_a_failure(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """The CPU never takes its place silently."""
    assert command("profile", "--network", "mlp", "--contexts", "gpu(7)") == cli.Exit.FAILED
    assert "gpu(7): " in capsys.readouterr().err


@pytest.mark.parametrize("floats", [16, 8])
@pytest.mark.parametrize("network", [network.value for network in Network])
def test_a_scenario_is_named_as_for_a_run(network: str, floats: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options of the axes set it; the loop has its own values on the others, which go by the CPU."""
    monkeypatch.setattr(profile, "vector_floats", lambda: floats)
    assert one_scenario(Overrides(network=(network,))) == Scenario(network=network)
    assert one_scenario(Overrides(network=(network,), loop=(LoopName.TUNED,))) == tuned(network, floats)
    assert one_scenario(Overrides(network=("my.nets:build",))).network == "my.nets:build"


@pytest.mark.parametrize("name", ["p.json", "t.json"])
def test_a_full_disk_does_not_cost_the_profile(
    command: Command, data_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """What cannot be saved, or its trace, is shown, and the reason is the last line."""

    def full(path: Path, target: Any) -> Path:  # noqa: ANN401  # of `replace`, or the bytes of `write_bytes`
        if path.name != "t.json" and name == "t.json":
            return real(path, target)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place, real = "bench.cli.commands.profile", Path.replace
    monkeypatch.setattr(f"{place}.software_of", lambda _scenarios: a_software())
    monkeypatch.setattr(f"{place}._measure", lambda *_arguments: (a_profile(), None))
    monkeypatch.setattr(f"{place}.trace.to_chrome", lambda *_arguments: b"{}")
    monkeypatch.setattr(Path, "replace", full)
    monkeypatch.setattr(Path, "write_bytes", full)
    arguments = ("profile", "--network", "mlp", "--data-dir", data_dir, "-o", "p.json", "--trace", "t.json")
    assert command(*arguments) == cli.Exit.USAGE
    printed = capsys.readouterr()
    assert "where an epoch goes" in printed.out
    assert printed.err.splitlines()[-1] == f"mnist-bench: {name}: cannot be written: No space left on device"
    assert Path("p.json").exists() is (name == "t.json")
