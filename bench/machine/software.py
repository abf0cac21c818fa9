"""Versions and variables: what software a measurement ran on."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.machine.cgroup import cpu_quota, limited_to
from bench.machine.cpu import usable_cpus
from bench.machine.privacy import basenames, encodable, private_names, redact
from bench.machine.system_files import ROOT, ask_or_none
from bench.records.environment import Software, ThreadPool

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
