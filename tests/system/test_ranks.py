"""Ranks that exchange all gradients train what one process trains, where the framework is installed."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import filelock
import msgspec
import numpy as np
import pytest

from bench import cli
from bench.experiments.run import exchanges
from bench.experiments.run.executor import SubprocessExecutor
from bench.records import store
from bench.records.result import Dataset, FailureReason, ResultSet
from bench.scenarios.axes import Compression, Exchange, Framework, LoopName, preset
from bench.scenarios.scenario import Scenario
from bench.worker import cluster, session
from bench.worker.cluster import ClusterSession
from bench.worker.interpreters import Interpreters
from bench.worker.process import Cancellation, Interpreter
from bench.worker.protocol.requests import RankPlace, ServeRequest, ServerRole, SessionRequest
from bench.worker.seats import seats_here
from bench.worker.session import SessionError
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.recipe import Hybridize, Layers, Network, Update
from tests import ROOT
from tests.support.cli import Command
from tests.support.idx_files import small_idx_folder
from tests.system.test_peers import SAMPLES, a_peers_scenario, images, python_of

pytestmark = pytest.mark.system

#: Weights are of the order of 0.1 and an update of 0.01: a shard that is trained twice is off by far more.
TOLERANCE = 1e-5
#: Of two ranks, even ones; of three, uneven ones; the last batch of one image leaves all but the first without.
RANKS = (1, 2, 3)


def a_place(**changes: Any) -> RankPlace:  # noqa: ANN401  # a field of the place
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    facts: dict[str, Any] = {"rank": 0, "ranks": 1, "exchange": Exchange.GLOO, "servers": 0}
    facts |= {"address": "127.0.0.1", "port": port, "interface": "lo"}
    return RankPlace(**facts | changes)


@dataclasses.dataclass
class Training:
    """What one rank, or one process alone, made of a case."""

    facts: dict[str, Any]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # a fact of `rank_process`
        return self.facts[name]


def train(
    folder: Path,
    scenarios: list[Scenario],
    ranks: int | None,
    fault: str = "",
    hosts: Sequence[tuple[str, str]] = (),
) -> list[list[Training]]:
    """Train the cases, one after the other; return for each what each rank made of it. Without ranks: one process.

    `hosts` are network namespaces with their addresses, one for each rank; a server is in the last one.
    """
    folder.mkdir(exist_ok=True)  # of an attempt that failed
    noise, encoded = images(), msgspec.json.encode(scenarios).decode()
    np.savez(folder / "cases.npz", images=noise.images, labels=noise.labels, scenarios=encoded)
    first = scenarios[0]
    whole = a_place(ranks=ranks or 1, exchange=first.exchange, servers=first.servers)
    places = [msgspec.structs.replace(whole, rank=rank) for rank in range(ranks or 1)]
    if hosts:
        there = msgspec.structs.replace(whole, address=hosts[0][1], interface="eth0")
        places = [
            msgspec.structs.replace(there, rank=rank, own_address=address) for rank, (_, address) in enumerate(hosts)
        ]
    inside = [["ip", "netns", "exec", name] for name, _ in hosts] or [[]] * len(places)
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    helpers = []
    if ranks is not None and fault != "no exchange":
        for role in [ServerRole.SCHEDULER, *[ServerRole.SERVER] * first.servers] if first.servers else []:
            at = 0 if role is ServerRole.SCHEDULER else -1
            request = msgspec.json.encode(ServeRequest(role, places[at])) + b"\n"
            server = subprocess.Popen(
                [*inside[at], sys.executable, "-c", "from bench.worker.main import main; main()"],
                stdin=subprocess.PIPE,
                env=variables,
            )
            assert server.stdin is not None
            server.stdin.write(request)
            server.stdin.flush()
            helpers.append(server)
    running = []
    for rank in range(ranks or 1):
        place = None if ranks is None else places[rank]
        words = [*inside[rank], python_of(scenarios[0].framework), "-m", "tests.support.rank_process"]
        words += ["cases.npz", f"{rank}.npz"]
        words = [*words, msgspec.json.encode(place).decode(), *filter(None, [fault])]
        running.append(subprocess.Popen(words, cwd=folder, env=variables, stdin=subprocess.PIPE))
    try:
        assert [process.wait(300) for process in running] == [0] * len(running)
    finally:
        for process in (*running, *helpers):
            process.kill()
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
    return trained(folder, scenarios, len(running))


def train_alone(factory: pytest.TempPathFactory, scenarios: list[Scenario]) -> list[list[Training]]:
    """Train the cases in one process, without what only ranks have; the same ones once for all tests.

    What pytest-xdist starts has a folder in one that all of it shares.
    """
    one: dict[str, Any] = {"ranks": 1, "exchange": Exchange.NONE, "servers": 0, "compression": Compression.NONE}
    cases = [msgspec.structs.replace(scenario, **one) for scenario in scenarios]
    shared = factory.getbasetemp().parent if "PYTEST_XDIST_WORKER" in os.environ else factory.getbasetemp()
    folder = shared / f"alone-{hashlib.sha256(msgspec.json.encode(cases)).hexdigest()}"
    with filelock.FileLock(f"{folder}.lock"):
        return trained(folder, cases, 1) if (folder / "0.done").exists() else train(folder, cases, None)


def trained(folder: Path, scenarios: list[Scenario], ranks: int) -> list[list[Training]]:
    """Return for each case what each rank has made of it."""
    found: list[list[Training]] = [[] for _ in scenarios]
    for rank in range(ranks):
        with np.load(folder / f"{rank}.npz") as answer:
            for number, each in enumerate(found):
                own = {name.partition(" ")[2]: answer[name] for name in answer.files if name.startswith(f"{number} ")}
                each.append(Training(own))
    return found


def of_torch(ranks: int) -> list[Scenario]:
    """Return both ways to add up gradients for both networks; compiled ones, which take long, for even shares."""
    made = [
        (network, Hybridize.OFF, layers, update)
        for network, (layers, update) in itertools.product(
            Network, ((Layers.TUTORIAL, Update.TRAINER), (Layers.TUTORIAL, Update.FLAT))
        )
    ]
    made.append((Network.LENET, Hybridize.OFF, Layers.CHANNELS_LAST, Update.FLAT))
    if ranks == 2:
        made += [(Network.MLP, Hybridize.COMPILE, Layers.TUTORIAL, update) for update in Update]
    return [
        a_peers_scenario(
            Framework.TORCH,
            str(network),
            hybridize=hybridize,
            layers=layers,
            update=update,
            ranks=ranks,
            exchange=Exchange.GLOO,
        )
        for network, hybridize, layers, update in made
    ]


def of_jax(ranks: int) -> list[Scenario]:
    """Return both executions; the LeNet, which takes long to compile, for even shares."""
    made = [("mlp", Hybridize.JIT, Layers.TUTORIAL), ("mlp", Hybridize.SCAN, Layers.TUTORIAL)]
    if ranks == 2:
        made.append(("lenet", Hybridize.SCAN, Layers.CHANNELS_LAST))
    return [
        a_peers_scenario(
            Framework.JAX, network, hybridize=hybridize, layers=layers, ranks=ranks, exchange=Exchange.GLOO
        )
        for network, hybridize, layers in made
    ]


def of_mxnet(ranks: int) -> list[Scenario]:
    """Return the tutorial's loop, updated on the servers or on the ranks, and tuned ones with all gradients as one."""
    dist: dict[str, Any] = {"ranks": ranks, "exchange": Exchange.DIST_SYNC, "servers": 1, "batch_size": 10}
    two: tuple[str, ...] = ("cpu(0)", "cpu(1)")  # as many as the batch of 10 allows
    return [
        Scenario(network="mlp", **dist, contexts=two),
        Scenario(network="lenet", **{**dist, "exchange": Exchange.DIST_SYNC_DEVICE}, contexts=("cpu(0)",)),
        Scenario(network="mlp", **dist, **preset(Framework.MXNET, "mlp", LoopName.TUNED, ())),
        Scenario(network="lenet", **{**dist, "servers": 2}, **preset(Framework.MXNET, "lenet", LoopName.TUNED, ())),
        Scenario(network="mlp", **dist, contexts=("cpu(0)",), update_on_kvstore=False),
    ]


