"""Measure what the parent of a long suite needs: memory and time over 1,000 runs that measure nothing.

`python -m tests.benchmarks.parent_memory [--runs 1000]`

The executor is a stand-in that answers at once; everything else is the real parent, and every run is really saved.
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from bench.experiments.run.runner import OnEpoch, run_plan
from bench.records import store
from bench.records.result import Epoch, Failure, ResultSet, Run
from bench.scenarios.axes import Framework
from bench.scenarios.suite import PlannedRun
from bench.worker.process import Cancellation
from bench.worker.protocol.requests import RunRequest
from mnist_core.devices import Device, Probe
from mnist_core.recipe import Recipe
from tests.support.executor import FakeBlocks
from tests.support.records import a_result_set, a_run, planned


class Instant(FakeBlocks):
    """An executor that answers at once with a run of ten epochs."""

    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        return a_run(scenario=request.scenario, recipe=request.recipe, repeat=request.repeat)


class Reporter:
    """An observer that prints the resident memory every hundred runs."""

    def __init__(self) -> None:
        self.rss_bytes: list[int] = []
        self._begin = time.perf_counter()

    def turn(self, planned: PlannedRun) -> None: ...
    def started(self, unit: Sequence[PlannedRun], position: int, total: int) -> None:
        if position % 100 == 0:
            self.rss_bytes.append(psutil.Process().memory_info().rss)
            seconds = time.perf_counter() - self._begin
            print(f"{position:5} runs: {self.rss_bytes[-1] / 2**20:6.1f} MiB, {seconds:6.1f} s")

    def epoch(self, planned: PlannedRun, index: int, epoch: Epoch) -> None: ...

    def finished(self, planned: PlannedRun, outcome: Run | Failure) -> None: ...
    def block_saved(self, result_set: ResultSet, unit: Sequence[PlannedRun], later: Sequence[PlannedRun]) -> None: ...


def no_device(_framework: Framework, _device: Device) -> Probe:
    raise AssertionError("no GPU is in this plan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    count = parser.parse_args().runs
    plan = tuple(planned(a_run(recipe=Recipe(seed=repeat), repeat=repeat)) for repeat in range(count))
    reporter = Reporter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.json"
        run_plan(
            a_result_set(plan=plan),
            executor=Instant(),
            data_directory=Path(folder),
            usable_cores=2,
            save=functools.partial(store.write, path),
            observer=reporter,
            probe=no_device,
            stop=Cancellation(),
        )
        print(f"file: {path.stat().st_size / 2**20:.1f} MiB")
    grown = (reporter.rss_bytes[-1] - reporter.rss_bytes[0]) / 2**20
    print(f"grown by {grown:.1f} MiB from run 100 to run {count // 100 * 100}")


if __name__ == "__main__":
    main()
