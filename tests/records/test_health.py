"""What disturbed a block is told; a quiet one has nothing to tell."""

from __future__ import annotations

import msgspec
import pytest

from bench.records.health import Health, disturbances
from tests.support.executor import A_BLOCK

QUIET = A_BLOCK.health


def quiet(**changes: object) -> Health:
    return msgspec.structs.replace(QUIET, **changes)


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        (quiet(steal_fraction=0.03), "3 % of the CPUs' time was stolen by other tenants"),
        (quiet(cpu_pressure_fraction=0.62), "for 62 % of the time something waited for a CPU"),
        (quiet(anchor_seconds=(0.006, 0.0096)), "the machine itself was 1.60 times slower than usual"),
    ],
)
def test_a_disturbed_block_is_told_with_its_reason(health: Health, reason: str) -> None:
    assert disturbances([QUIET, health, QUIET]) == {1: reason}


def test_what_is_usual_or_not_known_disturbs_nothing() -> None:
    blind = quiet(steal_fraction=None, cpu_pressure_fraction=None, load_average=None)
    edge = quiet(steal_fraction=0.02, cpu_pressure_fraction=0.5, anchor_seconds=(0.006, 0.009))
    assert disturbances([QUIET, blind, edge]) == {}
    assert disturbances([]) == {}
