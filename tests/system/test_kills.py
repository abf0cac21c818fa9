"""The program is killed, or asked to end, at random moments, with real workers on tiny data.

No finished part is lost, no process and no folder is left, and going on ends as it should. The moments are seeded:
MNIST_BENCH_KILLS=100 tries a hundred of them. The first of each verb comes soon after it has saved something.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import psutil
import pytest

from bench import cli
from bench.experiments.tune.results import tune_result
from bench.records import store
from bench.records.base import Record
from bench.records.gate import GateFile
from bench.records.profile import ProfileFile
from bench.records.result import ResultSet
from bench.records.tune import TuneFile, TunePhase
from tests import ROOT
from tests.support.idx_files import small_idx_folder
from tests.support.program import PATIENCE_SECONDS, ended, start

pytestmark = pytest.mark.system
KindT = TypeVar("KindT", bound=Record)

#: Moments in all, at which the verbs take turns.
MOMENTS: Final = int(os.environ.get("MNIST_BENCH_KILLS", "5"))
#: The first moment of a verb comes at most so long after it has saved something.
_SOON_SECONDS: Final = 1.0
_SIGNALS: Final = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
_SUITE: Final = """
title = "alone, and in turns"
[[matrix]]
network = ["mlp"]
contexts = ["cpu(0)"]
sampling = { predict = true, repeats = 2, epochs = 1, samples = 200 }
[[matrix]]
network = ["mlp"]
contexts = ["cpu(0)"]
batch_size = [50, 200]
sampling = { in_turns = true, predict = true, repeats = 2, epochs = 2, samples = 200 }
"""


@dataclasses.dataclass(frozen=True)
class Verb:
    """A measurement that can be killed."""

    name: str
    arguments: tuple[str, ...]
    #: Where it saves; a pattern, since a calibration is named after its machine.
    file: str
    kind: type[Record]
    #: Returns what is finished in a file, in order.
    parts: Callable[[Record], Sequence[object]]
    #: Goes on with it; None: nothing does.
    resume: tuple[str, ...] | None
    #: The latest moment, in seconds: about as long as it takes.
    latest: float
    ends: frozenset[cli.Exit]
    #: Changes its file so that little is left to do.
    shorten: Callable[[Path], None] = lambda _file: None
    #: Checks its file, its status and what it printed, after it has gone on from its first moment.
    check: Callable[[Path, int, str], None] = lambda _file, _status, _log: None


def parts_of(kind: type[KindT], parts: Callable[[KindT], Sequence[object]]) -> Callable[[Record], Sequence[object]]:
    def checked(record: Record) -> Sequence[object]:
        assert isinstance(record, kind)
        return parts(record)

    return checked


def leave_one_block(path: Path) -> None:
    """Repeat the blocks of a calibration until one is left to measure: its eight would take a minute."""
    begun = store.read(path, GateFile)
    repeated = (begun.blocks[index % len(begun.blocks)] for index in range(begun.plan.max_blocks - 1))
    blocks = tuple(msgspec.structs.replace(block, index=index) for index, block in enumerate(repeated))
    store.write(path, msgspec.structs.replace(begun, blocks=blocks))


def check_gate(path: Path, status: int, log: str) -> None:
    """A block or two are too few."""
    assert status == cli.Exit.INCONCLUSIVE, log
    assert all(block.failure is None for block in store.read(path, GateFile).blocks)
    assert "underpowered" in log


def check_search(path: Path, _status: int, log: str) -> None:
    """It has gone through all of its phases."""
    tune_file = store.read(path, TuneFile)
    assert tune_file.rounds[0].phase is TunePhase.SCREENING
    assert tune_file.rounds[0].measurements
    assert tune_file.rounds[-1].phase is TunePhase.FINAL
    assert not tune_result(tune_file).unfit, log
    assert "or as a command:" in log


_GATE_ENDS: Final = frozenset({cli.Exit.DONE, cli.Exit.REGRESSED, cli.Exit.INCONCLUSIVE})
VERBS: Final = (
    Verb(
        name="run",
        arguments=("run", "--suite", "suite.toml", "-o", "run.json"),
        file="run.json",
        kind=ResultSet,
        parts=parts_of(ResultSet, lambda file: file.runs),
        resume=("run", "--resume", "run.json"),
        latest=25.0,
        # A training on so few images may miss its band.
        ends=frozenset({cli.Exit.DONE, cli.Exit.FAILED}),
    ),
    Verb(
        name="gate",
        arguments=("gate", "--base", "other", "-k", "mlp and static", "--budget", "20s", "-o", "gate.json"),
        file="gate.json",
        kind=GateFile,
        parts=parts_of(GateFile, lambda file: file.blocks),
        resume=("gate", "--base", "other", "--resume", "gate.json", "--budget", "1s"),
        latest=30.0,
        ends=_GATE_ENDS,
        check=check_gate,
    ),
    Verb(
        name="tune",
        arguments=(  # eight settings: four executions of two updates
            *("tune", "--network", "mlp", "--contexts", "cpu(0)", "--cpu-threads", "1", "--set", "engine=threaded"),
            *("--set", "input_pipeline=resident", "--set", "metric_sync=epoch"),
            *("--budget", "8s", "--seed", "1", "-o", "tune.json"),
        ),
        file="tune.json",
        kind=TuneFile,
        parts=parts_of(TuneFile, lambda file: file.rounds),
        resume=("tune", "--resume", "tune.json"),
        latest=25.0,
        ends=frozenset({cli.Exit.DONE, cli.Exit.INCONCLUSIVE}),
        check=check_search,
    ),
    Verb(
        name="profile",
        arguments=(
            *("profile", "--network", "mlp", "--contexts", "cpu(0)", "--hybridize", "on"),
            *("--steps", "2", "--rounds", "4", "-o", "profile.json"),
        ),
        file="profile.json",
        kind=ProfileFile,
        parts=parts_of(ProfileFile, lambda file: (file,)),
        resume=None,
        latest=12.0,
        ends=frozenset({cli.Exit.DONE, cli.Exit.INCONCLUSIVE}),
    ),
    Verb(
        name="calibrate",
        arguments=("calibrate", "-k", "mlp and static", "--blocks", "8", "-o", "calibration"),
        file="calibration/*.blocks.json",
        kind=GateFile,
        parts=parts_of(GateFile, lambda file: file.blocks),
        resume=("calibrate", "-k", "mlp and static", "--blocks", "8", "-o", "calibration"),
        latest=25.0,
        # Eight blocks are few to say anything of the machine.
        ends=frozenset({cli.Exit.DONE, cli.Exit.INCONCLUSIVE}),
        shorten=leave_one_block,
    ),
)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Make what the commands need; afterwards nothing that they started may go on."""
    small_idx_folder(tmp_path / "data", train=300, test=400)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "suite.toml").write_text(_SUITE, encoding="utf-8")
    other = tmp_path / "other" / "mnist_core"
    shutil.copytree(ROOT / "mnist_core", other, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "training.py").open("a", encoding="utf-8") as file:
        file.write("# another version\n")
    yield tmp_path
    for process in of_this_test(tmp_path):
        process.kill()


