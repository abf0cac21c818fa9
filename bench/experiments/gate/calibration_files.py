"""Gate and calibration files: written whole or not at all, read with one clear line for what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from bench.errors import StoreError
from bench.machine.fingerprint import class_digest, class_slug
from bench.records import store
from bench.records.calibration import CALIBRATION_SCHEMA_VERSION, Calibration
from bench.records.environment import Environment
from bench.records.gate import GATE_SCHEMA_VERSION, GateFile

CALIBRATIONS_DIRECTORY: Final = Path("results/calibration")


def read_gate(path: Path) -> GateFile:
    """Raises `StoreError` for a file that is not a gate file, `SchemaError` for one that is too new."""
    return store.read_versioned(path, GateFile, store.FileKind.GATE, GATE_SCHEMA_VERSION)


def read_calibration(path: Path) -> Calibration:
    """Raises `StoreError` for a file that is not a calibration, `SchemaError` for one that is too new."""
    return store.read_versioned(path, Calibration, store.FileKind.CALIBRATION, CALIBRATION_SCHEMA_VERSION)


def calibration_path(environment: Environment, directory: Path = CALIBRATIONS_DIRECTORY) -> Path:
    """Where the calibration of this class of machines is."""
    return directory / f"{class_slug(environment)}.json"


def blocks_path(environment: Environment, directory: Path = CALIBRATIONS_DIRECTORY) -> Path:
    """Where the blocks are that it was made from."""
    return directory / f"{class_slug(environment)}.blocks.json"


def calibration_for(environment: Environment, directory: Path = CALIBRATIONS_DIRECTORY) -> Calibration | None:
    """None where this class of machines has none. Raises `StoreError` for one that cannot be read."""
    path = calibration_path(environment, directory)
    if not path.exists():
        return None
    calibration = read_calibration(path)
    if calibration.machine_class != class_digest(environment):
        raise StoreError(f"{path}: is the calibration of another class of machines; remove it and calibrate here")
    return calibration
