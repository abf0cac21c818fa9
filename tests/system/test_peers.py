"""The peers train what MXNet trains, where they are installed; what stands around them is tested everywhere."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from bench import cli
from bench.analysis.summary import summarize
from bench.errors import ConfigurationError, SetupError
from bench.experiments.run.executor import SubprocessExecutor
from bench.experiments.run.runner import OnEpoch, run_plan
from bench.machine.fingerprint import software_differences
from bench.records import store
from bench.records.result import Epoch, Failure, FailureReason, ResultSet, Run
from bench.render.formats.export import render_csv, render_json
from bench.render.views.results import result_tables
from bench.scenarios.axes import Framework, LoopName, preset
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import PlannedRun, expand, load_suite
from bench.worker import process
from bench.worker.backends import common
from bench.worker.interpreters import Interpreters, interpreters_of
from bench.worker.process import Cancellation, Interpreter
from bench.worker.protocol.requests import RunRequest
from mnist_core import networks, training
from mnist_core.devices import Device, DeviceKind, Probe, Unusable
from mnist_core.idx import Split
from mnist_core.mxnet_border import mx, nd
from mnist_core.recipe import Hybridize, InputPipeline, Kvstore, Layers, MetricSync, Network, Recipe, Update
from tests import PEER_PYTHONS, ROOT
from tests.support.cli import Command
from tests.support.executor import FakeBlocks
from tests.support.idx_files import small_idx_folder
from tests.support.records import a_result_set, a_run, a_scenario, a_software, an_environment

pytestmark = pytest.mark.system

GPU = Device(DeviceKind.GPU, 0)


# --- the same training ------------------------------------------------------------------------------------------------

#: Two whole batches and one of a single image, which leaves two of three devices without.
SAMPLES, BATCH_SIZE = 21, 10
#: Weights are of the order of 0.1 and an update of 0.01: the rounding of a few updates is below this.
TOLERANCE = 2e-6


def python_of(framework: Framework) -> str:
    """Return an interpreter that has the framework; skip the test where there is none."""
    variable = f"MNIST_BENCH_PYTHON_{framework.value.upper()}"
    named = PEER_PYTHONS.get(variable)
    if named is None and importlib.util.find_spec(framework.value) is None:
        pytest.skip(f"no {framework}: {variable} may name a Python that has it")
    return named or sys.executable


def a_peers_scenario(framework: Framework, network: str = "mlp", **changes: Any) -> Scenario:  # noqa: ANN401  # axes
    settled = preset(framework, network, LoopName.TUTORIAL, ())
    return Scenario(framework=framework, network=network, **{"batch_size": BATCH_SIZE, **settled, **changes})


def cases(framework: Framework) -> list[Scenario]:
    """Return every execution, layout, update and number of devices, in one step on all images and in batches."""
    executions = {
        Framework.TORCH: (Hybridize.OFF, Hybridize.COMPILE),
        Framework.JAX: (Hybridize.JIT, Hybridize.SCAN),
    }
    updates = (Update.TRAINER, Update.FLAT) if framework is Framework.TORCH else (Update.TRAINER,)
    layouts = (Layers.TUTORIAL, Layers.CHANNELS_LAST)
    made = []
    for network, execution, layers, update, (contexts, batch_size) in itertools.product(
        Network, executions[framework], layouts, updates, ((1, SAMPLES), (1, 10), (3, 10))
    ):
        if network is Network.LENET or layers is Layers.TUTORIAL:
            devices = tuple(f"cpu({index})" for index in range(contexts))
            axes: dict[str, Any] = {"hybridize": execution, "layers": layers, "update": update}
            axes |= {"contexts": devices, "batch_size": batch_size}
            made.append(a_peers_scenario(framework, str(network), **axes))
    return made


def images() -> Split:
    """Return noise: what is learnt does not matter, only that it is the same."""
    random = np.random.RandomState(5)
    return Split(
        random.randint(0, 256, (SAMPLES, 28, 28)).astype(np.uint8), random.randint(0, 10, SAMPLES).astype(np.uint8)
    )


@dataclasses.dataclass
class ByMXNet:
    """What the tutorial's own loop makes of two epochs, from weights that it drew."""

    initial: list[NDArray[np.float32]]
    trained: list[NDArray[np.float32]]
    accuracies: list[float]
    last_batch_loss: float
    test_accuracy: float


