"""A session: a live worker that sets up scenarios and trains timed windows on command.

Several sessions that take turns are how `gate` compares two versions of the code, and `tune` many settings of a loop.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

from bench.records.result import Dataset, FailureReason
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from bench.worker import process
from bench.worker.environment import worker_variables
from bench.worker.process import Cancellation, Interpreter, WorkerFailure, WorkerProcess
from bench.worker.protocol.base import Message
from bench.worker.protocol.commands import Evaluate, PreparePrediction, RunOffline, RunQueries, RunWindow, SetUp
from bench.worker.protocol.replies import (
    Evaluated,
    OfflineDone,
    PredictionReady,
    QueriesDone,
    SessionReady,
    SetUpDone,
    WindowDone,
)
from bench.worker.protocol.requests import SessionRequest
from mnist_core.recipe import Engine, Precision

#: Test images of the accuracy after the windows: enough to see that a scenario learns what the others do.
TEST_SAMPLES: Final = 1000
ReplyT = TypeVar("ReplyT", bound=Message)


class Session(Protocol):
    """A live worker. Each method waits for the worker's reply and raises `SessionError` if it fails."""

    def wait_until_ready(self) -> SessionReady: ...
    def set_up(self, scenario: Scenario, samples: int) -> SetUpDone: ...
    def run_window(self, epochs: int, lead_in: int = 0) -> WindowDone: ...
    def evaluate(self) -> Evaluated: ...
    def prepare_prediction(self, batch_sizes: Sequence[int]) -> PredictionReady: ...
    def run_queries(self, queries: int) -> QueriesDone: ...
    def run_offline(self, batch_size: int, samples: int) -> OfflineDone: ...


class SessionError(Exception):
    """A session ended without its result."""

    def __init__(self, failure: WorkerFailure) -> None:
        super().__init__(failure.detail)
        self.failure = failure


@contextlib.contextmanager
def start(
    interpreter: Interpreter,
    request: SessionRequest,
    *,
    life_seconds: float,
    command_seconds: float | None = None,
    stop: Cancellation,
) -> Iterator[Session]:
    """Start a session in a fresh process, which is killed after `life_seconds`, or when a command takes too long.

    Do not wait for the worker, so that several get ready together. Raise `SessionError` if it cannot be started.
    """
    variables = worker_variables(request.omp_num_threads, request.engine, request.precision)
    with contextlib.ExitStack() as stack:
        try:
            worker = stack.enter_context(process.start(interpreter, variables, life_seconds, stop))
        except OSError as error:
            detail = f"the worker could not be run: {error}"
            raise SessionError(WorkerFailure(FailureReason.CRASHED, detail, host=interpreter.host)) from error
        worker.send(request)
        yield _WorkerSession(worker, command_seconds)


@dataclasses.dataclass(frozen=True, slots=True)
class _WorkerSession:
    worker: WorkerProcess
    #: The longest that a reply may take; None: until the session's own end.
    command_seconds: float | None

    def wait_until_ready(self) -> SessionReady:
        return self._receive(SessionReady)

    def set_up(self, scenario: Scenario, samples: int) -> SetUpDone:
        self.worker.send(SetUp(scenario, samples))
        return self._receive(SetUpDone)

    def run_window(self, epochs: int, lead_in: int = 0) -> WindowDone:
        self.worker.send(RunWindow(epochs, lead_in))
        return self._receive(WindowDone)

    def evaluate(self) -> Evaluated:
        self.worker.send(Evaluate())
        return self._receive(Evaluated)

    def prepare_prediction(self, batch_sizes: Sequence[int]) -> PredictionReady:
        self.worker.send(PreparePrediction(tuple(batch_sizes)))
        return self._receive(PredictionReady)

    def run_queries(self, queries: int) -> QueriesDone:
        self.worker.send(RunQueries(queries))
        return self._receive(QueriesDone)

    def run_offline(self, batch_size: int, samples: int) -> OfflineDone:
        self.worker.send(RunOffline(batch_size, samples))
        return self._receive(OfflineDone)

    def _receive(self, kind: type[ReplyT]) -> ReplyT:
        late = threading.Event()
        with self._deadline(late):
            reply = self.worker.receive(kind)
        if not isinstance(reply, WorkerFailure):
            return reply
        if late.is_set():
            detail = f"no answer within {self.command_seconds:g} s"
            raise SessionError(WorkerFailure(FailureReason.TIMEOUT, detail, reply.log))
        raise SessionError(reply)

    @contextlib.contextmanager
    def _deadline(self, late: threading.Event) -> Iterator[None]:
        """Kill the worker, and set `late`, if the block takes longer than a command may."""
        if self.command_seconds is None:
            yield
            return

        def end() -> None:
            late.set()
            self.worker.kill()

        timer = threading.Timer(self.command_seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def check_sample_count(window: WindowDone, samples: int) -> WindowDone:
    """Return the window if it trained as many images as it was to.

    The measured code counts its own images: one that counts too many would look fast. Raise `SessionError` for another
    number.
    """
    if window.samples != samples:
        detail = f"a window trained {window.samples} images, not {samples}"
        raise SessionError(WorkerFailure(FailureReason.CRASHED, detail))
    return window


def explain_failure(failure: WorkerFailure) -> str:
    """Return why a worker failed, in one line that ends with the last line of its error output."""
    last = (failure.log.splitlines() or [""])[-1]
    output = f": {last}" if last and last not in failure.detail else ""
    return f"{failure.reason}: {failure.detail}{output}"


def session_request(
    data_directory: Path,
    dataset: Dataset,
    seed: int,
    threads: int,
    engine: Engine,
    framework: Framework = Framework.MXNET,
    precision: Precision = Precision.FLOAT32,
) -> SessionRequest:
    """Return the request of a session on a data set."""
    return SessionRequest(
        data_directory=str(data_directory),
        dataset=dataset,
        test_samples=min(dataset.test_samples, TEST_SAMPLES),
        seed=seed,
        omp_num_threads=threads,
        engine=engine,
        precision=precision,
        framework=framework,
    )
