"""The one place that imports MXNet, which has no types and no longer imports unaided.

Everything else does `from mnist_core.mxnet_border import mx`. Where MXNet cannot be imported, importing this module
raises `MXNetUnavailableError`, an ImportError whose one line says what to do.
"""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from mnist_core.devices import DRIVER_SONAME, SONAMES, Device, last_line, missing_library, preload

__all__ = ["MXNetUnavailableError", "autograd", "explain", "features", "gluon", "mx", "nd", "to_context", "version"]

#: Debian's packages of the system libraries that MXNet's wheels expect. Where one of the first two is missing, so is
#: mostly the other; cuDNN wants the third.
_SYSTEM_PACKAGES = {
    "libgomp.so.1": "libgomp1 libquadmath0",
    "libquadmath.so.0": "libgomp1 libquadmath0",
    "libz.so.1": "zlib1g",
}

#: An `mx.Context`; MXNet has no types.
Context: TypeAlias = Any


class MXNetUnavailableError(ImportError):
    """MXNet cannot be imported here; the message is one line that ends with the next step, the cause the real error."""


def explain(
    error: Exception, *, python: tuple[int, int] = sys.version_info[:2], numpy_version: str = np.__version__
) -> str:
    """One line: why `import mxnet` raised this error, and what to do about it."""
    missing_module = error.name if isinstance(error, ModuleNotFoundError) else None
    numpy_too_new = int(numpy_version.partition(".")[0]) >= 2  # noqa: PLR2004  # the number that the messages say
    if python >= (3, 13) and (missing_module == "mxnet" or numpy_too_new):
        there = "{}.{}".format(*python)
        return f"MXNet 1.9.1 needs numpy < 2, which does not exist for Python {there}: use Python 3.10, 3.11 or 3.12"
    if missing_module == "mxnet":
        here = _distribution()
        return f"MXNet is not installed: pip install '{here}[cpu]', or '{here}[gpu]' for an NVIDIA GPU"
    if numpy_too_new:
        return f"MXNet 1.9.1 needs numpy < 2, and {numpy_version} is installed: pip install 'numpy<2'"
    if missing_module == "distutils":
        return "MXNet 1.9.1 imports distutils, which Python 3.12 dropped and setuptools brings: pip install setuptools"
    if library := missing_library(error):
        return _explain_missing(library)
    return (
        f"MXNet does not import ({last_line(str(error)) or type(error).__name__}): reinstall it in a fresh environment"
    )


def _distribution() -> str:
    """Return what pip installs this program from here: the clone, or the distribution where it is none."""
    clone = Path(__file__).parents[1]
    if not (clone / "pyproject.toml").is_file():
        return "mnist-bench"
    return "." if Path.cwd() == clone else str(clone)


def _explain_missing(library: str) -> str:
    if library == DRIVER_SONAME:
        return (
            f"MXNet's GPU build needs NVIDIA's driver, which is not here ({library}): install the driver, "
            f"or the CPU build instead: pip uninstall mxnet-cu117; pip install '{_distribution()}[cpu]'"
        )
    if library in SONAMES:
        return f"MXNet's GPU build needs the CUDA library {library}: pip install '{_distribution()}[gpu]'"
    package = _SYSTEM_PACKAGES.get(library, "the package of your system that has it")
    return f"MXNet needs the system library {library}: apt-get install {package}"


@contextlib.contextmanager
def _without_scipy() -> Iterator[None]:
    """Hide scipy from the import, unless the process has it already.

    MXNet takes it where it finds it, for sparse arrays and quantization, which are not used here. It costs a third of
    the import's time and puts a second OpenBLAS into the measured process. Whoever imports it afterwards gets it.
    """
    if "scipy" in sys.modules:
        yield
        return
    sys.modules["scipy"] = None  # type: ignore[assignment]  # the import system's own way to say "not there"
    try:
        yield
    finally:
        del sys.modules["scipy"]


# MXNet 1.9.1 reads numpy.bool while it is imported and whenever its NumPy-like arrays meet a mask. numpy 1.24 dropped
# that alias, 1.20 to 1.23 warn about it, 2.0 gave the name to its own type. Of the other dropped aliases MXNet reads
# numpy.int alone, in a statistical test helper that nobody here calls.
vars(np).setdefault("bool", bool)

with warnings.catch_warnings(), _without_scipy():
    # Functions that numpy is about to drop, distutils, backslashes in docstrings: MXNet will not mend them any more.
    warnings.simplefilter("ignore")
    try:
        preload()
        import mxnet as mx
        from mxnet import autograd, gluon, nd
    except Exception as error:
        raise MXNetUnavailableError(explain(error), name="mxnet") from error


def version() -> str:
    """MXNet's own, e.g. "1.9.1"."""
    return str(mx.__version__)


def features() -> dict[str, bool]:
    """What this MXNet was built with, e.g. {"CUDA": False, "MKLDNN": True, ...}."""
    return {name: bool(feature.enabled) for name, feature in mx.runtime.Features().items()}


def to_context(device: Device) -> Context:
    """The `mx.Context` of a device. It is made without asking whether the device is there: `devices.probe` asks."""
    return mx.Context(str(device.kind), device.index)
