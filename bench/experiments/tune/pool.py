"""Live workers of a search: started when they are needed, a few at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from bench.experiments.pilot import StartSession
from bench.experiments.tune.racing import Step
from bench.records.result import Dataset
from bench.records.tune import (
    REFERENCE,
    Candidate,
    TuneFile,
    TunePlan,
)
from bench.worker import session
from bench.worker.process import Cancellation, Interpreter
from bench.worker.session import Session, SessionError
from mnist_core.recipe import Engine, Precision

#: Processes that are kept alive between candidates, at most: each holds the data and a framework, 0.4 GB.
_MOST_ALIVE: Final = 6
#: A command counts as hanging after this many times the duration of the whole pilot, and at least this many seconds.
PATIENCE: Final = 15.0
#: Seconds for a command of the pilot: importing the framework on a loaded machine, training ten batches on a slow one.
PILOT_SECONDS: Final = 300.0
#: Seconds that a process lives at most: longer than any search.
_LIFE_SECONDS: Final = 7 * 24 * 3600.0


def session_starter(stop: Cancellation) -> StartSession:
    """Return what starts the sessions of a search: this Python, this code."""
    return functools.partial(session.start, Interpreter(), life_seconds=_LIFE_SECONDS, stop=stop)


#: What a process reads only once: OpenMP threads, engine and precision.
PoolKey: TypeAlias = tuple[int, Engine, Precision]


@dataclasses.dataclass(frozen=True, slots=True)
class SearchSession:
    """What every measurement of a search needs."""

    plan: TunePlan
    dataset: Dataset
    start_session: StartSession
    data_directory: Path
    observer: TuneObserver
    stop: Cancellation

    def start(self, variables: PoolKey, seed: int) -> AbstractContextManager[Session]:
        threads, engine, precision = variables
        request = session.session_request(self.data_directory, self.dataset, seed, threads, engine, precision=precision)
        return self.start_session(request, command_seconds=self.plan.command_seconds)


@dataclasses.dataclass(slots=True)
class _Live:
    process: Session
    stack: contextlib.ExitStack
    is_ready: bool = False

    def wait_until_ready(self) -> Session:
        if not self.is_ready:
            self.process.wait_until_ready()
            self.is_ready = True
        return self.process


class WorkerPool:
    """Processes that live from one candidate to the next; the reference has one of its own, and stays set up in it."""

    def __init__(self, session: SearchSession) -> None:
        self._session = session
        #: The least recently used first.
        self._live: dict[PoolKey, _Live] = {}
        self._reference: _Live | None = None

    def close(self) -> None:
        for live in self._live.values():
            live.stack.close()
        self._live.clear()
        self.end_reference()

    def start(self, candidates: Iterable[Candidate]) -> None:
        """Start the workers that these candidates need, as far as they fit, so that they get ready together."""
        for key in dict.fromkeys(map(pool_key, candidates)):
            if key not in self._live and len(self._live) < _MOST_ALIVE:
                with contextlib.suppress(SessionError):  # `get` will meet it again
                    self._live[key] = self._start(key)

    def is_fresh(self, candidate: Candidate) -> bool:
        """Nothing was measured yet in the process that it would get."""
        live = self._live.get(pool_key(candidate))
        return live is None or not live.is_ready

    def get(self, candidate: Candidate) -> Session:
        """Return the worker of a candidate. Raise `SessionError` if none can be started."""
        key = pool_key(candidate)
        if key in self._live:
            self._live[key] = self._live.pop(key)
        else:
            if len(self._live) >= _MOST_ALIVE:
                self._live.pop(next(iter(self._live))).stack.close()
            self._live[key] = self._start(key)
        return self._live[key].wait_until_ready()

    def end(self, candidate: Candidate) -> None:
        """End the worker of a candidate, if there is one."""
        if (live := self._live.pop(pool_key(candidate), None)) is not None:
            live.stack.close()

    def reference(self) -> Session:
        """Return the worker of the reference, set up. Raise `SessionError` if it does not work."""
        plan = self._session.plan
        if self._reference is None:
            reference = plan.candidates[REFERENCE]
            self._reference = self._start(pool_key(reference))
            self._reference.wait_until_ready().set_up(reference.scenario, plan.screening_samples)
        return self._reference.process

    def end_reference(self) -> None:
        if self._reference is not None:
            self._reference.stack.close()
            self._reference = None

    def _start(self, variables: PoolKey) -> _Live:
        stack = contextlib.ExitStack()
        return _Live(stack.enter_context(self._session.start(variables, self._session.plan.seed)), stack)


def pool_key(candidate: Candidate) -> PoolKey:
    return candidate.omp_num_threads, candidate.scenario.engine, candidate.scenario.precision


class TuneObserver(Protocol):
    """Told what happens, as it happens."""

    def round_started(self, index: int, step: Step) -> None: ...
    def candidate_started(self, candidate: Candidate) -> None: ...
    def round_finished(self, tune_file: TuneFile) -> None: ...
