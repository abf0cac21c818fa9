"""The source that runs: its files, its commit, and what git knows of other commits."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from bench.machine.system_files import ask_or_none

#: `git status` of this source takes milliseconds; a file system that needs longer than this is not worth the wait.
GIT_SECONDS: Final = 2.0
#: A history of many thousand commits is listed in less.
_HISTORY_SECONDS: Final = 30.0

#: Files and folders that no import finds: hidden ones, and what editors and merges leave beside a file.
_LEFT_OVER: Final = re.compile(r"\..*|#.*#|.*~|__pycache__|.*\.(orig|rej|bak|swp|swo|tmp)")


def package_files(package: Path) -> list[Path]:
    """Return the files of a package that can be measured, in a fixed order: not an editor's swap file or lock link."""
    found = (path for path in package.rglob("*") if path.is_file())
    measurable = (path for path in found if not any(map(_LEFT_OVER.fullmatch, path.relative_to(package).parts)))
    return sorted(measurable, key=lambda path: path.relative_to(package).as_posix())


def tree_digest(folder: Path, *packages: str) -> str:
    """Return the SHA-256 over names and contents of the files of packages in a folder."""
    digest = hashlib.sha256()
    for path in (path for package in packages for path in package_files(folder / package)):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def run_git(source: Path, *arguments: str, seconds: float | None = None) -> bytes:
    """Run git in a folder: in English, without asking anybody for a password, whatever hook this process runs in.

    Raises `FileNotFoundError` without git, `CalledProcessError` with git's words, or `TimeoutExpired`.
    """
    # Inside a git hook these would name the repository that is being committed to.
    inherited = {name: value for name, value in os.environ.items() if not re.match("GIT_(DIR|WORK_TREE|INDEX)", name)}
    return subprocess.run(
        [shutil.which("git") or "git", "-C", str(source), *arguments],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=inherited | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0"},
        timeout=GIT_SECONDS if seconds is None else seconds,
    ).stdout


def read_git(source: Path) -> tuple[str | None, bool | None]:
    """Return commit and dirtiness where the source itself is a checkout, not merely installed below one.

    Where git takes too long to look for changes the commit is still known.
    """
    if not os.path.lexists(source / ".git"):
        return None, None
    status = ask_or_none(lambda: git_status(source))
    if status is not None:
        return parse_git_status(status)
    commit = ask_or_none(lambda: run_git(source, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").decode().strip())
    return commit or None, None


def git_status(source: Path) -> str:
    """Ask git for its status without writing its index or waking its file system monitor."""
    quiet = ("--no-optional-locks", "-c", "core.fsmonitor=false")
    told = run_git(source, *quiet, "status", "--porcelain=v2", "--branch", "-uno")
    return told.decode(errors="replace")


def parse_git_status(text: str) -> tuple[str | None, bool | None]:
    """Parse commit and dirtiness from `git status --porcelain=v2 --branch`; neither before the first commit."""
    commit = re.search(r"^# branch\.oid ([0-9a-f]{40,64})$", text, re.MULTILINE)
    return (commit[1], any(not line.startswith("#") for line in text.splitlines())) if commit else (None, None)


def commit_order(source: Path, commits: Iterable[str]) -> Mapping[str, int]:
    """Return the place of each commit in the repository's history, ancestors first; an unknown one has none."""
    wanted = tuple(dict.fromkeys(commits))
    history = ("rev-list", "--ignore-missing", "--topo-order", "--reverse")
    listed = ask_or_none(lambda: run_git(source, *history, *wanted, seconds=_HISTORY_SECONDS)) if wanted else None
    places = {commit: place for place, commit in enumerate((listed or b"").decode().split())}
    return {commit: places[commit] for commit in wanted if commit in places}
