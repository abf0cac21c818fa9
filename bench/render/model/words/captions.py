"""What stands above and below tables: where and on what their rows were measured, in words and as facts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from bench.analysis.roofline import Roof
from bench.analysis.summary import Row
from bench.records.environment import ClusterHost, Environment, Software, kernels_of
from bench.records.health import SessionHealth
from bench.records.result import Dataset
from bench.render import units
from bench.render.model.axis_columns import LOOP, Axis
from bench.render.model.columns import VERSIONS
from bench.render.model.table import Fact
from bench.render.phrases import format_count
from bench.scenarios.axes import RANK_AXES, LoopName
from bench.scenarios.hosts import label_of, placement
from bench.scenarios.scenario import DEFAULTS, Scenario, axis_value
from mnist_core.devices import DeviceKind
from mnist_core.recipe import Recipe


class MeasuredFile(Protocol):
    """A file of any kind, or its summary: all of them say on what and where they were measured."""

    @property
    def created_at(self) -> str: ...

    @property
    def environment(self) -> Environment: ...

    @property
    def dataset(self) -> Dataset: ...


def file_caption(file: MeasuredFile) -> list[tuple[str, str]]:
    """Return a caption's lines on data, machine and software."""
    return [
        ("data", describe_dataset(file.dataset)),
        ("machine", describe_machine(file.environment)),
        ("software", describe_versions(file.environment)),
    ]


def file_facts(file: MeasuredFile) -> dict[str, Fact]:
    """Return when and on what a file was measured."""
    return {"created_at": file.created_at, "dataset": file.dataset.name, "dataset_digest": file.dataset.digest}


def machine_facts(environment: Environment, *, without: Collection[str] = ()) -> dict[str, Fact]:
    """Return what a program may group machines by; `without` names what a kind of file never had."""
    facts: dict[str, Fact] = {
        "host_hash": environment.host_hash,
        "host_processor_model_name": environment.host_processor_model_name,
        "usable_core_count": environment.usable_core_count,
        "usable_vcpu_count": environment.usable_vcpu_count,
        "virtualization": environment.virtualization,
        "accelerator_model_names": ", ".join(environment.accelerator_model_names) or None,
    }
    return {name: fact for name, fact in facts.items() if name not in without}


def software_facts(software: Software | None) -> dict[str, Fact]:
    """Return the versions; all absent where they were not recorded."""
    return {name: getattr(software, name, None) for name in VERSIONS}


def facts_of(record: object, *names: str) -> dict[str, Fact]:
    """Return facts that a record has under the same names."""
    return {name: getattr(record, name) for name in names}


def health_facts(health: SessionHealth) -> dict[str, Fact]:
    """Return what the machine did beside the measurement."""
    return facts_of(health, *health.__struct_fields__)


def recipe_facts(recipe: Recipe) -> dict[str, Fact]:
    """Return what a recipe fixes, but for its seed."""
    return facts_of(recipe, "epochs", "samples", "learning_rate", "xavier_magnitude")


def describe_recipe(recipe: Recipe, train_samples: int, *, in_turns: bool = False) -> str:
    """Say how a row is trained: 10 epochs of 60,000 images; 6 turns of the first 2,000 images."""
    part = recipe.samples is not None and recipe.samples < train_samples
    images = f"the first {recipe.samples:,}" if part else f"{train_samples:,}"
    words = f"{format_count(recipe.epochs, 'turn' if in_turns else 'epoch')} of {images} images"
    tutorial = Recipe()
    if recipe.learning_rate != tutorial.learning_rate:
        words += f", learning rate {recipe.learning_rate}"
    if recipe.xavier_magnitude != tutorial.xavier_magnitude:
        words += f", Xavier magnitude {recipe.xavier_magnitude}"
    return words


def describe_setting(scenario: Scenario, axes: Iterable[Axis]) -> str:
    """Say where a scenario is on these axes: cpu(0),cpu(1), batch 100, hybridize off."""
    words = []
    for axis in axes:
        name = axis.heading.name
        value = axis_value(scenario, name)
        if name == LOOP.heading.name and value in {"", str(LoopName.TUTORIAL)}:
            continue
        if name in {*RANK_AXES, "precision"} and value == DEFAULTS[name]:
            continue
        if name == "ranks":
            words.append(format_ranks(scenario.ranks, scenario.hosts))
        elif name == "first_host":
            label = label_of(scenario.first_host)
            words.append(f"on {label}" if scenario.hosts == 1 else f"from {label} on")
        elif name == "hosts":
            continue  # said with the ranks
        elif value is not None and name != "framework":  # which stands among the versions
            speaks_for_itself = name in {"network", "contexts", "precision"}
            words.append(str(value) if speaks_for_itself else f"{axis.heading.title} {value}")
    return ", ".join(words)


