"""Columns of what training takes besides time: memory, energy, money; and the words for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from bench.analysis.energy import EnergyUse
from bench.analysis.prices import Price
from bench.analysis.summary import Row
from bench.records.energy import EnergySource, EnergySupply
from bench.records.environment import ClusterHost
from bench.render import units
from bench.render.model.column import Column, Raw, make_column
from bench.render.phrases import clean_text, format_count, one_line, plus_minus
from bench.stats.intervals import Estimate

#: How the sources of energy are called, and what else is in their numbers.
_SOURCES: Final = {
    EnergySource.RAPL: "RAPL, whatever else ran on the socket included",
    EnergySource.NVML: "NVML, right to 10 % at best",
}


def _of_energy(value: Callable[[EnergyUse], Raw]) -> Callable[[Row], Raw]:
    return lambda row: None if row.measures is None else value(row.measures.energy)


def _of_bill(name: str, row: Row) -> Estimate | float | None:
    bill = None if row.measures is None else row.measures.bill
    return None if bill is None else getattr(bill, name)


def _memory(name: str, title: str, explanation: str) -> Column[Row]:
    return make_column(
        name,
        lambda row: None if row.measures is None else getattr(row.measures, name),
        units.memory,
        title=title,
        priority=13,
        explanation=explanation,
    )


#: The columns of costs: what a `Bill` has, the name, the title, the priority, and what the legend says.
COSTS: Final = (
    ("per_epoch", "cost_per_epoch", "cost of\nan epoch", 1, "one pass over all training images, at {price}"),
    ("per_million_images", "cost_per_million_images", "cost of\n1 M images", 8, "a million images, at {price}"),
    ("to_accuracy", "cost_to_accuracy", "cost to\naccuracy", 6, "to the first epoch that reached the target"),
    (
        "whole_run",
        "cost_of_run",
        "cost of\nthe run",
        9,
        "all that a process took, as a cloud bills it: start-up, first step, warm-up, epochs and evaluation; median",
    ),
)

RESOURCES: Final[Sequence[Column[Row]]] = (
    _memory(
        "training_peak_rss_bytes",
        "training\nmemory",
        "most resident memory of any of the processes inside the epoch windows, without the start-up",
    ),
    _memory(
        "device_peak_bytes",
        "device\npeak",
        "most that the framework had allocated on the scenario's GPUs; MXNet does not count it",
    ),
    make_column(
        "joules_per_image",
        _of_energy(lambda energy: energy.joules_per_image),
        units.milli,
        title="mJ/image",
        priority=3,
        detail=plus_minus,
        explanation="millijoules of an image: all joules of the epoch windows over all images, geometric mean over n "
        "processes",
    ),
    make_column(
        "joules_per_epoch",
        _of_energy(lambda energy: energy.joules_per_epoch),
        units.significant,
        title="J/epoch",
        interval=True,
        priority=9,
        explanation="joules of all {train_samples} training images",
    ),
    make_column(
        "joules_per_image_above_idle",
        _of_energy(lambda energy: energy.joules_per_image_above_idle),
        units.milli,
        title="mJ/image\nabove idle",
        interval=True,
        priority=9,
        explanation="less what the same counters counted in the ten seconds before the first process",
    ),
    make_column("energy_counted", _of_energy(lambda energy: format_counted(energy.counted) or None), number=False),
    make_column("energy_reason", _of_energy(lambda energy: energy.reason), number=False),
    *(
        make_column(
            name,
            functools.partial(_of_bill, field),
            units.significant,
            title=title,
            priority=priority,
            interval=True,
            explanation=explanation,
        )
        for field, name, title, priority, explanation in COSTS
    ),
)


def format_counted(counted: Iterable[tuple[EnergySource, str]]) -> str:
    """Name what is counted: package-0, package-0 dram, gpu(0)."""
    return ", ".join(domain for _source, domain in counted)


def format_price(price: Price | None, hosts: Sequence[ClusterHost] = ()) -> str:
    """Name what costs are reckoned by: 0.34 USD an hour; of a cluster the prices of its hosts first; "" for nothing."""
    own = ["the prices of the hosts file"] if any(host.price_per_hour is not None for host in hosts) else []
    given = [] if price is None else [f"{price.per_hour:g}{price.currency and f' {price.currency}'} an hour"]
    return one_line(clean_text(", else ".join([*own, *given])))


def energy_of_rows(rows: Iterable[Row]) -> list[EnergyUse]:
    """Return what each measured row took."""
    return [row.measures.energy for row in rows if row.measures is not None]


def describe_energy(energies: Sequence[EnergyUse], supply: EnergySupply | None) -> str:
    """Say what the joules of rows count, or why there are none; "" of an older file."""
    words = [_describe_counted(counted) for counted in dict.fromkeys(each.counted for each in energies) if counted]
    if idle := _describe_idle(supply) if words else "":
        words.append(idle)
    reasons = [each.reason for each in energies if each.reason is not None]
    for reason in dict.fromkeys(reasons):
        count = reasons.count(reason)
        rows_of_it = "" if count == len(energies) else f" of {format_count(count, 'row')}"
        words.append(f"{units.ABSENT}{rows_of_it}: {reason}")
    if supply is not None and supply.reason is not None:
        remedy = "" if supply.remedy is None else f": {supply.remedy}"
        words.append(f"{'' if supply.sources else f'{units.ABSENT}: '}{supply.reason}{remedy}")
    return "; ".join(words)


def _describe_counted(counted: Sequence[tuple[EnergySource, str]]) -> str:
    """Say what is counted: package-0 by RAPL, whatever else ran on the socket included, and gpu(0) by NVML, …"""
    by_source = {source: [each for each in counted if each[0] is source] for source in _SOURCES}
    return " and ".join(f"{format_counted(own)} by {_SOURCES[source]}" for source, own in by_source.items() if own)


def _describe_idle(supply: EnergySupply | None) -> str:
    known = [] if supply is None else [each for each in supply.sources if each.idle_watts is not None]
    return ", ".join(f"{each.domain} idle {units.significant(each.idle_watts or 0.0)} W" for each in known)
