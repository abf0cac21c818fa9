"""The tests of mnist-bench are a package, so that they share `tests.support` and may have one name in several rooms.

The package is imported before any of them and forgets what the shell, the terminal or the CI of its caller says. So a
test means the same wherever it is started; `nox -s conditions` starts them in many ways.
"""

from __future__ import annotations

import contextlib
import locale
import os
import re
import signal
import time
from pathlib import Path
from typing import Final

#: The checkout.
ROOT: Final = Path(__file__).resolve().parents[1]

#: The variables that name the Pythons of peers, for tests/system/test_peers.py alone: no other test may use them.
PEER_PYTHONS: Final = {name: path for name, path in os.environ.items() if name.startswith("MNIST_BENCH_PYTHON_")}

_CALLERS: Final = re.compile(
    # where the terminal ends, and what it can do
    "COLUMNS|LINES|TERM|COLORTERM|NO_COLOR|(CLI|PY_|FORCE_)COLOR.*|TTY_.*|TERMINAL_WIDTH"
    # the language, how text becomes bytes, and what Python does by itself
    "|LANG|LANGUAGE|LC_.*|PYTHON(UTF8|IOENCODING|COERCECLOCALE|WARNINGS|UNBUFFERED|DONTWRITEBYTECODE)|TZ"
    # pytest's own, which the runs inside of tests would read; a CI's, of which Typer and we know GitHub's
    "|PYTEST_ADDOPTS|GITHUB_.*"
    # a git command in which the tests were started
    "|GIT_(DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|PREFIX)"
    # settings of ours, of MXNet and of OpenMP; OpenBLAS's stay, which choose a kernel that works on this processor
    "|MNIST_BENCH_(?!PYTHON_|KILLS).*|(OMP|KMP|GOMP|MXNET|DMLC)_.*"
)
for _name in filter(_CALLERS.fullmatch, [*os.environ]):
    del os.environ[_name]
os.environ.update(LC_ALL="C.UTF-8", TERM="xterm", TZ="UTC")
os.environ["OMP_NUM_THREADS"] = "1"  # MXNet's in this process; as many tests run at once as there are cores
time.tzset()
with contextlib.suppress(locale.Error):  # as a child that is started now would have it
    locale.setlocale(locale.LC_ALL, "")
os.umask(0o022)

# A shell starts what is in its background with SIGINT ignored, nohup with SIGHUP; children inherit it, and what blocks.
signal.pthread_sigmask(signal.SIG_SETMASK, ())
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGTERM, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
    (signal.SIGALRM, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)
