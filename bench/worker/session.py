"""A live worker that measures scenario after scenario, window by window, as it is told.

Shared by whatever measures in turns: `gate` compares two versions of the code, `tune` many settings of the loop.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol, TypeVar

from bench.records.result import Dataset, FailureReason
from bench.scenarios.scenario import Scenario
from bench.worker import process
from bench.worker.environment import worker_variables
from bench.worker.process import Cancellation, Interpreter, Session, WorkerFailure
from bench.worker.protocol import Evaluate, Evaluated, PassReady, PassRequest, RunWindow, SetUp, SetUpDone, WindowDone
from mnist_core.recipe import Engine

#: A timed window lasts at least this long on the machine of the pilot: shorter ones measure the barriers.
WINDOW_SECONDS: Final = 0.3
#: The pilot is short, so its speed is only roughly right.
_WINDOW_SLACK: Final = 1.2
#: `NDArrayIter.reset` copies all images. Up to 32 MB glibc gives the same memory again (mallopt(3), M_MMAP_THRESHOLD);
#: above it each copy is mapped anew, and on a virtual machine the page faults of one window in two cost half its time:
#: 12 or 19 microseconds an image at 107 MB. 5,000 images are 16 MB.
_EPOCH_SAMPLES: Final = 5000
#: Test images of the accuracy after the windows: a paired difference, so that few are enough.
TEST_SAMPLES: Final = 1000

T = TypeVar("T")


class PassProcess(Protocol):
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
    request: PassRequest,
    *,
    life_seconds: float,
    command_seconds: float | None = None,
    stop: Cancellation,
) -> Iterator[PassProcess]:
    """A pass in a fresh process, which is killed after its life, or when a command takes longer than it may.

    Does not wait: passes get ready at the same time. Raises `SessionError` where none can be started.
    """
    variables = worker_variables(request.omp_num_threads, request.engine)
    with contextlib.ExitStack() as stack:
        try:
            session = stack.enter_context(process.session(interpreter, variables, life_seconds, stop))
        except OSError as error:
            detail = f"the worker could not be run: {error}"
            raise SessionError(WorkerFailure(FailureReason.CRASHED, detail)) from error
        session.send(request)
        yield _LivePass(session, command_seconds)


@dataclasses.dataclass(frozen=True, slots=True)
class _LivePass:
    session: Session
    #: None: only its life ends it.
    command_seconds: float | None

    def wait_until_ready(self) -> None:
        self._expect(PassReady)

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


def whole(window: WindowDone, samples: int) -> WindowDone:
    """The measured code counts its own images, so that whoever counts more than there are would look faster.

    Raises `SessionError` for any other number than asked for.
    """
    if window.samples != samples:
        detail = f"a window trained {window.samples} images, not {samples}"
        raise SessionError(WorkerFailure(FailureReason.CRASHED, detail))
    return window


def cause(ended: WorkerFailure) -> str:
    """Why a pass ended, in one line, with its own last words."""
    last = (ended.log.splitlines() or [""])[-1]
    words = f": {last}" if last and last not in ended.detail else ""
    return f"{ended.reason}: {ended.detail}{words}"


def request(data_directory: Path, dataset: Dataset, seed: int, threads: int, engine: Engine) -> PassRequest:
    """What a pass is started with."""
    return PassRequest(
        data_directory=str(data_directory),
        dataset=dataset,
        test_samples=min(dataset.test_samples, TEST_SAMPLES),
        seed=seed,
        omp_num_threads=threads,
        engine=engine,
    )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WindowSize:
    """A timed window: so many epochs of so many images."""

    epoch_samples: int
    epochs: int


def window_size(
    batch_size: int, seconds_per_sample: float, train_samples: int, window_seconds: float = WINDOW_SECONDS
) -> WindowSize:
    """The fewest epochs of whole batches that last long enough, each of them small enough."""
    batches = math.ceil(_WINDOW_SLACK * window_seconds / (seconds_per_sample * batch_size))
    batches_per_epoch = max(1, min(_EPOCH_SAMPLES, train_samples) // batch_size)
    epochs = math.ceil(batches / batches_per_epoch)
    samples = min(train_samples, batch_size * math.ceil(batches / epochs))
    return WindowSize(epoch_samples=samples, epochs=epochs)
