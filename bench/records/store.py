"""Files of every kind: write them without ever losing one, read, check, migrate them."""

from __future__ import annotations

import contextlib
import enum
import errno
import json
import math
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import filelock
import jsonschema
import msgspec

from bench.errors import ConfigurationError, NoResultError, SchemaError, StoreError
from bench.records import profile, tune
from bench.records.base import Record
from bench.records.calibration import CALIBRATION_SCHEMA_VERSION, Calibration
from bench.records.gate import GATE_SCHEMA_VERSION, GateFile
from bench.records.profile import PROFILE_SCHEMA_VERSION, ProfileFile
from bench.records.result import SCHEMA_VERSION, Failure, ResultSet, Run, key, schema
from bench.records.tune import TUNE_SCHEMA_VERSION, TuneFile

#: From schema version n to n + 1, on the decoded JSON. See the history beside `result.SCHEMA_VERSION`.
MIGRATIONS: Final[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    1: lambda document: document | {"schema_version": 2},  # what is new has defaults
    2: lambda document: document | {"schema_version": 3},  # as above
}
RecordT = TypeVar("RecordT", bound=Record)
_DECODER: Final = msgspec.json.Decoder(ResultSet)
_BEGIN: Final = re.compile(rb'\s*\{\s*"schema_version"\s*:\s*(\d{1,9})\s*,')


class FileKind(enum.Enum):
    """What a JSON file can be, told by the key that only this kind has at its top, and the command that shows it."""

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
        """Return the command that shows a file of this kind."""
        return f"mnist-bench {self._command.format(shlex.quote(str(path)))}"


#: Of a file that is being written, whatever it will be called: a name may be as long as the file system allows.
_TEMPORARY_PREFIX: Final = ".mnist-bench."
#: What a file system answers that cannot do what is asked of it.
_NOT_SUPPORTED: Final = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK}
#: The kinds that `read` knows, and the newest schema version of each.
_KINDS: Final[Mapping[type[Record], tuple[FileKind, int]]] = {
    ResultSet: (FileKind.RESULT, SCHEMA_VERSION),
    GateFile: (FileKind.GATE, GATE_SCHEMA_VERSION),
    TuneFile: (FileKind.TUNE, TUNE_SCHEMA_VERSION),
    ProfileFile: (FileKind.PROFILE, PROFILE_SCHEMA_VERSION),
    Calibration: (FileKind.CALIBRATION, CALIBRATION_SCHEMA_VERSION),
}


class OtherKindError(NoResultError):
    """A file of a kind that another command shows; the line says which."""

    def __init__(self, path: Path, kind: FileKind) -> None:
        super().__init__(f"{path}: is a {kind.word} file: {kind.shown_by(path)} shows it")


