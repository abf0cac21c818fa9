"""Hosts behind a real ssh and in network namespaces: the command, as its user starts it, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from bench import cli
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host
from bench.worker import process
from bench.worker.environment import worker_variables
from bench.worker.host_protocol import HostFacts
from bench.worker.interpreters import Interpreters, interpreter_on
from bench.worker.process import Cancellation
from tests import ROOT
from tests.support.hosts import namespaces, processes_in, why_no_namespaces, write_hosts
from tests.support.idx_files import small_idx_folder
from tests.support.preflight import REQUEST

asyncssh = pytest.importorskip("asyncssh")
pytestmark = pytest.mark.system
_PATIENCE_SECONDS = 120.0


# --- a real SSH server ------------------------------------------------------------------------------------------------


class SshServer:
    """An SSH server on this machine's loopback, which takes one key and runs commands by /bin/sh."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host_key = asyncssh.generate_private_key("ssh-ed25519")
        self.user_key = asyncssh.generate_private_key("ssh-ed25519")
        started: Future[int] = Future()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), daemon=True)
        self.thread.start()
        self.port = started.result(30.0)

    async def _serve(self, started: Future[int]) -> None:
        self.loop, self.ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncssh.create_server(
            asyncssh.SSHServer,
            *("127.0.0.1", 0),
            server_host_keys=[self.host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(self.user_key.export_public_key().decode()),
            process_factory=self._run,
            encoding=None,
        )
        async with server:
            started.set_result(server.get_port())
            await self.ended.wait()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:  # sessions whose clients have just ended
            await asyncio.wait(others, timeout=30.0)

    async def _run(self, session: Any) -> None:  # noqa: ANN401  # asyncssh.SSHServerProcess, where it is installed
        child = subprocess.Popen(  # noqa: ASYNC220  # started in an instant; `to_thread` waits for its end
            ["/bin/sh", "-c", session.command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(self.folder)},
            start_new_session=True,
        )
        await session.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
        session.exit(await asyncio.to_thread(child.wait))

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.ended.set)
        self.thread.join(30.0)

    def write_config(self, *, key: bool = True, known: bool = True) -> Path:
        """Write what a user would have in ~/.ssh, and return the configuration."""
        secret, hosts, config = (self.folder / name for name in ("id", "known_hosts", "config"))
        self.user_key.write_private_key(str(secret))
        secret.chmod(0o600)
        line = f"[127.0.0.1]:{self.port} {self.host_key.export_public_key().decode()}"
        hosts.write_text(line if known else "", encoding="utf-8")
        config.write_text(
            f"Host far\n HostName 127.0.0.1\n Port {self.port}\n User somebody\n IdentitiesOnly yes\n"
            f" IdentityFile {secret if key else self.folder / 'none'}\n"
            f" UserKnownHostsFile {hosts}\n GlobalKnownHostsFile /dev/null\n",
            encoding="utf-8",
        )
        return config


@pytest.fixture
def ssh_server(tmp_path: Path) -> Iterator[SshServer]:
    if shutil.which("ssh") is None:
        pytest.skip("no OpenSSH client here")
    (tmp_path / "ssh").mkdir()
    server = SshServer(tmp_path / "ssh")
    yield server
    server.stop()


