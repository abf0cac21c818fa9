"""Seats: where each process runs, with what, and that no file learns a machine's name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.scenarios.axes import Exchange, Framework
from bench.scenarios.hosts import Host, processes_on
from bench.scenarios.scenario import Scenario
from bench.worker import session
from bench.worker.cluster import parts_of
from bench.worker.interpreters import Interpreters
from bench.worker.process import Interpreter
from bench.worker.seats import Machine, seats_here, seats_on, without_names
from mnist_core.recipe import Engine
from tests.support.preflight import some_facts
from tests.support.records import a_dataset

MACHINES = (
    Machine("n0", Host(address="10.0.0.1", launch=()), some_facts(0, usable_core_count=2, data_directory="/here")),
    Machine(
        "n1",
        Host(address="node1", ssh="ana@gate.lab", python="/opt/python", slots=2),
        some_facts(1, usable_core_count=8, data_directory="/there", interface="eth1", host_name="node1.lab"),
    ),
    Machine("n2", Host(address="10.0.0.3", launch=("docker", "exec", "-i", "c1")), some_facts(2)),
)


def a_scenario(**axes: object) -> Scenario:
    return Scenario(**{"network": "mlp", "contexts": ("cpu(0)",), **axes})  # type: ignore[arg-type]


def test_each_rank_has_what_its_machine_has() -> None:
    seats = seats_on(MACHINES, a_scenario(ranks=3, hosts=2), Interpreters({Framework.MXNET: "/my/python"}))
    assert [seat.interpreter.host for seat in seats] == ["n0", "n1", "n0"]
    assert [seat.interpreter.python for seat in seats] == ["/my/python", "/opt/python", "/my/python"]
    assert [seat.interpreter.launch is None for seat in seats] == [True, False, True]
    assert [seat.address for seat in seats] == ["10.0.0.1", "10.0.0.2", "10.0.0.1"]
    assert [seat.interface for seat in seats] == ["eth0", "eth1", "eth0"]
    assert [seat.data_directory for seat in seats] == ["/here", "/there", "/here"]


@pytest.mark.parametrize(
    ("axes", "threads"),
    [
        ({"ranks": 2, "hosts": 2}, [2, 8]),
        ({"ranks": 3, "hosts": 2}, [1, 8, 1]),
        ({"ranks": 3, "hosts": 2, "first_host": 1}, [4, 2, 4]),
        ({"ranks": 2, "hosts": 2, "contexts": ("cpu(0)", "cpu(1)")}, [1, 4]),
        ({"ranks": 2, "hosts": 2, "cpu_threads": 3}, [3, 3]),
        ({"first_host": 1}, [8]),
    ],
)
def test_ranks_share_the_cores_of_their_own_machine(axes: dict[str, object], threads: list[int]) -> None:
    seats = seats_on(MACHINES, a_scenario(**axes), Interpreters())
    assert [seat.threads for seat in seats] == threads


def test_a_request_is_made_right_for_its_seat() -> None:
    """Here it stays as it is."""
    request = session.session_request(Path("/data"), a_dataset(), 1, 7, Engine.THREADED)
    (here,) = seats_here(Interpreter(), 1)
    assert here.placed(request) == request
    (there,) = seats_on(MACHINES, a_scenario(first_host=1), Interpreters())
    placed = there.placed(request)
    assert (placed.omp_num_threads, placed.data_directory) == (8, "/there")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Timeout, server gate.lab not responding.", "Timeout, server n1 not responding."),
        ("ana@gate.lab: Permission denied", "<user>@n1: Permission denied"),
        ("connect to [10.0.0.2]:4711 from node1.lab: refused", "connect to [n1]:4711 from n1: refused"),
        ("127.0.0.1 and 10.0.0.30 are left alone", "127.0.0.1 and 10.0.0.30 are left alone"),
        ("10.0.0.1 and 10.0.0.3", "n0 and n2"),
    ],
)
def test_no_name_of_a_machine_is_left(text: str, told: str) -> None:
    assert without_names(text, MACHINES) == told


def test_a_name_that_machines_share_is_nobodys() -> None:
    """Namespaces have the name of their machine."""
    twins = [
        Machine(f"n{place}", Host(address=f"10.0.0.{place + 1}"), some_facts(place, host_name="box"))
        for place in (0, 1)
    ]
    assert without_names("box lost 10.0.0.2", twins) == "<host> lost n1"


def test_scheduler_and_servers_have_seats() -> None:
    """The scheduler is beside rank 0; servers are spread over the machines, and reached by their addresses."""
    scenario = a_scenario(ranks=2, hosts=2, exchange=Exchange.DIST_SYNC, servers=3)
    request = session.session_request(Path("/data"), a_dataset(), 1, 1, Engine.THREADED)
    parts = list(parts_of(seats_on(MACHINES, scenario, Interpreters()), request, scenario))
    assert [(name, seat.interpreter.host) for name, seat, _ in parts] == [
        ("the scheduler", "n0"),
        ("server 0", "n0"),
        ("server 1", "n1"),
        ("server 2", "n0"),
        ("rank 0 of 2", "n0"),
        ("rank 1 of 2", "n1"),
    ]
    on_each = Counter(seat.interpreter.host for _, seat, _ in parts)
    assert {f"n{place}": count for place, count in processes_on(scenario).items()} == on_each == {"n0": 4, "n1": 2}
    places = [message.place for _, _, message in parts if message.place is not None]
    assert {place.address for place in places} == {"10.0.0.1"}
    assert [place.own_address for place in places] == [seat.address for _, seat, _ in parts]
    assert [place.interface for place in places] == [seat.interface for _, seat, _ in parts]
