"""What one result file says about each scenario, ready to be compared, and how much files of the same code differ."""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bench.analysis.energy import EnergyUse, energy_of
from bench.analysis.groups import (
    Group,
    RowKey,
    Status,
    group_by_row,
    health_of,
    log_speed_in_block,
    median_time_to_accuracy,
    throughput,
)
from bench.analysis.prediction import LatencySample, latency_samples
from bench.analysis.prices import Bill, Price, bill_of, price_per_hour
from bench.analysis.summary import Summary
from bench.errors import ConfigurationError
from bench.machine.fingerprint import Difference, class_digest, difference, machine_class, machine_differences
from bench.records.environment import ClusterHost, Environment
from bench.records.health import DISTURBING_STEAL_FRACTION, VOID_ANCHOR_RATIO, SessionHealth
from bench.records.result import Dataset, ExchangeCurve, ResultSet
from bench.scenarios.scenario import Scenario, all_but, axis_text
from bench.scenarios.selection import Reference
from bench.stats import block_design, intervals
from bench.stats.intervals import Moments
from bench.stats.sessions import FEWEST_DEGREES_OF_FREEDOM, Spread, between_sd, spread_over
from mnist_core.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one result file says about one scenario under one recipe."""

    status: Status
    #: Why it is invalid, what failed, or what was not run; one line. None: nothing is wrong with it.
    trouble: str | None
    #: Images per second, one number per process; None where no process gave one.
    speed: Moments | None
    #: The logarithm of the images per second in each block in which it took turns; empty for processes that were alone.
    log_speed_in_block: Mapping[int, float]
    #: As of a `Group`.
    is_led_in: bool
    is_cold: bool
    #: How far the processes of its file scatter that took turns with it and scatter alike; None: not known.
    spread_in_blocks: block_design.Spread | None
    #: By percentile, what a single image took; empty where nothing was predicted.
    latencies: Mapping[float, LatencySample]
    #: Mean of the final accuracies; None where no process ended.
    accuracy: float | None
    #: Processes that were measured, and that were asked for.
    n: int
    planned: int
    #: OpenMP threads of each context, as recorded; several where the processes differ.
    omp_num_threads: tuple[int, ...]
    energy: EnergyUse
    #: None without a price.
    bill: Bill | None

    @property
    def is_ranked(self) -> bool:
        return self.speed is not None and self.status.is_ranked

    @property
    def in_turns(self) -> bool:
        """Whether its processes took turns with those of other scenarios."""
        return bool(self.log_speed_in_block)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFile:
    """What a comparison needs of one result file."""

    #: As the user calls it: the file's path.
    name: str
    suite: str
    created_at: str
    environment: Environment
    dataset: Dataset
    #: In the order of the plan.
    entries: Mapping[RowKey, Entry]
    #: What the machine did meanwhile.
    health: SessionHealth
    #: The machines of the hosts file, in its order; empty: all was measured on one.
    hosts: tuple[ClusterHost, ...] = ()
    #: How long the engines of ranks took to add up arrays.
    exchanges: tuple[ExchangeCurve, ...] = ()
    #: As in a `Summary`.
    price: Price | None = None

    @property
    def other_machines(self) -> tuple[str, ...]:
        """The machines after the first, each by its identity and its kind."""
        return tuple(
            f"{(host.environment.host_hash or host.label)[:8]} {class_digest(host.environment)[:8]}"
            for host in self.hosts[1:]
        )


def differences_of_machines(baseline: ComparedFile, contender: ComparedFile) -> tuple[Difference, ...]:
    """Return what keeps two results from being of the same machines, of which a file may have one alone."""
    found = machine_differences(baseline.environment, contender.environment)
    before, after = baseline.other_machines, contender.other_machines
    if before and after and before != after:
        found = (*found, difference("other machines", ", ".join(before), ", ".join(after)))
    return found


def index(
    name: str,
    result_set: ResultSet | Summary,
    shared: dict[RowKey, RowKey] | None = None,
    price: Price | None = None,
) -> ComparedFile:
    """Return what a comparison needs of a result file; the runs themselves are not kept.

    A summary has its runs grouped already, and its price. `price` is that of each machine of a file whose price it does
    not tell.

    `shared` lets many files have their scenarios and recipes in common: ten thousand results are of a few scenarios.
    """
    keep = {} if shared is None else shared
    if isinstance(result_set, Summary):
        groups, price = result_set.groups, result_set.price
    else:
        groups = group_by_row(result_set)
    return ComparedFile(
        name=name,
        suite=result_set.suite,
        created_at=result_set.created_at,
        environment=result_set.environment,
        dataset=result_set.dataset,
        entries={keep.setdefault(key, key): _entry(key[0], group, result_set, price) for key, group in groups.items()},
        health=health_of(groups.values(), result_set.blocks),
        hosts=result_set.hosts,
        exchanges=result_set.exchanges,
        price=price,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionSpread:
    """What sessions of the same code on one machine differ by."""

    #: Standard deviation of the logarithm of a speed from one session to another, beyond the spread within them.
    sd: float
    degrees_of_freedom: int
    #: How many sessions, of what, where; in words.
    source: str
    #: Of the scenarios that were measured in enough sessions.
    scenarios: Mapping[RowKey, Spread] = dataclasses.field(default_factory=dict)


class _ShippedSpread(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file `session_spread.toml`."""

    sd: Annotated[float, Meta(ge=0)]
    degrees_of_freedom: Annotated[int, Meta(ge=1)]
    source: str