def differences(ranks: list[Training], alone: Training) -> float:
    return max(float(np.abs(rank.weights - alone.weights).max()) for rank in ranks)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("scenarios_of", [of_torch, of_jax])
def test_ranks_of_a_peer_train_what_one_process_trains(
    scenarios_of: Callable[[int], list[Scenario]],
    ranks: int,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """All have the same bits, and the one process's weights to rounding; together they see each image once."""
    scenarios = scenarios_of(ranks)
    together = train(tmp_path / "ranks", scenarios, ranks)
    assert_same(scenarios, together, train_alone(tmp_path_factory, scenarios))


#: Each loop, and each number of ranks, in a few of all pairs: a pair takes six seconds. A lone rank's first gradients
#: overtook its question for the initial weights.
PAIRS = ((0, 1), (1, 2), (2, 3), (3, 2), (4, 1))


@pytest.mark.parametrize(("number", "ranks"), PAIRS)
def test_ranks_of_mxnet_train_what_one_process_trains(
    number: int, ranks: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """They do so through the parameter server, of which a process has one in its life."""
    scenario = of_mxnet(ranks)[number]
    together = train(tmp_path / "ranks", [scenario], ranks)
    assert_same([scenario], together, train_alone(tmp_path_factory, [scenario]))


def test_compressed_gradients_are_sent_in_two_bits_and_what_is_left_of_them_later(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The ranks have the same weights, which are not those of whole gradients, and begin with nothing left."""
    scenario = msgspec.structs.replace(of_mxnet(2)[2], compression=Compression.TWO_BIT)
    ((first, second),) = train(tmp_path / "ranks", [scenario], 2)
    ((alone,),) = train_alone(tmp_path_factory, [scenario])
    assert str(first.digest) == str(second.digest)
    assert first.left_alone
    assert differences([first], alone) > 10 * TOLERANCE
    assert first.sent.tolist() == second.sent.tolist() == pytest.approx([0, 0, 2], abs=1e-3)


def assert_same(scenarios: list[Scenario], together: list[list[Training]], alone: list[list[Training]]) -> None:
    for scenario, those, (one,) in zip(scenarios, together, alone, strict=True):
        assert len({str(rank.digest) for rank in those}) == 1, scenario.name
        assert differences(those, one) < TOLERANCE, scenario.name
        assert all(rank.left_alone for rank in those), scenario.name
        assert sum(int(rank.samples) for rank in those) == 2 * SAMPLES, scenario.name
        assert sum(int(rank.correct) for rank in those) == int(one.correct), scenario.name
        assert sum(float(rank.loss) for rank in those) == pytest.approx(float(one.loss), rel=1e-4)
        assert {float(rank.test_accuracy) for rank in those} == {float(one.test_accuracy)}


@pytest.mark.parametrize("fault", ["no exchange", "a shard trained twice", "a learning rate that stayed at 0"])
@pytest.mark.parametrize("framework", Framework)
def test_what_ranks_may_do_wrong_is_seen_in_their_weights(
    framework: Framework, fault: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The comparison with one process is worth something: each of these faults fails it."""
    if framework is Framework.MXNET:
        scenarios = of_mxnet(2)[:1]
    else:
        update = Update.FLAT if framework is Framework.TORCH else Update.TRAINER
        scenarios = [a_peers_scenario(framework, update=update, ranks=2, exchange=Exchange.GLOO)]
    (together,) = train(tmp_path / "ranks", scenarios, 2, fault)
    ((one,),) = train_alone(tmp_path_factory, scenarios)
    assert differences(together, one) > 100 * TOLERANCE


# --- as a session -----------------------------------------------------------------------------------------------------


@pytest.fixture
def prepared(tmp_path: Path) -> datasets.Prepared:
    return datasets.obtain(
        DatasetName.AUTO, data_dir=small_idx_folder(tmp_path / "data", train=210, test=60), environ={}
    )


def a_request(prepared: datasets.Prepared, framework: Framework) -> SessionRequest:
    dataset = Dataset(name="custom", digest=prepared.digest, source="test", train_samples=210, test_samples=60)
    return session.session_request(prepared.directory, dataset, 1, 1, Scenario(network="mlp").engine, framework)


def ranks_of(
    scenario: Scenario, request: SessionRequest, interpreter: Interpreter
) -> AbstractContextManager[ClusterSession]:
    seats = seats_here(interpreter, scenario.ranks)
    return cluster.start(seats, request, scenario=scenario, life_seconds=300, stop=Cancellation())


PEERS = (Framework.TORCH, Framework.JAX)


@pytest.mark.parametrize("framework", PEERS)
def test_ranks_are_one_session(framework: Framework, prepared: datasets.Prepared) -> None:
    """It counts all images, keeps what each rank measured, and takes as long as the slowest."""
    scenario = a_peers_scenario(framework, batch_size=100, ranks=2, exchange=Exchange.GLOO)
    request = a_request(prepared, framework)
    python = Interpreter(python_of(framework))
    with ranks_of(scenario, request, python) as ranks:
        ranks.wait_until_ready()
        ranks.set_up(scenario, 210)
        window = ranks.run_window(2)
        assert (window.samples, [rank.samples for rank in window.ranks]) == (420, [210, 210])
        assert window.seconds == max(rank.seconds for rank in window.ranks)
        assert window.cpu_seconds == sum(rank.cpu_seconds for rank in window.ranks)
        assert 0 < ranks.evaluate().test_accuracy <= 1


@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("framework", PEERS)
def test_a_killed_rank_is_named_and_no_process_is_left(
    framework: Framework, killed: int, prepared: datasets.Prepared
) -> None:
    """So is the first rank, where all others have met."""
    scenario = a_peers_scenario(framework, batch_size=100, ranks=3, exchange=Exchange.GLOO)
    request = a_request(prepared, framework)
    python = Interpreter(python_of(framework))
    with ranks_of(scenario, request, python) as ranks:
        ranks.wait_until_ready()
        ranks.set_up(scenario, 210)
        workers = [rank.worker for rank in ranks._ranks]
        workers[killed].process.kill()
        with pytest.raises(SessionError) as caught:
            ranks.run_window(10_000)
    assert caught.value.failure.reason is FailureReason.CRASHED
    assert caught.value.failure.detail == f"rank {killed} of 3: the worker was killed by SIGKILL"
    assert all(worker.process.poll() is not None for worker in workers)


def test_ranks_learn_from_compressed_gradients(prepared: datasets.Prepared) -> None:
    """In the tutorial's loop, whose weights are updated on the server."""
    scenario = msgspec.structs.replace(of_mxnet(2)[0], compression=Compression.TWO_BIT)
    request = a_request(prepared, Framework.MXNET)
    with ranks_of(scenario, request, Interpreter()) as ranks:
        ranks.wait_until_ready()
        ranks.set_up(scenario, 210)
        assert ranks.run_window(10).train_accuracy > 0.9


def test_a_killed_server_is_named(prepared: datasets.Prepared) -> None:
    """MXNet's ranks would wait for it for ever."""
    scenario = msgspec.structs.replace(of_mxnet(2)[0], batch_size=100)
    request = a_request(prepared, Framework.MXNET)
    with ranks_of(scenario, request, Interpreter()) as ranks:
        ranks.wait_until_ready()
        ranks.set_up(scenario, 210)
        members = ranks._members
        assert [member.name for member in members] == ["the scheduler", "server 0", "rank 0 of 2", "rank 1 of 2"]
        members[1].worker.process.kill()
        with pytest.raises(SessionError) as caught:
            ranks.run_window(10_000)
    assert caught.value.failure.detail == "server 0: the worker was killed by SIGKILL"
    assert all(member.worker.process.poll() is not None for member in members)


@pytest.mark.parametrize("framework", Framework)
def test_ranks_add_up_arrays_and_are_timed(
    framework: Framework, prepared: datasets.Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums of both networks' gradients are right on every rank, through the engine that trains them."""
    scenario = {Framework.MXNET: of_mxnet, Framework.TORCH: of_torch, Framework.JAX: of_jax}[framework](2)[0]
    monkeypatch.setattr(exchanges, "SIZES", (8, 437_544, 1_724_320))
    monkeypatch.setattr(exchanges, "_FILLED_SECONDS", 0.0)
    monkeypatch.setattr(exchanges, "_GRADIENTS_FILLED_SECONDS", 0.0)
    dataset = a_request(prepared, framework).dataset
    executor = SubprocessExecutor(Interpreters({framework: python_of(framework)}))
    curve = executor.measure_curve(scenario, prepared.directory, dataset, 2)
    assert curve is not None
    assert (curve.failure, curve.framework, curve.ranks) == (None, framework, 2)
    assert [(time.size_bytes, time.repetitions) for time in curve.times] == [(8, 5), (437_544, 5), (1_724_320, 5)]
    for time in filter(None, (curve.barrier, *curve.times)):
        assert time.mean_seconds is not None
        assert 0 < time.min_seconds <= min(time.median_seconds, time.mean_seconds)
        assert max(time.median_seconds, time.mean_seconds) <= time.max_seconds


@pytest.mark.parametrize(
    ("framework", "arguments", "exchanges"),
    [
        (Framework.MXNET, ("--suite", "tutorial", "--loop", "tuned"), (Exchange.DIST_SYNC,)),
        (Framework.MXNET, ("--suite", "smoke", "--loop", "tuned"), (Exchange.DIST_SYNC, Exchange.NONE)),
        (Framework.JAX, ("--suite", "peers", "-k", "hybridize=jit"), (Exchange.GLOO, Exchange.NONE)),
    ],
)
def test_a_suite_of_ranks_gives_rows_that_say_what_they_are(
    framework: Framework,
    arguments: tuple[str, ...],
    exchanges: tuple[Exchange, ...],
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Alone and in turns the file is valid, and a table names ranks, exchange, and the cores that they share."""
    data = small_idx_folder(tmp_path / "data", train=200, test=50)
    words: list[object] = [*arguments, "--framework", framework, "--python", f"{framework}={python_of(framework)}"]
    words += [
        "--network",
        "mlp",
        "--ranks",
        2,
        "--epochs",
        2,
        "--repeats",
        1,
        "--no-ceilings",
        "--data-dir",
        data,
        "-o",
        "out.json",
    ]
    words += [word for exchange in exchanges for word in ("--exchange", exchange)]
    assert command("run", *words, "--verbose") == cli.Exit.DONE
    assert "shared cores" in (shown := capsys.readouterr().out)
    assert str(exchanges[0]) in shown
    assert command("check", "out.json") == cli.Exit.DONE
    capsys.readouterr()
    result_set = store.read(Path("out.json"), ResultSet)
    assert {run.scenario.exchange for run in result_set.runs} == {*exchanges}
    for epoch in (epoch for run in result_set.runs for epoch in run.epochs):
        assert [rank.samples for rank in epoch.ranks] == [100 * epoch.passes] * 2
        assert epoch.epoch_seconds == max(rank.seconds for rank in epoch.ranks)
