"""Measures where the epochs of a scenario go: phases in one process, MXNet's operators in another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from bench.experiments.profile import trace
from bench.experiments.scratch import scratch_folder
from bench.records.profile import PhaseRounds, ProfiledEpoch
from bench.worker import process
from bench.worker.environment import worker_variables
from bench.worker.process import Cancellation, Interpreter, OnEvent, WorkerFailure
from bench.worker.protocol.base import Message
from bench.worker.protocol.replies import Event, OperatorsReply, PhasesReply, RoundDone
from bench.worker.protocol.requests import OperatorsRequest, PhasesRequest, ProfileTarget

#: What makes MXNet run, and so record, every operator by itself. The graphs of inference are not profiled.
_UNBULKED: Final = {"MXNET_EXEC_BULK_EXEC_TRAIN": "0"}
ReplyT = TypeVar("ReplyT", bound=Message)


class ProfileError(Exception):
    """A process that gave no result, or a trace that cannot be read; one line with the cause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiler:
    """Starts the two processes of a profile, each with a time limit of its own."""

    target: ProfileTarget
    #: OpenMP threads of each CPU context.
    threads: int
    timeout_seconds: float
    stop: Cancellation

    def phases(self, steps: int | None, rounds: int, on_round: Callable[[int], None]) -> PhaseRounds:
        """Measure every phase in each of the rounds; `on_round` is told how many of them are done.

        `steps` None: as many as make an epoch long enough. Raises `ProfileError`.
        """

        def tell(event: Event) -> None:
            if isinstance(event, RoundDone):
                on_round(event.done)

        request = PhasesRequest(self.target, steps, rounds, self.threads)
        return self._answer(request, PhasesReply, on_event=tell).rounds

    def operators(self, steps: int) -> tuple[ProfiledEpoch, trace.Trace]:
        """Train an epoch of this many steps under MXNet's profiler. Raise `ProfileError` if that gives no result."""
        with scratch_folder() as directory:
            request = OperatorsRequest(self.target, steps, str(directory), self.threads)
            epoch = self._answer(request, OperatorsReply, _UNBULKED)
            try:
                recorded = trace.read(directory)
            except trace.TraceError as error:
                raise ProfileError(str(error)) from error
        profiled = ProfiledEpoch(
            unprofiled_seconds=epoch.unprofiled_seconds,
            profiled_seconds=epoch.profiled_seconds,
            engine_threads=recorded.engine_threads,
            operators=trace.times(recorded),
        )
        return profiled, recorded

    def _answer(
        self,
        request: PhasesRequest | OperatorsRequest,
        kind: type[ReplyT],
        variables: Mapping[str, str] | None = None,
        on_event: OnEvent = lambda _event: None,
    ) -> ReplyT:
        scenario = self.target.scenario
        reply = process.send_request(
            Interpreter(),
            request,
            kind,
            variables={
                **worker_variables(self.threads, scenario.engine, scenario.precision),
                **(variables or {}),
            },
            timeout_seconds=self.timeout_seconds,
            stop=self.stop,
            on_event=on_event,
        )
        if isinstance(reply, WorkerFailure):
            raise ProfileError(f"{scenario.name}: {reply.reason}: {reply.detail}")
        return reply
