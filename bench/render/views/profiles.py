"""A profile -> two tables: what each phase of an epoch takes, and each of MXNet's operators."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.experiments.profile.breakdown import CLOSURE, Breakdown, Operator
from bench.records.profile import ProfileFile
from bench.render import units
from bench.render.model.column import Column, make_column
from bench.render.model.marks import OPEN, Tone
from bench.render.model.table import Fact, Table, make_table
from bench.render.model.words.captions import facts_of, file_caption, file_facts, virtual_contexts
from bench.render.phrases import format_count
from mnist_core.recipe import Engine

_ALL_PHASES: Final = "all phases"


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the table of phases; seconds are of one epoch."""

    steps: int
    epoch_seconds: float
    name: str
    seconds: float | None
    waited_seconds: float | None
    spread_seconds: float | None = None
    calls: int | None = None

    def per_step(self, seconds: float | None) -> float | None:
        return None if seconds is None else seconds / self.steps * 1e6

    @property
    def share(self) -> float | None:
        return None if self.seconds is None else self.seconds / self.epoch_seconds

    @property
    def mean_microseconds(self) -> float | None:
        return None if self.seconds is None or not self.calls else self.seconds / self.calls * 1e6


def profile_tables(profile: ProfileFile, breakdown: Breakdown) -> list[Table]:
    """The phases, with the check that they are the epoch; the operators."""
    facts: dict[str, Fact] = {
        "scenario": profile.scenario.name,
        **file_facts(profile),
        "host_processor_model_name": profile.environment.host_processor_model_name,
        **facts_of(profile.phases, "steps", "samples"),
        "rounds": len(profile.phases.epoch_seconds),
        "epoch_seconds": breakdown.epoch_seconds,
        "phases_over_epoch": breakdown.closure,
        **facts_of(breakdown, "closes", "unbulked_factor", "profiled_factor"),
    }
    return [_phases(profile, breakdown, facts), _operators(profile, breakdown, facts)]


def describe_closure(breakdown: Breakdown) -> str:
    low, high = CLOSURE
    return (
        f"measured one by one, the phases sum to {units.tenths(breakdown.closure)} of the epoch "
        f"({100 * low:.0f} to {100 * high:.0f} % are expected)"
    )


def _phases(profile: ProfileFile, breakdown: Breakdown, facts: dict[str, Fact]) -> Table:
    measured = profile.phases
    rounds = len(measured.epoch_seconds)
    row = functools.partial(_Row, measured.steps, breakdown.epoch_seconds)
    together = breakdown.together
    rows = [
        *(row(str(p.phase), p.seconds, p.waited_seconds, p.spread_seconds, p.calls) for p in breakdown.parts),
        row(_ALL_PHASES, together.seconds, together.waited_seconds),
        row("rest", breakdown.rest_seconds, None),
        row("overlap", None, breakdown.overlap_seconds),
        row("epoch", breakdown.epoch_seconds, breakdown.epoch_seconds, breakdown.epoch_spread_seconds, 1),
    ]
    mark = "" if breakdown.closes else OPEN
    epoch = (
        f"{format_count(measured.steps, 'step')} on the first {measured.samples:,} images; "
        f"{format_count(rounds, 'round')} in one process, n = 1, so that there are no intervals; {profile.created_at}"
    )
    return make_table(
        f"where an epoch goes: {profile.scenario.name}",
        _PHASE_COLUMNS,
        rows,
        caption=[*file_caption(profile), ("epoch", epoch), *virtual_contexts([profile.scenario])],
        facts=facts,
        notes=[(mark, describe_closure(breakdown)), *_negative(breakdown)],
        mark=lambda row: mark if row.name == _ALL_PHASES else "",
        tone=lambda row: Tone.BAD if mark and row.name == _ALL_PHASES else Tone.PLAIN,
    )


