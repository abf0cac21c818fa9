"""From raw runs to rows: one row per scenario and recipe, everything derived, nothing rounded."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from bench.analysis import accuracy
from bench.analysis.energy import EnergyUse, energy_of
from bench.analysis.groups import (
    FailureGroup,
    Group,
    RowKey,
    Status,
    accuracy_over_float32,
    epochs_seconds,
    float32_of,
    group_by_row,
    grouped,
    health_of,
    learning_curve,
    log_ratio_of_rows,
    median_time_to_accuracy,
    ratio_of_rows,
    throughput,
)
from bench.analysis.prices import Bill, Price, bill_of, price_per_hour
from bench.analysis.roofline import Bound, Costs, Place, Roof, costs_of, place_of, roofs
from bench.records.environment import ClusterHost, Environment, Software
from bench.records.health import SessionHealth
from bench.records.result import Dataset, ExchangeCurve, ResultSet, Run, RunBlock
from bench.scenarios.scenario import Scenario, tutorial_setting
from bench.stats import intervals, regression
from bench.stats.intervals import Estimate
from bench.stats.multiple_testing import holm_adjusted
from bench.stats.regression import Line
from mnist_core.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What the processes of a row measured, together."""

    n: int
    #: Images per second: of each process, all images over all epoch windows, so that a slow epoch counts for as long as
    #: it took; geometric mean over processes. The first epoch is in it: what only happens once (building the graph,
    #: choosing kernels, touching memory) is over with the first step and the warm-up, which are measured apart.
    throughput: Estimate
    #: Seconds of one pass over the whole training set of the data set, at the measured throughput.
    epoch_seconds: Estimate
    #: The epochs that were run were only a part of the training set.
    epoch_extrapolated: bool
    #: Duration of one update: epoch windows over updates, whole and partial batches alike.
    update_microseconds: Estimate
    #: Mean, least and greatest over processes.
    final_accuracy: float
    final_accuracy_min: float
    final_accuracy_max: float
    #: After each epoch, mean over processes; empty where they were evaluated at their end alone.
    epoch_accuracies: tuple[float, ...]
    #: Median over processes of the epoch windows up to and including the first epoch that reached the network's target,
    #: evaluation excluded; None where any process never did, or the network has no target.
    time_to_accuracy_seconds: float | None
    #: Medians over processes: one cold file cache says little about the others.
    startup_seconds: float
    first_step_seconds: float
    warm_up_seconds: float
    #: Greatest over processes.
    peak_rss_bytes: int
    training_peak_rss_bytes: int | None
    device_memory_bytes: int | None
    device_peak_bytes: int | None
    #: CPUs kept busy during the epoch windows, user and system time over wall time; median over processes.
    busy_cpus: float
    #: OpenMP threads of each context, as recorded; None where the processes differ.
    omp_num_threads: int | None
    #: Over the tutorial's own setting of the same network and recipe; 1 without an interval for that row itself.
    speedup: Estimate | None
    #: Throughput over that of the same scenario in float32, and what the accuracy exceeds that one's by, seed by seed;
    #: None for float32 itself.
    over_float32: Estimate | None
    accuracy_over_float32: Estimate | None
    #: Throughput over the number of contexts times that of the same scenario on its first context alone.
    scaling_efficiency: Estimate | None
    #: Throughput times the floating-point operations an image needs; None for a custom network, as are all
    #: numbers below that are made from it.
    achieved_gflop_per_second: Estimate | None
    #: The ceilings measured beside the runs on as many threads; None without any.
    roof: Roof | None
    #: The fastest matrix product on the scenario's devices together, in its precision.
    ceiling_gflop_per_second: float | None
    #: Achieved over ceiling. The interval is the throughput's: the ceiling is taken as it is.
    utilisation: Estimate | None
    #: The fewest bytes an update must move, over the time that it took.
    bytes_per_second: Estimate | None
    #: Rate of sums of arrays as large as what an update touches, on the scenario's devices together: the slope of
    #: the roof that `bound` goes by.
    ceiling_bytes_per_second: float | None
    #: Overhead needs a second batch size to be known; compute and memory need a ceiling.
    bound: Bound | None
    #: From the line through the times of the scenario's updates over their images, for all its batch sizes: what an
    #: update takes however few images it is on, and what each adds. None for a single batch size.
    fixed_update_microseconds: Estimate | None
    image_microseconds: Estimate | None
    energy: EnergyUse
    #: None without a price.
    bill: Bill | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One scenario under one recipe."""

    scenario: Scenario
    #: Its seed is 0, for "any": the repeats of a scenario train with different seeds.
    recipe: Recipe
    status: Status
    #: What its processes loaded; None: not recorded.
    software: Software | None
    #: One line; why the row is invalid.
    invalid: str | None
    #: None: no process gave anything.
    measures: Measures | None
    failures: tuple[FailureGroup, ...]
    #: Processes asked for, and those of them not tried yet.
    planned: int
    not_run: int
    #: The row is the tutorial's own setting, over which speed-ups are.
    is_baseline: bool
    #: The highest throughput among the valid rows of its network and recipe, where there are several.
    is_fastest: bool
    #: Cannot be told from the fastest.
    may_be_fastest: bool
    #: Its processes took turns with those of other rows.
    in_turns: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One result file's rows, in the order of its plan, and what they are true of."""

    suite: str
    created_at: str
    environment: Environment
    dataset: Dataset
    #: The runs and failures of each row, in the order of `rows`.
    groups: Mapping[RowKey, Group]
    rows: tuple[Row, ...]
    blocks: tuple[RunBlock, ...]
    #: What the machine did meanwhile.
    health: SessionHealth
    #: The machines of the hosts file, in its order; empty: all was measured on one.
    hosts: tuple[ClusterHost, ...] = ()
    #: How long the engines of ranks took to add up arrays, in the order of time.
    exchanges: tuple[ExchangeCurve, ...] = ()
    #: What its user says that each of its machines costs whose price it does not tell.
    price: Price | None = None


