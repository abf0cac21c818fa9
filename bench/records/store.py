"""Result files: write without ever losing one, read, check, migrate."""

from __future__ import annotations

import contextlib
import enum
import json
import math
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import filelock
import jsonschema
import msgspec

from bench.errors import ConfigurationError, NoResultError, SchemaError, StoreError
from bench.records.base import Record
from bench.records.result import SCHEMA_VERSION, Failure, ResultSet, Run, key, schema

#: From schema version n to n + 1, on the decoded JSON. See the history beside `record.SCHEMA_VERSION`.
MIGRATIONS: Final[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    1: lambda document: document | {"schema_version": 2},  # what is new has defaults
}

RecordT = TypeVar("RecordT", bound=Record)

_DECODER: Final = msgspec.json.Decoder(ResultSet)

_BEGIN: Final = re.compile(rb'\s*\{\s*"schema_version"\s*:\s*(\d{1,9})\s*,')


class FileKind(enum.Enum):
    """What a JSON file can be, by the key that only this kind has at its top, and the command that shows it."""

    RESULT = ("result", "schema_version", "show {}")
    GATE = ("gate", "gate_schema_version", "gate --replay {}")
    TUNE = ("tune", "tune_schema_version", "tune --replay {}")
    PROFILE = ("profile", "profile_schema_version", "profile --replay {}")
    CALIBRATION = ("calibration", "calibration_schema_version", "calibrate --file {}")
    MICRO = ("micro-benchmark", "machine_info", "compare {} OTHER")

    def __init__(self, word: str, top_key: str, command: str) -> None:
        self.word = word
        self.top_key = top_key
        self._command = command

    def shown_by(self, path: Path) -> str:
        return f"mnist-bench {self._command.format(shlex.quote(str(path)))}"


class OtherKindError(NoResultError):
    """It is a file of a kind that another command shows; the line says which."""

    def __init__(self, path: Path, kind: FileKind) -> None:
        super().__init__(f"{path}: is a {kind.word} file: {kind.shown_by(path)} shows it")
        self.kind = kind


def write(path: Path, record: Record) -> None:
    """Replace `path` in one step: whoever reads it, whenever the machine stops, finds a whole file.

    Raises `StoreError` when the file system refuses.
    """
    text = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)  # mkstemp's 0600 suits a secret, not a result
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
        _sync_directory(path.parent)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error


