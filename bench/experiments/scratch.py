"""Folders for the time of a measurement, which are gone after it however it ends."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.errors import ConfigurationError

#: Program that makes a folder, prints its name, and removes it when its stdin ends. However this process ends, even by
#: SIGKILL, the pipe closes. A worker may still be writing bytecode into the folder then, so it tries for a while.
_CLEANER: Final = """
import sys
del sys.path[0]  # the current folder, which may have a module of any of these names
import shutil, tempfile, time, pathlib
folder = tempfile.mkdtemp(prefix="mnist-bench-", dir=sys.argv[1] or None)
print(folder, flush=True)
sys.stdin.read()
for _ in range(50):
    shutil.rmtree(folder, ignore_errors=True)
    if not pathlib.Path(folder).exists():
        break
    time.sleep(0.1)
"""


@contextlib.contextmanager
def scratch_folder(parent: str = "") -> Iterator[Path]:
    """Yield a folder that is removed after the `with` block, even if this process is killed in it.

    Nobody but this user can enter it. It is in `parent`, or else where temporary files are here. Raise
    `ConfigurationError` if no temporary folder can be made.
    """
    cleaner = subprocess.Popen(
        [sys.executable, "-c", _CLEANER, parent],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # it must outlive a Ctrl-C that ends us
        text=True,
    )
    assert cleaner.stdin is not None
    assert cleaner.stdout is not None
    try:
        folder = cleaner.stdout.readline().rstrip("\n")
        if not folder:
            raise ConfigurationError("no temporary folder can be made here: free some space, or set TMPDIR")
        yield Path(folder)
    finally:
        cleaner.stdin.close()
        cleaner.wait()
        cleaner.stdout.close()
