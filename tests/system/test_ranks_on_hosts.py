"""Ranks on several hosts, each a network namespace: what they train, and who is to blame when it ends."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import psutil
import pytest

from bench import cli
from bench.experiments.preflight.ask import ask_hosts
from bench.experiments.preflight.machines import machines_of
from bench.experiments.run.executor import SubprocessExecutor
from bench.records import store
from bench.records.environment import kernels_of
from bench.records.result import Dataset, Epoch, Failure, FailureReason, ResultSet
from bench.scenarios.axes import Exchange, Framework
from bench.scenarios.hosts import load_hosts
from bench.scenarios.scenario import Scenario
from bench.worker.interpreters import Interpreters
from bench.worker.process import Cancellation
from bench.worker.protocol.requests import RunRequest
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.recipe import Recipe, Update
from tests import ROOT
from tests.support.cli import Command
from tests.support.hosts import (
    namespaces,
    processes_in,
    ssh_server,
    use_config,
    why_no_namespaces,
    write_hosts,
    write_toml,
)
from tests.support.idx_files import small_idx_folder
from tests.system.test_peers import a_peers_scenario, python_of
from tests.system.test_ranks import assert_same, of_mxnet, train, train_alone

pytestmark = pytest.mark.system
Network = Sequence[tuple[str, str]]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """Make two hosts; afterwards no process is left in them."""
    if reason := why_no_namespaces():
        pytest.skip(reason)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # what "installed there" means here
    with namespaces(2) as hosts:
        yield hosts
        for name, _ in hosts:
            wait_until(functools.partial(is_empty, name))


def is_empty(namespace: str) -> bool:
    return not processes_in(namespace)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def of_peer(framework: Framework) -> Scenario:
    update = Update.FLAT if framework is Framework.TORCH else Update.TRAINER
    return a_peers_scenario(framework, update=update, ranks=2, exchange=Exchange.GLOO)


@pytest.mark.parametrize("framework", Framework)
def test_ranks_on_two_hosts_train_what_one_process_trains(
    framework: Framework, tmp_path: Path, network: Network, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No engine asks where a host's own name leads to, which is 127.0.1.1 on many."""
    for name, _ in network:
        write_hosts(name, f"127.0.1.1 {os.uname().nodename}")
    scenario = of_mxnet(2)[0] if framework is Framework.MXNET else of_peer(framework)
    together = train(tmp_path / "ranks", [scenario], 2, hosts=network)
    assert_same([scenario], together, train_alone(tmp_path_factory, [scenario]))


SUITE = """
title = "each host alone, both without exchange, and both"
[[matrix]]
network = ["mlp"]
loop = ["tuned"]
first_host = [0, 1]
sampling = { epochs = 2, samples = 200, repeats = 1, in_turns = true }
[[matrix]]
network = ["mlp"]
loop = ["tuned"]
ranks = [2]
exchange = ["none", "dist_sync"]
sampling = { epochs = 2, samples = 200, repeats = 1, in_turns = true }
[[matrix]]
network = ["mlp"]
loop = ["tuned"]
first_host = [1]
sampling = { epochs = 1, samples = 100, repeats = 1 }
"""


