"""What a page is made of, whoever made it: pictures, tables and words in sections, the answer first."""

from __future__ import annotations

from dataclasses import dataclass

from bench.render.model.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One drawing, and the words that go with it."""

    #: Unique on its page.
    key: str
    title: str
    #: What to look at.
    caption: str
    #: For who does not see it: what is shown. The numbers are told by themselves.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a page or a comment says."""

    title: str
    #: The answer, for each network and gate: (what it is about, a sentence or two).
    short: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
