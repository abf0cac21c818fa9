"""Documents: an answer, then sections of words, pictures and tables. Every format writes the same ones."""

from __future__ import annotations

from dataclasses import dataclass

from bench.render.model.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A drawing, and the words that go with it."""

    #: An identifier, unique on its page.
    key: str
    title: str
    #: What to look at.
    caption: str
    #: What is shown, for readers who do not see it; `numbers` has the numbers.
    alternative: str
    #: Every mark with its value, interval and n in words.
    numbers: tuple[str, ...]
    svg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and what stands below it."""

    key: str
    title: str
    words: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    #: What only few readers want; it has a line to be unfolded by.
    folded: Table | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A page, or a comment on a pull request."""

    title: str
    #: Machines and days.
    about: str = ""
    #: The answer for each network and gate, as (what it is about, a sentence or two).
    short: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
