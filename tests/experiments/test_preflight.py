"""Hosts are looked at before anything is measured: each fault is one line with what helps."""

from __future__ import annotations

import shutil
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import SOURCE_ROOT
from bench.experiments.preflight import ask
from bench.experiments.preflight.ask import HostAnswer, Preflight, PythonAnswer, ask_hosts
from bench.experiments.preflight.checks import Fault, Subject, find_faults, find_remarks
from bench.machine.software import tree_digest
from bench.records.result import Dataset
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host
from bench.worker.interpreters import Interpreters
from bench.worker.measure import network
from bench.worker.process import Cancellation
from bench.worker.protocol.hosts import Target
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from tests import ROOT
from tests.support.hosts import put_fake_ssh
from tests.support.idx_files import small_idx_folder
from tests.support.preflight import CODE, an_answer, some_facts
from tests.support.records import a_dataset


def faults_of(*answers: HostAnswer) -> list[Fault]:
    return find_faults(Preflight(hosts=answers), a_dataset(), CODE)


def test_hosts_as_they_should_be_have_no_fault() -> None:
    assert faults_of(an_answer(0), an_answer(1)) == []


OTHER_DIGEST = "beef" * 16


@pytest.mark.parametrize(
    ("changes", "subject", "kind", "words"),
    [
        (
            {"framework_versions": {Framework.MXNET: "1.8.0"}},
            Subject.FRAMEWORK,
            "mixture",
            "mxnet 1.8.0, and n0 has 1.9.1: install one version on all",
        ),
        (
            {"framework_versions": {}},
            Subject.FRAMEWORK,
            "broken",
            "/opt/python has no mxnet: there, /opt/python -m pip install mxnet==1.9.1; or name another Python",
        ),
        (
            {"source_digest": OTHER_DIGEST},
            Subject.CODE,
            "mixture",
            "other code of mnist-bench 0.1.0 (digest beefbeefbe, here c0dec0dec0): install the source of this machine",
        ),
        (
            {"data_digest": OTHER_DIGEST},
            Subject.DATA,
            "mixture",
            "other data than mnist of this machine (digest beefbeefbe, here 0123456789): copy the four files",
        ),
        (
            {"data_digest": None, "data_directory": None, "data_fault": "/x: not found"},
            Subject.DATA,
            "broken",
            "no data (/x: not found): there, /opt/python -m bench data --data mnist; or copy the four files",
        ),
        (
            {"interface": None, "ip_address": None},
            Subject.ADDRESS,
            "broken",
            "no interface there has the address 10.0.0.2: write one of these: eth0 10.0.0.2",
        ),
    ],
)
def test_a_host_that_is_not_as_it_should_be(changes: dict[str, Any], subject: Subject, kind: str, words: str) -> None:
    (fault,) = faults_of(an_answer(0), an_answer(1, some_facts(1, **changes)))
    assert (fault.label, fault.subject, fault.is_mixture) == ("n1", subject, kind == "mixture")
    assert words in fault.text


def test_in_a_job_the_command_line_says_what_a_hosts_file_would() -> None:
    odd = some_facts(1, interface=None, ip_address=None, data_digest=None, data_fault="/x: not found")
    seen = Preflight(hosts=(an_answer(0), an_answer(1, msgspec.structs.replace(odd, framework_versions={}))))
    framework, data, address = (fault.text for fault in find_faults(seen, a_dataset(), CODE, is_job=True))
    assert framework.endswith("; or name another Python with --python")
    assert data.endswith("name their folder with --data-dir")
    assert address == (
        "no interface there has the address 10.0.0.2: "
        "name rank 0 with --join-address on a network of these: eth0 10.0.0.2"
    )


@pytest.mark.parametrize(
    ("addresses", "leads"), [(("127.0.1.1",), "resolves to 127.0.1.1"), ((), "cannot be resolved")]
)
def test_an_own_name_that_leads_nowhere_is_worth_a_remark(addresses: tuple[str, ...], leads: str) -> None:
    odd = an_answer(1, some_facts(1, host_name_addresses=addresses))
    assert faults_of(an_answer(0), odd) == []
    (remark,) = find_remarks(Preflight(hosts=(an_answer(0), odd)))
    assert remark == (
        f"the own name node1 of n1 {leads}, which no rank needs; for other programs write the line '10.0.0.2 node1' "
        "into its /etc/hosts, above the others"
    )


