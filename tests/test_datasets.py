"""Data sets: where they come from, that they are what they claim, and that nothing half-made is ever left."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import io
import json
import os
import socket
import subprocess
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mnist_core import datasets
from mnist_core.datasets import (
    FILES,
    PUBLISHED,
    DataError,
    DatasetName,
    Patience,
    Prepared,
    Published,
    State,
    load,
    locate,
    obtain,
    to_idx_bytes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

AUTO, MNIST, FASHION_MNIST, SYNTHETIC, CUSTOM = DatasetName
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = FILES
Contents = dict[str, bytes]
Listing = dict[str, bytes]

#: Longer than anything takes that comes at all; a test that waits in vain shortens the time that it is about.
PATIENT = Patience(probe_seconds=30, connect_seconds=30, silence_seconds=30, file_seconds=60, lock_seconds=60)


def make_contents(seed: int, train: int = 30, test: int = 10) -> Contents:
    """Four small files of noise."""
    rng = np.random.default_rng(seed)

    def pair(count: int) -> tuple[bytes, bytes]:
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8)
        return bytes(to_idx_bytes(images)), bytes(to_idx_bytes(labels))

    return dict(zip(FILES, (*pair(train), *pair(test)), strict=True))


def fill(folder: Path, contents: Contents, *, suffix: str = "", dotted: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in contents.items():
        name = (file.replace("-idx", ".idx") if dotted else file) + suffix
        (folder / name).write_bytes(gzip.compress(data, mtime=0) if suffix else data)
    return folder


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def joint(contents: Contents) -> str:
    return sha256("".join(sha256(contents[file]) for file in FILES).encode())


def publish(contents: Contents, *mirrors: str) -> Published:
    first, second, third, fourth = (contents[file] for file in FILES)
    raw = (sha256(first), sha256(second), sha256(third), sha256(fourth))
    one, two, three, four = (sha256(gzip.compress(data, mtime=0)) for data in (first, second, third, fourth))
    return Published(raw, (one, two, three, four), mirrors)


def listing(folder: Path) -> Listing:
    """Everything below a folder; folders too."""
    if not folder.exists():
        return {}
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"a folder"
        for path in folder.rglob("*")
    }


DIGITS = make_contents(1)
CLOTHES = make_contents(2)
OTHERS = make_contents(3)


@dataclass
class Desk:
    """A machine of one's own: nothing on it but what the test puts there, no network but what it starts."""

    root: Path
    published: dict[DatasetName, Published] = field(
        default_factory=lambda: {MNIST: publish(DIGITS), FASHION_MNIST: publish(CLOTHES)}
    )
    environ: dict[str, str] = field(init=False)
    patience: Patience = PATIENT
    reports: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def gluon(self) -> Path:
        return self.root / "mxnet" / "datasets"

    def serve_mnist_from(self, *mirrors: str) -> None:
        self.published[MNIST] = publish(DIGITS, *mirrors)

    def __post_init__(self) -> None:
        self.environ = {"MXNET_HOME": str(self.root / "mxnet"), "MNIST_BENCH_CACHE_DIR": str(self.cache)}

    def obtain(self, name: DatasetName, data_dir: Path | None = None, cache_dir: Path | None = None) -> Prepared:
        return obtain(
            name,
            data_dir=data_dir,
            cache_dir=cache_dir,
            environ=self.environ,
            progress=lambda *report: self.reports.append(report),
            published=self.published,
            patience=self.patience,
        )

    def locate(self, name: DatasetName, data_dir: Path | None = None) -> list[datasets.Candidate]:
        before = listing(self.root)
        candidates = locate(name, data_dir=data_dir, environ=self.environ, published=self.published)
        assert before == listing(self.root), "looking changes nothing"
        return candidates


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    def draw(count: int, *, seed: int, progress: Callable[[int, int], None] | None) -> tuple[NDArray[np.uint8], ...]:
        if progress is not None:
            progress(count, count)
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8)

    monkeypatch.setattr("mnist_core.datasets.synthetic", SimpleNamespace(draw=draw))
    monkeypatch.setattr("mnist_core.datasets.TRAIN_COUNT", 6)
    monkeypatch.setattr("mnist_core.datasets.TEST_COUNT", 4)
    monkeypatch.setattr("mnist_core.datasets.SYNTHETIC_DIGEST", None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return Desk(tmp_path)


def check(prepared: Prepared, contents: Contents, name: DatasetName) -> None:
    """The folder holds exactly these contents, raw, under their canonical names."""
    assert (name, joint(contents)) == (prepared.name, prepared.digest)
    assert contents == {file: (prepared.directory / file).read_bytes() for file in FILES}
    assert prepared.directory.is_absolute()
    assert (prepared.train_samples, prepared.test_samples) == (30, 10)
    assert os.sep not in prepared.source.removeprefix("~/.mxnet/datasets")


# The tables -----------------------------------------------------------------------------------------------------------


def test_the_known_digests_are_sixteen_different_ones() -> None:
    """The table has a digest for each archive and each content; none is there twice by a slip of copying."""
    digests = [digest for known in PUBLISHED.values() for digest in known.contents + known.archives]
    assert {64} == set(map(len, digests))
    assert len(set(digests)) == 16
    assert all(mirror.endswith("/") for known in PUBLISHED.values() for mirror in known.mirrors)


def test_auto_decides_within_five_seconds() -> None:
    """The default time for a mirror to answer leaves some of the five seconds to the rest."""
    assert Patience().probe_seconds <= 4.5


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
    """Data of the same format that nobody knows are accepted under the name custom, and have their digest."""
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
    """One changed pixel beside three known files is an error that names the file; custom takes it as it is."""
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


# Bad files ------------------------------------------------------------------------------------------------------------


def bomb() -> bytes:
    """A gzip file whose header announces 30 labels, and that inflates to 20 MB."""
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
    "raw as gzip": (IMAGES, DIGITS[IMAGES], True, "not a sound gzip file"),
    "html as gzip": (IMAGES, b"<html>", True, "not a sound gzip file"),
    "empty gzip": (IMAGES, b"", True, "is empty"),
    "cut gzip": (IMAGES, gzip.compress(DIGITS[IMAGES])[:-9], True, "gzip file that was cut off"),
    "bad checksum": (IMAGES, gzip.compress(DIGITS[IMAGES])[:-8] + bytes(8), True, "not a sound gzip file"),
    "bad deflate": (LABELS, gzip.compress(DIGITS[LABELS])[:10] + b"\xff" * 40, True, "not a sound gzip file"),
    "gzip bomb": (LABELS, bomb(), True, "trailing bytes"),
    "gzip as raw": (IMAGES, gzip.compress(DIGITS[IMAGES]), False, "is gzip inside"),
}


