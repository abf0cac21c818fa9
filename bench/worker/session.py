"""A live worker that measures scenario after scenario, window by window, as it is told.

Shared by whatever measures in turns: `gate` compares two versions of the code, `tune` many settings of the loop.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol, TypeVar

from bench.records.result import Dataset, FailureReason
from bench.scenarios.scenario import Scenario
from bench.worker import process
from bench.worker.environment import worker_variables
from bench.worker.process import Cancellation, Interpreter, WorkerFailure, WorkerProcess
from bench.worker.protocol import (
    Evaluate,
    Evaluated,
    RunWindow,
    SessionReady,
    SessionRequest,
    SetUp,
    SetUpDone,
    WindowDone,
)
from mnist_core.recipe import Engine

#: Test images of the accuracy after the windows: a paired difference, so that few are enough.
TEST_SAMPLES: Final = 1000

T = TypeVar("T")


class Session(Protocol):
    """One live pass; every method waits until it is done. Raises `SessionError` where it gave nothing."""

    def wait_until_ready(self) -> None: ...
    def set_up(self, scenario: Scenario, samples: int) -> SetUpDone: ...
    def run_window(self, epochs: int) -> WindowDone: ...
    def evaluate(self) -> Evaluated: ...


class SessionError(Exception):
    """A pass ended without its result."""

    def __init__(self, ended: WorkerFailure) -> None:
        super().__init__(ended.detail)
        self.ended = ended


@contextlib.contextmanager
def start(
    interpreter: Interpreter,
    request: SessionRequest,
    *,
    life_seconds: float,
    command_seconds: float | None = None,
    stop: Cancellation,
) -> Iterator[Session]:
    """A pass in a fresh process, which is killed after its life, or when a command takes longer than it may.

    Does not wait: passes get ready at the same time. Raises `SessionError` where none can be started.
    """
    variables = worker_variables(request.omp_num_threads, request.engine)
    with contextlib.ExitStack() as stack:
        try:
            session = stack.enter_context(process.start(interpreter, variables, life_seconds, stop))
        except OSError as error:
            detail = f"the worker could not be run: {error}"
            raise SessionError(WorkerFailure(FailureReason.CRASHED, detail)) from error
        session.send(request)
        yield _WorkerSession(session, command_seconds)


@dataclasses.dataclass(frozen=True, slots=True)
class _WorkerSession:
    session: WorkerProcess
    #: None: only its life ends it.
    command_seconds: float | None

    def wait_until_ready(self) -> None:
        self._expect(SessionReady)

    def set_up(self, scenario: Scenario, samples: int) -> SetUpDone:
        self.session.send(SetUp(scenario, samples))
        return self._expect(SetUpDone)

    def run_window(self, epochs: int) -> WindowDone:
        self.session.send(RunWindow(epochs))
        return self._expect(WindowDone)

    def evaluate(self) -> Evaluated:
        self.session.send(Evaluate())
        return self._expect(Evaluated)

    def _expect(self, kind: type[T]) -> T:
        late = threading.Event()
        with self._deadline(late):
            answer = self.session.receive()
        if isinstance(answer, kind):
            return answer
        if not isinstance(answer, WorkerFailure):
            answer = WorkerFailure(FailureReason.CRASHED, f"the pass answered {answer!r}")
        elif late.is_set():
            detail = f"no answer within {self.command_seconds:g} s"
            answer = WorkerFailure(FailureReason.TIMEOUT, detail, answer.log)
        raise SessionError(answer)

    @contextlib.contextmanager
    def _deadline(self, late: threading.Event) -> Iterator[None]:
        if self.command_seconds is None:
            yield
            return

        def end() -> None:
            late.set()
            process.kill_group(self.session.process)

        timer = threading.Timer(self.command_seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def check_sample_count(window: WindowDone, samples: int) -> WindowDone:
    """The measured code counts its own images, so that whoever counts more than there are would look faster.

    Raises `SessionError` for any other number than asked for.
    """
    if window.samples != samples:
        detail = f"a window trained {window.samples} images, not {samples}"
        raise SessionError(WorkerFailure(FailureReason.CRASHED, detail))
    return window


def explain_failure(ended: WorkerFailure) -> str:
    """Why a pass ended, in one line, with its own last words."""
    last = (ended.log.splitlines() or [""])[-1]
    words = f": {last}" if last and last not in ended.detail else ""
    return f"{ended.reason}: {ended.detail}{words}"


def session_request(data_directory: Path, dataset: Dataset, seed: int, threads: int, engine: Engine) -> SessionRequest:
    """What a pass is started with."""
    return SessionRequest(
        data_directory=str(data_directory),
        dataset=dataset,
        test_samples=min(dataset.test_samples, TEST_SAMPLES),
        seed=seed,
        omp_num_threads=threads,
        engine=engine,
    )
