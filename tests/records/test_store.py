"""Result files are written whole, read strictly, and checked completely."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import errors
from bench.records import store
from bench.records.result import SCHEMA_VERSION, ResultSet, schema
from tests import ROOT
from tests.support.executor import A_BLOCK, in_turns
from tests.support.records import a_ceiling, a_result_set, a_run, planned

#: Damages a decoded result file in place.
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "results" / "file.json"
    store.write(path, a_result_set())
    return path


def damaged(file: Path, change: Change) -> Path:
    """Return the file with `change` applied to its document."""
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    return file


def test_what_was_written_is_read_back_equal(file: Path) -> None:
    """Nothing is rounded, dropped or renamed on the way."""
    assert store.read(file, ResultSet) == a_result_set()
    assert store.violations(file) == []


def test_only_the_file_itself_is_left(file: Path) -> None:
    """Writing over a file leaves no temporary behind, and the file readable by others."""
    store.write(file, a_result_set())
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_failed_write_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs the new result, never the old one."""
    before = file.read_bytes()

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(errors.StoreError, match="No space left"):
        store.write(file, a_result_set())
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EPERM])
def test_a_file_system_without_niceties_takes_a_file(file: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """One that cannot flush a folder, change a mode or lock a file holds what is written as well as any other."""
    sync = os.fsync

    def refuse(*_arguments: object, **_named: object) -> None:
        raise OSError(number, os.strerror(number))

    def sync_files(descriptor: int) -> None:
        if number == errno.EPERM and stat.S_ISREG(os.fstat(descriptor).st_mode):
            sync(descriptor)
        else:
            refuse()

    monkeypatch.setattr(os, "fsync", sync_files)
    monkeypatch.setattr(Path, "chmod", refuse)
    store.write(file, a_result_set(suite="another"))
    assert store.read(file, ResultSet).suite == "another"


def test_a_folder_that_cannot_be_opened_takes_a_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be written, and not be listed."""
    opened = os.open

    def refuse(path: object, *arguments: Any, **named: Any) -> int:  # noqa: ANN401  # whatever os.open takes
        if path == file.parent:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *arguments, **named)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(os, "open", refuse)
    store.write(file, a_result_set(suite="another"))
    assert store.read(file, ResultSet).suite == "another"


@pytest.mark.parametrize("error", [NotImplementedError("no flock"), OSError(errno.ENOLCK, "No locks available")])
def test_a_file_system_without_locks_can_be_measured_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with store.exclusive(tmp_path):
        store.write(tmp_path / "file.json", a_result_set())
    assert store.read(tmp_path / "file.json", ResultSet) == a_result_set()


def test_a_link_is_written_through(file: Path, tmp_path: Path) -> None:
    """The file that it leads to is the one that is replaced; a link that leads nowhere yet gets its file."""
    for target in (file, tmp_path / "new.json"):
        link = tmp_path / f"link-to-{target.name}"
        link.symlink_to(target)
        store.write(link, a_result_set(suite="another"))
        assert link.is_symlink()
        assert store.read(target, ResultSet).suite == "another"


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path) -> None:
    """What it is called while it is written needs no more room."""
    path = tmp_path / ("n" * 250 + ".json")
    store.write(path, a_result_set())
    assert store.read(path, ResultSet) == a_result_set()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_what_a_program_of_windows_saved_is_read(file: Path, encoding: str) -> None:
    """Such as PowerShell's `>`, or an editor that marks the order of bytes."""
    file.write_bytes(file.read_text(encoding="utf-8").encode(encoding))
    assert store.read(file, ResultSet) == a_result_set()
    assert store.violations(file) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace(b'"made-up"', b'"made\xffup"'),
        lambda text: text.replace(b'"made-up"', b'"\\ud800"'),
        lambda text: text.replace(b'"mnist"', b'"\\ud800"'),
        lambda text: text.replace(b'"off"', b'"\\ud800"'),
        lambda text: text.replace(b"0.08", b"NaN"),
        lambda text: text.replace(b"0.08", b"1e999"),
        lambda text: text.replace(b"0.25", b"1e-320").replace(b"6.0", b"1e-320"),
        lambda text: text.replace(b'"batch_size": 100', b'"batch_size": ' + b"9" * 400),
        lambda text: text.replace(b'"batch_size": 100', b'"batch_size": ' + b"9" * 5000),
    ],
)
def test_what_json_or_arithmetic_cannot_hold_is_one_line(file: Path, damage: Callable[[bytes], bytes]) -> None:
    """A byte that is no UTF-8, half of a pair, no number, no end, nothing: none of them gets past the reader."""
    before = file.read_bytes()
    file.write_bytes(damage(before))
    assert file.read_bytes() != before
    with pytest.raises(errors.StoreError) as caught:
        store.read(file, ResultSet)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    """After kill -9 in the middle of many writes, what is there can be read."""
    path = tmp_path / "file.json"
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from pathlib import Path; from bench.records import store; from tests.support.records import a_result_set\n"
        "while True:\n    store.write(Path(sys.argv[1]), a_result_set())\n    print('.', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(path), str(ROOT)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        for _ in range(20):
            assert process.stdout.readline() == b".\n"
        process.kill()
        process.wait()
    assert store.read(path, ResultSet).runs == (a_run(),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b'{"schema_version": 1', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "schema_version"),
        (b'{"runs": []}', "schema_version"),
        (b'{"schema_version": 0}', "unknown schema version 0"),
        (b'{"schema_version": 99}', "newer than this mnist-bench reads"),
        (b'{"schema_version": 1}', "names every violation"),
    ],
)
def test_a_file_that_is_no_result_gives_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    """Whatever the bytes, the error names the file and the cause."""
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(errors.StoreError) as caught:
        store.read(path, ResultSet)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_gives_one_line(tmp_path: Path) -> None:
    """So does a folder in its place."""
    with pytest.raises(errors.StoreError, match="No such file"):
        store.read(tmp_path / "none.json", ResultSet)
    with pytest.raises(errors.StoreError, match="directory"):
        store.read(tmp_path, ResultSet)


