"""A hosts file: the machines that workers are started on, in TOML or in the lines that MPI's launchers read."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Final

import msgspec

from bench import suggest
from bench.errors import ConfigurationError
from bench.ranges import MOST_RANKS, Price, Ranks
from bench.scenarios import diagnostics
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario

#: Characters of a host's name or of an interface's: RFC 1035, and IFNAMSIZ of Linux without its final zero.
_MOST_NAME, _MOST_INTERFACE = 253, 15
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_HEADER: Final = re.compile(r"\s*\[\[\s*hosts\s*\]\]")
#: Words of a line besides the host's: Open MPI's. No host ever gets more ranks than `slots`.
_SETTINGS: Final = ("slots", "max_slots")
#: Programs whose far side is a shell, which would take the worker's command apart.
_REMOTE_SHELLS: Final = ("ssh", "rsh", "slogin")


class Host(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A machine, how a worker is started there, and what it costs."""

    #: Name or IP address by which the other hosts reach it.
    address: str
    #: Ranks that it takes at most.
    slots: Ranks = 1
    #: What ssh connects to, if not to the address: "ana@node1", or a Host of ~/.ssh/config.
    ssh: str | None = None
    #: The command before that of the worker, instead of ssh: ["docker", "exec", "-i", "c1"]. Empty: this machine.
    launch: tuple[str, ...] | None = None
    #: The Python there that has mnist-bench. None: python3, and on this machine the one that runs this program.
    python: str | None = None
    #: Pythons of frameworks that are not in that one.
    framework_python: dict[Framework, str] = msgspec.field(default_factory=dict)
    #: The folder there with the four IDX files. None: where mnist-bench keeps them.
    data_directory: str | None = None
    #: The network interface that training uses there. None: the one with the address.
    interface: str | None = None
    #: In a currency of the user's choice.
    price_per_hour: Price | None = None


class _HostsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    hosts: tuple[Host, ...] = ()


def load_hosts(path: Path) -> tuple[Host, ...]:
    """Read a hosts file. Raise `ConfigurationError` if it cannot be read, or as `parse_hosts`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(f"hosts file {path}: {reason}") from None
    return parse_hosts(text, where=str(path))


def parse_hosts(text: str, *, where: str) -> tuple[Host, ...]:
    """Parse the hosts, at least one and none twice.

    It is TOML where a line says `[[hosts]]` or the file's name ends with .toml, and else a host a line. Raise
    `ConfigurationError` with file, line and what to write instead.
    """
    is_toml = where.endswith(".toml") or any(map(_HEADER.match, text.split("\n")))
    placed = _parse_toml(text, where) if is_toml else list(_parse_lines(text, where))
    if not placed:
        example = "a table [[hosts]] with its address" if is_toml else "a line such as 'node1 slots=1'"
        raise _error(where, None, f"no host in it: write {example} for each")
    seen: dict[str, int | None] = {}
    for host, line in placed:
        for fault in _faults(host):
            raise _error(where, line, fault)
        key = _canonical(host.address)
        if key in seen:
            before = "" if seen[key] is None else f" (first on line {seen[key]})"
            slots = "slots = 2" if is_toml else "slots=2"
            raise _error(where, line, f"{host.address} is listed twice{before}: write it once, with {slots}")
        seen[key] = line
    return tuple(host for host, _ in placed)


def placement(scenario: Scenario) -> tuple[int, ...]:
    """Return for each rank the place of its machine in the hosts file: one on each machine first, then a second."""
    return tuple(scenario.first_host + rank % scenario.hosts for rank in range(scenario.ranks))


def processes_on(scenario: Scenario) -> Counter[int]:
    """Count the processes on each machine, by its place: ranks, and MXNet's servers and scheduler beside them."""
    ranks = placement(scenario)
    servers = [ranks[server % scenario.hosts] for server in range(scenario.servers)]
    return Counter([*ranks, *servers, *ranks[: min(1, scenario.servers)]])


def label_of(place: int) -> str:
    """Return what files and tables call the machine at this place of the hosts file."""
    return f"n{place}"


def check_machines(scenario: Scenario, machines: int) -> None:
    """Raise `ConfigurationError` for a scenario that is on more machines than there are."""
    last = scenario.first_host + scenario.hosts
    if last > machines:
        asked = f"hosts={scenario.hosts}" + (f" first_host={scenario.first_host}" if scenario.first_host else "")
        there = "there is 1" if machines == 1 else f"there are {machines}"
        raise ConfigurationError(f"{asked} needs {last} machines, and {there}: name more in the file of --hosts")


def check_slots(scenarios: Iterable[Scenario], hosts: Sequence[Host]) -> None:
    """Raise `ConfigurationError` for a scenario that puts more ranks on a machine than the hosts file allows."""
    for scenario in dict.fromkeys(scenarios):
        for place, ranks in Counter(placement(scenario)).items():
            if ranks > (slots := hosts[place].slots):
                raise ConfigurationError(
                    f"ranks={scenario.ranks} hosts={scenario.hosts} puts {ranks} ranks on {hosts[place].address}, "
                    f"whose slots are {slots}: write slots = {ranks} into the hosts file, or use fewer ranks"
                )


def unused(scenarios: Iterable[Scenario], hosts: Sequence[Host]) -> list[Host]:
    """Return the machines on which none of the scenarios has a rank."""
    used = {place for scenario in set(scenarios) for place in placement(scenario)}
    return [host for place, host in enumerate(hosts) if place not in used]


