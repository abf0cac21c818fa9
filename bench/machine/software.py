"""Versions, variables and the commit: what software a measurement ran on."""

from __future__ import annotations

import functools
import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from bench.machine.privacy import basenames, encodable, private_names, redact
from bench.machine.system_files import ask_or_none
from bench.records.environment import Software, ThreadPool

#: `git status` of this source takes milliseconds; a file system that needs longer than this is not worth the wait.
GIT_SECONDS: Final = 2.0

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
    threadpoolctl = importlib.import_module("threadpoolctl")  # here: the import sets KMP_DUPLICATE_LIB_OK
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


def read_git(source: Path) -> tuple[str | None, bool | None]:
    """Return commit and dirtiness where the source itself is a checkout, not merely installed below one."""
    status = ask_or_none(lambda: git_status(source)) if os.path.lexists(source / ".git") else None
    return parse_git_status(status or "")


def git_status(source: Path) -> str:
    """Ask git for its status without writing its index or waking its file system monitor."""
    # Inside a git hook these would name the repository that is being committed to.
    variables = {name: value for name, value in os.environ.items() if not re.match("GIT_(DIR|WORK_TREE|INDEX)", name)}
    quiet = ("--no-optional-locks", "-c", "core.fsmonitor=false")
    return subprocess.run(
        [shutil.which("git") or "git", "-C", source, *quiet, "status", "--porcelain=v2", "--branch", "-uno"],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=variables,
        timeout=GIT_SECONDS,
    ).stdout


def parse_git_status(text: str) -> tuple[str | None, bool | None]:
    """Parse commit and dirtiness from `git status --porcelain=v2 --branch`; neither before the first commit."""
    commit = re.search(r"^# branch\.oid ([0-9a-f]{40,64})$", text, re.MULTILINE)
    return (commit[1], any(not line.startswith("#") for line in text.splitlines())) if commit else (None, None)


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
