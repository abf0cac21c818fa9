"""A run of ranks that is alone: a session that is evaluated after every epoch, as one process that is alone is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.experiments.pilot import StartSession
from bench.records.result import Epoch, Run
from bench.worker import session
from bench.worker.protocol import RunRequest


def measure_alone(request: RunRequest, start: StartSession, on_epoch: Callable[[int, Epoch], None]) -> Run:
    """Measure all epochs of a run, each evaluated on the whole test set. Raise `SessionError` if it fails."""
    scenario, recipe, dataset = request.scenario, request.recipe, request.dataset
    samples = min(recipe.samples or dataset.train_samples, dataset.train_samples)
    asked = session.session_request(
        Path(request.data_directory), dataset, recipe.seed, request.omp_num_threads, scenario.engine, scenario.framework
    )
    epochs: list[Epoch] = []
    cpu_seconds, switches = 0.0, 0
    with start(msgspec.structs.replace(asked, test_samples=dataset.test_samples)) as running:
        ready, set_up = running.wait_until_ready(), running.set_up(scenario, samples)
        for index in range(recipe.epochs):
            window = session.check_sample_count(running.run_window(1), samples)
            evaluated = running.evaluate()
            cpu_seconds += window.cpu_seconds
            switches += window.involuntary_context_switches
            epochs.append(
                Epoch(
                    samples=window.samples,
                    epoch_seconds=window.seconds,
                    train_accuracy=window.train_accuracy,
                    last_batch_loss=window.last_batch_loss,
                    test_accuracy=evaluated.test_accuracy,
                    evaluation_seconds=evaluated.seconds,
                    ranks=window.ranks,
                )
            )
            on_epoch(index, epochs[-1])
    return Run(
        scenario=scenario,
        recipe=recipe,
        repeat=request.repeat,
        started_at=ready.started_at,
        omp_num_threads=request.omp_num_threads,
        per_context_batch_sizes=scenario.per_context_batch_sizes,
        startup_seconds=ready.startup_seconds,
        first_step_seconds=set_up.first_step_seconds,
        warm_up_seconds=set_up.warm_up_seconds,
        epochs=tuple(epochs),
        final_accuracy=evaluated.test_accuracy,
        epochs_cpu_seconds=cpu_seconds,
        involuntary_context_switches=switches,
        peak_rss_bytes=evaluated.peak_rss_bytes,
        device_memory_bytes=evaluated.device_memory_bytes,
    )
