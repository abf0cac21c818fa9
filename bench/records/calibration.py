"""What a calibration file holds: what a machine of one class does to identical code."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from bench.ranges import Count, Fraction, PositiveCount, PositiveSeconds, Ratio, Seconds, TrainingSeed
from bench.records.base import Record, Timestamp
from bench.records.environment import Environment
from bench.records.result import Dataset
from bench.scenarios.scenario import Scenario

#: Raised by any change after which an older reader would misread or refuse a file.
#:
#: History:
#: 1. The first.
#: 2. More facts of the environment: kinds of core, who scales the clock, a digest of the source, the state of GPUs.
#:    Ranks and precision of a scenario, as in the result file's version 3. Every file of version 1 is one of version 2.
CALIBRATION_SCHEMA_VERSION: Final = 2


class ScenarioCalibration(Record, frozen=True, kw_only=True):
    """What identical code looked like for one scenario."""

    scenario: Scenario
    #: 95 % of first looks at identical code saw a slowdown or speed-up of less than this (0.02 = 2 %).
    noise_floor: Ratio
    #: Spread of the blocks' effects (log ratios): median absolute deviation, scaled to a standard deviation.
    effect_robust_sd: Ratio
    #: Mean effect over all blocks, as a ratio, and its 95 % interval: 1 for identical code.
    ratio: Ratio
    ratio_lower: Ratio
    ratio_upper: Ratio
    #: Share of the replays' 95 % intervals, at the first look, that held the truth.
    coverage: Fraction


class Replays(Record, frozen=True, kw_only=True):
    """Whole gates at one slowdown of side B."""

    slowdown: Ratio
    gates: PositiveCount
    #: Gates by verdict.
    verdicts: dict[str, Count]
    #: Share of gates with the verdict "regressed": false alarms at slowdown 0, power elsewhere.
    regressed: Fraction
    #: Exact one-sided 95 % upper bound of that share.
    regressed_upper: Fraction
    #: Exact one-sided 95 % lower bound of that share.
    regressed_lower: Fraction
    #: Blocks that a gate took, and their time.
    median_blocks: Ratio
    median_seconds: Seconds


class Calibration(Record, frozen=True, kw_only=True):
    """A calibration file: what later gates on this class of machines start from."""

    calibration_schema_version: PositiveCount = CALIBRATION_SCHEMA_VERSION
    created_at: Timestamp
    machine_class: str
    environment: Environment
    dataset: Dataset
    suite: str
    #: Recorded, and those of them that a gate would have replaced.
    blocks: PositiveCount
    void_blocks: Count
    median_block_seconds: PositiveSeconds
    seed: TrainingSeed
    alpha: Fraction
    margin: Ratio
    tolerance: Ratio
    scenarios: Annotated[tuple[ScenarioCalibration, ...], Meta(min_length=1)]
    replays: Annotated[tuple[Replays, ...], Meta(min_length=1)]

    def noise_floor(self, scenario: Scenario) -> float | None:
        return next((each.noise_floor for each in self.scenarios if each.scenario == scenario), None)