def common_setting(scenario: Scenario, axes: Iterable[Axis]) -> list[tuple[str, str]]:
    """Return a caption's line on the axes on which all rows are alike; `scenario` is any row's."""
    setting = describe_setting(scenario, axes)
    return [("all rows", setting)] if setting else []


def describe_dataset(dataset: Dataset) -> str:
    """Name a data set, its digest and where it came from."""
    return f"{dataset.name} ({dataset.digest[:12]}), {dataset.source}"


def name_processor(environment: Environment) -> str:
    """Name the processor, known or not."""
    return environment.host_processor_model_name or f"an unnamed {environment.architecture} processor"


def describe_machine(environment: Environment) -> str:
    """Name the processor, its cores, the virtualization and the accelerators."""
    words = [
        name_processor(environment),
        format_count(environment.usable_core_count, "usable core")
        + f" ({format_count(environment.usable_vcpu_count, 'vCPU')})",
    ]
    if environment.virtualization is not None:
        words.append(environment.virtualization)
    words += [
        model if count == 1 else f"{count} x {model}"
        for model, count in Counter(environment.accelerator_model_names).items()
    ]
    return ", ".join(words)


def describe_versions(environment: Environment) -> str:
    """Name the versions of every framework that ran, and of mnist-bench."""
    loaded = [*([environment.software] if environment.software else []), *environment.peers]
    versions = "; ".join(f"{s.framework} {s.framework_version}, numpy {s.numpy}, Python {s.python}" for s in loaded)
    return f"{versions or 'versions not recorded: no run finished'}, mnist-bench {environment.mnist_bench_version}"


def describe_health(health: SessionHealth) -> str | None:
    """Say what the machine did beside the measurement: load 1.0, 0 % of the CPUs' time stolen; None: not recorded."""
    if health.anchor_seconds is None:
        return None
    return ", ".join(f"{before}{value}{after}" for before, value, after in _health_words(health) if value is not None)


def contrast_health(health: SessionHealth, other: SessionHealth) -> str:
    """Say the same of two sessions, as far as both are known: load 1.9 against 0.4."""
    return ", ".join(
        f"{before}{value}{after} against {its}"
        for (before, value, after), (_before, its, _after) in zip(
            _health_words(health), _health_words(other), strict=True
        )
        if value is not None and its is not None
    )


def _health_words(health: SessionHealth) -> list[tuple[str, str | None, str]]:
    """Return what stands before each number, the number in words, and what stands behind it."""

    def write(number: float | None, form: str) -> str | None:
        return None if number is None else form.format(number).replace("%", " %")

    milliseconds = None if health.anchor_seconds is None else 1e3 * health.anchor_seconds
    return [
        ("load ", write(health.load_average, "{:.1f}"), ""),
        ("", write(health.steal_fraction, "{:.1%}"), " of the CPUs' time stolen"),
        ("a task waited for a CPU ", write(health.cpu_pressure_fraction, "{:.0%}"), " of the time"),
        ("", write(health.switches_per_second, "{:,.0f}"), " involuntary switches/s"),
        ("a fixed matrix product took ", write(milliseconds, "{:.3g} ms"), ""),
    ]


def health_caption(health: SessionHealth, hosts: Sequence[ClusterHost] = ()) -> list[tuple[str, str]]:
    """Return a caption's line on what the machine did beside the measurement; none where it is not recorded."""
    words = describe_health(health)
    here = [host.label for host in hosts if host.is_here]
    alone = f", of {here[0] if here else 'the machine that started it, and trained nothing,'} alone" if hosts else ""
    return [] if words is None else [("health", f"{words} (medians{alone})")]


def virtual_contexts(scenarios: Iterable[Scenario]) -> list[tuple[str, str]]:
    """Return a caption's note on the CPU contexts of scenarios that have several of them, if any has."""
    virtual = dict.fromkeys(
        str(device)
        for scenario in scenarios
        if len(cpus := [device for device in scenario.devices if device.kind is DeviceKind.CPU]) > 1
        for device in cpus
    )
    return [("note", f"{', '.join(virtual)} are virtual contexts: no core is bound to one")] if virtual else []


