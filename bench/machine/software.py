"""Versions, variables, the source's files and commit: what software a measurement ran on."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.machine.linux.cgroup import cpu_quota, limited_to
from bench.machine.linux.cpu import usable_cpus
from bench.machine.linux.system_files import ROOT, ask_or_none
from bench.machine.privacy import basenames, encodable, private_names, redact
from bench.records.environment import Software, ThreadPool

#: `git status` of this source takes milliseconds; a file system that needs longer than this is not worth the wait.
GIT_SECONDS: Final = 2.0
#: A history of many thousand commits is listed in less.
_HISTORY_SECONDS: Final = 30.0

#: Files and folders that no import finds: hidden ones, and what editors and merges leave beside a file.
_LEFT_OVER: Final = re.compile(r"\..*|#.*#|.*~|__pycache__|.*\.(orig|rej|bak|swp|swo|tmp)")

_VARIABLES: Final = re.compile(
    "(MXNET|OMP|KMP|GOMP|MKL|MKLDNN|DNNL|ONEDNN|OPENBLAS|GOTO|BLIS|MALLOC|TORCH|TORCHINDUCTOR|PYTORCH|JAX|XLA)_.*"
    "|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|LAUNCH_BLOCKING)|NVIDIA_(VISIBLE_DEVICES|TF32_OVERRIDE)"
    "|NUMEXPR_NUM_THREADS|LD_PRELOAD"
)

#: MXNet is retired: there will be no further ones.
_MXNET_CUDA: Final = ("80", "90", "91", "92", "100", "101", "102", "110", "112", "113", "114", "115", "116", "117")

PACKAGES: Final = (
    *("mxnet", "mxnet-mkl", "mxnet-native", *(f"mxnet-cu{cuda}{mkl}" for cuda in _MXNET_CUDA for mkl in ("", "mkl"))),
    *("numpy", "scipy", "msgspec", "psutil", "threadpoolctl", "rich"),
)


def describe_software(framework: str, framework_version: str, features: Iterable[str]) -> Software:
    """Return what the calling process has loaded. Import the framework before: it brings its thread pools."""
    threadpoolctl = _threadpoolctl()
    told = ("user_api", "internal_api", "version", "architecture", "num_threads")
    return Software(
        python=platform.python_version(),
        framework=framework,
        framework_version=framework_version,
        framework_features=tuple(features),
        numpy=getattr(sys.modules.get("numpy"), "__version__", None) or version("numpy"),
        thread_pools=tuple(
            sorted(  # they are told in the order of their addresses, which changes from process to process
                (
                    ThreadPool(**{key: pool.get(key) for key in told})
                    for pool in threadpoolctl.threadpool_info()
                    if pool["num_threads"]  # else the library does not tell
                ),
                key=repr,
            )
        ),
    )


def _threadpoolctl() -> Any:  # noqa: ANN401  # a module
    """Import the module only where it is needed: the import sets a variable, which is taken back."""
    before = os.environ.get("KMP_DUPLICATE_LIB_OK")
    module = importlib.import_module("threadpoolctl")
    if before is None:
        os.environ.pop("KMP_DUPLICATE_LIB_OK", None)
    return module


@contextlib.contextmanager
def threads_within_quota(root: Path = ROOT) -> Iterator[None]:
    """Let this process's own matrix products use no more threads than its control group's quota grants CPUs.

    NumPy's libraries count the CPUs of the host. With more threads than the quota grants the whole group is stopped, a
    worker beside us included.
    """
    quota = cpu_quota(root)
    if quota is None:
        yield
        return
    with _threadpoolctl().threadpool_limits(limited_to(quota, len(usable_cpus(root))), user_api="blas"):
        yield


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    found = {name: ask_or_none(functools.partial(version, name)) for name in names}
    return {name: number for name, number in found.items() if number}


def relevant_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the allow-list, with names of users and folders taken out of their values."""
    home, names = ask_or_none(Path.home), private_names()
    values = {name: variables[name] for name in sorted(variables) if _VARIABLES.fullmatch(name)}
    if "LD_PRELOAD" in values:
        values["LD_PRELOAD"] = basenames(values["LD_PRELOAD"])
    return {encodable(name): redact(encodable(value), home, names) for name, value in values.items()}


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
