"""From rows to what a picture shows: curves of numbers with their intervals. Pure; nothing is drawn here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from bench.analysis.groups import Group, learning_curve
from bench.analysis.summary import Measures, Row, Summary
from bench.scenarios.scenario import Scenario
from bench.stats.intervals import Estimate
from mnist_core.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Scenarios that differ in one number alone."""

    #: One of them.
    scenario: Scenario
    recipe: Recipe
    #: (that number, what was measured), by the number.
    points: tuple[tuple[int, Estimate], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyPoint:
    """Test accuracy after an epoch: mean, least and greatest over processes."""

    #: Epoch windows up to here, mean over processes; evaluation excluded.
    seconds: float
    mean: float
    least: float
    greatest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """How one row's accuracy grew."""

    scenario: Scenario
    recipe: Recipe
    #: One for each epoch.
    reached: tuple[AccuracyPoint, ...]
    n: int


def measured(rows: Iterable[Row]) -> list[tuple[Row, Measures]]:
    """Return the rows that carry a rank, with their measures."""
    return [(row, row.measures) for row in rows if row.measures is not None and row.status.is_ranked]


def over_batch_sizes(rows: Iterable[Row]) -> list[Curve]:
    """Return throughput over batch size for all that was measured at several sizes; the fastest curve first."""
    families: dict[tuple[Scenario, Recipe], list[tuple[int, Estimate]]] = {}
    for row, measures in measured(rows):
        family = msgspec.structs.replace(row.scenario, batch_size=row.scenario.part_count)
        families.setdefault((family, row.recipe), []).append((row.scenario.batch_size, measures.throughput))
    return _curves(families)


def over_contexts(rows: Iterable[Row]) -> list[Curve]:
    """Return the speed-up over the first context alone, by the number of contexts; the steepest curve first."""
    families: dict[tuple[Scenario, Recipe], list[tuple[int, Estimate]]] = {}
    for row, measures in measured(rows):
        efficiency, count = measures.scaling_efficiency, len(row.scenario.contexts)
        if efficiency is None:
            continue
        alone = msgspec.structs.replace(row.scenario, contexts=row.scenario.contexts[:1])
        itself = (1, Estimate(value=1.0, lower=None, upper=None, n=measures.n))
        families.setdefault((alone, row.recipe), [itself]).append((count, efficiency.scaled(count)))
    return _curves(families)


def _curves(families: Mapping[tuple[Scenario, Recipe], Sequence[tuple[int, Estimate]]]) -> list[Curve]:
    curves = [
        Curve(scenario=scenario, recipe=recipe, points=tuple(sorted(points, key=lambda point: point[0])))
        for (scenario, recipe), points in families.items()
        if len({x for x, _estimate in points}) > 1
    ]
    return sorted(curves, key=lambda curve: max(estimate.value for _x, estimate in curve.points), reverse=True)


def learning_curves(summary: Summary) -> list[LearningCurve]:
    """Return the learning curves of rows with more than one epoch, the quickest first."""
    curves = [
        LearningCurve(scenario=scenario, recipe=recipe, reached=_reached(group), n=len(group.runs))
        for (scenario, recipe), group in summary.groups.items()
        if group.is_ranked and recipe.epochs > 1 and group.runs and all(map(learning_curve, group.runs))
    ]
    return sorted(curves, key=lambda curve: curve.reached[-1].seconds)


def _reached(group: Group) -> tuple[AccuracyPoint, ...]:
    """Return the accuracy after each epoch that all processes have."""
    reached = []
    elapsed = [0.0 for _ in group.runs]
    for index, accuracies in enumerate(zip(*map(learning_curve, group.runs), strict=False)):
        epochs = [run.epochs[index] for run in group.runs]
        elapsed = [before + epoch.epoch_seconds for before, epoch in zip(elapsed, epochs, strict=True)]
        reached.append(
            AccuracyPoint(
                seconds=statistics.fmean(elapsed),
                mean=statistics.fmean(accuracies),
                least=min(accuracies),
                greatest=max(accuracies),
            )
        )
    return tuple(reached)
