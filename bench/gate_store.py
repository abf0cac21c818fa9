"""Gate and calibration files: written whole or not at all, read with one clear line for what is none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from bench.calibration import CALIBRATION_SCHEMA_VERSION, Calibration
from bench.fingerprint import class_digest, class_slug
from bench.gate_record import GATE_SCHEMA_VERSION, GateFile
from bench.record import Environment
from bench.scenario import ConfigurationError
from bench.store import SchemaError, StoreError

CALIBRATIONS_DIRECTORY: Final = Path("results/calibration")
_VERSIONS: Final[Mapping[str, int]] = {
    "gate_schema_version": GATE_SCHEMA_VERSION,
    "calibration_schema_version": CALIBRATION_SCHEMA_VERSION,
}
T = TypeVar("T")


def read_gate(path: Path) -> GateFile:
    """Raises `StoreError` for a file that is not a gate file, `SchemaError` for one that is too new."""
    return _read(path, GateFile, "gate", "gate_schema_version")


def read_calibration(path: Path) -> Calibration:
    """Raises `StoreError` for a file that is not a calibration, `SchemaError` for one that is too new."""
    return _read(path, Calibration, "calibration", "calibration_schema_version")


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


def _read(path: Path, kind: type[T], word: str, version_field: str) -> T:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from None
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        raise StoreError(f"{path}: not JSON, or cut off") from None
    version = document.get(version_field) if isinstance(document, dict) else None
    if not isinstance(version, int):
        raise StoreError(f"{path}: not a {word} file: it has no {version_field}")
    if version > _VERSIONS[version_field]:
        raise SchemaError(
            f"{path}: {version_field} {version} is newer than this mnist-bench reads ({_VERSIONS[version_field]}); "
            "update it"
        )
    try:
        return msgspec.convert(document, kind, str_keys=True)
    except (msgspec.ValidationError, ConfigurationError) as error:
        raise StoreError(f"{path}: not a valid {word} file: {error}") from None