def is_loopback(address: str) -> bool:
    """Tell whether an address means the machine itself on every machine."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address.lower() == "localhost"


def _error(where: str, line: int | None, fault: str) -> ConfigurationError:
    return ConfigurationError(f"hosts file {where}{'' if line is None else f', line {line}'}: {fault}")


# --- TOML -------------------------------------------------------------------------------------------------------------


def _parse_toml(text: str, where: str) -> list[tuple[Host, int | None]]:
    headers: list[int] = [number for number, line in enumerate(text.split("\n"), start=1) if _HEADER.match(line)]
    try:
        hosts = msgspec.toml.decode(text, type=_HostsFile).hosts
    except msgspec.ValidationError as error:
        fault = diagnostics.explain(error, _HostsFile)
        raise _error(where, _line_of(str(error), text, headers), fault) from None
    except RecursionError:
        raise _error(where, None, "brackets are nested too deeply") from None
    except (msgspec.DecodeError, ValueError) as error:  # the message ends with "(at line 3, column 7)"
        raise _error(where, None, " ".join(str(error).split())) from None
    return [(host, headers[index] if len(headers) == len(hosts) else None) for index, host in enumerate(hosts)]


def _line_of(error: str, text: str, headers: Sequence[int]) -> int | None:
    """Return the line that msgspec's error is about; None where the hosts are not under headers of their own."""
    host = re.search(r"\$\.hosts\[([0-9]+)\]\.?(\w*)", error)
    if host is None or int(host[1]) >= len(headers):
        return None
    begin = headers[int(host[1])]
    unknown = re.search("unknown field `(.*?)`", error)
    field = unknown[1] if unknown else host[2]
    for number, line in enumerate(text.split("\n")[begin:], start=begin + 1):
        if _HEADER.match(line):
            break
        if field and re.match(rf"\s*[\"']?{re.escape(field)}\b", line):
            return number
    return begin


# --- a host a line ----------------------------------------------------------------------------------------------------


def _parse_lines(text: str, where: str) -> Iterator[tuple[Host, int | None]]:
    for number, line in enumerate(text.split("\n"), start=1):
        words = re.sub(r"\s*=\s*", "=", line.partition("#")[0]).split()
        if not words:
            continue
        destination, *settings = words
        user, _, name = destination.rpartition("@")
        address = name[1:-1] if name.startswith("[") and name.endswith("]") else name
        if match := re.fullmatch(r"(\[.*\]|[^:]*):([0-9]+)", name):
            meant = f"write '{destination.removesuffix(f':{match[2]}')} slots={match[2]}' for ranks"
            raise _error(where, number, f"{destination}: {meant}; a port belongs into ~/.ssh/config")
        counts = dict(_setting(setting, where, number) for setting in settings)
        ssh = f"{user}@{address}" if "@" in destination else None
        yield Host(address=address, slots=counts.get("slots", 1), ssh=ssh), number


def _setting(setting: str, where: str, line: int) -> tuple[str, int]:
    name, _, value = setting.partition("=")
    name = name.replace("-", "_").lower()
    if name not in _SETTINGS:
        raise _error(where, line, f"{suggest.unknown('setting', setting, _SETTINGS)}; such as 'node1 slots=2'")
    if not re.fullmatch("[0-9]{1,9}", value) or not 1 <= int(value) <= MOST_RANKS:
        raise _error(where, line, f"{setting}: expected a whole number of at least 1, at most {MOST_RANKS:,}")
    return name, int(value)


# --- what both must hold ----------------------------------------------------------------------------------------------


def _canonical(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address.lower()


def _faults(host: Host) -> Iterator[str]:
    """Yield what is wrong with a host, and what to write instead."""
    _, at, address = host.address.rpartition("@")
    if at and host.address.isprintable():
        yield f'address = "{host.address}": write address = "{address}" and ssh = "{host.address}"'
    if not _is_address(host.address):
        yield f"{host.address!r} is neither a host's name nor an IP address: write such as node1 or 10.0.0.1"
    if host.ssh is not None and host.launch is not None:
        yield f"{host.address} has both ssh and launch: leave one of them out"
    texts = {
        "ssh": host.ssh,
        "python": host.python,
        "data_directory": host.data_directory,
        **{f"framework_python.{framework}": path for framework, path in host.framework_python.items()},
    }
    for name, text in texts.items():
        if text is not None and not _is_word(text):
            yield f"{name} {text!r}: expected text without control characters that does not begin with a minus"
    if host.ssh is not None and re.search(r"\s", host.ssh):
        yield f"ssh {host.ssh!r}: write the host alone; options belong into ~/.ssh/config"
    if host.interface is not None and not re.fullmatch(rf"[^\s/]{{1,{_MOST_INTERFACE}}}", host.interface):
        yield f"interface {host.interface!r}: expected the name of one, such as eth0"
    yield from _launch_faults(host.launch or (), [host.python, *host.framework_python.values()])


def _launch_faults(launch: Sequence[str], pythons: Iterable[str | None]) -> Iterator[str]:
    if any(not word or not word.isprintable() for word in launch):
        yield "launch has an empty word, or one with a control character: write a word of the command in each"
    if launch and PurePath(launch[0]).name in _REMOTE_SHELLS:
        yield f'launch begins with {launch[0]}: write ssh = "{launch[-1]}"; options belong into ~/.ssh/config'
    if launch and any(python is not None and python.startswith("~") for python in pythons):
        yield "python begins with ~, which only a shell knows, and launch has none: write the whole path"


def _is_word(text: str) -> bool:
    return bool(text.strip()) and text.isprintable() and not text.startswith("-")


def _is_address(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        is_number = re.fullmatch("[0-9.]+", address) is not None
        return len(address) <= _MOST_NAME and not is_number and _NAME.fullmatch(address) is not None
    return True
