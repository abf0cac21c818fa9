"""Measure how long and how much memory `compare`, `history` and `report` take for thousands of results.

    python -m tests.benchmarks.many_files [COUNT]

COUNT files (10,000) of 2 scenarios and 3 processes each are compared, and are a history; a file of 1,000 runs is made a
report of. Prints seconds and peak memory of the whole command, and of one that does nothing, which is what starting up
takes; of the report its size.
"""

from __future__ import annotations

import dataclasses
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from mnist_core.recipe import Hybridize, Recipe
from tests.support.records import a_result_set, a_run, a_scenario

RECIPE = Recipe(epochs=1, samples=20_000)


def make_files(folder: Path, count: int) -> None:
    noise = random.Random(20260131)
    for number in range(count):
        runs = [
            a_run(
                scenario=a_scenario(contexts="cpu(0)", hybridize=hybridize),
                recipe=dataclasses.replace(RECIPE, seed=42 + repeat),
                repeat=repeat,
                throughput=10_000 * noise.uniform(0.97, 1.03),
                accuracy=0.9,
            )
            for hybridize in (Hybridize.OFF, Hybridize.ON)
            for repeat in range(3)
        ]
        text = msgspec.json.format(msgspec.json.encode(a_result_set(*runs)), indent=1)
        (folder / f"{number:05}.json").write_bytes(text)


def make_large_file(path: Path) -> None:
    """Write a file of 200 scenarios with 5 processes each."""
    noise = random.Random(20260131)
    runs = [
        a_run(
            scenario=a_scenario(contexts=contexts, hybridize=hybridize, batch_size=100 * size),
            recipe=dataclasses.replace(RECIPE, seed=42 + repeat),
            repeat=repeat,
            throughput=1_000 * (10 + size) * noise.uniform(0.97, 1.03),
            accuracy=0.9,
        )
        for contexts in ("cpu(0)", "cpu(0),cpu(1)")
        for hybridize in (Hybridize.OFF, Hybridize.ON)
        for size in range(1, 51)
        for repeat in range(5)
    ]
    path.write_bytes(msgspec.json.format(msgspec.json.encode(a_result_set(*runs)), indent=1))


def measure(*arguments: str) -> str:
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "bench", *arguments], stdout=subprocess.DEVNULL)
    _pid, status, usage = os.wait4(process.pid, 0)
    assert status == 0, arguments
    return f"{arguments[0]}: {time.perf_counter() - started:.2f} s, {usage.ru_maxrss / 1024:.0f} MiB"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        make_files(Path(name), int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
        print(measure("--version"))
        print(measure("compare", str(Path(name) / "00000.json"), name))
        print(measure("history", name))
    with tempfile.TemporaryDirectory() as name:
        make_large_file(Path(name) / "large.json")
        page = Path(name) / "report.html"
        print(measure("report", str(Path(name) / "large.json"), "-o", str(page)))
        print(f"its page: {page.stat().st_size / 1e6:.2f} MB")
