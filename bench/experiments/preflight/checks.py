"""Judge what hosts have answered, and say what helps. Pure functions of the answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.enums import StrEnum
from bench.experiments.preflight.ask import HostAnswer, Preflight, PythonAnswer
from bench.records.result import Dataset
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import is_loopback
from bench.worker.protocol.hosts import HostFacts
from mnist_core.datasets import DatasetName

#: Digits of a digest in a sentence.
_SHORT: Final = 10


class Subject(StrEnum):
    """What of a host can be wrong: the columns of its table."""

    REACHABLE = "reachable"
    FRAMEWORK = "framework"
    CODE = "code"
    DATA = "data"
    ADDRESS = "address"
    NETWORK = "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why nothing can be measured with a host as it is; one line with what helps."""

    #: "n1"
    label: str
    subject: Subject
    text: str
    #: The host works, but differs from the others.
    is_mixture: bool = False


def find_faults(seen: Preflight, dataset: Dataset, source_digest: str, *, is_job: bool = False) -> list[Fault]:
    """Return everything that keeps these hosts from measuring together, host by host.

    `dataset` and `source_digest` are this machine's, which every host must have, too. `is_job`: they are the machines
    of a job, of which its command line says what a hosts file would.
    """
    return [
        fault
        for answer in seen.hosts
        for check in (_reachable, _frameworks, _code, _data, _address, _network)
        for fault in check(answer, _Expected(seen, dataset, source_digest, is_job=is_job))
    ]


def find_remarks(seen: Preflight) -> list[str]:
    """Return what is right and still worth knowing, a line each."""
    remarks = []
    by_machine: dict[str, list[str]] = {}
    by_speed: dict[str, list[str]] = {}
    for answer in seen.hosts:
        if answer.facts is None:
            continue
        if answer.host.slots > answer.facts.usable_core_count:
            cores = answer.facts.usable_core_count
            remarks.append(f"{answer.label} has {answer.host.slots} slots and {cores} usable cores: ranks share them")
        processor = answer.facts.host_processor_model_name or "unknown"
        by_speed.setdefault(f"{answer.facts.usable_core_count} x {processor}", []).append(answer.label)
        remarks += _own_name(answer) if len(seen.hosts) > 1 else ()
        if answer.facts.host_hash is not None:
            by_machine.setdefault(answer.facts.host_hash, []).append(answer.label)
    remarks += [
        f"{', '.join(labels)} are one machine: they share its cores and memory, and nothing between them is a network"
        for labels in by_machine.values()
        if len(labels) > 1
    ]
    if len(by_speed) > 1:
        kinds = "; ".join(f"{', '.join(labels)}: {kind}" for kind, labels in by_speed.items())
        remarks.append(f"the hosts are unequal, and the slowest sets the pace of all that wait for it: {kinds}")
    return remarks


@dataclass(frozen=True, slots=True)
class _Expected:
    seen: Preflight
    dataset: Dataset
    source_digest: str
    is_job: bool

    @property
    def is_cluster(self) -> bool:
        return len(self.seen.hosts) > 1

    def version_of(self, framework: Framework) -> tuple[str, str] | None:
        """Return the version of the first host that has the framework, and its label."""
        for answer in self.seen.hosts:
            for each in answer.pythons:
                if each.facts is not None and framework in each.facts.framework_versions:
                    return each.facts.framework_versions[framework], answer.label
        return None


def _fault(answer: HostAnswer, subject: Subject, text: str, *, is_mixture: bool = False) -> Fault:
    return Fault(label=answer.label, subject=subject, text=text, is_mixture=is_mixture)


def _answered(answer: HostAnswer) -> Iterator[tuple[PythonAnswer, HostFacts]]:
    for each in answer.pythons:
        if each.facts is not None:
            yield each, each.facts


def _reachable(answer: HostAnswer, _expected: _Expected) -> Iterator[Fault]:
    for each in answer.pythons:
        if each.fault is not None:
            yield _fault(answer, Subject.REACHABLE, each.fault)


