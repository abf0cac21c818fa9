"""What the measured loop costs over the tutorial's own: the same training, bare and as mnist-bench runs it.

`nox -s overhead -- [--pairs 20] [--data auto] [--data-dir DIR] [-o FILE.json]`

Both sides train in one process, each its own network from the same seed on its own shuffled copy of the data, one
epoch at a time, in the order ABBA ABBA: a process's luck is the same for both, and a drift of the machine cancels. The
clock is read as `bench.worker.measure.run` reads it. That the two train the same, to the last image, is asserted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

# Before anything that reads it is imported: one OpenMP thread per context, as the suite's default is on two cores.
os.environ["OMP_NUM_THREADS"] = "1"

import msgspec
import numpy as np
from scipy import stats

from bench.machine.capture import capture
from bench.scenarios.scenario import tutorial_setting
from bench.worker.backends import base
from mnist_core import datasets, networks, training
from mnist_core.idx import Split
from mnist_core.mxnet_border import mx
from mnist_core.recipe import Hybridize, Network, Recipe
from tests.support.reference_loop import tutorial_epoch

#: Images per epoch, so that an epoch takes about a second on the 2-core machine of results/baselines.
SAMPLES = {Network.MLP: 10_000, Network.LENET: 1_000}
BATCH_SIZE = 100


class Side:
    """One network and its data, and how an epoch of it is trained."""

    def __init__(self, network: Network, prepared: datasets.Prepared, *, bare: bool) -> None:
        train, _ = datasets.load(prepared.directory, digest=prepared.digest)
        train = Split(train.images[: SAMPLES[network]], train.labels[: SAMPLES[network]])
        self.epoch_accuracy = _bare(network, train) if bare else _under_the_harness(network, train)
        self._order = np.random.get_state()  # noqa: NPY002  # what NDArrayIter shuffles with: one for each side

    def epoch(self) -> tuple[float, float]:
        """Return (seconds, training accuracy) of one epoch, between barriers."""
        np.random.set_state(self._order)  # noqa: NPY002
        mx.nd.waitall()
        begin = time.perf_counter()
        accuracy = self.epoch_accuracy()
        mx.nd.waitall()
        seconds = time.perf_counter() - begin
        self._order = np.random.get_state()  # noqa: NPY002
        return seconds, accuracy


def _bare(network: Network, train: Split) -> Callable[[], float]:
    """Run the tutorial's statements, with nothing of ours around them."""
    contexts = [mx.cpu(0), mx.cpu(1)]
    training.seed_everything(Recipe().seed)
    net = networks.build(network, Hybridize.OFF)
    training.initialize(net, contexts, Recipe())
    net(mx.nd.zeros((1, 1, 28, 28)))  # draws the weights now, while the seed is this side's own
    trainer = training.make_trainer(net, Recipe())
    batches = training.training_batches(training.as_input(train.images), train.labels, BATCH_SIZE)
    return lambda: tutorial_epoch(net, batches, trainer, contexts)


def _under_the_harness(network: Network, train: Split) -> Callable[[], float]:
    """Train as `bench.worker.measure.run` does."""
    trained = base.create_workload(tutorial_setting(network), Recipe(), train)
    trained.build()
    trained.set_learning_rate(0.0)
    trained.train_throwaway_batch(1)  # draws the weights now
    trained.set_learning_rate(Recipe().learning_rate)
    trained.prepare()
    return lambda: trained.train_epoch().train_accuracy


def measure(network: Network, prepared: datasets.Prepared, pairs: int) -> list[tuple[float, float]]:
    """Return (bare, harness) seconds of `pairs` epochs each, after one epoch of each that does not count."""
    sides = (Side(network, prepared, bare=True), Side(network, prepared, bare=False))
    measured = []
    for pair in range(-1, pairs):
        order = (0, 1) if pair % 2 else (1, 0)
        results = {side: sides[side].epoch() for side in order}
        assert results[0][1] == results[1][1], f"the two sides did not train the same: {results}"
        if pair >= 0:
            measured.append((results[0][0], results[1][0]))
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--data", type=datasets.DatasetName, default=datasets.DatasetName.AUTO)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if arguments.pairs < 4 or arguments.pairs % 2:
        parser.error("--pairs: an even number, 4 or more: two pairs are one ABBA, and one has no interval")
    prepared = datasets.obtain(arguments.data, data_dir=arguments.data_dir)
    results = {}
    for network in SAMPLES:
        seconds = measure(network, prepared, arguments.pairs)
        # Throughput of the harness over that of the bare loop; two neighbouring pairs are one ABBA.
        logs = np.log([bare / harness for bare, harness in seconds]).reshape(-1, 2).mean(axis=1)
        low, high = stats.t.interval(0.95, len(logs) - 1, loc=logs.mean(), scale=stats.sem(logs))
        ratio, lower, upper = (math.exp(value) for value in (logs.mean(), low, high))
        print(f"{network}: throughput of harness / bare = {ratio:.4f} [{lower:.4f}, {upper:.4f}], n = {len(logs)} ABBA")
        results[str(network)] = {"ratio": ratio, "lower": lower, "upper": upper, "bare_and_harness_seconds": seconds}
    if arguments.output is not None:
        document = {"dataset": prepared.digest, "environment": msgspec.to_builtins(capture()), "results": results}
        arguments.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
