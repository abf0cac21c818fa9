"""GPUs that were asked for by name: tried out before anything is measured on them."""

from __future__ import annotations

from collections.abc import Iterable

from bench.cli.shell import Exit, fail, working
from bench.scenarios.axes import Framework
from bench.worker import process
from bench.worker.process import Cancellation, Interpreter
from mnist_core.devices import Device, DeviceKind


def require_gpus(devices: Iterable[Device]) -> None:
    """Exits where MXNet cannot use one of them; says why."""
    for device in devices:
        if device.kind is not DeviceKind.GPU:
            continue
        with working(f"trying {device} out"):
            found = process.probe(Interpreter(), Cancellation(), Framework.MXNET, device)
        if not found.usable:
            fail(f"{device}: {found.detail}", Exit.FAILED)
