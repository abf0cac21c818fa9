"""What all verbs share: the application, the consoles, the exit statuses."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from bench.cli.exit_status import Exit
from bench.errors import ConfigurationError
from bench.render.formats.export import Format, render_csv, render_json, render_markdown
from bench.render.formats.html import render_html
from bench.render.formats.text import print_line, render_text
from bench.render.model.table import Table
from bench.render.progress.live import elapsing


# Results go to stdout, everything about how they come to be to stderr: `show FILE --format csv > table.csv` works.
# No console of ours makes pictures of words between colons: `my_nets:boom:` is a module's name.
class ResultConsole(Console):
    """rich would end the program with status 1, our "regressed", when `mnist-bench show … | head` has read enough."""

    def __init__(self) -> None:
        super().__init__(emoji=False)

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class ProgressConsole(Console):
    """Nobody reads any more how the results come to be: they come all the same, and so does the exit status."""

    def __init__(self) -> None:
        super().__init__(stderr=True, emoji=False)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


out = ResultConsole()

err = ProgressConsole()

#: Why a program ends is said however quiet it is to be.
_last_words = ProgressConsole()


@dataclasses.dataclass(slots=True)
class _Verbosity:
    """What --verbose asked for; --quiet silences `err`."""

    verbose: bool = False


verbosity = _Verbosity()


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    err.quiet = quiet
    verbosity.verbose = verbose


def write(text: str) -> None:
    """For programs: every character as it is, no wrapping, no colour."""
    out.out(text, highlight=False, end="")


def note(message: str, style: str = "") -> None:
    """A line about how results come to be, on stderr."""
    print_line(err, message, style)


def spinner(what: str) -> AbstractContextManager[None]:
    """Around what takes seconds and prints nothing, not even an error: on a terminal, a line that says what it is."""
    return elapsing(err, what)


def fail(message: str, status: Exit) -> NoReturn:
    print_line(_last_words, f"mnist-bench: {message}", "red")
    sys.exit(status)


@contextlib.contextmanager
def tolerate_closed_pipe() -> Iterator[None]:
    """Around what is printed before a verdict: `… | head` may have read enough, the exit status still tells.

    As it does where a full disk takes no more, which is worth a word.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter flushes into the closed pipe at the end
        if not isinstance(error, BrokenPipeError):
            print_line(_last_words, f"mnist-bench: the output could not be written: {error.strerror or error}", "red")


def reject_junit(output_format: Format) -> None:
    """For verbs that measure or show and have no verdicts. Before they begin: nobody should measure in vain."""
    if output_format is Format.JUNIT:
        raise ConfigurationError("--format junit holds verdicts, which only compare and gate have")


def print_tables(made: Sequence[Table], output_format: Format) -> None:
    match output_format:
        case Format.TEXT:
            render_text(made, out)
        case Format.MARKDOWN:
            write(render_markdown(made))
        case Format.CSV:
            write(render_csv(made))
        case Format.JSON:
            write(render_json(made))
        case Format.HTML:
            write(render_html(made))
        case Format.JUNIT:
            reject_junit(output_format)


def print_results(tables: Sequence[Table], output_format: Format) -> None:
    """Print the tables before an exit status that tells more, and add them to the summary of a GitHub job."""
    with tolerate_closed_pipe():
        print_tables(tables, output_format)
    add_to_job_summary(render_markdown(tables))


def add_to_job_summary(markdown: str) -> None:
    """Where a GitHub job asks for one; a measurement is worth more than its copy, so a failure only warns."""
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown)
        except OSError as error:
            note(f"no job summary: {error}", style="yellow")