def summarize(result_set: ResultSet, price: Price | None = None) -> Summary:
    """Return the rows of one result file; `price` is that of each of its machines whose price it does not tell.

    Files are never pooled: two files are two data sets, machines or days, and whether they may be compared is
    a question of its own.
    """
    groups = group_by_row(result_set)
    fastest = _fastest(groups)
    tied = _tied(groups, fastest)
    lines = _lines(groups)
    measured_roofs = roofs(result_set.ceilings)
    rows = []
    for key, group in groups.items():
        scenario, recipe = key
        rows.append(
            Row(
                scenario=scenario,
                recipe=recipe,
                status=group.status,
                software=result_set.environment.software_of(scenario.framework),
                invalid=group.invalid,
                measures=_measures(key, groups, result_set, lines.get(key), measured_roofs, price)
                if group.runs
                else None,
                failures=grouped(group.failures),
                planned=group.planned,
                not_run=max(0, group.planned - len(group.runs) - len(group.failures)),
                is_baseline=scenario == tutorial_setting(scenario.network),
                is_fastest=key in fastest,
                may_be_fastest=key in tied,
                in_turns=group.in_turns,
            )
        )
    return Summary(
        suite=result_set.suite,
        created_at=result_set.created_at,
        environment=result_set.environment,
        dataset=result_set.dataset,
        groups=groups,
        rows=tuple(rows),
        blocks=result_set.blocks,
        health=health_of(groups.values(), result_set.blocks),
        hosts=result_set.hosts,
        exchanges=result_set.exchanges,
        price=price,
    )


def _fastest(groups: dict[RowKey, Group]) -> set[RowKey]:
    """Return the fastest row of each network and recipe that has several; ranks that learn something else are none."""
    contests: dict[tuple[str, Recipe], dict[RowKey, float]] = {}
    for key, group in groups.items():
        if group.is_ranked and key[0].trains_as_one:
            scenario, recipe = key
            speed = intervals.geometric_mean([throughput(run) for run in group.runs]).value
            contests.setdefault((scenario.network, recipe), {})[key] = speed
    return {max(contest, key=contest.__getitem__) for contest in contests.values() if len(contest) > 1}


