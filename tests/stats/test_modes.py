"""A row whose processes have two speeds says so."""

from __future__ import annotations

import pytest

from bench.stats.modes import two_groups


@pytest.mark.parametrize(
    ("sample", "groups"),
    [
        ([78.0, 30.0, 76.0, 31.0, 32.0], ((30.0, 31.0, 32.0), (76.0, 78.0))),
        ([78.0, 76.0, 30.0, 36.0, 49.0], None),  # spread out: no two groups
        ([10.0, 10.1, 10.2, 11.0], None),
        ([10.0, 10.0, 12.0, 12.0], None),  # a fifth apart is noise here
        ([10.0, 50.0, 50.0], None),  # a single process is no group
        ([10.0], None),
        ([], None),
    ],
)
def test_two_groups_have_nothing_between_them(
    sample: list[float], groups: tuple[tuple[float, ...], tuple[float, ...]] | None
) -> None:
    assert two_groups(sample) == groups
