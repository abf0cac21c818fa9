"""A training on two hosts loses a process, the network or its parent at random moments, with real workers on tiny data.

What was to blame is named in time, no finished run is lost, nothing is left on a host, and going on ends as it should.
The moments are seeded: MNIST_BENCH_KILLS_ON_HOSTS=120 tries a hundred and twenty; without it there are none.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil
import pytest

from bench import cli
from bench.records import store
from bench.records.result import ResultSet
from tests import ROOT
from tests.support.hosts import namespaces, processes_in, why_no_namespaces, write_toml
from tests.support.idx_files import small_idx_folder
from tests.support.program import ended, start

pytestmark = [pytest.mark.system, pytest.mark.slow]
MOMENTS: Final = int(os.environ.get("MNIST_BENCH_KILLS_ON_HOSTS", "0"))
#: What happens, in turn; "process" is a rank, a server or the scheduler, whichever is drawn, and so has three turns.
EVENTS: Final = ("process", "parent", "process", "link", "process", "stop")
#: The suite takes about as long.
_LATEST_SECONDS: Final = 30.0
_TIMEOUT_SECONDS = 20.0
#: From the event to the line that names the host.
_MOST_SECONDS: Final = {"process": 15.0, "link": _TIMEOUT_SECONDS + 5, "stop": _TIMEOUT_SECONDS + 5}
_SUITE: Final = f"""
title = "ranks on two hosts, alone and in turns"
[[matrix]]
network = ["mlp"]
loop = ["tuned"]
ranks = [2]
servers = [2]
sampling = {{ repeats = 2, epochs = 2, samples = 200, timeout_seconds = {_TIMEOUT_SECONDS} }}
[[matrix]]
network = ["mlp"]
loop = ["tuned"]
ranks = [2]
batch_size = [50, 200]
sampling = {{ in_turns = true, repeats = 2, epochs = 2, samples = 200, timeout_seconds = {_TIMEOUT_SECONDS} }}
"""


@pytest.fixture
def network() -> Iterator[Sequence[tuple[str, str]]]:
    if reason := why_no_namespaces():
        pytest.skip(reason)
    with namespaces(2) as hosts:
        yield hosts
        for name, _ in hosts:
            for number in processes_in(name):
                psutil.Process(number).kill()


def begin_on_hosts(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    options = ("--hosts", str(folder / "hosts.toml"), "--no-ceilings")
    return start(folder, "run", *arguments, *options, PYTHONPATH=str(ROOT))


def left_behind(network: Sequence[tuple[str, str]]) -> list[int]:
    return [number for name, _ in network for number in processes_in(name)]


def runs_in(folder: Path) -> Sequence[object]:
    return store.read(folder / "file.json", ResultSet).runs if (folder / "file.json").exists() else ()


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_lost_at_any_moment(
    network: Sequence[tuple[str, str]],
    tmp_path: Path,
    moment: int,
    record_property: Callable[[str, object], None],
) -> None:
    """The report for JUnit has what happened, and what was told of it."""
    drawn, event = random.Random(moment), EVENTS[moment % len(EVENTS)]
    small_idx_folder(tmp_path / "data", train=300, test=100)
    (tmp_path / "suite.toml").write_text(_SUITE, encoding="utf-8")
    write_toml(tmp_path / "hosts.toml", network)
    process = begin_on_hosts(tmp_path, "--suite", "suite.toml", "-o", "file.json")
    ends_at = time.monotonic() + drawn.uniform(3.0, _LATEST_SECONDS)
    while process.poll() is None and time.monotonic() < ends_at:
        time.sleep(0.05)
    seen, label = runs_in(tmp_path), "n1"
    begin = time.monotonic()
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        if event == "parent":
            process.kill()
        elif event == "link":
            subprocess.run(["ip", "-n", network[1][0], "link", "set", "eth0", "down"], check=True)
        else:
            number = drawn.choice(left_behind(network))
            label = f"n{[number in processes_in(name) for name, _ in network].index(True)}"
            psutil.Process(number).send_signal(signal.SIGKILL if event == "process" else signal.SIGSTOP)
    if event != "parent":
        failure = wait_for_failure(process, tmp_path, begin)
        record_property(event, failure)
        if failure is not None:
            seconds, line = failure
            assert f"{label} (" in line, (event, line)
            assert seconds < _MOST_SECONDS[event], (event, line)
    if event == "link":
        subprocess.run(["ip", "-n", network[1][0], "link", "set", "eth0", "up"], check=True)
        gateway = network[1][1].rpartition(".")
        route = f"{gateway[0]}.{int(gateway[2]) - 1}"
        subprocess.run(["ip", "-n", network[1][0], "route", "replace", "default", "via", route], check=True)
    status, log = ended(process, tmp_path)
    assert "Traceback" not in log, log
    assert status in {-signal.SIGKILL, cli.Exit.DONE, cli.Exit.FAILED, cli.Exit.USAGE}, log
    deadline = time.monotonic() + 60
    while left_behind(network) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_behind(network) == []
    saved = runs_in(tmp_path)
    assert saved[: len(seen)] == seen
    has_file = (tmp_path / "file.json").exists()
    again = begin_on_hosts(
        tmp_path, *(("--resume", "file.json") if has_file else ("--suite", "suite.toml", "-o", "file.json"))
    )
    status, log = ended(again, tmp_path)
    assert "Traceback" not in log, log
    assert status in {cli.Exit.DONE, cli.Exit.FAILED}, log
    assert runs_in(tmp_path)[: len(saved)] == saved
    assert left_behind(network) == []


def wait_for_failure(process: subprocess.Popen[str], folder: Path, begin: float) -> tuple[float, str] | None:
    """Return the seconds to the first failure that is told, and its line; None: the program ended without any."""
    while True:
        has_ended = process.poll() is not None
        if found := re.search("(FAILED|lost in this block).*", (folder / "log").read_text(encoding="utf-8")):
            return time.monotonic() - begin, found[0]
        if has_ended:
            return None
        time.sleep(0.05)
