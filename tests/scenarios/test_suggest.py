"""What a word that is none may have meant."""

from __future__ import annotations

import pytest

from bench.suggest import meant, unknown
from mnist_core.recipe import Hybridize


@pytest.mark.parametrize(
    ("word", "expected"), [("statc", "static"), ("OFF", "off"), (" on ", "on"), ("maybe", None), ("", None)]
)
def test_the_nearest_word_is_meant(word: str, expected: str | None) -> None:
    """Whatever the case; far from all of them, none is."""
    assert meant(word, Hybridize) == expected


def test_an_unknown_word_is_one_line() -> None:
    assert unknown("axis", "updte", ["layers", "update"]) == (
        "unknown axis 'updte'; did you mean 'update'? (known: layers, update)"
    )
    assert unknown("axis", "zzz", ["layers"], known_words="see --help") == "unknown axis 'zzz' (see --help)"
