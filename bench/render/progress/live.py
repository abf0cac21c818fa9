"""A line at the bottom of a terminal that says what is going on; in a pipe, nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.status import Status
from rich.text import Text
from typing_extensions import Self

from bench.render import units


class LiveLine:
    """Its words are asked for anew several times a second, so that a time in them ticks."""

    def __init__(self, console: Console, words: Callable[[], str]) -> None:
        self._console = console
        self._status = Status(_Asked(words), console=console)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._status.stop()


class LiveProgress:
    """What shows a live line for as long as its block lasts."""

    _live: LiveLine

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.__exit__()


@dataclass(frozen=True, slots=True)
class _Asked:
    words: Callable[[], str]

    def __rich__(self) -> Text:
        return Text(self.words(), no_wrap=True, overflow="ellipsis")


@contextlib.contextmanager
def elapsing(console: Console, what: str) -> Iterator[None]:
    """Around something that takes seconds and tells nothing: what it is, and for how long it has gone on."""
    begin = console.get_time()
    with LiveLine(console, lambda: f"{what} · {units.roughly(console.get_time() - begin)}"):
        yield
