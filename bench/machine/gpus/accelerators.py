"""The GPUs that NVIDIA's driver tells of."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.machine.gpus.order import DEVICE_ORDER, VISIBLE_DEVICES, see_cards, visible_cards
from bench.machine.linux.system_files import ROOT, ask_or_none, read_text
from bench.records.environment import Accelerator, ThrottleReason

#: Bits of nvmlClocksEventReasons in nvml.h; an idle card, and one that draws a picture, are not slowed.
_REASONS: Final[Mapping[int, ThrottleReason]] = {
    0x02: ThrottleReason.CLOCK_SETTING,
    0x04: ThrottleReason.POWER_CAP,
    0x08: ThrottleReason.HARDWARE_SLOWDOWN,
    0x10: ThrottleReason.SYNC_BOOST,
    0x20: ThrottleReason.HEAT,
    0x40: ThrottleReason.HEAT,
    0x80: ThrottleReason.POWER_BRAKE,
}
#: Values of nvmlPerfPolicyType_t whose time the driver adds up, on cards that do.
_POLICIES: Final[Mapping[int, ThrottleReason]] = {
    0: ThrottleReason.POWER_CAP,
    1: ThrottleReason.HEAT,
    2: ThrottleReason.SYNC_BOOST,
    3: ThrottleReason.BOARD_LIMIT,
    5: ThrottleReason.RELIABILITY,
}
#: Values of nvmlClockType_t: of the multiprocessors, and of the memory.
_SM_CLOCK: Final = 1
_MEMORY_CLOCK: Final = 2
_HZ_PER_MHZ: Final = 1_000_000
_WATTS_PER_MILLIWATT: Final = 1e-3


class Accelerators(NamedTuple):
    quantity: int = 0
    model_names: tuple[str, ...] = ()
    memory_bytes: tuple[int, ...] = ()
    driver: str | None = None
    cards: tuple[Accelerator, ...] = ()


def describe_accelerators(root: Path = ROOT, variables: Mapping[str, str] = os.environ) -> Accelerators:
    """Return NVIDIA's devices as their driver names them: those alone that programs see, in their order.

    Where its library is missing, the kernel's files name them.
    """
    return ask_or_none(lambda: _ask_driver(variables)) or _read_driver(root, variables)


@contextlib.contextmanager
def _driver() -> Iterator[Any]:
    """Yield the module that speaks with the driver: untyped. Raises where it or the driver is missing."""
    nvml = importlib.import_module("pynvml")
    nvml.nvmlInit()
    try:
        yield nvml
    finally:
        nvml.nvmlShutdown()


def visible_devices(nvml: Any, variables: Mapping[str, str]) -> list[Any]:  # noqa: ANN401  # as above
    """Return the driver's handle of each card, or part of one, that programs see, in their order: gpu(0) first."""
    devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    chosen = variables.get(VISIBLE_DEVICES)
    seen = see_cards(chosen, variables.get(DEVICE_ORDER)) if devices else None
    found = [] if seen is None else [_find(nvml, card.uuid) for card in seen]
    if seen is not None and None not in found:
        return found
    told = [ask_or_none(functools.partial(nvml.nvmlDeviceGetUUID, device)) for device in devices]
    return [devices[index] for index in visible_cards(chosen, [_decoded(uuid) if uuid else "" for uuid in told])]


def _find(nvml: Any, uuid: str | None) -> Any | None:  # noqa: ANN401  # as above
    """Return the driver's handle of a card or of a part of one; None where it knows none with this UUID."""

    def ask(kind: str) -> Any:  # noqa: ANN401  # as above
        return ask_or_none(lambda: nvml.nvmlDeviceGetHandleByUUID(f"{kind}-{uuid}"))

    card = ask("GPU")
    return ask("MIG") if card is None else card


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
            cards=tuple(_describe(nvml, device) for device in devices),
        )


