"""The messages about hosts: what each is and has, and how the network between them is. They go the way of `protocol`'s.

A worker that got a `HostRequest` answers with `HostFacts`, and then each command, until its stdin ends.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from bench.ranges import Count, PositiveCount, PositiveRate, PositiveSeconds, Repeats
from bench.records.base import Sha256
from bench.records.environment import Environment
from bench.records.result import Dataset
from bench.scenarios.axes import Framework
from bench.worker.protocol.base import Message, Port


class HostRequest(Message, frozen=True, tag="host"):
    """Tell what this host is and has, and import no framework for it."""

    frameworks: tuple[Framework, ...]
    #: Name or IP address by which the other hosts reach this one.
    address: str
    #: None: the interface with that address.
    interface: str | None
    #: What is to be trained with, and the folder of its files; None: where mnist-bench keeps them.
    dataset: Dataset
    data_directory: str | None


class Interface(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A network interface, as the kernel describes it."""

    name: str
    #: IP addresses, without a zone.
    addresses: tuple[str, ...]
    mtu_bytes: PositiveCount | None
    #: None: the driver does not tell, as most virtual ones.
    bits_per_second: PositiveCount | None
    driver: str | None
    #: Whether it has a link to anything.
    is_up: bool = True


class HostFacts(Message, frozen=True, tag="host_facts"):
    python: str
    mnist_bench_version: str
    #: Of the packages that measure and are measured.
    source_digest: Sha256
    #: Versions of those requested frameworks that are installed.
    framework_versions: dict[Framework, str]
    #: The folder with the data, absolute; None where there is none, for the reason in `data_fault`.
    data_directory: str | None
    data_digest: Sha256 | None
    data_fault: str | None
    host_processor_model_name: str | None
    usable_core_count: PositiveCount
    #: Equal for containers and namespaces of one machine; None: not known.
    host_hash: str | None
    #: What the host calls itself, and the IP addresses that it takes this name for.
    host_name: str
    host_name_addresses: tuple[str, ...]
    #: All of them, and the name and IP address of the one that training would use; None: none has the address.
    interfaces: tuple[Interface, ...]
    interface: str | None
    ip_address: str | None


class Echo(Message, frozen=True, tag="echo"):
    """Answer at once."""


class Capture(Message, frozen=True, tag="capture"):
    """Tell all that a result file says of a host."""


class Listen(Message, frozen=True, tag="listen"):
    """Wait for other hosts at a free port of this IP address."""

    ip_address: str


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where another host waits, and what it wants to hear first."""

    address: str
    port: Port
    token: str


class Reach(Message, frozen=True, tag="reach"):
    """Try whether each of these hosts can be reached from here, all at once."""

    targets: tuple[Target, ...]


class MeasureLink(Message, frozen=True, tag="measure_link"):
    """Measure round trips to another host, and how fast one TCP stream goes there."""

    target: Target
    round_trips: Repeats
    #: Roughly how long the stream is to last.
    stream_seconds: PositiveSeconds


class Echoed(Message, frozen=True, tag="echoed"):
    #: Since 1970, of the host's own clock.
    wall_clock_microseconds: Count


class Captured(Message, frozen=True, tag="captured"):
    environment: Environment
    kernel_hash: Sha256 | None


class Listening(Message, frozen=True, tag="listening"):
    port: Port
    token: str


class Reached(Message, frozen=True, tag="reached"):
    #: For each target why it cannot be reached; None: it can.
    faults: tuple[str | None, ...]


class LinkMeasured(Message, frozen=True, tag="link_measured"):
    #: Median, of eight bytes each way.
    round_trip_seconds: PositiveSeconds
    bytes_per_second: PositiveRate


HostCommand: TypeAlias = Echo | Capture | Listen | Reach | MeasureLink
HostReply: TypeAlias = HostFacts | Echoed | Captured | Listening | Reached | LinkMeasured
