"""The verbs of `mnist-bench`: the only place that prints and exits. One module holds a verb or a few of a kind."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from typing import NoReturn

import typer

from bench import store
from bench.cli import about, calibrate, compare, data, gate, history, profile, report, results, run, tune
from bench.cli.shell import Exit, IncomparableError, app, fail, global_flags_first, verbosity
from bench.process import UnusableError
from bench.scenario import ConfigurationError
from mnist_core.idx import DataError

#: Importing a module of verbs is what adds them to the application.
__all__ = [
    "Exit",
    "about",
    "calibrate",
    "compare",
    "data",
    "gate",
    "history",
    "main",
    "profile",
    "report",
    "results",
    "run",
    "tune",
]


def main() -> NoReturn:
    """Run the command line; every foreseen error is one line on stderr and an exit status."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = app(global_flags_first(sys.argv[1:]), standalone_mode=False)
        sys.stdout.flush()
        sys.exit(status)
    except typer.TyperException as error:
        _explain()
        fail(f"{error.format_message()} (--help explains)", Exit.USAGE)
    except (ConfigurationError, DataError, UnusableError, store.StoreError, IncomparableError) as error:
        _explain()
        status = Exit.INCOMPARABLE if isinstance(error, store.SchemaError | IncomparableError) else Exit.USAGE
        fail(str(error), status)
    except (KeyboardInterrupt, typer.Abort):
        fail("interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:  # whoever read our output has enough; nothing is left to be flushed into the void
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(Exit.DONE)
    except OSError as error:
        _explain()
        fail(str(error), Exit.USAGE)
    except Exception:  # noqa: BLE001  # reported whole, with a status of its own
        traceback.print_exc()
        sys.exit(Exit.INTERNAL)


def _explain() -> None:
    """Where a foreseen error came from, for whoever asked with --verbose."""
    if verbosity.verbose:
        traceback.print_exc()


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
