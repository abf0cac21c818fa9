"""Hosts that answered become the machines of a measurement; and where they stop to, which one is to blame."""

from __future__ import annotations

import msgspec
import pytest

from bench.experiments.preflight.ask import HostAnswer, Link, Preflight
from bench.experiments.preflight.broken import Broken, judge
from bench.experiments.preflight.machines import machines_of, records_of
from bench.records.environment import ClusterHost, kernels_of
from bench.scenarios.hosts import Host
from bench.worker.protocol.hosts import Captured, HostFacts
from tests.support.preflight import an_answer, some_facts
from tests.support.records import an_environment

KERNEL = "1" * 64


def test_what_was_seen_of_hosts_is_recorded() -> None:
    far = Host(address="10.0.0.2", price_per_hour=0.5)
    link = Link(sender="n1", receiver="n0", round_trip_seconds=0.0002, bytes_per_second=117e6)
    captured = tuple(
        Captured(environment=an_environment(usable_core_count=cores), kernel_hash=KERNEL) for cores in (2, 4)
    )
    here = an_answer(0, host=Host(address="10.0.0.1", launch=()))
    seen = Preflight(hosts=(here, an_answer(1, host=far)), links=(link,), captured=captured)
    first, second = records_of(seen)
    assert (first.label, first.is_here, first.round_trip_seconds) == ("n0", True, None)
    assert (second.label, second.is_here, second.price_per_hour) == ("n1", False, 0.5)
    assert (second.interface, second.bits_per_second, second.mtu_bytes, second.driver) == (
        *("eth0", 1_000_000_000),
        *(1500, "e1000"),
    )
    assert (second.round_trip_seconds, second.bytes_per_second) == (0.0002, 117e6)
    assert second.environment.usable_core_count == 4
    assert [machine.label for machine in machines_of(seen)] == ["n0", "n1"]


def a_host(place: int, kernel: str | None, host_hash: str | None) -> ClusterHost:
    return ClusterHost(label=f"n{place}", environment=an_environment(host_hash=host_hash), kernel_hash=kernel)


def test_hosts_that_share_a_kernel_are_one_machine() -> None:
    """Copies of one image have the same installation and are several; where no kernel is known, it counts."""
    one, other = "a" * 64, "b" * 64
    hosts = [a_host(0, "1" * 64, one), a_host(1, "2" * 64, one), a_host(2, "1" * 64, other)]
    assert kernels_of(hosts) == (0, 1, 0)
    assert kernels_of([a_host(0, None, one), a_host(1, None, one), a_host(2, None, None), a_host(3, None, None)]) == (
        *(0, 0),
        *(2, 3),
    )


def facts_with(place: int, *, is_up: bool = True) -> HostFacts:
    facts = some_facts(place)
    interfaces = tuple(msgspec.structs.replace(each, is_up=is_up) for each in facts.interfaces)
    return msgspec.structs.replace(facts, interfaces=interfaces)


FINE = [an_answer(place, facts_with(place)) for place in range(3)]


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        (FINE, None),
        ([FINE[0], an_answer(1, fault="it does not answer")], Broken("n3", "n3 does not answer: it does not answer")),
        ([FINE[0], an_answer(1, facts_with(1, is_up=False))], Broken("n3", "the interface eth0 of n3 is down")),
        (
            [an_answer(0, unreached={"n1": "no answer"}), an_answer(1, unreached={"n0": "no answer"})],
            Broken(None, "n0 does not reach n3, n3 does not reach n0"),
        ),
        (
            [
                an_answer(0, unreached={"n1": "no answer"}),
                an_answer(1, unreached={"n0": "no answer", "n2": "no answer"}),
                an_answer(2, unreached={"n1": "no answer"}),
            ],
            Broken("n3", "n0 does not reach n3, n3 does not reach n0, n3 does not reach n5, n5 does not reach n3"),
        ),
        (
            [an_answer(0, fault="x"), an_answer(1, fault="y")],
            Broken(None, "n0 does not answer: x; n3 does not answer: y"),
        ),
    ],
    ids=["fine", "silent", "down", "two", "three", "all"],
)
def test_the_machine_that_is_cut_off_is_named(answers: list[HostAnswer], expected: Broken | None) -> None:
    """By the labels of the hosts file, of which these may be a part; of two that are cut off, neither is."""
    assert judge(Preflight(hosts=tuple(answers)), ["n0", "n3", "n5"][: len(answers)]) == expected