@functools.cache
def shipped_spread() -> SessionSpread:
    """Return what two sessions differ by on the machine that this was measured on, for want of one's own."""
    text = (resources.files("bench.analysis") / "session_spread.toml").read_text(encoding="utf-8")
    shipped = msgspec.toml.decode(text, type=_ShippedSpread)
    return SessionSpread(sd=shipped.sd, degrees_of_freedom=shipped.degrees_of_freedom, source=shipped.source)


def spread_of(files: Iterable[ComparedFile]) -> SessionSpread | None:
    """Return what sessions of the same code, data and software on the same machine differ by; None from too few."""
    alike: dict[tuple[object, ...], list[ComparedFile]] = {}
    for file in files:
        e = file.environment
        code = (e.mnist_bench_version, e.git_commit, e.git_dirty, e.software)
        machines = (e.host_hash, *machine_class(e).values(), *file.other_machines)
        alike.setdefault((file.dataset.digest, *machines, *code), []).append(file)
    groups = [sessions for sessions in alike.values() if len(sessions) > 1]
    keys = dict.fromkeys(key for sessions in groups for file in sessions for key in file.entries)
    found = {key: spread_over(_ranked_speeds(sessions, key) for sessions in groups) for key in keys}
    scenarios = {
        key: spread
        for key, spread in found.items()
        if spread is not None and spread.degrees_of_freedom >= FEWEST_DEGREES_OF_FREEDOM
    }
    if not scenarios:
        return None
    return SessionSpread(
        sd=between_sd(list(scenarios.values())),
        degrees_of_freedom=max(spread.degrees_of_freedom for spread in scenarios.values()),
        source=f"{sum(map(len, groups))} sessions of the same code on one machine, named with --sessions",
        scenarios=scenarios,
    )


def _ranked_speeds(sessions: Iterable[ComparedFile], key: RowKey) -> list[Moments]:
    entries = (file.entries.get(key) for file in sessions)
    return [entry.speed for entry in entries if entry is not None and entry.is_ranked and entry.speed is not None]


#: What one side must have more to be called busier: as much as a program adds that always wants a CPU,
_BUSIER_LOAD: Final = 1.0
#: or twice what processes that take turns wait for each other,
_BUSIER_PRESSURE: Final = 0.2
#: or as much of the CPUs' time stolen by other tenants as disturbs a block.
_BUSIER_STEAL: Final = DISTURBING_STEAL_FRACTION
#: Or the machine itself was this many times slower, by a fixed matrix product: as for a void block.
_SLOWER_ANCHOR: Final = VOID_ANCHOR_RATIO


def busier(baseline: ComparedFile, contender: ComparedFile) -> ComparedFile | None:
    """Return the side under which the machine was clearly busier, by the health of both files; None: neither."""
    for side, other in ((baseline, contender), (contender, baseline)):
        more, less = side.health, other.health
        if (
            _excess(more.load_average, less.load_average) >= _BUSIER_LOAD
            or _excess(more.cpu_pressure_fraction, less.cpu_pressure_fraction) >= _BUSIER_PRESSURE
            or _excess(more.steal_fraction, less.steal_fraction) >= _BUSIER_STEAL
            or _excess(more.anchor_seconds, less.anchor_seconds and _SLOWER_ANCHOR * less.anchor_seconds) >= 0
        ):
            return side
    return None


def _excess(number: float | None, other: float | None) -> float:
    return -math.inf if number is None or other is None else number - other