def _frameworks(answer: HostAnswer, expected: _Expected) -> Iterator[Fault]:
    for each, facts in _answered(answer):
        for framework in each.frameworks:
            version, first = facts.framework_versions.get(framework), expected.version_of(framework)
            if version is None:
                wanted = framework.value if first is None else f"{framework}=={first[0]}"
                text = f"{each.python} has no {framework}: there, {each.python} -m pip install {wanted}; or name "
                yield _fault(
                    answer,
                    Subject.FRAMEWORK,
                    f"{text}another Python {'with --python' if expected.is_job else 'under framework_python'}",
                )
            elif first is not None and version != first[0]:
                text = f"{framework} {version}, and {first[1]} has {first[0]}: install one version on all"
                yield _fault(answer, Subject.FRAMEWORK, text, is_mixture=True)


def _code(answer: HostAnswer, expected: _Expected) -> Iterator[Fault]:
    for each, facts in _answered(answer):
        if facts.source_digest != expected.source_digest:
            digests = f"{facts.source_digest[:_SHORT]}, here {expected.source_digest[:_SHORT]}"
            text = f"other code of mnist-bench {facts.mnist_bench_version} (digest {digests}): install the source of "
            yield _fault(answer, Subject.CODE, f"{text}this machine there, for {each.python}", is_mixture=True)


def _data(answer: HostAnswer, expected: _Expected) -> Iterator[Fault]:
    facts, dataset = answer.facts, expected.dataset
    if facts is None:
        return
    if facts.data_digest is None:
        option = "--data-dir" if expected.is_job else "data_directory"
        copy = f"copy the four files of this machine there, and name their folder with {option}"
        fetch = f"there, {answer.pythons[0].python} -m bench data --data {dataset.name}; or {copy}"
        remedy = copy if dataset.name == DatasetName.CUSTOM.value else fetch
        yield _fault(answer, Subject.DATA, f"no data ({facts.data_fault}): {remedy}")
    elif facts.data_digest != dataset.digest:
        digests = f"{facts.data_digest[:_SHORT]}, here {dataset.digest[:_SHORT]}"
        text = f"other data than {dataset.name} of this machine (digest {digests}): copy the four files of this machine"
        yield _fault(answer, Subject.DATA, f"{text} to {facts.data_directory}", is_mixture=True)


def _address(answer: HostAnswer, expected: _Expected) -> Iterator[Fault]:
    facts, host = answer.facts, answer.host
    if facts is None or not expected.is_cluster or facts.ip_address is not None:
        return
    held = ", ".join(
        f"{each.name} {address}"
        for each in facts.interfaces
        for address in each.addresses
        if not ipaddress.ip_address(address).is_loopback and not ipaddress.ip_address(address).is_link_local
    )
    what = f"interface {host.interface} has not the address" if host.interface else "no interface there has the address"
    remedy = f"write one of these: {held or 'it has none'}"
    if expected.is_job:  # it is the address from which that rank has come to rank 0
        remedy = f"name rank 0 with --join-address on a network of these: {held or 'it has none'}"
    yield _fault(answer, Subject.ADDRESS, f"{what} {host.address}: {remedy}")


def _network(answer: HostAnswer, _expected: _Expected) -> Iterator[Fault]:
    if answer.unreached:
        faults = ", ".join(f"{label} ({fault})" for label, fault in answer.unreached.items())
        text = f"cannot reach {faults}: let its firewall and theirs pass TCP of all ports above 1023 among the hosts"
        yield _fault(answer, Subject.NETWORK, text)


def _own_name(answer: HostAnswer) -> Iterator[str]:
    """Yield what is odd about where the host's own name leads to. Ranks are told their address, and ask for none."""
    facts = answer.facts
    if facts is None:
        return
    addresses = facts.host_name_addresses
    if addresses and not is_loopback(addresses[0]):
        return
    leads = f"resolves to {addresses[0]}" if addresses else "cannot be resolved"
    line = f"{facts.ip_address or answer.host.address} {facts.host_name}"
    text = f"the own name {facts.host_name} of {answer.label} {leads}, which no rank needs; for other programs write "
    yield f"{text}the line '{line}' into its /etc/hosts, above the others"
