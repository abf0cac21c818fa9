"""Each part of a training step by itself, under pytest-benchmark, on noise: no data set is needed.

`nox -s micro -- [-k "forward and mlp"] [--benchmark-json FILE]`; two files, or two folders of several each:
`mnist-bench compare BEFORE AFTER`, or `pytest-benchmark compare BEFORE AFTER`.

Every call begins and ends at a barrier, so that its work is all of what is timed.

This is the only file of pytest-benchmark; the others beside it are scripts. A test run does not find it, by its name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

# Before MXNet is imported, which reads it once; pytest's process is the measured one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import msgspec
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.records.profile import EpochPhase
from bench.scenarios.scenario import Scenario
from bench.worker.measure.instrument import truncated_after
from mnist_core import loop, training
from mnist_core.idx import Split
from mnist_core.mxnet_border import mx, to_context
from mnist_core.recipe import Hybridize, InputPipeline, MetricSync, Recipe, Update

#: Of an epoch and of an evaluation.
IMAGES = 5000
EVALUATED = 1000
ONE, TWO = ("cpu(0)",), ("cpu(0)", "cpu(1)")
MXNETS = (Hybridize.OFF, Hybridize.ON, Hybridize.STATIC, Hybridize.BOUND)

each_network = pytest.mark.parametrize("network", ["mlp", "lenet"])
each_batch_size = pytest.mark.parametrize("batch_size", [100, 500])
each_execution = pytest.mark.parametrize("hybridize", MXNETS, ids=str)
each_contexts = pytest.mark.parametrize("contexts", [ONE, TWO], ids=",".join)


def noise(images: int) -> Split:
    generator = np.random.default_rng(5)
    return Split(
        generator.integers(0, 256, (images, 28, 28), dtype=np.uint8),
        generator.integers(0, 10, images, dtype=np.uint8),
    )


def a_scenario(**axes: Any) -> Scenario:  # noqa: ANN401  # whatever axes a scenario has
    return Scenario(cpu_threads=int(os.environ["OMP_NUM_THREADS"]), **axes)


def timed(
    benchmark: BenchmarkFixture,
    micro: str,
    scenario: Scenario,
    work: Callable[[], object],
    before: Callable[[], object] | None = None,
) -> None:
    """Time a call. `before` is done before each, untimed; such calls are too few to be counted out beforehand."""

    def synchronized() -> None:
        mx.nd.waitall()
        work()
        mx.nd.waitall()

    benchmark.group = f"{micro}: {scenario.network}"
    benchmark.extra_info.update(micro=micro, scenario=msgspec.to_builtins(scenario))
    if before is None:
        benchmark(synchronized)
    else:
        benchmark.pedantic(  # type: ignore[no-untyped-call]  # pytest-benchmark types it in part
            synchronized, setup=before, rounds=50, warmup_rounds=5
        )


class Step:
    """A network in training, and one batch of its own to train on again and again."""

    def __init__(self, scenario: Scenario, images: int | None = None) -> None:
        size = scenario.batch_size
        train = noise(images or size)
        self.contexts = [to_context(device) for device in scenario.devices]
        self.training = loop.Training(scenario.network, scenario.loop, self.contexts, size, Recipe(), train)
        self.size = size
        self.training.train_throwaway_batch(size)
        self.training.prepare()
        self.parts, _ = next(self.training._batches.epoch(self.training._step.inputs))
        self.metric = self.training._new_metric()

    def forward_backward(self) -> Sequence[Any]:
        return self.training._step(self.parts, self.training._update.scale(self.size))

    def freshen(self) -> None:
        """Mark gradients as fresh, since the trainer updates by no others and these may be old ones."""
        for parameter in self.training.net.collect_params().values():
            for weight in parameter.list_data():
                weight._fresh_grad = True
        mx.nd.waitall()

    def update(self) -> None:
        self.training._update(self.size, len(self.parts))

    def whole(self) -> None:
        self.training._train_batch(self.parts, self.size, self.metric)


@each_batch_size
@pytest.mark.parametrize("pipeline", InputPipeline, ids=str)
def test_iterator(benchmark: BenchmarkFixture, batch_size: int, pipeline: InputPipeline) -> None:
    """Get the batches of an epoch, shuffled, on one context; nothing is computed."""
    scenario = a_scenario(network="mlp", contexts=ONE, batch_size=batch_size, input_pipeline=pipeline)
    step = Step(scenario, IMAGES)

    def iterate() -> None:
        for _ in step.training._batches.epoch(step.training._step.inputs):
            pass

    timed(benchmark, "iterator", scenario, iterate)


@each_batch_size
@each_contexts
def test_split_and_load(benchmark: BenchmarkFixture, batch_size: int, contexts: tuple[str, ...]) -> None:
    """Split images and labels of one batch."""
    scenario = a_scenario(network="mlp", contexts=contexts, batch_size=batch_size)
    split = noise(batch_size)
    images, labels = mx.nd.array(training.as_input(split.images)), mx.nd.array(split.labels)
    loaded = [to_context(device) for device in scenario.devices]

    def load() -> None:
        training.split_and_load(images, loaded)
        training.split_and_load(labels, loaded)

    timed(benchmark, "split_and_load", scenario, load)


@each_network
@each_batch_size
@each_execution
def test_forward(benchmark: BenchmarkFixture, network: str, batch_size: int, hybridize: Hybridize) -> None:
    """Compute network and loss, recorded for a backward pass."""
    scenario = a_scenario(network=network, contexts=ONE, batch_size=batch_size, hybridize=hybridize)
    step = Step(scenario)
    with truncated_after(EpochPhase.FORWARD):
        timed(benchmark, "forward", scenario, step.forward_backward)


@each_network
@each_batch_size
@each_execution
def test_forward_backward(benchmark: BenchmarkFixture, network: str, batch_size: int, hybridize: Hybridize) -> None:
    """Do the same, and compute the gradients."""
    scenario = a_scenario(network=network, contexts=ONE, batch_size=batch_size, hybridize=hybridize)
    timed(benchmark, "forward_backward", scenario, Step(scenario).forward_backward)


@each_network
@pytest.mark.parametrize(
    ("contexts", "update", "update_on_kvstore"),
    [
        (ONE, Update.TRAINER, True),
        (ONE, Update.FLAT, True),
        (TWO, Update.TRAINER, True),
        (TWO, Update.TRAINER, False),
        (TWO, Update.FLAT, True),
    ],
    ids=["trainer-1", "flat-1", "trainer-2", "trainer-2-not-on-kvstore", "flat-2"],
)
def test_update(
    benchmark: BenchmarkFixture, network: str, contexts: tuple[str, ...], update: Update, *, update_on_kvstore: bool
) -> None:
    """Update all weights by gradients that are there; two contexts exchange theirs through the kvstore."""
    scenario = a_scenario(network=network, contexts=contexts, update=update, update_on_kvstore=update_on_kvstore)
    step = Step(scenario)
    step.forward_backward()
    timed(benchmark, "update", scenario, step.update, before=step.freshen)


@each_batch_size
@pytest.mark.parametrize("metric_sync", MetricSync, ids=str)
def test_metric(benchmark: BenchmarkFixture, batch_size: int, metric_sync: MetricSync) -> None:
    """Compute the training accuracy of one batch, from what a step has computed."""
    scenario = a_scenario(network="mlp", contexts=ONE, batch_size=batch_size, metric_sync=metric_sync)
    step = Step(scenario)
    outcomes = step.forward_backward()
    timed(benchmark, "metric", scenario, lambda: step.metric.update(outcomes))


@each_network
@each_batch_size
@each_execution
@each_contexts
def test_step(
    benchmark: BenchmarkFixture, network: str, batch_size: int, hybridize: Hybridize, contexts: tuple[str, ...]
) -> None:
    """Do a whole step on a batch that is there: forward, backward, metric, update."""
    scenario = a_scenario(network=network, contexts=contexts, batch_size=batch_size, hybridize=hybridize)
    timed(benchmark, "step", scenario, Step(scenario).whole)


@each_network
@each_batch_size
@pytest.mark.parametrize("hybridize", [Hybridize.OFF, Hybridize.STATIC], ids=str)
def test_evaluation(benchmark: BenchmarkFixture, network: str, batch_size: int, hybridize: Hybridize) -> None:
    """Compute the accuracy of 1,000 images."""
    scenario = a_scenario(network=network, contexts=ONE, batch_size=batch_size, hybridize=hybridize)
    step = Step(scenario)
    split = noise(EVALUATED)
    batches = training.evaluation_batches(training.as_input(split.images), split.labels, batch_size)
    timed(benchmark, "evaluation", scenario, lambda: training.evaluate(step.training.net, batches, step.contexts))
