"""The GPUs that NVIDIA's driver tells of."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.machine.linux.system_files import ROOT, ask_or_none, read_text


class Accelerators(NamedTuple):
    quantity: int = 0
    model_names: tuple[str, ...] = ()
    memory_bytes: tuple[int, ...] = ()
    driver: str | None = None


def describe_accelerators(root: Path = ROOT, variables: Mapping[str, str] = os.environ) -> Accelerators:
    """Return NVIDIA's devices as their driver names them, those alone that CUDA_VISIBLE_DEVICES leaves to programs.

    Without nvidia-ml-py, which only the GPU builds bring, the kernel's files name them.
    """
    chosen = variables.get("CUDA_VISIBLE_DEVICES")
    return ask_or_none(lambda: _ask_driver(variables)) or _read_driver(root, chosen)


def visible_cards(chosen: str | None, uuids: Sequence[str]) -> list[int]:
    """Return the indices of the cards that CUDA_VISIBLE_DEVICES leaves, in its order; all where it is not set.

    As in CUDA, the first word that names no card ends the list. CUDA counts the fastest card first and the driver by
    their slots: the same where the cards are alike.
    """
    if chosen is None or "MIG-" in chosen:  # a part of a card: which one, the driver does not tell here
        return list(range(len(uuids)))
    visible: list[int] = []
    for word in map(str.strip, chosen.split(",")):
        named = [index for index, uuid in enumerate(uuids) if word == str(index) or (word and uuid.startswith(word))]
        if len(named) != 1:
            break
        visible += named
    return visible


@contextlib.contextmanager
def _driver() -> Iterator[Any]:
    """Yield the module that speaks with the driver: untyped, and optional. Raises where either is missing."""
    nvml = importlib.import_module("pynvml")
    nvml.nvmlInit()
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def visible_devices(nvml: Any, variables: Mapping[str, str]) -> list[Any]:  # noqa: ANN401  # as above
    """Return the driver's handle of each card that programs see, in their order: gpu(0) first."""
    chosen = variables.get("CUDA_VISIBLE_DEVICES")
    devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    told = [ask_or_none(functools.partial(nvml.nvmlDeviceGetUUID, device)) for device in devices]
    uuids = [_decoded(uuid) if uuid else "" for uuid in told]
    return [devices[index] for index in visible_cards(chosen, uuids)]


def _ask_driver(variables: Mapping[str, str]) -> Accelerators:
    with _driver() as nvml:
        devices = visible_devices(nvml, variables)
        return Accelerators(
            quantity=len(devices),
            model_names=ask_or_none(lambda: tuple(_decoded(nvml.nvmlDeviceGetName(device)) for device in devices))
            or (),
            memory_bytes=ask_or_none(lambda: tuple(nvml.nvmlDeviceGetMemoryInfo(device).total for device in devices))
            or (),
            driver=ask_or_none(lambda: _decoded(nvml.nvmlSystemGetDriverVersion())),
        )


def _read_driver(root: Path, chosen: str | None) -> Accelerators:
    told = [read_text(path) for path in sorted(root.glob("proc/driver/nvidia/gpus/*/information"))]
    models, uuids = (
        [match[1] if (match := re.search(rf"^{fact}:\s*(.*\S)", text, re.MULTILINE)) else "" for text in told]
        for fact in ("Model", "GPU UUID")
    )
    names = tuple(models[index] for index in visible_cards(chosen, uuids))
    driver = read_text(root / "sys/module/nvidia/version") or None
    return Accelerators(len(names), names if all(names) else (), (), driver if told else None)


def gpu_processes(variables: Mapping[str, str] = os.environ) -> tuple[str, ...] | None:
    """Return what computes on NVIDIA's devices right now, e.g. "gpu(0): 3.1 GiB by 2"; None if it cannot be told."""
    return ask_or_none(lambda: _ask_for_processes(variables))


def _ask_for_processes(variables: Mapping[str, str]) -> tuple[str, ...]:
    with _driver() as nvml:
        found = []
        for index, device in enumerate(visible_devices(nvml, variables)):
            processes = nvml.nvmlDeviceGetComputeRunningProcesses(device)
            if processes:
                used = sum(process.usedGpuMemory or 0 for process in processes)
                found.append(f"gpu({index}): {used / 2**30:.1f} GiB by {len(processes)}")
        return tuple(found)


def _decoded(name: str | bytes) -> str:
    """Return a name as text: old releases of nvidia-ml-py give bytes."""
    return name.decode() if isinstance(name, bytes) else name
