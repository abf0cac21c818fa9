"""What a gate file holds: the plan of an interleaved comparison and every block of passes that was measured for it.

Raw values and every number that a verdict depends on, so that the same file gives the same verdict in every version of
the program. `experiments.gate.decision` draws the conclusions.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from bench.enums import StrEnum
from bench.ranges import (
    Count,
    Epochs,
    Fraction,
    Images,
    PositiveCount,
    PositiveSeconds,
    Probability,
    Ratio,
    Repeats,
    Seconds,
    Threads,
    TrainingSeed,
)
from bench.records.base import Record, Sha256, Timestamp
from bench.records.environment import Environment, Software
from bench.records.health import Health
from bench.records.result import Dataset, FailureReason, InProgress
from bench.scenarios.scenario import Scenario
from bench.stats.order_statistics import percentile_name
from bench.stats.paired import Order, Side

#: Raised by any change after which an older reader would misread or refuse a file.
#:
#: History:
#: 1. The first: plan, sides, environment, dataset, blocks.
#: 2. More axes of a scenario, as in the result file's version 2. Every file of version 1 is one of version 2.
#: 3. `budget_seconds`, `pilot_seconds` and `void_at_both_ends` of the plan, and more facts of the environment: kinds of
#:    core, who scales the clock, a digest of the source, the state of GPUs, and of the health: what slowed them. Ranks
#:    and precision of a scenario, as in the result file's version 3. `in_progress`, `commits_ahead` of a side, and
#:    `left_out_windows` of the plan. For gates of latency `metric` of the plan, `percentile` of its scenarios and
#:    `answered` of a pass. Every file of version 2 is one of version 3 without them.
GATE_SCHEMA_VERSION: Final = 3


class Purpose(StrEnum):
    """The purpose of a gate file, which decides when its measurement stops."""

    #: Until every scenario has its verdict, or the budget ends.
    GATE = "gate"
    #: Identical code on both sides, a fixed number of blocks.
    CALIBRATION = "calibration"


class GatePhase(StrEnum):
    """What a block is evidence for."""

    MAIN = "main"
    #: Fresh blocks of suspected scenarios alone; a regression must show in them again.
    CONFIRMATION = "confirmation"


class GateMetric(StrEnum):
    """What a gate compares."""

    #: The time of training on an image.
    THROUGHPUT = "throughput"
    #: The time that a single image's prediction takes: two of its percentiles.
    LATENCY = "latency"


#: Those that a gate of latency judges.
GATED_PERCENTILES: Final = (0.5, 0.99)
#: What a verdict is about: a scenario, and the percentile of its latency, or None for its training.
GateKey: TypeAlias = tuple[Scenario, float | None]


def name_of(key: GateKey) -> str:
    """Write what a verdict is about: the scenario's name, and of its latency the percentile."""
    scenario, percentile = key
    return scenario.name if percentile is None else f"{scenario.name}, {percentile_name(percentile)}"


class GatedScenario(Record, frozen=True, kw_only=True):
    """A scenario of the gate's suite, and how a pass measures it; in a gate of latency one for each percentile."""

    scenario: Scenario
    omp_num_threads: Threads
    #: Training images of an epoch, and epochs of a timed window, fixed by a pilot so that a window is long enough; in a
    #: gate of latency the queries of a turn, and 1.
    epoch_samples: Images
    window_epochs: Epochs
    #: Relative slowdown that identical code seemed to have here (0.02 = 2 %); None: this machine has no calibration.
    noise_floor: Ratio | None
    #: Whose time is judged (0.99: 99 % of the queries took no longer); None: the time of training.
    percentile: Probability | None = None

    @property
    def key(self) -> GateKey:
        return self.scenario, self.percentile

    @property
    def name(self) -> str:
        return name_of(self.key)

    @property
    def window_samples(self) -> int:
        return self.epoch_samples * self.window_epochs


