"""The hosts of a measurement on several machines: looked at, shown, and refused where they do not fit together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench import SOURCE_ROOT
from bench.cli.console import fail, print_tables, spinner, write
from bench.cli.datasets import dataset_of, note_dataset, prepare
from bench.cli.exit_status import Exit
from bench.cli.session import cancelled_by_signals
from bench.experiments.preflight.ask import ask_hosts
from bench.experiments.preflight.checks import find_faults, find_remarks
from bench.machine.software import tree_digest
from bench.render.formats.export import Format
from bench.render.phrases import format_count
from bench.render.views.doctor import hosts_tables
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host
from bench.worker.interpreters import Interpreters
from mnist_core.datasets import DatasetName


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
    dataset = dataset_of(prepared)
    with cancelled_by_signals() as stop, spinner(f"asking {format_count(len(hosts), 'host')}"):
        seen = ask_hosts(hosts, here, frameworks, dataset, str(prepared.directory), stop, with_links=with_links)
    if stop.requested:
        fail("interrupted", Exit.INTERRUPTED)
    faults = find_faults(seen, dataset, tree_digest(SOURCE_ROOT, "bench", "mnist_core"))
    remarks = find_remarks(seen)
    if output_format is Format.JSON:
        document = {"hosts": seen.hosts, "links": seen.links, "faults": faults, "remarks": remarks, "dataset": dataset}
        write(msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n")
    else:
        print_tables(hosts_tables(seen, faults, remarks), output_format)
    note_dataset(prepared)
    if faults:
        labels = ", ".join(dict.fromkeys(fault.label for fault in faults))
        if all(fault.is_mixture for fault in faults):
            fail(f"the hosts differ, so that nothing is measured on them: {labels}", Exit.INCOMPARABLE)
        fail(f"nothing can be measured on these hosts as they are: {labels}", Exit.USAGE)
