"""What the parent reads of a worker, as the worker happens to write it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.worker import process
from bench.worker.process import Cancellation, Interpreter
from bench.worker.protocol.commands import Evaluate
from bench.worker.protocol.replies import SessionReady


def ready(seconds: float) -> SessionReady:
    return SessionReady(started_at="2026-01-31T12:00:00Z", startup_seconds=seconds)


@pytest.mark.slow
def test_messages_that_come_together_are_read_one_by_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two replies in one write, the second of them unfinished: neither is lost."""
    first, second = (msgspec.json.encode(ready(seconds)) + b"\n" for seconds in (1.0, 2.0))
    (tmp_path / "first").write_bytes(first + second[:10])
    (tmp_path / "second").write_bytes(second[10:])
    program = f"""
import os, pathlib, sys
os.write(1, pathlib.Path({str(tmp_path / "first")!r}).read_bytes())
sys.stdin.readline()
os.write(1, pathlib.Path({str(tmp_path / "second")!r}).read_bytes())
"""
    monkeypatch.setattr(process, "_code", lambda _measured: program)
    with process.start(Interpreter(), {}, 60.0, Cancellation()) as worker:
        assert worker.receive(SessionReady) == ready(1.0)
        assert worker.process.stdin is not None
        worker.process.stdin.write(b"go on\n")
        worker.process.stdin.flush()
        assert worker.receive(SessionReady) == ready(2.0)


def test_what_is_sent_to_a_worker_whose_end_was_seen_is_lost() -> None:
    """Another thread may have seen it: as with a rank that dies before the port is known at which all meet."""
    with process.start(Interpreter("/bin/false"), {}, 60.0, Cancellation()) as worker:
        worker.end()
        worker.send(Evaluate())
        worker.beat()
