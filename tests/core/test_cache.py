"""Nothing half-made is ever left in the cache, and nothing damaged is ever used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mnist_core.data.cache import Cache
from mnist_core.data.folder import FILES
from mnist_core.datasets import DatasetName
from mnist_core.idx import DataError
from tests.support.dataset_sources import (
    AUTO,
    DIGITS,
    IMAGES,
    LABELS,
    MNIST,
    PATIENT,
    SYNTHETIC,
    Desk,
    check,
    fill,
    joint,
    listing,
    set_up,
)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return set_up(tmp_path, monkeypatch)


@pytest.mark.parametrize("damage", ["changed", "cut", "file missing", "folder is a file"])
def test_a_damaged_cache_is_made_anew(desk: Desk, damage: str) -> None:
    """A cached data set that does not match its digest is replaced, not used."""
    folder = fill(desk.root / "mine", DIGITS, suffix=".gz")
    entry = desk.obtain(MNIST, folder).directory
    sound = listing(desk.cache)
    match damage:
        case "changed":
            (entry / LABELS).write_bytes(DIGITS[LABELS][:-1] + b"\1")
        case "cut":
            (entry / IMAGES).write_bytes(DIGITS[IMAGES][:100])
        case "file missing":
            (entry / LABELS).unlink()
        case _:
            for file in FILES:
                (entry / file).unlink()
            entry.rmdir()
            entry.write_bytes(b"")
    check(desk.obtain(MNIST, folder), DIGITS, MNIST)
    assert sound == listing(desk.cache)


def test_a_damaged_cache_entry_alone_is_not_used(desk: Desk) -> None:
    """With the cache damaged and nothing else there, MNIST is an error and auto is synthetic."""
    entry = desk.obtain(MNIST, fill(desk.root / "mine", DIGITS, suffix=".gz")).directory
    (entry / LABELS).write_bytes(DIGITS[LABELS][:-1] + b"\1")
    with pytest.raises(DataError, match="no mirror"):
        desk.obtain(MNIST)
    assert SYNTHETIC is desk.obtain(AUTO).name


@pytest.mark.parametrize("name", [MNIST, SYNTHETIC])
def test_an_unwritable_cache_says_what_to_set(desk: Desk, name: DatasetName) -> None:
    """A cache that cannot be written is an error that names MNIST_BENCH_CACHE_DIR; raw files need no cache."""
    desk.cache.write_bytes(b"in the way")
    zipped = fill(desk.root / "zipped", DIGITS, suffix=".gz") if name is MNIST else None
    with pytest.raises(DataError, match=r"cache: cannot be written as cache \(.+\); set MNIST_BENCH_CACHE_DIR"):
        desk.obtain(name, zipped)
    check(desk.obtain(MNIST, fill(desk.root / "mine", DIGITS)), DIGITS, MNIST)


@pytest.mark.parametrize("rival_is_sound", [True, False])
def test_the_loser_of_a_race_uses_what_the_winner_made(desk: Desk, rival_is_sound: bool) -> None:  # noqa: FBT001
    """What has meanwhile appeared under the name, in spite of the lock, stays if it is sound and goes if not."""
    cache = Cache(desk.cache, lock_seconds=30)
    entry = cache.entry(MNIST, joint(DIGITS))
    rival = DIGITS if rival_is_sound else {**DIGITS, LABELS: b""}
    stays = []

    def make(_: Path) -> list[bytearray]:
        stays.append(fill(entry, rival).stat().st_ino)
        return [bytearray(DIGITS[file]) for file in FILES]

    held = cache.keep(MNIST, joint(DIGITS), make)
    assert rival_is_sound is (stays == [entry.stat().st_ino])
    assert {path.name: path.read_bytes() for path in held.paths} == DIGITS
    assert {entry.name, *(f"{entry.name}/{file}" for file in FILES)} == set(listing(desk.cache))


def test_a_process_that_never_finishes_is_not_waited_for_without_end(desk: Desk) -> None:
    """Another process in the cache for longer than the patience lasts is an error that names its lock."""
    desk.patience = replace(PATIENT, lock_seconds=0.05)
    desk.cache.mkdir()
    folder = fill(desk.root / "mine", DIGITS, suffix=".gz")
    with (
        Cache(desk.cache, lock_seconds=0)._scratch(MNIST),
        pytest.raises(DataError, match=r"\.mnist\.lock: another process"),
    ):
        desk.obtain(MNIST, folder)


def test_a_file_system_without_locks_keeps_data_all_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock only saves a second process the work."""

    def refuse(*_arguments: object, **_named: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    check(desk.obtain(MNIST, fill(desk.root / "mine", DIGITS, suffix=".gz")), DIGITS, MNIST)
