"""The tutorial's own training loop, statement for statement: what ours must equal, and what it is timed against."""

from __future__ import annotations

from collections.abc import Sequence

from mnist_core.mxnet_border import autograd, gluon, mx
from mnist_core.networks import Block
from mnist_core.training import Context, DataIter, Trainer


def tutorial_epoch(net: Block, train_data: DataIter, trainer: Trainer, ctx: Sequence[Context]) -> float:
    """Train an epoch: the body of the tutorial's loop over the epochs, with its names."""
    metric = mx.metric.Accuracy()
    softmax_cross_entropy_loss = gluon.loss.SoftmaxCrossEntropyLoss()
    train_data.reset()
    for batch in train_data:
        data = gluon.utils.split_and_load(batch.data[0], ctx_list=ctx, batch_axis=0)
        label = gluon.utils.split_and_load(batch.label[0], ctx_list=ctx, batch_axis=0)
        outputs = []
        with autograd.record():
            for x, y in zip(data, label, strict=True):
                z = net(x)
                loss = softmax_cross_entropy_loss(z, y)
                loss.backward()
                outputs.append(z)
        metric.update(label, outputs)
        trainer.step(batch.data[0].shape[0])
    _, accuracy = metric.get()
    return float(accuracy)