def _negative(breakdown: Breakdown) -> list[tuple[str, str]]:
    """Explain phases that seem to take less than no time."""
    phases = [str(part.phase) for part in breakdown.parts if part.seconds < 0]
    if not phases:
        return []
    below = f"{' and '.join(phases)} below 0: epochs that ended after it were faster than those that ended before it"
    why = "to wait early can be cheaper than to wait late, and more --rounds cut the noise"
    return [("", f"{below}; {why}")]


def _operators(profile: ProfileFile, breakdown: Breakdown, facts: dict[str, Fact]) -> Table:
    steps = profile.phases.steps
    per_step = breakdown.operator_seconds / steps
    if profile.scenario.engine is Engine.NAIVE:
        where = "the loop's own thread (naive engine)"
    else:
        where = format_count(profile.profiled.engine_threads, "thread") + " of the engine"
    method = (
        f"one epoch of {format_count(steps, 'step')} in another process, with MXNET_EXEC_BULK_EXEC_TRAIN=0, since "
        f"bulked operators are one row, and MXNet's profiler: {units.factor(breakdown.profiled_factor)} the epoch "
        f"above ({units.factor(breakdown.unbulked_factor)} before the profiler began)"
    )
    together = (
        f"{units.seconds(per_step)} per step on {where}; a step of the epoch above takes "
        f"{units.seconds(breakdown.epoch_seconds / steps)}"
    )
    return make_table(
        f"MXNet's operators: {profile.scenario.name}",
        _OPERATOR_COLUMNS,
        breakdown.operators,
        caption=[("measured", method), ("operators together", together)],
        facts=facts,
    )


_PHASE_COLUMNS: Final[Sequence[Column[_Row]]] = (
    make_column("phase", lambda row: row.name, number=False, priority=0),
    make_column(
        "share",
        unit=units.tenths,
        title="share of\nthe epoch",
        priority=0,
        explanation="what the epoch takes longer for the phase: of two epochs without barriers, one ends with it and "
        "one before it; the epoch is measured for itself, rest is what no phase accounts for",
    ),
    make_column(
        "step_microseconds",
        lambda row: row.per_step(row.seconds),
        units.significant,
        title="µs/step",
        priority=0,
        explanation="the same for a step, mean of the middle half of the rounds",
    ),
    make_column(
        "spread_step_microseconds",
        lambda row: row.per_step(row.spread_seconds),
        units.significant,
        title="spread",
        priority=3,
        explanation="half the distance between the quartiles of the rounds, µs per step",
    ),
    make_column(
        "calls", lambda row: row.calls, priority=2, explanation="in an epoch; forward and backward: per context"
    ),
    make_column("mean_microseconds", unit=units.significant, title="µs/call", priority=2),
    make_column(
        "waited_step_microseconds",
        lambda row: row.per_step(row.waited_seconds),
        units.significant,
        title="waited for,\nµs/step",
        priority=1,
        explanation="the phase with a barrier before and after it, while nothing else works; overlap is the epoch less "
        "all of these: what the engine hides by working on several phases or contexts at once",
    ),
)

_OPERATOR_COLUMNS: Final[Sequence[Column[Operator]]] = (
    make_column("operator", lambda each: each.name, number=False, priority=0),
    make_column(
        "calls_per_step",
        unit=units.significant,
        title="calls/step",
        priority=1,
        explanation="all contexts together",
    ),
    make_column(
        "mean_microseconds",
        lambda each: each.mean_seconds * 1e6,
        units.significant,
        title="µs/call",
        priority=0,
        explanation="mean; oneDNN's and BLAS's kernels are inside",
    ),
    make_column(
        "share_of_operators",
        lambda each: each.share,
        units.tenths,
        title="share",
        priority=0,
        explanation="of the time of all operators, over all threads",
    ),
    make_column("cumulated_share", unit=units.tenths, title="cumulated", priority=2),
    make_column(
        "gflop_per_second",
        unit=units.significant,
        title="GFLOP/s",
        priority=1,
        explanation="of convolutions and dense layers: operations that no implementation can do without over the "
        "operator's time, all its layers together",
    ),
)
