"""The machines of a measurement on several: what each is, and the network that it has. No host is named."""

from __future__ import annotations

from collections.abc import Sequence

from bench.ranges import PositiveCount, PositiveRate, PositiveSeconds, Price
from bench.records.base import Record, Sha256
from bench.records.environment import Environment


class ClusterHost(Record, frozen=True, kw_only=True):
    """A machine of the hosts file, as it was before anything was measured."""

    #: "n0", "n1", … in the order of the hosts file. Its real name and addresses are in no file.
    label: str
    environment: Environment
    #: Salted SHA-256 of the running kernel's identity: equal for containers and namespaces of one machine.
    kernel_hash: Sha256 | None = None
    #: mnist-bench itself ran there: `health` and `ceilings` are this machine's alone.
    is_here: bool = False
    #: The network interface that training uses.
    interface: str | None = None
    #: None: the driver does not tell, as most virtual ones.
    bits_per_second: PositiveCount | None = None
    mtu_bytes: PositiveCount | None = None
    driver: str | None = None
    #: To the first machine, by plain TCP: the median of eight bytes each way, and one stream; None for itself.
    round_trip_seconds: PositiveSeconds | None = None
    bytes_per_second: PositiveRate | None = None
    #: In the user's currency.
    price_per_hour: Price | None = None


def kernels_of(hosts: Sequence[ClusterHost]) -> tuple[int, ...]:
    """Return for each host the place of the first one that shares its kernel: its own place, if it is a machine.

    Links between hosts that share a kernel are emulated: they say nothing about a network.
    """
    known: dict[str, int] = {}
    identities = [host.kernel_hash or host.environment.host_hash for host in hosts]
    return tuple(
        place if identity is None else known.setdefault(identity, place) for place, identity in enumerate(identities)
    )