def ranks_caption(scenarios: Iterable[Scenario], hosts: Sequence[ClusterHost]) -> list[tuple[str, str]]:
    """Return a caption's note on what ranks share: those on one machine are no measurement of several."""
    kernels = kernels_of(hosts)
    words: dict[str, None] = {}
    for scenario in sorted({each for each in scenarios if each.ranks > 1}, key=lambda each: (each.ranks, each.hosts)):
        machines = len({kernels[place] for place in placement(scenario)}) if kernels else 1
        if machines == 1 or scenario.hosts == 1:
            links = ", emulated links" if scenario.hosts > 1 else ""
            words[f"{scenario.ranks} ranks on 1 machine{links}, shared cores"] = None
        elif machines < scenario.hosts:
            words[f"{format_ranks(scenario.ranks, scenario.hosts)}, on {machines} machines, some emulated links"] = None
        else:
            words[format_ranks(scenario.ranks, scenario.hosts).replace("hosts", "machines", 1)] = None
    return [("note", "; ".join(words))] if words else []


def format_ranks(ranks: int, hosts: int) -> str:
    """Say where ranks are, as far as a scenario tells: its hosts are machines, or only parts of one."""
    if hosts == 1:
        return f"{ranks} ranks on 1 machine, shared cores"
    each = f"{ranks} ranks" if ranks % hosts else f"{format_count(ranks // hosts, 'rank')} each"
    return f"{hosts} hosts, {each}{', shared cores' * (ranks > hosts)}"


def hosts_caption(hosts: Sequence[ClusterHost]) -> list[tuple[str, str]]:
    """Return a caption's line on the hosts of a file and what is between them; none without a hosts file."""
    if not hosts:
        return []
    kinds: dict[str, list[str]] = {}
    for host in hosts:
        kinds.setdefault(_describe_host(host), []).append(host.label)
    words = [f"{', '.join(labels)}: {kind}" for kind, labels in kinds.items()]
    machines = len({*kernels_of(hosts)})
    if machines < len(hosts):
        words.append(f"{len(hosts)} hosts on {format_count(machines, 'machine')}, emulated links")
    if trips := [host.round_trip_seconds for host in hosts if host.round_trip_seconds is not None]:
        least, most = units.seconds(min(trips)), units.seconds(max(trips))
        words.append(f"round trip to {hosts[0].label} {least}" + (f" to {most}" if most != least else ""))
    return [("hosts", "; ".join(words))]


def hosts_facts(hosts: Sequence[ClusterHost]) -> dict[str, Fact]:
    """Return how many hosts a file has and on how many machines they are; nothing for one that is from one machine."""
    return {"hosts_in_file": len(hosts), "machines_in_file": len({*kernels_of(hosts)})} if hosts else {}


def _describe_host(host: ClusterHost) -> str:
    words = [describe_machine(host.environment)]
    if host.interface is not None:
        speed = "" if host.bits_per_second is None else f" {host.bits_per_second / 1e6:,.0f} Mbit/s"
        words.append(f"{host.interface}{speed}")
    return ", ".join(words)


def describe_ceilings(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Return a caption's line for each ceiling that a row is measured against."""
    used = dict.fromkeys(row.measures.roof for row in rows if row.measures is not None)
    return [("ceiling", _describe_roof(roof)) for roof in used if roof is not None]


def _describe_roof(roof: Roof) -> str:
    best = roof.best
    where = [str(best.framework)]
    where += ["of each GPU"] if roof.place.kind is DeviceKind.GPU else [format_count(best.threads, "thread")]
    rate, times = best.gflop_per_second, len(best.ceilings)
    over_time = f", {units.significant(rate.least)} to {units.significant(rate.greatest)}" if times > 1 else ""
    product = f"{roof.place.precision} matrix product ({', '.join(where)}, size {best.size})"
    return (
        f"{units.significant(rate.median)} GFLOP/s {product}, "
        f"{units.giga(roof.bandwidth_bytes_per_second)} GB/s from memory; "
        f"best of {', '.join(str(level.framework) for level in roof.levels)}; n = {times} over the run{over_time}"
    )


def process_counts(rows: Sequence[Row]) -> list[int]:
    """Return how many processes each measured row has."""
    return [row.measures.n for row in rows if row.measures is not None]


def format_n(processes: Iterable[int]) -> str:
    """Write numbers of processes: n = 3, or n = 1 to 5."""
    ns = sorted({*processes})
    if not ns:
        return "no result yet"
    return f"n = {ns[0]}" if len(ns) == 1 else f"n = {ns[0]} to {ns[-1]}"


def not_judged_notes(not_judged: int, rows: int) -> list[tuple[str, str]]:
    """Return the note on rows whose accuracy has no band to be judged by; none where there are no such rows."""
    if not not_judged:
        return []
    which = "accuracy" if not_judged == rows else f"accuracy of {not_judged} of {rows} rows"
    return [("", f"{which} not judged: no band for this network, data set and amount of training")]
