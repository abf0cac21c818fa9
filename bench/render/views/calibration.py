"""A machine's calibration as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.analysis.verdict import Verdict
from bench.records.calibration import Calibration, Replays, ScenarioCalibration
from bench.render import units
from bench.render.model.captions import describe_dataset, describe_machine, describe_versions
from bench.render.model.columns import Column, make_column
from bench.render.model.table import Fact, Table, TableRow, cell_of
from bench.render.phrases import change, clean_text
from bench.render.views.gates import common_setting, varying_axes
from bench.stats.intervals import Estimate


def calibration_tables(calibration: Calibration) -> list[Table]:
    """What identical code looks like on this machine, and what a gate here is worth."""
    caption = (
        ("machine", clean_text(describe_machine(calibration.environment))),
        ("data", clean_text(describe_dataset(calibration.dataset))),
        ("software", clean_text(describe_versions(calibration.environment))),
        (
            "recorded",
            (
                f"{calibration.blocks} blocks of identical code ({calibration.void_blocks} void), "
                f"{units.seconds(calibration.median_block_seconds)} each, {calibration.created_at}"
            ),
        ),
        *common_setting([each.scenario for each in calibration.scenarios]),
    )
    facts: dict[str, Fact] = {"machine_class": calibration.machine_class, "blocks": calibration.blocks}
    scenario_columns: list[Column[ScenarioCalibration]] = [
        *varying_axes([each.scenario for each in calibration.scenarios]),
        *_SCENARIO_COLUMNS,
    ]
    return [
        Table(
            title="calibration: identical code on both sides",
            caption=caption,
            facts=facts,
            headings=tuple(column.heading for column in scenario_columns),
            rows=tuple(
                TableRow(cells=tuple(cell_of(column, each) for column in scenario_columns))
                for each in calibration.scenarios
            ),
            notes=(),
        ),
        Table(
            title="calibration: whole gates replayed over these blocks",
            caption=(
                (
                    "gate",
                    (
                        f"margin {units.percentage(calibration.margin)} or the noise floor, alpha "
                        f"{calibration.alpha:g}, tolerance {units.percentage(calibration.tolerance)}, "
                        "10 minutes at most"
                    ),
                ),
            ),
            facts=facts,
            headings=tuple(column.heading for column in _REPLAY_COLUMNS),
            rows=tuple(
                TableRow(cells=tuple(cell_of(column, each) for column in _REPLAY_COLUMNS))
                for each in calibration.replays
            ),
            notes=(("", _SHARED_BLOCKS),),
        ),
    ]


_SHARED_BLOCKS: Final = (
    "the replays share blocks, each with new coins for its sides' names; the bounds hold for these blocks, and for "
    "other days as far as those are alike"
)


def _interval(each: ScenarioCalibration) -> Estimate:
    return Estimate(value=each.ratio, lower=each.ratio_lower, upper=each.ratio_upper, n=0)


_SCENARIO_COLUMNS: Final[Sequence[Column[ScenarioCalibration]]] = (
    make_column(
        "noise_floor",
        lambda each: each.noise_floor,
        units.percentage,
        title="noise\nfloor",
        priority=0,
        explanation="19 of 20 first looks (8 blocks) at identical code differed by less",
    ),
    make_column(
        "effect_robust_sd",
        lambda each: each.effect_robust_sd,
        lambda sd: f"{units.points(sd)} %",
        title="spread of\na block",
        priority=1,
        explanation="robust standard deviation of a block's effect (scaled median absolute deviation)",
    ),
    make_column(
        "ratio",
        _interval,
        title="time per image\n[95 % interval]",
        interval=True,
        priority=2,
        text=lambda each: change(_interval(each))[0],
        detail=lambda each: change(_interval(each))[1],
        explanation="over all blocks; identical code is equal",
    ),
    make_column(
        "coverage",
        lambda each: each.coverage,
        lambda share: f"{100 * share:.1f} %",
        title="coverage",
        priority=3,
        explanation="of 95 % intervals at the first look: the share that held the truth",
    ),
)


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _passed(each: Replays) -> float:
    good = sum(count for verdict, count in each.verdicts.items() if Verdict(verdict).passes)
    return good / each.gates


def _what(each: Replays) -> str:
    return "identical code" if each.slowdown == 0 else f"{units.percentage(each.slowdown)} slower everywhere"


_REPLAY_COLUMNS: Final[Sequence[Column[Replays]]] = (
    make_column("contender", _what, number=False, priority=0),
    make_column("gates", lambda each: each.gates, priority=1, explanation="whole gates, confirmation included"),
    make_column(
        "regressed",
        lambda each: each.regressed,
        _share,
        priority=0,
        explanation="gates that said so: false alarms on identical code, power elsewhere",
    ),
    make_column(
        "regressed_bounds",
        lambda _each: None,
        title="exact\nbounds",
        priority=0,
        data=False,
        text=lambda each: f"{_share(each.regressed_lower)} to {_share(each.regressed_upper)}",
        explanation="one-sided 95 % bounds of that share (Clopper-Pearson)",
    ),
    make_column("regressed_lower", lambda each: each.regressed_lower),
    make_column("regressed_upper", lambda each: each.regressed_upper),
    make_column("passed", _passed, _share, priority=0, explanation="unchanged or improved"),
    make_column(
        "undecided",
        lambda each: max(0.0, 1 - each.regressed - _passed(each)),
        _share,
        priority=2,
        explanation="inconclusive, underpowered or invalid: never a pass",
    ),
    make_column("median_blocks", lambda each: each.median_blocks, units.significant, title="blocks", priority=3),
    make_column(
        "median_seconds",
        lambda each: each.median_seconds,
        units.seconds,
        title="time",
        priority=2,
        explanation="median over the gates",
    ),
)
