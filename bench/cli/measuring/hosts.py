"""The hosts of a measurement on several machines: looked at, shown, and refused where they do not fit together."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import msgspec

from bench import SOURCE_ROOT
from bench.cli.console import err, fail, note, print_tables, spinner, verbosity, warn, write
from bench.cli.datasets import dataset_of, note_dataset, prepare
from bench.cli.exit_status import Exit
from bench.cli.measuring.session import ResumeHint, cancelled_by_signals, prepare_known, require_same_machine
from bench.errors import IncomparableError
from bench.experiments.preflight.ask import Preflight, ask_hosts
from bench.experiments.preflight.checks import Fault, find_faults, find_remarks
from bench.experiments.preflight.machines import machines_of, records_of
from bench.experiments.run.runner import HostLostError
from bench.machine.software import tree_digest
from bench.records.environment import ClusterHost, Environment
from bench.records.result import ResultSet
from bench.render.formats.export import Format
from bench.render.formats.text import Legend, render_text
from bench.render.phrases import format_count
from bench.render.views.doctor import hosts_tables
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host, check_slots, unused
from bench.scenarios.suite import PlannedRun
from bench.worker import process
from bench.worker.interpreters import Interpreters, interpreter_on
from bench.worker.join.hub import is_of_job
from bench.worker.process import Cancellation
from bench.worker.seats import Machine
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.devices import Device, Probe

#: Facts of a host, as `require_same_machine` names them, that a measurement which is resumed on it needs again.
_LASTING = ("mnist_bench_version", "git_commit", "source_digest", "usable_core_count", "cgroup_cpu_quota")


@dataclass(frozen=True, slots=True)
class Site:
    """Where a plan is measured: on this machine, or on those of a hosts file."""

    interpreters: Interpreters
    #: In the order of the hosts file, with what the result file says of each; empty: this machine.
    machines: tuple[Machine, ...] = ()
    records: tuple[ClusterHost, ...] = ()

    def named(self, text: str) -> str:
        """Return a text with the name of each machine beside its label, as its user may see it: n1 (node2)."""
        for machine in self.machines:
            text = re.sub(rf"\b{machine.label}\b", f"{machine.label} ({machine.host.address})", text)
        return text


@dataclass(frozen=True, slots=True)
class _Looked:
    """What was seen of the hosts, and what is to be said of it."""

    seen: Preflight
    faults: Sequence[Fault]
    remarks: Sequence[str]


def show_hosts(
    hosts: Sequence[Host],
    here: Interpreters,
    frameworks: Sequence[Framework],
    data: DatasetName,
    data_dir: Path | None,
    output_format: Format,
    *,
    with_links: bool,
) -> None:
    """Look at all hosts and print what was found.

    Exit with `USAGE` where something has to be mended on a host, with `INCOMPARABLE` where the hosts only differ.
    """
    prepared = prepare(data, data_dir)
    looked = _look(hosts, here, frameworks, prepared, with_links=with_links)
    if output_format is Format.JSON:
        seen, dataset = looked.seen, dataset_of(prepared)
        document = {"hosts": seen.hosts, "links": seen.links, "faults": looked.faults, "remarks": looked.remarks}
        write(msgspec.json.format(msgspec.json.encode(document | {"dataset": dataset}), indent=1).decode() + "\n")
    else:
        print_tables(hosts_tables(looked.seen, looked.faults, looked.remarks), output_format)
    note_dataset(prepared)
    if looked.faults:
        _refuse(looked.faults)


def check_plan(plan: Sequence[PlannedRun], hosts: Sequence[Host]) -> None:
    """Raise `ConfigurationError` for runs that do not fit on the machines of a hosts file; note idle ones."""
    scenarios = [planned.scenario for planned in plan]
    check_slots(scenarios, hosts)
    if idle := unused(scenarios, hosts):
        names = ", ".join(host.address for host in idle)
        note(f"not used by any scenario: {names}; ranks=N uses N machines, --set first_host=K begins with another one")


def look_for(
    hosts: Sequence[Host],
    here: Interpreters,
    plan: Sequence[PlannedRun],
    prepared: datasets.Prepared,
    output_format: Format,
) -> Site:
    """Look at all hosts; return them where they fit together, else show them and exit."""
    frameworks = [each for each in Framework if any(planned.scenario.framework is each for planned in plan)]
    looked = _look(hosts, here, frameworks, prepared, for_file=True)
    tables = hosts_tables(looked.seen, looked.faults, looked.remarks)
    if looked.faults:
        print_tables(tables, output_format)
        _refuse(looked.faults)
    if verbosity.verbose:
        render_text(tables, err, Legend.NONE)
    else:
        for remark in looked.remarks:
            warn(remark)
    machines, records = machines_of(looked.seen), records_of(looked.seen)
    if len(records) < len(machines):
        fail("a host was lost while it was looked at; try again", Exit.USAGE)
    return Site(here, machines, records)


def probe_first(hosts: Sequence[Host], here: Interpreters) -> Callable[[Framework, Device], Probe]:
    """Return what tries a device out on the first machine."""
    return lambda framework, device: process.probe(
        interpreter_on(hosts[0], framework, here), Cancellation(), framework, device
    )


def check_given(path: Path, begun: ResultSet, hosts: Sequence[Host]) -> None:
    """Raise `IncomparableError` where a file that is resumed needs a hosts file that is not given, or the reverse."""
    if begun.hosts and not hosts:
        count = format_count(len(begun.hosts), "machine")
        raise IncomparableError(f"{path}: was begun on {count} of a hosts file; add --hosts with the same, or --join")
    if hosts and not begun.hosts:
        raise IncomparableError(f"{path}: was begun without a hosts file; leave --hosts out")
    if len(hosts) != len(begun.hosts):
        count = format_count(len(begun.hosts), "machine")
        raise IncomparableError(f"{path}: was begun on {count}, and the hosts file has {len(hosts)}")


def look_again(
    path: Path,
    begun: ResultSet,
    hosts: Sequence[Host],
    here: Interpreters,
    data_dir: Path | None,
    output_format: Format,
    capture: Callable[[Sequence[PlannedRun], Site], Environment],
) -> tuple[datasets.Prepared, Site]:
    """Look at all hosts of a file that is resumed; return its data and them.

    Raise `IncomparableError` where data or machines are not those that it was begun on.
    """
    prepared = prepare_known(path, begun.dataset, data_dir)
    site = look_for(hosts, here, begun.plan, prepared, output_format)
    _check_same(path, begun.hosts, site.records)
    require_same_machine(path, begun.environment, capture(begun.plan, site))
    return prepared, site


def _check_same(path: Path, before: Sequence[ClusterHost], now: Sequence[ClusterHost]) -> None:
    """Raise `IncomparableError` where the machines are not those that a file was begun on, in the same order."""
    for earlier, host in zip(before, now, strict=True):
        require_same_machine(f"{path}: {host.label}", earlier.environment, host.environment, _LASTING)


@contextlib.contextmanager
def ending_with_a_host(site: Site, hint: ResumeHint) -> Iterator[None]:
    """Exit with FAILED where a machine is lost; what was measured is in the file."""
    try:
        yield
    except HostLostError as error:
        name = site.named(str(error))
        fail(f"{name} failed twice, so that nothing more is measured: see to it, then {hint}", Exit.FAILED)


def _look(
    hosts: Sequence[Host],
    here: Interpreters,
    frameworks: Sequence[Framework],
    prepared: datasets.Prepared,
    *,
    with_links: bool = False,
    for_file: bool = False,
) -> _Looked:
    dataset, directory = dataset_of(prepared), str(prepared.directory)
    with cancelled_by_signals() as stop, spinner(f"asking {format_count(len(hosts), 'host')}"):
        seen = ask_hosts(hosts, here, frameworks, dataset, directory, stop, with_links=with_links, for_file=for_file)
    if stop.requested:
        fail("interrupted", Exit.INTERRUPTED)
    digest = tree_digest(SOURCE_ROOT, "bench", "mnist_core")
    faults = find_faults(seen, dataset, digest, is_job=is_of_job(hosts))
    return _Looked(seen, faults, find_remarks(seen))


def _refuse(faults: Sequence[Fault]) -> NoReturn:
    labels = ", ".join(dict.fromkeys(fault.label for fault in faults))
    if all(fault.is_mixture for fault in faults):
        fail(f"the hosts differ, so that nothing is measured on them: {labels}", Exit.INCOMPARABLE)
    fail(f"nothing can be measured on these hosts as they are: {labels}", Exit.USAGE)
