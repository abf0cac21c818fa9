"""A line at the bottom of a terminal that says what is going on. In a pipe it shows nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.status import Status
from rich.text import Text
from typing_extensions import Self

from bench.experiments.run.eta import seconds_left
from bench.render import units


class LiveLine:
    """A line whose text is made again several times a second, so that a time in it ticks."""

    def __init__(self, console: Console, text: Callable[[], str]) -> None:
        self._console = console
        self._status = Status(_TextNow(text), console=console)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._status.stop()


class LiveProgress:
    """Shows a live line during its `with` block."""

    _live: LiveLine

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.__exit__()


@dataclass(frozen=True, slots=True)
class _TextNow:
    """A text that is made at every refresh."""

    text: Callable[[], str]

    def __rich__(self) -> Text:
        return Text(self.text(), no_wrap=True, overflow="ellipsis")


def format_left(console: Console, pieces: int, mean_seconds: float, began_at: float) -> str:
    """Say how long so many equal pieces will still take, the first of which began at this time of the console."""
    left = seconds_left(pieces, mean_seconds, console.get_time() - began_at)
    return f"about {units.roughly(left)} left"


@contextlib.contextmanager
def elapsing(console: Console, what: str) -> Iterator[None]:
    """Show what is going on, and for how long it has, while the block lasts."""
    begin = console.get_time()
    with LiveLine(console, lambda: f"{what} · {units.roughly(console.get_time() - begin)}"):
        yield
