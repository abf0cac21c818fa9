"""Seats: where each process of a training runs, on this machine or on those of a hosts file."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
import psutil

from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host, is_loopback, placement
from bench.scenarios.scenario import Scenario
from bench.worker.interpreters import Interpreters, interpreter_on
from bench.worker.process import Interpreter
from bench.worker.protocol.hosts import HostFacts
from bench.worker.protocol.requests import RunRequest, SessionRequest

#: Where the ranks of one machine meet: nobody on another machine can reach it.
_LOOPBACK: Final = "127.0.0.1"
RequestT = TypeVar("RequestT", RunRequest, SessionRequest)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of the hosts file that answered."""

    #: "n0", "n1", …, as files call it.
    label: str
    host: Host
    facts: HostFacts

    def interpreter(self, framework: Framework, here: Interpreters) -> Interpreter:
        """Return its Python for a framework."""
        return dataclasses.replace(interpreter_on(self.host, framework, here), host=self.label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where one process of a training runs, and how the others reach it."""

    interpreter: Interpreter
    address: str = _LOOPBACK
    interface: str | None
    #: OpenMP threads of each context, and the folder with the data there; None: as the request says.
    threads: int | None = None
    data_directory: str | None = None

    def placed(self, request: RequestT) -> RequestT:
        """Return a request as it is right there."""
        return msgspec.structs.replace(
            request,
            omp_num_threads=self.threads or request.omp_num_threads,
            data_directory=self.data_directory or request.data_directory,
        )


def seats_here(interpreter: Interpreter, ranks: int) -> tuple[Seat, ...]:
    """Return seats on this machine."""
    addresses = psutil.net_if_addrs().items()
    interface = next((name for name, own in addresses if any(each.address == _LOOPBACK for each in own)), None)
    return (Seat(interpreter=interpreter, interface=interface),) * ranks


def seats_on(machines: Sequence[Machine], scenario: Scenario, here: Interpreters) -> tuple[Seat, ...]:
    """Return the seat of each rank. Those on one machine share its cores."""
    places = placement(scenario)
    return tuple(
        Seat(
            interpreter=machines[place].interpreter(scenario.framework, here),
            address=machines[place].facts.ip_address or _LOOPBACK,
            interface=machines[place].facts.interface,
            threads=scenario.threads_per_context(machines[place].facts.usable_core_count, places.count(place)),
            data_directory=machines[place].facts.data_directory,
        )
        for place in places
    )


def without_names(text: str, machines: Sequence[Machine]) -> str:
    """Return a text with the label of each machine in place of its names and addresses."""
    names = _names(machines)
    longest_first = sorted(names, key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest_first)
    return re.sub(pattern, lambda found: names[found[0]], text) if names else text


def _names(machines: Sequence[Machine]) -> Mapping[str, str]:
    """Return what each machine is called, and its label; what several share leads to none of them."""
    found: dict[str, str] = {}
    for machine in machines:
        user, _, destination = (machine.host.ssh or "").rpartition("@")
        own = {machine.host.address, destination, machine.facts.host_name, machine.facts.host_name.partition(".")[0]}
        own |= {address for each in machine.facts.interfaces for address in each.addresses}
        for name in own - {""}:
            if not is_loopback(name):
                found[name] = "<host>" if name in found else machine.label
        if user:
            found[user] = "<user>"
    return found
