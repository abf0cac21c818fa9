"""Which Python a worker runs on: one for each framework, here and on every other host."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import ConfigurationError
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host
from bench.worker.launch import launch_of
from bench.worker.process import Interpreter


@dataclass(frozen=True, slots=True)
class Interpreters:
    """A Python for each framework: they want different versions of NumPy, so that one environment cannot hold all."""

    #: The Pythons of frameworks that do not run on this program's own.
    python: Mapping[Framework, str] = field(default_factory=dict)

    def of(self, framework: Framework) -> Interpreter:
        return Interpreter(self.python.get(framework, sys.executable))


def interpreter_on(host: Host, framework: Framework, here: Interpreters) -> Interpreter:
    """Return a host's Python for a framework. On this machine it is this program's where the hosts file names none."""
    launch, own = launch_of(host), host.framework_python.get(framework)
    if launch is not None:
        return Interpreter(own or host.python or "python3", launch=launch)
    python = own or here.python.get(framework) or host.python or sys.executable
    return Interpreter(str(Path(python).expanduser()) if python.startswith("~") else python)


def interpreters_of(choices: Sequence[str], variables: Mapping[str, str]) -> Interpreters:
    """Parse "torch=/path/to/python"; a framework not named there is looked for in MNIST_BENCH_PYTHON_TORCH or its like.

    Raise `ConfigurationError` for an unknown framework, or a path that cannot be executed.
    """
    python = {
        framework: path
        for framework in Framework
        if (path := variables.get(f"MNIST_BENCH_PYTHON_{framework.value.upper()}"))
    }
    for choice in choices:
        name, _, path = choice.partition("=")
        known = [framework for framework in Framework if framework.value == name]
        if not known or not path:
            names = ", ".join(framework.value for framework in Framework)
            raise ConfigurationError(f"--python {choice!r}: expected FRAMEWORK=PATH, with one of {names}")
        python[known[0]] = path
    for framework, path in python.items():
        if shutil.which(path) is None:
            raise ConfigurationError(f"the Python for {framework}, {path}, cannot be executed")
    return Interpreters(python)
