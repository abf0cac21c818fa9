"""The tutorial's data-parallel training loop over a list of contexts, and its evaluation.

The loop is the tutorial's, statement for statement, with two mends that its batch sizes never needed: a last batch that
`NDArrayIter` padded is cut back to its real images, and a batch that the contexts do not divide is split unevenly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mnist_core.mxnet_border import autograd, gluon, mx
from mnist_core.networks import Array, Block
from mnist_core.recipe import Recipe

#: MXNet's own types, which are untyped.
Context: TypeAlias = Any
Trainer: TypeAlias = Any
Metric: TypeAlias = Any
DataIter: TypeAlias = Any
DataBatch: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class TrainedEpoch:
    """What one pass over the training set did."""

    #: Images trained, each once; padding not counted.
    samples: int
    #: Over the epoch's batches, each judged before its own update.
    train_accuracy: float
    #: Per-image losses of the last batch, one array per context.
    last_losses: tuple[Array, ...]
    #: Images of the last batch, of which one of several ranks has a share; None: as many as there are losses.
    last_batch_size: int | None = None

    def last_batch_loss(self) -> float:
        """Mean loss of the last batch; waits for it. NaN or infinite when the training diverged.

        Of a rank it is its share of that mean: those of all ranks add up to it.
        """
        if self.last_batch_size is None:
            return float(np.concatenate([loss.asnumpy() for loss in self.last_losses]).mean())
        return float(sum(loss.asnumpy().sum() for loss in self.last_losses) / self.last_batch_size)


def seed_everything(seed: int) -> None:
    """MXNet's generators (initial weights) and NumPy's global one (`NDArrayIter` shuffles with it)."""
    mx.random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the generator that NDArrayIter uses


def as_input(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 (n, 28, 28) in 0..255 -> float32 (n, 1, 28, 28) in 0..1, as `mx.test_utils.get_mnist` does."""
    return images[:, np.newaxis].astype(np.float32) / np.float32(255)


def initialize(net: Block, contexts: Sequence[Context], recipe: Recipe) -> None:
    """Xavier as in the tutorial. The same seed gives the same weights on any contexts: they are drawn on the CPU."""
    net.initialize(mx.init.Xavier(magnitude=recipe.xavier_magnitude), ctx=list(contexts))


def make_trainer(net: Block, recipe: Recipe) -> Trainer:
    """SGD as in the tutorial; with several contexts Gluon chooses the `device` kvstore and updates inside it."""
    return gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": recipe.learning_rate})


def training_batches(images: NDArray[np.float32], labels: NDArray[np.uint8], batch_size: int) -> DataIter:
    """Shuffled anew by every `reset`."""
    return mx.io.NDArrayIter(images, labels.astype(np.float32), batch_size, shuffle=True)


def evaluation_batches(images: NDArray[np.float32], labels: NDArray[np.uint8], batch_size: int) -> DataIter:
    """Return batches of the images in their order, the last one padded."""
    return mx.io.NDArrayIter(images, labels.astype(np.float32), batch_size)


def train_epoch(net: Block, batches: DataIter, trainer: Trainer, contexts: Sequence[Context]) -> TrainedEpoch:
    """One pass over the training set. Returns without waiting for the last update: `mx.nd.waitall()` does."""
    metric = mx.metric.Accuracy()
    samples = 0
    losses: list[Array] = []
    batches.reset()
    for batch in batches:
        images, labels = real_part(batch)
        losses = train_batch(net, images, labels, trainer, contexts, metric)
        samples += images.shape[0]
    return TrainedEpoch(samples=samples, train_accuracy=float(metric.get()[1]), last_losses=tuple(losses))


def train_batch(
    net: Block, images: Array, labels: Array, trainer: Trainer, contexts: Sequence[Context], metric: Metric
) -> list[Array]:
    """One update with the gradient of the whole batch. Returns the per-image losses, one array per context."""
    data = split_and_load(images, contexts)
    label = split_and_load(labels, contexts)
    outputs = []
    losses = []
    with autograd.record():
        for x, y in zip(data, label, strict=True):
            z = net(x)
            loss = _SOFTMAX_CROSS_ENTROPY(z, y)
            loss.backward()
            outputs.append(z)
            losses.append(loss)
    if idle := contexts[len(data) :]:
        clear_idle_gradients(net, data[0][:1], label[0][:1], idle)
    metric.update(label, outputs)
    trainer.step(images.shape[0])
    return losses


def evaluate(net: Block, batches: DataIter, contexts: Sequence[Context]) -> float:
    """Accuracy over every image of `batches`, each counted once."""
    metric = mx.metric.Accuracy()
    batches.reset()
    for batch in batches:
        images, labels = real_part(batch)
        metric.update(split_and_load(labels, contexts), [net(x) for x in split_and_load(images, contexts)])
    return float(metric.get()[1])


def split_and_load(batch: Array, contexts: Sequence[Context]) -> list[Array]:
    """One slice per context, in order; a batch smaller than the list of contexts leaves the last ones without."""
    slices: list[Array] = gluon.utils.split_and_load(batch, list(contexts[: batch.shape[0]]), even_split=False)
    return slices


def parameter_count(net: Block) -> int:
    """Trained numbers in an initialized network that has seen a batch."""
    return sum(int(np.prod(p.shape)) for p in net.collect_params().values() if p.grad_req != "null")


_SOFTMAX_CROSS_ENTROPY = gluon.loss.SoftmaxCrossEntropyLoss()


def real_part(batch: DataBatch) -> tuple[Array, Array]:
    """The batch without the images that `NDArrayIter` padded it with."""
    images, labels = batch.data[0], batch.label[0]
    if batch.pad:
        real = images.shape[0] - batch.pad
        return images[:real], labels[:real]
    return images, labels


def clear_idle_gradients(net: Block, image: Array, label: Array, idle: Sequence[Context]) -> None:
    """Contexts without an image in this batch still hold the last batch's gradient, and the trainer would add it again.

    A backward pass of weight zero, rather than writing zeros, also marks the gradient as fresh, which the trainer
    checks. Not in training mode: a batch normalization must not learn from an image that is not there.
    """
    for context in idle:
        with autograd.record(train_mode=False):
            nothing = _SOFTMAX_CROSS_ENTROPY(net(image.as_in_context(context)), label.as_in_context(context)) * 0
            nothing.backward()