def _sync_directory(directory: Path) -> None:
    """Without it the rename itself may be lost with the power."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> ResultSet:
    """Raises `StoreError` for a file that is not a result file, `SchemaError` for one that is too new."""
    content = _content(path)
    if _begins_as_today(content):
        with contextlib.suppress(msgspec.DecodeError, ConfigurationError, RecursionError):  # said below, in words
            result_set = _DECODER.decode(content)
            if result_set.schema_version == SCHEMA_VERSION:
                return result_set
    document = _migrated(path, _document(path, content))
    try:
        return msgspec.convert(document, ResultSet, str_keys=True)
    except (msgspec.ValidationError, ConfigurationError) as error:
        raise StoreError(
            f"{path}: not a valid result file: {error} (`mnist-bench check {path}` names every violation)"
        ) from None


def _begins_as_today(content: bytes) -> bool:
    """As `write` begins a file of this schema version, which needs no migration: ten thousand are read at once."""
    begin = _BEGIN.match(content)
    return begin is not None and int(begin[1]) == SCHEMA_VERSION


def violations(path: Path) -> list[str]:
    """Everything wrong with a file that is JSON, one line each; [] for a valid result file.

    Raises `StoreError` where there is no document to check.
    """
    document = _migrated(path, _load_json(path))
    validator = jsonschema.Draft202012Validator(schema())
    found = [
        f"{error.json_path}: {_shortened(error.message)}"
        for error in sorted(validator.iter_errors(document), key=lambda error: error.json_path)
    ]
    if found:
        return found
    try:
        return inconsistencies(msgspec.convert(document, ResultSet))
    except (msgspec.ValidationError, ConfigurationError) as error:
        return [str(error)]


def inconsistencies(result_set: ResultSet) -> list[str]:
    """What a schema cannot say: records that contradict each other."""
    found = []
    planned = {key(run) for run in result_set.plan}
    seen = set()
    outcomes: tuple[tuple[str, Sequence[Run | Failure]], ...] = (
        ("runs", result_set.runs),
        ("failures", result_set.failures),
    )
    for kind, records in outcomes:
        for index, record in enumerate(records):
            where = f"$.{kind}[{index}]"
            if key(record) not in planned:
                found.append(f"{where}: not in the plan: {record.scenario.name}, repeat {record.repeat}")
            if key(record) in seen:
                found.append(f"{where}: recorded twice: {record.scenario.name}, repeat {record.repeat}")
            seen.add(key(record))
    for index, run in enumerate(result_set.runs):
        found += _run_inconsistencies(run, f"$.runs[{index}]", result_set.dataset.train_samples)
    return found


def _run_inconsistencies(run: Run, where: str, train_samples: int) -> Iterator[str]:
    if len(run.epochs) != run.recipe.epochs:
        yield f"{where}.epochs: {len(run.epochs)} of {run.recipe.epochs}"
    if run.final_accuracy != run.epochs[-1].test_accuracy:
        yield f"{where}.final_accuracy: not the last epoch's test_accuracy"
    if run.per_context_batch_sizes != run.scenario.per_context_batch_sizes:
        yield f"{where}.per_context_batch_sizes: not those of the scenario"
    expected = min(run.recipe.samples or train_samples, train_samples)
    for number, epoch in enumerate(run.epochs):
        if epoch.samples != expected:
            yield f"{where}.epochs[{number}].samples: {epoch.samples}, not {expected}"
        if not math.isfinite(epoch.last_batch_loss):
            yield f"{where}.epochs[{number}].last_batch_loss: not finite"


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Nothing else measures into this folder meanwhile; two measurements at once would slow each other."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(directory / ".lock", timeout=0)
        lock.acquire()
    except filelock.Timeout:
        raise StoreError(
            f"{directory}: another mnist-bench is measuring into this folder; wait for it (two at once slow each other)"
        ) from None
    except OSError as error:
        raise StoreError(f"{directory}: cannot be written: {error.strerror or error}") from error
    try:
        yield  # outside the handlers above: what fails in here has its own name
    finally:
        lock.release()


def read_versioned(path: Path, record: type[RecordT], kind: FileKind, newest: int) -> RecordT:
    """A file of another kind than results, with a schema version of its own.

    Raises `StoreError` for a file that is none, `SchemaError` for one that is too new.
    """
    content = _content(path)
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        raise StoreError(f"{path}: not JSON, or cut off") from None
    version = _version(path, document, kind)
    if version > newest:
        raise SchemaError(
            f"{path}: {kind.top_key} {version} is newer than this mnist-bench reads ({newest}); update it"
        )
    try:
        return msgspec.convert(document, record, str_keys=True)
    except (msgspec.ValidationError, ConfigurationError) as error:
        raise StoreError(f"{path}: not a valid {kind.word} file: {error}") from None


def _version(path: Path, document: object, kind: FileKind) -> int:
    """The schema version of a file of this kind; raises `NoResultError` for another."""
    keys = document if isinstance(document, dict) else {}
    if isinstance(version := keys.get(kind.top_key), int):
        return version
    other = next((each for each in FileKind if each is not kind and each.top_key in keys), None)
    if other is None:
        raise NoResultError(f"{path}: not a {kind.word} file: it has no {kind.top_key}")
    raise OtherKindError(path, other)


def _load_json(path: Path) -> dict[str, Any]:
    return _document(path, _content(path))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from None


def _document(path: Path, content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise StoreError(f"{path}: not JSON, or cut off") from None
    _version(path, document, FileKind.RESULT)
    made: dict[str, Any] = document
    return made


def _migrated(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    version = document["schema_version"]
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"{path}: schema version {version} is newer than this mnist-bench reads ({SCHEMA_VERSION}); update it"
        )
    while version < SCHEMA_VERSION:
        if version not in MIGRATIONS:
            raise SchemaError(f"{path}: schema version {version} is none that ever was")
        document = MIGRATIONS[version](document)
        version += 1
    return document


def _shortened(message: str, limit: int = 200) -> str:
    line = " ".join(message.split())
    return line if len(line) <= limit else f"{line[:limit]}…"