def by_mxnet(network: Network, batch_size: int) -> ByMXNet:
    training.seed_everything(Recipe().seed)
    net = networks.build(network, Hybridize.OFF)
    training.initialize(net, [mx.cpu()], Recipe())
    net(nd.zeros((1, 1, 28, 28)))

    def weights() -> list[NDArray[np.float32]]:
        return [parameter.data().asnumpy() for parameter in net.collect_params().values()]

    initial = weights()
    trainer = training.make_trainer(net, Recipe())
    train = images()
    batches = training.training_batches(training.as_input(train.images), train.labels, batch_size)
    epochs = [training.train_epoch(net, batches, trainer, [mx.cpu()]) for _ in range(2)]
    judged = training.evaluation_batches(training.as_input(train.images), train.labels, batch_size)
    return ByMXNet(
        initial=initial,
        trained=weights(),
        accuracies=[epoch.train_accuracy for epoch in epochs],
        last_batch_loss=epochs[-1].last_batch_loss(),
        test_accuracy=training.evaluate(net, judged, [mx.cpu()]),
    )


@pytest.fixture(scope="module")
def references() -> dict[tuple[str, int], ByMXNet]:
    return {(network.value, size): by_mxnet(network, size) for network in Network for size in (BATCH_SIZE, SAMPLES)}


