"""What fake executors share."""

from __future__ import annotations

import abc
from pathlib import Path
from typing import Final

import msgspec

from bench.experiments.run.runner import OnEpoch, run_request
from bench.experiments.run.turns import BlockRequest, MeasuredRuns, OnTurn
from bench.records.health import Health
from bench.records.result import Failure, Run, RunBlock
from bench.worker.protocol.requests import RunRequest

#: A suite file: eight scenarios, each in processes that are alone.
EIGHT_ALONE: Final = str(Path(__file__).with_name("eight_alone.toml"))
A_BLOCK = RunBlock(
    started_at="2026-01-31T12:00:00Z",
    seconds=30.0,
    health=Health(
        steal_fraction=0.001,
        cpu_pressure_fraction=0.1,
        load_average=1.0,
        throttle_count=None,
        anchor_seconds=(0.006, 0.006),
    ),
)


class FakeBlocks(abc.ABC):
    """Gives the runs of a block as `execute` gives them, with an accuracy at their end alone."""

    @abc.abstractmethod
    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure: ...

    def execute_block(self, request: BlockRequest, on_turn: OnTurn) -> MeasuredRuns | None:
        outcomes = []
        for place, planned in enumerate(request.runs):
            on_turn(planned)
            alone = run_request(planned, request.data_directory, request.dataset, request.usable_cores)
            outcome = self.execute(alone, planned.timeout_seconds, lambda _index, _epoch: None)
            outcomes.append(in_turns(outcome, request.index, place) if isinstance(outcome, Run) else outcome)
        return MeasuredRuns(self.block(request.index), tuple(outcomes))

    def block(self, index: int) -> RunBlock:
        """Return what the machine did during a block; nothing worth a word."""
        return A_BLOCK


def a_slow_block(factor: float) -> RunBlock:
    """The block of a machine that is slower than usual by this factor."""
    usual = A_BLOCK.health.anchor_seconds[0]
    health = msgspec.structs.replace(A_BLOCK.health, anchor_seconds=(factor * usual, factor * usual))
    return msgspec.structs.replace(A_BLOCK, health=health)


def in_turns(run: Run, block: int, place: int = 0) -> Run:
    """The run as it would be of a block: evaluated after its last turn, on a part of the test images."""
    *earlier, last = run.epochs
    epochs = [msgspec.structs.replace(epoch, test_accuracy=None, evaluation_seconds=None) for epoch in earlier]
    return msgspec.structs.replace(run, epochs=(*epochs, last), block=block, place=place, test_samples=2000)