class GatePlan(Record, frozen=True, kw_only=True):
    """Everything that a verdict depends on besides the measurements."""

    purpose: Purpose
    metric: GateMetric = GateMetric.THROUGHPUT
    suite: str
    scenarios: Annotated[tuple[GatedScenario, ...], Meta(min_length=1)]
    #: Timed windows per scenario and pass.
    windows: Repeats
    #: The slowest of them that are left out of a pass's mean; 0 in older files. One is always in it.
    left_out_windows: Count = 0
    #: Orders the passes and the scenarios, and seeds the trainings: block b trains with seed + b on both sides.
    seed: TrainingSeed
    #: Relative slowdown up to which nothing counts as a regression (0.02 = 2 % slower).
    margin: Ratio
    #: Relative slowdown below which the whole interval must lie for "unchanged" (0.10 = 10 % slower).
    tolerance: Ratio
    #: Loss of accuracy up to which nothing counts as a regression; a difference of fractions.
    accuracy_margin: Fraction
    #: Family-wise, one-sided, shared by all looks and scenarios.
    alpha: Probability
    #: Valid blocks at which the evidence is looked at.
    looks: Annotated[tuple[Repeats, ...], Meta(min_length=1)]
    #: Shared by the confirmation's looks.
    confirmation_alpha: Probability
    confirmation_looks: Annotated[tuple[Repeats, ...], Meta(min_length=1)]
    #: Significance level of each check of the measurement itself, shared by all scenarios.
    control_alpha: Probability
    #: A row in which a relative slowdown of this size would not have been suspected is never called unchanged.
    detectable_limit: Ratio = 0.1
    #: Relative change of speed over the windows of an invocation from which it counts as unsteady.
    steadiness_margin: Ratio = 0.1
    #: A block in which other tenants took more than this share of the machine is void.
    void_steal_fraction: Fraction
    #: A block is void whose anchor took longer than this times the run's median,
    void_anchor_ratio: Ratio
    #: both before and after the block; False, as in older files: at one of its ends.
    void_at_both_ends: bool = False
    #: More void blocks than this share make the machine unhealthy.
    unhealthy_fraction: Fraction
    #: The most blocks: a gate counts void ones, too, a calibration valid ones alone.
    max_blocks: Repeats
    #: Time for the blocks of a session; None: not recorded, or without a limit. No verdict depends on it.
    budget_seconds: PositiveSeconds | None = None
    #: What the pilot took, from which the time of a block is estimated; None: not recorded.
    pilot_seconds: PositiveSeconds | None = None


class SideDescription(Record, frozen=True, kw_only=True):
    """What one side is made of."""

    #: As the user gave it: a git reference, a folder; "working tree" without either.
    name: str
    git_commit: str | None
    #: Over the names and contents of the measured package's files.
    tree_digest: Sha256
    software: Software
    #: The Python it runs on, as the user gave it; None: the harness's own.
    python: str | None = None
    #: Commits to the measured package that a baseline has and the contender's history lacks; None: none, or not known.
    commits_ahead: PositiveCount | None = None


class AnsweredTurn(Record, frozen=True, kw_only=True):
    """What the queries of a turn took, one after the other."""

    p50_ns: PositiveCount
    p99_ns: PositiveCount
    #: Queries answered by another digit than the evaluation's.
    mismatches: Count

    def seconds(self, percentile: float) -> float:
        """Return the time of one of `GATED_PERCENTILES`."""
        return 1e-9 * (self.p50_ns if percentile == GATED_PERCENTILES[0] else self.p99_ns)


class ScenarioInvocation(Record, frozen=True, kw_only=True):
    """What one pass measured for one scenario."""

    scenario: Scenario
    first_step_seconds: Seconds
    warm_up_seconds: Seconds
    #: Images really trained in each window; padding never counts. In a gate of latency, queries that were answered.
    samples: tuple[PositiveCount, ...]
    #: From barrier to barrier; of a turn of queries all of them together.
    window_seconds: tuple[PositiveSeconds, ...]
    #: After the last window, on the first test images.
    test_accuracy: Fraction
    involuntary_context_switches: Count
    #: Of each window in a gate of latency; else empty.
    answered: tuple[AnsweredTurn, ...] = ()


class Invocation(Record, frozen=True, kw_only=True):
    """One side once: a fresh process for each OpenMP thread count of its scenarios."""

    side: Side
    #: In the order in which they were measured.
    scenarios: tuple[ScenarioInvocation, ...]


class InvocationFailure(Record, frozen=True, kw_only=True):
    """The reason why a block gave no result. It ends the gate, since a crash is never a pass."""

    side: Side
    reason: FailureReason
    #: One line.
    detail: str
    log: str


class Block(Record, frozen=True, kw_only=True):
    """Four passes that took turns, window by window; none where one of them failed."""

    index: Count
    phase: GatePhase
    order: Order
    started_at: Timestamp
    #: Start to end, processes included.
    seconds: PositiveSeconds
    seed: TrainingSeed
    health: Health
    #: In the order of their turns.
    passes: tuple[Invocation, ...]
    failure: InvocationFailure | None = None


class GateFile(Record, frozen=True, kw_only=True):
    """A gate file."""

    gate_schema_version: PositiveCount = GATE_SCHEMA_VERSION
    created_at: Timestamp
    environment: Environment
    dataset: Dataset
    baseline: SideDescription
    contender: SideDescription
    plan: GatePlan
    blocks: tuple[Block, ...] = ()
    #: The index of a block that was begun and has not ended.
    in_progress: InProgress | None = None


def draw(seed: int, index: int, scenarios: Sequence[GatedScenario]) -> tuple[Order, tuple[GatedScenario, ...]]:
    """Draw the turns of a block and the order of its scenarios: known beforehand, the same whenever it is measured."""
    generator = random.Random(f"{seed}/{index}")  # noqa: S311  # an order, not a secret
    order = generator.choice(list(Order))
    shuffled = list(scenarios)
    generator.shuffle(shuffled)
    return order, tuple(shuffled)


def with_block(gate_file: GateFile, block: Block) -> GateFile:
    return msgspec.structs.replace(gate_file, blocks=(*gate_file.blocks, block), in_progress=None)