def _tied(groups: dict[RowKey, Group], fastest: Iterable[RowKey]) -> set[RowKey]:
    """Return the rows that may be as fast as the fastest of their network and recipe."""
    tied: set[RowKey] = set()
    for best in fastest:
        contest = [
            key
            for key, group in groups.items()
            if (key[0].network, key[1]) == (best[0].network, best[1]) and group.is_ranked and key[0].trains_as_one
        ]
        tied |= as_fast(groups, best, contest)
    return tied


def as_fast(groups: Mapping[RowKey, Group], best: RowKey, rows: Iterable[RowKey]) -> set[RowKey]:
    """Return those of the rows that may be as fast as the best of them.

    Each is tested against it: by its ratios within blocks where both took turns, and as an independent sample where
    not, for which a single process tells nothing apart. The tests are two-sided, since the same numbers chose the
    fastest, and hold together by Holm's method: in at least 95 of 100 tables the row that truly is the fastest is among
    the fastest and these.
    """
    rivals = [key for key in rows if key != best]
    p_values = [intervals.p_nonzero(log_ratio_of_rows(groups[best], groups[key])) for key in rivals]
    adjusted = holm_adjusted(p_values)
    return {key for key, p_value in zip(rivals, adjusted, strict=True) if p_value > 1 - intervals.CONFIDENCE}


def _family(key: RowKey) -> RowKey:
    """Return a key that scenarios share which differ in their batch size alone."""
    scenario, recipe = key
    return msgspec.structs.replace(scenario, batch_size=scenario.part_count), recipe


def _lines(groups: dict[RowKey, Group]) -> dict[RowKey, Line]:
    """Fit the microseconds of an update over its images, one point per process, where there are several batch sizes.

    A smaller last batch makes the images of an update a mean, through which the same line passes.
    """
    families: dict[RowKey, list[RowKey]] = {}
    for key, group in groups.items():
        if group.is_ranked:
            families.setdefault(_family(key), []).append(key)
    lines: dict[RowKey, Line] = {}
    for keys in families.values():
        runs = [run for key in keys for run in groups[key].runs]
        points = [(_images_per_update(run), _update_microseconds(run)) for run in runs]
        if len({images for images, _microseconds in points}) > 1:
            lines |= dict.fromkeys(keys, regression.line(points))
    return lines


def _images_per_update(run: Run) -> float:
    return sum(epoch.samples for epoch in run.epochs) / accuracy.updates(run)


def _update_microseconds(run: Run) -> float:
    return 1e6 * epochs_seconds(run) / accuracy.updates(run)


def _bound(
    costs: Costs | None, roof: Roof | None, run: Run, update_microseconds: float, line: Line | None
) -> Bound | None:
    """Return what bounds a step: overhead where over half of an update does not grow with its images.

    That is below the number of images at which half of the rate without overhead is reached, Hockney's n½ (Hockney and
    Jesshope, "Parallel computers 2", 1988).
    """
    if line is not None and line.intercept.value > update_microseconds / 2:
        return Bound.OVERHEAD
    if costs is None or roof is None:
        return None
    return roof.bound(costs, _images_per_update(run), run.scenario.part_count)