def _describe(nvml: Any, device: Any) -> Accelerator:  # noqa: ANN401  # as above
    """Return what the driver tells of a card; of a part of one, what it tells of the whole."""
    whole = ask_or_none(lambda: nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device))
    card = device if whole is None else whole

    def ask(fact: str, *arguments: int) -> Any:  # noqa: ANN401  # as above
        return ask_or_none(lambda: getattr(nvml, f"nvmlDeviceGet{fact}")(card, *arguments))

    def scaled(number: Any, factor: float) -> Any:  # noqa: ANN401  # as above
        return number * factor if number else None

    capability, ecc, persistence = map(ask, ("CudaComputeCapability", "EccMode", "PersistenceMode"))
    return Accelerator(
        uuid=ask_or_none(lambda: _decoded(nvml.nvmlDeviceGetUUID(device))),
        compute_capability=capability and ".".join(map(str, capability)),
        max_clock_hz=scaled(ask("MaxClockInfo", _SM_CLOCK), _HZ_PER_MHZ),
        max_memory_clock_hz=scaled(ask("MaxClockInfo", _MEMORY_CLOCK), _HZ_PER_MHZ),
        power_limit_watts=scaled(ask("PowerManagementLimit"), _WATTS_PER_MILLIWATT),
        default_power_limit_watts=scaled(ask("PowerManagementDefaultLimit"), _WATTS_PER_MILLIWATT),
        ecc=ecc and bool(ecc[0]),
        persistence_mode=None if persistence is None else bool(persistence),
        pcie_generation=ask("MaxPcieLinkGeneration") or None,
        pcie_lanes=ask("CurrPcieLinkWidth") or None,
        max_pcie_lanes=ask("MaxPcieLinkWidth") or None,
        throttle_reasons=_in_order(_reasons_now(nvml, card)),
    )


def _reasons_now(nvml: Any, device: Any) -> set[ThrottleReason]:  # noqa: ANN401  # as above
    bits = ask_or_none(lambda: int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device))) or 0
    return {reason for bit, reason in _REASONS.items() if bits & bit}


def _in_order(reasons: Collection[ThrottleReason]) -> tuple[ThrottleReason, ...]:
    return tuple(reason for reason in ThrottleReason if reason in reasons)


@dataclass(frozen=True, slots=True)
class Throttling:
    """What slowed the cards that programs see, up to a moment."""

    now: frozenset[ThrottleReason] = frozenset()
    #: The time that a reason has slowed a card so far, by the card's place and the reason, in the driver's own unit.
    so_far: Mapping[tuple[int, ThrottleReason], int] = field(default_factory=dict)

    def since(self, before: Throttling) -> tuple[ThrottleReason, ...]:
        """Return what slowed a card between two moments, as far as the driver tells, or slows it at the second."""
        grown = {key[1] for key, time in self.so_far.items() if time > before.so_far.get(key, time)}
        return _in_order(self.now | grown)


def read_throttling(variables: Mapping[str, str] = os.environ) -> Throttling:
    """Ask the driver what slows the cards; it tells nothing where there is none. Never raises."""
    return ask_or_none(lambda: _ask_for_throttling(variables)) or Throttling()


def _ask_for_throttling(variables: Mapping[str, str]) -> Throttling:
    with _driver() as nvml:
        devices = visible_devices(nvml, variables)
        times = {
            (place, reason): ask_or_none(functools.partial(nvml.nvmlDeviceGetViolationStatus, device, policy))
            for place, device in enumerate(devices)
            for policy, reason in _POLICIES.items()
        }
        return Throttling(
            frozenset(reason for device in devices for reason in _reasons_now(nvml, device)),
            {key: int(status.violationTime) for key, status in times.items() if status is not None},
        )


def _read_driver(root: Path, variables: Mapping[str, str]) -> Accelerators:
    told = [read_text(path) for path in sorted(root.glob("proc/driver/nvidia/gpus/*/information"))]
    models, uuids = (
        [match[1] if (match := re.search(rf"^{fact}:\s*(.*\S)", text, re.MULTILINE)) else "" for text in told]
        for fact in ("Model", "GPU UUID")
    )
    visible = visible_cards(variables.get(VISIBLE_DEVICES), uuids)
    names = tuple(models[index] for index in visible)
    driver = read_text(root / "sys/module/nvidia/version") or None
    return Accelerators(
        len(names),
        names if all(names) else (),
        (),
        driver if told else None,
        tuple(Accelerator(uuid=uuids[index] or None) for index in visible),
    )


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
