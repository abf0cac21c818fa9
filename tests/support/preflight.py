"""Answers of hosts that are as they should be, to be changed by the tests."""

from __future__ import annotations

from typing import Any

from bench.experiments.preflight.ask import HostAnswer, PythonAnswer
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host
from bench.worker.protocol.hosts import HostFacts, HostRequest, Interface
from tests.support.records import a_dataset

CODE = "c0de" * 16
#: About this machine, without data.
REQUEST = HostRequest(
    frameworks=(Framework.MXNET,), address="127.0.0.1", interface=None, dataset=a_dataset(), data_directory="/nowhere"
)


def some_facts(place: int = 0, **changes: object) -> HostFacts:
    address = f"10.0.0.{place + 1}"
    facts: dict[str, Any] = {
        "python": "3.11.7",
        "mnist_bench_version": "0.1.0",
        "source_digest": CODE,
        "framework_versions": {Framework.MXNET: "1.9.1"},
        "data_directory": "/data",
        "data_digest": a_dataset().digest,
        "data_fault": None,
        "host_processor_model_name": "Intel(R) Xeon(R) Processor",
        "usable_core_count": 2,
        "host_hash": f"{place:x}" * 64,
        "host_name": f"node{place}",
        "host_name_addresses": (address,),
        "interfaces": (
            Interface("lo", ("127.0.0.1",), 65536, None, None),
            Interface("eth0", (address,), 1500, 1_000_000_000, "e1000"),
        ),
        "interface": "eth0",
        "ip_address": address,
    }
    return HostFacts(**facts | changes)


def an_answer(
    place: int = 0, facts: HostFacts | None = None, fault: str | None = None, **changes: object
) -> HostAnswer:
    """Return what a host says; without facts and fault it is as it should be."""
    if facts is None and fault is None:
        facts = some_facts(place)
    python = PythonAnswer(python="/opt/python", frameworks=(Framework.MXNET,), facts=facts, fault=fault)
    answer: dict[str, Any] = {
        "label": f"n{place}",
        "host": Host(address=f"10.0.0.{place + 1}"),
        "pythons": (python,),
        "round_trip_seconds": 0.0002,
        "clock_offset_seconds": -0.003,
    }
    return HostAnswer(**answer | changes)
