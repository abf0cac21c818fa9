"""A user meets `tune`: every exit status, every format, replay, resume, what is pasted, and real processes."""

from __future__ import annotations

import csv
import functools
import json
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from bench import cli
from bench.cli.commands.tune import status
from bench.errors import SetupError
from bench.experiments.tune import estimates
from bench.experiments.tune.results import tune_result
from bench.records import store
from bench.records.environment import Software
from bench.records.result import FailureReason
from bench.records.tune import REFERENCE, TuneFile
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import expand, parse_suite
from bench.worker import process
from bench.worker.process import Cancellation, Interpreter, WorkerFailure
from bench.worker.session import SessionError
from mnist_core.devices import Device, DeviceKind, Probe, Unusable
from mnist_core.recipe import Engine
from tests.support.cli import Command
from tests.support.idx_files import small_idx_folder
from tests.support.records import a_software
from tests.support.tune import FakeWorkers, Machine, a_tune_plan, bumpy, candidates, search

#: Seventeen settings: few enough for a test, too many for the final alone.
NARROW = ("--contexts", "cpu(0)", "--hybridize", "bound", "--set", "engine=threaded")
#: All but the execution as the tutorial has it.
ONLY_THE_TUTORIALS = [
    word
    for setting in ("input_pipeline=ndarrayiter", "metric_sync=batch", "update=trainer", "engine=threaded")
    for word in ("--set", setting)
]
ONLY_THE_TUTORIALS += ["--set", "update_on_kvstore=true"]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_idx_folder(tmp_path_factory.mktemp("data"), train=400, test=50)


