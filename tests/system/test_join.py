"""Ranks as a job manager starts them: the same command many times, with its variables, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import psutil
import pytest

from bench import cli
from bench.records import store
from bench.records.result import ResultSet
from tests import ROOT
from tests.support.hosts import namespaces, processes_in, why_no_namespaces
from tests.support.idx_files import small_idx_folder
from tests.system.test_hosts import wait_until
from tests.worker.test_join import free_port

pytestmark = pytest.mark.system
_PATIENCE_SECONDS = 120.0
Ranks: TypeAlias = Sequence["subprocess.Popen[str]"]


@contextlib.contextmanager
def started(
    folder: Path,
    variables: Sequence[Mapping[str, str]],
    *options: str,
    verb: str = "environment",
    prefixes: Sequence[Sequence[str]] | None = None,
) -> Iterator[Ranks]:
    """Start a verb with --join once for each rank, in its variables and behind its prefix; end all that are left."""
    small_idx_folder(folder / "data", train=200, test=50)
    command = [
        *(sys.executable, "-m", "bench", verb, "--join-port", str(free_port()), *options),
        *("--data-dir", str(folder / "data")),
    ]
    common = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400", "XDG_CONFIG_HOME": str(folder / "config")}
    with contextlib.ExitStack() as stack:
        ranks = [
            stack.enter_context(
                subprocess.Popen(
                    [*prefix, *command],
                    cwd=folder,
                    env={**common, **own},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for own, prefix in zip(variables, prefixes or [()] * len(variables), strict=True)
        ]
        for rank in ranks:
            stack.callback(rank.kill)
        yield ranks


def ends_of(ranks: Ranks) -> tuple[list[int | None], list[str], list[str]]:
    """Wait for all ranks; return what they exit with, and what they wrote to stdout and stderr."""
    written = [rank.communicate(timeout=_PATIENCE_SECONDS) for rank in ranks]
    assert not any("Traceback" in said for _, said in written), written
    return [rank.returncode for rank in ranks], [shown for shown, _ in written], [said for _, said in written]


def slurm(rank: int, ranks: int) -> dict[str, str]:
    return {
        "SLURM_JOB_ID": "17",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": str(rank),
        "SLURM_STEP_NUM_TASKS": str(ranks),
        "SLURM_STEP_NODELIST": "localhost",
    }


def torchrun(rank: int, ranks: int, address: str) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": address, "MASTER_PORT": "29500"}


def test_ranks_of_one_machine_are_its_slots(tmp_path: Path) -> None:
    """Only rank 0 says something, and its key is in the home directory that all share."""
    variables = [slurm(rank, 2) for rank in range(2)]
    with started(tmp_path, variables, "--join", "slurm", "--format", "json", "--quiet") as ranks:
        statuses, shown, said = ends_of(ranks)
    seen = msgspec.json.decode(shown[0])
    assert [(host["label"], host["host"]["slots"]) for host in seen["hosts"]] == [("n0", 2)]
    assert statuses == [cli.Exit.USAGE if seen["faults"] else cli.Exit.DONE] * 2  # where MXNet is not installed
    assert (shown[1], said[1]) == ("", "")
    assert (tmp_path / "config" / "mnist-bench" / "join_key").exists()


def hanging(folder: Path) -> dict[str, str]:
    """Return the variables of a rank whose workers never answer, and end as workers do."""
    python = folder / "hang"
    python.write_text("#!/bin/sh\ncat >/dev/null\n", encoding="utf-8")
    python.chmod(0o755)
    return {"MNIST_BENCH_PYTHON_MXNET": str(python)}


def is_hanging(pid: int) -> bool:
    """Tell whether a rank has started a worker that hangs."""
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):  # it ended meanwhile
            if any(word.endswith("/hang") for word in child.cmdline()):
                return True
    return False


def test_a_rank_0_that_is_killed_ends_the_others(tmp_path: Path) -> None:
    with started(tmp_path, [slurm(0, 2) | hanging(tmp_path), slurm(1, 2)], "--join", "slurm") as ranks:
        wait_until(lambda: is_hanging(ranks[0].pid))
        sockets = [Path(str(each.laddr)) for each in psutil.Process(ranks[0].pid).net_connections("unix")]
        ranks[0].kill()
        statuses, shown, said = ends_of(ranks)
        (folder,) = (path.parent for path in sockets if path.name == "relays")
        wait_until(lambda: not folder.exists())
    assert statuses == [-signal.SIGKILL, cli.Exit.USAGE]
    assert shown == ["", ""]
    assert said[1] == "mnist-bench: rank 1: rank 0 has ended, or its machine does not answer\n"


@pytest.fixture
def network() -> Iterator[list[tuple[str, str]]]:
    if reason := why_no_namespaces():
        pytest.skip(reason)
    with namespaces(2) as hosts:
        yield hosts
        for name, _ in hosts:
            wait_until(lambda name=name: not processes_in(name))  # type: ignore[misc]  # of a loop's variable


def in_turn(network: Sequence[tuple[str, str]], ranks: int) -> tuple[list[dict[str, str]], list[list[str]]]:
    """Return variables and prefix of each rank, as of torchrun on the machines of a network."""
    variables = [torchrun(rank, ranks, network[0][1]) for rank in range(ranks)]
    return variables, [["ip", "netns", "exec", network[rank % len(network)][0]] for rank in range(ranks)]


def test_machines_of_a_job_fit_together(tmp_path: Path, network: list[tuple[str, str]]) -> None:
    variables, prefixes = in_turn(network, 3)
    options = ("--join", "torchrun", "--links", "--format", "json", "--quiet")
    with started(tmp_path, variables, *options, prefixes=prefixes) as ranks:
        statuses, shown, said = ends_of(ranks)
    seen: dict[str, Any] = msgspec.json.decode(shown[0])
    hosts = seen["hosts"]
    assert [(each["host"]["address"], each["host"]["slots"]) for each in hosts] == [
        (network[0][1], 2),
        (network[1][1], 1),
    ]
    assert [each["pythons"][0]["facts"]["interface"] for each in hosts] == ["eth0"] * 2
    assert [each["pythons"][0]["facts"]["data_directory"] for each in hosts] == [str(tmp_path / "data")] * 2
    assert [each["unreached"] for each in hosts] == [{}] * 2
    assert [fault for fault in seen["faults"] if fault["subject"] != "framework"] == []
    assert all(link["bytes_per_second"] > 0 for link in seen["links"])
    assert statuses == [cli.Exit.USAGE if seen["faults"] else cli.Exit.DONE] * 3
    assert shown[1:] == ["", ""]
    assert said[1:] == ["", ""]


SUITE = """
title = "both machines"
[[matrix]]
network = ["mlp"]
loop = ["tuned"]
ranks = [2]
sampling = { epochs = 1, samples = 100, repeats = 1 }
"""


def test_machines_of_a_job_train_together(tmp_path: Path, network: list[tuple[str, str]]) -> None:
    """And go on with a file that they have begun."""
    (tmp_path / "suite.toml").write_text(SUITE, encoding="utf-8")
    variables, prefixes = in_turn(network, 2)
    file = tmp_path / "file.json"

    def measure(*options: str) -> ResultSet:
        common = ("--join", "torchrun", "--quiet", "--no-ceilings")
        with started(tmp_path, variables, *common, *options, verb="run", prefixes=prefixes) as ranks:
            statuses, shown, said = ends_of(ranks)
        assert statuses == [cli.Exit.DONE] * 2, said
        assert (shown[1], said[1]) == ("", "")
        return store.read(file, ResultSet)

    result_set = measure("--suite", "suite.toml", "-o", "file.json")
    assert [host.label for host in result_set.hosts] == ["n0", "n1"]
    assert [(run.scenario.ranks, run.scenario.hosts) for run in result_set.runs] == [(2, 2)]
    store.write(file, msgspec.structs.replace(result_set, runs=()))
    again = measure("--resume", "file.json")
    assert again.hosts == result_set.hosts
    assert [run.scenario for run in again.runs] == [run.scenario for run in result_set.runs]


def test_a_rank_that_is_killed_is_named(tmp_path: Path, network: list[tuple[str, str]]) -> None:
    """While its machine is looked at: rank 0 goes on, and says which machine does not answer."""
    variables, prefixes = in_turn(network, 2)
    variables[1] |= hanging(tmp_path)
    with started(tmp_path, variables, "--join", "torchrun", prefixes=prefixes) as ranks:
        wait_until(lambda: is_hanging(ranks[1].pid))
        ranks[1].send_signal(signal.SIGKILL)
        statuses, shown, said = ends_of(ranks)
    assert statuses == [cli.Exit.USAGE, -signal.SIGKILL]
    told = " ".join(shown[0].split())
    assert "✘ n1 the worker ended" in told
    assert "rank 1 of the job has ended, or its machine does not answer" in told
    assert "rank 1 of the job ended before it was told to" in said[0]


def test_a_job_that_is_interrupted_leaves_nothing(tmp_path: Path, network: list[tuple[str, str]]) -> None:
    variables, prefixes = in_turn(network, 2)
    variables[1] |= hanging(tmp_path)
    with started(tmp_path, variables, "--join", "torchrun", prefixes=prefixes) as ranks:
        wait_until(lambda: is_hanging(ranks[1].pid))
        for rank in ranks:
            rank.send_signal(signal.SIGTERM)
        statuses, _, said = ends_of(ranks)
    assert statuses == [cli.Exit.INTERRUPTED] * 2
    assert said == ["mnist-bench: interrupted\n", ""]
