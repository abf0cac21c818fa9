"""The command line, `mnist-bench`: the only place that prints and exits. Its verbs are in `commands`."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import typer

import bench
import mnist_core
from bench import errors
from bench.cli import usage
from bench.cli.app import app, global_flags_first
from bench.cli.console import degrade_outputs, fail, note, verbosity
from bench.cli.exit_status import Exit, status_of
from bench.errors import ConfigurationError, IncomparableError, SetupError
from mnist_core.idx import DataError

__all__ = ["Exit", "main"]


def main() -> NoReturn:
    """Run the command line; every foreseen error is one line on stderr and an exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    degrade_outputs()
    try:
        status = app(global_flags_first(sys.argv[1:]), standalone_mode=False)
        if status == Exit.INTERRUPTED:  # Typer returns it for a KeyboardInterrupt, and prints nothing
            fail("interrupted", Exit.INTERRUPTED)
        sys.stdout.flush()
        sys.exit(status)
    except (SystemExit, BrokenPipeError) as end:
        sys.exit(status_of(end))
    except typer.TyperException as error:
        _explain(error)
        fail(usage.explain_usage_error(error), status_of(error))
    except (ConfigurationError, DataError, SetupError, errors.StoreError, IncomparableError, OSError) as error:
        _explain(error)
        fail(str(error), status_of(error))
    except (KeyboardInterrupt, typer.Abort) as error:
        fail("interrupted", status_of(error))
    except Exception as error:  # noqa: BLE001  # a fault of ours: its traceback is printed, and it has a status of its own
        traceback.print_exc()
        sys.exit(status_of(error))
    finally:
        _let_go_of_stdout()


def _let_go_of_stdout() -> None:
    """Drop what stdout does not take: Python would try again while it ends, complain, and exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _explain(error: Exception) -> None:
    """With --verbose, print where in our own code a foreseen error came from."""
    if verbosity.verbose:
        report = traceback.TracebackException.from_exception(error)
        packages = [Path(module.__file__).parent for module in (bench, mnist_core) if module.__file__]
        report.stack = traceback.StackSummary.from_list(
            [frame for frame in report.stack if any(Path(frame.filename).is_relative_to(folder) for folder in packages)]
        )
        for line in "".join(report.format(chain=False)).splitlines():
            note(line, style="dim")
