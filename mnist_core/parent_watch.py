"""How a child process notices that its parent is gone, however it went. Standard library only."""

from __future__ import annotations

import os
import threading


def end_with_stdin() -> None:
    """From now on, end this process at once when its stdin ends: the parent holds the other end and writes no more."""
    threading.Thread(target=_wait, daemon=True).start()


def _wait() -> None:
    # Not sys.stdin: a thread inside its lock would make the interpreter abort when the process ends by itself.
    while os.read(0, 4096):
        pass
    os._exit(1)
