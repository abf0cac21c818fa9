"""Prediction inside the worker: real MXNet on a few images, and what stands around a query."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.scenarios.axes import Framework, LoopName, preset
from bench.scenarios.scenario import Scenario
from bench.worker.backends import base
from bench.worker.backends.base import Workload
from bench.worker.measure.prediction import Predictions
from bench.worker.protocol.requests import PredictionPlan
from mnist_core import datasets
from mnist_core.idx import Split
from mnist_core.recipe import Hybridize, Recipe
from tests.support.idx_files import small_idx_folder

IMAGES = 120


class FakeWorkload:
    """Evaluates each image as its first pixel, and predicts it so, but for one."""

    def __init__(self, wrong: int = -1) -> None:
        self.wrong, self.asked = wrong, list[int]()
        self.collects = list[bool]()

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.eye(10, dtype=np.float32)[np.rint(images[:, 0, 0, 0] * 255).astype(int) % 10]
        return found

    def predictor(self, batch_size: int) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:
        def predict(images: NDArray[np.float32]) -> NDArray[np.int64]:
            assert images.shape == (batch_size, 1, 28, 28)
            assert images.dtype == np.float32
            first = np.rint(images[:, 0, 0, 0] * 255).astype(int)
            self.asked.append(int(first[0]))
            self.collects.append(gc.isenabled())
            return np.where(first == self.wrong, 0, first % 10)

        return predict


def numbered() -> Split:
    """Return images whose first pixel is their number."""
    images = np.zeros((IMAGES, 28, 28), np.uint8)
    images[:, 0, 0] = np.arange(IMAGES)
    return Split(images, np.zeros(IMAGES, np.uint8))


def predictions(workload: FakeWorkload, seed: int = 5) -> Predictions:
    return Predictions(cast("Workload", workload), Scenario(network="mlp", batch_size=50), numbered(), seed)


def test_each_query_is_for_another_image_in_a_seeded_order() -> None:
    """All processes of a block ask for the same images in the same turn; what warms up is not counted."""
    orders = []
    for seed in (5, 5, 6):
        workload = FakeWorkload()
        made = predictions(workload, seed)
        made.prepare(())
        found: list[int] = []
        for _ in range(4):
            workload.asked.clear()
            done = made.run_queries(IMAGES // 4)
            assert len(workload.asked) == IMAGES // 4 + done.warm_up
            found += workload.asked[done.warm_up :]
        assert sorted(found) == list(range(IMAGES))
        orders.append(found)
    assert orders[0] == orders[1] != orders[2]


def test_a_digit_that_is_not_the_evaluations_is_counted() -> None:
    made = predictions(FakeWorkload(wrong=37))
    made.prepare(())
    assert sum(made.run_queries(IMAGES // 4).mismatches for _ in range(4)) == 1
    right = predictions(FakeWorkload(wrong=30))  # predicted as a 0, which it is
    right.prepare(())
    assert right.run_queries(IMAGES).mismatches == 0


def test_no_garbage_is_collected_inside_a_window() -> None:
    """A collection would be in some query's time, as long as all the rest."""
    workload = FakeWorkload()
    made = predictions(workload)
    ready = made.prepare((10,))
    workload.collects.clear()
    queries = made.run_queries(30)
    made.run_offline(10, 50)
    assert not any(workload.collects)
    assert gc.isenabled()
    assert len(queries.ns) == 30
    assert min(queries.ns) > 0
    assert 0 <= ready.timer_overhead_ns < min(queries.ns)


def test_batches_are_whole() -> None:
    """They begin with the first image, and again with it where there are no more."""
    workload = FakeWorkload()
    made = predictions(workload)
    made.prepare((50,))
    workload.asked.clear()
    done = made.run_offline(50, 260)
    assert (done.batch_size, done.samples) == (50, 250)
    assert workload.asked == [0, 0, 50, 0, 50, 0]


def scenarios() -> list[Scenario]:
    """Return each way in which MXNet executes a network, on two contexts and on one, and its fastest loops."""
    made = [
        Scenario(network="mlp", contexts=("cpu(0)", "cpu(1)"), batch_size=30, hybridize=hybridize)
        for hybridize in (Hybridize.OFF, Hybridize.ON, Hybridize.STATIC, Hybridize.BOUND)
    ]
    for network in ("mlp", "lenet"):
        axes: dict[str, Any] = preset(Framework.MXNET, network, LoopName.TUNED, ())
        made.append(Scenario(network=network, batch_size=30, **axes))
    return [*made, Scenario(network="lenet", batch_size=30)]


@pytest.mark.system
@pytest.mark.parametrize("scenario", scenarios(), ids=lambda scenario: scenario.name)
def test_mxnet_predicts_what_it_evaluates(scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each digit, one by one, after whatever batches; and the accuracy is that of the evaluation."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data, _test = datasets.load(small_idx_folder(tmp_path, train=IMAGES, test=1))
    workload = base.create_workload(scenario, Recipe(), data)
    workload.build()
    workload.train_throwaway_batch(scenario.batch_size)
    workload.prepare()
    for _ in range(3):
        workload.train_epoch()
    workload.wait()
    accuracy = workload.evaluate(data)
    plan = PredictionPlan(turns=2, queries=IMAGES // 2, batch_sizes=(1, 10), samples=50)
    measured = Predictions(workload, scenario, data, seed=3).run(plan)
    assert [window.mismatches for window in measured.queries] == [0, 0]
    assert [window.samples for window in measured.offline] == [50, 50]
    predict = workload.predictor(IMAGES)
    found = predict(data.images[:, np.newaxis].astype(np.float32) / np.float32(255))
    assert (found == data.labels).mean() == pytest.approx(accuracy)
    assert accuracy > 0.3  # else any digit would do