@pytest.fixture(scope="module", params=[Framework.TORCH, Framework.JAX], ids=str)
def trained(
    request: pytest.FixtureRequest,
    references: dict[tuple[str, int], ByMXNet],
    tmp_path_factory: pytest.TempPathFactory,
) -> list[tuple[Scenario, dict[str, Any]]]:
    """Train each case in the peer's own process, from MXNet's initial weights."""
    framework: Framework = request.param
    python, folder = python_of(framework), tmp_path_factory.mktemp("peer")
    scenarios, train = cases(framework), images()
    given: dict[str, Any] = {
        f"{network}{k}": weight
        for network in Network
        for k, weight in enumerate(references[network.value, BATCH_SIZE].initial)
    }
    encoded = msgspec.json.encode(scenarios).decode()
    np.savez(folder / "cases.npz", images=train.images, labels=train.labels, scenarios=encoded, **given)
    subprocess.run(
        [python, "-m", "tests.support.peer_process", folder / "cases.npz", folder / "trained.npz"],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    with np.load(folder / "trained.npz") as answer:
        facts: list[dict[str, Any]] = [{} for _ in scenarios]
        for name in answer.files:
            number, _, fact = name.partition(" ")
            facts[int(number)][fact] = answer[name]
    return list(zip(scenarios, facts, strict=True))


def test_a_peer_trains_as_mxnet_does(
    trained: list[tuple[Scenario, dict[str, Any]]], references: dict[tuple[str, int], ByMXNet]
) -> None:
    """Equal weights after the same epochs need the same steps and the same order of the images."""
    for scenario, facts in trained:
        reference = references[scenario.network, scenario.batch_size]
        for k, expected in enumerate(reference.trained):
            np.testing.assert_allclose(
                facts[f"weight{k}"], expected, rtol=0, atol=TOLERANCE, err_msg=f"{scenario.name}, array {k}"
            )
        assert facts["samples"].tolist() == [SAMPLES, SAMPLES], scenario.name
        np.testing.assert_allclose(facts["accuracies"], reference.accuracies, err_msg=scenario.name)
        np.testing.assert_allclose(facts["last_batch_loss"], reference.last_batch_loss, rtol=1e-4)
        assert facts["test_accuracy"] == pytest.approx(reference.test_accuracy), scenario.name
        assert facts["device_memory_bytes"] == "None"


def test_a_peer_predicts_what_it_evaluates(trained: list[tuple[Scenario, dict[str, Any]]]) -> None:
    """One image at a time, on the first of three devices; compiled for itself where the training is compiled."""
    predicted = {scenario.name: int(facts["mismatches"]) for scenario, facts in trained if facts["mismatches"] >= 0}
    assert predicted == dict.fromkeys(predicted, 0)
    executions = {scenario.hybridize for scenario, _facts in trained}
    assert {scenario.hybridize for scenario, _facts in trained if scenario.name in predicted} == executions


def test_throwaway_batches_leave_a_peers_weights_and_nothing_to_compile(
    trained: list[tuple[Scenario, dict[str, Any]]],
) -> None:
    """At learning rate 0 not a bit changes, and no shape, nor the learning rate, is compiled for inside an epoch."""
    for scenario, facts in trained:
        assert facts["left_alone"], scenario.name
        assert facts["compiled_in_epochs"] == 0, scenario.name


@pytest.mark.parametrize("framework", [Framework.TORCH, Framework.JAX], ids=str)
def test_a_peer_says_what_it_is_and_that_a_gpu_is_not_here(framework: Framework) -> None:
    """It names its version and NumPy. Asked for a GPU that no machine has, it says so instead of falling back."""
    worker = SubprocessExecutor(Interpreters({framework: python_of(framework)}))
    software = worker.describe(framework)
    assert software.framework == framework.value
    assert software.framework_version
    assert software.framework_features
    answer = worker.probe(framework, Device(DeviceKind.GPU, 999))
    assert not answer.usable
    assert answer.reason is not Unusable.CRASHED
    assert worker.probe(framework, Device(DeviceKind.CPU, 0)).usable


@pytest.mark.parametrize("framework", [Framework.TORCH, Framework.JAX], ids=str)
def test_a_peer_multiplies_and_adds_for_the_ceilings(framework: Framework) -> None:
    """It does so as the ceilings' clock calls it."""
    code = (
        "from bench.scenarios.axes import Framework\n"
        "from bench.worker.backends.base import backend_for\n"
        "from mnist_core.devices import Device, DeviceKind\n"
        f"module = backend_for(Framework({framework.value!r}))\n"
        "device = Device(DeviceKind.CPU, 0)\n"
        "from mnist_core.recipe import Precision\n"
        "products = [module.matrix_product(device, 64, each) for each in (Precision.FLOAT32, Precision.BFLOAT16)]\n"
        "assert module.product_kernel(device, 64, Precision.BFLOAT16) != ''\n"
        "for made in (*products, module.vector_sum(device, 1000)):\n"
        "    made(), made()\n"
    )
    subprocess.run([python_of(framework), "-c", code], check=True, cwd=ROOT)


def test_a_worker_that_is_killed_while_it_compiles_leaves_no_cut_library(tmp_path: Path) -> None:
    """PyTorch would take it for a whole one in every process after that."""
    compiler = "import os, sys; open(sys.argv[2], 'w').write('half of it')"
    code = (
        "import shlex, sys\n"
        "from torch._inductor import cpp_builder\n"
        "from bench.worker.backends import pytorch_steps\n"
        "pytorch_steps.keep_whole_libraries()\n"
        "for name, then in (('whole.so', ''), ('cut.so', '; os.kill(os.getppid(), 9)')):\n"
        f"    cpp_builder.run_compile_cmd(shlex.join([sys.executable, '-c', {compiler!r} + then, '-o', name]), '.')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([python_of(Framework.TORCH), "-c", code], check=False, cwd=tmp_path, env=environment)
    assert done.returncode == -signal.SIGKILL
    assert (tmp_path / "whole.so").read_text() == "half of it"
    assert not (tmp_path / "cut.so").exists()


@pytest.mark.parametrize("framework", [Framework.TORCH, Framework.JAX], ids=str)
def test_a_peer_is_measured_beside_mxnet(
    framework: Framework, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command line gives a valid file, in which each row names its own software."""
    data = small_idx_folder(tmp_path / "data", train=200, test=50)
    arguments: list[object] = ["--suite", "peers", "--network", "mlp", "--framework", framework, "--framework", "mxnet"]
    arguments += ["-k", "hybridize=off or hybridize=jit", "--epochs", 1, "--repeats", 1, "--data-dir", data]
    arguments += ["--python", f"{framework}={python_of(framework)}", "-o", "out.json", "--format", "csv"]
    assert command("run", *arguments) == cli.Exit.DONE
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert {row["framework"] for row in rows} == {"mxnet", framework.value}
    assert len({row["framework_version"] for row in rows}) == 2
    assert command("check", "out.json") == cli.Exit.DONE
    result_set = store.read(Path("out.json"), ResultSet)
    assert [peer.framework for peer in result_set.environment.peers] == [framework.value]
    assert all(epoch.samples == 200 * epoch.passes for run in result_set.runs for epoch in run.epochs)
    assert {run.block for run in result_set.runs} <= {0, 1}  # a block that a busy machine spoils is measured again


# --- what needs no peer -----------------------------------------------------------------------------------------------


@pytest.fixture
def without_peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let workers find neither framework, whatever is installed."""
    for name in ("torch", "jax"):
        (tmp_path / "hidden" / name).mkdir(parents=True)
        raising = f"raise ModuleNotFoundError(\"No module named '{name}'\", name={name!r})\n"
        (tmp_path / "hidden" / name / "__init__.py").write_text(raising)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))


def test_initial_weights_are_distributed_as_mxnets() -> None:
    """They are uniform to the same limits in every layer, biases are zero, and another seed draws others."""
    for network in Network:
        training.seed_everything(1)
        net = networks.build(network, Hybridize.OFF)
        training.initialize(net, [mx.cpu()], Recipe())
        net(nd.zeros((1, 1, 28, 28)))
        drawn = common.initial_weights(network, Recipe())
        for ours, parameter in zip(drawn, net.collect_params().values(), strict=True):
            theirs = parameter.data().asnumpy()
            assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
            assert ours.min() == pytest.approx(theirs.min(), rel=0.02)
            assert ours.max() == pytest.approx(theirs.max(), rel=0.02)
            assert ours.std() == pytest.approx(theirs.std(), rel=0.08)
            assert abs(ours.mean()) <= 0.1 * np.abs(ours).max()
        again, other = (common.initial_weights(network, Recipe(seed=seed)) for seed in (Recipe().seed, 7))
        assert all((a == b).all() for a, b in zip(drawn, again, strict=True))
        assert not (drawn[0] == other[0]).all()


@pytest.mark.parametrize(
    ("framework", "changes", "words"),
    [
        (Framework.TORCH, {"hybridize": Hybridize.STATIC}, "none of torch's: off, compile"),
        (Framework.JAX, {"hybridize": Hybridize.COMPILE}, "none of jax's: jit, scan"),
        (Framework.TORCH, {"layers": Layers.PADDED}, "none of torch's"),
        (Framework.JAX, {"network": "my.nets:build"}, "is a Gluon network"),
        (Framework.TORCH, {"input_pipeline": InputPipeline.NDARRAYITER}, "input_pipeline=resident alone"),
        (Framework.TORCH, {"metric_sync": MetricSync.BATCH}, "metric_sync=epoch alone"),
        (Framework.JAX, {"update": Update.FLAT}, "none of jax's: trainer"),
        (Framework.TORCH, {"network": "mlp", "layers": Layers.CHANNELS_LAST}, "is the lenet's alone"),
        (Framework.JAX, {"kvstore": Kvstore.LOCAL}, "kvstore=device alone"),
    ],
)
def test_a_peer_is_measured_in_its_own_ways_alone(framework: Framework, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        a_peers_scenario(framework, **{"network": "lenet", **changes})
    assert words in str(caught.value)


def test_the_suite_measures_every_way_of_every_framework() -> None:
    """It has both loops of each in every execution; JAX's two differ where a network has layouts."""
    plan = expand(load_suite("peers"))
    scenarios = {planned.scenario for planned in plan}
    ways = {(str(s.framework), s.network, str(s.hybridize), s.loop_summary) for s in scenarios}
    assert ways == {
        *(
            ("torch", network, execution, loop)
            for network in Network
            for execution in ("off", "compile")
            for loop in LoopName
        ),
        *(("jax", "mlp", execution, "tutorial") for execution in ("jit", "scan")),
        *(("jax", "lenet", execution, loop) for execution in ("jit", "scan") for loop in LoopName),
        *(
            ("mxnet", network, execution, loop)
            for network in Network
            for execution, loop in (("off", "tutorial"), ("bound", "tuned"))
        ),
    }
    repeats = {planned.scenario.network: planned.repeat + 1 for planned in plan}
    assert repeats == {"mlp": 5, "lenet": 6}
    assert all(planned.in_turns for planned in plan)


def test_a_missing_framework_is_one_line_with_the_next_step(
    command: Command, without_peers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """It comes before any data is looked for, let alone a run begun."""
    assert command("run", "--suite", "peers", "--data-dir", "nowhere") == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "framework torch is not installed for this Python" in line
    assert "nox -s peers" in line
    assert "--python torch=PATH" in line


def test_a_framework_that_does_not_import_says_why(without_peers: None, tmp_path: Path) -> None:
    (tmp_path / "hidden" / "jax" / "__init__.py").write_text("raise ImportError('libcudart.so.12: no such file')\n")
    with pytest.raises(SetupError, match=r"jax does not import \(libcudart.so.12: no such file\): "):
        SubprocessExecutor().describe(Framework.JAX)


def test_a_python_without_this_program_is_told_what_to_install(tmp_path: Path) -> None:
    """The message names what a worker needs beside its framework."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    with pytest.raises(SetupError, match=rf"worker for torch .*ModuleNotFoundError.* {python} -m pip install "):
        process.describe(Interpreter(str(python)), Cancellation(), Framework.TORCH)


def test_interpreters_come_from_flags_and_from_the_environment(tmp_path: Path) -> None:
    """A flag wins, and a framework that none names has this program's own."""
    variables = {"MNIST_BENCH_PYTHON_TORCH": sys.executable, "MNIST_BENCH_PYTHON_JAX": "/bin/sh"}
    chosen = interpreters_of(["jax=/bin/cat"], variables)
    assert [chosen.of(framework).python for framework in Framework] == [sys.executable, sys.executable, "/bin/cat"]
    for wrong in ("jax", "jax=", "caffe=/bin/sh", f"jax={tmp_path}/none"):
        with pytest.raises(ConfigurationError, match=r"--python|cannot be executed"):
            interpreters_of([wrong], {})


# --- devices


@pytest.fixture
def python_that(tmp_path: Path) -> Callable[[str], str]:
    """Make an interpreter that runs the given code instead of a worker."""

    def make(code: str) -> str:
        (tmp_path / "worker.py").write_text(f"import os, sys, time\nrequest = sys.stdin.readline()\n{code}\n")
        script = tmp_path / "python"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path / "worker.py"}"\n')
        script.chmod(0o755)
        return str(script)

    return make


@pytest.mark.parametrize(
    ("code", "reason", "detail"),
    [
        ("time.sleep(60)", Unusable.HUNG, "gpu(0) gave no answer within 1 s"),
        ("os.abort()", Unusable.CRASHED, "SIGABRT"),
        ('print(\'{"type":"unusable","detail":"not installed"}\')', Unusable.NO_FRAMEWORK, "not installed"),
        (
            'print(\'{"type":"failed","reason":"crashed","detail":"CUDA error"}\')',
            Unusable.CRASHED,
            "CUDA error",
        ),
    ],
)
def test_whatever_a_trial_of_a_gpu_does_it_is_an_answer(
    python_that: Callable[[str], str], monkeypatch: pytest.MonkeyPatch, code: str, reason: Unusable, detail: str
) -> None:
    """It runs through the framework's interpreter, in a process that may hang or crash."""
    monkeypatch.setattr(process, "PROBE_TIMEOUT_SECONDS", 1.0)
    answer = SubprocessExecutor(Interpreters({Framework.TORCH: python_that(code)})).probe(Framework.TORCH, GPU)
    assert (answer.device, answer.reason) == (GPU, reason)
    assert detail in answer.detail


def test_mxnet_is_tried_out_in_the_same_way() -> None:
    """Its CPU build knows no GPU, and says what to install, or that nothing would help."""
    answer = SubprocessExecutor().probe(Framework.MXNET, GPU)
    assert answer.reason is Unusable.NO_CUDA_BUILD
    assert "'.[gpu]'" in answer.detail or "no NVIDIA driver" in answer.detail
    assert SubprocessExecutor().probe(Framework.MXNET, Device(DeviceKind.CPU, 0)) == Probe(Device(DeviceKind.CPU, 0))


def test_a_card_that_mxnet_cannot_use_gives_its_peers_their_rows() -> None:
    """Each framework tries each device once. MXNet's failure says why, and which framework can use it."""
    scenarios = [a_scenario(contexts="gpu(0)"), a_peers_scenario(Framework.TORCH, contexts=("gpu(0)",))]
    plan = tuple(
        PlannedRun(scenario=scenario, recipe=Recipe(), repeat=repeat, timeout_seconds=60)
        for scenario in scenarios
        for repeat in range(2)
    )
    asked: list[tuple[Framework, Device]] = []

    def card(framework: Framework, device: Device) -> Probe:
        asked.append((framework, device))
        if framework is Framework.MXNET:
            return Probe(device, Unusable.UNSUPPORTED_CAPABILITY, "capability 9.0: use a peer framework")
        return Probe(device, gpu_name="a new card")

    class Executor(FakeBlocks):
        def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
            return a_run(scenario=request.scenario, recipe=request.recipe, repeat=request.repeat)

    class Silent:
        def started(self, unit: Sequence[PlannedRun], position: int, total: int) -> None: ...
        def turn(self, planned: PlannedRun) -> None: ...
        def epoch(self, planned: PlannedRun, index: int, epoch: Epoch) -> None: ...
        def finished(self, planned: PlannedRun, outcome: Run | Failure) -> None: ...
        def block_saved(
            self, result_set: ResultSet, unit: Sequence[PlannedRun], later: Sequence[PlannedRun]
        ) -> None: ...

    final = run_plan(
        a_result_set(plan=plan, runs=(), failures=()),
        executor=Executor(),
        data_directory=Path("/data"),
        usable_cores=2,
        save=lambda _result_set: None,
        observer=Silent(),
        probe=card,
        stop=Cancellation(),
    )
    assert sorted(asked) == [(Framework.MXNET, GPU), (Framework.TORCH, GPU)]
    assert {run.scenario.framework for run in final.runs} == {Framework.TORCH}
    assert {(f.scenario.framework, f.reason, f.detail) for f in final.failures} == {
        (Framework.MXNET, FailureReason.NO_DEVICE, "gpu(0): capability 9.0: use a peer framework")
    }


def test_auto_means_the_gpus_that_any_framework_of_the_suite_can_use(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A card that is too new for MXNet is measured with its peers, and MXNet's rows say why not."""

    def card(_worker: SubprocessExecutor, framework: Framework, device: Device) -> Probe:
        if device != GPU:
            return Probe(device, Unusable.NO_SUCH_DEVICE, "one card is here")
        return Probe(device, Unusable.UNSUPPORTED_CAPABILITY if framework is Framework.MXNET else None)

    monkeypatch.setattr(SubprocessExecutor, "probe", card)
    suite = ["run", "--suite", "peers", "--contexts", "auto", "--dry-run"]
    assert command(*suite) == cli.Exit.DONE
    lines = capsys.readouterr().out.splitlines()[:-1]
    assert lines
    assert all("gpu(0)" in line for line in lines)
    assert command(*suite, "--framework", "mxnet") == cli.Exit.DONE
    assert all("cpu(0)" in line for line in capsys.readouterr().out.splitlines()[:-1])


# --- tables


def a_mixed_result() -> ResultSet:
    environment = an_environment(
        software=a_software(),
        peers=(a_software(framework="torch", framework_version="2.13.0", numpy="2.4.6", python="3.12.1"),),
    )
    return a_result_set(
        a_run(scenario=a_scenario()), a_run(scenario=a_peers_scenario(Framework.TORCH)), environment=environment
    )


def test_every_row_names_the_software_of_its_own_framework() -> None:
    """CSV and JSON do. A table's facts hold what all rows share, and its caption names all."""
    (table,) = result_tables([summarize(a_mixed_result())])
    rows = list(csv.DictReader(render_csv([table]).splitlines()))
    versions = [(row["framework"], row["framework_version"], row["numpy"], row["python"]) for row in rows]
    assert versions == [("mxnet", "1.9.1", "1.26.4", "3.11.9"), ("torch", "2.13.0", "2.4.6", "3.12.1")]
    (document,) = json.loads(render_json([table]))
    assert [row["numpy"] for row in document["rows"]] == ["1.26.4", "2.4.6"]
    assert document["facts"]["numpy"] is None
    assert dict(table.caption)["software"].startswith(
        "mxnet 1.9.1, numpy 1.26.4, Python 3.11.9; torch 2.13.0, numpy 2.4.6, Python 3.12.1"
    )


@pytest.mark.parametrize("axes", [{"row": "framework", "column": "network"}, {"column": "framework"}], ids=str)
def test_frameworks_are_rows_or_columns_of_a_pivot(axes: dict[str, str]) -> None:
    """Its facts name each framework's software."""
    (table,) = result_tables([summarize(a_mixed_result())], **axes)
    assert table.facts["framework_version"] is None
    named = {name: value for name, value in table.facts.items() if name.startswith("framework_version[")}
    assert named == {"framework_version[framework=mxnet]": "1.9.1", "framework_version[framework=torch]": "2.13.0"}
    assert {"mxnet", "torch"} <= {
        *(cell.text for row in table.rows for cell in row.cells),
        *(heading.title.split("\n")[-1] for heading in table.headings),
    }


def test_rows_of_one_framework_have_its_versions_as_facts() -> None:
    """That is so where the file's first framework is another, too."""
    result_set = a_mixed_result()
    alone = msgspec.structs.replace(result_set, plan=result_set.plan[1:], runs=result_set.runs[1:])
    (table,) = result_tables([summarize(alone)])
    assert (table.facts["framework_version"], table.facts["numpy"]) == ("2.13.0", "2.4.6")


def test_another_version_of_a_peer_is_among_what_differs() -> None:
    """It is where both files have the peer."""
    before, after, without = (
        an_environment(peers=tuple(a_software(framework="jax", framework_version=version) for version in versions))
        for versions in (("0.9.0",), ("0.10.2",), ())
    )
    (difference,) = software_differences(before, after)
    assert str(difference).startswith("jax 0.9.0 with numpy 1.26.4, Python 3.11.9 -> 0.10.2 with")
    assert software_differences(before, without) == ()
