"""Execute runs in worker processes, on this machine or on those of a hosts file."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import msgspec

from bench.experiments.blocks import HealthWatch
from bench.experiments.pilot import StartSession
from bench.experiments.preflight.broken import find_broken
from bench.experiments.run import alone, exchanges, turns
from bench.experiments.run.exchanges import StartRanks
from bench.experiments.run.outcomes import failure_of
from bench.experiments.run.predictions import prediction_of
from bench.experiments.run.runner import OnEpoch
from bench.experiments.run.turns import BlockRequest, MeasuredRuns, OnTurn
from bench.records.environment import Software
from bench.records.result import Ceiling, Dataset, ExchangeCurve, Failure, FailureReason, Library, Run
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import placement
from bench.scenarios.scenario import Scenario
from bench.worker import cluster, process, session
from bench.worker.environment import worker_variables
from bench.worker.interpreters import Interpreters
from bench.worker.process import Cancellation, Interpreter, WorkerFailure
from bench.worker.protocol.replies import CeilingReply, EpochDone, Event, RunReply
from bench.worker.protocol.requests import CeilingRequest, RunRequest, SessionRequest
from bench.worker.seats import Machine, Seat, seats_here, seats_on, without_names
from bench.worker.session import Session, SessionError
from mnist_core.devices import Device, Probe

#: Enough for the start-up and a dozen sizes of a few seconds at most.
CEILING_TIMEOUT_SECONDS = 180.0
#: Enough for the same on a slow network.
_CURVE_SECONDS: Final = 600.0
#: Seconds that a process of a block lives at most: most of them it waits, and each of its commands has a time-out.
_LIFE_SECONDS: Final = 7 * 24 * 3600.0
#: Failures of ranks that may be the network's: none of their processes was to blame.
_OF_A_NETWORK: Final = frozenset({FailureReason.TIMEOUT, FailureReason.RANK_LOST})


def _with_health(run: Run, watch: HealthWatch) -> Run:
    _seconds, health = watch.health()
    return msgspec.structs.replace(run, health=health)


def _start_alone(
    seat: Seat,
    request: SessionRequest,
    *,
    life_seconds: float,
    command_seconds: float | None = None,
    stop: Cancellation,
) -> AbstractContextManager[Session]:
    return session.start(
        seat.interpreter, seat.placed(request), life_seconds=life_seconds, command_seconds=command_seconds, stop=stop
    )


@dataclasses.dataclass(frozen=True, slots=True)
class SubprocessExecutor:
    """Executes each run in fresh Python processes, on this machine or on those of a hosts file."""

    interpreters: Interpreters = dataclasses.field(default_factory=Interpreters)
    stop: Cancellation = dataclasses.field(default_factory=Cancellation)
    #: In the order of the hosts file; empty: all is measured on this machine.
    machines: tuple[Machine, ...] = ()
    #: Is told at once what failed in a block on several machines, whose other runs go on.
    on_loss: Callable[[str], None] = lambda _words: None

    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        return self._explained(self._execute(request, timeout_seconds, on_epoch), request.dataset)

    def _execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        def tell(event: Event) -> None:
            if isinstance(event, EpochDone):
                on_epoch(event.index, event.epoch)

        watch = HealthWatch(time.monotonic)
        seat, *_ = self._seats(request.scenario)
        request = seat.placed(request)
        if request.scenario.has_ranks:
            try:
                start = self._starter(request.scenario, timeout_seconds)
                return _with_health(alone.measure_alone(request, start, on_epoch), watch)
            except SessionError as error:
                return failure_of(request, error.failure)
        reply = process.send_request(
            seat.interpreter,
            request,
            RunReply,
            variables=worker_variables(request.omp_num_threads, request.scenario.engine, request.scenario.precision),
            timeout_seconds=timeout_seconds,
            stop=self.stop,
            on_event=tell,
        )
        if isinstance(reply, RunReply):
            run = msgspec.structs.replace(reply.run, prediction=prediction_of(reply.prediction))
            return _with_health(run, watch)
        return failure_of(request, reply)

    def execute_block(self, request: BlockRequest, on_turn: OnTurn) -> MeasuredRuns | None:
        """Measure runs in turns, each in a fresh process; None if asked to stop. Raises `SetupError` as `execute`."""
        measured = turns.measure_runs(
            request,
            lambda scenario: self._starter(scenario, _LIFE_SECONDS),
            self.stop,
            on_turn,
            on_failure=self._tell_loss,
        )
        if measured is None:
            return None
        explained = tuple(self._explained(outcome, request.dataset) for outcome in measured.outcomes)
        return dataclasses.replace(measured, outcomes=explained)

    def _tell_loss(self, scenario: Scenario, failure: WorkerFailure) -> None:
        if self.machines and not self.stop.requested:
            where = "" if scenario.has_ranks else f"on {self.machines[scenario.first_host].label}: "
            self.on_loss(f"lost in this block: {scenario.name}: {where}{without_names(failure.detail, self.machines)}")

    def _starter(self, scenario: Scenario, life_seconds: float) -> StartSession:
        """Return what starts a scenario's process, or its ranks."""
        if scenario.has_ranks:
            return self._ranks_starter(scenario, life_seconds)
        seat, *_ = self._seats(scenario)
        return functools.partial(_start_alone, seat, life_seconds=life_seconds, stop=self.stop)

    def _ranks_starter(self, scenario: Scenario, life_seconds: float) -> StartRanks:
        seats = self._seats(scenario)
        return functools.partial(cluster.start, seats, scenario=scenario, life_seconds=life_seconds, stop=self.stop)

    def _seats(self, scenario: Scenario) -> tuple[Seat, ...]:
        if self.machines:
            return seats_on(self.machines, scenario, self.interpreters)
        return seats_here(self.interpreters.of(scenario.framework), scenario.ranks)

    def _explained(self, outcome: Run | Failure, dataset: Dataset) -> Run | Failure:
        """Return an outcome; a failure on machines of a hosts file says which of them it was, by its label alone."""
        if isinstance(outcome, Run) or not self.machines:
            return outcome
        scenario, detail, host = outcome.scenario, outcome.detail, outcome.host
        if not scenario.has_ranks:
            detail = f"on {self.machines[scenario.first_host].label}: {detail}"
        elif host is None and outcome.reason in _OF_A_NETWORK and not self.stop.requested:
            used = [self.machines[place] for place in dict.fromkeys(placement(scenario))]
            broken = find_broken(used, scenario.framework, self.interpreters, dataset, self.stop)
            if broken is not None:
                detail, host = f"{broken.words}; {detail}", broken.host
        detail, log = (without_names(text, self.machines) for text in (detail, outcome.log))
        return msgspec.structs.replace(outcome, detail=detail, log=log, host=host)

    def _interpreter(self, framework: Framework | None) -> Interpreter:
        """Return the first machine's Python for a framework; None: for what needs none."""
        if self.machines:
            return self.machines[0].interpreter(framework or Framework.MXNET, self.interpreters)
        return Interpreter() if framework is None else self.interpreters.of(framework)

    def measure_curve(
        self, scenario: Scenario, data_directory: Path, dataset: Dataset, usable_cores: int
    ) -> ExchangeCurve | None:
        """Measure how long the engine of a scenario's ranks takes; None if asked to stop. Raises as `execute`."""
        start = self._ranks_starter(scenario, _CURVE_SECONDS)
        threads = self._seats(scenario)[0].threads or scenario.threads_per_context(usable_cores)
        curve = exchanges.measure_curve(scenario, threads, data_directory, dataset, start)
        if curve.failure is not None:
            curve = msgspec.structs.replace(curve, failure=without_names(curve.failure, self.machines))
        return None if self.stop.requested else curve

    def measure_ceiling(self, request: CeilingRequest) -> Ceiling | WorkerFailure:
        """Measure a ceiling. Raises `SetupError` if the library is not installed."""
        own = request.framework is Library.NUMPY
        reply = process.send_request(
            self._interpreter(None if own else Framework(request.framework.value)),
            request,
            CeilingReply,
            variables=worker_variables(request.omp_num_threads, precision=request.precision),
            timeout_seconds=CEILING_TIMEOUT_SECONDS,
            stop=self.stop,
        )
        return reply.ceiling if isinstance(reply, CeilingReply) else reply

    def probe(self, framework: Framework, device: Device) -> Probe:
        """Try out in a process of its own whether the framework can train on the device."""
        return process.probe(self._interpreter(framework), self.stop, framework, device)

    def describe(self, framework: Framework = Framework.MXNET, scenarios: Iterable[Scenario] = ()) -> Software:
        """Return what a worker loads when it imports the framework. Raises `SetupError` if it cannot."""
        return process.describe(self._interpreter(framework), self.stop, framework, scenarios)
