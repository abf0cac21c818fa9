"""Measures what `race` wants to know next, until it wants no more or the budget ends.

The effects of a search are here: processes, the clock, and one save after every round. While screening, a process
lives on and measures one candidate after the other, since starting one takes far longer than a window; thread count and
engine are taken once for a process, so that each pair of them has its own. Everything else is measured in blocks.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.experiments import blocks, pilot
from bench.experiments.attempts import attempt
from bench.experiments.blocks import Arm, Task, lasting
from bench.experiments.pilot import Clock, PilotError, StartSession
from bench.experiments.tune import eliminations, estimates, racing
from bench.experiments.tune.pool import PATIENCE, PILOT_SECONDS, SearchSession, TuneObserver, WorkerPool, pool_key
from bench.experiments.tune.racing import Step
from bench.records.base import utc_now
from bench.records.result import Dataset
from bench.records.tune import (
    REFERENCE,
    Candidate,
    Measurement,
    MeasurementFailure,
    Round,
    TuneFile,
    TunePhase,
    TunePlan,
    with_round,
)
from bench.worker import session
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.protocol.replies import SetUpDone, WindowDone
from bench.worker.session import Session, SessionError

#: Windows of the reference in the pilot, besides the epoch of its set-up.
_PILOT_WINDOWS: Final = 2
#: The reference trains an epoch of a screening in about this time, all other candidates in less or not much more. Long
#: enough that what is done once an epoch does not count, short enough for hundreds of them.
_SCREENING_EPOCH_SECONDS: Final = 0.05
_LEAST_BATCHES: Final = 2
#: Number of candidates after which the reference is measured again: about once a second.
_CANDIDATES_BETWEEN: Final = 4
_REFERENCE_WINDOWS: Final = 2
#: Windows of a candidate: short ones that say how fast it is, and then long ones.
_SHORT_WINDOWS: Final = 3
_LONG_WINDOWS: Final = 2
_BLOCK_WINDOWS: Final = 10
_LEAST_COMMAND_SECONDS: Final = 30.0


def plan(
    candidates: Sequence[Candidate],
    *,
    reference_may_win: bool,
    exhaustive: bool,
    budget_seconds: float | None,
    start_session: StartSession,
    data_directory: Path,
    dataset: Dataset,
    seed: int,
    now: Clock = time.monotonic,
) -> TunePlan:
    """Plan a search, with window lengths from a pilot of the reference, which also fills the file caches.

    Raises `PilotError` if the reference does not work, and `SetupError` if nothing can.
    """
    reference = candidates[REFERENCE]
    scenario, begin = reference.scenario, now()
    threads, engine, precision = pool_key(reference)
    request = session.session_request(data_directory, dataset, seed, threads, engine, precision=precision)
    try:
        with start_session(request, command_seconds=PILOT_SECONDS) as running:
            running.wait_until_ready()
            seconds_per_sample = pilot.seconds_per_sample(
                running, scenario, dataset.train_samples, windows=_PILOT_WINDOWS
            )
    except SessionError as error:
        raise PilotError(f"the tutorial's loop does not work here: {session.explain_failure(error.failure)}") from error
    batches = max(_LEAST_BATCHES, math.ceil(_SCREENING_EPOCH_SECONDS / (seconds_per_sample * scenario.batch_size)))
    final_samples = pilot.window_size(scenario.batch_size, seconds_per_sample, dataset.train_samples).epoch_samples
    seconds = now() - begin
    return TunePlan(
        candidates=tuple(candidates),
        reference_may_win=reference_may_win,
        exhaustive=exhaustive,
        budget_seconds=budget_seconds,
        seed=seed,
        screening_samples=min(final_samples, batches * scenario.batch_size),
        final_samples=final_samples,
        test_samples=request.test_samples,
        command_seconds=max(_LEAST_COMMAND_SECONDS, PATIENCE * seconds),
        pilot_seconds=seconds,
    )


def run_rounds(
    tune_file: TuneFile,
    *,
    start_session: StartSession,
    data_directory: Path,
    save: Callable[[TuneFile], None],
    observer: TuneObserver,
    stop: Cancellation,
    now: Clock = time.monotonic,
) -> TuneFile:
    """Measure what `race` wants, save after every round, and return the file as it then is.

    Of a round that was cancelled, what was finished is kept. Raises `SetupError`, and `DeadlyError` for a round that
    has ended this program before.
    """
    save(tune_file)
    session = SearchSession(tune_file.plan, tune_file.dataset, start_session, data_directory, observer, stop)
    begin = now()
    with contextlib.closing(WorkerPool(session)) as pool:
        while not stop.requested and (step := racing.next_step(tune_file.plan, tune_file.rounds)) is not None:
            index, started_at = len(tune_file.rounds), utc_now()
            observer.round_started(index, step)
            with attempt(tune_file, index, save):
                if step.phase is TunePhase.SCREENING:
                    measured = _measure_one_by_one(session, pool, step)
                else:
                    pool.close()  # a block needs the memory
                    measured = _measure_in_turns(session, step, index)
            if (kept := measured.kept(stop)) is None:
                save(tune_file)
                break
            end = now()
            finished = Round(
                phase=step.phase,
                started_at=started_at,
                seconds=end - begin,
                measurements=tuple(kept.measurements),
                failures=tuple(kept.failures),
            )
            begin = end
            tune_file = _with_rulings(tune_file, finished)
            save(tune_file)
            observer.round_finished(tune_file)
    return tune_file


def _with_rulings(tune_file: TuneFile, finished: Round) -> TuneFile:
    ruled = eliminations.eliminations(tune_file.plan, (*tune_file.rounds, finished))
    return with_round(tune_file, msgspec.structs.replace(finished, ruled=ruled))


@dataclasses.dataclass(slots=True)
class _Measured:
    """What a round gave so far."""

    measurements: list[Measurement] = dataclasses.field(default_factory=list)
    failures: list[MeasurementFailure] = dataclasses.field(default_factory=list)

    def fail(self, candidate: int, ended: WorkerFailure, *, fresh: bool) -> None:
        self.failures.append(
            MeasurementFailure(
                candidate=candidate, reason=ended.reason, detail=ended.detail, log=ended.log, fresh=fresh
            )
        )

    def kept(self, stop: Cancellation) -> _Measured | None:
        """What of it counts; None: nothing.

        A cancellation kills the process of the candidate being measured, which is no failure of the candidate.
        """
        if not stop.requested:
            return self
        return _Measured(self.measurements) if self.measurements else None


def _measure_one_by_one(session: SearchSession, pool: WorkerPool, step: Step) -> _Measured:
    measured = _Measured()
    pool.start(session.plan.candidates[candidate] for candidate in step.candidates)
    level = None
    for number, candidate in enumerate(step.candidates):
        if number % _CANDIDATES_BETWEEN == 0:
            level = _measure_reference(session, pool, step, measured)
        if level is None or session.stop.requested:
            return measured
        session.observer.candidate_started(session.plan.candidates[candidate])
        _measure_candidate(session, pool, step, candidate, level, measured)
    _measure_reference(session, pool, step, measured)
    return measured


def _measure_reference(session: SearchSession, pool: WorkerPool, step: Step, measured: _Measured) -> float | None:
    """Its log rate; the second attempt is in a fresh process, and None after that."""
    samples = session.plan.screening_samples
    for fresh in (False, True):
        if session.stop.requested:
            break
        try:
            process = pool.reference()
            windows = [_window(process, samples, 1)]
            epochs = _epochs_for(step.window_seconds, windows[0])
            windows += [_window(process, samples, epochs) for _ in range(_REFERENCE_WINDOWS)]
        except SessionError as error:
            pool.end_reference()
            measured.fail(REFERENCE, error.failure, fresh=fresh)
        else:
            measurement = _measurement(REFERENCE, None, windows)
            measured.measurements.append(measurement)
            return estimates.log_rate(measurement, fastest=True)
    return None


def _measure_candidate(
    session: SearchSession, pool: WorkerPool, step: Step, candidate: int, level: float, measured: _Measured
) -> None:
    """Measure a candidate; if it fails in a process that others were measured in, try again in a fresh one."""
    planned, samples = session.plan.candidates[candidate], session.plan.screening_samples
    fresh = False
    while not (fresh or session.stop.requested):
        fresh = pool.is_fresh(planned)
        try:
            process = pool.get(planned)
            set_up = process.set_up(planned.scenario, samples)
            windows = [_window(process, samples, 1) for _ in range(_SHORT_WINDOWS)]
            measurement = _measurement(candidate, set_up, windows)
            if estimates.log_rate(measurement, fastest=True) - level >= step.hopeless_below:
                epochs = _epochs_for(step.window_seconds, *windows)
                windows += [_window(process, samples, epochs) for _ in range(_LONG_WINDOWS)]
                measurement = _measurement(candidate, set_up, windows)
        except SessionError as error:
            pool.end(planned)
            measured.fail(candidate, error.failure, fresh=fresh)
        else:
            measured.measurements.append(measurement)
            return


def _window(process: Session, samples: int, epochs: int) -> WindowDone:
    return session.check_sample_count(process.run_window(epochs), samples * epochs)


def _epochs_for(seconds: float, *windows: WindowDone) -> int:
    """Epochs of a window that lasts so long, from windows of one epoch."""
    return max(1, math.ceil(seconds / min(window.seconds for window in windows)))


def _measurement(
    candidate: int,
    set_up: SetUpDone | None,
    windows: Sequence[WindowDone],
    accuracies: tuple[float | None, float | None] = (None, None),
) -> Measurement:
    """`set_up` None: it was set up already."""
    first_accuracy, last_accuracy = accuracies
    return Measurement(
        candidate=candidate,
        set_up_seconds=0.0 if set_up is None else set_up.first_step_seconds + set_up.warm_up_seconds,
        samples=tuple(window.samples for window in windows),
        window_seconds=tuple(window.seconds for window in windows),
        first_accuracy=first_accuracy,
        last_accuracy=last_accuracy,
    )


def _measure_in_turns(session: SearchSession, step: Step, index: int) -> _Measured:
    """Measure a block; it gives failures alone if the reference fails, or if the search is to stop."""
    measured, plan = _Measured(), session.plan

    def arm(candidate: int) -> Arm[int]:
        planned = plan.candidates[candidate]
        start = functools.partial(session.start, pool_key(planned), plan.seed + index)
        task = Task(scenario=planned.scenario, epoch_samples=plan.final_samples, epochs=lasting(step.window_seconds))
        return Arm(label=candidate, tasks=(task,), start=start)

    outcome = blocks.measure_block(
        [arm(candidate) for candidate in step.candidates],
        turns=_BLOCK_WINDOWS,
        stop=session.stop,
        judge_first=True,
        needed={REFERENCE},
        on_turn=lambda candidate, _scenario: session.observer.candidate_started(plan.candidates[candidate]),
    )
    for candidate, failure in outcome.failures.items():
        measured.fail(candidate, failure, fresh=True)
    for candidate, (found,) in outcome.measurements.items():
        accuracies = (found.first_accuracy, found.evaluated.test_accuracy)
        measured.measurements.append(_measurement(candidate, found.set_up, found.windows, accuracies))
    return measured
