"""A machine's calibration as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.analysis.verdict import Verdict
from bench.records.calibration import Calibration, Replays, ScenarioCalibration
from bench.render import units
from bench.render.model.column import Column, make_change_column, make_column
from bench.render.model.table import Fact, Table, make_table
from bench.render.model.words.captions import file_caption
from bench.render.model.words.labels import listed_axes, shared_setting
from bench.stats.intervals import Estimate


def calibration_tables(calibration: Calibration) -> list[Table]:
    """Return how much identical code differs on this machine, and how whole gates come out on it."""
    scenarios = [calibrated.scenario for calibrated in calibration.scenarios]
    data, machine, software = file_caption(calibration)
    recorded = (
        f"{calibration.blocks} blocks of identical code ({calibration.void_blocks} void), "
        f"{units.seconds(calibration.median_block_seconds)} each, {calibration.created_at}"
    )
    gate = (
        f"margin {units.percentage(calibration.margin)} or the noise floor, alpha {calibration.alpha:g}, "
        f"tolerance {units.percentage(calibration.tolerance)}, 10 minutes at most"
    )
    facts: dict[str, Fact] = {"machine_class": calibration.machine_class, "blocks": calibration.blocks}
    scenario_columns: list[Column[ScenarioCalibration]] = [
        *listed_axes(scenarios, with_network=True),
        *_SCENARIO_COLUMNS,
    ]
    return [
        make_table(
            "calibration: identical code on both sides",
            scenario_columns,
            calibration.scenarios,
            caption=[machine, data, software, ("recorded", recorded), *shared_setting(scenarios)],
            facts=facts,
        ),
        make_table(
            "calibration: whole gates replayed over these blocks",
            _REPLAY_COLUMNS,
            calibration.replays,
            caption=[("gate", gate)],
            facts=facts,
            notes=[("", _SHARED_BLOCKS)],
        ),
    ]


_SHARED_BLOCKS: Final = (
    "the replays share blocks, each with new coins for its sides' names; the bounds hold for these blocks, and for "
    "other days as far as those are alike"
)


_SCENARIO_COLUMNS: Final[Sequence[Column[ScenarioCalibration]]] = (
    make_column(
        "noise_floor",
        unit=units.percentage,
        title="noise\nfloor",
        priority=0,
        explanation="19 of 20 first looks at identical code differed by less",
    ),
    make_column(
        "effect_robust_sd",
        unit=lambda sd: f"{units.points(sd)} %",
        title="spread of\na block",
        priority=1,
        explanation="robust standard deviation of a block's effect (scaled median absolute deviation)",
    ),
    make_change_column(
        "ratio",
        lambda calibrated: Estimate(
            value=calibrated.ratio, lower=calibrated.ratio_lower, upper=calibrated.ratio_upper, n=0
        ),
        title="time per image\n[95 % interval]",
        priority=2,
        explanation="over all blocks; identical code is equal",
    ),
    make_column(
        "coverage",
        unit=units.tenths,
        priority=3,
        explanation="of 95 % intervals at the first look: the share that held the truth",
    ),
)


def _passed(replays: Replays) -> float:
    good = sum(replays.verdicts.get(verdict, 0) for verdict in Verdict if verdict.passes)
    return good / replays.gates


def _describe_contender(replays: Replays) -> str:
    return "identical code" if replays.slowdown == 0 else f"{units.percentage(replays.slowdown)} slower everywhere"


_REPLAY_COLUMNS: Final[Sequence[Column[Replays]]] = (
    make_column("contender", _describe_contender, number=False, priority=0),
    make_column("gates", priority=1, explanation="whole gates, confirmation included"),
    make_column(
        "regressed",
        unit=units.tenths,
        priority=0,
        explanation="gates that said so: false alarms on identical code, power elsewhere",
    ),
    make_column(
        "regressed_bounds",
        lambda _replays: None,
        title="exact\nbounds",
        priority=0,
        data=False,
        text=lambda replays: f"{units.tenths(replays.regressed_lower)} to {units.tenths(replays.regressed_upper)}",
        explanation="one-sided 95 % bounds of that share (Clopper-Pearson)",
    ),
    make_column("regressed_lower"),
    make_column("regressed_upper"),
    make_column("passed", _passed, units.tenths, priority=0, explanation="unchanged or improved"),
    make_column(
        "undecided",
        lambda replays: max(0.0, 1 - replays.regressed - _passed(replays)),
        units.tenths,
        priority=2,
        explanation="inconclusive, underpowered or invalid: never a pass",
    ),
    make_column("median_blocks", unit=units.significant, title="blocks", priority=3),
    make_column("median_seconds", unit=units.seconds, title="time", priority=2, explanation="median over the gates"),
)
