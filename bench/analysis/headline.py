"""What somebody wants to know first of result files: per network, what is fastest, and what it is faster than. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from bench.analysis.groups import Status, ratio_of_runs, throughput
from bench.analysis.series import measured
from bench.analysis.summary import Measures, Row, Summary, summarize
from bench.records.environment import Environment
from bench.records.result import ResultSet, Run
from bench.scenarios.scenario import tutorial_setting
from bench.stats import intervals
from bench.stats.intervals import Estimate
from mnist_core.devices import DeviceKind
from mnist_core.recipe import Recipe

#: Rows that carry a rank.
Ranked: TypeAlias = Sequence[tuple[Row, Measures]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A result file, as its user calls it."""

    name: str
    summary: Summary

    @property
    def environment(self) -> Environment:
        return self.summary.environment


def source_of(name: str, result_set: ResultSet) -> Source:
    return Source(name=name, summary=summarize(result_set))


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAgainstCpu:
    """The fastest row on GPUs beside the fastest on CPUs, of one file and recipe."""

    gpu: Row
    cpu: Row
    #: The ratio of their throughputs.
    ratio: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The answer for one network of one file, under the recipe with most rows; rows of other recipes do not compete."""

    network: str
    source: Source
    fastest: Row
    measures: Measures
    #: The tutorial's own setting under the same recipe; None where it was not planned, or is the fastest itself.
    tutorial: Row | None
    #: The fastest over it; None where it carries no rank.
    speedup: Estimate | None
    #: The fastest that updates the weights as often as the tutorial; None where that is the fastest of all, or the
    #: tutorial's setting.
    of_tutorial_batch: tuple[Row, Measures] | None
    #: The tutorial's setting under the tutorial's whole recipe; None where it carries no rank, or is shown already.
    whole_training: tuple[Row, Measures] | None
    gpu_against_cpu: GpuAgainstCpu | None
    #: Rows that carry a rank under this recipe.
    ranked: int

    def over(self, other: Headline) -> Estimate | None:
        """Return the fastest row's throughput over another file's; None where they trained on different images."""
        ours, theirs = self.source.summary, other.source.summary
        if self.fastest.recipe != other.fastest.recipe or ours.dataset.digest != theirs.dataset.digest:
            return None
        sides = ((ours, self.fastest), (theirs, other.fastest))
        one, another = ([throughput(run) for run in _runs(*side)] for side in sides)
        return intervals.ratio(one, another)


def headlines(sources: Sequence[Source]) -> list[Headline]:
    """Return a headline for each network of each file that measured it; by network, and the fastest file first."""
    found = [answer for source in sources for answer in _of_source(source)]
    order = {network: place for place, network in enumerate(dict.fromkeys(answer.network for answer in found))}
    return sorted(found, key=lambda answer: (order[answer.network], -answer.measures.throughput.value))


def _runs(summary: Summary, row: Row) -> Sequence[Run]:
    return summary.groups[row.scenario, row.recipe].runs


def _of_source(source: Source) -> Iterable[Headline]:
    rows = source.summary.rows
    for network in dict.fromkeys(row.scenario.network for row in rows):
        own = measured(row for row in rows if row.scenario.network == network)
        if not own:
            continue
        # An accuracy that was judged is worth more than one that could not be, however fast.
        judged = [pair for pair in own if pair[0].status is Status.VALID] or own
        peers = max(_by_recipe(judged), key=lambda rows: (len(rows), rows[0][0].recipe.epochs))
        fastest, measures = max(peers, key=lambda pair: pair[1].throughput.value)
        baselines = (row for row in rows if row.is_baseline and row.scenario.network == network)
        tutorial = next((row for row in baselines if row.recipe == fastest.recipe and row is not fastest), None)
        yield Headline(
            network=network,
            source=source,
            fastest=fastest,
            measures=measures,
            tutorial=tutorial,
            speedup=None if tutorial is None else measures.speedup,
            of_tutorial_batch=_of_tutorial_batch(fastest, peers),
            whole_training=_whole_training(fastest, own),
            gpu_against_cpu=_gpu_against_cpu(source.summary, peers),
            ranked=len(peers),
        )


def _of_tutorial_batch(fastest: Row, peers: Ranked) -> tuple[Row, Measures] | None:
    """Return the fastest row of the tutorial's batch size, if another is faster: larger batches update less often."""
    size = tutorial_setting(fastest.scenario.network).batch_size
    same = [pair for pair in peers if pair[0].scenario.batch_size == size]
    best = max(same, key=lambda pair: pair[1].throughput.value, default=None)
    return None if best is None or best[0] is fastest or best[0].is_baseline else best


def _whole_training(fastest: Row, own: Ranked) -> tuple[Row, Measures] | None:
    whole = dataclasses.replace(Recipe(), seed=fastest.recipe.seed)
    found = next((pair for pair in own if pair[0].is_baseline and pair[0].recipe == whole), None)
    return None if found is None or found[0] is fastest else found


def _by_recipe(rows: Ranked) -> list[list[tuple[Row, Measures]]]:
    groups: dict[Recipe, list[tuple[Row, Measures]]] = {}
    for row, measures in rows:
        groups.setdefault(row.recipe, []).append((row, measures))
    return list(groups.values())


def _gpu_against_cpu(summary: Summary, peers: Ranked) -> GpuAgainstCpu | None:
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
    return GpuAgainstCpu(gpu=gpu, cpu=cpu, ratio=ratio_of_runs(_runs(summary, gpu), _runs(summary, cpu)))


#: Two numbers whose intervals say that they may be the same are within this of each other, or not worth a word.
_LEVEL: Final = math.log(1.02)


def is_level(ratio: Estimate) -> bool:
    """Tell whether a ratio cannot be told from 1."""
    if ratio.lower is None or ratio.upper is None:
        return abs(math.log(ratio.value)) < _LEVEL
    return ratio.lower <= 1 <= ratio.upper
