"""The CUDA libraries that the published GPU build of MXNet links against: which they are, and loading them from wheels.

`mxnet-cu117` brings none of them. The extra `gpu` does, as NVIDIA's PyPI wheels, which unpack to
`site-packages/nvidia/*/lib`, where the dynamic loader does not look. A library that the process has already loaded is
found by its name, though, so loading them first makes `import mxnet` work without `LD_LIBRARY_PATH`.
"""

from __future__ import annotations

import ctypes
import re
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

#: What `readelf -d` finds NEEDED in libmxnet.so of mxnet-cu117 1.9.1, besides the driver. A library stands after
#: those it needs itself: cuSOLVER and cuDNN need cuBLAS.
SONAMES = (
    "libcudart.so.11.0",
    "libnvToolsExt.so.1",
    "libnvrtc.so.11.2",
    "libcublas.so.11",
    "libcusparse.so.11",
    "libcusolver.so.11",
    "libcufft.so.10",
    "libcurand.so.10",
    "libnccl.so.2",
    "libcudnn.so.8",
)

#: Part of NVIDIA's driver, so of the machine: no wheel brings it, and without it the GPU build does not even import.
DRIVER_SONAME = "libcuda.so.1"


def installed_cuda_build() -> str | None:
    """Name of the installed distribution when it is one of the published GPU builds, e.g. "mxnet-cu117"."""
    # The remains of an interrupted `pip uninstall` are a distribution without a name.
    names = (distribution.name or "" for distribution in distributions())
    return next((name for name in names if re.fullmatch(r"mxnet-cu\d+", name)), None)


def preload() -> None:
    """Load what the wheels brought, if a GPU build is installed. What they did not bring is the loader's to find.

    Raises OSError, like `import mxnet` itself, when a library is there and does not load.
    """
    if installed_cuda_build() is not None:
        for path in wheel_libraries():
            ctypes.CDLL(str(path))


def wheel_libraries() -> list[Path]:
    """The files that NVIDIA's wheels brought for `SONAMES`, in that order."""
    spec = find_spec("nvidia")
    roots = [Path(root) for root in (spec and spec.submodule_search_locations) or ()]
    return [path for soname in SONAMES for root in roots for path in root.glob(f"*/lib/{soname}")]


def missing_library(error: BaseException | None) -> str | None:
    """The library that the dynamic loader did not find, if that is what the error says."""
    found = re.match(r"(lib\S+): cannot open shared object file", str(error)) if isinstance(error, OSError) else None
    return found and found[1]
