"""What somebody wants to know first of result files: per network, what is fastest, and what each setting does. Pure."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import msgspec

from bench.analysis.groups import Group, Status, differences_in_blocks, log_speed_in_block, ratio_of_rows, throughput
from bench.analysis.prices import Price
from bench.analysis.series import measured
from bench.analysis.summary import Measures, Row, Summary, as_fast, summarize
from bench.analysis.verdict import DEFAULT_SETTINGS
from bench.enums import StrEnum
from bench.records.environment import Environment
from bench.records.result import Dataset, ResultSet
from bench.scenarios.scenario import Scenario, all_but, tutorial_setting
from bench.stats import intervals
from bench.stats.block_design import Spread, common_spread, summarize_difference
from bench.stats.intervals import Estimate, TSummary
from bench.stats.multiple_testing import holm_adjusted
from mnist_core.devices import DeviceKind
from mnist_core.recipe import Recipe

#: A logarithm of a ratio of speeds that matters to nobody: the margin up to which a gate calls nothing a regression.
MARGIN: Final = math.log1p(DEFAULT_SETTINGS.margin)
#: Axes whose values differ in more than themselves: more ranks, or machines, also exchange. `scaling` has what they do.
_NO_EFFECTS: Final = frozenset({"ranks", "hosts"})
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

    @property
    def dataset(self) -> Dataset:
        return self.summary.dataset

    @property
    def created_at(self) -> str:
        return self.summary.created_at


def source_of(name: str, result_set: ResultSet, price: Price | None = None) -> Source:
    """Return a result file under its name; `price` as for `summarize`."""
    return Source(name=name, summary=summarize(result_set, price))


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuAgainstCpu:
    """The fastest row on GPUs beside the fastest on CPUs, of one file and recipe."""

    gpu: Row
    cpu: Row
    #: The ratio of their throughputs.
    ratio: Estimate
    #: The same of the fastest rows of each batch size that both have, in ascending order.
    by_batch_size: Mapping[int, Estimate]

    @property
    def wins_from(self) -> int | None:
        """The batch size from which on the GPU is surely faster, at each that was measured; None: not at the largest.

        A ratio without an interval is taken as it is.
        """
        surely = {
            size: ratio.value if ratio.lower is None else ratio.lower for size, ratio in self.by_batch_size.items()
        }
        loses = [size for size, ratio in surely.items() if ratio <= 1]
        return min((size for size in self.by_batch_size if size > max(loses, default=0)), default=None)


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
    #: Those of them that cannot be told from the fastest.
    as_fast: tuple[Row, ...]
    #: What the varied axes do under this recipe; empty where nothing took turns.
    effects: tuple[Effect, ...]

    @property
    def group(self) -> Group:
        return _group(self.source.summary, self.fastest)

    def over(self, other: Headline) -> Estimate:
        """Return the fastest row's throughput over another file's."""
        return intervals.ratio(*([throughput(run) for run in answer.group.runs] for answer in (self, other)))

    def explain_incomparable(self, first: Headline) -> str | None:
        """Return why the fastest rows of two files must not be compared, as a clause; None: they may."""
        ours, theirs = self.source.summary, first.source.summary
        if self.fastest.recipe != first.fastest.recipe or ours.dataset.digest != theirs.dataset.digest:
            return "it trained on other images than the first"
        for name, one, other in (("its", self, first), ("the first's", first, self)):
            if one.group.is_cold and other.group.is_led_in:
                return f"{name} turns are cold, without the epochs that lead in to them today"
        return None


def headlines(sources: Sequence[Source]) -> list[Headline]:
    """Return a headline for each network of each file that measured it; by network, and the fastest file first."""
    found = [answer for source in sources for answer in _of_source(source)]
    order = {network: place for place, network in enumerate(dict.fromkeys(answer.network for answer in found))}
    return sorted(found, key=lambda answer: (order[answer.network], -answer.measures.throughput.value))


def _group(summary: Summary, row: Row) -> Group:
    return summary.groups[row.scenario, row.recipe]


def _of_source(source: Source) -> Iterable[Headline]:
    rows = source.summary.rows
    for network in dict.fromkeys(row.scenario.network for row in rows):
        own = measured(row for row in rows if row.scenario.network == network and row.scenario.trains_as_one)
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
            gpu_against_cpu=gpu_against_cpu(source.summary, peers),
            ranked=len(peers),
            as_fast=_as_fast(source.summary, fastest, peers),
            effects=tuple(effects(source.summary, network, fastest.recipe)),
        )


def _as_fast(summary: Summary, fastest: Row, peers: Ranked) -> tuple[Row, ...]:
    """Return the rows that cannot be told from the fastest, which is that of the judged rows where there are any."""
    rows = {(row.scenario, row.recipe): row for row, _measures in peers}
    level = as_fast(summary.groups, (fastest.scenario, fastest.recipe), rows)
    return tuple(row for key, row in rows.items() if key in level)


def _of_tutorial_batch(fastest: Row, peers: Ranked) -> tuple[Row, Measures] | None:
    """Return the fastest row of the tutorial's batch size, if another is faster: larger batches update less often."""
    size = tutorial_setting(fastest.scenario.network).batch_size
    same = [pair for pair in peers if pair[0].scenario.batch_size == size]
    best = max(same, key=lambda pair: pair[1].throughput.value, default=None)
    return None if best is None or best[0] is fastest or best[0].is_baseline else best


