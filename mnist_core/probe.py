"""The child process of `devices.probe`: `python -m mnist_core.probe "gpu(0)"` tries one device out.

The checks go from harmless to daring, and the first that fails is the answer. The compute capability is read from the
driver before MXNet touches the card, because MXNet without machine code for a card may wait for ever.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
import threading
import uuid
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

from mnist_core.devices import (
    DRIVER_SONAME,
    Device,
    DeviceKind,
    Probe,
    Unusable,
    installed_cuda_build,
    last_line,
    missing_library,
    parse_devices,
)

#: Compute capabilities for which libmxnet.so of mxnet-cu117 1.9.1 carries machine code, as read from its .nv_fatbin
#: section. It carries no PTX, so the driver cannot compile for any other.
MACHINE_CODE = ((5, 0), (6, 0), (7, 0), (8, 0), (8, 6))

# CUdevice_attribute of cuda.h
_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76


def main() -> None:
    """Write the reply, one line, to stdout; nothing else in `mnist_core` writes there."""
    if stat.S_ISFIFO(os.fstat(0).st_mode):  # not where a person tries it out
        end_with_stdin()
    (device,) = parse_devices(sys.argv[1])
    sys.stdout.write(examine(device).to_json() + "\n")


def end_with_stdin() -> None:
    """From now on, end this process as soon as its stdin ends: the parent, which holds the other end, is gone."""
    threading.Thread(target=_end_at_eof, daemon=True).start()


def _end_at_eof() -> None:
    # Not sys.stdin: a thread inside its lock would make the interpreter abort when the process ends by itself.
    while os.read(0, 4096):
        pass
    os._exit(1)


def examine(device: Device) -> Probe:
    """Try the device out in this process."""
    try:
        border = import_module("mnist_core.mxnet_border")
    except ImportError as error:
        no_driver = missing_library(error.__cause__) == DRIVER_SONAME
        return Probe(device, Unusable.NO_DRIVER if no_driver else Unusable.NO_FRAMEWORK, str(error))
    known = Probe(device) if device.kind is DeviceKind.CPU else examine_gpu(device, border)
    return compute(known, border) if known.usable else known


#: Where the driver says what it is.
_DRIVER: Final = Path("/proc/driver/nvidia/version")


def examine_gpu(device: Device, border: ModuleType) -> Probe:
    """Everything that can be known of a GPU without computing on it."""
    if not border.features()["CUDA"]:
        remedy = "for cards up to compute capability 8.9: pip uninstall mxnet; pip install -e '.[gpu]'"
        # Without a driver the CUDA build could not even be imported.
        advice = remedy if _DRIVER.exists() else "no NVIDIA driver is here either"
        detail = f"the installed MXNet is a CPU build; {advice}"
        return Probe(device, Unusable.NO_CUDA_BUILD, detail)
    try:
        count = border.mx.context.num_gpus()
    except border.mx.base.MXNetError as error:
        return Probe(device, Unusable.NO_DRIVER, f"CUDA does not start: {last_line(str(error))}")
    if device.index >= count:
        return Probe(device, Unusable.NO_SUCH_DEVICE, f"{device} is not here: GPUs visible to CUDA: {count}")
    known = read_card(device, ctypes.CDLL(DRIVER_SONAME))
    build = installed_cuda_build()  # None: built from source, perhaps for just this card
    if build and not has_machine_code(str(known.compute_capability)):
        carried = ", ".join(f"{major}.{minor}" for major, minor in MACHINE_CODE)
        detail = (
            f"{known.gpu_name} has compute capability {known.compute_capability}, and {build} carries machine code for "
            f"{carried} only: build MXNet from source for it, or measure its peers on it (nox -s peers)"
        )
        return replace(known, reason=Unusable.UNSUPPORTED_CAPABILITY, detail=detail)
    return known


def has_machine_code(compute_capability: str) -> bool:
    """Whether a published GPU build runs on this card: machine code runs on its own major version, minor and up."""
    major, minor = map(int, compute_capability.split("."))
    return any(major == code_major and minor >= code_minor for code_major, code_minor in MACHINE_CODE)


def read_card(device: Device, cuda: ctypes.CDLL) -> Probe:
    """What the driver library says of a card.

    Asked of CUDA rather than of NVML (nvidia-ml-py): NVML knows nothing of CUDA_VISIBLE_DEVICES and numbers cards in
    another order, so its card 0 need not be gpu(0).
    """

    def call(function: str, *arguments: object) -> None:
        if status := getattr(cuda, function)(*arguments):
            raise OSError(f"{function} failed with CUDA error {status}")

    handle, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory_bytes = ctypes.create_string_buffer(256), ctypes.c_size_t()
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(handle), device.index)
    call("cuDeviceGetAttribute", ctypes.byref(major), _COMPUTE_CAPABILITY_MAJOR, handle)
    call("cuDeviceGetAttribute", ctypes.byref(minor), _COMPUTE_CAPABILITY_MINOR, handle)
    call("cuDeviceGetName", name, len(name), handle)
    call("cuDeviceTotalMem_v2", ctypes.byref(memory_bytes), handle)
    # The second version names the part of a divided card; drivers before CUDA 11.4 have the first alone.
    own_uuid = next((name for name in ("cuDeviceGetUuid_v2", "cuDeviceGetUuid") if hasattr(cuda, name)), None)
    identity = ctypes.create_string_buffer(16)
    if own_uuid is not None:
        call(own_uuid, identity, handle)
    return Probe(
        device,
        gpu_name=name.value.decode(),
        compute_capability=f"{major.value}.{minor.value}",
        memory_bytes=memory_bytes.value,
        driver=driver_version(),
        uuid=None if own_uuid is None else str(uuid.UUID(bytes=identity.raw)),
    )


def driver_version(version_file: Path = Path("/sys/module/nvidia/version")) -> str | None:
    """Version of the kernel driver, where the kernel shows it (not under WSL)."""
    return version_file.read_text().strip() if version_file.exists() else None


def compute(known: Probe, border: ModuleType) -> Probe:
    """A matrix product and a convolution of ones, whose results are exact in every precision a device may choose."""
    nd = border.nd
    try:
        with border.to_context(known.device):
            product = nd.dot(nd.ones((64, 64)), nd.ones((64, 64)))
            image, kernel = nd.ones((1, 1, 5, 5)), nd.ones((1, 1, 3, 3))
            convolution = nd.Convolution(image, kernel, kernel=(3, 3), num_filter=1, no_bias=True)
        right = bool((product.asnumpy() == 8 * 8).all() and (convolution.asnumpy() == 3 * 3).all())
    except border.mx.base.MXNetError as error:
        return replace(known, reason=classify(str(error)), detail=f"{known.device}: {last_line(str(error))}")
    if not right:
        return replace(known, reason=Unusable.WRONG_RESULT, detail=f"{known.device} computes wrong numbers")
    return known


def classify(message: str) -> Unusable:
    """The reason in an MXNetError, which has no type or number to tell one from another."""
    message = message.lower()
    if any(sign in message for sign in ("out of memory", "alloc_failed", "failed to allocate", "bad_alloc")):
        return Unusable.OUT_OF_MEMORY
    if "no kernel image" in message:
        return Unusable.UNSUPPORTED_CAPABILITY
    return Unusable.CRASHED


if __name__ == "__main__":
    main()
