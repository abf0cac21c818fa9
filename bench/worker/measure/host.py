"""What this host is and has, found without importing a framework, and commands about the network to other hosts.

`worker.main` loads it by name: only a host that is looked at needs it.
"""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
from typing_extensions import assert_never

from bench import SOURCE_ROOT
from bench.machine.capture import capture, usable_core_count
from bench.machine.linux.cpu import describe_processor
from bench.machine.linux.system_files import ROOT, ask_or_none
from bench.machine.privacy import host_hash, kernel_hash
from bench.machine.software import PACKAGES, installed_versions, tree_digest
from bench.scenarios.axes import Framework
from bench.worker.measure.network import Listener, measure_link, reach
from bench.worker.protocol.hosts import (
    Capture,
    Captured,
    Echo,
    Echoed,
    HostCommand,
    HostFacts,
    HostReply,
    HostRequest,
    Interface,
    Listen,
    Listening,
    MeasureLink,
    Reach,
    Reached,
)
from mnist_core import datasets
from mnist_core.data.folder import read_folder
from mnist_core.datasets import DatasetName
from mnist_core.idx import DataError

#: The distributions of each framework, of which one is installed.
_DISTRIBUTIONS: Final = {
    Framework.MXNET: tuple(name for name in PACKAGES if name.startswith("mxnet")),
    Framework.TORCH: ("torch",),
    Framework.JAX: ("jax",),
}
_MEGABIT: Final = 1_000_000


def _describe(request: HostRequest) -> HostFacts:
    """Return the facts about this host; never raise for one that is missing."""
    found = {name: installed_versions(_DISTRIBUTIONS[name]) for name in request.frameworks}
    directory, digest, fault = _find_data(request)
    interfaces = _interfaces(ROOT)
    interface, ip_address = _training_interface(request, interfaces)
    name = socket.gethostname()
    return HostFacts(
        python=platform.python_version(),
        mnist_bench_version=installed_versions(["mnist-bench"]).get("mnist-bench", "0+unknown"),
        source_digest=tree_digest(SOURCE_ROOT, "bench", "mnist_core"),
        framework_versions={framework: next(iter(each.values())) for framework, each in found.items() if each},
        data_directory=directory,
        data_digest=digest,
        data_fault=fault,
        host_processor_model_name=describe_processor(ROOT).model_name,
        usable_core_count=usable_core_count(),
        host_hash=host_hash(ROOT),
        host_name=name,
        host_name_addresses=_resolve(name),
        interfaces=interfaces,
        interface=interface,
        ip_address=ip_address,
    )


def serve(request: HostRequest) -> HostServer:
    """Look at this host, and return what answers the commands that follow."""
    return HostServer(_describe(request))


@dataclass(frozen=True, slots=True)
class HostServer:
    """Answers the commands of a parent that looks at this host."""

    facts: HostFacts

    def answer(self, command: HostCommand) -> HostReply:
        """Return the reply to a command. Raise `OSError` if a host cannot be reached for a measurement."""
        match command:
            case Echo():
                return Echoed(wall_clock_microseconds=time.time_ns() // 1000)
            case Capture():
                return Captured(environment=capture(), kernel_hash=kernel_hash(ROOT))
            case Listen(ip_address=ip_address):
                listener = Listener(ip_address)
                return Listening(port=listener.port, token=listener.token)
            case Reach(targets=targets):
                return Reached(faults=reach(targets))
            case MeasureLink(target=target, round_trips=round_trips, stream_seconds=seconds):
                return measure_link(target, round_trips=round_trips, stream_seconds=seconds)
            case _:
                assert_never(command)


def _find_data(request: HostRequest) -> tuple[str | None, str | None, str | None]:
    """Return the folder with the data and their digest, or why there are none; nothing is fetched or drawn."""
    folder = None if request.data_directory is None else Path(request.data_directory)
    try:
        if folder is None:
            options = datasets.locate(DatasetName(request.dataset.name))
            folder = next((option.directory for option in options if option.used), None)
            if folder is None:
                return None, None, options[0].detail
        folder = folder.expanduser().absolute()
        return str(folder), read_folder(folder).digest, None
    except (DataError, ValueError, RuntimeError) as error:  # of `DatasetName` and `expanduser`
        return None, None, str(error)


def _interfaces(root: Path) -> tuple[Interface, ...]:
    stats = psutil.net_if_stats()
    families = (socket.AF_INET, socket.AF_INET6)
    return tuple(
        Interface(
            name=name,
            addresses=tuple(each.address.partition("%")[0] for each in entries if each.family in families),
            mtu_bytes=(name in stats and stats[name].mtu) or None,
            bits_per_second=(name in stats and stats[name].speed * _MEGABIT) or None,
            driver=_driver(root, name),
            is_up=name not in stats or stats[name].isup,
        )
        for name, entries in psutil.net_if_addrs().items()
    )


def _driver(root: Path, interface: str) -> str | None:
    return ask_or_none(lambda: (root / "sys/class/net" / interface / "device/driver").readlink().name)


def _training_interface(request: HostRequest, interfaces: Sequence[Interface]) -> tuple[str | None, str | None]:
    """Return the interface that has the host's address, or that was named, with its IP address."""
    own = _resolve(request.address)
    for interface in interfaces:
        held = [address for address in interface.addresses if address in own]
        if held and request.interface in (None, interface.name):
            return interface.name, held[0]
    return None, None


def _resolve(name: str) -> tuple[str, ...]:
    """Return the IP addresses of a name, each once, without a zone; none where it cannot be resolved."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found))
