"""Predictions made up for tests: queries of a log-normal time with a tail, in processes that take turns."""

# ruff: noqa: ANN401 (a factory takes whatever fields its record has)

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from bench.records.prediction import Offline, Percentile, Prediction, SingleStream
from bench.records.result import ResultSet, Run
from bench.scenarios.scenario import Scenario
from bench.stats.order_statistics import TooFewError, bucket_of, percentile
from mnist_core.recipe import Recipe
from tests.support.executor import A_BLOCK, in_turns
from tests.support.records import a_result_set, a_run, a_scenario

PART: Final = Recipe(epochs=6, samples=2_000)
BLOCKS: Final = 4
OFF, ON, STATIC = (a_scenario(contexts="cpu(0)", hybridize=value) for value in ("off", "on", "static"))
#: Microseconds of the median query.
MEDIANS: Final = {OFF: 150.0, ON: 90.0, STATIC: 60.0}


def a_stream(times_ns: Sequence[int], **changes: Any) -> SingleStream:
    """Make what a process says of queries that took these times."""
    ascending = sorted(times_ns)
    found = []
    for fraction in (0.5, 0.9, 0.95, 0.99, 0.999):
        try:
            ns, low_ns, high_ns = percentile(ascending, fraction)
        except TooFewError:
            continue
        found.append(Percentile(fraction=fraction, ns=ns, low_ns=low_ns, high_ns=high_ns))
    facts: dict[str, Any] = {
        "queries": len(ascending),
        "warm_up": 100,
        "timer_overhead_ns": 40,
        "min_ns": ascending[0],
        "percentiles": tuple(found),
        "max_ns": ascending[-1],
        "mean_ns": sum(ascending) / len(ascending),
        "buckets": tuple(sorted(Counter(map(bucket_of, ascending)).items())),
        "mismatches": 0,
        "involuntary_context_switches": 7,
    }
    return SingleStream(**facts | changes)


def times(seed: int, median_microseconds: float, queries: int = 10_000, sd: float = 0.05) -> list[int]:
    """Draw times of which one in fifty is three times as long."""
    generator = np.random.default_rng(seed)
    logs = math.log(1000 * median_microseconds) + generator.normal(0, sd, queries)
    logs[generator.random(queries) < 0.02] += math.log(3)
    return [int(number) for number in np.exp(logs)]


@functools.cache
def _drawn(seed: int, median_microseconds: float, queries: int) -> SingleStream:
    return a_stream(times(seed, median_microseconds, queries))


def a_prediction(stream: SingleStream | None, speeds: Mapping[int, float] | None = None) -> Prediction:
    """Make a prediction with so many images per second by batch size, each measured twice on 10,000 images."""
    offline = tuple(
        Offline(batch_size=size, samples=10_000, seconds=(10_000 / speed,) * 2)
        for size, speed in (speeds or {}).items()
    )
    return Prediction(offline=offline, single_stream=stream)


def predicted(medians: Mapping[Scenario, float] = MEDIANS, *, blocks: int = BLOCKS, queries: int = 10_000) -> list[Run]:
    """Return a process of each scenario in each block, on a machine that is slower from block to block."""
    made = []
    for block in range(blocks):
        slower = 1.05**block
        for place, (scenario, median) in enumerate(medians.items()):
            own = 1 + 0.01 * math.sin(7 * block + 3 * place)
            stream = _drawn(100 * block + place, median * slower * own, queries)
            batches = {size: size / (size + 20) * 1e9 / (median * slower * own) / 50 for size in (1, 100, 1000)}
            run = a_run(
                scenario=scenario,
                recipe=dataclasses.replace(PART, seed=42 + block),
                repeat=block,
                throughput=1e6 / median,
                accuracy=0.9,
                prediction=a_prediction(stream, batches),
            )
            made.append(in_turns(run, block))
    return made


def a_prediction_file(*runs: Run, **changes: Any) -> ResultSet:
    runs = runs or tuple(predicted())
    blocks = 1 + max((run.block for run in runs if run.block is not None), default=-1)
    stolen = msgspec.structs.replace(A_BLOCK.health, steal_fraction=0.011)
    block = msgspec.structs.replace(A_BLOCK, health=stolen)
    return a_result_set(*runs, **{"blocks": (block,) * blocks, **changes})
