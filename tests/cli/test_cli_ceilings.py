"""`environment --ceilings` and `run --ceilings` are tried with a worker that answers at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import pytest

from bench import cli
from bench.cli.commands import environment, run
from bench.errors import SetupError
from bench.experiments.run.runner import OnEpoch
from bench.records import store
from bench.records.environment import Software
from bench.records.result import Ceiling, ExchangeCurve, Failure, FailureReason, Library, ResultSet, Run
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from bench.worker.interpreters import Interpreters
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.protocol.requests import CeilingRequest, RunRequest
from bench.worker.seats import Machine
from mnist_core.devices import Device, Probe, Unusable
from tests.support.cli import Command
from tests.support.executor import EIGHT_ALONE, FakeBlocks
from tests.support.idx_files import small_idx_folder
from tests.support.records import a_ceiling, a_curve, a_run, a_software, an_environment


class FakeWorker(FakeBlocks):
    """An executor that has MXNet alone, and needs no time for runs and ceilings."""

    asked: list[CeilingRequest]
    exchanged: list[Scenario]
    broken: bool

    def __init__(
        self,
        interpreters: Interpreters | None = None,
        stop: Cancellation | None = None,
        machines: Sequence[Machine] = (),
        on_loss: Callable[[str], None] | None = None,
    ) -> None:
        self.stop = stop or Cancellation()

    def describe(self, framework: Framework = Framework.MXNET, scenarios: Iterable[Scenario] = ()) -> Software:
        if framework is not Framework.MXNET:
            raise SetupError(f"{framework} is not installed")
        return a_software()

    def probe(self, framework: Framework, device: Device) -> Probe:
        return Probe(device, Unusable.NO_CUDA_BUILD, f"no CUDA in this {framework}")

    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        run = a_run(scenario=request.scenario, recipe=request.recipe, repeat=request.repeat, omp_num_threads=2)
        return msgspec.structs.replace(
            run, epochs=tuple(msgspec.structs.replace(epoch, samples=60) for epoch in run.epochs)
        )

    def measure_curve(self, scenario: Scenario, **_facts: object) -> ExchangeCurve:
        self.exchanged.append(scenario)
        return a_curve(
            framework=scenario.framework,
            ranks=scenario.ranks,
            exchange=scenario.exchange,
            servers=scenario.servers,
            failure="crashed: the sum is wrong" if self.broken else None,
        )

    def measure_ceiling(self, request: CeilingRequest) -> Ceiling | WorkerFailure:
        self.asked.append(request)
        if self.broken and request.framework is Library.MXNET:
            return WorkerFailure(FailureReason.OUT_OF_MEMORY, "cannot allocate memory")
        return a_ceiling(
            framework=request.framework,
            device=request.device,
            omp_num_threads=request.omp_num_threads,
            gflop=100.0 + len(self.asked),
        )


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> type[FakeWorker]:
    for user in (run, environment):
        monkeypatch.setattr(user, "SubprocessExecutor", FakeWorker)
    monkeypatch.setattr(run, "usable_core_count", lambda: 2)
    FakeWorker.asked, FakeWorker.exchanged, FakeWorker.broken = [], [], False
    return FakeWorker


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_idx_folder(tmp_path_factory.mktemp("data"), train=60, test=20)


def test_the_environments_ceilings_are_a_table(
    command: Command, worker: type[FakeWorker], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each library is measured in turn at each number of threads, as often as asked; progress is on stderr."""
    assert command("environment", "--ceilings", "--repeats", 2) == cli.Exit.DONE
    printed = capsys.readouterr()
    assert "float32 matrix product" in printed.out
    places = [(request.omp_num_threads, request.framework) for request in worker.asked]
    assert len({*places}) * 2 == len(places)
    assert places[: len(places) // 2] == places[len(places) // 2 :]
    assert {library for _threads, library in places} == {Library.NUMPY, Library.MXNET}
    lines = printed.err.splitlines()
    assert [line.split("]")[0] for line in lines] == [f"[{n}/{len(places)}" for n in range(1, len(places) + 1)]
    assert [line.endswith(" left") for line in lines] == [True] * (len(places) - 1) + [False]
    assert lines[1].startswith(f"[2/{len(places)}] cpu(0), 1 thread, mxnet: ")


@pytest.mark.parametrize(
    "without_effect", [["--quick"], ["--strict"], ["--data", "mnist"], ["--data-dir", "nowhere"]], ids=" ".join
)
def test_ceilings_alone_leave_nothing_to_check(
    command: Command, worker: type[FakeWorker], capsys: pytest.CaptureFixture[str], without_effect: list[str]
) -> None:
    """Options of the checks and their A/A test are refused, before anything is measured."""
    assert command("environment", "--ceilings", *without_effect) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    allowed = "--repeats, --python, --format and --json"
    assert line == f"mnist-bench: --ceilings trains and checks nothing: leave out all but {allowed}"
    assert worker.asked == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--repeats", 3], "add --ceilings"),
        (["--quick", "--data", "mnist"], "--quick leaves out"),
        (["--quick", "--data-dir", "nowhere"], "--quick leaves out"),
    ],
)
def test_no_option_of_the_environment_is_silently_without_effect(
    command: Command, worker: type[FakeWorker], capsys: pytest.CaptureFixture[str], arguments: list[object], words: str
) -> None:
    """One line says so before anything is looked at."""
    assert command("environment", *arguments) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert worker.asked == []


