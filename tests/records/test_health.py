"""When a block does not count and when it counts but was disturbed: by what the machine did, never by what it gave."""

from __future__ import annotations

import msgspec
import pytest

from bench.records.health import Health, disturbances, void_reason, void_reasons
from tests.support.executor import A_BLOCK, a_slow_block

USUAL = A_BLOCK.health


def test_a_block_on_a_machine_as_usual_counts() -> None:
    assert void_reason([USUAL]) is None
    assert void_reason([USUAL, a_slow_block(1.24).health]) is None
    assert void_reason([msgspec.structs.replace(USUAL, steal_fraction=None)]) is None


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (a_slow_block(1.6).health, "the machine itself was 1.60 times slower than usual"),
        (msgspec.structs.replace(USUAL, steal_fraction=0.12), "12 % of the CPUs' time was stolen by other tenants"),
    ],
)
def test_a_disturbed_block_is_void(health: Health, words: str) -> None:
    assert void_reason([USUAL, USUAL, health]) == words


def test_the_limits_can_be_others() -> None:
    """A gate's file holds those that it was measured by."""
    assert void_reason([USUAL, USUAL, a_slow_block(1.6).health], anchor_ratio=1.7) is None
    assert void_reason([USUAL], steal_fraction=0.0001) is not None


def test_a_machine_that_is_slow_at_one_end_only_changed() -> None:
    """Turns cancel what changes, and two glances of a fifth of a second say little of the half minute between them."""
    changing = [USUAL, USUAL, msgspec.structs.replace(USUAL, anchor_seconds=(0.006, 0.012))]
    assert void_reason(changing) is None
    assert disturbances(changing) == {}
    assert void_reason(changing, at_both_ends=False) == "the machine itself was 2.00 times slower than usual"


def test_later_blocks_do_not_revise_it() -> None:
    """What was slow when it ended stays void on a machine that is slow from then on."""
    slow = msgspec.structs.replace(USUAL, anchor_seconds=(0.0096, 0.0096))
    healths = [USUAL, USUAL, slow, slow, slow, slow]
    assert {*void_reasons(healths)} >= {2}
    assert void_reasons(healths)[2] == void_reasons(healths[:3])[2]
    assert void_reasons([]) == {}


def usual(**changes: object) -> Health:
    return msgspec.structs.replace(USUAL, **changes)


@pytest.mark.parametrize(
    ("health", "reason"),
    [
        (usual(steal_fraction=0.03), "3 % of the CPUs' time was stolen by other tenants"),
        (usual(cpu_pressure_fraction=0.62), "for 62 % of the time something waited for a CPU"),
        (usual(anchor_seconds=(0.0108, 0.0096)), "the machine itself was 1.60 times slower than usual"),
    ],
)
def test_a_disturbed_block_is_told_with_its_reason(health: Health, reason: str) -> None:
    assert disturbances([USUAL, health, USUAL]) == {1: reason}


def test_what_is_usual_or_not_known_disturbs_nothing() -> None:
    blind = usual(steal_fraction=None, cpu_pressure_fraction=None, load_average=None)
    edge = usual(steal_fraction=0.02, cpu_pressure_fraction=0.5, anchor_seconds=(0.006, 0.009))
    assert disturbances([USUAL, blind, edge]) == {}
    assert disturbances([]) == {}
