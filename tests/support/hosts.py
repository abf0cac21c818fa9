"""Other hosts, as far as this machine can have them: behind `ssh`, fake or real, and in network namespaces."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests import ROOT

#: Takes the options and the host, and hands the rest to a shell, as sshd does.
_FAKE_SSH: Final = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do [ "$1" = -o ] && shift; shift; done
%s
shift; exec %s -c "$*"
"""
_numbers: Final = itertools.count()


def put_fake_ssh(folder: Path, monkeypatch: pytest.MonkeyPatch, *, before: str = "", shell: str = "/bin/sh") -> None:
    """Put an `ssh` first on the PATH whose hosts are this machine; `before` is what it does when it has connected."""
    folder.mkdir(exist_ok=True)
    (folder / "ssh").write_text(_FAKE_SSH % (before, shell), encoding="utf-8")
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # what "installed there" means here


@contextlib.contextmanager
def ssh_server(folder: Path, address: str = "127.0.0.1", prefix: Sequence[str] = ()) -> Iterator[Path]:
    """Run an SSH server; yield the folder with the client's `config`, `id` and `known_hosts`. Its `Host` is "far"."""
    if shutil.which("ssh") is None:
        pytest.skip("no OpenSSH client here")
    pytest.importorskip("asyncssh")
    folder.mkdir()
    command = [*prefix, sys.executable, "-m", "tests.support.ssh_server", address, str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline().strip().isdigit()
        yield folder
        server.kill()


def use_config(folder: Path, monkeypatch: pytest.MonkeyPatch, prefix: str = "") -> None:
    """Let `ssh` read this folder's configuration instead of ~/.ssh/config, whose place no variable changes."""
    real, own = shutil.which("ssh"), folder / "bin"
    own.mkdir()
    (own / "ssh").write_text(f'#!/bin/sh\nexec {prefix} {real} -F "{folder}/config" "$@"\n', encoding="utf-8")
    (own / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{own}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


def why_no_namespaces() -> str | None:
    """Return why this machine cannot have network namespaces; None if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need `ip` of iproute2"
    name = f"mb{os.getpid()}x"
    tried = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        _ip("netns", "delete", name)
        return None
    return f"no network namespaces here: {tried.stderr.strip()}"


@contextlib.contextmanager
def namespaces(count: int) -> Iterator[list[tuple[str, str]]]:
    """Make hosts of one network, each a network namespace with a name and an address; take them away afterwards.

    A router, a namespace too, is between them: not every kernel has bridges. In each of them this machine's own name
    leads to the namespace's address.
    """
    number = next(_numbers)
    prefix, subnet = f"mb{os.getpid()}{number}", f"10.{200 + number % 50}.{os.getpid() % 250}"
    hosts = [(f"{prefix}h{index}", f"{subnet}.{4 * index + 2}") for index in range(count)]
    router = f"{prefix}r"
    try:
        _ip("netns", "add", router)
        _ip("netns", "exec", router, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        for index, (name, address) in enumerate(hosts):
            gateway, port = f"{subnet}.{4 * index + 1}", f"p{index}"
            _ip("netns", "add", name)
            _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", router)
            for namespace, device, own in ((name, "eth0", address), (router, port, gateway)):
                _ip("-n", namespace, "address", "add", f"{own}/30", "dev", device)
                _ip("-n", namespace, "link", "set", device, "up")
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "route", "add", "default", "via", gateway)
            write_hosts(name, f"{address} {os.uname().nodename}")
        yield hosts
    finally:
        for name in [*(name for name, _ in hosts), router]:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
            shutil.rmtree(f"/etc/netns/{name}", ignore_errors=True)
        with contextlib.suppress(OSError):
            Path("/etc/netns").rmdir()


def write_hosts(namespace: str, line: str) -> None:
    """Write the /etc/hosts of a namespace; `ip netns exec` puts it there."""
    folder = Path("/etc/netns") / namespace
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hosts").write_text(f"{line}\n127.0.0.1 localhost\n", encoding="utf-8")


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


def processes_in(namespace: str) -> list[int]:
    told = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True)
    return [int(word) for word in told.stdout.split()]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