def write(path: Path, record: Record) -> None:
    """Replace `path` in one step: a reader finds a whole file at any time, even after the machine stopped.

    Where `path` is a link, the file that it leads to is replaced. Raise `StoreError` if the file system refuses.
    """
    text = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
    target = real_path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=_TEMPORARY_PREFIX, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
                file.flush()
                _sync_file(file.fileno())
            with contextlib.suppress(OSError):  # a file system without modes
                Path(temporary).chmod(0o644)  # mkstemp's 0600 suits a secret, not a result
            Path(temporary).replace(target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
        _sync_directory(target.parent)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error


def real_path(path: Path) -> Path:
    """Return the path of the file that a link leads to; the path itself where it is no link."""
    return Path(os.path.realpath(path)) if os.path.islink(path) else path  # noqa: PTH114 - Path's may raise


def _sync_file(descriptor: int) -> None:
    """Flush a file, where the file system can: only then is a full disk told by some of them."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise


def _sync_directory(directory: Path) -> None:
    """Flush the folder, where the file system can: else the rename itself may be lost with the power."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def json_files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder; where it has none, those of its folders, as a CI's downloads lie there.

    Hidden ones are not meant: macOS puts a `._name.json` beside a file. Nor is a pipe, which would be waited for.
    """
    for pattern in ("*.json", "*/*.json"):
        found = [
            path
            for path in sorted(folder.glob(pattern))
            if not any(part.startswith(".") for part in path.relative_to(folder).parts) and not path.is_fifo()
        ]
        if found:
            return found
    return []


def read(path: Path, *kinds: type[RecordT]) -> RecordT:
    """Read a file of one of these kinds of record; its own top-level key tells which.

    Raise `OtherKindError` for a file of another kind, `NoResultError` for one of no kind that is known, `SchemaError`
    for one that is newer than this program, and `StoreError` for one that cannot be read or is not valid.
    """
    content = _content(path)
    begin = _BEGIN.match(content)  # where `write` began it, a short way: ten thousand results are read at once
    if ResultSet in kinds and begin is not None and int(begin[1]) == SCHEMA_VERSION:
        with contextlib.suppress(
            msgspec.DecodeError, ValueError, ConfigurationError, RecursionError
        ):  # explained below
            result_set: Any = _DECODER.decode(content)
            if result_set.schema_version == SCHEMA_VERSION and not _contradictions(result_set):
                return cast("RecordT", result_set)
    document = _document(path, content)
    record = _kind_of(path, document, kinds)
    kind, newest = _KINDS[record]
    document = _migrated(path, document, kind, newest)
    try:
        found = msgspec.convert(document, record, str_keys=True)
    except (msgspec.ValidationError, ConfigurationError) as error:
        hint = f" (`mnist-bench check {path}` names every violation)" if kind is FileKind.RESULT else ""
        raise StoreError(f"{path}: not a valid {kind.word} file: {error}{hint}") from None
    if contradictions := _contradictions(found):
        raise StoreError(f"{path}: not a valid {kind.word} file: {contradictions[0]}")
    return found


def _contradictions(record: Record) -> list[str]:
    """Return what the types of a record cannot say and its readers rely on; `check` tells more of a result file."""
    match record:
        case ResultSet():
            places = ((run, f"$.runs[{index}]") for index, run in enumerate(record.runs))
            return [each for run, where in places for each in _lost_block(run, where, record)]
        case ProfileFile():
            return profile.inconsistencies(record)
        case TuneFile():
            return tune.inconsistencies(record)
        case _:
            return []


def violations(path: Path) -> list[str]:
    """Return everything that is wrong with a JSON file, one line each; [] for a valid result file.

    Raise `StoreError` if there is no document to check.
    """
    document = _document(path, _content(path))
    _kind_of(path, document, (ResultSet,))
    document = _migrated(path, document, FileKind.RESULT, SCHEMA_VERSION)
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
    """Return what no schema can say, one line each: records of the file that contradict each other."""
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
            once = (key(record), record.block if isinstance(record, Run) else None)
            if once in seen:
                found.append(f"{where}: recorded twice: {record.scenario.name}, repeat {record.repeat}")
            seen.add(once)
    for index, run in enumerate(result_set.runs):
        found += _run_inconsistencies(run, f"$.runs[{index}]", result_set)
    return found


def _lost_block(run: Run, where: str, result_set: ResultSet) -> Iterator[str]:
    if run.block is not None and run.block >= len(result_set.blocks):
        yield f"{where}.block: {run.block} of {len(result_set.blocks)}"


def _run_inconsistencies(run: Run, where: str, result_set: ResultSet) -> Iterator[str]:
    yield from _lost_block(run, where, result_set)
    train_samples = result_set.dataset.train_samples
    if len(run.epochs) != run.recipe.epochs:
        yield f"{where}.epochs: {len(run.epochs)} of {run.recipe.epochs}"
    if run.final_accuracy != run.epochs[-1].test_accuracy:
        yield f"{where}.final_accuracy: not the last epoch's test_accuracy"
    if run.per_context_batch_sizes != run.scenario.per_context_batch_sizes:
        yield f"{where}.per_context_batch_sizes: not those of the scenario"
    expected = min(run.recipe.samples or train_samples, train_samples)
    for number, epoch in enumerate(run.epochs):
        if epoch.samples != epoch.passes * expected:
            yield f"{where}.epochs[{number}].samples: {epoch.samples}, not {epoch.passes * expected}"
        if not math.isfinite(epoch.last_batch_loss):
            yield f"{where}.epochs[{number}].last_batch_loss: not finite"


@contextlib.contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Lock the folder for the length of the block, since two measurements at once would slow each other.

    Raise `StoreError` if another measurement holds the lock, or the folder cannot be written.
    """
    lock = filelock.FileLock(directory / ".lock", timeout=0)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise StoreError(
            f"{directory}: another mnist-bench is measuring into this folder; wait for it (two at once slow each other)"
        ) from None
    except NotImplementedError:  # the file system has no locks: all else that is done to a file needs none
        pass
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise StoreError(f"{directory}: cannot be written: {error.strerror or error}") from error
    try:
        yield  # outside the handlers above: what fails in here has its own name
    finally:
        lock.release()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from None


def _document(path: Path, content: bytes) -> dict[str, Any]:
    try:
        # In UTF-8, or as a program of Windows saved it. msgspec is stricter than json: no NaN, and no half of a pair.
        document = msgspec.json.decode(content.decode(json.detect_encoding(content)))
    except (ValueError, msgspec.DecodeError, RecursionError):
        raise StoreError(f"{path}: not JSON, or cut off") from None
    return document if isinstance(document, dict) else {}


def _kind_of(path: Path, document: Mapping[str, Any], wanted: Sequence[type[RecordT]]) -> type[RecordT]:
    """Return which of the wanted records a document is; raise `NoResultError` if it is none of them."""
    for record in wanted:
        if type(document.get(_KINDS[record][0].top_key)) is int:
            return record
    kinds = [_KINDS[record][0] for record in wanted]
    other = next((kind for kind in FileKind if kind not in kinds and kind.top_key in document), None)
    if other is not None:
        raise OtherKindError(path, other)
    if len(kinds) == 1:
        raise NoResultError(f"{path}: not a {kinds[0].word} file: it has no {kinds[0].top_key}")
    *others, last = (kind.word for kind in kinds)
    raise NoResultError(f"{path}: not a {', '.join(others)} or {last} file")


def _migrated(path: Path, document: dict[str, Any], kind: FileKind, newest: int) -> dict[str, Any]:
    version = document[kind.top_key]
    if version > newest:
        raise SchemaError(
            f"{path}: {kind.top_key.replace('_', ' ')} {version} is newer than this mnist-bench reads ({newest}); "
            "update mnist-bench"
        )
    while kind is FileKind.RESULT and version < newest:
        if version not in MIGRATIONS:
            raise SchemaError(f"{path}: unknown schema version {version}")
        document = MIGRATIONS[version](document)
        version += 1
    return document


def _shortened(message: str, limit: int = 200) -> str:
    line = " ".join(message.split())
    return line if len(line) <= limit else f"{line[:limit]}…"
