"""What the harness costs: the tutorial's loop under mnist-bench beside the same loop as a bare script, interleaved.

`python tests/benchmarks/harness_overhead.py [--blocks 8] [--data auto] [--data-dir DIR] [-o FILE.json]`

Each block holds four fresh processes in the order ABBA or BAAB (bare script, harness), so that a linear drift of the
machine cancels; its effect is the difference of mean log throughputs. The first epoch counts on neither side.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
from scipy import stats

from bench.environment import capture
from bench.protocol import RunRequest
from bench.record import Dataset, Run
from bench.runner import WorkerProcess
from bench.scenario import Scenario, thread_variables
from mnist_core import datasets
from mnist_core.recipe import Recipe

#: Images per epoch, so that an epoch takes about a second.
SAMPLES = {"mlp": 10_000, "lenet": 1_000}
EPOCHS = 3
THREADS = 1


def bare(prepared: datasets.Prepared, network: str, seed: int) -> tuple[float, float]:
    """(images per second, last training accuracy) of the bare script."""
    command = [
        sys.executable,
        str(Path(__file__).with_name("bare_tutorial.py")),
        *(str(prepared.directory), network, str(SAMPLES[network]), str(EPOCHS), str(seed)),
    ]
    environment = {**os.environ, **thread_variables(THREADS)}
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    answer = json.loads(done.stdout)
    return answer["images_per_second"], answer["train_accuracy"]


def harness(prepared: datasets.Prepared, network: str, seed: int) -> tuple[float, float]:
    """The same two numbers of a run under mnist-bench."""
    request = RunRequest(
        scenario=Scenario(network=network),
        recipe=Recipe(epochs=EPOCHS, samples=SAMPLES[network], seed=seed),
        repeat=0,
        data_directory=str(prepared.directory),
        dataset=Dataset(
            name=prepared.name.value,
            digest=prepared.digest,
            source=prepared.source,
            train_samples=prepared.train_samples,
            test_samples=prepared.test_samples,
        ),
        omp_num_threads=THREADS,
    )
    run = WorkerProcess().execute(request, 600, lambda _index, _epoch: None)
    assert isinstance(run, Run), run
    counted = run.epochs[1:]
    throughput = sum(epoch.samples for epoch in counted) / sum(epoch.epoch_seconds for epoch in counted)
    return throughput, run.epochs[-1].train_accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=8)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--data", type=datasets.DatasetName, default=datasets.DatasetName.AUTO)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    prepared = datasets.obtain(arguments.data, data_dir=arguments.data_dir)
    order = random.Random(arguments.seed)  # an order, not a secret
    results: dict[str, object] = {}
    for network in SAMPLES:
        effects: list[float] = []
        blocks: list[list[tuple[str, float]]] = []
        for block in range(arguments.blocks):
            sides = "ABBA" if order.random() < 0.5 else "BAAB"  # a coin
            passes = []
            accuracies = set()
            for side in sides:
                throughput, accuracy = (bare if side == "A" else harness)(prepared, network, arguments.seed + block)
                passes.append((side, throughput))
                accuracies.add(accuracy)
            assert len(accuracies) == 1, f"the two sides did not train the same: {accuracies}"
            blocks.append(passes)
            means = {side: np.mean([math.log(t) for s, t in passes if s == side]) for side in "AB"}
            effects.append(float(means["B"] - means["A"]))
            print(f"{network} block {block + 1}: {math.exp(effects[-1]):.4f}", flush=True)
        mean, error = np.mean(effects), stats.sem(effects)
        low, high = stats.t.interval(0.95, len(effects) - 1, loc=mean, scale=error)
        print(f"{network}: harness / bare = {math.exp(mean):.4f} [{math.exp(low):.4f}, {math.exp(high):.4f}]")
        results[network] = {
            "ratio": math.exp(mean),
            "lower": math.exp(low),
            "upper": math.exp(high),
            "blocks": blocks,
        }
    if arguments.output is not None:
        environment = msgspec.to_builtins(capture())
        arguments.output.write_text(
            json.dumps({"dataset": prepared.name, "environment": environment, "results": results}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
