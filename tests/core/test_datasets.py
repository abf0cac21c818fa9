"""Data sets come from known places, and are what they claim to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mnist_core.data.folder import FILES
from mnist_core.datasets import TEST_SEED, TRAIN_SEED, DatasetName, State, load
from mnist_core.idx import DataError, to_idx_bytes
from tests.support.dataset_sources import (
    AUTO,
    CLOTHES,
    CUSTOM,
    DIGITS,
    FASHION_MNIST,
    IMAGES,
    LABELS,
    MNIST,
    OTHERS,
    SYNTHETIC,
    TEST_IMAGES,
    TEST_LABELS,
    Contents,
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


# Folders that the user names ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [MNIST, AUTO, CUSTOM])
def test_raw_files_are_used_where_they_are(desk: Desk, name: DatasetName) -> None:
    """Verified raw files are not copied; what is MNIST is called so, whatever it was asked for as."""
    folder = fill(desk.root / "mine", DIGITS)
    prepared = desk.obtain(name, folder)
    check(prepared, DIGITS, MNIST)
    assert (folder, "--data-dir", None) == (prepared.directory, prepared.source, prepared.notice)
    assert not desk.cache.exists()


@pytest.mark.parametrize(("suffix", "dotted"), [(".gz", False), (".gz", True), ("", True)])
def test_other_spellings_are_unpacked_into_the_cache(desk: Desk, suffix: str, dotted: bool) -> None:  # noqa: FBT001
    """Gzip files and names with a dot before idx are accepted; raw files with the canonical names come of them."""
    prepared = desk.obtain(MNIST, fill(desk.root / "mine", DIGITS, suffix=suffix, dotted=dotted))
    check(prepared, DIGITS, MNIST)
    entry = f"mnist-{joint(DIGITS)[:16]}"
    assert desk.cache / entry == prepared.directory
    assert {entry, *(f"{entry}/{file}" for file in FILES)} == set(listing(desk.cache))


def test_the_environment_names_a_folder(desk: Desk) -> None:
    """MNIST_BENCH_DATA_DIR stands in for --data-dir, and --data-dir wins over it."""
    desk.environ["MNIST_BENCH_DATA_DIR"] = str(fill(desk.root / "theirs", CLOTHES))
    prepared = desk.obtain(FASHION_MNIST)
    check(prepared, CLOTHES, FASHION_MNIST)
    assert prepared.source == "MNIST_BENCH_DATA_DIR"
    check(desk.obtain(AUTO, fill(desk.root / "mine", DIGITS)), DIGITS, MNIST)


@pytest.mark.parametrize("name", [AUTO, CUSTOM])
def test_other_data_are_custom(desk: Desk, name: DatasetName) -> None:
    """Data of the same format with an unknown digest are accepted as custom, and keep their digest."""
    check(desk.obtain(name, fill(desk.root / "mine", OTHERS)), OTHERS, CUSTOM)


def test_custom_needs_a_folder(desk: Desk) -> None:
    """Custom data without a folder is an error that says how to name one."""
    with pytest.raises(DataError, match=r"custom: no folder is named; .*--data-dir or MNIST_BENCH_DATA_DIR"):
        desk.obtain(CUSTOM)


@pytest.mark.parametrize(
    ("contents", "cause"), [(CLOTHES, "mine: holds fashion-mnist, not mnist"), (OTHERS, f"{IMAGES}: is not that of")]
)
def test_who_asks_for_mnist_gets_no_other_data(desk: Desk, contents: Contents, cause: str) -> None:
    """Other data in a named folder is an error when MNIST was asked for, though MNIST lies in the cache."""
    desk.obtain(MNIST, fill(desk.root / "zipped", DIGITS, suffix=".gz"))
    with pytest.raises(DataError, match=f"^--data-dir: .*{cause}"):
        desk.obtain(MNIST, fill(desk.root / "mine", contents))


@pytest.mark.parametrize("name", [MNIST, AUTO])
def test_nearly_mnist_is_damaged(desk: Desk, name: DatasetName) -> None:
    """One changed pixel beside three known files is an error that names the file. As custom it is taken as it is."""
    data = bytearray(DIGITS[TEST_IMAGES])
    data[-1] ^= 1
    folder = fill(desk.root / "mine", {**DIGITS, TEST_IMAGES: bytes(data)})
    with pytest.raises(DataError, match=f"{TEST_IMAGES}: is not that of mnist .*'custom' takes it"):
        desk.obtain(name, folder)
    assert CUSTOM is desk.obtain(CUSTOM, folder).name


def test_synthetic_digits_come_from_no_folder(desk: Desk) -> None:
    """--data-dir with synthetic digits is a contradiction; the environment variable only does not apply."""
    folder = fill(desk.root / "mine", DIGITS)
    with pytest.raises(DataError, match="leave out --data-dir"):
        desk.obtain(SYNTHETIC, folder)
    desk.environ["MNIST_BENCH_DATA_DIR"] = str(folder)
    assert SYNTHETIC is desk.obtain(SYNTHETIC).name


# The cache and Gluon's folder -----------------------------------------------------------------------------------------


def test_the_cache_comes_before_gluons_folder(desk: Desk) -> None:
    """What is in the cache is used; what only Gluon has downloaded is unpacked into it."""
    fill(desk.gluon / "mnist", DIGITS, suffix=".gz")
    first, second = desk.obtain(MNIST), desk.obtain(AUTO)
    check(first, DIGITS, MNIST)
    assert (first.source, second.source) == ("MXNET_HOME", "cache")
    assert first.directory == second.directory


def test_gluons_folder_is_in_the_home(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without MXNET_HOME, Gluon's folder is ~/.mxnet/datasets, and is called so."""
    monkeypatch.setenv("HOME", str(desk.root))
    fill(desk.root / ".mxnet" / "datasets" / "mnist", DIGITS)
    del desk.environ["MXNET_HOME"]
    prepared = desk.obtain(MNIST)
    check(prepared, DIGITS, MNIST)
    assert prepared.source == "~/.mxnet/datasets"