@pytest.fixture
def command(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `mnist-bench tune ARGS` on a machine with two cores and no GPU."""
    monkeypatch.setattr("bench.experiments.tune.setup.available", lambda: (Device(DeviceKind.CPU, 0),))
    monkeypatch.setattr("bench.experiments.tune.setup.usable_core_count", lambda: 2)
    monkeypatch.setattr("bench.experiments.tune.setup.vector_floats", lambda: 8)
    return functools.partial(command, "tune")


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> FakeWorkers:
    """Stand for all processes of a search; flat updates and one context are faster."""

    def cost(scenario: Scenario) -> float:
        return 1e-4 * len(scenario.contexts) * (0.5 if scenario.update == "flat" else 1.0)

    fake = FakeWorkers(cost=cost)

    def describe(interpreter: Interpreter, stop: Cancellation, scenarios: Sequence[Scenario]) -> Software:
        return a_software()

    for module in ("bench.cli.commands.tune", "bench.experiments.tune.setup"):
        monkeypatch.setattr(f"{module}.session_starter", lambda _stop: fake.start)
    monkeypatch.setattr(process, "describe", describe)
    return fake


def the_file() -> Path:
    (path,) = Path("results/runs").glob("tune-*.json")
    return path


def a_finished_file(path: Path) -> TuneFile:
    """Return the file of a search of the whole space."""
    every = candidates("mlp")
    truth = bumpy([each.scenario for each in every], 4)
    tune_file = search(a_tune_plan(candidates=every, budget_seconds=300.0), Machine(truth=truth, seed=4))
    store.write(path, tune_file)
    return tune_file


# --- with fake processes ----------------------------------------------------------------------------------------------


def test_a_search_says_what_it_found_and_its_file_says_it_again(
    command: Command, workers: FakeWorkers, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stored file gives the same text, to the bit."""
    assert command("--network", "mlp", "--data-dir", data_dir, *NARROW) == cli.Exit.DONE
    printed = capsys.readouterr()
    assert "recommended" in printed.out
    assert "round 1:" in printed.err
    assert "fastest: cpu(0)" in printed.err
    tune_file = store.read(the_file(), TuneFile)
    first = estimates.winner(tune_file.plan, tune_file.rounds)
    assert first is not None
    assert tune_file.plan.candidates[first].scenario.update == "flat"
    assert command("--replay", the_file()) == cli.Exit.DONE
    assert capsys.readouterr().out == printed.out


@pytest.mark.parametrize(("budget", "warnings"), [("20s", 1), ("2m", 0)])
def test_a_budget_that_is_too_small_is_said_to_be(
    command: Command,
    workers: FakeWorkers,
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    budget: str,
    warnings: int,
) -> None:
    """It is said before the first round and only there; the search is done all the same."""
    monkeypatch.setattr("bench.experiments.tune.eta.least_seconds", lambda _plan: 70.0)
    assert command("--network", "mlp", "--data-dir", data_dir, *NARROW, "--budget", budget) == cli.Exit.DONE
    said = "a budget of 20 s is less than one round and the final need, about 70 s: it will take that long"
    before, _round, _after = capsys.readouterr().err.partition("round 1 begins")
    assert before.count(said) == before.count("a budget of") == warnings
    assert command("--replay", the_file()) == cli.Exit.DONE
    assert "a budget of" not in capsys.readouterr().err


def test_what_is_printed_to_paste_is_the_winner(
    command: Command, workers: FakeWorkers, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program's own readers read the suite and the command line as they stand in the output."""
    assert command("--network", "mlp", "--batch-size", 50, "--data-dir", data_dir, *NARROW) == cli.Exit.DONE
    text = capsys.readouterr().out
    winner = tune_result(store.read(the_file(), TuneFile)).winner
    assert winner is not None
    assert winner.batch_size == 50
    suite = text[text.index("title = ") : text.index("or as a command:")]
    assert {run.scenario for run in expand(parse_suite(suite, where="pasted"))} == {winner}
    (line,) = [line for line in text.splitlines() if line.startswith("mnist-bench run ")]
    assert f"--set engine={Engine.THREADED}" in line
    assert shlex.split(line)[:4] == ["mnist-bench", "run", "--suite", "tutorial"]


def test_an_exhaustive_search_measures_everything(
    command: Command, workers: FakeWorkers, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no budget and predicts nothing."""
    assert command("--network", "mlp", "--data-dir", data_dir, *NARROW, "--exhaustive") == cli.Exit.DONE
    assert "an exhaustive search" in capsys.readouterr().out
    tune_file = store.read(the_file(), TuneFile)
    assert tune_file.plan.budget_seconds is None
    assert len(tune_result(tune_file).standings) == len(tune_file.plan.candidates) == 17


def test_nothing_faster_is_not_a_success_and_not_a_failure(
    command: Command, workers: FakeWorkers, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is 3 where the tutorial's loop was left out and is not beaten, 0 where it took part and won."""
    workers.cost = lambda scenario: 1e-4 if len(scenario.contexts) == 2 else 2e-4
    arguments = ("--network", "mlp", "--data-dir", data_dir)
    assert command(*arguments, *NARROW, "-o", "left-out.json") == cli.Exit.INCONCLUSIVE
    assert "not shown to be faster" in capsys.readouterr().out
    workers.cost = lambda scenario: 1e-4 if scenario.hybridize == "off" else 2e-4
    two = ("--contexts", "cpu(0),cpu(1)", *ONLY_THE_TUTORIALS)
    assert command(*arguments, *two, "-o", "won.json") == cli.Exit.DONE
    assert "nothing was faster" in capsys.readouterr().out


def test_where_nothing_works_the_status_says_failed(
    command: Command, workers: FakeWorkers, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does for a failed pilot, and when all candidates but the tutorial's loop fail."""

    def crash(_scenario: Scenario, _before: int) -> None:
        raise SessionError(WorkerFailure(FailureReason.CRASHED, "status 1", "MXNetError: no"))

    workers.on_set_up = crash
    arguments = ("--network", "mlp", "--data-dir", data_dir, *NARROW)
    assert command(*arguments, "-o", "pilot.json") == cli.Exit.FAILED
    assert "the tutorial's loop does not work here: crashed: status 1: MXNetError: no" in capsys.readouterr().err
    assert not Path("pilot.json").exists()

    def crash_others(scenario: Scenario, before: int) -> None:
        if scenario.hybridize != "off":
            crash(scenario, before)

    workers.on_set_up = crash_others
    assert command(*arguments, "-o", "others.json") == cli.Exit.FAILED
    assert "crashed: status 1" in capsys.readouterr().out


def test_an_interrupted_search_shows_what_it_has_and_goes_on(
    command: Command, workers: FakeWorkers, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After Ctrl-C while screening it exits with 130, saves and shows; --resume does the rest."""
    windows = 0

    def interrupt(_scenario: Scenario) -> None:
        nonlocal windows
        windows += 1
        if windows == 40:
            signal.raise_signal(signal.SIGINT)
            raise SessionError(WorkerFailure(FailureReason.CRASHED, "the worker was killed by SIGKILL"))

    workers.on_window = interrupt
    arguments = ("--network", "mlp", "--data-dir", data_dir, *NARROW)
    assert command(*arguments) == cli.Exit.INTERRUPTED
    printed = capsys.readouterr()
    assert f"mnist-bench tune --resume {the_file()}" in printed.err
    assert "not finished" in printed.out
    begun = store.read(the_file(), TuneFile)
    assert begun.rounds
    assert command("--replay", the_file()) == cli.Exit.INCONCLUSIVE
    assert command("--resume", the_file(), "--data-dir", data_dir) == cli.Exit.DONE
    assert "not finished" not in capsys.readouterr().out.splitlines()[2]
    assert store.read(the_file(), TuneFile).rounds[: len(begun.rounds)] == begun.rounds


def test_a_search_is_not_resumed_elsewhere(
    command: Command, workers: FakeWorkers, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another machine and other images are refused."""
    a_finished_file(Path("t.json"))
    assert command("--resume", "t.json", "--data-dir", data_dir) == cli.Exit.INCOMPARABLE
    assert "another machine" in capsys.readouterr().err
    assert command("--network", "mlp", "--data-dir", data_dir, *NARROW, "-o", "here.json") == cli.Exit.DONE
    other = small_idx_folder(tmp_path / "other", train=300, test=50)
    assert command("--resume", "here.json", "--data-dir", other) == cli.Exit.INCOMPARABLE
    assert "other data" in capsys.readouterr().err


def test_what_no_process_can_do_is_one_line(
    command: Command, workers: FakeWorkers, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rounds that were finished are kept."""
    set_ups = 0

    def fail(_scenario: Scenario, _before: int) -> None:
        nonlocal set_ups
        set_ups += 1
        if set_ups > 5:
            raise SetupError("the data are not what they were")

    workers.on_set_up = fail
    assert command("--network", "mlp", "--data-dir", data_dir, *NARROW) == cli.Exit.USAGE
    error = capsys.readouterr().err
    assert "the data are not what they were; finished rounds are in" in error
    assert "Traceback" not in error


@pytest.mark.parametrize("output_format", ["markdown", "csv", "json", "html"])
def test_every_format_names_the_winner(
    command: Command, capsys: pytest.CaptureFixture[str], output_format: str
) -> None:
    """It also has the winner's speed-up."""
    tune_file = a_finished_file(Path("t.json"))
    winner = tune_result(tune_file).winner
    assert winner is not None
    assert command("--replay", "t.json", "--format", output_format) == cli.Exit.DONE
    text = capsys.readouterr().out
    match output_format:
        case "csv":
            row = next(csv.DictReader(text.splitlines()))
            assert row["hybridize"] == winner.hybridize
            assert float(row["speedup"]) > 1
            assert row["recommended_command"].startswith("mnist-bench run")
        case "json":
            standings = json.loads(text)[0]
            assert standings["rows"][0]["hybridize"] == winner.hybridize
            assert standings["facts"]["recommended_suite"].startswith("title = ")
        case "markdown":
            assert "```toml" in text
            assert "| ★" in text
        case _:
            assert "recommended" in text


def test_the_job_summary_gets_the_tables(command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It does where a GitHub job asks for a summary."""
    a_finished_file(Path("t.json"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    assert command("--replay", "t.json") == cli.Exit.DONE
    assert "```toml" in (tmp_path / "summary.md").read_text()


def test_the_space_can_be_looked_at(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is measured, and the GPUs that are there belong to it. Channels are filled up as this CPU needs it."""
    assert command("--network", "lenet", "--dry-run") == cli.Exit.DONE
    told = capsys.readouterr()
    assert "layers: tutorial, activation, pool_first, padded_8" in told.err.splitlines()
    lines = told.out.splitlines()
    assert lines[-1] == "896 settings"
    assert len({*lines}) == 898  # with a header, and how many they are
    assert command("--network", "mlp", "--dry-run", "--contexts", "auto") == cli.Exit.DONE
    assert capsys.readouterr().out.splitlines()[-1] == "128 settings"


def test_gpus_are_tried_out_unless_they_are_not_wanted(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """To try one out takes seconds."""
    asked: list[int] = []

    def available() -> tuple[Device, ...]:
        asked.append(1)
        return (Device(DeviceKind.GPU, 0), Device(DeviceKind.GPU, 1))

    monkeypatch.setattr("bench.experiments.tune.setup.available", available)
    assert command("--network", "mlp", "--dry-run") == cli.Exit.DONE
    assert "gpu(0),gpu(1)" in capsys.readouterr().out
    assert command("--network", "mlp", "--dry-run", "--contexts", "cpu(0)") == cli.Exit.DONE
    assert "gpu" not in capsys.readouterr().out
    assert len(asked) == 1


def test_a_gpu_that_mxnet_cannot_use_is_said_at_once(
    command: Command, workers: FakeWorkers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said before data are looked for, and not as one failed candidate after the other."""
    tried: list[Device] = []

    def probe(_interpreter: object, _stop: object, _framework: object, device: Device) -> Probe:
        tried.append(device)
        return Probe(device, Unusable.NO_CUDA_BUILD, "the installed MXNet is a CPU build")

    monkeypatch.setattr("bench.worker.process.probe", probe)
    arguments = ["--network", "mlp", "--contexts", "gpu(0)", "--contexts", "cpu(0)"]
    assert command(*arguments, "--data-dir", "nowhere") == cli.Exit.FAILED
    assert capsys.readouterr().err == "mnist-bench: gpu(0): the installed MXNet is a CPU build\n"
    assert tried == [Device(DeviceKind.GPU, 0)]


def test_the_winner_is_written_as_a_suite(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the file that is printed to paste, and no file is replaced by it."""
    a_finished_file(Path("tune.json"))
    assert command("--replay", "tune.json", "--write-suite", "fast.toml") == cli.Exit.DONE
    printed = capsys.readouterr()
    text = Path("fast.toml").read_text(encoding="utf-8")
    assert text in printed.out
    assert "mnist-bench run --suite fast.toml measures it" in printed.err
    (run, *_others) = expand(parse_suite(text, where="fast.toml"))
    winner = tune_result(store.read(Path("tune.json"), TuneFile)).winner
    assert winner is not None
    assert run.scenario == winner
    assert command("--replay", "tune.json", "--write-suite", "fast.toml") == cli.Exit.USAGE
    assert "fast.toml: exists: name another file" in capsys.readouterr().err
    assert command("--replay", "tune.json", "--write-suite", "no/fast.toml") == cli.Exit.USAGE
    assert "no such folder" in capsys.readouterr().err


def test_a_dry_run_sums_up_at_its_end(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """After hundreds of lines the axes, their values and the time are in sight; the winner's words are explained."""
    assert command("--network", "mlp", "--dry-run", "--budget", "2m") == cli.Exit.DONE
    *_contexts, execution, _input, _metric, _update, _engine, last = capsys.readouterr().err.splitlines()
    assert execution == "hybridize: off, on, static, bound"
    assert last == "about 2 min, the budget, for a part of them"
    command("--network", "mlp", "--dry-run", "--write-suite", "fast.toml")
    assert capsys.readouterr().err.splitlines()[-1].endswith("writes no file: --write-suite did nothing")
    a_finished_file(Path("tune.json"))
    command("--replay", "tune.json")
    assert "flat: all weights in one array" in " ".join(capsys.readouterr().out.split())


def test_a_dry_run_names_the_positions(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """There are as many names above as there are words in a line."""
    assert command("--network", "lenet", "--dry-run", "--contexts", "cpu(0)") == cli.Exit.DONE
    header, first, *_others = capsys.readouterr().out.splitlines()
    assert header == "contexts x cpu_threads, hybridize, input_pipeline, metric_sync, layers, update, engine"
    assert len(header.split(", ")) == len(first.split(", "))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--network"),
        (["--network", "lnet"], "did you mean 'lenet'"),
        (["--network", "mlp", "--set", "engin=naive"], "did you mean 'engine'"),
        (["--network", "mlp", "--set", "engine=fast"], "threaded, naive"),
        (["--network", "mlp", "--set", "layers=padded"], "lenet's alone"),
        (["--network", "mlp", "--contexts", "tpu(0)"], "unknown device"),
        (["--network", "mlp", "--batch-size", "1", "--contexts", "cpu(0),cpu(1)"], "smaller than the number"),
        (["--network", "mlp", "--budget", "soon"], "--budget"),
        (["--network", "mlp", "--format", "junit"], "junit"),
        (["--network", "mlp", "--seed", "-1"], "--seed"),
        (
            ["--network", "mlp", "--contexts", "cpu(0),cpu(1)", "--hybridize", "off", *ONLY_THE_TUTORIALS],
            "only the tutorial's loop is left",
        ),
        (
            ["--replay", "t.json", "--network", "mlp"],
            "--replay measures nothing: leave out all but --write-suite and --format",
        ),
        (
            ["--replay", "t.json", "--data", "mnist"],
            "--replay measures nothing: leave out all but --write-suite and --format",
        ),
        (["--replay", "t.json", "--resume", "t.json"], "--replay measures nothing"),
        (["--network", "mlp", "--network", "lenet"], "one network at a time: name one of mlp, lenet"),
        (["--network", "mlp", "--exhaustive", "--budget", "5m"], "leave out --budget or --exhaustive"),
        (["--network", "mlp", "--contexts", "gup(0)"], "did you mean gpu(0)?"),
        (["--replay", "none.json"], "none.json"),
        (["--resume", "none.json"], "none.json"),
        (["--replay", "empty.json"], "not a tune file"),
    ],
)
def test_wrong_usage_is_one_line(
    command: Command, data_dir: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """The exit status is 2, the line says what is wrong, and nothing is measured."""
    Path("empty.json").write_text("{}")
    data = [] if "--replay" in arguments else ["--data-dir", data_dir]
    assert command(*data, *arguments) == cli.Exit.USAGE
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not Path("results").exists()


def test_an_edited_file_is_refused(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """The schema is newer, a number is impossible, or half of the file is missing."""
    text = msgspec.json.encode(a_finished_file(Path("t.json")))

    def status_of(content: bytes) -> int:
        Path("edited.json").write_bytes(content)
        return command("--replay", "edited.json")

    assert status_of(text.replace(b'"tune_schema_version":', b'"tune_schema_version":9')) == cli.Exit.INCOMPARABLE
    assert status_of(text.replace(b'"window_seconds":[', b'"window_seconds":[-1,', 1)) == cli.Exit.USAGE
    assert status_of(text[:1000]) == cli.Exit.USAGE
    assert "Traceback" not in capsys.readouterr().err


def test_a_file_is_not_overwritten(command: Command, workers: FakeWorkers, data_dir: Path) -> None:
    Path("there.json").write_text("{}")
    assert command("--network", "mlp", "--data-dir", data_dir, "-o", "there.json") == cli.Exit.USAGE
    assert Path("there.json").read_text() == "{}"


def test_a_reference_that_broke_down_is_a_failure() -> None:
    """That holds however well the others did before."""
    plan = a_tune_plan(candidates=candidates(count=3))
    tune_file = search(plan, Machine(truth=dict.fromkeys(range(4), 0.0), crashing=frozenset({REFERENCE})))
    assert status(tune_file, tune_result(tune_file)) is cli.Exit.FAILED
