"""GPUs that were asked for by name: tried out before anything is measured on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bench import errors
from bench.cli.commands.data import prepare
from bench.cli.console import Exit, fail, working
from bench.errors import IncomparableError
from bench.records.environment import Environment
from bench.records.result import Dataset
from bench.scenarios.axes import Framework
from bench.worker import process
from bench.worker.process import Cancellation, Interpreter
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.devices import Device, DeviceKind

#: What a difference of an environment's facts is, in words.
_FACTS: Final = {
    "software": "other versions of the measured software",
    "peers": "other versions of the frameworks beside MXNet",
    "mnist_bench_version": "another version of mnist-bench",
    "git_commit": "another commit of mnist-bench",
    "usable_core_count": "another number of usable cores",
}


def require_same_machine(path: Path, before: Environment, here: Environment, facts: Sequence[str]) -> None:
    """One environment heads all of a file's rows. Raises `IncomparableError` where it would not be true of the rest."""
    if here.host_hash is None or here.host_hash != before.host_hash:
        raise IncomparableError(f"{path}: was begun on another machine; its rest must be measured there")
    if changed := [fact for fact in facts if getattr(before, fact) != getattr(here, fact)]:
        words = " and ".join(_FACTS[fact] for fact in changed)
        raise IncomparableError(f"{path}: was begun with {words}; measure anew")


def prepare_same(path: Path, dataset: Dataset, data_dir: Path | None) -> datasets.Prepared:
    """Raises `IncomparableError` where other images are here than the file was begun on."""
    try:
        name = DatasetName(dataset.name)
    except ValueError:
        raise errors.StoreError(f"{path}: its data set {dataset.name!r} is unknown here") from None
    prepared = prepare(DatasetName.AUTO if name is DatasetName.CUSTOM else name, data_dir)
    if prepared.digest != dataset.digest:
        raise IncomparableError(
            f"{path}: was begun on other data ({dataset.name} {dataset.digest[:12]}); name the same with --data-dir"
        )
    return prepared


def require_gpus(devices: Iterable[Device]) -> None:
    """Exits where MXNet cannot use one of them; says why."""
    for device in devices:
        if device.kind is not DeviceKind.GPU:
            continue
        with working(f"trying {device} out"):
            found = process.probe(Interpreter(), Cancellation(), Framework.MXNET, device)
        if not found.usable:
            fail(f"{device}: {found.detail}", Exit.FAILED)
