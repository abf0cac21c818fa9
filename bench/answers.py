"""What somebody wants to know first of result files: per network, what is fastest, and what it is faster than. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench import stats
from bench.curves import measured
from bench.record import Environment, ResultSet
from bench.stats import Estimate
from bench.summary import Measures, Row, Status, Summary, group_by_row, summarize, throughput
from mnist_core.devices import DeviceKind
from mnist_core.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A result file, as its user calls it."""

    name: str
    result_set: ResultSet
    summary: Summary

    @property
    def environment(self) -> Environment:
        return self.result_set.environment


def source_of(name: str, result_set: ResultSet) -> Source:
    return Source(name=name, result_set=result_set, summary=summarize(result_set))


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAgainstCpu:
    """The fastest row on GPUs beside the fastest on CPUs, of one file and recipe."""

    gpu: Row
    cpu: Row
    #: Of their throughputs.
    ratio: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Of one network in one file, under the recipe with most rows: a fast one of another is no competitor."""

    network: str
    source: Source
    fastest: Row
    measures: Measures
    #: The tutorial's own setting under the same recipe; None where it was not measured, or is the fastest itself.
    tutorial: Measures | None
    #: The fastest over it.
    speedup: Estimate | None
    gpu_against_cpu: GpuAgainstCpu | None
    #: Rows that carry a rank under this recipe.
    ranked: int


def answers(sources: Sequence[Source]) -> list[Answer]:
    """One for each network of each file with anything to tell, networks together, the fastest file first."""
    found = [answer for source in sources for answer in _of_source(source)]
    order = {network: place for place, network in enumerate(dict.fromkeys(answer.network for answer in found))}
    return sorted(found, key=lambda answer: (order[answer.network], -answer.measures.throughput.value))


def _of_source(source: Source) -> Iterable[Answer]:
    rows = source.summary.rows
    for network in dict.fromkeys(row.scenario.network for row in rows):
        own = measured(row for row in rows if row.scenario.network == network)
        if not own:
            continue
        # An accuracy that was judged is worth more than one that could not be, however fast.
        judged = [pair for pair in own if pair[0].status is Status.VALID] or own
        peers = max(_by_recipe(judged), key=lambda rows: (len(rows), rows[0][0].recipe.epochs))
        fastest, measures = max(peers, key=lambda pair: pair[1].throughput.value)
        tutorial = next((each for row, each in peers if row.is_baseline and row is not fastest), None)
        yield Answer(
            network=network,
            source=source,
            fastest=fastest,
            measures=measures,
            tutorial=tutorial,
            speedup=None if tutorial is None else measures.speedup,
            gpu_against_cpu=_gpu_against_cpu(source.result_set, peers),
            ranked=len(peers),
        )


def _by_recipe(rows: Iterable[tuple[Row, Measures]]) -> list[list[tuple[Row, Measures]]]:
    groups: dict[Recipe, list[tuple[Row, Measures]]] = {}
    for row, measures in rows:
        groups.setdefault(row.recipe, []).append((row, measures))
    return list(groups.values())


def _gpu_against_cpu(result_set: ResultSet, peers: Sequence[tuple[Row, Measures]]) -> GpuAgainstCpu | None:
    fastest: dict[DeviceKind, tuple[Row, Measures]] = {}
    for row, measures in peers:
        kinds = {device.kind for device in row.scenario.devices}
        if len(kinds) == 1:
            (kind,) = kinds
            if kind not in fastest or measures.throughput.value > fastest[kind][1].throughput.value:
                fastest[kind] = (row, measures)
    if len(fastest) < len(DeviceKind):
        return None
    gpu, cpu = fastest[DeviceKind.GPU][0], fastest[DeviceKind.CPU][0]
    groups = group_by_row(result_set)
    above, below = ([throughput(run) for run in groups[row.scenario, row.recipe].runs] for row in (gpu, cpu))
    return GpuAgainstCpu(gpu=gpu, cpu=cpu, ratio=stats.ratio(above, below))


#: Two numbers whose intervals say that they may be the same are within this of each other, or not worth a word.
_LEVEL: Final = math.log(1.02)


def is_level(ratio: Estimate) -> bool:
    """Whether it cannot be told from 1."""
    if ratio.lower is None or ratio.upper is None:
        return abs(math.log(ratio.value)) < _LEVEL
    return ratio.lower <= 1 <= ratio.upper
