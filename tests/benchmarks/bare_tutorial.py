"""The tutorial as a plain script, with a stop watch: `python bare_tutorial.py DATA NETWORK SAMPLES EPOCHS SEED`.

The other side of `harness_overhead.py`. It shares the import border and the file reader with mnist_core, and nothing of
what is measured. Prints the images per second of all epochs together, and the last training accuracy.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from mnist_core.datasets import load
from mnist_core.mxnet_border import autograd as ag
from mnist_core.mxnet_border import gluon, mx, nd

nn = gluon.nn


class Net(gluon.Block):  # type: ignore[misc]  # MXNet has no types
    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(**kwargs)
        with self.name_scope():
            self.conv1 = nn.Conv2D(20, kernel_size=(5, 5))
            self.pool1 = nn.MaxPool2D(pool_size=(2, 2), strides=(2, 2))
            self.conv2 = nn.Conv2D(50, kernel_size=(5, 5))
            self.pool2 = nn.MaxPool2D(pool_size=(2, 2), strides=(2, 2))
            self.fc1 = nn.Dense(500)
            self.fc2 = nn.Dense(10)

    def forward(self, x: Any) -> Any:  # noqa: ANN401
        x = self.pool1(nd.tanh(self.conv1(x)))
        x = self.pool2(nd.tanh(self.conv2(x)))
        x = x.reshape((0, -1))
        x = nd.tanh(self.fc1(x))
        return nd.tanh(self.fc2(x))


def main() -> None:
    directory, network, samples, epochs, seed = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    train, _ = load(Path(directory))
    images = train.images[:samples].reshape(-1, 1, 28, 28).astype(np.float32) / 255
    labels = train.labels[:samples].astype(np.float32)
    mx.random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # the generator that NDArrayIter uses
    train_data = mx.io.NDArrayIter(images, labels, 100, shuffle=True)

    if network == "mlp":
        net = nn.Sequential()
        with net.name_scope():
            net.add(nn.Dense(128, activation="relu"))
            net.add(nn.Dense(64, activation="relu"))
            net.add(nn.Dense(10))
    else:
        net = Net()
    ctx = [mx.cpu(0), mx.cpu(1)]
    net.initialize(mx.init.Xavier(magnitude=2.24), ctx=ctx)
    trainer = gluon.Trainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    metric = mx.metric.Accuracy()
    softmax_cross_entropy_loss = gluon.loss.SoftmaxCrossEntropyLoss()
    accuracy = 0.0
    seconds = []
    for _ in range(epochs):
        mx.nd.waitall()
        begin = time.perf_counter()
        train_data.reset()
        for batch in train_data:
            data = gluon.utils.split_and_load(batch.data[0], ctx_list=ctx, batch_axis=0)
            label = gluon.utils.split_and_load(batch.label[0], ctx_list=ctx, batch_axis=0)
            outputs = []
            with ag.record():
                for x, y in zip(data, label, strict=True):
                    z = net(x)
                    loss = softmax_cross_entropy_loss(z, y)
                    loss.backward()
                    outputs.append(z)
            metric.update(label, outputs)
            trainer.step(batch.data[0].shape[0])
        _, accuracy = metric.get()
        metric.reset()
        mx.nd.waitall()
        seconds.append(time.perf_counter() - begin)
    # The first epoch holds the first step, which the harness keeps apart.
    throughput = samples * (epochs - 1) / sum(seconds[1:])
    json.dump({"images_per_second": throughput, "train_accuracy": float(accuracy)}, sys.stdout)


if __name__ == "__main__":
    main()
