"""The life of a file that a verb measures into: new or resumed, locked, checked, interrupted, saved."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import typer

from bench import errors
from bench.cli import options
from bench.cli.console import fail, note, spinner
from bench.cli.datasets import note_dataset, prepare
from bench.cli.exit_status import Exit
from bench.errors import ConfigurationError, IncomparableError, SetupError
from bench.experiments.attempts import DeadlyError
from bench.experiments.pilot import PilotError
from bench.records import store
from bench.records.base import Record, utc_now
from bench.records.environment import Environment, Software
from bench.records.gate import GateFile
from bench.records.result import Dataset, ResultSet
from bench.records.tune import TuneFile
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from bench.worker import process
from bench.worker.environment import WITHHELD, worker_variables
from bench.worker.process import Cancellation, Interpreter
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.devices import Device, DeviceKind

FileT = TypeVar("FileT", bound=Record)

#: How to say that a fact of an environment is not what it was.
_CHANGES: Final = {
    "software": "other versions of the measured software",
    "peers": "other versions of the frameworks beside MXNet",
    "mnist_bench_version": "another version of mnist-bench",
    "git_commit": "another commit of mnist-bench",
    "source_digest": "other source code of mnist-bench",
    "usable_core_count": "another number of usable cores",
    "cgroup_cpu_quota": "another CPU quota",
    "accelerator_driver": "another GPU driver",
    "accelerators": "other GPUs",
    "variables": "other environment variables",
}


def path_named_now(folder: Path, name: str) -> Path:
    """Return NAME-20260131T120000Z.json in the folder, or with -2, -3 and so on behind it where that exists."""
    stem = f"{name}-{utc_now().replace(':', '').replace('-', '')}"
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(path for name in names if not (path := folder / f"{name}.json").exists())


def note_dry_run(context: typer.Context) -> None:
    """Say which given options a dry run has no use for: people add --dry-run to the whole command."""
    useless = {"output": "--output", "write_suite": "--write-suite", "output_format": "--format"}
    if given := [option for name, option in useless.items() if options.is_given(context, name)]:
        note(f"--dry-run measures nothing and writes no file: {' and '.join(given)} did nothing")


@contextlib.contextmanager
def new_file(output: Path | None, name: str, *, resumable: bool = True) -> Iterator[Path]:
    """Yield the path of a file that does not exist yet, and lock its folder; without --output it is named after `name`.

    Raises `ConfigurationError` where it exists, `StoreError` where something else measures into the folder.
    """
    path = output or path_named_now(options.RESULTS_DIRECTORY, name)
    with store.exclusive(store.real_path(path).parent):
        if path.exists():
            raise ConfigurationError(
                f"{path} exists: name another --output{f', or --resume {path}' if resumable else ''}"
            )
        yield path


@contextlib.contextmanager
def resumed_file(path: Path, kind: type[FileT]) -> Iterator[FileT]:
    """Lock the folder of a file, and yield the file as it then is.

    Raises what `store.read` raises, and `StoreError` where something else measures into the folder.
    """
    store.read(path, kind)  # a file of another kind must not leave a lock in its folder
    with store.exclusive(store.real_path(path).parent):
        yield store.read(path, kind)


def prepare_rest(
    path: Path,
    begun: ResultSet | GateFile | TuneFile,
    here: Environment,
    data_dir: Path | None,
    facts: Iterable[str] = _CHANGES,
) -> datasets.Prepared:
    """Return the data set of a file that is resumed.

    Raises `IncomparableError` where the machine, one of these facts about it, or the data are not those that the file
    was begun with.
    """
    require_same_machine(path, begun.environment, here, facts)
    return prepare_known(path, begun.dataset, data_dir)


def prepare_known(path: Path, dataset: Dataset, data_dir: Path | None) -> datasets.Prepared:
    """Return the data set that a file was begun on. Raises `IncomparableError` where another is found."""
    try:
        name = DatasetName(dataset.name)
    except ValueError:
        raise errors.StoreError(f"{path}: its data set {dataset.name!r} is unknown here") from None
    prepared = prepare(name, data_dir)
    if prepared.digest != dataset.digest:
        raise IncomparableError(
            f"{path}: was begun on other data ({dataset.name} {dataset.digest[:12]}); name the same with --data-dir"
        )
    return prepared


def require_same_machine(
    path: Path | str, before: Environment, here: Environment, facts: Iterable[str] = tuple(_CHANGES)
) -> None:
    """Raise `IncomparableError` where a file's one environment would not be true of what is measured from now on."""
    if here.host_hash is None or here.host_hash != before.host_hash:
        raise IncomparableError(f"{path}: was begun on another machine; its rest must be measured there")
    if changes := [_describe_change(fact, before, here) for fact in facts if _has_changed(fact, before, here)]:
        raise IncomparableError(f"{path}: was begun with {' and '.join(changes)}; start a new measurement")


