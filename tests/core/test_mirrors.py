"""Whatever mirrors do wrong costs little time and leaves nothing behind."""

from __future__ import annotations

import gzip
import http.server
import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mnist_core.data.folder import FILES
from mnist_core.datasets import PUBLISHED, DatasetName, Patience
from mnist_core.idx import DataError
from tests.support.dataset_sources import (
    AUTO,
    DIGITS,
    IMAGES,
    MNIST,
    OTHERS,
    PATIENT,
    SYNTHETIC,
    Desk,
    check,
    joint,
    listing,
    set_up,
)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return set_up(tmp_path, monkeypatch)


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
        """Ignore a client that went away, which some tests are about."""


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
    """Send bytes so often that no silence is too long, but never the last one."""
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


def test_the_known_digests_are_sixteen_different_ones() -> None:
    """The table has a digest for each archive and each content; none is there twice by a slip of copying."""
    digests = [digest for known in PUBLISHED.values() for digest in known.contents + known.archives]
    assert {64} == set(map(len, digests))
    assert len(set(digests)) == 16
    assert all(mirror.endswith("/") for known in PUBLISHED.values() for mirror in known.mirrors)


def test_auto_decides_within_five_seconds() -> None:
    """The default time for a mirror to answer leaves some of the five seconds to the rest."""
    assert Patience().probe_seconds <= 4.5


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


@pytest.mark.slow
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
    monkeypatch.setattr("mnist_core.data.mirrors._MAX_ARCHIVE_BYTES", 100_000)
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


@pytest.mark.slow
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
