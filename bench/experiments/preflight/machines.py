"""What hosts that fit together are from then on: the machines of a measurement, and their records in its file."""

from __future__ import annotations

from bench.experiments.preflight.ask import HostAnswer, Link, Preflight
from bench.records.environment import ClusterHost
from bench.worker.launch import launch_of
from bench.worker.protocol.hosts import Captured
from bench.worker.seats import Machine


def machines_of(seen: Preflight) -> tuple[Machine, ...]:
    """Return the hosts, all of which have answered."""
    return tuple(Machine(answer.label, answer.host, answer.facts) for answer in seen.hosts if answer.facts is not None)


def records_of(seen: Preflight) -> tuple[ClusterHost, ...]:
    """Return what a file says of the hosts, all of which have answered."""
    links = {link.sender: link for link in seen.links}
    return tuple(
        _record(answer, captured, links.get(answer.label))
        for answer, captured in zip(seen.hosts, seen.captured, strict=True)
        if captured is not None
    )


def _record(answer: HostAnswer, captured: Captured, link: Link | None) -> ClusterHost:
    interface = answer.interface
    return ClusterHost(
        label=answer.label,
        environment=captured.environment,
        kernel_hash=captured.kernel_hash,
        is_here=launch_of(answer.host) is None,
        interface=None if interface is None else interface.name,
        bits_per_second=None if interface is None else interface.bits_per_second,
        mtu_bytes=None if interface is None else interface.mtu_bytes,
        driver=None if interface is None else interface.driver,
        round_trip_seconds=None if link is None else link.round_trip_seconds,
        bytes_per_second=None if link is None else link.bytes_per_second,
        price_per_hour=answer.host.price_per_hour,
    )
