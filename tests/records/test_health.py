"""When a block does not count: by what the machine did, and never by what was measured."""

from __future__ import annotations

import msgspec
import pytest

from bench.records.health import Health, void_reason, void_reasons
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


def test_later_blocks_do_not_revise_it() -> None:
    """What was slow when it ended stays void on a machine that is slow from then on."""
    slow = msgspec.structs.replace(USUAL, anchor_seconds=(0.0096, 0.0096))
    healths = [USUAL, USUAL, slow, slow, slow, slow]
    assert {*void_reasons(healths)} >= {2}
    assert void_reasons(healths)[2] == void_reasons(healths[:3])[2]
    assert void_reasons([]) == {}
