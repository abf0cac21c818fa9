"""The worker and what it measures are tried with real MXNet on a few images."""

from __future__ import annotations

import gc
import importlib
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from bench.errors import SetupError
from bench.experiments.run.executor import SubprocessExecutor
from bench.machine.energy import Meter, Meters
from bench.records.energy import EnergyReading, EnergySource
from bench.records.result import Dataset, FailureReason
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from bench.worker import main, session
from bench.worker.backends import base
from bench.worker.backends.base import Backend
from bench.worker.interpreters import Interpreters
from bench.worker.measure import gauge
from bench.worker.measure.run import SessionServer
from bench.worker.protocol.base import Message
from bench.worker.protocol.commands import Command, Evaluate, RunWindow, SetUp
from bench.worker.protocol.replies import (
    DescribeReply,
    EpochDone,
    Evaluated,
    FailureReply,
    FromWorker,
    Reply,
    RunReply,
    SetUpDone,
    UnusableReply,
    WindowDone,
)
from bench.worker.protocol.requests import DescribeRequest, RunRequest, SessionRequest
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.recipe import Engine, Hybridize, Recipe
from tests import ROOT
from tests.support.idx_files import small_idx_folder

TRAIN, TEST = 250, 60


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> datasets.Prepared:
    folder = small_idx_folder(tmp_path_factory.mktemp("data"), train=TRAIN, test=TEST)
    return datasets.obtain(DatasetName.AUTO, data_dir=folder, environ={})


@pytest.fixture
def request_for(
    prepared: datasets.Prepared, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Scenario, Recipe], RunRequest]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def make(scenario: Scenario, recipe: Recipe) -> RunRequest:
        return RunRequest(
            scenario=scenario,
            recipe=recipe,
            repeat=0,
            data_directory=str(prepared.directory),
            dataset=Dataset(
                name="custom", digest=prepared.digest, source="test", train_samples=TRAIN, test_samples=TEST
            ),
            omp_num_threads=1,
        )

    return make


def answer(request: RunRequest) -> tuple[Reply, list[FromWorker]]:
    events: list[FromWorker] = []
    reply = main.handle_request(msgspec.json.encode(request), events.append)
    assert isinstance(reply, Message)
    return reply, events


@pytest.mark.system
@pytest.mark.parametrize("hybridize", [Hybridize.OFF, Hybridize.ON, Hybridize.STATIC, Hybridize.BOUND])
def test_a_run_measures_what_was_asked(
    request_for: Callable[[Scenario, Recipe], RunRequest], hybridize: Hybridize
) -> None:
    """Samples have no padding, each epoch is an event, windows are apart, and the scenario is as it was sent."""
    scenario = Scenario(network="mlp", contexts=("cpu(0)", "cpu(1)", "cpu(2)"), batch_size=32, hybridize=hybridize)
    reply, events = answer(request_for(scenario, Recipe(epochs=3)))
    assert isinstance(reply, RunReply)
    run = reply.run
    assert run.scenario == scenario
    assert [epoch.samples for epoch in run.epochs] == [TRAIN] * 3
    assert run.per_context_batch_sizes == (11, 11, 10)
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == list(run.epochs)
    assert run.final_accuracy == run.epochs[-1].test_accuracy
    assert run.final_accuracy * TEST == pytest.approx(round(run.final_accuracy * TEST))
    assert min(run.startup_seconds, run.first_step_seconds, run.warm_up_seconds, run.epochs_cpu_seconds) > 0
    assert run.peak_rss_bytes > 50e6
    assert 50e6 < (run.training_peak_rss_bytes or 60e6) <= run.peak_rss_bytes
    assert (run.device_memory_bytes, run.device_peak_bytes) == (None, None)


