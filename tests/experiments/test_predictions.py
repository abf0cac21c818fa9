"""What a process is to predict, and what becomes of the times that it measured."""

from __future__ import annotations

import numpy as np
import pytest

from bench.errors import ConfigurationError
from bench.experiments.run.predictions import check_queries, prediction_of, prediction_plan
from bench.records.prediction import Offline
from bench.scenarios.suite import Overrides, expand, load_suite, override
from bench.worker.protocol.replies import OfflineDone, PredictionReady, PredictionWindows, QueriesDone
from tests.support.records import a_dataset


def windows(*times: list[int], offline: tuple[OfflineDone, ...] = ()) -> PredictionWindows:
    return PredictionWindows(
        ready=PredictionReady(warm_up=100, timer_overhead_ns=40),
        queries=tuple(
            QueriesDone(ns=tuple(each), warm_up=20, mismatches=1, involuntary_context_switches=2) for each in times
        ),
        offline=offline,
    )


def test_every_test_image_is_asked_for_once() -> None:
    """There are as many queries as test images, and no batch is larger than the data set."""
    plan = prediction_plan(a_dataset())
    assert plan.turns * plan.queries == a_dataset().test_samples == 10_000
    assert [plan.batch_size(turn) for turn in range(4)] == [10, 100, 1000, 10]
    small = prediction_plan(a_dataset(test_samples=400))
    assert (small.turns * small.queries, small.batch_sizes, small.samples) == (400, (10, 100), 400)


def test_too_few_images_for_the_99th_percentile_are_refused() -> None:
    """380 images in 20 turns are 19 each; 368 would be 18 each, which is too few."""
    plan = expand(override(load_suite("smoke"), Overrides(predict=True)))
    check_queries(plan, a_dataset(test_samples=380))
    with pytest.raises(ConfigurationError, match=r"takes 368 queries at least.*has 379"):
        check_queries(plan, a_dataset(test_samples=379))
    check_queries(expand(load_suite("smoke")), a_dataset(test_samples=5))


def test_percentiles_are_of_all_windows_together() -> None:
    """They are times that were measured, and the intervals are those of exact binomial ranks."""
    order = np.random.default_rng(3).permutation(np.arange(1, 10_001))
    made = prediction_of(windows(order[:4000].tolist(), order[4000:].tolist()))
    assert made is not None
    stream = made.single_stream
    assert stream is not None
    found = {each.fraction: (each.ns, each.low_ns, each.high_ns) for each in stream.percentiles}
    assert found[0.5] == (5000, 4902, 5099)
    assert found[0.99] == (9900, 9880, 9920)
    assert found[0.999] == (9990, 9983, 9997)
    assert (stream.queries, stream.min_ns, stream.max_ns, stream.mean_ns) == (10_000, 1, 10_000, 5000.5)
    assert (stream.warm_up, stream.mismatches, stream.involuntary_context_switches) == (140, 2, 4)
    assert sum(count for _edge, count in stream.buckets) == 10_000
    assert dict(stream.buckets)[1230] == 10


def test_a_percentile_that_so_few_queries_cannot_carry_is_absent() -> None:
    made = prediction_of(windows(list(range(1, 401))))
    assert made is not None
    assert made.single_stream is not None
    assert [each.fraction for each in made.single_stream.percentiles] == [0.5, 0.9, 0.95, 0.99]


def test_windows_of_a_batch_size_are_together() -> None:
    offline = tuple(
        OfflineDone(batch_size=size, samples=1000, seconds=seconds)
        for size, seconds in ((100, 0.1), (10, 0.4), (100, 0.2), (10, 0.5))
    )
    made = prediction_of(windows([1, 2], offline=offline))
    assert made is not None
    assert made.offline == (
        Offline(batch_size=10, samples=1000, seconds=(0.4, 0.5)),
        Offline(batch_size=100, samples=1000, seconds=(0.1, 0.2)),
    )
    assert prediction_of(None) is None


def test_ranks_do_not_predict() -> None:
    """Beside them, what is one process does."""
    plan = expand(override(load_suite("cluster"), Overrides(predict=True)), machines=1)
    assert {planned.scenario.has_ranks for planned in plan} == {True, False}
    assert all(planned.predict != planned.scenario.has_ranks for planned in plan)