@pytest.mark.parametrize("contents", [OTHERS, {**DIGITS, LABELS: DIGITS[LABELS][:-1]}])
def test_gluons_folder_is_not_trusted(desk: Desk, contents: Contents) -> None:
    """Unknown or damaged data in Gluon's folder is passed over: only a named folder may hold custom data."""
    fill(desk.gluon / "mnist", contents)
    with pytest.raises(DataError, match="no mirror"):
        desk.obtain(MNIST)
    assert SYNTHETIC is desk.obtain(AUTO).name


def test_the_argument_comes_before_the_environment(desk: Desk) -> None:
    """The cache folder given as argument wins over MNIST_BENCH_CACHE_DIR."""
    prepared = desk.obtain(MNIST, fill(desk.root / "mine", DIGITS, suffix=".gz"), cache_dir=desk.root / "own")
    assert desk.root / "own" == prepared.directory.parent
    assert not desk.cache.exists()


# Synthetic digits -----------------------------------------------------------------------------------------------------


def test_synthetic_digits_are_drawn_into_the_cache(desk: Desk) -> None:
    """Both sets are drawn, each with its own seed, with progress, and the seeds are in the source."""
    prepared = desk.obtain(SYNTHETIC)
    train, test = load(prepared.directory, digest=prepared.digest)
    assert (train.images.shape, test.labels.shape) == ((6, 28, 28), (4,))
    assert not np.array_equal(train.images[:4], test.images)
    assert f"drawn by mnist_core.data.synthetic, seeds {TRAIN_SEED} and {TEST_SEED}" == prepared.source
    assert desk.reports == [("drawing training images", 6, 6), ("drawing test images", 4, 4)]
    assert {prepared.directory.name, *(f"{prepared.directory.name}/{file}" for file in FILES)} == set(
        listing(desk.cache)
    )


