"""A line at the bottom of a terminal that says what is going on. In a log it shows nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.status import Status
from rich.text import Text
from typing_extensions import Self

from bench.experiments.run.eta import seconds_left
from bench.render import units
from bench.render.formats.text import print_line


def moves_cursor(console: Console) -> bool:
    """Tell whether a console can show a line that is drawn over and over: FORCE_COLOR alone makes a log no terminal."""
    return console.is_interactive and console.file.isatty()


class LiveLine:
    """Shown during its `with` block; its text is made again several times a second, so that a time in it ticks."""

    def __init__(self, console: Console, text: Callable[[], str]) -> None:
        self._console = console
        self._text_now = text
        self._began_at = console.get_time()
        self._status = Status(self, console=console, spinner="line" if console.options.ascii_only else "dots")

    def __rich__(self) -> Text:
        return Text(self._text_now(), no_wrap=True, overflow="ellipsis")

    def __enter__(self) -> Self:
        if moves_cursor(self._console):
            self._status.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._status.stop()

    def format_elapsed(self) -> str:
        """Say how long it has been since the line was made."""
        return units.roughly(self._console.get_time() - self._began_at)

    def _format_pieces_left(self, pieces: int, mean_seconds: float, began_at: float) -> str:
        """Say how long so many equal pieces will still take, the first of which began at this time of the console."""
        left = seconds_left(pieces, mean_seconds, self._console.get_time() - began_at)
        return f"about {units.roughly(left)} left"

    def _print(self, line: str, style: str = "") -> None:
        print_line(self._console, line, style)


@contextlib.contextmanager
def elapsing(console: Console, what: str) -> Iterator[None]:
    """Show what is going on, and for how long it has, while the block lasts."""
    line = LiveLine(console, lambda: f"{what} · {line.format_elapsed()}")
    with line:
        yield
