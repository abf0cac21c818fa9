"""The command line runs real processes on a few images, and gives every exit status."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from bench import cli
from bench.analysis import accuracy
from bench.analysis.summary import summarize
from bench.cli.commands import environment, run
from bench.cli.measuring import plans, session
from bench.cli.measuring.session import require_same_machine
from bench.errors import IncomparableError, SetupError
from bench.experiments.run import plan
from bench.experiments.run.runner import OnEpoch
from bench.machine.gpus.accelerators import Accelerators
from bench.records import store
from bench.records.environment import Accelerator, Environment, Software, ThrottleReason
from bench.records.health import void_reasons
from bench.records.result import ExchangeCurve, Failure, FailureReason, ResultSet, Run
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from bench.worker.interpreters import Interpreters
from bench.worker.process import Cancellation
from bench.worker.protocol.requests import RunRequest
from bench.worker.seats import Machine
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.devices import Device, Probe, Unusable
from tests.support.cli import Command
from tests.support.dataset_sources import LABELS, fill, make_contents, publish
from tests.support.executor import EIGHT_ALONE, FakeBlocks, a_slow_block
from tests.support.idx_files import small_idx_folder
from tests.support.records import a_failure, a_result_set, a_run, a_scenario, a_software, an_environment


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_idx_folder(tmp_path_factory.mktemp("data"), train=200, test=50)


class FakeWorker(FakeBlocks):
    """An executor that measures at once and fails as told."""

    outcome: Callable[[RunRequest], Run | Failure]

    def __init__(
        self,
        interpreters: Interpreters | None = None,
        stop: Cancellation | None = None,
        machines: Sequence[Machine] = (),
        on_loss: Callable[[str], None] | None = None,
    ) -> None:
        self._stop = stop

    def describe(self, framework: Framework = Framework.MXNET, scenarios: Iterable[Scenario] = ()) -> Software:
        return a_software()

    def probe(self, framework: Framework, device: Device) -> Probe:
        return Probe(device, Unusable.NO_CUDA_BUILD, f"no CUDA in this {framework}")

    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        return type(self).outcome(request)

    def measure_curve(self, scenario: Scenario, **_facts: object) -> ExchangeCurve:
        raise AssertionError(f"no ranks were asked for: {scenario.name}")


def a_measured_run(request: RunRequest) -> Run:
    """Return a valid run of the small data set, as requested."""
    template = a_run(scenario=request.scenario, recipe=request.recipe, repeat=request.repeat)
    samples = min(request.recipe.samples or 200, 200)
    epochs = tuple(msgspec.structs.replace(template.epochs[0], samples=samples) for _ in range(request.recipe.epochs))
    return msgspec.structs.replace(
        template,
        epochs=epochs,
        final_accuracy=epochs[-1].test_accuracy,
        per_context_batch_sizes=request.scenario.per_context_batch_sizes,
    )


@pytest.fixture
def fake_worker(monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    for user in (run, environment):
        monkeypatch.setattr(user, "SubprocessExecutor", FakeWorker)
    FakeWorker.outcome = staticmethod(a_measured_run)
    return FakeWorker


def result_file() -> Path:
    (path,) = Path("results/runs").glob("*.json")
    return path


# --- run, with a fake worker ------------------------------------------------------------------------------------------


def test_run_saves_a_valid_file_and_prints_tables(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tables go to stdout, the file's name to stderr, and the file passes `check`."""
    assert command("run", "--suite", EIGHT_ALONE, "--data-dir", data_dir) == cli.Exit.DONE
    printed = capsys.readouterr()
    assert "images/s" in printed.out
    assert "custom" in printed.out
    assert str(result_file()) in printed.err
    assert command("check", result_file()) == cli.Exit.DONE
    assert "valid" in capsys.readouterr().out
    assert len(store.read(result_file(), ResultSet).runs) == 8