def _whole_training(fastest: Row, own: Ranked) -> tuple[Row, Measures] | None:
    whole = dataclasses.replace(Recipe(), seed=fastest.recipe.seed)
    baselines = (pair for pair in own if pair[0].is_baseline and not pair[0].in_turns)
    found = next((pair for pair in baselines if pair[0].recipe == whole), None)
    return None if found is None or found[0] is fastest else found


def _by_recipe(rows: Ranked) -> list[list[tuple[Row, Measures]]]:
    groups: dict[Recipe, list[tuple[Row, Measures]]] = {}
    for row, measures in rows:
        groups.setdefault(row.recipe, []).append((row, measures))
    return list(groups.values())


def gpu_against_cpu(summary: Summary, peers: Ranked) -> GpuAgainstCpu | None:
    """Compare the rows of one network and recipe that ran on GPUs alone with those on the CPU; None: not both ran."""
    found = _fastest_of_each_kind(summary, peers)
    if found is None:
        return None
    sizes = sorted({row.scenario.batch_size for row, _measures in peers})
    of_sizes = {
        size: _fastest_of_each_kind(summary, [pair for pair in peers if pair[0].scenario.batch_size == size])
        for size in sizes
    }
    gpu, cpu, ratio = found
    by_batch_size = {size: rows[2] for size, rows in of_sizes.items() if rows is not None}
    return GpuAgainstCpu(gpu=gpu, cpu=cpu, ratio=ratio, by_batch_size=by_batch_size)


def _fastest_of_each_kind(summary: Summary, peers: Ranked) -> tuple[Row, Row, Estimate] | None:
    """Return the fastest row on GPUs, that on CPUs, and the ratio of their throughputs; None where one is missing."""
    rows = sorted(peers, key=lambda pair: pair[1].throughput.value)
    fastest = {kind: row for row, _measures in rows for kind in _only_kind(row.scenario)}
    if len(fastest) < len(DeviceKind):
        return None
    gpu, cpu = fastest[DeviceKind.GPU], fastest[DeviceKind.CPU]
    return gpu, cpu, ratio_of_rows(_group(summary, gpu), _group(summary, cpu))


def _only_kind(scenario: Scenario) -> set[DeviceKind]:
    """Return the kind of a scenario's devices; nothing where it has both."""
    kinds = {device.kind for device in scenario.devices}
    return kinds if len(kinds) == 1 else set()


def is_level(ratio: Estimate) -> bool:
    """Tell whether a ratio cannot be told from 1; one without an interval, whether the difference matters."""
    if ratio.lower is None or ratio.upper is None:
        return abs(math.log(ratio.value)) < MARGIN
    return ratio.lower <= 1 <= ratio.upper


class Finding(StrEnum):
    """What an interval lets one say of a difference in speed."""

    FASTER = "faster"
    SLOWER = "slower"
    #: The whole interval is within `MARGIN`: shown to be small, which is more than not shown to be large.
    NO_DIFFERENCE = "no difference that matters"
    NOT_TOLD_APART = "not told apart"
    #: What is gained surely differs with the other axes, by more than `MARGIN` from the mean.
    DEPENDS = "depends on the other settings"


