"""The tutorial's training with any of its parts exchanged: the same images in the same order, the same weights.

`training` is the tutorial's own loop, statement for statement. Here each of its parts is one of several: where a batch
comes from, how the network is executed, when the accuracy is read, how the weights are updated. Every combination
trains the same, to the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mnist_core import networks, training
from mnist_core.idx import Split
from mnist_core.mxnet_border import gluon, mx, nd
from mnist_core.networks import Block
from mnist_core.order import EpochOrder
from mnist_core.parts.batch import ALONE, Outcome, Part, Rank
from mnist_core.parts.batches import Batches, IteratorBatches, ResidentBatches, filled, split
from mnist_core.parts.metrics import BatchMetric, EpochMetric, Metric
from mnist_core.parts.steps import BoundStep, CountCorrect, GluonStep, Step
from mnist_core.parts.updates import (
    DistributedUpdate,
    FlatUpdate,
    TrainerUpdate,
    WeightUpdate,
    compress,
    compression_threshold,
    lay_flat,
)
from mnist_core.recipe import Hybridize, InputPipeline, Loop, MetricSync, Recipe, Update
from mnist_core.training import Context, TrainedEpoch


class Training:
    """One network being trained under a `Loop`.

    `prepare`, then `train_epoch` as often as there are epochs; `train_throwaway_batch` before that touches what is made
    on first use.
    """

    def __init__(
        self,
        network: str,
        loop: Loop,
        contexts: Sequence[Context],
        batch_size: int,
        recipe: Recipe,
        train: Split,
        rank: Rank = ALONE,
    ) -> None:
        """Builds and initializes the network; raises `NetworkError`. `batch_size` is that of all ranks together."""
        training.seed_everything(recipe.seed)
        self._contexts = list(contexts)
        self._batch_size = batch_size
        self._recipe = recipe
        self._train = train
        self._loop = loop
        self._network = network
        self._rank = rank
        self.net = _initialized(network, loop, self._contexts, recipe)
        self._copy: Block | None = None
        if rank.compresses:
            factor = recipe.learning_rate / batch_size if loop.update is Update.FLAT else 1.0
            compress(rank.store, compression_threshold(rank.ranks, batch_size, factor))
        self._update: WeightUpdate
        if loop.update is Update.FLAT:
            self._update = FlatUpdate(lay_flat(self.net, self._contexts), recipe.learning_rate, rank.store)
        elif rank.store is None:
            self._update = TrainerUpdate(self.net, loop, recipe)
        else:
            self._update = DistributedUpdate(self.net, loop, recipe, batch_size, rank)
        bound = loop.hybridize is Hybridize.BOUND
        self._step: Step = (
            BoundStep(self.net, self._contexts, counts=self._counts)
            if bound
            else GluonStep(self.net, loop.hybridize, counts=self._counts)
        )
        self._batches: Batches

    @property
    def _counts(self) -> bool:
        return self._loop.metric_sync is MetricSync.EPOCH

    def _new_metric(self) -> Metric:
        return EpochMetric(self._contexts) if self._counts else BatchMetric()

    def set_learning_rate(self, value: float) -> None:
        """Zero makes every update real work that leaves the weights as they were."""
        self._update.set_learning_rate(value)

    def prepare(self) -> None:
        """Put the training set where the epochs take it from."""
        images = training.as_input(self._train.images)
        if self._loop.input_pipeline is InputPipeline.RESIDENT:
            order = EpochOrder(len(images), self._recipe.seed)
            labels = self._train.labels.astype(np.float32)
            self._batches = ResidentBatches(images, labels, self._contexts, self._batch_size, order, self._rank)
        else:
            iterator = training.training_batches(images, self._train.labels, self._batch_size)
            self._batches = IteratorBatches(iterator, self._contexts, self._rank)

    def train_epoch(self) -> TrainedEpoch:
        """One pass over the training set. May return before the last update is done: `mx.nd.waitall()` waits.

        Where arrays are fixed, the last batch's losses are there until the next epoch.
        """
        metric = self._new_metric()
        samples = size = 0
        outcomes: list[Outcome] = []
        for parts, size in self._batches.epoch(self._step.inputs):
            outcomes = self._train_batch(parts, size, metric)
            first, last = self._rank.share(size)
            samples += last - first
        return TrainedEpoch(
            samples=samples,
            train_accuracy=metric.get(samples),
            last_losses=tuple(outcome.losses for outcome in outcomes),
            last_batch_size=size,
        )

    def train_throwaway_batch(self, size: int) -> None:
        """One whole step on the first `size` images, waited for; of a rank, on its share of them."""
        first, last = self._rank.share(size)
        metric = self._new_metric()
        parts = self._first_images(first, last) if first < last else []
        self._train_batch(filled(parts, self._step.inputs), size, metric)
        if parts:
            metric.get(size)
        mx.nd.waitall()

    def _first_images(self, begin: int, end: int) -> list[Part]:
        """These images of the data set as one part for each context that has one."""
        images = mx.nd.array(training.as_input(self._train.images[begin:end]))
        labels = mx.nd.array(self._train.labels[begin:end].astype(np.float32))
        return split(images, labels, self._contexts)

    def net_to_evaluate(self) -> Block:
        """The network; where its weights are views of one array, a copy of it with their values of now.

        MXNet's inference may reorder a convolution's weights in place, for the kernel, and would take the whole array
        for that convolution's.
        """
        if self._loop.update is not Update.FLAT:
            return self.net
        if self._copy is None:
            loop = self._loop
            self._copy = networks.build(self._network, loop.hybridize, loop.layers, loop.precision)
        _copy_parameters(self.net, self._copy, self._contexts)
        return self._copy

    def _train_batch(self, parts: Sequence[Part], size: int, metric: Metric) -> list[Outcome]:
        if not parts:  # of a rank: the others wait for its gradients, which are zeros
            (nothing, *_) = self._first_images(0, 1)
            self._update.skip(self.net, nothing, self._contexts)
            self._update(size, 0)
            return []
        outcomes = self._step(parts, self._update.scale(size))
        if idle := self._contexts[len(parts) :]:
            self._update.skip(self.net, parts[0], idle)
        metric.update(outcomes)
        self._update(size, len(parts))
        return outcomes


def phase_functions() -> tuple[tuple[str, type, str], ...]:
    """Return the functions that the phases of a loop are made of: (phase, class, name of its attribute).

    A profile exchanges them, to skip a phase or to time it. Some of them call others; the outermost one counts. They
    are named here, beside the loop, so that no change of it can hide a phase.
    """
    return (
        ("forward", gluon.Block, "__call__"),
        ("forward", mx.executor.Executor, "forward"),
        ("backward", nd.NDArray, "backward"),
        ("backward", mx.executor.Executor, "backward"),
        ("metric", mx.metric.Accuracy, "update"),
        ("metric", BatchMetric, "update"),
        ("metric", EpochMetric, "update"),
        ("metric", CountCorrect, "__call__"),
        ("update", gluon.Trainer, "step"),
        ("update", TrainerUpdate, "__call__"),
        ("update", FlatUpdate, "__call__"),
    )


def _initialized(network: str, loop: Loop, contexts: Sequence[Context], recipe: Recipe) -> Block:
    """The network with the tutorial's initial weights, of known shapes on every context."""
    net = networks.build(network, loop.hybridize, loop.layers, loop.precision)
    if networks.is_padded(loop.layers):
        tutorial = networks.build(network, Hybridize.OFF)
        training.initialize(tutorial, [mx.cpu()], recipe)
        tutorial(nd.zeros((1, 1, 28, 28)))
        training.initialize(net, contexts, recipe)
        net(nd.zeros((1, 1, 28, 28), ctx=contexts[0]))
        networks.copy_padded(tutorial, net)
    else:
        training.initialize(net, contexts, recipe)
        net(nd.zeros((1, 1, 28, 28), ctx=contexts[0]))
    return net


def _copy_parameters(source: Block, target: Block, contexts: Sequence[Context]) -> None:
    """On every context, what is not trained included; `target` is a network of the same layers."""
    pairs = list(zip(source.collect_params().values(), target.collect_params().values(), strict=True))
    for theirs, mine in pairs:
        mine.shape = theirs.shape
    target.initialize(mx.init.Zero(), ctx=contexts, force_reinit=True)
    for theirs, mine in pairs:
        for context in contexts:
            theirs.data(context).copyto(mine.data(context))
