"""How fast an MLP trains after its process has waited: `python -m tests.benchmarks.cold_start [--data-dir DIR]`.

Prints the median seconds of each short window after a wait, over several waits: what leads in to a turn must last until
they are level.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
from pathlib import Path
from typing import Final

from bench.cli.datasets import dataset_of, prepare
from bench.scenarios.scenario import Scenario
from bench.worker import session
from bench.worker.process import Cancellation, Interpreter
from mnist_core.datasets import DatasetName
from mnist_core.recipe import Hybridize

_SAMPLES: Final = 500
_WINDOWS: Final = 30
_WAITS: Final = 12
_WAIT_SECONDS: Final = 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    prepared = prepare(DatasetName.AUTO, parser.parse_args().data_dir)
    dataset = dataset_of(prepared)
    alone = Scenario(network="mlp", contexts=("cpu(0)",), hybridize=Hybridize.STATIC, cpu_threads=1)
    pair = Scenario(network="mlp", contexts=("cpu(0)", "cpu(1)"), cpu_threads=1)
    for scenario in (alone, pair):
        request = session.session_request(prepared.directory, dataset, 1, 1, scenario.engine)
        start = functools.partial(session.start, Interpreter(), request, life_seconds=300.0, stop=Cancellation())
        with start(command_seconds=60.0) as process:
            process.wait_until_ready()
            process.set_up(scenario, _SAMPLES)
            found = []
            for _ in range(_WAITS):
                time.sleep(_WAIT_SECONDS)
                found.append([process.run_window(1).seconds for _ in range(_WINDOWS)])
        medians = [statistics.median(seconds) for seconds in zip(*found, strict=True)]
        level = statistics.median(medians[_WINDOWS // 2 :])
        print(f"{scenario.name}: {_SAMPLES} images take {1e3 * level:.1f} ms once the process is at its speed")
        begin = 0.0
        for seconds in medians:
            print(f"    {1e3 * begin:5.0f} ms after the wait: {seconds / level:.2f} times as long")
            begin += seconds


if __name__ == "__main__":
    main()