@pytest.mark.system
def test_each_epoch_has_the_energy_of_its_window(
    request_for: Callable[[Scenario, Recipe], RunRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A counter that grows by a joule whenever it is read is read twice an epoch, at its ends."""
    reads = itertools.count(1_000_000, 1_000_000)
    meter = Meter(source=EnergySource.RAPL, domain="package-0", read=lambda: next(reads))
    monkeypatch.setattr(gauge, "find_meters", lambda devices: Meters((meter,)))
    reply, _events = answer(request_for(Scenario(network="mlp"), Recipe(epochs=2)))
    assert isinstance(reply, RunReply)
    assert [epoch.energy for epoch in reply.run.epochs] == [
        (EnergyReading(source=EnergySource.RAPL, domain="package-0", joules=1.0),)
    ] * 2
    assert next(reads) == 5_000_000


@pytest.mark.system
def test_the_warm_up_leaves_no_trace(request_for: Callable[[Scenario, Recipe], RunRequest]) -> None:
    """First step and warm-up do not train: one seed gives one learning curve, whatever came before it."""
    scenario = Scenario(network="mlp", contexts=("cpu(0)",), batch_size=100)
    curves = []
    for _ in range(2):
        reply, _events = answer(request_for(scenario, Recipe(epochs=2, seed=3)))
        assert isinstance(reply, RunReply)
        curves.append([(epoch.train_accuracy, epoch.last_batch_loss) for epoch in reply.run.epochs])
    assert curves[0] == curves[1]


@pytest.mark.system
def test_a_part_of_the_data_is_its_first_images(request_for: Callable[[Scenario, Recipe], RunRequest]) -> None:
    """`samples` shortens the epoch; evaluation still uses the whole test set."""
    reply, _ = answer(request_for(Scenario(network="mlp", batch_size=40), Recipe(epochs=1, samples=90)))
    assert isinstance(reply, RunReply)
    assert reply.run.epochs[0].samples == 90


@pytest.mark.system
def test_a_training_that_diverges_is_a_failure(request_for: Callable[[Scenario, Recipe], RunRequest]) -> None:
    """A loss that is no number ends the run with that reason, not with a throughput."""
    recipe = Recipe(epochs=3, learning_rate=1e30)
    reply, _ = answer(request_for(Scenario(network="mlp", contexts=("cpu(0)",)), recipe))
    assert isinstance(reply, FailureReply)
    assert reply.reason is FailureReason.DIVERGED


@pytest.mark.system
@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        ("return nn.Dense(10)", None, ""),
        ("return 5", FailureReason.CRASHED, "not a Gluon Block"),
        ("net = nn.Dense(10); net.initialize(); return net", FailureReason.CRASHED, "without initialize()"),
        ("return nn.Dense(10, in_units=3)", FailureReason.CRASHED, "MXNetError"),
        ("raise MemoryError('cannot allocate memory')", FailureReason.OUT_OF_MEMORY, "MemoryError"),
        ("raise KeyError('x')", FailureReason.CRASHED, "KeyError"),
    ],
)
def test_a_users_own_network(
    request_for: Callable[[Scenario, Recipe], RunRequest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    body: str,
    reason: FailureReason | None,
    words: str,
) -> None:
    """package.module:factory is trained like the built-in ones, and what it raises becomes a failure."""
    name = f"own_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(f"from mnist_core.networks import nn\ndef build():\n    {body}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    reply, _ = answer(request_for(Scenario(network=f"{name}:build", batch_size=50), Recipe(epochs=1)))
    if reason is None:
        assert isinstance(reply, RunReply)
    else:
        assert isinstance(reply, FailureReply)
        assert (reply.reason, "\n" in reply.detail) == (reason, False)
        assert words in reply.detail


# --- a pass of a gate -------------------------------------------------------------------------------------------------


@pytest.fixture
def a_pass(prepared: datasets.Prepared, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Callable[[Command], Reply]]:
    """Start an invocation in this process; its commands go the way that they go in a worker."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    request = SessionRequest(
        data_directory=str(prepared.directory),
        dataset=Dataset(name="custom", digest=prepared.digest, source="test", train_samples=TRAIN, test_samples=TEST),
        test_samples=30,
        seed=5,
        omp_num_threads=1,
    )

    def start() -> Callable[[Command], Reply]:
        measured = main.handle_request(msgspec.json.encode(request), lambda _event: None)
        assert isinstance(measured, SessionServer)
        return lambda command: main.handle_command(measured, msgspec.json.encode(command))

    return start


def test_a_pass_without_its_framework_is_never_ready(
    prepared: datasets.Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is imported before the first command, while the other processes of a block import theirs."""
    asked = []

    def is_missing(framework: Framework) -> Backend:
        asked.append(framework)
        raise ImportError("JAX is not installed")

    monkeypatch.setattr(base, "backend_for", is_missing)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    dataset = Dataset(name="custom", digest=prepared.digest, source="test", train_samples=TRAIN, test_samples=TEST)
    request = session.session_request(prepared.directory, dataset, 5, 1, Engine.THREADED, Framework.JAX)
    reply = main.handle_request(msgspec.json.encode(request), lambda _event: None)
    assert reply == UnusableReply(detail="JAX is not installed")
    assert asked == [Framework.JAX]


@pytest.mark.system
def test_a_pass_measures_scenario_after_scenario(a_pass: Callable[[], Callable[[Command], Reply]]) -> None:
    """It trains whole epochs of the images asked for; the accuracy is that of the scenario set up last."""
    command = a_pass()
    for network, samples in (("mlp", 120), ("lenet", 70)):
        done = command(SetUp(Scenario(network=network, batch_size=50), samples))
        assert isinstance(done, SetUpDone)
        assert done.first_step_seconds > 0
        assert 0 < done.epoch_seconds < done.warm_up_seconds
        windows = [command(RunWindow(epochs)) for epochs in (1, 2)]
        assert [window.samples for window in windows if isinstance(window, WindowDone)] == [samples, 2 * samples]
        accuracy = command(Evaluate())
        assert isinstance(accuracy, Evaluated)
        assert accuracy.test_accuracy * 30 == pytest.approx(round(accuracy.test_accuracy * 30))


@pytest.mark.system
def test_what_leads_in_to_a_window_teaches_nothing(a_pass: Callable[[], Callable[[Command], Reply]]) -> None:
    """After six epochs before it, the window is still the first one from which the network learns."""
    accuracies = []
    for window in (RunWindow(1), RunWindow(1, lead_in=6), RunWindow(7)):
        command = a_pass()
        command(SetUp(Scenario(network="mlp", batch_size=10), 200))
        trained = command(window)
        assert isinstance(trained, WindowDone)
        assert trained.samples == 200 * window.epochs
        accuracies.append(trained.train_accuracy)
    first, led_in, seventh = accuracies
    assert abs(led_in - first) < (seventh - first) / 3


@pytest.mark.system
def test_what_start_up_made_is_no_garbage_to_look_through(a_pass: Callable[[], Callable[[Command], Reply]]) -> None:
    gc.unfreeze()
    a_pass()(SetUp(Scenario(network="mlp"), 100))
    assert gc.get_freeze_count() > 10_000
    gc.unfreeze()


@pytest.mark.system
def test_two_passes_from_one_seed_learn_the_same(a_pass: Callable[[], Callable[[Command], Reply]]) -> None:
    """They do so to the last image, where another scenario came before, too: their accuracies are paired."""
    accuracies = []
    befores: tuple[list[Command], ...] = ([], [SetUp(Scenario(network="lenet"), 50), RunWindow(1)])
    for before in befores:
        command = a_pass()
        commands: list[Command] = [*before, SetUp(Scenario(network="mlp", batch_size=20), 200), RunWindow(3)]
        *_set_up, trained = [command(each) for each in commands]
        evaluated = command(Evaluate())
        assert isinstance(trained, WindowDone)
        assert isinstance(evaluated, Evaluated)
        accuracies.append((trained.train_accuracy, evaluated.test_accuracy))
    assert accuracies[0] == accuracies[1]
    assert accuracies[0][1] > 0.3  # it learnt something in its windows


@pytest.mark.system
def test_the_warm_up_of_a_pass_does_not_train(a_pass: Callable[[], Callable[[Command], Reply]]) -> None:
    """Before the first window the network is what chance made it."""
    command = a_pass()
    command(SetUp(Scenario(network="mlp", batch_size=20), 200))
    untrained = command(Evaluate())
    assert isinstance(untrained, Evaluated)
    assert untrained.test_accuracy < 0.3


@pytest.mark.system
def test_a_pass_that_fails_says_why(a_pass: Callable[[], Callable[[Command], Reply]]) -> None:
    """It has one line, as a run has. A command that is none is a fault of the harness."""
    command = a_pass()
    reply = command(SetUp(Scenario(network="no.such:network"), 50))
    assert isinstance(reply, FailureReply)
    assert reply.reason is FailureReason.CRASHED
    measured = main.handle_request(b"", lambda _event: None)
    assert isinstance(measured, UnusableReply)


def test_a_request_that_is_none_is_refused() -> None:
    """Unknown keys and garbage get a reply, not a traceback."""
    for line in (b"garbage", b'{"type":"run","scenario":{}}', b'{"type":"describe","more":1}'):
        reply = main.handle_request(line, lambda _event: None)
        assert isinstance(reply, UnusableReply)
        assert "disagree" in reply.detail


def test_other_data_than_the_parents_is_refused(request_for: Callable[[Scenario, Recipe], RunRequest]) -> None:
    """The worker verifies the files again."""
    request = request_for(Scenario(network="mlp"), Recipe(epochs=1))
    changed = msgspec.structs.replace(request, dataset=msgspec.structs.replace(request.dataset, digest="0" * 64))
    reply, _ = answer(changed)
    assert isinstance(reply, UnusableReply)


def test_other_threads_than_recorded_are_refused(
    request_for: Callable[[Scenario, Recipe], RunRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number under another thread count than its row says is worse than none."""
    request = request_for(Scenario(network="mlp"), Recipe(epochs=1))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    reply, _ = answer(request)
    assert isinstance(reply, UnusableReply)


@pytest.mark.system
def test_a_real_process_answers_and_says_what_it_loaded() -> None:
    """The executor's own worker imports the framework under the thread count it was given."""
    software = SubprocessExecutor().describe()
    assert (software.framework, software.framework_version) == ("mxnet", "1.9.1")
    assert "OPENMP" in software.framework_features
    assert {pool.num_threads for pool in software.thread_pools} == {1}


def test_without_mxnet_the_worker_says_which_extra(tmp_path: Path) -> None:
    """An environment that only reads results gets one line with the next step."""
    (tmp_path / "mxnet.py").write_text("raise ModuleNotFoundError(\"No module named 'mxnet'\", name='mxnet')\n")
    (tmp_path / "python").write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}" exec "{sys.executable}" "$@"\n')
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(SetupError, match=r"\.\[cpu\]"):
        SubprocessExecutor(Interpreters({Framework.MXNET: str(tmp_path / "python")})).describe()


def test_prints_of_the_measured_code_do_not_disturb_the_reply() -> None:
    """stdout belongs to the reply; what others print goes to stderr."""
    code = (
        "import os, sys\nfrom bench.worker import main\n"
        "def noisy(line, on_event):\n    print('noise'); os.write(1, b'more noise\\n')\n"
        "    return main.UnusableReply(detail='quiet')\n"
        "main.handle_request = noisy\nmain.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(msgspec.json.encode(DescribeRequest(framework=Framework.MXNET)) + b"\n")
        process.stdin.flush()  # and stays open: its end would end the worker
        said = process.stdout.read()
        noise = process.stderr.read()
    assert msgspec.json.decode(said, type=FromWorker) == UnusableReply(detail="quiet")
    assert {b"noise", b"more noise"} <= {*noise.splitlines()}


def test_the_start_up_is_counted_from_the_start(tmp_path: Path) -> None:
    """The boot's clock and the parent's agree to a tick of the kernel; one cut to whole seconds may be a second off."""
    code = "from bench.worker.measure.run import started; r = started(); import time; "
    code += "print(r.startup_seconds, time.clock_gettime(time.CLOCK_BOOTTIME))"
    begin = time.clock_gettime(time.CLOCK_BOOTTIME)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        forked = time.clock_gettime(time.CLOCK_BOOTTIME)
        assert child.stdout is not None
        told, end = map(float, child.stdout.read().split())
    tick = 1 / os.sysconf("SC_CLK_TCK")
    assert begin - tick <= end - told  # the last clock reading is a little after that of the start-up
    assert end - told <= forked + tick + 0.05


def test_the_end_of_stdin_ends_the_worker() -> None:
    """A parent that was killed leaves no worker behind, however busy it is."""
    code = "import time\nfrom bench.worker import main\nmain.handle_request = lambda *_: time.sleep(600)\nmain.main()\n"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
    process.communicate(b"a request\n", timeout=60)
    assert process.returncode == 1


@pytest.mark.system
def test_describe_in_this_process() -> None:
    """The reply is that of a fresh process, but for the threads."""
    reply = main.handle_request(msgspec.json.encode(DescribeRequest(framework=Framework.MXNET)), lambda _event: None)
    assert isinstance(reply, DescribeReply)
    assert reply.software.framework == "mxnet"


def test_what_a_users_file_raises_is_reported_with_its_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also after measuring has begun, so that nobody has to look for it in a log."""
    (tmp_path / "my_nets_that_raise.py").write_text("def build():\n    raise ValueError('no such layer')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    build = importlib.import_module("my_nets_that_raise").build
    reply = main._guarded(build)
    assert isinstance(reply, FailureReply)
    assert reply.detail == "ValueError: no such layer (my_nets_that_raise.py, line 2)"
    assert "Traceback" in capsys.readouterr().err


def test_a_worker_ends_whatever_keeps_it_from_hearing_its_parent() -> None:
    """An error of the thread that reads, here of a folder as stdin, would leave the process waiting for ever."""
    code = "import os; os.dup2(os.open('/', os.O_RDONLY), 0); from bench.worker.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == b""  # what cannot be imported ends with 1, too
