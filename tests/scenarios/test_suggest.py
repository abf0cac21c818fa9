"""A word that is unknown may have meant a known one."""

from __future__ import annotations

import pytest

from bench.suggest import meant, unknown
from mnist_core.recipe import Hybridize


@pytest.mark.parametrize(
    ("word", "expected"), [("statc", "static"), ("OFF", "off"), (" on ", "on"), ("maybe", None), ("", None)]
)
def test_the_nearest_word_is_meant(word: str, expected: str | None) -> None:
    """Case does not matter. Where all known words are far away, none is meant."""
    assert meant(word, Hybridize) == expected


def test_an_unknown_word_is_one_line() -> None:
    assert unknown("axis", "updte", ["layers", "update"]) == (
        "unknown axis 'updte'; did you mean 'update'? (known: layers, update)"
    )
    assert unknown("axis", "zzz", ["layers"], known_words="see --help") == "unknown axis 'zzz' (see --help)"