def _entry(scenario: Scenario, group: Group, file: ResultSet | Summary, price: Price | None) -> Entry:
    train_samples, energy, bill = file.dataset.train_samples, EnergyUse(), None
    status, trouble, speed, in_block = group.status, _trouble(group), None, {}
    if group.runs:
        try:
            speed = intervals.log_moments([throughput(run) for run in group.runs])
            in_block = log_speed_in_block(group.runs)
            energy = energy_of(group.runs, train_samples, file.environment.energy, file.hosts)
            bill = bill_of(
                price_per_hour(file.hosts, scenario, price),
                group.runs,
                intervals.mean_of(speed),
                train_samples,
                median_time_to_accuracy(group.runs),
            )
        except ValueError:  # times of nothing or of no number, which a file edited by hand may hold
            status, trouble = Status.INVALID, "its throughput is no positive, finite number"
    return Entry(
        status=status,
        trouble=trouble,
        speed=speed,
        log_speed_in_block=in_block,
        is_led_in=group.is_led_in,
        is_cold=group.is_cold,
        spread_in_blocks=group.spread,
        latencies=latency_samples(group),
        accuracy=statistics.fmean([run.final_accuracy for run in group.runs]) if group.runs else None,
        n=len(group.runs),
        planned=group.planned,
        omp_num_threads=tuple(sorted({run.omp_num_threads for run in group.runs})),
        energy=energy,
        bill=bill,
    )


def _trouble(group: Group) -> str | None:
    if group.invalid is not None:
        return group.invalid
    if group.failures:
        first = group.failures[0]
        share = f" ({len(group.failures)} of {group.planned} processes)" if group.planned > 1 else ""
        return f"{first.reason}{share}: {first.detail}"
    not_run = group.planned - len(group.runs)
    if not_run > 0:
        return f"{not_run} of {group.planned} planned processes not run" if group.planned > 1 else "not run"
    if not group.runs and group.voids:
        return f"only void blocks: {next(iter(group.voids.values()))}"
    return None


def partners_in(baseline: ComparedFile, reference: Reference) -> dict[tuple[object, ...], RowKey]:
    """Return the rows that are the reference, by what the rows that are compared with them share with them.

    Raises `ConfigurationError` where there are none, or several of which none is meant.
    """
    matches = reference.matches
    partners: dict[tuple[object, ...], RowKey] = {}
    chosen = _fastest(baseline) if matches is None else [key for key in baseline.entries if matches(key[0])]
    for key in chosen:
        other = partners.setdefault(all_but_axes(key, reference.axes), key)
        if other != key:
            raise ConfigurationError(
                f"{reference} is several scenarios: {other[0].name}; {key[0].name}; write the whole name of one"
            )
    if not partners:
        raise ConfigurationError(_explain_none(baseline, reference))
    return partners


def _explain_none(baseline: ComparedFile, reference: Reference) -> str:
    """Say what there is instead: the values of the one axis that was asked for, or else the names."""
    terms = () if reference.matches is None else reference.matches.terms
    scenarios = [scenario for scenario, _recipe in baseline.entries]
    if len(terms) == 1 and (axis := terms[0].axis) is not None and terms[0].wanted:
        what = f"{axis} {terms[0].value!r}"
        there = ", ".join(map(repr, dict.fromkeys(axis_text(scenario, axis) for scenario in scenarios)))
    else:
        what = "a rank" if reference.matches is None else f"{reference.expression!r} in its name"
        there = "; ".join(dict.fromkeys(scenario.name for scenario in scenarios))
    hint = "; or axis=value, e.g. hybridize=off" if terms and terms[0].axis is None else ""
    return f"no scenario has {what} (there are: {there or 'none'}){hint}"


def _fastest(file: ComparedFile) -> list[RowKey]:
    """Return the fastest row of each network and recipe among those that carry a rank."""
    best: dict[tuple[str, Recipe], tuple[float, RowKey]] = {}
    for key, entry in file.entries.items():
        if entry.is_ranked and entry.speed is not None:
            contest = (key[0].network, key[1])
            best[contest] = max(best.get(contest, (-math.inf, key)), (entry.speed.mean, key), key=lambda pair: pair[0])
    return [key for _speed, key in best.values()]


def all_but_axes(key: RowKey, axes: Collection[str]) -> tuple[object, ...]:
    """Return everything that identifies a row but these axes."""
    scenario, recipe = key
    return (recipe, *all_but(scenario, *axes))
