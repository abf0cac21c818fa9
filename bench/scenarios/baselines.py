"""What ranks are compared with: one rank, each machine alone, and the same ranks that exchange nothing."""

from __future__ import annotations

import math

import msgspec

from bench.scenarios.axes import HOST_AXES, RANK_AXES
from bench.scenarios.hosts import placement
from bench.scenarios.scenario import DEFAULTS, Scenario


def share_of(scenario: Scenario) -> int:
    """Return the images of an update of the rank that has most of them."""
    return math.ceil(scenario.batch_size / scenario.ranks)


def alone(scenario: Scenario, batch_size: int, machine: int) -> Scenario:
    """Return the same training by one rank on a machine."""
    usual = {axis: DEFAULTS[axis] for axis in RANK_AXES} | {"first_host": machine}
    return msgspec.structs.replace(scenario, **usual, batch_size=batch_size)


def each_alone(scenario: Scenario) -> tuple[Scenario, ...]:
    """Return for each rank its machine alone, on its share of the batch."""
    return tuple(alone(scenario, share_of(scenario), machine) for machine in placement(scenario))


def without_exchange(scenario: Scenario) -> Scenario:
    """Return the same ranks, all at once, that exchange nothing."""
    usual = {axis: DEFAULTS[axis] for axis in RANK_AXES if axis not in {"ranks", *HOST_AXES}}
    return msgspec.structs.replace(scenario, **usual)