def test_one_host_alone_needs_no_network() -> None:
    facts = some_facts(host_name_addresses=("127.0.0.1",), interface=None, ip_address=None)
    assert faults_of(an_answer(0, facts)) == []
    assert find_remarks(Preflight(hosts=(an_answer(0, facts),))) == []


def test_a_host_that_did_not_answer_has_that_fault_alone() -> None:
    (fault,) = faults_of(an_answer(0), an_answer(1, fault="its host key is unknown: run ssh node1 once by hand"))
    assert (fault.label, fault.subject) == ("n1", Subject.REACHABLE)


def test_a_port_that_is_closed_is_named_with_the_host() -> None:
    (fault,) = faults_of(an_answer(0), an_answer(1, unreached={"n0": "no answer within 3 s"}))
    assert fault.subject is Subject.NETWORK
    assert fault.text.startswith("cannot reach n0 (no answer within 3 s): let its firewall and theirs pass TCP")


def test_a_framework_that_no_host_has_is_named_without_a_version() -> None:
    first, _ = faults_of(*(an_answer(place, some_facts(place, framework_versions={})) for place in range(2)))
    assert "-m pip install mxnet;" in first.text


def test_unequal_hosts_are_worth_a_remark() -> None:
    other = an_answer(1, some_facts(1, host_processor_model_name="AMD EPYC", usable_core_count=8))
    (remark,) = find_remarks(Preflight(hosts=(an_answer(0), other, an_answer(2))))
    assert remark == (
        "the hosts are unequal, and the slowest sets the pace of all that wait for it: "
        "n0, n2: 2 x Intel(R) Xeon(R) Processor; n1: 8 x AMD EPYC"
    )


def test_shared_machines_and_cores_are_worth_a_remark() -> None:
    both = [an_answer(place, some_facts(place, host_hash="a" * 64)) for place in range(2)]
    crowded = an_answer(2, host=Host(address="10.0.0.3", slots=4))
    assert find_remarks(Preflight(hosts=(*both, crowded))) == [
        "n2 has 4 slots and 2 usable cores: ranks share them",
        "n0, n1 are one machine: they share its cores and memory, and nothing between them is a network",
    ]


# --- real workers -----------------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> tuple[Dataset, str]:
    folder = small_idx_folder(tmp_path / "data", train=30, test=10)
    prepared = datasets.obtain(DatasetName.AUTO, data_dir=folder, environ={})
    return a_dataset(name="custom", digest=prepared.digest, train_samples=30, test_samples=10), str(folder)


def asked(hosts: list[Host], data: tuple[Dataset, str], *, with_links: bool = False) -> Preflight:
    dataset, directory = data
    frameworks = [Framework.MXNET]
    return ask_hosts(hosts, Interpreters(), frameworks, dataset, directory, Cancellation(), with_links=with_links)


def far(name: str, **options: object) -> Host:
    given: dict[str, Any] = {"address": "127.0.0.1", "ssh": name, "python": sys.executable, **options}
    return Host(**given)


@pytest.mark.system
def test_hosts_are_asked_reached_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: tuple[Dataset, str]
) -> None:
    """This machine, and itself behind ssh: no difference but the way."""
    put_fake_ssh(tmp_path / "bin", monkeypatch, before="echo hello")
    dataset, directory = data
    seen = asked([Host(address="127.0.0.1", launch=()), far("node1", data_directory=directory)], data, with_links=True)
    code = tree_digest(SOURCE_ROOT, "bench", "mnist_core")
    assert {fault.subject for fault in find_faults(seen, dataset, code)} <= {Subject.FRAMEWORK}
    for answer in seen.hosts:
        assert answer.facts is not None
        assert answer.facts.ip_address == "127.0.0.1"
        assert answer.unreached == {}
        assert answer.round_trip_seconds is not None
        assert answer.clock_offset_seconds is not None
        assert abs(answer.clock_offset_seconds) < 5.0
    assert [(link.sender, link.receiver, link.fault) for link in seen.links] == [("n0", "n1", None), ("n1", "n0", None)]
    assert all(link.bytes_per_second is not None and link.bytes_per_second > 0 for link in seen.links)
    assert "n0, n1 are one machine" in find_remarks(seen)[-1]


