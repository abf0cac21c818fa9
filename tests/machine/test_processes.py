"""What computes beside a benchmark is named."""

from __future__ import annotations

import subprocess
import sys

from bench.machine.processes import busiest


def test_processes_are_named_without_their_arguments() -> None:
    """Ours are not among them."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        try:
            found = busiest()
        finally:
            child.kill()
    assert len(found) <= 3
    assert not any("while True" in each for each in found)
