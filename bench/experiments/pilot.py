"""What gate and tune share: how a session is started, and a pilot that says how long a timed window must be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Protocol, TypeAlias

from bench.scenarios.scenario import Scenario
from bench.worker.protocol.requests import SessionRequest
from bench.worker.session import Session

#: Training steps of each window of a pilot.
_STEPS: Final = 10
#: Seconds that a timed window lasts at least. Neighbours in time are alike for about half a second on a shared machine,
#: so that shorter turns pair better; much shorter ones measure the barriers, and caches that others have filled.
WINDOW_SECONDS: Final = 0.05
#: A pilot is short, so that its speed is only roughly right: windows are planned longer by this factor.
_WINDOW_SLACK: Final = 1.2
#: Seconds of training before a window, uncounted, where the process had to wait. The kernel may wake the threads of
#: Python and of MXNet's engine on one core, and takes a while to part them: an image takes an MLP on one context 1.7
#: times as long for 60 ms after each wait, and one on two contexts 1.3 times for 70 ms, on a 2-core virtual machine
#: with Linux 6.18 (tests/benchmarks/cold_start.py). These are seconds at full speed.
LEAD_IN_SECONDS: Final = 0.05
#: An epoch of so many seconds is led in to by none, which would double its time: what it loses is 40 ms, or 2 %.
_LONG_EPOCH_SECONDS: Final = 2.0
#: Images of an epoch, at most. `NDArrayIter.reset` copies all images. Up to 32 MB glibc reuses the same memory
#: (mallopt(3), M_MMAP_THRESHOLD). Above it each copy is mapped again, and on a virtual machine the page faults of every
#: second window cost half its time: 12 or 19 microseconds an image at 107 MB. 5,000 images are 16 MB.
_EPOCH_SAMPLES: Final = 5000


#: Returns the seconds of a monotonic clock.
Clock: TypeAlias = Callable[[], float]


class StartSession(Protocol):
    """Starts a live worker for a request; the worker is killed when its block ends.

    It is `worker.session.start` with interpreter, life and cancellation bound by `functools.partial`. It does not wait
    until the worker is ready, so that several get ready at the same time. Raises `SessionError` if none can be started.
    """

    def __call__(
        self, request: SessionRequest, *, command_seconds: float | None = None
    ) -> AbstractContextManager[Session]: ...


class PilotError(Exception):
    """What is to be measured does not work at all; the message is one line with the cause."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WindowSize:
    """The training of a timed window: a number of epochs, each over so many images."""

    epoch_samples: int
    epochs: int


def seconds_per_sample(session: Session, scenario: Scenario, train_samples: int, *, windows: int) -> float:
    """Set the scenario up and return the seconds per image of its fastest epoch of ten steps.

    The epoch of the set-up is one of them; so many windows are the others.

    Raises `SessionError` if the worker fails.
    """
    samples = min(train_samples, _STEPS * scenario.batch_size)
    set_up = session.set_up(scenario, samples)
    timed = [session.run_window(1, lead_in(set_up.epoch_seconds)).seconds for _ in range(windows)]
    return min(set_up.epoch_seconds, *timed) / samples


def lead_in(epoch_seconds: float) -> int:
    """Return the fewest epochs that last `LEAD_IN_SECONDS`; 0 where an epoch is so long that it needs none."""
    return 0 if epoch_seconds >= _LONG_EPOCH_SECONDS else math.ceil(LEAD_IN_SECONDS / epoch_seconds)


def turn_epochs(epoch_seconds: float) -> int:
    """Return the epochs of a turn: twice those that lead in to it, or one that needs none.

    So two thirds of the time that a process trains are timed. What the kernel does with the threads after a wait is
    drawn anew for each turn: few long turns tell less of it than many short ones.
    """
    return max(1, 2 * lead_in(epoch_seconds))


def window_size(batch_size: int, seconds_per_sample: float, train_samples: int) -> WindowSize:
    """Return the fewest epochs of whole batches that last `WINDOW_SECONDS`, each of at most 5,000 images."""
    batches = math.ceil(_WINDOW_SLACK * WINDOW_SECONDS / (seconds_per_sample * batch_size))
    batches_per_epoch = max(1, min(_EPOCH_SAMPLES, train_samples) // batch_size)
    epochs = math.ceil(batches / batches_per_epoch)
    samples = min(train_samples, batch_size * math.ceil(batches / epochs))
    return WindowSize(epoch_samples=samples, epochs=epochs)
