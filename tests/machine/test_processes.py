"""What computes beside a benchmark is named."""

from __future__ import annotations

from dataclasses import dataclass, field

import psutil
import pytest

from bench.machine import processes


@dataclass
class FakeProcess:
    """As much of psutil's as is looked at: the first answer is 0, as psutil's is."""

    pid: int
    called: str
    percents: list[float]
    line: list[str] = field(default_factory=lambda: ["--password", "secret"])

    def cpu_percent(self) -> float:
        if not self.percents:
            raise psutil.NoSuchProcess(self.pid)
        return self.percents.pop(0)

    def name(self) -> str:
        return self.called


def test_the_busiest_are_named_with_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three at most, the busiest first; not this program, what it started, the idle or what ended meanwhile."""
    ours = psutil.Process().pid
    running = [
        FakeProcess(ours, "mnist-bench", [0.0, 99.0]),
        FakeProcess(-1, "idle", [0.0, 3.0]),
        FakeProcess(-2, "backup", [0.0, 40.0]),
        FakeProcess(-3, "compiler", [0.0, 98.4]),
        FakeProcess(-4, "ended", [0.0]),
        FakeProcess(-5, "browser", [0.0, 30.0]),
        FakeProcess(-6, "editor", [0.0, 20.0]),
    ]
    monkeypatch.setattr(psutil, "process_iter", lambda: iter(running))
    monkeypatch.setattr(processes, "_SECONDS", 0.0)
    assert processes.busiest() == ("compiler (98 %)", "backup (40 %)", "browser (30 %)")


def test_where_nothing_computes_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "process_iter", lambda: iter([FakeProcess(-1, "idle", [0.0, 0.0])]))
    monkeypatch.setattr(processes, "_SECONDS", 0.0)
    assert processes.busiest() == ()
