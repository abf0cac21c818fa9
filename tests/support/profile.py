"""Profiles made up for tests: a test names only what it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.records.profile import EpochPhase, OperatorTimes, PhaseRounds, PhaseTimes, ProfiledEpoch, ProfileFile
from tests.support.records import CREATED_AT, a_dataset, a_scenario, an_environment

AN_OPERATOR = OperatorTimes(
    name="FullyConnected", calls=30, total_seconds=0.003, min_seconds=0.00005, max_seconds=0.0004
)


def phase_rounds(
    adds: Sequence[float],
    epoch: float,
    *,
    waited: float = 1.0,
    rounds: int = 2,
    steps: int = 10,
    samples: int = 1000,
) -> PhaseRounds:
    """Make rounds that are all alike: what each phase adds, the epoch beside it, and each phase waited for."""
    before = [sum(adds[:index]) for index in range(len(adds))]
    return PhaseRounds(
        steps=steps,
        samples=samples,
        epoch_seconds=(epoch,) * rounds,
        phases=tuple(
            PhaseTimes(
                phase=phase,
                without_seconds=None if index == 0 else (before[index],) * rounds,
                with_seconds=(before[index] + adds[index],) * rounds,
                waited_seconds=(waited,) * rounds,
                calls=1 if phase is EpochPhase.SHUFFLE else steps,
            )
            for index, phase in enumerate(EpochPhase)
        ),
    )


def a_profile(
    *,
    phases: PhaseRounds | None = None,
    operators: tuple[OperatorTimes, ...] = (AN_OPERATOR,),
    **changes: Any,  # noqa: ANN401  # whatever fields the record has
) -> ProfileFile:
    facts: dict[str, Any] = {
        "created_at": CREATED_AT,
        "environment": an_environment(),
        "dataset": a_dataset(),
        "scenario": a_scenario(),
        "seed": 42,
        "omp_num_threads": 1,
        "phases": phases or phase_rounds(adds=(0.1, 0.2, 0.3, 0.2, 0.1, 0.1), epoch=1.0, waited=0.2),
        "profiled": ProfiledEpoch(
            unprofiled_seconds=(1.1, 1.2, 1.1), profiled_seconds=1.5, engine_threads=2, operators=operators
        ),
    }
    return ProfileFile(**facts | changes)