def test_the_environments_ceilings_as_json(
    command: Command, worker: type[FakeWorker], capsys: pytest.CaptureFixture[str]
) -> None:
    """--json is --format json, and has the median, range and n of each ceiling."""
    assert command("environment", "--ceilings", "--repeats", 3, "--json") == cli.Exit.DONE
    text = capsys.readouterr().out
    (table,) = json.loads(text)
    row = table["rows"][0]
    assert (row["device"], row["threads"], row["framework"], row["n"]) == ("cpu(0)", 1, "numpy", 3)
    assert row["gflop_per_second_least"] < row["gflop_per_second"] < row["gflop_per_second_greatest"]


def test_a_library_that_fails_is_left_out_of_the_environments_ceilings(
    command: Command, worker: type[FakeWorker], capsys: pytest.CaptureFixture[str]
) -> None:
    """The others are shown, and the reason stands on stderr once."""
    worker.broken = True
    assert command("environment", "--ceilings", "--format", "csv") == cli.Exit.DONE
    printed = capsys.readouterr()
    assert ",mxnet," not in printed.out
    assert printed.err.count("no ceiling of cpu(0) through mxnet, OMP_NUM_THREADS=1: cannot allocate memory") == 1
    total = printed.out.count("numpy,") * 3
    assert [line for line in printed.err.splitlines() if line.startswith("[")][-1].startswith(f"[{total}/{total}] ")


