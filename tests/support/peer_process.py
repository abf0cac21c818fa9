"""Run by a peer's own Python: trains the cases it is given from the weights it is given, for test_peers.py to judge.

python -m tests.support.peer_process CASES.npz TRAINED.npz
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from bench.worker.backends import base, common
from bench.worker.backends.base import Workload
from bench.worker.measure.prediction import Predictions
from bench.worker.protocol.requests import PredictionPlan
from mnist_core.idx import Split
from mnist_core.order import batch_sizes
from mnist_core.recipe import Layers, Network, Recipe

EPOCHS = 2
#: With a weight and a bias each.
_LAYERS = {Network.MLP: 3, Network.LENET: 4}


def main() -> None:
    given = np.load(sys.argv[1])
    scenarios = msgspec.json.decode(str(given["scenarios"]), type=list[Scenario])
    train = Split(given["images"], given["labels"])
    trained: dict[str, Any] = {}
    initial = {network: [given[f"{network}{k}"] for k in range(2 * _LAYERS[network])] for network in Network}
    common.initial_weights = lambda network, _recipe: initial[Network(network)]  # type: ignore[assignment]
    for number, scenario in enumerate(scenarios):
        facts = train_case(scenario, train)
        trained |= {f"{number} {name}": value for name, value in facts.items()}
    np.savez(sys.argv[2], **trained)


def train_case(scenario: Scenario, train: Split) -> dict[str, Any]:
    compilations = _compilations_of(scenario.framework)
    made = base.create_workload(scenario, Recipe(), train)
    made.build()
    before = made.weights()
    made.set_learning_rate(0.0)
    for size in batch_sizes(len(train.images), scenario.batch_size):
        made.train_throwaway_batch(size)
    after = made.weights()
    made.set_learning_rate(Recipe().learning_rate)
    made.prepare()
    compiled = compilations()
    epochs = [made.train_epoch() for _ in range(EPOCHS)]
    made.wait()
    compiled_in_epochs = compilations() - compiled
    return {
        "left_alone": all(a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True)),
        "compiled_in_epochs": compiled_in_epochs,
        "samples": [epoch.samples for epoch in epochs],
        "accuracies": [epoch.train_accuracy for epoch in epochs],
        "last_batch_loss": epochs[-1].last_batch_loss(),
        "test_accuracy": made.evaluate(train),
        "mismatches": mismatches(made, scenario, train) if predicts(scenario) else -1,
        "device_memory_bytes": str(made.device_memory_bytes()),
        **{f"weight{k}": weight for k, weight in enumerate(made.weights())},
    }


def predicts(scenario: Scenario) -> bool:
    """Tell whether a case also predicts: one of each execution and update, since what is compiled takes seconds."""
    in_batches = len(scenario.contexts) > 1
    return in_batches and (scenario.network == Network.MLP) == (scenario.layers is not Layers.CHANNELS_LAST)


def mismatches(made: Workload, scenario: Scenario, images: Split) -> int:
    """Return how many images are predicted as another digit than that which the evaluation finds."""
    count = len(images.images)
    plan = PredictionPlan(turns=2, queries=count, batch_sizes=(10,), samples=count)
    return sum(window.mismatches for window in Predictions(made, scenario, images, seed=1).run(plan).queries)


@functools.cache
def _compilations_of(framework: Framework) -> Callable[[], int]:
    """Return a function that counts the programs that the framework has compiled so far."""
    if framework is Framework.TORCH:
        counters = importlib.import_module("torch._dynamo.utils").counters
        return lambda: int(counters["stats"]["unique_graphs"])
    compiled: list[str] = []

    def count(event: str, _seconds: float, **_facts: object) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(event)

    importlib.import_module("jax").monitoring.register_event_duration_secs_listener(count)
    return lambda: len(compiled)


if __name__ == "__main__":
    main()
