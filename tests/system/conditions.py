"""Start the tests as callers of all kinds do: `nox -s conditions -- [--all] [--together] [NAME ...]`.

A test means the same for every caller, and so does the program. Each condition below is what a shell does before it
starts pytest with the tests that need no real worker; with `--all`, with the whole suite. `--together` puts those that
exclude no other into one run, of which there are four.
"""

# ruff: noqa: T201 (a script prints its result)

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests import ROOT

#: What a POSIX shell does before `exec "$@"`; $SCRATCH is an empty folder that anybody may write to.
COMMON = {
    "background": 'trap "" INT QUIT; exec < /dev/null',
    "nohup": 'trap "" HUP',
    "pipes": 'trap "" PIPE',
    "no-terminal": 'exec < /dev/null; set -- setsid --wait "$@"',
    "narrow": "export COLUMNS=40 LINES=10",
    "time-zone": "export TZ=Pacific/Kiritimati",
    "umask": "umask 077",
    "space": 'mkdir "$SCRATCH/a b"; export TMPDIR="$SCRATCH/a b"',
    "read-only-home": "export HOME=/sys; unset XDG_CACHE_HOME XDG_CONFIG_HOME MPLCONFIGDIR",
    "github": 'export CI=true GITHUB_ACTIONS=true GITHUB_STEP_SUMMARY="$SCRATCH/summary.md"',
    "git-hook": "export GIT_DIR=/none GIT_WORK_TREE=/none GIT_INDEX_FILE=/none",
    "own-settings": "export MNIST_BENCH_DATA_DIR=/none MNIST_BENCH_CACHE_DIR=/none",
    "mxnet-settings": "export MXNET_ENGINE_TYPE=NaiveEngine MXNET_HOME=/none OMP_NUM_THREADS=3 KMP_AFFINITY=compact",
    "warnings": "export PYTHONWARNINGS=ignore",
}
#: Two ways to be told the same, of which a shell has one.
PLAIN = {
    "dumb": "export TERM=dumb",
    "no-colour": "export NO_COLOR=1",
    "c-locale": "unset LC_ALL LC_CTYPE; export LANG=C",
}
RICH = {
    "colour": "export FORCE_COLOR=1 CLICOLOR_FORCE=1 PY_COLORS=1 TTY_COMPATIBLE=1",
    "ascii": "export LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0",
}
NO_VARIABLES = {"no-variables": 'set -- env -i PATH="$PATH" PYTHONPATH="$PYTHONPATH" HOME="$HOME" "$@"'}
GROUPS = {"together": {**COMMON, **PLAIN}, "coloured": RICH, "bare": NO_VARIABLES}
#: Where root starts this: a copy of the checkout, which belongs to a user without any right.
NOBODY = "another-user"
_AS_NOBODY = 'export HOME="$PWD"; set -- setpriv --reuid 65534 --regid 65534 --clear-groups env "$@"'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="of a condition, or with --together of a group; none: all"
    )
    parser.add_argument("--all", action="store_true", help="the whole suite, real workers included")
    parser.add_argument("--together", action="store_true", help=f"in groups: {', '.join([*GROUPS, NOBODY])}")
    options = parser.parse_args()
    conditions = {**COMMON, **PLAIN, **RICH, **NO_VARIABLES}
    if options.together:
        conditions = {name: "\n".join(group.values()) for name, group in GROUPS.items()}
    if os.geteuid() == 0:
        conditions[NOBODY] = _AS_NOBODY
        trial = ["sh", "-c", f'{_AS_NOBODY}\nexec "$@"', "sh", sys.executable, "-c", "import pytest"]
        if subprocess.run(trial, capture_output=True, check=False).returncode != 0:
            print(f"{NOBODY}: left out, since root alone may run {sys.executable}")
            del conditions[NOBODY]
    if unknown := {*options.names} - {*conditions}:
        parser.error(f"no condition: {', '.join(sorted(unknown))}")
    failed = [name for name in options.names or conditions if not passes(name, conditions[name], whole=options.all)]
    print(f"failed: {', '.join(failed)}" if failed else "passed under every condition")
    return 1 if failed else 0


def passes(name: str, before: str, *, whole: bool) -> bool:
    """Run the tests under one condition; print its last line and, where they fail, all of it."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal", "-p", "no:cacheprovider"]
    selected = [] if whole else ["-m", "not system"]
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        scratch.chmod(0o777)
        checkout = copied(scratch / "checkout") if name == NOBODY else ROOT
        done = subprocess.run(
            ["sh", "-c", f'{before}\nexec "$@"', "sh", *pytest, *selected],
            cwd=checkout,
            env={**os.environ, "SCRATCH": folder, "PYTHONPATH": str(checkout)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    if done.returncode != 0:
        print(done.stdout)
    last = (done.stdout.splitlines() or ["no output"])[-1]
    print(f"{name:16} {'passed' if done.returncode == 0 else 'FAILED'} in {time.monotonic() - begin:.0f} s: {last}")
    sys.stdout.flush()
    return done.returncode == 0


def copied(folder: Path) -> Path:
    """Copy what git has or would add, as a repository of its own, which all users may write to."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    author = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-qm", "the checkout"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    shutil.chown(folder, 65534, 65534)
    for path in folder.rglob("*"):
        shutil.chown(path, 65534, 65534)
    return folder


if __name__ == "__main__":
    raise SystemExit(main())