def test_pinned_synthetic_digits_are_drawn_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the digest pinned, what is in the cache is used, and other digits are an error that leaves nothing."""
    digest = desk.obtain(SYNTHETIC).digest
    desk.reports.clear()
    monkeypatch.setattr("mnist_core.datasets.SYNTHETIC_DIGEST", digest)
    prepared = desk.obtain(SYNTHETIC)
    assert ([], digest) == (desk.reports, prepared.digest)
    assert (SYNTHETIC, digest) == (desk.obtain(AUTO, prepared.directory).name, digest)
    before = listing(desk.cache)
    monkeypatch.setattr("mnist_core.datasets.SYNTHETIC_DIGEST", "0" * 64)
    with pytest.raises(DataError, match=f"synthetic: digest {digest} instead of 0000"):
        desk.obtain(SYNTHETIC)
    assert before == listing(desk.cache)


# Loading --------------------------------------------------------------------------------------------------------------


def test_what_was_prepared_loads(desk: Desk) -> None:
    """The images and labels are those of the files, in arrays that may be written to."""
    prepared = desk.obtain(MNIST, fill(desk.root / "mine", DIGITS))
    splits = load(prepared.directory, digest=prepared.digest)
    for split, (images, labels) in zip(splits, ((IMAGES, LABELS), (TEST_IMAGES, TEST_LABELS)), strict=True):
        assert DIGITS[images] == to_idx_bytes(split.images)
        assert DIGITS[labels] == to_idx_bytes(split.labels)
        assert split.images.flags.writeable


@pytest.mark.parametrize("file", FILES)
def test_what_changed_since_does_not_load(desk: Desk, file: str) -> None:
    """One changed bit in any of the files is refused when the digest is given."""
    prepared = desk.obtain(MNIST, fill(desk.root / "mine", DIGITS))
    data = bytearray(DIGITS[file])
    data[-1] ^= 1
    (prepared.directory / file).write_bytes(data)
    with pytest.raises(DataError, match=f"mine: the files have changed: digest .* not {prepared.digest}"):
        load(prepared.directory, digest=prepared.digest)
    load(prepared.directory)


# Looking --------------------------------------------------------------------------------------------------------------


def test_locate_reports_every_place(desk: Desk) -> None:
    """Places come in the order in which they are tried; the first that holds the data is marked."""
    entry = desk.obtain(MNIST, fill(desk.root / "mine", DIGITS, suffix=".gz")).directory
    (entry / LABELS).write_bytes(b"")
    fill(desk.gluon / "mnist", DIGITS)
    desk.serve_mnist_from("http://mirror.invalid/mnist/")
    cache, gluon, download, synthetic = desk.locate(AUTO)
    assert ("cache", entry, State.BROKEN, False) == (cache.where, cache.directory, cache.state, cache.used)
    assert f"{LABELS}: is empty" in cache.detail
    assert (gluon.where, gluon.state, gluon.used) == ("MXNET_HOME", State.FOUND, True)
    assert f"mnist, 30 + 10 images, digest {joint(DIGITS)}" == gluon.detail
    assert (download.where, download.directory, download.state) == ("download", None, State.MISSING)
    assert "mirror.invalid" in download.detail
    assert (synthetic.state, synthetic.detail) == (State.MISSING, "would be drawn")


@pytest.mark.parametrize(
    ("contents", "name", "state", "detail"),
    [
        (DIGITS, MNIST, State.FOUND, "mnist, 30 + 10 images"),
        (OTHERS, AUTO, State.FOUND, "custom, 30 + 10 images"),
        (OTHERS, MNIST, State.BROKEN, "is not that of mnist"),
        ({}, MNIST, State.MISSING, "is not there"),
    ],
)
def test_locate_looks_only_into_a_named_folder(
    desk: Desk, contents: Contents, name: DatasetName, state: State, detail: str
) -> None:
    """A folder that the user named is the only candidate, as `obtain` looks nowhere else."""
    (candidate,) = desk.locate(name, fill(desk.root / "mine", contents))
    assert ("--data-dir", state, state is State.FOUND) == (candidate.where, candidate.state, candidate.used)
    assert detail in candidate.detail


def test_locate_tells_a_file_from_nothing(desk: Desk) -> None:
    """A file in place of the folder is broken; no folder at all is missing."""
    file = desk.root / "file"
    file.write_bytes(b"")
    assert [candidate.state for candidate in desk.locate(MNIST, file)] == [State.BROKEN]
    assert [candidate.state for candidate in desk.locate(MNIST, desk.root / "nowhere")] == [State.MISSING]


def test_locate_knows_synthetic_and_custom(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Synthetic digits are found once drawn and pinned, and made until then; custom data need a folder."""
    assert [candidate.state for candidate in desk.locate(SYNTHETIC)] == [State.MISSING]
    monkeypatch.setattr("mnist_core.datasets.SYNTHETIC_DIGEST", desk.obtain(SYNTHETIC).digest)
    assert [(candidate.state, candidate.used) for candidate in desk.locate(SYNTHETIC)] == [(State.FOUND, True)]
    synthetic = desk.locate(AUTO)[-1]
    assert (synthetic.state, synthetic.used) == (State.FOUND, False), "a mirror would be asked before"
    (custom,) = desk.locate(CUSTOM)
    assert "no folder is named" in custom.detail
