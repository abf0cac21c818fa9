"""A child does not outlive a parent that was killed."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil
import pytest

WATCH = "from mnist_core.probe import end_with_stdin; import time; end_with_stdin(); time.sleep({})"


@pytest.mark.slow
def test_a_child_ends_with_a_killed_parent() -> None:
    """After kill -9 of the parent, a trial that hangs in a driver does not stay behind."""
    trial = [sys.executable, "-c", WATCH.format(600)]
    parent = subprocess.Popen(
        [sys.executable, "-c", f"from mnist_core import devices; devices.run_child({trial!r}, 600)"]
    )
    children: list[psutil.Process] = []
    for _ in range(300):
        if children := psutil.Process(parent.pid).children():
            break
        time.sleep(0.1)
    time.sleep(1)  # whether it watches already or will find its stdin at an end, it must go
    assert [child.is_running() for child in children] == [True]
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive


def test_watching_does_not_disturb_a_childs_own_end() -> None:
    """With its stdin still open, it ends by itself with status 0."""
    with subprocess.Popen([sys.executable, "-c", WATCH.format(0.1)], stdin=subprocess.PIPE) as child:
        assert child.wait(30) == 0