def test_every_violation_of_the_schema_is_named(file: Path) -> None:
    """Three faults give three lines, each with its place."""

    def three_faults(document: dict[str, Any]) -> None:
        document["runs"][0]["final_accuracy"] = 1.5
        document["runs"][0]["epochs"][0]["epoch_seconds"] = "fast"
        del document["dataset"]["digest"]

    violations = store.violations(damaged(file, three_faults))
    assert len(violations) == 3
    assert "$.dataset" in violations[0]
    assert "digest" in violations[0]
    assert "$.runs[0].epochs[0].epoch_seconds" in violations[1]
    assert "$.runs[0].final_accuracy" in violations[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["runs"].append(d["runs"][0]), "recorded twice"),
        (lambda d: d.update(plan=[]), "not in the plan"),
        (lambda d: d["runs"][0]["epochs"].append(d["runs"][0]["epochs"][0]), "epochs"),
        (lambda d: d["runs"][0].update(final_accuracy=0.0), "not the last epoch's"),
        (lambda d: d["runs"][0]["epochs"][0].update(samples=60_032), "60032, not 60000"),
        (lambda d: d["runs"][0].update(per_context_batch_sizes=[1]), "per_context_batch_sizes"),
        (lambda d: d["runs"][0]["scenario"].update(network="alexnet"), "alexnet"),
    ],
)
def test_records_that_contradict_each_other_are_named(file: Path, change: Change, words: str) -> None:
    """What no schema can say is checked too."""
    violations = store.violations(damaged(file, change))
    assert any(words in violation for violation in violations), violations


def test_the_exported_schema_is_the_one_that_is_checked(file: Path) -> None:
    """The JSON Schema names its dialect and accepts what the program writes."""
    exported = schema()
    assert exported["$schema"].endswith("2020-12/schema")
    assert exported["$ref"].startswith("#/$defs/ResultSet")
    assert msgspec.json.decode(file.read_bytes(), type=ResultSet).schema_version == SCHEMA_VERSION