def _has_changed(fact: str, before: Environment, here: Environment) -> bool:
    """Tell whether a fact is not what it was. The digest of the code counts, where known, else the commit."""
    digests_known = before.source_digest is not None and here.source_digest is not None
    match fact:
        case "git_commit" if digests_known:
            return False
        case "source_digest" if not digests_known:
            return False
        case "variables":
            return bool(_changed_variables(before, here))
        case "accelerators":  # what slows one, or its power limit, may change
            cards, now = ([card.uuid for card in each.accelerators] for each in (before, here))
            return bool(cards and now and cards != now)
        case _:
            return bool(getattr(before, fact) != getattr(here, fact))


def _describe_change(fact: str, before: Environment, here: Environment) -> str:
    names = f" ({', '.join(_changed_variables(before, here))})" if fact == "variables" else ""
    return _CHANGES[fact] + names


def _changed_variables(before: Environment, here: Environment) -> list[str]:
    """Return the variables that differ and reach a worker: it gets some as its scenario says, and others never."""
    never = {*worker_variables(1), *WITHHELD}
    names = sorted({*before.variables, *here.variables} - never)
    return [name for name in names if before.variables.get(name) != here.variables.get(name)]


def software_of(scenarios: Sequence[Scenario]) -> Software:
    """Ask MXNet, in a process of its own, what the scenarios would run on. Raises `SetupError` where it is missing."""
    with spinner(f"asking {Framework.MXNET} what it is"):
        return process.describe(Interpreter(), Cancellation(), scenarios=scenarios)


def require_gpus(devices: Iterable[Device]) -> None:
    """Exit with the reason where MXNet cannot use one of the GPUs."""
    for device in devices:
        if device.kind is not DeviceKind.GPU:
            continue
        with spinner(f"trying {device} out"):
            probe = process.probe(Interpreter(), Cancellation(), Framework.MXNET, device)
        if not probe.usable:
            fail(f"{device}: {probe.detail}", Exit.FAILED)


@contextlib.contextmanager
def trying(what: str) -> Iterator[None]:
    """Show on a terminal what is tried; exit with FAILED and the reason where it does not work at all."""
    try:
        with spinner(what):
            yield
    except PilotError as error:
        fail(str(error), Exit.FAILED)


@contextlib.contextmanager
def cancelled_by_signals() -> Iterator[Cancellation]:
    """Yield a cancellation that SIGINT and SIGTERM request while the block lasts."""
    stop = Cancellation()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclasses.dataclass(frozen=True, slots=True)
class ResumeHint:
    """What is saved of an unfinished measurement, and which command goes on with it: as it is when it is printed."""

    #: What is saved one by one, in the plural.
    parts: str
    path: Path
    #: None: the measurement cannot be resumed.
    command: str | None = None

    def __str__(self) -> str:
        if not self.path.exists():  # the first save failed, or did not come
            return "nothing is saved"
        saved = f"finished {self.parts} are in {self.path}"
        return saved if self.command is None else f"{saved}; go on with {self.command}"


@contextlib.contextmanager
def measuring(hint: ResumeHint) -> Iterator[Cancellation]:
    """Yield what SIGINT and SIGTERM cancel; where nothing more can be measured or saved, exit with the reason."""
    try:
        with cancelled_by_signals() as stop:
            yield stop
    except (SetupError, errors.StoreError) as error:
        fail(f"{error}; {hint}", Exit.USAGE)
    except DeadlyError as error:
        fail(f"{error}; {hint}", Exit.FAILED)


def note_saved(prepared: datasets.Prepared, path: Path) -> None:
    """Say where a measurement is saved, and if it was not on MNIST."""
    note_dataset(prepared)
    note(f"saved in {path}")
