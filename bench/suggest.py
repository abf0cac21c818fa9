"""What somebody may have meant whose word is none of the known ones."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def meant(word: str, known: Iterable[str]) -> str | None:
    """The nearest of the known words, whatever the case; None where none is near."""
    by_small_letters: dict[str, str] = {}
    for each in known:
        by_small_letters.setdefault(each.lower(), each)
    close = difflib.get_close_matches(word.strip().lower(), by_small_letters, n=1)
    return by_small_letters[close[0]] if close else None


def unknown(what: str, word: str, known: Iterable[str], *, known_words: str | None = None) -> str:
    """One line: "unknown axis 'updte'; did you mean 'update'? (known: layers, update)"."""
    names = tuple(known)
    near = meant(word, names)
    hint = "" if near is None else f"; did you mean {near!r}?"
    return f"unknown {what} {word!r}{hint} ({known_words or 'known: ' + ', '.join(names)})"
