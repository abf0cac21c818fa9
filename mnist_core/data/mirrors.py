"""Download a data set: its mirrors, what they are known to serve, and how long they are waited for.

pooch downloads and checks the files. Our own part bounds every wait, so that a dead mirror costs seconds: no option of
pooch or requests ends a name lookup that hangs, or a file that comes byte by byte.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pooch

from mnist_core.data.folder import FILES, OWN_FILES
from mnist_core.idx import DataError

#: Called with what is being done, and how much of how much (bytes or images) is done. May come from another thread.
Progress = Callable[[str, int, int], None]

#: Far above the largest archive (Fashion-MNIST's training images: 26,421,880 bytes); what sends more is cut off.
_MAX_ARCHIVE_BYTES: Final = 1 << 26
_CHUNK_BYTES: Final = 1 << 16
#: A mirror that broke off is asked once more, one that sent other data is not.
_TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Published:
    """A data set whose content the world agrees on."""

    #: SHA-256 of the four raw files.
    contents: tuple[str, str, str, str]
    #: SHA-256 of the four gzip files as the mirrors serve them.
    archives: tuple[str, str, str, str]
    #: Addresses of folders with the gzip files, in the order in which they are tried.
    mirrors: tuple[str, ...]


#: Where the digests were seen:
#: - archives: TFDS, `tensorflow_datasets/url_checksums/{mnist,fashion_mnist}.txt` in tensorflow/datasets;
#: - contents of MNIST: computed from those archives;
#: - contents of Fashion-MNIST: not computed here. Several public repositories that do not share code agree on all four,
#:   among them three in the Git LFS pointers of Caryox/adversarial-robustness, `data/FashionMNIST/raw/`.
#:
#: The mirrors are those of torchvision (ossci-datasets, the Fashion-MNIST host) and of TFDS (cvdf-datasets). The
#: Fashion-MNIST host, a static S3 website, is served without TLS; the digests vouch for what it sends.
MNIST: Final = Published(
    contents=(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    archives=(
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
)
FASHION_MNIST: Final = Published(
    contents=(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    archives=(
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    ),
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for the network and for another process."""

    #: Seconds for any mirror to answer before ``auto`` does without; below 5 s together with all that precedes.
    probe_seconds: float = 4.0
    #: Seconds for a connection.
    connect_seconds: float = 10.0
    #: Seconds for the next byte.
    silence_seconds: float = 20.0
    #: Seconds for a whole file: the largest needs 90 kB/s.
    file_seconds: float = 300.0
    #: Seconds to wait for another process that is making the same data set.
    lock_seconds: float = 1800.0


@dataclass(frozen=True, slots=True)
class Mirrors:
    """The mirrors of a data set, in the order in which they are tried."""

    known: Published
    progress: Progress | None
    patience: Patience

    def answering(self) -> Mirrors:
        """Ask all of them at once, and put one that answers first."""
        mirrors, seconds = self.known.mirrors, self.patience.probe_seconds
        causes = dict.fromkeys(mirrors, f"no answer within {seconds:g} s")
        asked = {_start(partial(_ask, mirror, seconds)): mirror for mirror in mirrors}
        with suppress(futures.TimeoutError):
            for answer in futures.as_completed(asked, timeout=seconds):
                first, cause = asked[answer], answer.result()
                if cause is None:
                    others = (mirror for mirror in mirrors if mirror != first)
                    return replace(self, known=replace(self.known, mirrors=(first, *others)))
                causes[first] = cause
        raise _nowhere(FILES[0], causes)

    def fetch_all(self, folder: Path) -> Iterator[str]:
        """Fetch the four archives, and say from which mirror each came; a mirror that failed is not asked again."""
        left, causes = list(self.known.mirrors), dict[str, str]()
        for file, digest in zip(FILES, self.known.archives, strict=True):
            while left and (cause := self._fetch(left[0], f"{file}.gz", digest, folder)) is not None:
                causes[left.pop(0)] = cause
            if not left:
                raise _nowhere(file, causes)
            yield left[0]

    def _fetch(self, mirror: str, file: str, digest: str, folder: Path) -> str | None:
        """Fetch one file, or say why it cannot be had."""
        cause = None
        for _ in range(_TRIES):
            bar = _Bar(f"{file} from {host(mirror)}", self.progress)
            downloader = pooch.HTTPDownloader(
                progressbar=bar,
                chunk_size=_CHUNK_BYTES,
                timeout=(self.patience.connect_seconds, self.patience.silence_seconds),
                headers={"Accept-Encoding": "identity"},
            )
            fetched = _start(
                partial(pooch.retrieve, mirror + file, digest, fname=file, path=folder, downloader=downloader)
            )
            try:
                futures.wait([fetched], self.patience.file_seconds)
            finally:
                bar.stopped = not fetched.done()
            if bar.stopped:
                return f"not done within {self.patience.file_seconds:g} s"
            cause = fetched.result()
            if cause in {None, _OTHER_DATA, _NO_END}:
                break
        return cause


