"""What is damaged or missing in a folder of four files is one line that names it."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from mnist_core.idx import DataError
from tests.support.dataset_sources import (
    AUTO,
    CUSTOM,
    DIGITS,
    IMAGES,
    LABELS,
    MNIST,
    TEST_IMAGES,
    TEST_LABELS,
    Desk,
    fill,
    joint,
    listing,
    set_up,
)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return set_up(tmp_path, monkeypatch)


def bomb() -> bytes:
    """Make a gzip file whose header announces 30 labels, and that inflates to 20 MB."""
    packer, packed = zlib.compressobj(wbits=31), io.BytesIO()
    packed.write(packer.compress(DIGITS[LABELS]))
    for _ in range(20):
        packed.write(packer.compress(bytes(1 << 20)))
    packed.write(packer.flush())
    return packed.getvalue()


def header_changed(file: str, at: int, byte: int) -> bytes:
    data = bytearray(DIGITS[file])
    data[at] = byte
    return bytes(data)


#: File, its bad content, whether that is put under a .gz name, the cause.
BAD_FILES = {
    "empty": (IMAGES, b"", False, "is empty"),
    "truncated": (IMAGES, DIGITS[IMAGES][:-1], False, "is truncated"),
    "trailing": (LABELS, DIGITS[LABELS] + b"\0", False, "trailing bytes"),
    "magic": (LABELS, header_changed(LABELS, 3, 3), False, "magic number"),
    "sizes": (TEST_IMAGES, header_changed(TEST_IMAGES, 11, 27), False, "27x28 pixels"),
    "too many": (TEST_IMAGES, header_changed(TEST_IMAGES, 4, 255), False, "announces 42"),
    "label": (TEST_LABELS, DIGITS[TEST_LABELS][:-1] + b"\x0c", False, "label 12 at index 9"),
    "counts": (TEST_LABELS, DIGITS[LABELS], False, "30 labels for 10 images"),
    "html as gzip": (IMAGES, b"<html>", True, "is a web page"),
    "html": (LABELS, b"\n<!DOCTYPE html>\n<title>404</title>", False, "is a web page"),
    "empty gzip": (IMAGES, b"", True, "is empty"),
    "cut gzip": (IMAGES, gzip.compress(DIGITS[IMAGES])[:-9], True, "gzip file that was cut off"),
    "bad checksum": (IMAGES, gzip.compress(DIGITS[IMAGES])[:-8] + bytes(8), True, "not a sound gzip file"),
    "bad deflate": (LABELS, gzip.compress(DIGITS[LABELS])[:10] + b"\xff" * 40, True, "not a sound gzip file"),
    "gzip bomb": (LABELS, bomb(), True, "trailing bytes"),
    "gzip twice": (IMAGES, gzip.compress(gzip.compress(DIGITS[IMAGES])), True, "is gzip inside"),
}


@pytest.mark.parametrize("place", ["--data-dir", "MNIST_BENCH_DATA_DIR"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_line(desk: Desk, case: str, place: str) -> None:
    """For a bad file in a named folder it has the place, the file and the cause, and no other place is tried."""
    desk.obtain(MNIST, fill(desk.root / "good", DIGITS, suffix=".gz"))
    before = listing(desk.cache)
    file, data, zipped, cause = BAD_FILES[case]
    folder = fill(desk.root / "mine", {name: data for name, data in DIGITS.items() if name != file})
    (folder / (file + ".gz" * zipped)).write_bytes(data)
    if place != "--data-dir":
        desk.environ[place] = str(folder)
    for name in (MNIST, AUTO, CUSTOM):
        with pytest.raises(DataError, match=f"^{place}: .*{file}.*: .*{cause}") as caught:
            desk.obtain(name, folder if place == "--data-dir" else None)
        assert "\n" not in str(caught.value)
    assert before == listing(desk.cache)


def a_missing_folder(path: Path) -> Path:
    return path / "nowhere"


def a_file(path: Path) -> Path:
    (path / "file").write_bytes(b"")
    return path / "file"


def a_folder_with_one_file_missing(path: Path) -> Path:
    return fill(path / "mine", {file: data for file, data in DIGITS.items() if file != LABELS})


def a_folder_in_place_of_a_file(path: Path) -> Path:
    folder = a_folder_with_one_file_missing(path)
    (folder / LABELS).mkdir()
    return folder


def a_link_to_nowhere(path: Path) -> Path:
    folder = a_folder_with_one_file_missing(path)
    (folder / LABELS).symlink_to(path / "nowhere")
    return folder


def an_endless_device(path: Path) -> Path:
    folder = a_folder_with_one_file_missing(path)
    (folder / LABELS).symlink_to("/dev/zero")
    return folder


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (a_missing_folder, "nowhere: cannot be read as a folder"),
        (a_file, "file: cannot be read as a folder"),
        (a_folder_with_one_file_missing, f"{LABELS}: is not there, nor is {LABELS}.gz"),
        (a_folder_in_place_of_a_file, f"{LABELS}: is not a file"),
        (a_link_to_nowhere, f"{LABELS}: is a link that leads nowhere"),
        (an_endless_device, f"{LABELS}: is not a file"),
    ],
)
def test_a_bad_folder_is_one_line(desk: Desk, make: Callable[[Path], Path], cause: str) -> None:
    """For a folder that is none, or lacks a file, the line names it, and no other place is tried."""
    desk.obtain(MNIST, fill(desk.root / "good", DIGITS, suffix=".gz"))
    with pytest.raises(DataError, match=f"^--data-dir: .*{cause}"):
        desk.obtain(MNIST, make(desk.root))


def unpacked_by_a_browser(path: Path) -> Path:
    return fill_as(path / "mine", {file: (f"{file}.gz", data) for file, data in DIGITS.items()})


def packed_without_saying_so(path: Path) -> Path:
    return fill_as(path / "mine", {file: (file, gzip.compress(data)) for file, data in DIGITS.items()})


def beside_folders_of_their_name(path: Path) -> Path:
    folder = fill(path / "mine", DIGITS, dotted=True)
    for file in DIGITS:
        (folder / file).mkdir()
    return folder


def inside_folders_of_their_name(path: Path) -> Path:
    for number, (file, data) in enumerate(DIGITS.items()):
        fill_as(path / "mine" / file, {file: (file if number % 2 else file.replace("-idx", ".idx"), data)})
    return path / "mine"


def fill_as(folder: Path, files: dict[str, tuple[str, bytes]]) -> Path:
    """Write each content under a name of its own."""
    folder.mkdir(parents=True)
    for name, data in files.values():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize(
    "make",
    [
        unpacked_by_a_browser,
        packed_without_saying_so,
        beside_folders_of_their_name,
        inside_folders_of_their_name,
    ],
)
def test_sound_data_are_read_whatever_unpacked_them(desk: Desk, make: Callable[[Path], Path]) -> None:
    """The content tells whether it is packed; what the worker gets are four raw files in one folder."""
    for name in (MNIST, AUTO):
        prepared = desk.obtain(name, make(desk.root / name.value))
        assert (prepared.name, prepared.digest) == (MNIST, joint(DIGITS))
        assert {file: (prepared.directory / file).read_bytes() for file in DIGITS} == DIGITS