def test_a_migration_leads_to_today(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older file is read through its migrations, step by step."""

    def rename(document: dict[str, Any]) -> dict[str, Any]:
        return {**{k: v for k, v in document.items() if k != "suite_name"}, "suite": document["suite_name"]}

    monkeypatch.setattr(store, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(store, "_KINDS", {ResultSet: (store.FileKind.RESULT, SCHEMA_VERSION + 1)})
    monkeypatch.setattr(store, "MIGRATIONS", {SCHEMA_VERSION: rename})
    old = damaged(file, lambda d: d.update(suite_name=d.pop("suite")))
    assert store.read(old, ResultSet).suite == a_result_set().suite


def test_two_measurements_never_share_a_folder(tmp_path: Path) -> None:
    """The second is told to wait; a folder that cannot be made is named."""
    with (
        store.exclusive(tmp_path / "runs"),
        pytest.raises(errors.StoreError, match="another mnist-bench"),
        store.exclusive(tmp_path / "runs"),
    ):
        pass
    with store.exclusive(tmp_path / "runs"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(errors.StoreError, match="cannot be written"), store.exclusive(tmp_path / "file" / "runs"):
        pass


def test_an_error_under_the_lock_keeps_its_own_name(tmp_path: Path) -> None:
    """What fails while measuring is not a folder that cannot be written; and the lock is free again."""
    with pytest.raises(ConnectionError, match="of the network"), store.exclusive(tmp_path):
        raise ConnectionError("of the network")
    with store.exclusive(tmp_path):
        pass


def test_ceilings_are_written_and_read_and_checked(file: Path) -> None:
    """Every size that was tried is kept; a device, size or rate that is none is named."""
    measured = a_result_set(ceilings=(a_ceiling(), a_ceiling(device="gpu(0)", gflop=5e4)))
    store.write(file, measured)
    assert store.read(file, ResultSet) == measured
    assert store.violations(file) == []

    def spoil(document: dict[str, Any]) -> None:
        document["ceilings"][0] |= {"device": "tpu(0)", "framework": "theano", "vector_sums": []}
        document["ceilings"][1]["matrix_products"][0] = {"size": 0, "gflop_per_second": 0}

    assert len(store.violations(damaged(file, spoil))) == 5
    with pytest.raises(errors.StoreError, match="ceilings"):
        store.read(file, ResultSet)


def test_a_file_of_schema_version_1_has_no_ceilings(file: Path) -> None:
    """It is read as it always was."""

    def older(document: dict[str, Any]) -> None:
        document["schema_version"] = 1
        del document["ceilings"]

    assert store.read(damaged(file, older), ResultSet) == a_result_set()


def test_a_file_of_schema_version_2_has_no_blocks(file: Path) -> None:
    """It is read as it always was."""

    def older(document: dict[str, Any]) -> None:
        document["schema_version"] = 2
        del document["blocks"]
        for run in document["runs"]:
            for field in ("block", "place", "test_samples"):
                del run[field]
            for epoch in run["epochs"]:
                del epoch["passes"]
        for entry in document["plan"]:
            del entry["in_turns"]

    assert store.read(damaged(file, older), ResultSet) == a_result_set()


def test_a_run_of_a_block_is_read_back_and_checked(tmp_path: Path) -> None:
    """Its block exists, its epochs are as many passes as they say, and it is once in each block."""
    run = in_turns(a_run(), 0)
    path = tmp_path / "turns.json"
    store.write(path, a_result_set(run, blocks=(A_BLOCK,)))
    assert store.violations(path) == []
    assert store.read(path, ResultSet).runs == (run,)

    def spoil(document: dict[str, Any]) -> None:
        document["runs"][0]["block"] = 1
        document["runs"][0]["epochs"][0]["passes"] = 2

    found = store.violations(damaged(path, spoil))
    assert found == ["$.runs[0].block: 1 of 1", "$.runs[0].epochs[0].samples: 60000, not 120000"]
    with pytest.raises(errors.StoreError, match=r"turns\.json: not a valid result file: \$\.runs\[0\]\.block: 1 of 1"):
        store.read(path, ResultSet)  # whatever shows a row looks into its blocks


def test_the_reference_of_a_block_in_two_parts_is_measured_in_both(tmp_path: Path) -> None:
    """Once in each block; twice in one is a contradiction."""
    path = tmp_path / "parts.json"
    plan = (planned(a_run()),)
    parts = (in_turns(a_run(), 0), in_turns(a_run(), 1))
    store.write(path, a_result_set(*parts, blocks=(A_BLOCK,) * 2, plan=plan))
    assert store.violations(path) == []
    store.write(path, a_result_set(*parts[:1] * 2, blocks=(A_BLOCK,) * 2, plan=plan))
    assert "recorded twice" in store.violations(path)[0]