def test_a_gpu_that_cannot_be_used_has_no_ceiling(
    command: Command, worker: type[FakeWorker], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's other devices are measured. A run on the GPU fails as it does without ceilings."""
    monkeypatch.setattr(environment, "capture", lambda **_facts: an_environment(accelerators_per_node=1))
    assert command("environment", "--ceilings", "--repeats", 1) == cli.Exit.DONE
    assert {request.device for request in worker.asked} == {"cpu(0)"}
    worker.asked.clear()
    arguments = ("--network", "mlp", "--contexts", "gpu(0)", "--ceilings", "--data-dir", data_dir, "-o", "a.json")
    assert command("run", "--suite", EIGHT_ALONE, *arguments) == cli.Exit.FAILED
    assert worker.asked == []
    assert {failure.reason for failure in store.read(Path("a.json"), ResultSet).failures} == {FailureReason.NO_DEVICE}


@pytest.mark.parametrize(
    "arguments", [("--repeats", 0), ("--format", "junit"), ("--python", "torch=/no/such/python"), ("--python", "x")]
)
def test_wrong_usage_measures_nothing(
    command: Command, worker: type[FakeWorker], arguments: tuple[object, ...]
) -> None:
    """It is found before the first process starts."""
    assert command("environment", "--ceilings", *arguments) == cli.Exit.USAGE
    assert worker.asked == []


def test_a_run_with_ceilings_says_how_much_of_them_it_achieved(
    command: Command, worker: type[FakeWorker], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are in the file, before, between and after the rounds; the table names them; `check` accepts them."""
    arguments = ("--network", "mlp", "--contexts", "cpu(0)", "--hybridize", "off", "--epochs", 1, "--repeats", 2)
    assert command("run", "--suite", EIGHT_ALONE, *arguments, "--ceilings", "--data-dir", data_dir, "-o", "a.json") == 0
    printed = capsys.readouterr().out
    assert "utilisation" in printed
    assert "best of numpy, mxnet; n = 3 over the run" in printed
    measured = store.read(Path("a.json"), ResultSet)
    assert [ceiling.framework.value for ceiling in measured.ceilings] == ["numpy", "mxnet"] * 3
    assert {ceiling.omp_num_threads for ceiling in measured.ceilings} == {2}
    assert store.violations(Path("a.json")) == []


def test_a_resumed_run_goes_on_with_its_ceilings(
    command: Command, worker: type[FakeWorker], data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs no option for that. Where the file has none, --ceilings adds them."""
    monkeypatch.setattr("bench.cli.measuring.session.require_same_machine", lambda *_arguments: None)
    command("run", "--suite", EIGHT_ALONE, "--network", "mlp", "--ceilings", "--data-dir", data_dir, "-o", "a.json")
    whole = store.read(Path("a.json"), ResultSet)
    for ceilings, flags in ((whole.ceilings[:1], ()), ((), ("--ceilings",)), ((), ())):
        store.write(Path("a.json"), msgspec.structs.replace(whole, runs=whole.runs[:1], ceilings=ceilings))
        assert command("run", "--resume", "a.json", *flags, "--data-dir", data_dir) == cli.Exit.DONE
        added = len(store.read(Path("a.json"), ResultSet).ceilings) - len(ceilings)
        assert (added > 0) is bool(ceilings or flags)


def test_ranks_have_their_exchanges_measured_without_being_asked(
    command: Command, worker: type[FakeWorker], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody can know later what a step waited for; --no-ceilings leaves it out, --ceilings adds the products."""
    arguments = ("--suite", EIGHT_ALONE, "--network", "mlp", "--ranks", 2, "--data-dir", data_dir)
    assert command("run", *arguments, "-o", "a.json") == cli.Exit.DONE
    assert "measuring 1 exchange curve, about 10 s" in capsys.readouterr().err
    assert len(store.read(Path("a.json"), ResultSet).exchanges) == len(worker.exchanged) == 2
    assert (len({*worker.exchanged}), worker.asked) == (1, [])
    assert command("run", *arguments, "--no-ceilings", "-o", "b.json") == cli.Exit.DONE
    assert (len(worker.exchanged), store.read(Path("b.json"), ResultSet).exchanges) == (2, ())
    assert command("run", *arguments, "--ceilings", "-o", "c.json") == cli.Exit.DONE
    assert len(worker.exchanged) == 4
    assert worker.asked


def test_a_wrong_sum_fails_the_command(
    command: Command, worker: type[FakeWorker], data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said at once and stands in the file."""
    worker.broken = True
    arguments = ("--suite", EIGHT_ALONE, "--network", "mlp", "--ranks", 2, "--data-dir", data_dir)
    assert command("run", *arguments, "-o", "a.json") == cli.Exit.FAILED
    assert "no whole exchange curve of mxnet through dist_sync, 2 ranks: " in capsys.readouterr().err
    (curve,) = store.read(Path("a.json"), ResultSet).exchanges
    assert curve.failure == "crashed: the sum is wrong"
