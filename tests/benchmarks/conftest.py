"""What the JSON of a micro-benchmark says about the machine: our environment, as a result file has it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bench import measure
from bench.environment import capture
from bench.scenario import Framework


@pytest.hookimpl(optionalhook=True)  # where pytest-benchmark is not installed nobody calls it
def pytest_benchmark_generate_machine_info(config: pytest.Config) -> dict[str, Any]:
    """No host name, as pytest-benchmark's own has; no time, which would make every run another machine's."""
    environment = msgspec.to_builtins(capture(software=measure.describe(Framework.MXNET)))
    del environment["captured_at"]
    return {"environment": environment}