def test_a_suite_on_two_hosts(
    command: Command, tmp_path: Path, network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of each host and of both are measured in turns, and say that the hosts are parts of one machine."""
    small_idx_folder(tmp_path / "data", train=200, test=50)
    hosts = write_toml(tmp_path / "hosts.toml", network)
    (tmp_path / "suite.toml").write_text(SUITE, encoding="utf-8")
    status = command(
        "run",
        "--suite",
        "suite.toml",
        "--hosts",
        hosts,
        "--data-dir",
        tmp_path / "data",
        "-o",
        "file.json",
        "--verbose",
        "--no-ceilings",
    )
    shown = capsys.readouterr()
    assert status == cli.Exit.DONE, shown
    assert "2 ranks on 1 machine, emulated links, shared cores" in shown.out
    text = Path("file.json").read_text(encoding="utf-8")
    assert not any(name in text for host in network for name in host)
    result_set = store.read(Path("file.json"), ResultSet)
    assert (kernels_of(result_set.hosts), [host.interface for host in result_set.hosts]) == ((0, 0), ["eth0"] * 2)
    assert result_set.hosts[1].round_trip_seconds is not None
    assert len(result_set.runs) == 5
    assert {run.block for run in result_set.runs} == {0, None}
    assert command("check", "file.json") == cli.Exit.DONE


def test_two_hosts_behind_ssh_train_together(
    command: Command,
    tmp_path: Path,
    network: Network,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each has an SSH server of its own, and is reached in no other way."""
    small_idx_folder(tmp_path / "data", train=200, test=50)
    hosts, configs = "", ""
    with contextlib.ExitStack() as servers:
        for place, (name, address) in enumerate(network):
            folder = servers.enter_context(ssh_server(tmp_path / f"ssh{place}", address, ("ip", "netns", "exec", name)))
            configs += (folder / "config").read_text(encoding="utf-8").replace("Host far\n", f"Host far{place}\n")
            hosts += f'[[hosts]]\naddress = "{address}"\nssh = "far{place}"\npython = "{sys.executable}"\n'
            hosts += f'data_directory = "{tmp_path / "data"}"\n'
        (tmp_path / "config").write_text(configs, encoding="utf-8")
        (tmp_path / "hosts.toml").write_text(hosts, encoding="utf-8")
        use_config(tmp_path, monkeypatch, f"ip netns exec {network[0][0]}")
        scenario = ("--suite", "tutorial", "--network", "mlp", "--ranks", 2, "--epochs", 1, "--samples", 200)
        where = ("--hosts", "hosts.toml", "--data-dir", tmp_path / "data", "-o", "file.json")
        status = command("run", *scenario, *where, "--no-ceilings")
        assert status == cli.Exit.DONE, capsys.readouterr()
    (run,) = store.read(Path("file.json"), ResultSet).runs
    assert (run.scenario.ranks, run.scenario.hosts, run.scenario.exchange) == (2, 2, Exchange.DIST_SYNC)


def executor_on(network: Network, folder: Path) -> tuple[SubprocessExecutor, Dataset]:
    """Return what trains on both hosts, and the data there."""
    prepared = datasets.obtain(
        DatasetName.CUSTOM, data_dir=small_idx_folder(folder / "data", train=210, test=60), environ={}
    )
    dataset = Dataset(name="custom", digest=prepared.digest, source="test", train_samples=210, test_samples=60)
    hosts = load_hosts(write_toml(folder / "hosts.toml", network))
    here = Interpreters({Framework.TORCH: python_of(Framework.TORCH)})
    hosts = tuple(
        msgspec.structs.replace(host, framework_python={Framework.TORCH: here.of(Framework.TORCH).python})
        for host in hosts
    )
    stop = Cancellation()
    seen = ask_hosts(hosts, here, [Framework.MXNET], dataset, str(prepared.directory), stop)
    return SubprocessExecutor(here, stop, machines_of(seen)), dataset


def failure_of(
    scenario: Scenario, network: Network, folder: Path, fault: Callable[[], None], timeout_seconds: float
) -> Failure:
    """Train until the fault ends it, and return the failure; how soon it comes is of `test_kills_on_hosts`."""
    executor, dataset = executor_on(network, folder)
    scenario = msgspec.structs.replace(scenario, batch_size=100, hosts=2)
    request = RunRequest(scenario, Recipe(epochs=100_000), 0, "/nowhere", dataset, 1)
    happened: list[int] = []

    def on_epoch(index: int, _epoch: Epoch) -> None:
        if not happened:
            happened.append(index)
            threading.Thread(target=fault).start()

    outcome = executor.execute(request, timeout_seconds, on_epoch)
    assert isinstance(outcome, Failure), outcome
    assert happened, outcome
    return outcome


def kill_one_in(name: str, number: int = 0) -> None:
    psutil.Process(sorted(processes_in(name))[number]).kill()


@pytest.mark.parametrize("framework", [Framework.MXNET, Framework.TORCH])
def test_a_killed_process_is_named_with_its_host(framework: Framework, tmp_path: Path, network: Network) -> None:
    """Rank 1 of PyTorch; of MXNet's processes on the second host the first one, which is a server."""
    is_torch = framework is Framework.TORCH
    scenario = of_peer(Framework.TORCH) if is_torch else msgspec.structs.replace(of_mxnet(2)[0], servers=2)
    failure = failure_of(scenario, network, tmp_path, lambda: kill_one_in(network[1][0]), 300)
    who = "rank 1 of 2 on n1" if is_torch else "server 1 on n1"
    assert (failure.reason, failure.detail, failure.host) == (
        FailureReason.CRASHED,
        f"{who}: the worker was killed by SIGKILL",
        "n1",
    )


@pytest.mark.slow
@pytest.mark.parametrize("framework", [Framework.MXNET, Framework.TORCH])
def test_a_host_that_vanishes_is_named_after_its_time_out(
    framework: Framework, tmp_path: Path, network: Network
) -> None:
    """Its processes live, and so do the pipes to them."""
    scenario, timeout_seconds = of_peer(Framework.TORCH) if framework is Framework.TORCH else of_mxnet(2)[0], 20.0

    def cut() -> None:
        subprocess.run(["ip", "-n", network[1][0], "link", "set", "eth0", "down"], check=True)

    failure = failure_of(scenario, network, tmp_path, cut, timeout_seconds)
    assert failure.detail.startswith("the interface eth0 of n1 is down; ")
    assert (failure.reason, failure.host) == (FailureReason.TIMEOUT, "n1")
