"""A column of a table: what a value is called, where it comes from, how it is written."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bench import suggest
from bench.errors import ConfigurationError
from bench.render.phrases import change
from bench.stats.intervals import Estimate

#: The value of a cell before it is formatted; None: absent.
Raw = str | int | float | bool | Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """The name of a column and how formats treat it."""

    #: The name for `--sort`, `--row` and `--column`, and the key in JSON.
    name: str
    #: The header in CSV: the name, with the unit where that has none.
    key: str
    #: The header in a table meant to be read, on one or two lines.
    title: str
    #: Whether it holds numbers, which are flush right and can be a pivot's value.
    number: bool = True
    #: Columns of greater priority make room first on a narrow terminal; 0 always stays; None: for programs only.
    priority: int | None = None
    #: False: it repeats other columns in a form for people only.
    data: bool = True
    #: Whether it holds drawings, which are for terminals only.
    picture: bool = False
    #: Whether its values are estimates, with an interval where there are processes enough.
    interval: bool = False
    #: Whether it tells rows apart and may share a column with others of the kind where there is little room.
    axis: bool = False
    #: The name in the legend; "": the title.
    term: str = ""
    #: What the legend says of it.
    explanation: str = ""


#: The rows that a column can read. A column of any scenario's axis is one of every kind of row, hence contravariant.
RowT_contra = TypeVar("RowT_contra", contravariant=True)
RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[RowT_contra]):
    """A heading, and how a row fills the cell under it."""

    heading: Heading
    value: Callable[[RowT_contra], Raw]
    #: The value as it is read, and a detail that is written behind it and aligned separately; None: absent.
    words: Callable[[RowT_contra], tuple[str | None, str] | None]


def make_column(
    name: str,
    value: Callable[[RowT], Raw] | None = None,
    unit: Callable[[Any], str] = str,
    *,
    key: str | None = None,
    title: str | None = None,
    number: bool = True,
    priority: int | None = None,
    data: bool = True,
    picture: bool = False,
    interval: bool = False,
    axis: bool = False,
    explanation: str = "",
    text: Callable[[RowT], str | None] | None = None,
    detail: Callable[[Any], str] | None = None,
    words: Callable[[RowT], tuple[str, str] | None] | None = None,
) -> Column[RowT]:
    """Make a column whose cells hold a value, written by `unit`, and behind it the `detail` of an estimate's interval.

    By default the value is what a row has under the column's name. Where people read something else, `text` makes the
    text of a row's cell, and `words` both its text and its detail.
    """
    read: Callable[[RowT], Raw] = value or operator.attrgetter(name)

    def formatted(row: RowT) -> tuple[str | None, str]:
        raw = read(row)
        number = raw.value if isinstance(raw, Estimate) else raw
        written = None if number is None else unit(number)
        return written if text is None else text(row), "" if raw is None or detail is None else detail(raw)

    heading = Heading(
        name=name,
        key=key or name,
        title=title or name.replace("_", " "),
        number=number and not picture,
        priority=priority,
        data=data and not picture,
        picture=picture,
        interval=interval or detail is not None,
        axis=axis,
        explanation=explanation,
    )
    return Column(heading=heading, value=read, words=words or formatted)


def make_change_column(
    name: str,
    time_ratio: Callable[[RowT], Estimate | None] | None = None,
    **options: Any,  # noqa: ANN401  # make_column's
) -> Column[RowT]:
    """Make a column of ratios of times, which reads as 4.1 % slower [1.9, 6.4]."""
    read: Callable[[RowT], Estimate | None] = time_ratio or operator.attrgetter(name)

    def words(row: RowT) -> tuple[str, str] | None:
        ratio = read(row)
        return None if ratio is None else change(ratio)

    return make_column(name, read, interval=True, words=words, **options)


def find(name: str, columns: Iterable[Column[RowT]], what: str) -> Column[RowT]:
    """Find a column by its name, its CSV header or its header in a table.

    Raise `ConfigurationError` for an unknown one, with a suggestion.
    """
    known: dict[str, Column[RowT]] = {}
    for column in columns:
        heading = column.heading
        for alias in (heading.name, heading.key, heading.title.replace("\n", " ")):
            known.setdefault(alias.lower(), column)
    found = known.get(name.strip().lower())
    if found is None:
        near = suggest.meant(name, known)
        hint = "" if near is None else f"; did you mean {known[near].heading.name!r}?"
        names = ", ".join(dict.fromkeys(column.heading.name for column in known.values()))
        raise ConfigurationError(f"unknown {what} {name!r}{hint} (known: {names})")
    return found