def test_a_batch_size_walks_from_the_flag_to_the_column(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has one name in flag, request, result file and CSV column."""
    asked: list[int] = []

    def spy(request: RunRequest) -> Run:
        asked.append(request.scenario.batch_size)
        return a_measured_run(request)

    fake_worker.outcome = staticmethod(spy)
    arguments = ["--suite", "tutorial", "--batch-size", 64, "--data-dir", data_dir, "--format", "json"]
    assert command("run", *arguments, "-o", "out/file.json") == cli.Exit.DONE
    capsys.readouterr()
    assert asked == [64, 64]
    document = json.loads(Path("out/file.json").read_text())
    assert {run["scenario"]["batch_size"] for run in document["runs"]} == {64}
    assert {tuple(run["per_context_batch_sizes"]) for run in document["runs"]} == {(32, 32)}
    assert command("show", "out/file.json", "--format", "csv") == cli.Exit.DONE
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["batch_size"] for row in rows] == ["64", "64"]


def test_a_github_job_gets_the_tables_as_its_summary(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where GitHub names a file for the job's summary, the tables are added to it as Markdown."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    Path("summary.md").write_text("before\n")
    assert command("run", "--suite", EIGHT_ALONE, "--data-dir", data_dir) == cli.Exit.DONE
    summary = Path("summary.md").read_text()
    assert summary.startswith("before\n")
    assert "| contexts" in summary
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "no/such/folder.md")
    assert command("run", "--suite", EIGHT_ALONE, "--data-dir", data_dir, "-o", "again.json") == cli.Exit.DONE


def test_a_failed_scenario_gives_5_and_its_reason(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The suite goes on, the table names the failure, and the exit status says that something is missing."""

    def one_crashes(request: RunRequest) -> Run | Failure:
        if request.scenario.name.startswith("lenet cpu(0) ") and request.scenario.hybridize == "on":
            return Failure(
                scenario=request.scenario,
                recipe=request.recipe,
                repeat=0,
                reason=FailureReason.CRASHED,
                detail="killed by SIGSEGV",
                log="",
            )
        return a_measured_run(request)

    fake_worker.outcome = staticmethod(one_crashes)
    assert command("run", "--suite", EIGHT_ALONE, "--data-dir", data_dir) == cli.Exit.FAILED
    printed = capsys.readouterr()
    assert "SIGSEGV" in printed.out
    assert "FAILED (crashed)" in printed.err
    assert len(store.read(result_file(), ResultSet).runs) == 7


def test_an_interrupted_run_says_how_to_go_on_and_does(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It exits with 130 and prints the command for the rest, and --resume measures only that."""
    seen: list[RunRequest] = []

    def signal_during_the_third(request: RunRequest) -> Run:
        seen.append(request)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return a_measured_run(request)

    fake_worker.outcome = staticmethod(signal_during_the_third)
    assert command("run", "--suite", EIGHT_ALONE, "--data-dir", data_dir) == cli.Exit.INTERRUPTED
    path = result_file()
    assert f"mnist-bench run --resume {path}" in capsys.readouterr().err
    assert len(store.read(path, ResultSet).runs) == 3  # the third had its result when the signal came
    assert command("run", "--resume", path, "--data-dir", data_dir) == cli.Exit.DONE
    assert len(seen) == 3 + 5
    assert len(store.read(path, ResultSet).runs) == 8
    assert command("check", path) == cli.Exit.DONE


def test_resume_refuses_other_data_and_other_machines(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is half of one thing and half of another would be worth nothing."""
    assert (
        command("run", "--suite", EIGHT_ALONE, "-k", "mlp", "--data-dir", data_dir, "-o", "file.json") == cli.Exit.DONE
    )
    other = small_idx_folder(tmp_path / "other", train=201, test=50)
    assert command("run", "--resume", "file.json", "--data-dir", other) == cli.Exit.INCOMPARABLE
    assert "other data" in capsys.readouterr().err
    document = json.loads(Path("file.json").read_text())
    document["environment"]["host_hash"] = "0" * 64
    Path("file.json").write_text(json.dumps(document))
    assert command("run", "--resume", "file.json", "--data-dir", data_dir) == cli.Exit.INCOMPARABLE
    assert "another machine" in capsys.readouterr().err


def test_resume_refuses_other_software_and_other_choices(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One environment stands above all rows; --dry-run shows the rest and measures nothing."""
    assert (
        command("run", "--suite", EIGHT_ALONE, "-k", "mlp", "--data-dir", data_dir, "-o", "file.json") == cli.Exit.DONE
    )
    document = json.loads(Path("file.json").read_text())
    dropped = document["runs"].pop()
    Path("file.json").write_text(json.dumps(document))
    capsys.readouterr()
    assert command("run", "--resume", "file.json", "--dry-run") == cli.Exit.DONE
    assert "1 scenario, 1 run, at most about 3 s" in capsys.readouterr().out
    assert dropped["scenario"] not in [run["scenario"] for run in json.loads(Path("file.json").read_text())["runs"]]
    for choice in (["--seed", "7"], ["--data", "synthetic"], ["-k", "mlp"]):
        assert command("run", "--resume", "file.json", *choice) == cli.Exit.USAGE
    document["environment"]["software"]["numpy"] = "1.0"
    Path("file.json").write_text(json.dumps(document))
    capsys.readouterr()
    assert command("run", "--resume", "file.json", "--data-dir", data_dir) == cli.Exit.INCOMPARABLE
    assert "other versions of the measured software" in capsys.readouterr().err
    document["environment"]["host_hash"] = None
    Path("file.json").write_text(json.dumps(document))
    assert command("run", "--resume", "file.json", "--data-dir", data_dir) == cli.Exit.INCOMPARABLE


@pytest.mark.parametrize(
    ("fact", "value", "words"),
    [
        ("source_digest", "0" * 64, "other source code of mnist-bench"),
        ("variables", {"MXNET_CPU_WORKER_NTHREADS": "9"}, "other environment variables (MXNET_CPU_WORKER_NTHREADS)"),
        ("cgroup_cpu_quota", 1.25, "another CPU quota"),
        ("accelerator_driver", "1.2.3", "another GPU driver"),
        ("git_commit", "0" * 40, None),
        ("variables", {"OMP_NUM_THREADS": "9", "OMP_THREAD_LIMIT": "1"}, None),
    ],
)
def test_resume_refuses_what_its_header_would_not_tell(
    command: Command,
    fake_worker: type[FakeWorker],
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fact: str,
    value: object,
    words: str | None,
) -> None:
    """An edit that is not committed counts as another commit does. What no worker is given does not count."""
    for name in ("MXNET_CPU_WORKER_NTHREADS", "OMP_NUM_THREADS", "OMP_THREAD_LIMIT"):
        monkeypatch.delenv(name, raising=False)
    begin = ("run", "--suite", EIGHT_ALONE, "-k", "mlp", "--data-dir", data_dir, "-o", "file.json")
    assert command(*begin) == cli.Exit.DONE
    document = json.loads(Path("file.json").read_text())
    before = document["environment"][fact]
    document["environment"][fact] = {**before, **value} if isinstance(value, dict) else value
    Path("file.json").write_text(json.dumps(document))
    capsys.readouterr()
    expected = cli.Exit.DONE if words is None else cli.Exit.INCOMPARABLE
    assert command("run", "--resume", "file.json", "--data-dir", data_dir) == expected
    if words is not None:
        assert f"file.json: was begun with {words}; start a new measurement" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cards", "usable", "arguments", "warned"),
    [
        (1, False, (), True),
        (1, True, (), False),
        (0, False, (), False),
        (1, False, ("--contexts", "cpu(0)"), False),
        (1, False, ("--suite", "smoke"), False),
    ],
)
def test_a_gpu_that_no_framework_can_use_is_named(
    command: Command,
    fake_worker: type[FakeWorker],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    cards: int,
    usable: bool,
    arguments: tuple[str, ...],
    warned: bool,
) -> None:
    """Whoever has a card expects its rows; where they were not asked for, nothing is missing."""

    def probe(_self: object, framework: Framework, device: Device) -> Probe:
        return Probe(device, None if usable and device.index == 0 else Unusable.NO_CUDA_BUILD)

    monkeypatch.setattr(fake_worker, "probe", probe)
    monkeypatch.setattr(plans, "describe_accelerators", lambda: Accelerators(quantity=cards))
    assert command("run", *arguments, "--dry-run") == cli.Exit.DONE
    said = capsys.readouterr()
    assert ("no framework that is installed can use it: nox -s bench" in said.err) == warned
    assert ("mlp gpu(0) batch=500 hybridize=on" in said.out) == usable


def test_a_file_is_resumed_on_its_own_cards_alone() -> None:
    """Others may be as fast, but their rows would stand under the wrong name. Heat and limits may change."""

    def on_card(uuid: str, **state: Any) -> Environment:  # noqa: ANN401  # fields of a record
        return an_environment(accelerators=(Accelerator(uuid=uuid, **state),))

    begun = on_card("GPU-1", power_limit_watts=250.0)
    with pytest.raises(IncomparableError, match=r"was begun with other GPUs; start a new"):
        require_same_machine("file.json", begun, on_card("GPU-2"))
    require_same_machine("file.json", begun, on_card("GPU-1", throttle_reasons=(ThrottleReason.HEAT,)))
    require_same_machine("file.json", an_environment(), begun)  # written before files named the cards


def test_an_old_file_is_resumed_by_its_commit(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files had no digest of the code, and must not become another code by that."""
    begin = ("run", "--suite", EIGHT_ALONE, "-k", "mlp", "--data-dir", data_dir, "-o", "file.json")
    assert command(*begin) == cli.Exit.DONE
    document = json.loads(Path("file.json").read_text())
    del document["environment"]["source_digest"]
    Path("file.json").write_text(json.dumps(document))
    assert command("run", "--resume", "file.json", "--data-dir", data_dir) == cli.Exit.DONE
    document["environment"]["git_commit"] = "0" * 40
    Path("file.json").write_text(json.dumps(document))
    assert command("run", "--resume", "file.json", "--data-dir", data_dir) == cli.Exit.INCOMPARABLE
    assert "was begun with another commit of mnist-bench" in capsys.readouterr().err


def test_a_file_is_resumed_by_one_at_a_time(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder is locked before the file is read, so that no other process's results are overwritten."""
    assert (
        command("run", "--suite", EIGHT_ALONE, "-k", "mlp", "--data-dir", data_dir, "-o", "file.json") == cli.Exit.DONE
    )
    with store.exclusive(Path()):
        assert command("run", "--resume", "file.json", "--data-dir", data_dir) == cli.Exit.USAGE
    assert "another mnist-bench" in capsys.readouterr().err


def test_a_data_set_with_changed_labels_is_resumed(
    command: Command,
    fake_worker: type[FakeWorker],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nearly MNIST is damaged unless it is asked for as custom; a file that was begun with it has asked for it."""
    contents = make_contents(1, train=200, test=50)
    monkeypatch.setitem(datasets.PUBLISHED, DatasetName.MNIST, publish(contents))
    labels = bytearray(contents[LABELS])
    labels[-10:] = bytes((label + 1) % 10 for label in labels[-10:])
    folder = fill(tmp_path / "changed", contents | {LABELS: bytes(labels)})
    arguments = ("run", "--suite", EIGHT_ALONE, "-k", "mlp", "--data-dir", folder, "-o", "file.json")
    assert command(*arguments) == cli.Exit.USAGE
    assert "'custom' takes it as it is" in capsys.readouterr().err
    assert command(*arguments, "--data", "custom") == cli.Exit.DONE
    assert command("run", "--resume", "file.json", "--data-dir", folder) == cli.Exit.DONE


def test_a_link_is_resumed_where_it_leads(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file itself gets the rest, and the link stays a link. Its folder is locked, and not the link's."""
    path = Path("real/file.json")
    assert command("run", "--suite", EIGHT_ALONE, "-k", "mlp", "--data-dir", data_dir, "-o", path) == cli.Exit.DONE
    whole = store.read(path, ResultSet)
    store.write(path, msgspec.structs.replace(whole, runs=whole.runs[:1]))
    Path("latest.json").symlink_to(path)
    resume = ("run", "--resume", "latest.json", "--data-dir", data_dir)
    with store.exclusive(path.parent):
        assert command(*resume) == cli.Exit.USAGE
    assert command(*resume) == cli.Exit.DONE
    assert Path("latest.json").is_symlink()
    assert len(store.read(path, ResultSet).runs) == len(whole.runs)
    capsys.readouterr()
    assert command(*resume) == cli.Exit.DONE
    assert "nothing is left to measure in latest.json" in capsys.readouterr().err


def _full_from(save: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the disk be full from this save on; the first is 1."""
    saves, replace = 0, Path.replace

    def replace_or_fail(self: Path, target: Path) -> Path:
        nonlocal saves
        saves += 1
        if saves >= save:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", replace_or_fail)


@pytest.mark.parametrize(
    ("save", "hint"),
    [(1, "nothing is saved"), (4, "finished runs are in file.json; go on with mnist-bench run --resume file.json")],
)
def test_a_full_disk_is_one_line_that_says_what_there_is(
    command: Command,
    fake_worker: type[FakeWorker],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    save: int,
    hint: str,
) -> None:
    """At the first save there is no file to go on with; later all that was saved before is there."""
    _full_from(save, monkeypatch)
    assert command("run", "--suite", EIGHT_ALONE, "--data-dir", data_dir, "-o", "file.json") == cli.Exit.USAGE
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"mnist-bench: file.json: cannot be written: No space left on device; {hint}"
    assert Path("file.json").exists() == (save > 1)
    assert [path.name for path in Path().iterdir() if path.suffix == ".tmp"] == []
    if save > 1:
        assert (
            len(store.read(Path("file.json"), ResultSet).runs) == (save - 2) // 2
        )  # of the plan, then of each run's begin and end


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:100])])
def test_a_file_that_is_deleted_or_cut_while_it_is_measured_into_is_whole_again(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, damage: Callable[[Path], object]
) -> None:
    """The next save writes all of it."""
    path, seen = Path("own/file.json"), 0

    def damage_in_the_third(request: RunRequest) -> Run:
        nonlocal seen
        seen += 1
        if seen == 3:
            damage(path)
        return a_measured_run(request)

    fake_worker.outcome = staticmethod(damage_in_the_third)
    assert command("run", "--suite", EIGHT_ALONE, "--data-dir", data_dir, "-o", path) == cli.Exit.DONE
    assert len(store.read(path, ResultSet).runs) == 8


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    command: Command,
    fake_worker: type[FakeWorker],
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def read_only(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    fake_worker.outcome = staticmethod(lambda _request: pytest.fail("measured in vain"))
    monkeypatch.setattr("filelock.FileLock.acquire", read_only)
    assert command("run", "--suite", EIGHT_ALONE, "--data-dir", data_dir, "-o", "own/file.json") == cli.Exit.USAGE
    assert capsys.readouterr().err.splitlines()[-1] == "mnist-bench: own: cannot be written: Read-only file system"


def test_a_fault_of_the_program_is_never_taken_for_a_regression(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unforeseen error has a traceback and its own status; one of the operating system is one line."""

    def fail(error: Exception) -> None:
        raise error

    monkeypatch.setattr(environment, "load_suite", lambda _name: fail(ZeroDivisionError("a fault")))
    assert command("suites") == cli.Exit.INTERNAL
    assert "ZeroDivisionError: a fault" in capsys.readouterr().err
    monkeypatch.setattr(
        environment, "load_suite", lambda _name: fail(PermissionError(13, "Permission denied", "a place"))
    )
    assert command("suites") == cli.Exit.USAGE
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("table_format", ["text", "csv"])
def test_a_reader_that_has_enough_is_no_error(tmp_path: Path, table_format: str) -> None:
    """`mnist-bench show FILE | head` ends quietly with 0."""
    runs = [a_run(scenario=a_scenario(batch_size=size)) for size in range(10, 400)]
    store.write(tmp_path / "a.json", a_result_set(*runs))
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "bench", "show", str(tmp_path / "a.json"), "--format", table_format],
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_run_outside_its_band_gives_5(
    command: Command, fake_worker: type[FakeWorker], monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    """What did not learn is no result, however fast it was."""
    monkeypatch.setattr(accuracy, "judge", lambda run, _dataset: "below" if run.scenario.batch_size == 64 else None)
    arguments = ["--suite", EIGHT_ALONE, "--data-dir", data_dir]
    assert command("run", *arguments, "-o", "a.json") == cli.Exit.DONE
    assert command("run", *arguments, "--batch-size", 64, "-o", "b.json") == cli.Exit.FAILED


def test_the_tutorial_suite_prints_the_tutorials_lines(
    command: Command,
    fake_worker: type[FakeWorker],
    data_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reader who knows the tutorial finds its output again."""

    def with_epochs(self: FakeWorker, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run:
        run = a_measured_run(request)
        for index, epoch in enumerate(run.epochs):
            on_epoch(index, epoch)
        return run

    monkeypatch.setattr(fake_worker, "execute", with_epochs)
    assert command("run", "--suite", "tutorial", "--epochs", 2, "--data-dir", data_dir) == cli.Exit.DONE
    lines = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("training acc at epoch 1: accuracy=0.") for line in lines) == 2
    assert sum(line.startswith("validation acc: accuracy=0.") for line in lines) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--suite", "smok"], "did you mean 'smoke'"),
        (["--suite", "none.toml"], "No such file or directory (built in: smoke, standard"),
        (["--network", "alexnet"], "unknown network"),
        (["--contexts", "tpu(0)"], "'tpu(0)': write cpu(0), cpu(1), … or gpu(0), gpu(1), …, or auto"),
        (["--contexts", "gup(0)"], "did you mean gpu(0)?"),
        (["--contexts", "atuo"], "did you mean auto?"),
        (["--contexts", "cpu(0),cpu(0)"], "twice"),
        (["--batch-size", "1"], "never train"),
        (["--batch-size", "0"], "--batch-size"),
        (["--hybridize", "maybe"], "maybe"),
        (["-k", "nothing like this"], "(mnist-bench run --suite standard --dry-run lists what it has)"),
        (["-k", "best"], "'best' is known of results alone: compare FILE --baseline-scenario best"),
        (["-k", "and"], "-k"),
        (["--resume", "none.json"], "No such file"),
        (["--resume", "none.json", "--epochs", "3"], "--resume"),
        (["--unknown"], "--unknown"),
        (["--data-dir", "nowhere"], "nowhere"),
        (["--precision", "3"], "--precision 3: expected a half-width"),
        (["--budget", "soon"], "--budget soon: expected a time"),
    ],
)
def test_bad_input_gives_one_line_and_2(
    command: Command,
    fake_worker: type[FakeWorker],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    """There is no traceback, and nothing is measured or written."""
    assert command("run", *arguments) == cli.Exit.USAGE
    printed = capsys.readouterr()
    assert words in printed.err
    assert "Traceback" not in printed.err
    assert not Path("results").exists()


def test_an_existing_output_is_never_overwritten(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path
) -> None:
    """The result in it took time to measure."""
    Path("file.json").write_text("precious")
    assert command("run", "--suite", EIGHT_ALONE, "--data-dir", data_dir, "-o", "file.json") == cli.Exit.USAGE
    assert Path("file.json").read_text() == "precious"


def test_without_a_framework_run_says_which_extra(
    command: Command, fake_worker: type[FakeWorker], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It does so before it looks for any data."""

    def nothing(_self: FakeWorker, *_arguments: object) -> Software:
        raise SetupError("MXNet is not installed: pip install '.[cpu]'")

    monkeypatch.setattr(fake_worker, "describe", nothing)
    assert command("run", "--data-dir", "nowhere") == cli.Exit.USAGE
    assert ".[cpu]" in capsys.readouterr().err
    assert command("environment", "--quick", "--json") == cli.Exit.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["environment"]["software"] is None
    assert document["checks"][0]["level"] == "warning"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["environment", "--quick", "--json", "--format", "csv"], "leave out --format csv or --json"),
        (["calibrate", "--show", "--anew"], "--show measures nothing: leave out all but --output and --format"),
        (["calibrate", "--show", "--file", "c.json"], "leave out one of them"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    command: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """No option is silently without effect."""
    assert command(*arguments) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


# --- run, with scenarios that take turns ------------------------------------------------------------------------------


@pytest.fixture
def turns(tmp_path: Path) -> Path:
    """A suite of two scenarios that take turns in two blocks, and one of the tutorial's own that is alone."""
    path = tmp_path / "turns.toml"
    path.write_text(
        'title = "turns"\n[[matrix]]\nnetwork = ["mlp"]\nsampling = { epochs = 3 }\n'
        '[[matrix]]\nnetwork = ["mlp"]\nhybridize = ["off", "on"]\n'
        "sampling = { in_turns = true, repeats = 2, epochs = 2, samples = 100 }\n"
    )
    return path


def test_a_precision_adds_blocks_and_says_what_was_reached(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, turns: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file keeps it, and holds all blocks in a plan that is complete."""
    arguments = ("--suite", turns, "--data-dir", data_dir, "-o", "file.json", "--precision", "3%")
    assert command("run", *arguments) == cli.Exit.DONE
    printed = capsys.readouterr()
    assert "then more blocks, so that speed-ups are known to 3 %, at most 50 a network" in printed.err
    assert "speed-ups known to 0.0 % (median), 0.0 % (worst); asked 3 %\n" in printed.err
    assert "n = 6" in printed.out
    assert "not run" not in printed.out
    result_set = store.read(Path("file.json"), ResultSet)
    assert (result_set.precision, len(result_set.blocks)) == (0.03, 6)
    assert [planned.added for planned in result_set.plan] == [False] * 5 + [True] * 8
    assert command("check", "file.json") == cli.Exit.DONE


def test_a_budget_that_ends_names_the_command_that_goes_on(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, turns: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fake's blocks say that they took half a minute: after the first, none fits into ten seconds."""
    arguments = ("--suite", turns, "--data-dir", data_dir, "-o", "file.json", "--precision", "3%")
    assert command("run", *arguments, "--budget", "10s") == cli.Exit.FAILED  # one of the suite's own blocks is missing
    printed = capsys.readouterr()
    assert "no block begins that would end after 10 s" in printed.err
    assert (
        "no speed-up has an interval yet; asked 3 %; the budget ended it: mnist-bench run --resume file.json goes on"
    ) in printed.err
    assert len(store.read(Path("file.json"), ResultSet).blocks) == 1
    assert command("run", "--resume", "file.json", "--data-dir", data_dir, "--budget", "10s") == cli.Exit.FAILED
    assert "; asked 3 %; the budget ended it: mnist-bench run --resume file.json goes on" in capsys.readouterr().err
    assert len(store.read(Path("file.json"), ResultSet).blocks) == 1
    assert command("run", "--resume", "file.json", "--data-dir", data_dir) == cli.Exit.DONE
    assert "; asked 3 %\n" in capsys.readouterr().err
    assert len(store.read(Path("file.json"), ResultSet).blocks) == 6


def test_an_interrupted_block_of_a_precision_is_measured_when_it_goes_on(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, turns: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C keeps every finished block, also one that the suite did not ask for."""
    seen: list[RunRequest] = []

    def signal_in_the_fourth_block(request: RunRequest) -> Run:
        seen.append(request)
        if len(seen) == 1 + 3 * 2 + 1:
            os.kill(os.getpid(), signal.SIGINT)
        return a_measured_run(request)

    fake_worker.outcome = staticmethod(signal_in_the_fourth_block)
    arguments = ("--suite", turns, "--data-dir", data_dir, "-o", "file.json", "--precision", "3%")
    assert command("run", *arguments) == cli.Exit.INTERRUPTED
    assert "mnist-bench run --resume file.json" in capsys.readouterr().err
    assert 3 <= len(store.read(Path("file.json"), ResultSet).blocks) <= 4
    assert command("run", "--resume", "file.json", "--data-dir", data_dir) == cli.Exit.DONE
    result_set = store.read(Path("file.json"), ResultSet)
    assert (len(result_set.blocks), len(result_set.runs), result_set.failures) == (6, 13, ())
    assert command("check", "file.json") == cli.Exit.DONE


@pytest.mark.usefixtures("fake_worker")
def test_two_runs_of_one_second_have_two_files(
    command: Command, data_dir: Path, turns: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script may start the next run at once; the second was refused, as its file existed."""
    monkeypatch.setattr(session, "utc_now", lambda: "2026-01-31T12:00:00Z")
    for _ in range(3):
        assert command("run", "--suite", turns, "--data-dir", data_dir) == cli.Exit.DONE
    found = {path.name.partition("-")[2] for path in Path("results/runs").glob("*.json")}
    assert found == {f"20260131T120000Z{number}.json" for number in ("", "-2", "-3")}


def test_a_void_block_is_told_and_measured_again(
    command: Command,
    fake_worker: type[FakeWorker],
    data_dir: Path,
    turns: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While it happens, and below the table, where it is in no number."""
    monkeypatch.setattr(fake_worker, "block", lambda _self, index: a_slow_block(2.0 if index == 1 else 1.0))
    assert command("run", "--suite", turns, "--data-dir", data_dir, "-o", "file.json") == cli.Exit.DONE
    printed = capsys.readouterr()
    why = "block 2 is void: the machine itself was 1.33 times slower than usual"
    assert f"{why}; another is measured" in printed.err
    assert why in printed.out
    assert "n = 2" in printed.out
    assert len(store.read(Path("file.json"), ResultSet).blocks) == 3


@pytest.mark.parametrize("option", [("--precision", "3%"), ("--budget", "8m")])
@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)])
def test_without_turns_there_is_nothing_that_could_be_more_precise(
    command: Command,
    fake_worker: type[FakeWorker],
    capsys: pytest.CaptureFixture[str],
    option: tuple[str, str],
    dry_run: tuple[str, ...],
) -> None:
    assert command("run", "--suite", "tutorial", *option, *dry_run) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "--precision and --budget are for scenarios that take turns, and there are none here" in line
    assert not Path("results").exists()


def test_a_precision_is_the_files_own(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, turns: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another one would have been chosen after a look at the results."""
    assert command("run", "--suite", turns, "--data-dir", data_dir, "-o", "file.json") == cli.Exit.DONE
    assert command("run", "--resume", "file.json", "--precision", "1%") == cli.Exit.USAGE
    assert "--resume goes on as its file planned" in capsys.readouterr().err


def test_dry_run_says_what_decides_on_more_blocks(
    command: Command, fake_worker: type[FakeWorker], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("run", "--dry-run", "--precision", "3%", "--budget", "8m") == cli.Exit.DONE
    line = capsys.readouterr().out.splitlines()[-1]
    assert "; then more blocks, so that speed-ups are known to 3 %, at most 50 a network" in line
    assert line.endswith("; no block begins that would end after 8 min")


def test_the_estimate_learns_from_this_machines_last_file(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, turns: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says that it is rough, and by what it goes; a file of another machine or suite tells nothing."""

    def estimated(suite: object) -> str:
        assert command("run", "--suite", suite, "--dry-run") == cli.Exit.DONE
        return capsys.readouterr().out.splitlines()[-1]

    assert "(a rough estimate, by a 2-core machine)" in estimated(turns)
    assert command("run", "--suite", turns, "--data-dir", data_dir) == cli.Exit.DONE
    capsys.readouterr()
    assert f"(a rough estimate, at the pace of {result_file()})" in estimated(turns)
    assert "by a 2-core machine" in estimated("smoke")
    document = json.loads(result_file().read_text())
    document["environment"]["host_hash"] = "0" * 64
    result_file().write_text(json.dumps(document))
    assert "by a 2-core machine" in estimated(turns)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_link_that_leads_nowhere_costs_no_estimate(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """A `latest.json` may be older than the cleaning of its folder."""
    Path("results/runs").mkdir(parents=True)
    Path("results/runs/latest.json").symlink_to("gone.json")
    assert command("run", "--suite", "tutorial", "--dry-run") == cli.Exit.DONE
    assert "by a 2-core machine" in capsys.readouterr().out


@pytest.mark.parametrize(("floats", "layers", "words"), [(16, "padded", ""), (8, "padded_8", " layers=padded_8")])
def test_the_tuned_loop_of_a_run_is_this_cpus(
    command: Command,
    fake_worker: type[FakeWorker],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    floats: int,
    layers: str,
    words: str,
) -> None:
    """A value of its own on an axis leaves out what has another one, as for any loop."""
    monkeypatch.setattr(plan, "vector_floats", lambda: floats)
    for chosen in (("--framework", "mxnet", "--network", "lenet", "--loop", "tuned"), ("--set", f"layers={layers}")):
        assert command("run", "--suite", "peers", *chosen, "--dry-run") == cli.Exit.DONE
        printed = capsys.readouterr().out
        assert f"  lenet cpu(0) batch=100 hybridize=bound tuned{words}  ·" in printed
        assert "torch" not in printed


def test_dry_run_lists_and_writes_nothing(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """It lists the scenarios, the processes of each, and the expected time; and which options did nothing."""
    assert command("run", "--dry-run") == cli.Exit.DONE
    printed, said = capsys.readouterr()
    assert "writes no file" not in said
    assert command("run", "--dry-run", "-o", "file.json", "--format", "csv") == cli.Exit.DONE
    assert "--dry-run measures nothing and writes no file: --output and --format did nothing" in capsys.readouterr().err
    assert "18 scenarios, 90 runs, at most about" in printed
    assert "lenet cpu(0),cpu(1) batch=500 hybridize=on  ·  4 turns of 500 images" in printed
    assert "lenet cpu(0),cpu(1) batch=100 hybridize=off  ·  10 epochs of all images" in printed
    assert list(Path.cwd().iterdir()) == []


def test_show_reads_several_files(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Their tables follow each other, each below its own data set and machine."""
    for name, batch_size in (("a", 100), ("b", 500)):
        run = a_run(scenario=a_scenario(batch_size=batch_size))
        store.write(Path(f"{name}.json"), a_result_set(run))
    assert command("show", "a.json", "b.json", "--format", "json") == cli.Exit.DONE
    assert {"100", "500"} <= set(capsys.readouterr().out.replace(",", " ").split())
    assert command("show", "a.json", "--sort", "speeed") == cli.Exit.USAGE
    assert "speed" in capsys.readouterr().err


def test_verbose_shows_what_a_failed_run_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file has it, so that nobody has to measure again to see a traceback: a line for each of its lines."""
    failure = a_failure(log="Traceback (most recent call last):\n  File 'my_nets.py', line 7\nValueError: no")
    store.write(tmp_path / "failed.json", a_result_set(failure))
    monkeypatch.setattr(sys, "argv", ["mnist-bench", "show", str(tmp_path / "failed.json"), "--verbose"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code in {None, 0}
    printed = capsys.readouterr()
    assert "      File 'my_nets.py', line 7" in printed.err.splitlines()
    assert "show FILE --verbose prints the whole output" in " ".join(printed.out.split())


def test_check_names_every_violation(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has one line, and the exit status is 2; a newer file exits with 4."""
    store.write(Path("a.json"), a_result_set())
    document = json.loads(Path("a.json").read_text())
    document["runs"][0]["final_accuracy"] = 2
    document["dataset"]["name"] = None
    Path("a.json").write_text(json.dumps(document))
    assert command("check", "a.json") == cli.Exit.USAGE
    assert len(capsys.readouterr().out.splitlines()) == 2
    store.write(Path("b.json"), a_result_set())
    assert command("check", "none.json", "b.json") == cli.Exit.USAGE
    assert capsys.readouterr().out.splitlines() == ["none.json: No such file or directory", "b.json: valid"]
    Path("a.json").write_text('{"schema_version": 1000}')
    assert command("check", "a.json") == cli.Exit.INCOMPARABLE
    assert command("show", "a.json") == cli.Exit.INCOMPARABLE
    assert command("check") == cli.Exit.USAGE
    capsys.readouterr()
    assert command("check", "--schema") == cli.Exit.DONE
    assert "$schema" in json.loads(capsys.readouterr().out)


def test_data_shows_makes_and_draws(command: Command, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a flag it only looks. --picture writes a PNG, and a bad folder is one line and exit status 2."""
    assert command("data", "--data-dir", data_dir) == cli.Exit.DONE
    assert "custom" in capsys.readouterr().out
    assert command("data", "--data-dir", data_dir, "--picture", "grid.png") == cli.Exit.DONE
    assert Path("grid.png").read_bytes().startswith(b"\x89PNG")
    assert command("data", "--data-dir", "nowhere", "--make") == cli.Exit.USAGE
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data-dir", "nowhere"], "or leave out --data-dir; --data synthetic needs no files"),
        (["--data-dir", "cut"], "train-images-idx3-ubyte"),
        (["--data-dir", "cut", "--make"], "download the files again, or leave out --data-dir"),
        (["--data", "custom"], "name it with --data-dir"),
        (["--data", "synthetic", "--data-dir", "cut"], "synthetic digits are drawn, not read"),
        (["--picture", "x.foo"], "--picture x.foo: its ending names no image format: .png, .jpg"),
        (["--picture", "cut"], "--picture cut: is a folder; name a file in it, e.g. cut/digits.png"),
        (["--picture", "nowhere/x.png"], "--picture nowhere/x.png: no such folder: nowhere"),
    ],
)
def test_unusable_data_is_one_line_and_2(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    """That is so where it is only looked at, too, and comes before anything is prepared."""
    monkeypatch.setattr("mnist_core.datasets._draw", lambda *_arguments: pytest.fail("prepared in vain"))
    monkeypatch.setattr("mnist_core.datasets._download", lambda *_arguments: pytest.fail("prepared in vain"))
    small_idx_folder(Path("cut"), train=20, test=10)
    (Path("cut") / "train-images-idx3-ubyte").write_bytes(b"")
    assert command("data", *arguments) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_data_that_can_be_fetched_or_drawn_is_usable(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """That nothing is there yet is no fault."""
    monkeypatch.delenv("MNIST_BENCH_DATA_DIR", raising=False)
    for name in ("auto", "mnist", "synthetic"):
        assert command("data", "--data", name) == cli.Exit.DONE


def test_a_data_folder_of_the_environment_has_a_remedy_of_its_own(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MNIST_BENCH_DATA_DIR", "nowhere")
    assert command("data") == cli.Exit.USAGE
    assert "unset MNIST_BENCH_DATA_DIR, or use --data synthetic" in capsys.readouterr().err


def test_suites_and_version_and_help(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """The small verbs answer."""
    assert command("suites") == cli.Exit.DONE
    assert "standard (default)" in capsys.readouterr().out
    assert command("--version") == cli.Exit.DONE
    assert capsys.readouterr().out.count(".") == 2
    for verb in ("run", "show", "check", "data", "environment", "suites"):
        assert command(verb, "--help") == cli.Exit.DONE


# --- real processes ---------------------------------------------------------------------------------------------------


def start(data_dir: Path, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", "run", "--data-dir", str(data_dir), "-o", "file.json", *arguments],
        cwd=folder,
        env={**os.environ, "MNIST_BENCH_CACHE_DIR": str(folder / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_worker(parent: subprocess.Popen[str], file: Path) -> psutil.Process:
    """Wait for the worker of the first run, not for the one asked what is installed before the file is there."""
    for _ in range(600):
        if file.exists() and (children := psutil.Process(parent.pid).children()):
            return children[0]
        time.sleep(0.1)
    raise AssertionError(f"no worker within 60 s: {parent.communicate()[0]}")


@pytest.mark.system
def test_real_runs_alone_and_in_turns(data_dir: Path, tmp_path: Path) -> None:
    """With real MXNet: a run, and two blocks of two scenarios, compared within them, in a valid file with tables.

    A machine that is busy may spoil blocks, each of which is measured again once, on average.
    """
    (tmp_path / "turns.toml").write_text(
        'title = "turns"\n[[matrix]]\nnetwork = ["mlp"]\nhybridize = ["off", "on"]\n'
        "sampling = { in_turns = true, repeats = 2, epochs = 2, samples = 100 }\n"
        '[[matrix]]\nnetwork = ["mlp"]\nbatch_size = [50]\nsampling = { repeats = 1, epochs = 1 }\n'
    )
    process = start(data_dir, tmp_path, "--suite", "turns.toml")
    printed = process.communicate(timeout=300)[0]
    assert process.returncode == cli.Exit.DONE, printed
    result_set = store.read(tmp_path / "file.json", ResultSet)
    assert result_set.environment.software is not None
    (alone,) = (run for run in result_set.runs if run.block is None)
    assert [epoch.samples for epoch in alone.epochs] == [200]
    in_turns = [run for run in result_set.runs if run is not alone]
    voids = void_reasons([block.health for block in result_set.blocks])
    valid = len(result_set.blocks) - len(voids)
    assert valid == 2 or len(result_set.blocks) == 4
    assert re.search(rf"\[\d-\d/{7 if 0 in voids else 5}\] 2 scenarios of mlp take turns #2", printed)
    if valid:
        assert f"mlp: 2 turns of the first 100 images, n = {valid}" in " ".join(printed.split())  # a narrow terminal
    assert store.violations(tmp_path / "file.json") == []
    measured = [(block, place) for block in range(len(result_set.blocks)) for place in (0, 1)]
    assert sorted((done.block or 0, done.place or 0) for done in in_turns) == measured
    for done in in_turns:
        assert all(epoch.samples == 100 * epoch.passes for epoch in done.epochs)
        assert done.startup_seconds > 0
        assert done.epochs_cpu_seconds > 0
    (other,) = (row for row in summarize(result_set).rows if not row.is_baseline and row.scenario != alone.scenario)
    speedup = other.measures.speedup if other.measures else None
    assert (0 if speedup is None else speedup.n) == valid
    assert (speedup is not None and speedup.lower is not None) == (valid > 1)


@pytest.mark.system
def test_a_killed_worker_is_a_row_and_a_killed_parent_leaves_no_worker(data_dir: Path, tmp_path: Path) -> None:
    """kill -9 of a worker costs its run alone; kill -9 of the parent costs nothing finished and leaves no process."""
    file = tmp_path / "file.json"
    parent = start(data_dir, tmp_path, "--suite", EIGHT_ALONE, "--network", "mlp", "--epochs", "1000")
    wait_for_worker(parent, file).kill()
    for _ in range(600):
        if store.read(file, ResultSet).failures:
            break
        time.sleep(0.1)
    (failure,) = store.read(file, ResultSet).failures
    assert (failure.reason, failure.detail) == (FailureReason.CRASHED, "the worker was killed by SIGKILL")
    second = wait_for_worker(parent, file)
    parent.kill()
    parent.communicate()
    psutil.wait_procs([second], timeout=30)
    assert not second.is_running()
    assert store.violations(file) == []


@pytest.mark.system
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_and_names_the_file(data_dir: Path, tmp_path: Path, signal_number: int) -> None:
    """The exit status is 130, the interrupted run is noted, the next step printed, and no process left."""
    file = tmp_path / "file.json"
    parent = start(data_dir, tmp_path, "--suite", EIGHT_ALONE, "--network", "mlp", "--epochs", "1000")
    worker = wait_for_worker(parent, file)
    parent.send_signal(signal_number)
    printed = parent.communicate(timeout=60)[0]
    assert parent.returncode == cli.Exit.INTERRUPTED, printed
    assert "mnist-bench run --resume file.json" in printed
    assert "Traceback" not in printed
    assert not worker.is_running()
    assert [failure.reason for failure in store.read(file, ResultSet).failures] == [FailureReason.INTERRUPTED]


def test_a_run_in_another_clone_says_what_it_measures(
    command: Command, fake_worker: type[FakeWorker], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its file would otherwise blame that clone's commit."""
    arguments = ("run", "--suite", EIGHT_ALONE, "--data-dir", data_dir, "-o")
    assert command(*arguments, "a.json") == cli.Exit.DONE
    assert "not the clone around" not in capsys.readouterr().err
    Path("pyproject.toml").touch()
    Path("mnist_core").mkdir()
    Path("mnist_core/__init__.py").touch()
    assert command(*arguments, "b.json") == cli.Exit.DONE
    assert "not the clone around" in capsys.readouterr().err