@pytest.mark.parametrize("place", ["--data-dir", "MNIST_BENCH_DATA_DIR"])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_line(desk: Desk, case: str, place: str) -> None:
    """A bad file in a named folder: one line with the place, the file and the cause; no other place is tried."""
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
    """A folder that is none, or lacks a file: one line naming it, and no other place is tried."""
    desk.obtain(MNIST, fill(desk.root / "good", DIGITS, suffix=".gz"))
    with pytest.raises(DataError, match=f"^--data-dir: .*{cause}"):
        desk.obtain(MNIST, make(desk.root))


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


def test_the_argument_comes_before_the_environment(desk: Desk) -> None:
    """The cache folder given as argument wins over MNIST_BENCH_CACHE_DIR."""
    prepared = desk.obtain(MNIST, fill(desk.root / "mine", DIGITS, suffix=".gz"), cache_dir=desk.root / "own")
    assert desk.root / "own" == prepared.directory.parent
    assert not desk.cache.exists()


@pytest.mark.parametrize("rival_is_sound", [True, False])
def test_the_loser_of_a_race_uses_what_the_winner_made(desk: Desk, rival_is_sound: bool) -> None:  # noqa: FBT001
    """What has meanwhile appeared under the name, in spite of the lock, stays if it is sound and goes if not."""
    cache = datasets._Cache(desk.cache, lock_seconds=30)
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
        datasets._Cache(desk.cache, lock_seconds=0)._scratch(MNIST),
        pytest.raises(DataError, match=r"\.mnist\.lock: another process"),
    ):
        desk.obtain(MNIST, folder)


