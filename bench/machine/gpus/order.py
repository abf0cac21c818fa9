"""Which cards CUDA sees, and in which order: gpu(0) of every framework is the first of them. Standard library only."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from bench import SOURCE_ROOT
from mnist_core.devices import DRIVER_SONAME, Device, DeviceKind, Probe, program, run_child
from mnist_core.probe import end_with_stdin, read_card

#: Which cards programs see, by CUDA's numbers or by UUID.
VISIBLE_DEVICES: Final = "CUDA_VISIBLE_DEVICES"
#: FASTEST_FIRST, which is CUDA's own choice, or PCI_BUS_ID, which is the driver's order.
DEVICE_ORDER: Final = "CUDA_DEVICE_ORDER"
#: Without persistence mode the driver wakes every card first, which takes a second or two for each.
_TIMEOUT_SECONDS: Final = 60.0
#: CUDA_ERROR_NO_DEVICE of cuda.h: it starts, and no card is visible.
_NO_DEVICE: Final = 100


@functools.lru_cache(maxsize=8)  # of a process that starts none of its frameworks, and asks before every block
def see_cards(visible: str | None, order: str | None) -> tuple[Probe, ...] | None:
    """Return the cards that programs see where these are the two variables; None where CUDA does not start.

    CUDA alone knows which card it takes for the fastest, and which part of a divided card (MIG) it shows. It is asked
    in a child process, since a broken driver hangs and the answer is settled for the life of a process.
    """
    chosen = {VISIBLE_DEVICES: visible, DEVICE_ORDER: order}
    environment = {name: value for name, value in {**os.environ, **chosen}.items() if value is not None}
    packages = {name: SOURCE_ROOT / name for name in ("bench", "mnist_core")}
    command = [sys.executable, "-c", program(packages, __name__)]
    try:
        child = run_child(command, _TIMEOUT_SECONDS, environment)
        return None if child.returncode else tuple(map(Probe.from_json, child.stdout.splitlines()))
    except (subprocess.TimeoutExpired, OSError, ValueError, TypeError, KeyError):
        return None


def main() -> None:
    """Write what CUDA sees to stdout: a line for each card. Raise OSError where it does not start."""
    end_with_stdin()
    sys.stdout.writelines(card.to_json() + "\n" for card in list_cards(ctypes.CDLL(DRIVER_SONAME)))


def list_cards(cuda: ctypes.CDLL) -> list[Probe]:
    """Return every card that the driver's library shows to this process. Raise OSError where CUDA does not start."""
    count = ctypes.c_int()
    status = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if status not in {0, _NO_DEVICE}:
        raise OSError(f"CUDA does not start: error {status}")
    return [read_card(Device(DeviceKind.GPU, index), cuda) for index in range(count.value)]


def visible_cards(chosen: str | None, uuids: Sequence[str]) -> list[int]:
    """Return the indices of the cards that CUDA_VISIBLE_DEVICES leaves, in its order; all where it is not set.

    As in CUDA, a number may have letters behind it, the first word that names no card ends the list, and a card that is
    named twice empties it. This is for where CUDA itself cannot be asked: it counts the fastest card first and the
    driver by their slots, which is the same where the cards are alike.
    """
    if chosen is None or "MIG-" in chosen:  # a part of a card: which one, the driver does not tell here
        return list(range(len(uuids)))
    visible: list[int] = []
    for word in map(str.strip, chosen.split(",")):
        number = re.match(r"\+?([0-9]{1,4})", word)
        named = [
            index
            for index, uuid in enumerate(uuids)
            if (index == int(number[1]) if number else word.startswith("GPU-") and uuid.startswith(word))
        ]
        if len(named) != 1:
            break
        if named[0] in visible:
            return []
        visible += named
    return visible
