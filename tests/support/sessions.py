"""What a fake session replies."""

from __future__ import annotations

from collections.abc import Sequence

from bench.worker.protocol.replies import Evaluated, OfflineDone, PredictionReady, QueriesDone, SessionReady, WindowDone

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


class FakePredictions:
    """Predicts each image in a microsecond, and all digits as they are evaluated."""

    def prepare_prediction(self, batch_sizes: Sequence[int]) -> PredictionReady:  # as a session has it
        return PredictionReady(warm_up=100, timer_overhead_ns=40)

    def run_queries(self, queries: int) -> QueriesDone:
        return QueriesDone(ns=(1000,) * queries, warm_up=20, mismatches=0, involuntary_context_switches=0)

    def run_offline(self, batch_size: int, samples: int) -> OfflineDone:
        samples -= samples % batch_size
        return OfflineDone(batch_size=batch_size, samples=samples, seconds=1e-6 * samples)
