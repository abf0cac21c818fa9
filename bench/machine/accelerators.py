"""The GPUs that NVIDIA's driver tells of."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from bench.machine.system_files import ask_or_none


class Accelerators(NamedTuple):
    quantity: int = 0
    model_names: tuple[str, ...] = ()
    memory_bytes: tuple[int, ...] = ()
    driver: str | None = None


def describe_accelerators() -> Accelerators:
    """Return NVIDIA's devices as their driver names them; none without nvidia-ml-py or without a driver."""
    return ask_or_none(_ask_driver) or Accelerators()


@contextlib.contextmanager
def _driver() -> Iterator[Any]:
    """Yield the module that speaks with the driver: untyped, and optional. Raises where either is missing."""
    nvml = importlib.import_module("pynvml")
    nvml.nvmlInit()
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def _ask_driver() -> Accelerators:
    with _driver() as nvml:
        devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return Accelerators(
            quantity=len(devices),
            model_names=ask_or_none(lambda: tuple(_decoded(nvml.nvmlDeviceGetName(device)) for device in devices))
            or (),
            memory_bytes=ask_or_none(lambda: tuple(nvml.nvmlDeviceGetMemoryInfo(device).total for device in devices))
            or (),
            driver=ask_or_none(lambda: _decoded(nvml.nvmlSystemGetDriverVersion())),
        )


def gpu_processes() -> tuple[str, ...] | None:
    """Return what computes on NVIDIA's devices right now, e.g. "gpu(0): 3.1 GiB by 2"; None if it cannot be told."""
    return ask_or_none(_ask_for_processes)


def _ask_for_processes() -> tuple[str, ...]:
    with _driver() as nvml:
        found = []
        for index in range(nvml.nvmlDeviceGetCount()):
            processes = nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(index))
            if processes:
                used = sum(process.usedGpuMemory or 0 for process in processes)
                found.append(f"gpu({index}): {used / 2**30:.1f} GiB by {len(processes)}")
        return tuple(found)


def _decoded(name: str | bytes) -> str:
    """Return a name as text: old releases of nvidia-ml-py give bytes."""
    return name.decode() if isinstance(name, bytes) else name