def finished(verb: Verb, folder: Path) -> Sequence[object]:
    """Return the finished parts that are in the file; what is there can always be read."""
    return [part for path in folder.glob(verb.file) for part in verb.parts(store.read(path, verb.kind))]


def of_this_test(folder: Path) -> list[psutil.Process]:
    """Return the live processes that were started in this folder, whoever their parent is by now."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("TMPDIR") == str(folder / "tmp"):
                found.append(process)
    return found


def left_behind(folder: Path) -> list[object]:
    return [*of_this_test(folder), *(folder / "tmp").iterdir()]


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_killed_at_any_moment(folder: Path, moment: int) -> None:
    drawn = random.Random(moment)
    verb = VERBS[moment % len(VERBS)]
    number = _SIGNALS[drawn.randrange(len(_SIGNALS))]
    waits_for_a_save = moment < len(VERBS) and verb.resume is not None
    process = start(folder, *verb.arguments, TMPDIR=str(folder / "tmp"))
    begin = time.monotonic()
    ends_at = begin + (PATIENCE_SECONDS if waits_for_a_save else drawn.uniform(0.0, verb.latest))
    seen: Sequence[object] = ()
    while process.poll() is None and time.monotonic() < ends_at:
        if waits_for_a_save and not seen and finished(verb, folder):
            ends_at = time.monotonic() + drawn.uniform(0.0, _SOON_SECONDS)
        seen = finished(verb, folder)
        time.sleep(0.05)
    process.send_signal(number)
    status, log = ended(process, folder)
    assert "Traceback" not in log or status == -signal.SIGINT, log  # Python itself, before our first line
    assert status in {-number, cli.Exit.INTERRUPTED, *verb.ends}, log
    assert seen or not waits_for_a_save, log
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left_behind(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left_behind(folder) == []
    saved = finished(verb, folder)
    assert saved[: len(seen)] == seen
    files = [*folder.glob(verb.file)]
    if status in verb.ends:
        assert saved
    if files and verb.resume is None:
        return
    for path in files if saved else ():
        verb.shorten(path)
    saved = finished(verb, folder)
    again = start(folder, *((verb.resume if files else None) or verb.arguments), TMPDIR=str(folder / "tmp"))
    status, log = ended(again, folder)
    assert status in verb.ends, log
    assert finished(verb, folder)[: len(saved)] == saved
    assert left_behind(folder) == []
    if waits_for_a_save:
        verb.check(folder / verb.file, status, log)