def use_config(config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `ssh` read this file instead of ~/.ssh/config, whose place no variable changes."""
    real = shutil.which("ssh")
    folder.mkdir()
    (folder / "ssh").write_text(f'#!/bin/sh\nexec {real} -F {config} "$@"\n', encoding="utf-8")
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


FAR = Host(address="127.0.0.1", ssh="far", python=sys.executable)


def test_a_worker_behind_ssh_answers_and_ends_with_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssh_server: SshServer
) -> None:
    use_config(ssh_server.write_config(), tmp_path / "bin", monkeypatch)
    interpreter = interpreter_on(FAR, Framework.MXNET, Interpreters())
    with process.start(interpreter, worker_variables(1), 60.0, Cancellation()) as worker:
        worker.send(REQUEST)
        facts = worker.receive(HostFacts)
        assert isinstance(facts, HostFacts), facts
        (far,) = far_workers(tmp_path)
    psutil.wait_procs([far], timeout=_PATIENCE_SECONDS)
    assert not far.is_running() or far.status() == psutil.STATUS_ZOMBIE


def far_workers(folder: Path) -> list[psutil.Process]:
    """Return the live processes with this home."""
    found = []
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if each.environ().get("HOME") == str(folder / "ssh"):
                found.append(each)
    return found


@pytest.mark.parametrize(
    ("lacks", "words"),
    [
        ({"key": False}, "it wants a password, which nobody can type during a measurement: ssh-copy-id far"),
        ({"known": False}, "its host key is unknown: run ssh far once by hand, and compare the key that it shows"),
    ],
    ids=["password", "host key"],
)
def test_what_ssh_would_ask_is_a_line_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssh_server: SshServer, lacks: dict[str, bool], words: str
) -> None:
    use_config(ssh_server.write_config(**lacks), tmp_path / "bin", monkeypatch)
    hosts = tmp_path / "hosts.toml"
    hosts.write_text(f'[[hosts]]\naddress = "127.0.0.1"\nssh = "far"\npython = "{sys.executable}"\n', encoding="utf-8")
    status, shown = look_at(hosts, tmp_path)
    assert status == cli.Exit.USAGE
    assert words in shown


def test_an_address_at_which_nothing_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ssh_server: SshServer
) -> None:
    config = ssh_server.write_config()
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    config.write_text(config.read_text().replace(str(ssh_server.port), str(closed)), encoding="utf-8")
    use_config(config, tmp_path / "bin", monkeypatch)
    (tmp_path / "hosts").write_text("far\n", encoding="utf-8")
    status, shown = look_at(tmp_path / "hosts", tmp_path)
    assert status == cli.Exit.USAGE
    assert "nothing listens at its ssh port: start its ssh server, or write its Port into ~/.ssh/config" in shown


def look_at(hosts: Path, folder: Path, *options: str) -> tuple[int, str]:
    """Run the command on small data; return its exit status, and all that it prints, in one line."""
    if not (folder / "data").exists():
        small_idx_folder(folder / "data", train=30, test=10)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bench", "environment", "--hosts", str(hosts)),
            *("--data", "custom", "--data-dir", str(folder / "data"), *options),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "400", "MNIST_BENCH_CACHE_DIR": str(folder / "cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, " ".join((done.stdout + done.stderr).split())


# --- network namespaces -----------------------------------------------------------------------------------------------


def write_toml(path: Path, hosts: Sequence[tuple[str, str]], **changes: str) -> Path:
    """Write a hosts file of namespaces; `changes` are fields of the last host, as TOML has them."""
    fields = [
        {
            "address": f'"{address}"',
            "launch": f'["ip", "netns", "exec", "{name}"]',
            "python": f'"{sys.executable}"',
            "data_directory": f'"{path.parent / "data"}"',
        }
        for name, address in hosts
    ]
    fields[-1].update(changes)
    path.write_text(
        "".join("[[hosts]]\n" + "".join(f"{name} = {value}\n" for name, value in each.items()) for each in fields),
        encoding="utf-8",
    )
    return path


@pytest.fixture
def network() -> Iterator[list[tuple[str, str]]]:
    if reason := why_no_namespaces():
        pytest.skip(reason)
    with namespaces(3) as hosts:
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
    assert [host["pythons"][0]["facts"]["interface"] for host in seen["hosts"]] == ["eth0"] * 3
    assert [host["unreached"] for host in seen["hosts"]] == [{}] * 3
    assert len(seen["links"]) == 6
    assert all(link["bytes_per_second"] > 1e6 and link["round_trip_seconds"] < 1.0 for link in seen["links"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"python": '"/nowhere/python"'}, "✘ n2 there is no /nowhere/python: write python ="),
        (
            {"launch": '["ip", "netns", "exec", "nowhere"]'},
            "✘ n2 the worker ended with status 255 and no result: Cannot open",
        ),
        ({"data_directory": '"/nowhere"'}, "✘ n2 no data (/nowhere"),
        ({"address": '"10.0.0.99"'}, "✘ n2 no interface there has the address 10.0.0.99: write one of these: "),
        ({"interface": '"lo"'}, "✘ n2 interface lo has not the address "),
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
    subprocess.run(["ip", "-n", network[0][0], "route", "add", "blackhole", f"{network[2][1]}/32"], check=True)
    status, shown = look_at(write_toml(tmp_path / "hosts.toml", network), tmp_path)
    assert status == cli.Exit.USAGE
    assert "✘ n2 cannot reach n0 (no answer within 3 s): let its firewall and theirs pass TCP" in shown


def test_an_own_name_that_leads_to_loopback_is_told(tmp_path: Path, network: list[tuple[str, str]]) -> None:
    name, address = network[-1]
    own = socket.gethostname()
    write_hosts(name, f"127.0.1.1 {own}")
    status, shown = look_at(write_toml(tmp_path / "hosts.toml", network), tmp_path)
    assert status == cli.Exit.USAGE
    line = f"'{address} {own}'"
    assert f"✘ n2 its own name {own} resolves to 127.0.1.1: write the line {line} into its /etc/hosts" in shown


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
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not processes_in(name) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert processes_in(name)
        parent.send_signal(signal.SIGKILL)
    while processes_in(name) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_in(name) == []