def _measures(
    key: RowKey,
    groups: dict[RowKey, Group],
    result_set: ResultSet,
    line: Line | None,
    known: dict[Place, Roof],
    price: Price | None,
) -> Measures:
    (scenario, recipe), dataset = key, result_set.dataset
    runs = groups[key].runs
    speed = intervals.geometric_mean([throughput(run) for run in runs])
    to_accuracy = median_time_to_accuracy(runs)
    accuracies = [run.final_accuracy for run in runs]
    threads = {run.omp_num_threads for run in runs}
    omp_num_threads = threads.pop() if len(threads) == 1 else None
    update_microseconds = intervals.geometric_mean([_update_microseconds(run) for run in runs])
    place = None if omp_num_threads is None else place_of(scenario, omp_num_threads)
    roof = None if place is None else known.get(place)
    costs, contexts = costs_of(scenario.network), scenario.part_count
    achieved = None if costs is None else speed.scaled(costs.flop_per_image / 1e9)
    ceiling = None if roof is None else roof.gflop_per_second_of(contexts)
    images = _images_per_update(runs[0])
    update_bytes = None if costs is None else costs.update_bytes(images, contexts, scenario.precision)
    bandwidth = None
    if costs is not None and roof is not None:
        working_set = costs.working_set_bytes(images, contexts, scenario.precision)
        bandwidth = roof.bandwidth_at(working_set, contexts)
    return Measures(
        n=len(runs),
        throughput=speed,
        epoch_seconds=speed.inverse(dataset.train_samples),
        epoch_extrapolated=recipe.samples is not None and recipe.samples < dataset.train_samples,
        update_microseconds=update_microseconds,
        final_accuracy=statistics.fmean(accuracies),
        final_accuracy_min=min(accuracies),
        final_accuracy_max=max(accuracies),
        epoch_accuracies=tuple(
            statistics.fmean(accuracies) for accuracies in zip(*map(learning_curve, runs), strict=False)
        ),
        time_to_accuracy_seconds=to_accuracy,
        startup_seconds=_median(runs, lambda run: run.startup_seconds),
        first_step_seconds=_median(runs, lambda run: run.first_step_seconds),
        warm_up_seconds=_median(runs, lambda run: run.warm_up_seconds),
        peak_rss_bytes=max(run.peak_rss_bytes for run in runs),
        training_peak_rss_bytes=_most(run.training_peak_rss_bytes for run in runs),
        device_memory_bytes=_most(run.device_memory_bytes for run in runs),
        device_peak_bytes=_most(run.device_peak_bytes for run in runs),
        busy_cpus=_median(runs, lambda run: run.epochs_cpu_seconds / epochs_seconds(run)),
        omp_num_threads=omp_num_threads,
        speedup=_speedup(key, groups),
        over_float32=None if (same := float32_of(key)) is None else _relative(key, same, groups),
        accuracy_over_float32=None
        if (more := accuracy_over_float32(key, groups)) is None
        else intervals.estimate_of(more),
        scaling_efficiency=_scaling_efficiency(key, groups),
        achieved_gflop_per_second=achieved,
        roof=roof,
        ceiling_gflop_per_second=ceiling,
        utilisation=None if achieved is None or ceiling is None else achieved.scaled(1 / ceiling),
        bytes_per_second=None if update_bytes is None else update_microseconds.inverse(1e6 * update_bytes),
        ceiling_bytes_per_second=bandwidth,
        bound=_bound(costs, roof, runs[0], update_microseconds.value, line),
        fixed_update_microseconds=None if line is None else line.intercept,
        image_microseconds=None if line is None else line.slope,
        energy=energy_of(runs, dataset.train_samples, result_set.environment.energy, result_set.hosts),
        bill=bill_of(
            price_per_hour(result_set.hosts, scenario, price), runs, speed, dataset.train_samples, to_accuracy
        ),
    )


def _most(numbers: Iterable[int | None]) -> int | None:
    """Return the greatest of what is known; None where nothing is."""
    return max((number for number in numbers if number is not None), default=None)


def _speedup(key: RowKey, groups: dict[RowKey, Group]) -> Estimate | None:
    scenario, recipe = key
    baseline = (tutorial_setting(scenario.network), recipe)
    if key == baseline and groups[key].is_ranked:
        return Estimate(value=1.0, lower=None, upper=None, n=len(groups[key].runs))
    return _relative(key, baseline, groups)


def _scaling_efficiency(key: RowKey, groups: dict[RowKey, Group]) -> Estimate | None:
    scenario, recipe = key
    count = len(scenario.contexts)
    if count == 1:
        return None
    alone = (msgspec.structs.replace(scenario, contexts=scenario.contexts[:1]), recipe)
    relative = _relative(key, alone, groups)
    return None if relative is None else relative.scaled(1 / count)


def _relative(key: RowKey, other: RowKey, groups: dict[RowKey, Group]) -> Estimate | None:
    """Return the ratio of two rows' throughputs; None unless both are there and neither is invalid."""
    if other not in groups or not (groups[key].is_ranked and groups[other].is_ranked):
        return None
    return ratio_of_rows(groups[key], groups[other])


def _median(runs: tuple[Run, ...], value: Callable[[Run], float]) -> float:
    return statistics.median(value(run) for run in runs)
