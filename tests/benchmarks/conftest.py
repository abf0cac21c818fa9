"""What pytest-benchmark writes beside its numbers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench.machine.capture import capture
from bench.scenarios.axes import Framework
from bench.worker.measure import run


@pytest.hookimpl(optionalhook=True)  # where pytest-benchmark is not installed nothing calls it
def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    """Return what a micro-benchmark's JSON says of the machine: our environment, as a result file has it.

    No host name, as pytest-benchmark's own has; no time, which would make every run another machine's.
    """
    environment = msgspec.to_builtins(capture(software=run.describe(Framework.MXNET)))
    del environment["captured_at"]
    return {"environment": environment}