@pytest.mark.system
def test_all_hosts_are_asked_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: tuple[Dataset, str]
) -> None:
    """None answers before the last one was asked."""
    (tmp_path / "asked").mkdir()
    count = f'ls "{tmp_path}/asked" | wc -l'
    wait = f'touch "{tmp_path}/asked/$1"; while [ "$({count})" -lt 4 ]; do sleep 0.1; done'
    put_fake_ssh(tmp_path / "bin", monkeypatch, before=wait)
    seen = asked([far(f"node{number}") for number in range(4)], data)
    assert [answer.facts is not None for answer in seen.hosts] == [True] * 4


@pytest.mark.system
@pytest.mark.slow
def test_a_host_that_hangs_is_given_up_and_the_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: tuple[Dataset, str]
) -> None:
    put_fake_ssh(tmp_path / "bin", monkeypatch, before='[ "$1" = hangs ] && exec sleep 600')
    monkeypatch.setattr(ask, "ANSWER_SECONDS", 15.0)
    monkeypatch.setattr(ask, "_COMMANDS_SECONDS", 3600.0)  # no other limit ends it
    seen = asked([far("hangs"), far("works", data_directory=data[1])], data)
    (fault,) = (each.fault for each in seen.hosts[0].pythons)
    assert fault is not None
    assert fault.startswith("no answer within 15 s: it hangs, or its disks or its network are very slow; try by hand:")
    assert seen.hosts[1].facts is not None


@pytest.mark.system
def test_a_launch_whose_program_is_missing_is_one_line(data: tuple[Dataset, str]) -> None:
    (answer,) = asked([Host(address="node1", launch=("no-such-program", "node1"))], data).hosts
    (python,) = answer.pythons
    assert python.fault is not None
    assert python.fault.startswith("its command could not be started")
    assert "no-such-program" in python.fault


@pytest.mark.system
def test_a_mixed_cluster_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: tuple[Dataset, str]) -> None:
    """Another source, and other data, on a host that works."""
    put_fake_ssh(tmp_path / "bin", monkeypatch)
    other = tmp_path / "other"
    for package in ("bench", "mnist_core"):
        shutil.copytree(ROOT / package, other / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "mnist_core" / "training.py").open("a", encoding="utf-8") as file:
        file.write("# another version\n")
    monkeypatch.setenv("PYTHONPATH", str(other))
    folder = small_idx_folder(tmp_path / "other data", train=31, test=10)
    seen = asked([Host(address="127.0.0.1", launch=()), far("node1", data_directory=str(folder))], data)
    faults = find_faults(seen, data[0], tree_digest(SOURCE_ROOT, "bench", "mnist_core"))
    mixed = [(fault.label, fault.subject) for fault in faults if fault.is_mixture]
    assert mixed == [("n1", Subject.CODE), ("n1", Subject.DATA)]


@pytest.mark.system
def test_the_pythons_of_a_host_are_asked_one_by_one(data: tuple[Dataset, str]) -> None:
    here = Host(address="127.0.0.1", launch=(), framework_python={Framework.TORCH: "/nowhere/python"})
    frameworks = [Framework.MXNET, Framework.TORCH]
    (answer,) = ask_hosts([here], Interpreters(), frameworks, *data, Cancellation()).hosts
    assert [each.frameworks for each in answer.pythons] == [(Framework.MXNET,), (Framework.TORCH,)]
    found: tuple[PythonAnswer, ...] = answer.pythons
    assert [each.fault is None for each in found] == [True, False]


# --- the network ------------------------------------------------------------------------------------------------------


def target_of(listener: network.Listener, **changes: object) -> Target:
    facts: dict[str, Any] = {"address": "127.0.0.1", "port": listener.port, "token": listener.token, **changes}
    return Target(**facts)


def test_a_listener_answers_only_those_who_know_its_token() -> None:
    listener = network.Listener("127.0.0.1")
    good, other = target_of(listener), target_of(listener, token="0" * 32)
    assert network.reach([good]) == (None,)
    (fault,) = network.reach([other])
    assert fault is not None
    assert network.measure_link(good, round_trips=3, stream_seconds=0.01).bytes_per_second > 0


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def stranger() -> Iterator[int]:
    """A program of somebody else, which greets whoever comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail.example.org ESMTP\r\n")

        threading.Thread(target=greet, daemon=True).start()
        yield int(server.getsockname()[1])


def test_a_closed_port_and_a_stranger_are_told_apart(closed_port: int, stranger: int) -> None:
    closed, other = network.reach([Target("127.0.0.1", port, "0" * 32) for port in (closed_port, stranger)])
    assert closed == "connection refused"
    assert other == "another program answers at this port"
