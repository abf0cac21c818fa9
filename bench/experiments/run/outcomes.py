"""What a session has answered, as the record of a run, of an epoch, or of a failure."""

from __future__ import annotations

from collections.abc import Sequence

from bench.experiments.run.predictions import prediction_of
from bench.records.environment import ClusterHost
from bench.records.result import Epoch, Failure, Run
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import PlannedRun
from bench.worker.process import WorkerFailure
from bench.worker.protocol.replies import Evaluated, PredictionWindows, SessionReady, SetUpDone, WindowDone
from bench.worker.protocol.requests import RunRequest


def cores_of(scenario: Scenario, hosts: Sequence[ClusterHost], usable_cores: int) -> int:
    """Return the usable cores of the first rank's machine; `usable_cores` are this one's, for a file without others."""
    return hosts[scenario.first_host].environment.usable_core_count if hosts else usable_cores


def epoch_of(window: WindowDone, evaluated: Evaluated | None, *, passes: int = 1) -> Epoch:
    """Return a window of so many epochs, and what was evaluated after it."""
    return Epoch(
        samples=window.samples,
        epoch_seconds=window.seconds,
        train_accuracy=window.train_accuracy,
        last_batch_loss=window.last_batch_loss,
        test_accuracy=None if evaluated is None else evaluated.test_accuracy,
        evaluation_seconds=None if evaluated is None else evaluated.seconds,
        passes=passes,
        ranks=window.ranks,
        energy=window.energy,
    )


def run_of(
    run: PlannedRun | RunRequest,
    omp_num_threads: int,
    ready: SessionReady,
    set_up: SetUpDone,
    windows: Sequence[tuple[WindowDone, Evaluated | None]],
    *,
    passes: int = 1,
    prediction: PredictionWindows | None = None,
) -> Run:
    """Return a run of these windows, each with what was evaluated after it; the last one was."""
    evaluated = windows[-1][1]
    assert evaluated is not None
    return Run(
        scenario=run.scenario,
        recipe=run.recipe,
        repeat=run.repeat,
        started_at=ready.started_at,
        omp_num_threads=omp_num_threads,
        per_context_batch_sizes=run.scenario.per_context_batch_sizes,
        startup_seconds=ready.startup_seconds,
        first_step_seconds=set_up.first_step_seconds,
        warm_up_seconds=set_up.warm_up_seconds,
        epochs=tuple(epoch_of(window, after, passes=passes) for window, after in windows),
        final_accuracy=evaluated.test_accuracy,
        epochs_cpu_seconds=sum(window.cpu_seconds for window, _after in windows),
        involuntary_context_switches=sum(window.involuntary_context_switches for window, _after in windows),
        peak_rss_bytes=evaluated.peak_rss_bytes,
        device_memory_bytes=evaluated.device_memory_bytes,
        training_peak_rss_bytes=evaluated.training_peak_rss_bytes,
        device_peak_bytes=evaluated.device_peak_bytes,
        prediction=prediction_of(prediction),
        numerics=set_up.numerics,
    )


def failure_of(run: PlannedRun | RunRequest | Failure, ended: WorkerFailure) -> Failure:
    """Return the failure of a run whose worker gave no result."""
    return Failure(
        scenario=run.scenario,
        recipe=run.recipe,
        repeat=run.repeat,
        reason=ended.reason,
        detail=ended.detail,
        log=ended.log,
        host=ended.host,
    )
