"""Hosts behind a real ssh and in network namespaces: the command, as its user starts it, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from bench import cli
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host
from bench.worker import launch, process
from bench.worker.environment import worker_variables
from bench.worker.interpreters import Interpreters, interpreter_on
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.protocol.hosts import Echo, Echoed, HostFacts
from tests import ROOT
from tests.support.hosts import (
    namespaces,
    processes_in,
    put_fake_ssh,
    ssh_server,
    use_config,
    why_no_namespaces,
    write_hosts,
    write_toml,
)
from tests.support.idx_files import small_idx_folder
from tests.support.preflight import REQUEST

pytestmark = pytest.mark.system
_PATIENCE_SECONDS = 120.0


# --- a real SSH server ------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    with ssh_server(tmp_path / "ssh") as folder:
        yield folder


FAR = Host(address="127.0.0.1", ssh="far", python=sys.executable)


def test_a_worker_behind_ssh_answers_and_ends_with_the_client(monkeypatch: pytest.MonkeyPatch, server: Path) -> None:
    use_config(server, monkeypatch)
    interpreter = interpreter_on(FAR, Framework.MXNET, Interpreters())
    with process.start(interpreter, worker_variables(1), 60.0, Cancellation()) as worker:
        worker.send(REQUEST)
        facts = worker.receive(HostFacts)
        assert isinstance(facts, HostFacts), facts
        assert len(far_workers(server)) == 1
    wait_until(lambda: not far_workers(server))


def far_workers(folder: Path) -> list[psutil.Process]:
    """Return the live processes that the server of this folder has started."""
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if each.status() != psutil.STATUS_ZOMBIE and each.environ().get("HOME") == str(folder):
                found.append(each)
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("lacks", "words"),
    [
        ("id", "it wants a password, which nobody can type during a measurement: ssh-copy-id far"),
        ("known_hosts", "its host key is unknown: run ssh far once by hand, and compare the key that it shows"),
    ],
)
def test_what_ssh_would_ask_is_a_line_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Path, lacks: str, words: str
) -> None:
    use_config(server, monkeypatch)
    (server / lacks).unlink()
    hosts = tmp_path / "hosts.toml"
    hosts.write_text(f'[[hosts]]\naddress = "127.0.0.1"\nssh = "far"\npython = "{sys.executable}"\n', encoding="utf-8")
    status, shown = look_at(hosts, tmp_path)
    assert status == cli.Exit.USAGE
    assert words in shown


def test_an_address_at_which_nothing_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Path) -> None:
    use_config(server, monkeypatch)
    with socket.create_server(("127.0.0.1", 0)) as other:
        closed = other.getsockname()[1]
    config = server / "config"
    config.write_text(re.sub("Port .*", f"Port {closed}", config.read_text()), encoding="utf-8")
    (tmp_path / "hosts").write_text("far\n", encoding="utf-8")
    status, shown = look_at(tmp_path / "hosts", tmp_path)
    assert status == cli.Exit.USAGE
    assert "nothing listens at its ssh port: start its ssh server, or write its Port into ~/.ssh/config" in shown


def test_an_interrupted_look_leaves_no_ssh_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_fake_ssh(tmp_path / "bin", monkeypatch, before=f'echo $$ >> "{tmp_path}/pids"; exec sleep 600')
    (tmp_path / "hosts").write_text("node1\nnode2\n", encoding="utf-8")
    with begin_to_look(tmp_path / "hosts", tmp_path) as looking:
        wait_until(lambda: len(ssh_pids(tmp_path)) == 2)
        looking.send_signal(signal.SIGINT)
        _, said = looking.communicate(timeout=_PATIENCE_SECONDS)
    assert looking.returncode == cli.Exit.INTERRUPTED
    assert said.splitlines()[-1] == "mnist-bench: interrupted"
    wait_until(lambda: not any(map(psutil.pid_exists, ssh_pids(tmp_path))))


def ssh_pids(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "pids").read_text().splitlines()] if (folder / "pids").exists() else []


def look_at(hosts: Path, folder: Path, *options: str) -> tuple[int, str]:
    """Run the command on small data; return its exit status, and all that it prints, in one line."""
    with begin_to_look(hosts, folder, *options) as looking:
        shown, said = looking.communicate(timeout=_PATIENCE_SECONDS)
    assert "Traceback" not in said, said
    return looking.returncode, " ".join((shown + said).split())


def begin_to_look(hosts: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    if not (folder / "data").exists():
        small_idx_folder(folder / "data", train=30, test=10)
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "bench", "environment", "--hosts", str(hosts)),
            *("--data", "custom", "--data-dir", str(folder / "data"), *options),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400", "MNIST_BENCH_CACHE_DIR": str(folder / "cache")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# --- network namespaces -----------------------------------------------------------------------------------------------


@pytest.fixture
def network() -> Iterator[list[tuple[str, str]]]:
    if reason := why_no_namespaces():
        pytest.skip(reason)
    with namespaces(2) as hosts:
        yield hosts
        for name, _ in hosts:
            assert processes_in(name) == []


def test_hosts_of_a_network_fit_together(tmp_path: Path, network: list[tuple[str, str]]) -> None:
    path = write_toml(tmp_path / "hosts.toml", network)
    status, shown = look_at(path, tmp_path, "--links", "--format", "json", "--quiet")
    seen = msgspec.json.decode(shown)
    missing = [fault for fault in seen["faults"] if fault["subject"] != "framework"]
    assert missing == []
    assert status == (cli.Exit.USAGE if seen["faults"] else cli.Exit.DONE)
    assert [host["pythons"][0]["facts"]["interface"] for host in seen["hosts"]] == ["eth0"] * 2
    assert [host["unreached"] for host in seen["hosts"]] == [{}] * 2
    assert len(seen["links"]) == 2
    assert all(link["bytes_per_second"] > 0 and link["round_trip_seconds"] > 0 for link in seen["links"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"python": '"/nowhere/python"'}, "✘ n1 there is no /nowhere/python: write python ="),
        (
            {"launch": '["ip", "netns", "exec", "nowhere"]'},
            "✘ n1 the worker ended with status 255 and no result: Cannot open",
        ),
        ({"data_directory": '"/nowhere"'}, "✘ n1 no data (/nowhere"),
        ({"address": '"10.0.0.99"'}, "✘ n1 no interface there has the address 10.0.0.99: write one of these: "),
        ({"interface": '"lo"'}, "✘ n1 interface lo has not the address "),
    ],
    ids=["python", "launch", "data", "address", "interface"],
)
def test_a_wrong_hosts_file_is_told_before_anything_is_measured(
    tmp_path: Path, network: list[tuple[str, str]], change: dict[str, str], words: str
) -> None:
    status, shown = look_at(write_toml(tmp_path / "hosts.toml", network, **change), tmp_path)
    assert status == cli.Exit.USAGE
    assert words in shown


def test_a_firewall_is_told(tmp_path: Path, network: list[tuple[str, str]]) -> None:
    """What the first host answers to the last one leads nowhere, as with a firewall that drops it."""
    subprocess.run(["ip", "-n", network[0][0], "route", "add", "blackhole", f"{network[1][1]}/32"], check=True)
    status, shown = look_at(write_toml(tmp_path / "hosts.toml", network), tmp_path)
    assert status == cli.Exit.USAGE
    assert "✘ n1 cannot reach n0 (no answer within 3 s): let its firewall and theirs pass TCP" in shown


def test_an_own_name_that_leads_to_loopback_is_told(tmp_path: Path, network: list[tuple[str, str]]) -> None:
    """It does no harm: tests of ranks on hosts have such names."""
    name, address = network[-1]
    own = socket.gethostname()
    write_hosts(name, f"127.0.1.1 {own}")
    status, shown = look_at(write_toml(tmp_path / "hosts.toml", network), tmp_path)
    assert status == cli.Exit.DONE
    line = f"'{address} {own}'"
    words = f"the own name {own} of n1 resolves to 127.0.1.1, which no rank needs; for other programs write the line"
    assert f"{words} {line} into its /etc/hosts" in shown


@pytest.mark.slow
def test_a_cut_cable_ends_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: list[tuple[str, str]]
) -> None:
    """No word comes through any more: ssh gives up on this side, and the worker on its own."""
    (client, _), (far, address) = network
    with ssh_server(tmp_path / "ssh", address, ("ip", "netns", "exec", far)) as folder:
        use_config(folder, monkeypatch, f"ip netns exec {client}")
        monkeypatch.setattr(launch, "SILENCE_SECONDS", 20.0)
        interpreter = interpreter_on(FAR, Framework.MXNET, Interpreters())
        with process.start(interpreter, worker_variables(1), 600.0, Cancellation()) as worker:
            worker.send(REQUEST)
            assert isinstance(worker.receive(HostFacts), HostFacts)
            subprocess.run(["ip", "-n", client, "link", "set", "eth0", "down"], check=True)
            worker.send(Echo())
            failure = worker.receive(Echoed)
            assert isinstance(failure, WorkerFailure)
            assert "not responding" in failure.log
            wait_until(lambda: not far_workers(folder))


def test_a_killed_parent_leaves_nothing_in_a_namespace(
    tmp_path: Path, network: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, address = network[0]
    host = Host(address=address, launch=("ip", "netns", "exec", name), python=sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    program = (
        "import sys, time\n"
        "from bench.worker import process\n"
        "from bench.worker.launch import Launch\n"
        f"launch = Launch({host.address!r}, {host.launch!r})\n"
        f"interpreter = process.Interpreter({host.python!r}, launch=launch)\n"
        "with process.start(interpreter, {}, 600.0, process.Cancellation()):\n"
        "    print('started', flush=True)\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent, parent.stdout:
        assert parent.stdout.readline() == "started\n"
        wait_until(lambda: bool(processes_in(name)))
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not processes_in(name))
