"""A run of ranks that is alone: a session that is evaluated after every epoch, as one process that is alone is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from bench.experiments.pilot import StartSession
from bench.experiments.run.outcomes import epoch_of, run_of
from bench.records.result import Epoch, Run
from bench.worker import session
from bench.worker.protocol.replies import Evaluated, WindowDone
from bench.worker.protocol.requests import RunRequest


def measure_alone(request: RunRequest, start: StartSession, on_epoch: Callable[[int, Epoch], None]) -> Run:
    """Measure all epochs of a run, each evaluated on the whole test set. Raise `SessionError` if it fails."""
    scenario, recipe, dataset = request.scenario, request.recipe, request.dataset
    samples = min(recipe.samples or dataset.train_samples, dataset.train_samples)
    asked = session.session_request(
        Path(request.data_directory),
        dataset,
        recipe.seed,
        request.omp_num_threads,
        scenario.engine,
        scenario.framework,
        scenario.precision,
    )
    windows: list[tuple[WindowDone, Evaluated | None]] = []
    with start(msgspec.structs.replace(asked, test_samples=dataset.test_samples)) as running:
        ready, set_up = running.wait_until_ready(), running.set_up(scenario, samples)
        for index in range(recipe.epochs):
            window, evaluated = session.check_sample_count(running.run_window(1), samples), running.evaluate()
            windows.append((window, evaluated))
            on_epoch(index, epoch_of(window, evaluated))
    return run_of(request, request.omp_num_threads, ready, set_up, windows)
