"""Ranks made up for tests: two machines, alone and together, with and without an exchange."""

# ruff: noqa: ANN401 (an axis takes whatever values it has)

from __future__ import annotations

import dataclasses
from typing import Any, Final

import msgspec

from bench.records.result import ResultSet, Run
from bench.scenarios.axes import Exchange, Framework
from bench.scenarios.scenario import Scenario
from mnist_core.recipe import InputPipeline, MetricSync, Recipe
from tests.support.executor import A_BLOCK, in_turns
from tests.support.records import a_cluster_host, a_curve, a_result_set, a_run

PART: Final = Recipe(epochs=1, samples=6_000)
MLP_BYTES: Final = 437_544
BLOCKS: Final = 3


def of_torch(**axes: Any) -> Scenario:
    resident: dict[str, Any] = {"input_pipeline": InputPipeline.RESIDENT, "metric_sync": MetricSync.EPOCH}
    return Scenario(framework=Framework.TORCH, contexts=("cpu(0)",), **{"network": "mlp", **resident, **axes})


def two(**axes: Any) -> Scenario:
    """Return two ranks, by default one on each of two machines that exchange gradients."""
    return of_torch(**{"ranks": 2, "hosts": 2, "exchange": Exchange.GLOO, **axes})


def runs(scenario: Scenario, *speeds: float, blocks: bool = True) -> list[Run]:
    """Return a process for each speed, in images per second, each in a block of its own."""
    made = [
        a_run(
            scenario=scenario,
            recipe=dataclasses.replace(PART, seed=42 + repeat),
            repeat=repeat,
            throughput=speed,
            accuracy=0.9,
        )
        for repeat, speed in enumerate(speeds)
    ]
    return [in_turns(run, block) for block, run in enumerate(made)] if blocks else made


#: One machine on the whole batch, both on their halves, both at once without an exchange, and with one.
SPEEDS: Final = {
    of_torch(batch_size=100): 1000.0,
    of_torch(batch_size=50): 800.0,
    of_torch(batch_size=50, first_host=1): 600.0,
    two(batch_size=100, exchange=Exchange.NONE): 1260.0,
    two(batch_size=100): 630.0,
}


def measured(speeds: dict[Scenario, float], drift: tuple[float, ...] = (1.0, 2.0, 0.5)) -> list[Run]:
    """Return all in each block, on a machine that is so much faster in each of them."""
    return [run for scenario, speed in speeds.items() for run in runs(scenario, *(factor * speed for factor in drift))]


def a_cluster_file(**changes: Any) -> ResultSet:
    """Make a file of two machines on a network of 100 MB/s and a millisecond."""
    records = measured(SPEEDS, (0.99, 1.0, 1.02))
    records = [  # each process differs a little from what its row and its block have in common
        msgspec.structs.replace(
            run,
            epochs=tuple(
                msgspec.structs.replace(epoch, epoch_seconds=epoch.epoch_seconds * (1 + 0.001 * (place % 7)))
                for epoch in run.epochs
            ),
        )
        for place, run in enumerate(records)
    ]
    facts: dict[str, Any] = {
        "blocks": (A_BLOCK,) * BLOCKS,
        "hosts": (a_cluster_host(0), a_cluster_host(1)),
        "exchanges": (a_curve(hosts=2), a_curve(hosts=2)),
    }
    return a_result_set(*records, **facts | changes)
