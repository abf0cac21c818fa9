"""Going on with a file: only where it was begun, under the same software, on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench import store
from bench.cli.data import prepare
from bench.cli.shell import IncomparableError
from bench.record import Dataset, Environment
from mnist_core import datasets
from mnist_core.datasets import DatasetName


def require_same_machine(path: Path, before: Environment, here: Environment, facts: Sequence[str]) -> None:
    """One environment heads all of a file's rows. Raises `IncomparableError` where it would not be true of the rest."""
    if here.host_hash is None or here.host_hash != before.host_hash:
        raise IncomparableError(f"{path}: was begun on another machine; its rest must be measured there")
    if changed := [fact for fact in facts if getattr(before, fact) != getattr(here, fact)]:
        raise IncomparableError(f"{path}: was begun under another {' and '.join(changed)}; measure anew")


def prepare_same(path: Path, dataset: Dataset, data_dir: Path | None) -> datasets.Prepared:
    """Raises `IncomparableError` where other images are here than the file was begun on."""
    try:
        name = DatasetName(dataset.name)
    except ValueError:
        raise store.StoreError(f"{path}: its data set {dataset.name!r} is unknown here") from None
    prepared = prepare(DatasetName.AUTO if name is DatasetName.CUSTOM else name, data_dir)
    if prepared.digest != dataset.digest:
        raise IncomparableError(
            f"{path}: was begun on other data ({dataset.name} {dataset.digest[:12]}); name the same with --data-dir"
        )
    return prepared
