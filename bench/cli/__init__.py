"""The verbs of `mnist-bench`: the only place that prints and exits. One module holds a verb or a few of a kind."""

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
from bench.cli.commands import calibrate, compare, data, environment, gate, history, profile, report, run, show, tune
from bench.cli.console import fail, note, verbosity
from bench.cli.exit_status import Exit
from bench.errors import ConfigurationError, IncomparableError, SetupError
from mnist_core.idx import DataError

#: Importing a module of verbs is what adds them to the application.
__all__ = [
    "Exit",
    "calibrate",
    "compare",
    "data",
    "environment",
    "gate",
    "history",
    "main",
    "profile",
    "report",
    "run",
    "show",
    "tune",
]


def main() -> NoReturn:
    """Run the command line; every foreseen error is one line on stderr and an exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = app(global_flags_first(sys.argv[1:]), standalone_mode=False)
        if status == Exit.INTERRUPTED:  # what Typer makes of a KeyboardInterrupt, without a word
            fail("interrupted", Exit.INTERRUPTED)
        sys.stdout.flush()
        sys.exit(status)
    except SystemExit as end:
        # Only Typer ends with a bare 1, our "regressed": where whoever reads its help has read enough.
        sys.exit(end.code if isinstance(end.code, Exit) or end.code != 1 else Exit.DONE)
    except typer.TyperException as error:
        _explain(error)
        fail(usage.explain_usage_error(error), Exit.USAGE)
    except (ConfigurationError, DataError, SetupError, errors.StoreError, IncomparableError) as error:
        _explain(error)
        status = Exit.INCOMPARABLE if isinstance(error, errors.SchemaError | IncomparableError) else Exit.USAGE
        fail(str(error), status)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has enough; nothing is left to be flushed into the void
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(Exit.DONE)
    except OSError as error:
        _explain(error)
        fail(str(error), Exit.USAGE)
    except Exception:  # noqa: BLE001  # reported whole, with a status of its own
        traceback.print_exc()
        sys.exit(Exit.INTERNAL)


def _explain(error: Exception) -> None:
    """Where in our code a foreseen error came from, for whoever asked with --verbose."""
    if verbosity.verbose:
        told = traceback.TracebackException.from_exception(error)
        packages = [Path(module.__file__).parent for module in (bench, mnist_core) if module.__file__]
        told.stack = traceback.StackSummary.from_list(
            [frame for frame in told.stack if any(Path(frame.filename).is_relative_to(folder) for folder in packages)]
        )
        note("".join(told.format(chain=False)).rstrip(), style="dim")
