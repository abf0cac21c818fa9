"""What all verbs print with: results on stdout, everything about how they come to be on stderr."""

from __future__ import annotations

import codecs
import contextlib
import dataclasses
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, NoReturn

from rich.console import Console

from bench.errors import ConfigurationError, StoreError
from bench.render.formats.export import Format, render_csv, render_json, render_markdown
from bench.render.formats.html import render_html
from bench.render.formats.text import Legend, print_line, render_text, writer
from bench.render.model.table import Table
from bench.render.progress.live import elapsing


# Without emoji: in `my_nets:boom:` the word between the colons is a part of a module's name.
class ResultConsole(Console):
    """Writes to stdout.

    When its reader has enough, as in `mnist-bench show … | head`, it raises `BrokenPipeError`, where rich's own console
    would end the program with status 1, our "regressed".
    """

    def __init__(self) -> None:
        super().__init__(emoji=False)

    def on_broken_pipe(self) -> None:
        """Let `main` decide; see `rich.console.Console.on_broken_pipe`."""
        raise BrokenPipeError


class ProgressConsole(Console):
    """Writes to stderr; when nobody reads that any more, the measurement goes on in silence."""

    def __init__(self) -> None:
        super().__init__(stderr=True, emoji=False)

    def on_broken_pipe(self) -> None:
        """Write nothing from now on; see `rich.console.Console.on_broken_pipe`."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


out = ResultConsole()
err = ProgressConsole()
#: The error handler of our outputs: what they cannot encode is written in ASCII.
_DEGRADED: Final = "mnist-bench"
#: For the reason why the program ends, which --quiet does not silence.
_last_words = ProgressConsole()


@dataclasses.dataclass(slots=True)
class _Verbosity:
    """How much is printed."""

    #: What --verbose asks for. --quiet silences `err`.
    verbose: bool = False


verbosity = _Verbosity()


def set_verbosity(*, quiet: bool, verbose: bool) -> None:
    """Apply --quiet and --verbose."""
    err.quiet = quiet
    verbosity.verbose = verbose


def degrade_outputs() -> None:
    """Let no character end the program that stdout or stderr cannot encode, as in a C or Latin-1 locale."""
    codecs.register_error(_DEGRADED, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_DEGRADED)


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return writer("ascii")(error.object[error.start : error.end]), error.end


def write(text: str) -> None:
    """Write text for programs to stdout: in UTF-8 whatever the locale says, no wrapping, no colour."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors=_DEGRADED)
    out.out(text, highlight=False, end="")


def write_file(path: Path, content: str | bytes) -> None:
    """Write what other programs read. Raises `StoreError`, which names the file, where that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from None


def say(line: str) -> None:
    """Print a line of a result that is no table to stdout, whatever stands in it."""
    print_line(out, line)


def note(message: str, style: str = "") -> None:
    """Print a line about how results come to be on stderr."""
    print_line(err, message, style)


def warn(message: str) -> None:
    """Print a line on stderr about something that the numbers, or their reader, may suffer from."""
    note(message, style="yellow")


def spinner(what: str) -> AbstractContextManager[None]:
    """Show on a terminal what is being done while the block lasts; nothing else may be printed meanwhile."""
    return elapsing(err, what)


def fail(message: str, status: int) -> NoReturn:
    """Exit with a line on stderr that says what happened."""
    print_line(_last_words, f"mnist-bench: {message}", "red")
    sys.exit(status)


@contextlib.contextmanager
def tolerate_closed_pipe() -> Iterator[None]:
    """Let the exit status that follows be the verdict's although what is printed in the block could not be written.

    A reader that has enough, as `head` has, is no error; a full disk is one, and is reported.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else Python flushes into the closed pipe at its end
        if not isinstance(error, BrokenPipeError):
            print_line(_last_words, f"mnist-bench: the output could not be written: {error.strerror or error}", "red")


def reject_junit(output_format: Format) -> None:
    """Raise `ConfigurationError` for JUnit, in a verb without verdicts, before it measures in vain."""
    if output_format is Format.JUNIT:
        raise ConfigurationError("--format junit holds verdicts, which only compare and gate have")


def print_tables(tables: Sequence[Table], output_format: Format) -> None:
    """Print tables in any format but JUnit, for which it raises `ConfigurationError`."""
    match output_format:
        case Format.TEXT:
            quiet, verbose = err.quiet, verbosity.verbose
            render_text(tables, out, Legend.NONE if quiet else Legend.FULL if verbose else Legend.SIGNS)
        case Format.MARKDOWN:
            write(render_markdown(tables))
        case Format.CSV:
            write(render_csv(tables))
        case Format.JSON:
            write(render_json(tables))
        case Format.HTML:
            write(render_html(tables))
        case Format.JUNIT:
            reject_junit(output_format)


def print_results(tables: Sequence[Table], output_format: Format) -> None:
    """Print the tables before an exit status that tells more, and add them to the summary of a GitHub job."""
    with tolerate_closed_pipe():
        print_tables(tables, output_format)
    add_to_job_summary(render_markdown(tables))


def add_to_job_summary(markdown: str) -> None:
    """Append to the summary of a GitHub job, if this is one.

    It is only a copy of what was measured, so that a failure is a warning.
    """
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(markdown)
        except OSError as error:
            warn(f"no job summary: {error}")
