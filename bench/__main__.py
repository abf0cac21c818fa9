"""`mnist-bench`, and `python -m bench`: here, before anything heavy is imported, since that may be interrupted, too."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import TextIO

#: As of any program that a signal ended; `bench.cli.Exit` has them all, and is not imported yet.
_INTERRUPTED = 130


def main() -> None:
    """Run the command line, which exits."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Started with an output closed (`>&-`) Python has none to write to.
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    try:
        cli = importlib.import_module("bench.cli")
    except KeyboardInterrupt:
        sys.stderr.write("mnist-bench: interrupted\n")
        sys.exit(_INTERRUPTED)
    cli.main()


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")


if __name__ == "__main__":
    main()
