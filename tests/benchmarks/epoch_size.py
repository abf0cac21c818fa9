"""What the few images of an epoch in turns change: the same training on epochs of few images and on whole ones.

    python -m tests.benchmarks.epoch_size [-k EXPRESSION] [--blocks 4] [--data-dir DIR] [--python torch=PYTHON] ...

Rows that take turns train on the first images alone, over and over. Those may lie in a cache that the whole data set
does not fit into, and what an epoch costs once comes thirty times as often. Here both kinds of epoch take turns with
each other, each in its own process, on as many images a turn.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import statistics
from pathlib import Path
from typing import Final

from bench.cli.datasets import dataset_of, prepare
from bench.experiments import blocks
from bench.experiments.blocks import Arm, Task
from bench.machine.capture import usable_core_count
from bench.records.result import Dataset
from bench.scenarios.scenario import Scenario
from bench.scenarios.selection import select
from bench.scenarios.suite import expand, load_suite
from bench.stats import intervals
from bench.worker import session
from bench.worker.interpreters import Interpreters, interpreters_of
from bench.worker.process import Cancellation
from mnist_core.datasets import DatasetName
from mnist_core.recipe import Recipe

_TURNS: Final = 4
_LIFE_SECONDS: Final = 1200.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-k", dest="keyword", help="rows of the suite peers")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--python", action="append", default=[], metavar="FRAMEWORK=PYTHON")
    options = parser.parse_args()
    prepared = prepare(DatasetName.AUTO, options.data_dir)
    measure = functools.partial(
        measure_row,
        dataset=dataset_of(prepared),
        data_directory=prepared.directory,
        interpreters=interpreters_of(options.python, os.environ),
    )
    plan = expand(load_suite("peers"))
    chosen = plan if options.keyword is None else select(plan, options.keyword)
    rows = {planned.scenario: planned.recipe for planned in chosen}
    print("| row | epochs of | a whole epoch takes, for each image | blocks |\n| :--- | ---: | ---: | ---: |")
    for scenario, recipe in rows.items():
        ratio = intervals.ratio_of(intervals.t_summary([measure(scenario, recipe) for _ in range(options.blocks)]))
        ends = "" if ratio.lower is None or ratio.upper is None else f" [{ratio.lower:.3f}, {ratio.upper:.3f}]"
        print(
            f"| {scenario.name} | {recipe.samples:,} | {ratio.value:.3f} times as long{ends} | {ratio.n} |", flush=True
        )


def measure_row(
    scenario: Scenario, recipe: Recipe, *, dataset: Dataset, data_directory: Path, interpreters: Interpreters
) -> float:
    """Measure a block; return the logarithm of the time per image in whole epochs over that in small ones."""
    threads = scenario.threads_per_context(usable_core_count())
    request = session.session_request(
        data_directory, dataset, recipe.seed, threads, scenario.engine, scenario.framework
    )
    start = functools.partial(
        session.start, interpreters.of(scenario.framework), request, life_seconds=_LIFE_SECONDS, stop=Cancellation()
    )
    whole = dataset.train_samples
    few = min(recipe.samples or whole, whole)
    epochs = {whole: 1, few: whole // few}
    outcome = blocks.measure_block(
        [
            Arm(
                label=samples,
                tasks=(Task(scenario=scenario, epoch_samples=samples, epochs=blocks.exactly(count)),),
                start=start,
            )
            for samples, count in epochs.items()
        ],
        turns=_TURNS,
        stop=Cancellation(),
    )
    if outcome.failures:
        raise SystemExit(f"{scenario.name}: {next(iter(outcome.failures.values())).detail}")
    seconds = {
        samples: statistics.fmean(math.log(window.seconds / window.samples) for window in measured[0].windows)
        for samples, measured in outcome.measurements.items()
    }
    return seconds[whole] - seconds[few]


if __name__ == "__main__":
    main()
