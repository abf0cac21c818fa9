"""What many tests ask for."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import cli
from bench.machine.capture import capture
from bench.scenarios.axes import Framework
from bench.worker.measure import run
from tests.support.cli import Command


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs `mnist-bench ARGS` in this process, in an empty folder; returns its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNIST_BENCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["mnist-bench", *map(str, arguments)])
        try:
            with pytest.raises(SystemExit) as caught:
                cli.main()
        finally:
            signal.signal(signal.SIGTERM, handler)
        return int(caught.value.code or 0)

    return run


@pytest.hookimpl(optionalhook=True)  # where pytest-benchmark is not installed nobody calls it
def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    """What the JSON of a micro-benchmark says about the machine: our environment, as a result file has it.

    No host name, as pytest-benchmark's own has; no time, which would make every run another machine's.
    """
    environment = msgspec.to_builtins(capture(software=run.describe(Framework.MXNET)))
    del environment["captured_at"]
    return {"environment": environment}
