"""The program as a process of its own, whose output is in the file `log` of the folder that it runs in."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

#: A loaded machine may need as long for one step, after which it prints a line.
PATIENCE_SECONDS: Final = 300.0


def start(folder: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start it there with a cache of its own, on the four files in `data`, with these variables besides."""
    with (folder / "log").open("a", encoding="utf-8") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "bench", *arguments, "--data-dir", str(folder / "data")],
            cwd=folder,
            env={**os.environ, "MNIST_BENCH_CACHE_DIR": str(folder / "cache"), **variables},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
        )


def ended(process: subprocess.Popen[str], folder: Path) -> tuple[int, str]:
    """Wait for its end for as long as it prints something now and then; return its status and what it printed.

    A search or a calibration measures again what a loaded machine spoilt, so that its time has no limit.
    """
    log = folder / "log"
    seen = -1
    while process.returncode is None and log.stat().st_size > seen:
        seen = log.stat().st_size
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_SECONDS)
    printed = log.read_text(encoding="utf-8")
    assert process.returncode is not None, f"it is silent and does not end: {printed}"
    return process.returncode, printed