def _ask(mirror: str, seconds: float) -> None:
    """Return if a mirror has the first file."""
    if not pooch.HTTPDownloader(timeout=seconds)(f"{mirror}{FILES[0]}.gz", None, None, check_only=True):
        raise LookupError


def _start(work: Callable[[], object]) -> futures.Future[str | None]:
    """Start work on the network, in a thread that may be left behind; the result is why it failed, or None.

    Nothing else ends a name lookup that hangs, or a file that comes byte by byte.
    """
    pooch.get_logger().setLevel(logging.WARNING)  # pooch would print each download
    future: futures.Future[str | None] = futures.Future()

    def settle() -> None:
        cause = None
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, this mirror did not give the file
            cause = _cause(error)
        future.set_result(cause)

    threading.Thread(target=settle, daemon=True).start()
    return future


class _Bar:
    """The progress bar that pooch moves while it downloads: passes on how far it is, ends what should not go on."""

    def __init__(self, what: str, progress: Progress | None) -> None:
        self.what = what
        self.progress = progress
        self.total = 0
        self.done = 0
        self.stopped = False

    def update(self, count: int) -> None:
        self.done += count
        if self.stopped or self.done > _MAX_ARCHIVE_BYTES:
            raise _NoEndError
        if self.progress is not None and self.total:
            self.progress(self.what, min(self.done, self.total), self.total)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        """Nothing is held open."""


class _NoEndError(Exception):
    """Ends a download from within."""


_OTHER_DATA: Final = "it sent other data: the SHA-256 is not the known one"
_NO_END: Final = "it sent far more than the file has"
#: Words for what ends a download, by the exception's name: requests is pooch's dependency and not ours.
_CAUSES: Final = {
    "ChunkedEncodingError": "it broke off",
    "ConnectTimeout": "no connection in time",
    "ConnectionError": "it cannot be reached, or broke off",
    "LookupError": "it does not have the file",  # by `_ask`
    "ProxyError": "the proxy does not let it through",
    "ReadTimeout": "no answer in time",
    "SSLError": "no trusted TLS connection",
    "TooManyRedirects": "it redirects without end",
    "ValueError": _OTHER_DATA,  # by pooch
    "_NoEndError": _NO_END,
}


def _cause(error: Exception) -> str:
    cause = _CAUSES.get(type(error).__name__)
    if (response := getattr(error, "response", None)) is not None:
        response.close()  # pooch leaves it open
        cause = cause or f"HTTP status {response.status_code}"
    return cause or f"{type(error).__name__}: {error}"


def host(mirror: str) -> str:
    """Name a mirror shortly."""
    return urlsplit(mirror).netloc


def _nowhere(file: str, causes: Mapping[str, str]) -> DataError:
    tried = "; ".join(f"{host(mirror)}: {cause}" for mirror, cause in causes.items())
    return DataError(f"{file}.gz: no mirror gave it ({tried}); {OWN_FILES}")
