"""What a fake session replies."""

from __future__ import annotations

from bench.worker.protocol import Evaluated, SessionReady, WindowDone

READY = SessionReady(started_at="2026-01-31T12:00:00Z", startup_seconds=1.5)


def a_window(samples: int, seconds: float, last_batch_loss: float = 0.5) -> WindowDone:
    return WindowDone(
        samples=samples,
        seconds=seconds,
        cpu_seconds=seconds,
        involuntary_context_switches=0,
        train_accuracy=0.8,
        last_batch_loss=last_batch_loss,
    )


def an_evaluation(test_accuracy: float) -> Evaluated:
    return Evaluated(test_accuracy=test_accuracy, seconds=0.1, peak_rss_bytes=300_000_000, device_memory_bytes=None)
