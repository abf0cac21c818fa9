"""Run by a framework's own Python: probes what scenarios compute, for tests/system/test_peer_precision.py to judge.

python -m tests.support.numerics_process SCENARIOS.json ANSWERS.json [ignored]; "ignored": all is computed in float32.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import msgspec

from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from bench.worker.backends import base
from bench.worker.measure import numerics
from bench.worker.protocol.base import NumericsError
from mnist_core.data.synthetic import DEFAULT_SEED, draw
from mnist_core.idx import Split
from mnist_core.recipe import Recipe

_STEPS = {Framework.TORCH: "pytorch_steps", Framework.JAX: "jax_steps"}


def main() -> None:
    given, answers, *ignored = sys.argv[1:]
    scenarios = msgspec.json.decode(Path(given).read_bytes(), type=list[Scenario])
    if ignored:
        importlib.import_module(f"bench.worker.backends.{_STEPS[scenarios[0].framework]}").TYPES.clear()
    Path(answers).write_bytes(msgspec.json.encode([_fault(scenario) for scenario in scenarios]))


def _fault(scenario: Scenario) -> str:
    """Return why the scenario's precision is not in effect, or what else is wrong; "": nothing."""
    train = Split(*draw(scenario.batch_size, seed=DEFAULT_SEED))
    made = base.create_workload(scenario, Recipe(), train)
    made.build()
    made.set_learning_rate(0.0)
    made.train_throwaway_batch(scenario.batch_size)
    before = made.weights_digest()
    try:
        numerics.probe(made, scenario, train, scenario.batch_size, is_rank=False)
    except NumericsError as error:
        return str(error)
    made.train_throwaway_batch(scenario.batch_size)
    return "" if made.weights_digest() == before else "the probe has changed the weights"


if __name__ == "__main__":
    main()
