"""Run by a framework's own Python: one rank of a training, for tests/system/test_ranks.py to judge.

python -m tests.support.rank_process CASES.npz TRAINED.npz PLACE [FAULT]; "null" for PLACE trains in one process.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from bench.scenarios.axes import Compression, Exchange
from bench.scenarios.scenario import Scenario
from bench.worker.backends import base
from bench.worker.protocol.requests import RankPlace
from mnist_core import order
from mnist_core.idx import Split
from mnist_core.order import batch_sizes
from mnist_core.recipe import Recipe

EPOCHS = 2


def main() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    given, trained, at, *fault = sys.argv[1:]
    with np.load(given) as cases:
        scenarios = msgspec.json.decode(str(cases["scenarios"]), type=list[Scenario])
        train = Split(cases["images"], cases["labels"])
    place = msgspec.json.decode(at, type=RankPlace | None)
    if fault == ["a shard trained twice"]:
        whole = order.rank_share
        order.rank_share = lambda size, rank, ranks: whole(size, 0 * rank, ranks)
    backend = base.backend_for(scenarios[0].framework)
    if place is not None and place.exchange is not Exchange.NONE and fault != ["no exchange"]:
        backend.join(place)
    facts = [_train(scenario, train, place, fault) for scenario in scenarios]
    np.savez(
        trained, **{f"{number} {name}": value for number, each in enumerate(facts) for name, value in each.items()}
    )
    Path(trained).with_suffix(".done").touch()


def _end_with_parent() -> None:
    """End this process when stdin ends: without the parent that would kill it, it may wait for other ranks for ever."""
    os.read(0, 1)
    os._exit(1)


def _train(scenario: Scenario, train: Split, place: RankPlace | None, fault: list[str]) -> dict[str, Any]:
    """Train as the harness does: a warm-up at learning rate 0, then epochs."""
    whole = Compression.NONE
    alone = msgspec.structs.replace(scenario, ranks=1, exchange=Exchange.NONE, servers=0, compression=whole)
    if fault == ["no exchange"]:
        scenario = msgspec.structs.replace(scenario, exchange=Exchange.NONE, servers=0)
    made: Any = base.create_workload(alone if place is None else scenario, Recipe(), train, place)
    made.build()
    before = None if place is None else made.weights_digest()  # MXNet's own loop knows no shapes yet
    made.set_learning_rate(0.0)
    for size in batch_sizes(len(train.images), scenario.batch_size):
        made.train_throwaway_batch(size)
    after = made.weights_digest()
    if fault != ["a learning rate that stayed at 0"]:
        made.set_learning_rate(Recipe().learning_rate)
    made.prepare()
    epochs = [made.train_epoch() for _ in range(EPOCHS)]
    made.wait()
    made.barrier()
    is_whole = place is None or scenario.compression is Compression.NONE
    compressed = {} if is_whole else {"sent": _sent(scenario, made._store)}
    return {
        **compressed,
        "left_alone": before == after,
        "samples": sum(epoch.samples for epoch in epochs),
        "correct": sum(round(epoch.train_accuracy * epoch.samples) for epoch in epochs),
        "loss": epochs[-1].last_batch_loss(),
        "test_accuracy": made.evaluate(train),
        "digest": made.weights_digest(),
        "weights": np.concatenate([weight.reshape(-1) for weight in _weights(made)]),
    }


def _sent(scenario: Scenario, store: Any) -> list[float]:  # noqa: ANN401  # MXNet's store
    """Return what comes of 0.4 thresholds that each rank sends, three times: in thresholds."""
    mxnet = importlib.import_module("mnist_core.mxnet_border")
    updates = importlib.import_module("mnist_core.parts.updates")
    factor = Recipe().learning_rate / scenario.batch_size
    threshold = updates.compression_threshold(scenario.ranks, scenario.batch_size, factor)
    number, received = mxnet.nd.full((1,), 0.4 * threshold), mxnet.nd.zeros((1,))
    store.init(1, received)
    sent = []
    for _ in range(3):
        store.pushpull(1, number.copy(), out=received)
        sent.append(float(received.asscalar()) / threshold)
    return sent


def _weights(made: Any) -> list[NDArray[np.float32]]:  # noqa: ANN401  # a workload of any framework
    """Return the weights; MXNet's of the last context, whose copies are to be the same."""
    net = made._training.net if hasattr(made, "_training") else getattr(made, "_net", None)
    if net is None:
        weights: list[NDArray[np.float32]] = made.weights()
        return weights
    return [parameter.list_data()[-1].asnumpy() for parameter in net.collect_params().values()]


if __name__ == "__main__":
    main()