# Synthetic digits -----------------------------------------------------------------------------------------------------


def test_synthetic_digits_are_drawn_into_the_cache(desk: Desk) -> None:
    """Both sets are drawn, each with its own seed, with progress, and the seeds are in the source."""
    prepared = desk.obtain(SYNTHETIC)
    train, test = load(prepared.directory, digest=prepared.digest)
    assert (train.images.shape, test.labels.shape) == ((6, 28, 28), (4,))
    assert not np.array_equal(train.images[:4], test.images)
    assert f"drawn by mnist_core.synthetic, seeds {datasets.TRAIN_SEED} and {datasets.TEST_SEED}" == prepared.source
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


# Mirrors --------------------------------------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """A mirror on this machine that behaves as it is told."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, behave: Callable[[Handler], None]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behave = behave
        self.asked: Counter[str] = Counter()
        self.over = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/mnist/"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what some tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    @property
    def file(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def archive(self) -> bytes:
        return gzip.compress(DIGITS[self.file.removesuffix(".gz")], mtime=0)

    def answer(self, data: bytes, *, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        self.server.asked[self.file] += 1
        self.server.behave(self)

    def log_message(self, *_: object) -> None:
        pass


def good(handler: Handler) -> None:
    handler.answer(handler.archive)


def garbage(handler: Handler) -> None:
    handler.answer(b"<html>Log in to the hotel's network</html>")


def half(handler: Handler) -> None:
    handler.answer(handler.archive[:20], length=len(handler.archive))


def half_at_first(handler: Handler) -> None:
    (half if handler.server.asked[handler.file] == 1 else good)(handler)


def missing(handler: Handler) -> None:
    handler.answer(b"", status=404)


def failing(handler: Handler) -> None:
    handler.answer(b"", status=500)


def redirecting(handler: Handler) -> None:
    if handler.file == "garbage":
        garbage(handler)
    else:
        handler.answer(b"", status=302, Location="/garbage")


def circling(handler: Handler) -> None:
    handler.answer(b"", status=302, Location=handler.path)


def silent(handler: Handler) -> None:
    handler.server.over.wait(20)


def dripping(handler: Handler) -> None:
    """Every byte comes well before anybody loses patience with the silence, the last one never."""
    handler.answer(b"", length=1 << 20)
    while not handler.server.over.wait(0.02):
        handler.wfile.write(b"\0")


def endless(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    while not handler.server.over.is_set():
        handler.wfile.write(bytes(1 << 20))


def other_gzip(handler: Handler) -> None:
    handler.answer(gzip.compress(OTHERS[handler.file.removesuffix(".gz")], mtime=0))


Serve = Callable[[Callable[[Handler], None]], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[Server] = []

    def start(behave: Callable[[Handler], None]) -> Server:
        servers.append(Server(behave))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.over.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("name", [MNIST, AUTO])
def test_mnist_is_downloaded(desk: Desk, serve: Serve, name: DatasetName) -> None:
    """What is nowhere comes from a mirror, once, with progress up to the last byte."""
    server = serve(good)
    desk.serve_mnist_from(server.address)
    prepared = desk.obtain(name)
    check(prepared, DIGITS, MNIST)
    assert (f"download from {server.host}", None) == (prepared.source, prepared.notice)
    assert {f"{prepared.directory.name}", *(f"{prepared.directory.name}/{file}" for file in FILES)} == set(
        listing(desk.cache)
    )
    for file in FILES:
        size = len(gzip.compress(DIGITS[file], mtime=0))
        assert (f"{file}.gz from {server.host}", size, size) in desk.reports
    assert all(done <= total for _, done, total in desk.reports)
    assert desk.obtain(name).source == "cache"
    assert dict.fromkeys((f"{file}.gz" for file in FILES), 1) == server.asked


@pytest.mark.parametrize(
    ("behave", "cause"),
    [
        (garbage, "it sent other data"),
        (other_gzip, "it sent other data"),
        (half, "it broke off"),
        (missing, "HTTP status 404"),
        (failing, "HTTP status 500"),
        (redirecting, "it sent other data"),
        (circling, "it redirects without end"),
        (silent, "no answer in time"),
        (dripping, "not done within 0.6 s"),
        (endless, "it sent far more"),
    ],
)
def test_a_bad_mirror_is_one_line_and_leaves_nothing(
    desk: Desk,
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    behave: Callable[[Handler], None],
    cause: str,
) -> None:
    """Whatever a mirror does, MNIST is one line with file, host and cause, and auto synthetic digits with a notice."""
    monkeypatch.setattr("mnist_core.datasets._MAX_ARCHIVE_BYTES", 100_000)
    server = serve(behave)
    desk.serve_mnist_from(server.address)
    if behave is silent:
        desk.patience = replace(PATIENT, silence_seconds=0.3)
    if behave is dripping:
        desk.patience = replace(PATIENT, file_seconds=0.6)
    desk.cache.mkdir()
    (desk.cache / "not ours").write_bytes(b"stays")
    with pytest.raises(DataError, match=rf"^{IMAGES}\.gz: .*{server.host}: {cause}.*--data-dir") as caught:
        desk.obtain(MNIST)
    assert "\n" not in str(caught.value)
    assert listing(desk.cache) == {"not ours": b"stays"}
    prepared = desk.obtain(AUTO)
    assert SYNTHETIC is prepared.name
    assert prepared.notice is not None
    assert cause in prepared.notice
    assert {"not ours", prepared.directory.name} == {path.name for path in desk.cache.iterdir()}


@pytest.mark.parametrize("bad", [garbage, missing, silent, half])
def test_the_next_mirror_is_asked(desk: Desk, serve: Serve, bad: Callable[[Handler], None]) -> None:
    """A mirror that fails is left alone after that, and the next one gives all that is missing."""
    desk.patience = replace(PATIENT, silence_seconds=0.7) if bad is silent else PATIENT
    broken, sound = serve(bad), serve(good)
    desk.serve_mnist_from(broken.address, sound.address)
    prepared = desk.obtain(MNIST)
    check(prepared, DIGITS, MNIST)
    assert f"download from {sound.host}" == prepared.source
    assert {f"{IMAGES}.gz"} == set(broken.asked)


def test_both_mirrors_are_named_as_source(desk: Desk, serve: Serve) -> None:
    """When one mirror lacks a file that another one has, the source names both."""
    lacking = serve(lambda handler: (missing if handler.file.startswith("t10k") else good)(handler))
    whole = serve(good)
    desk.serve_mnist_from(lacking.address, whole.address)
    assert f"download from {lacking.host} and {whole.host}" == desk.obtain(MNIST).source


def test_a_mirror_that_broke_off_is_asked_once_more(desk: Desk, serve: Serve) -> None:
    """A cut connection is tried again, as it may well be whole the second time."""
    server = serve(half_at_first)
    desk.serve_mnist_from(server.address)
    check(desk.obtain(MNIST), DIGITS, MNIST)
    assert dict.fromkeys((f"{file}.gz" for file in FILES), 2) == server.asked


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_auto_without_a_network_is_synthetic_with_a_notice(desk: Desk) -> None:
    """When every mirror refuses, the notice says what is used, why, and how to get MNIST."""
    ports = [unused_port(), unused_port()]
    desk.serve_mnist_from(*(f"http://127.0.0.1:{port}/" for port in ports))
    notice = desk.obtain(AUTO).notice
    assert notice is not None
    for part in ("Synthetic digits", *(f"127.0.0.1:{port}" for port in ports), "cannot be reached", "--data-dir"):
        assert part in notice


def test_auto_prefers_a_mirror_that_answers(desk: Desk, serve: Serve) -> None:
    """A first mirror that swallows everything does not keep auto from the second."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        server = serve(good)
        desk.serve_mnist_from(f"http://127.0.0.1:{hole.getsockname()[1]}/", server.address)
        assert f"download from {server.host}" == desk.obtain(AUTO).source


def test_auto_gives_up_on_a_mirror_that_never_answers(desk: Desk) -> None:
    """A connection that is taken and never answered ends with the time for probing."""
    desk.patience = replace(PATIENT, probe_seconds=0.2)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        desk.serve_mnist_from(f"http://127.0.0.1:{hole.getsockname()[1]}/")
        prepared = desk.obtain(AUTO)
    assert SYNTHETIC is prepared.name


@pytest.mark.parametrize("name", [MNIST, AUTO])
def test_a_name_lookup_that_hangs_is_left_behind(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, name: DatasetName
) -> None:
    """A name server that does not answer cannot be interrupted, and is not waited for."""
    desk.patience = replace(PATIENT, probe_seconds=0.2, file_seconds=0.2)
    desk.serve_mnist_from("http://mirror.invalid/")
    enough = threading.Event()

    def hang(*_: object, **__: object) -> None:
        enough.wait(10)
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        if name is AUTO:
            notice = desk.obtain(AUTO).notice
            assert notice is not None
            assert "mirror.invalid: no answer within 0.2 s" in notice
        else:
            with pytest.raises(DataError, match=r"mirror\.invalid: not done within 0\.2 s"):
                desk.obtain(MNIST)
    finally:
        enough.set()


RACER = """
import json, sys
from pathlib import Path
from mnist_core.datasets import DatasetName, Published, obtain
contents, archives, mirror, root = json.loads(sys.argv[1])
published = {DatasetName.MNIST: Published(tuple(contents), tuple(archives), (mirror,))}
print("ready", flush=True)
sys.stdin.readline()
prepared = obtain(DatasetName.MNIST, cache_dir=Path(root) / "cache", environ={"MXNET_HOME": root}, published=published)
print(prepared.directory)
"""


def test_processes_at_once_download_once(desk: Desk, serve: Serve) -> None:
    """Processes that start together share one download, and all get the same folder; nothing is printed."""
    server = serve(good)
    desk.serve_mnist_from(server.address)
    known = desk.published[MNIST]
    request = json.dumps([known.contents, known.archives, server.address, str(desk.root)])
    command = [sys.executable, "-c", RACER, request]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    racers = [subprocess.Popen(command, text=True, **pipes) for _ in range(2)]
    try:
        assert [racer.stdout.readline() for racer in racers if racer.stdout] == ["ready\n"] * 2
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        said = [racer.communicate(timeout=60) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    entry = desk.cache / f"mnist-{joint(DIGITS)[:16]}"
    assert said == [(f"{entry}\n", "")] * 2
    assert dict.fromkeys((f"{file}.gz" for file in FILES), 1) == server.asked
    assert {entry.name, *(f"{entry.name}/{file}" for file in FILES)} == set(listing(desk.cache))


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
    assert [candidate.state for candidate in desk.locate(MNIST, a_file(desk.root))] == [State.BROKEN]
    assert [candidate.state for candidate in desk.locate(MNIST, a_missing_folder(desk.root))] == [State.MISSING]


def test_locate_knows_synthetic_and_custom(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Synthetic digits are found once drawn and pinned, and made until then; custom data need a folder."""
    assert [candidate.state for candidate in desk.locate(SYNTHETIC)] == [State.MISSING]
    monkeypatch.setattr("mnist_core.datasets.SYNTHETIC_DIGEST", desk.obtain(SYNTHETIC).digest)
    assert [(candidate.state, candidate.used) for candidate in desk.locate(SYNTHETIC)] == [(State.FOUND, True)]
    synthetic = desk.locate(AUTO)[-1]
    assert (synthetic.state, synthetic.used) == (State.FOUND, False), "a mirror would be asked before"
    (custom,) = desk.locate(CUSTOM)
    assert "no folder is named" in custom.detail