def finding(gain: TSummary) -> Finding:
    """Return what may be said of a difference of log speeds: never more than its 95 % interval."""
    ends = intervals.bounds(gain)
    if ends is None:
        return Finding.NOT_TOLD_APART
    lower, upper = ends
    if max(-lower, upper) <= MARGIN:
        return Finding.NO_DIFFERENCE
    return Finding.FASTER if lower > 0 else Finding.SLOWER if upper < 0 else Finding.NOT_TOLD_APART


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """What a row has over the one that differs from it in one axis alone."""

    scenario: Scenario
    #: The difference of their logarithms of images per second within blocks, over blocks.
    over_blocks: TSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What another value of one axis does to the speed, all else equal."""

    axis: str
    #: A pair of rows that differ in this axis alone: with the other value, and with the usual one.
    changed: Scenario
    usual: Scenario
    #: Mean over all such pairs in each block, then over blocks.
    gain: TSummary
    pairs: int
    #: The pairs that gain least and most, where what is gained surely depends on the other axes.
    least_and_most: tuple[Gain, Gain] | None

    @property
    def finding(self) -> Finding:
        return finding(self.gain) if self.least_and_most is None else Finding.DEPENDS


def effects(summary: Summary, network: str, recipe: Recipe) -> list[Effect]:
    """Return what each value of each varied axis does to rows that took turns; an axis without such pairs has none.

    Every value is compared with the tutorial's, and contexts with the fewest of them. A precision is one thing in each
    framework, which has kernels of its own for it: so it has an effect for each.
    """
    rows = {
        scenario: group
        for (scenario, its), group in summary.groups.items()
        if (scenario.network, its) == (network, recipe) and group.is_ranked and group.in_turns
    }
    speeds = {scenario: log_speed_in_block(group.runs) for scenario, group in rows.items()}
    spreads = {scenario: group.spread for scenario, group in rows.items()}
    found = []
    for axis in (field.name for field in msgspec.structs.fields(Scenario) if field.name not in _NO_EFFECTS):
        by_value: dict[object, dict[tuple[object, ...], Scenario]] = {}
        for scenario in speeds:
            by_value.setdefault(getattr(scenario, axis), {})[all_but(scenario, axis)] = scenario
        usual_value = _usual_value(axis, list(by_value), network)
        usual = by_value.pop(usual_value, {})
        for changed in by_value.values():
            pairs = {scenario: usual[rest] for rest, scenario in changed.items() if rest in usual}
            of_each: dict[object, dict[tuple[Scenario, Scenario], dict[int, float]]] = {}
            for pair in pairs.items():
                if known := differences_in_blocks(speeds[pair[0]], speeds[pair[1]]):
                    kin = pair[0].framework if axis == "precision" else None
                    of_each.setdefault(kin, {})[pair] = known
            found += [_effect(axis, differences, spreads) for differences in of_each.values()]
    return found


def _usual_value(axis: str, values: Sequence[Any], network: str) -> object:
    if axis == "contexts":
        return min(values, key=len, default=None)
    tutorials = getattr(tutorial_setting(network), axis)
    return tutorials if tutorials in values else next(iter(values), None)


def _effect(
    axis: str,
    differences: Mapping[tuple[Scenario, Scenario], Mapping[int, float]],
    spreads: Mapping[Scenario, Spread | None],
) -> Effect:
    blocks = _common_blocks([frozenset(known) for known in differences.values()])
    complete = {pair: known for pair, known in differences.items() if known.keys() >= {*blocks}}
    means = {block: statistics.fmean(known[block] for known in complete.values()) for block in blocks}
    of_pairs = {pair: common_spread(*(spreads[scenario] for scenario in pair)) for pair in complete}
    gains = [
        Gain(scenario=pair[0], over_blocks=summarize_difference([known[block] for block in blocks], of_pairs[pair]))
        for pair, known in complete.items()
    ]
    deviations = [intervals.t_summary([known[block] - means[block] for block in blocks]) for known in complete.values()]
    p_values = [intervals.p_above(side, MARGIN) for each in deviations for side in (each, -each)]
    depends = min(holm_adjusted(p_values)) <= 1 - intervals.CONFIDENCE
    changed, usual = next(iter(complete))
    return Effect(
        axis=axis,
        changed=changed,
        usual=usual,
        gain=summarize_difference(
            [means[block] for block in blocks], common_spread(*of_pairs.values()), pairs=len(complete)
        ),
        pairs=len(complete),
        least_and_most=(min(gains, key=_gained), max(gains, key=_gained)) if depends else None,
    )


def _gained(gain: Gain) -> float:
    return gain.over_blocks.value


def _common_blocks(block_sets: Sequence[frozenset[int]]) -> list[int]:
    """Return the blocks to average in: two at least if possible, of as many pairs as possible, and as many as possible.

    Every pair has a block; there may be none that all have. A mean over other pairs in every block would take the
    differences between pairs for noise.
    """
    candidates = [each for each in (frozenset.intersection(*block_sets), *block_sets) if each]
    worths = [(len(blocks) > 1, sum(blocks <= each for each in block_sets), len(blocks)) for blocks in candidates]
    return sorted(candidates[worths.index(max(worths))])
