"""What stands above and below tables: what they are true of, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.analysis.roofline import Roof
from bench.analysis.summary import Row
from bench.records.environment import Environment
from bench.records.result import Dataset
from bench.render import units
from bench.render.model.columns import (
    LOOP,
    Axis,
)
from bench.render.phrases import format_count
from bench.scenarios.axes import LoopName
from bench.scenarios.scenario import Scenario, axis_value
from mnist_core.devices import DeviceKind
from mnist_core.recipe import Recipe


def describe_recipe(recipe: Recipe, train_samples: int) -> str:
    """10 epochs of 60,000 images; 1 epoch of the first 2,000 images."""
    part = recipe.samples is not None and recipe.samples < train_samples
    images = f"the first {recipe.samples:,}" if part else f"{train_samples:,}"
    words = f"{format_count(recipe.epochs, 'epoch')} of {images} images"
    tutorial = Recipe()
    if recipe.learning_rate != tutorial.learning_rate:
        words += f", learning rate {recipe.learning_rate}"
    if recipe.xavier_magnitude != tutorial.xavier_magnitude:
        words += f", Xavier magnitude {recipe.xavier_magnitude}"
    return words


def describe_setting(scenario: Scenario, axes: Iterable[Axis]) -> str:
    """The tutorial's setting: cpu(0),cpu(1), batch 100, hybridize off."""
    words = []
    for axis in axes:
        name = axis.heading.name
        value = axis_value(scenario, name)
        if name == LOOP.heading.name and value in {"", str(LoopName.TUTORIAL)}:
            continue
        if value is not None and name != "framework":  # that is among the versions
            named = name in {"network", "contexts"}
            words.append(str(value) if named else f"{axis.heading.title} {value}")
    return ", ".join(words)


def describe_dataset(dataset: Dataset) -> str:
    return f"{dataset.name} ({dataset.digest[:12]}), {dataset.source}"


def describe_machine(environment: Environment) -> str:
    words = [
        environment.host_processor_model_name or f"an unnamed {environment.architecture} processor",
        format_count(environment.usable_core_count, "usable core")
        + f" ({format_count(environment.usable_vcpu_count, 'vCPU')})",
    ]
    if environment.virtualization is not None:
        words.append(environment.virtualization)
    words += [
        _count_of(environment.accelerator_model_names.count(model), model)
        for model in dict.fromkeys(environment.accelerator_model_names)
    ]
    return ", ".join(words)


def describe_versions(environment: Environment) -> str:
    loaded = [*([environment.software] if environment.software else []), *environment.peers]
    versions = "; ".join(f"{s.framework} {s.framework_version}, numpy {s.numpy}, Python {s.python}" for s in loaded)
    return f"{versions or 'versions not recorded: no run finished'}, mnist-bench {environment.mnist_bench_version}"


def virtual_contexts(scenarios: Iterable[Scenario]) -> list[tuple[str, str]]:
    """A caption's note where any of them has several CPU contexts."""
    virtual = dict.fromkeys(
        str(device)
        for scenario in scenarios
        if len(cpus := [device for device in scenario.devices if device.kind is DeviceKind.CPU]) > 1
        for device in cpus
    )
    return [("note", f"{', '.join(virtual)} are virtual contexts: no core is bound to one")] if virtual else []


def describe_ceilings(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """A caption's line for each ceiling that a row is measured by."""
    used = dict.fromkeys(row.measures.roof for row in rows if row.measures is not None)
    return [("ceiling", _describe_roof(roof)) for roof in used if roof is not None]


def _describe_roof(roof: Roof) -> str:
    best = roof.best
    where = [str(best.framework)]
    where += ["of each GPU"] if roof.place.kind is DeviceKind.GPU else [format_count(best.threads, "thread")]
    rate, times = best.gflop_per_second, len(best.ceilings)
    over_time = f", {units.significant(rate.least)} to {units.significant(rate.greatest)}" if times > 1 else ""
    return (
        f"{units.significant(rate.median)} GFLOP/s float32 matrix product ({', '.join(where)}, size {best.size}), "
        f"{units.giga(roof.bandwidth_bytes_per_second)} GB/s from memory; "
        f"best of {', '.join(str(level.framework) for level in roof.levels)}; n = {times} over the run{over_time}"
    )


def _count_of(number: int, model: str) -> str:
    return model if number == 1 else f"{number} x {model}"


def format_processes(rows: Sequence[Row]) -> list[int]:
    return [row.measures.n for row in rows if row.measures is not None]


def format_n(processes: Iterable[int]) -> str:
    ns = sorted({*processes})
    if not ns:
        return "n = 0"
    return f"n = {ns[0]}" if len(ns) == 1 else f"n = {ns[0]} to {ns[-1]}"
