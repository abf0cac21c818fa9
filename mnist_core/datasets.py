"""Find, fetch, verify and load the data sets.

A data set is four IDX files. Wherever they come from, they end as four raw files in one folder, their content known by
one digest: the SHA-256 of the four SHA-256s (64 hexadecimal digits each, joined) of the files' contents, in the order
of `folder.FILES`. The runner calls `obtain` once; each measuring process calls `load` with the folder and the digest.
"""

from __future__ import annotations

import enum
import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import platformdirs

from mnist_core.data import synthetic
from mnist_core.data.cache import CACHE_DIR_VARIABLE, Cache
from mnist_core.data.folder import DATA_DIR_VARIABLE, OWN_FILES, Held, holds_any, joint_digest, read_folder
from mnist_core.data.mirrors import FASHION_MNIST, MNIST, Mirrors, Patience, Progress, Published, host
from mnist_core.idx import DataError, Split, to_idx_bytes

__all__ = [
    "PUBLISHED",
    "SYNTHETIC_DIGEST",
    "TEST_COUNT",
    "TEST_SEED",
    "TRAIN_COUNT",
    "TRAIN_SEED",
    "DatasetName",
    "DatasetOption",
    "Patience",
    "Prepared",
    "Progress",
    "Published",
    "State",
    "load",
    "locate",
    "obtain",
    "remedy",
]

_DOWNLOAD: Final = "download"
_PATIENCE: Final = Patience()

TRAIN_SEED: Final = 20_250_101
TEST_SEED: Final = 20_250_102
TRAIN_COUNT: Final = 60_000
TEST_COUNT: Final = 10_000
#: The digest of the drawn images. A changed drawer changes it; None, while one is at work: every `obtain` draws anew.
SYNTHETIC_DIGEST: str | None = "0b6b992f60935471e24cb9df3c0ee37a8b00397d73262f9f04662493e4f023be"


class DatasetName(str, enum.Enum):
    """What a user may ask for; what was prepared is never ``AUTO``."""

    AUTO = "auto"
    MNIST = "mnist"
    FASHION_MNIST = "fashion-mnist"
    SYNTHETIC = "synthetic"
    CUSTOM = "custom"

    def __str__(self) -> str:
        return self.value


PUBLISHED: Final[Mapping[DatasetName, Published]] = {
    DatasetName.MNIST: MNIST,
    DatasetName.FASHION_MNIST: FASHION_MNIST,
}


@dataclass(frozen=True, slots=True)
class Prepared:
    """A data set ready to be loaded."""

    #: Absolute; holds `folder.FILES`, raw and verified.
    directory: Path
    #: Never ``AUTO``.
    name: DatasetName
    digest: str
    #: Where the data came from, in words, and without a path.
    source: str
    train_samples: int
    test_samples: int
    #: What the user must be told: that ``auto`` did without MNIST, why, and how to get it.
    notice: str | None = None


class State(str, enum.Enum):
    """What a place holds."""

    FOUND = "found"
    MISSING = "missing"
    BROKEN = "broken"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class DatasetOption:
    """A place where `obtain` looks."""

    where: str
    directory: Path | None
    state: State
    #: What was found, or why it cannot be used; one line.
    detail: str
    #: `obtain` would use this one, without asking a mirror.
    used: bool = False
    #: Not there yet, but `obtain` can fetch or draw it.
    can_be_made: bool = False


def obtain(
    name: DatasetName,
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    progress: Progress | None = None,
    published: Mapping[DatasetName, Published] = PUBLISHED,
    patience: Patience = _PATIENCE,
) -> Prepared:
    """Find or make the four verified files of a data set.

    A folder that the user named is the only place looked at. Otherwise a published data set comes from the cache, from
    Gluon's own folder or from a mirror, and ``AUTO`` is MNIST, or the synthetic digits where it cannot be had.
    """
    cache = Cache(_cache_folder(cache_dir, environ), patience.lock_seconds)
    _refuse_folder_for_drawn(name, data_dir)
    if name is DatasetName.SYNTHETIC:
        return _draw(cache, progress)
    if (users := _users_place(data_dir, environ)) is not None:
        return _from_user(users, name, cache, published)
    if name is DatasetName.CUSTOM:
        raise DataError(f"custom: no folder is named; {OWN_FILES}")
    wanted = DatasetName.MNIST if name is DatasetName.AUTO else name
    if (here := _from_machine(wanted, cache, environ, published)) is not None:
        return here
    mirrors = Mirrors(published[wanted], progress, patience)
    if name is wanted:
        return _download(wanted, cache, mirrors)
    try:
        return _download(wanted, cache, mirrors.answering())
    except DataError as error:
        notice = f"Synthetic digits stand in for MNIST; do not compare them with results on it. The reason: {error}"
        return replace(_draw(cache, progress), notice=notice)


def load(directory: Path, *, digest: str | None = None) -> tuple[Split, Split]:
    """Load the training and the test images; refuse what does not match the digest."""
    held = read_folder(directory)
    if digest is not None and held.digest != digest:
        raise DataError(f"{directory}: the files have changed: digest {held.digest}, not {digest}")
    return held.train, held.test


def locate(
    name: DatasetName,
    *,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    published: Mapping[DatasetName, Published] = PUBLISHED,
) -> list[DatasetOption]:
    """Report where `obtain` would look, in its order, and what is there; nothing is made, no mirror is asked."""
    _refuse_folder_for_drawn(name, data_dir)
    if name is not DatasetName.SYNTHETIC and (users := _users_place(data_dir, environ)) is not None:
        candidates = [_look(users, lambda held: _accept(held, name, published))]
    else:
        candidates = list(_own_candidates(name, _cache_folder(cache_dir, environ), environ, published))
    before_download = itertools.takewhile(lambda candidate: candidate.where != _DOWNLOAD, candidates)
    first = next((candidate for candidate in before_download if candidate.state is State.FOUND), None)
    return [replace(candidate, used=candidate is first) for candidate in candidates]


# Places ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    #: In words; a `Prepared.source`.
    where: str
    folder: Path


def _refuse_folder_for_drawn(name: DatasetName, data_dir: Path | None) -> None:
    if name is DatasetName.SYNTHETIC and data_dir is not None:
        raise DataError(f"{data_dir}: synthetic digits are drawn, not read; leave out --data-dir")


def remedy(where: str) -> str:
    """What helps where a folder that the user named there holds no usable data."""
    if where == DATA_DIR_VARIABLE:
        return f"download the files again, unset {where}, or use --data synthetic"
    return f"download the files again, or leave out {where}; --data synthetic needs no files"


def _expanded(folder: str) -> Path:
    return Path(os.path.expanduser(folder))  # noqa: PTH111 - Path.expanduser raises where there is no home


def _cache_folder(cache_dir: Path | None, environ: Mapping[str, str]) -> Path:
    if cache_dir is not None:
        return cache_dir
    return _expanded(environ.get(CACHE_DIR_VARIABLE) or platformdirs.user_cache_dir("mnist-bench", appauthor=False))


def _users_place(data_dir: Path | None, environ: Mapping[str, str]) -> _Place | None:
    if data_dir is not None:
        return _Place("--data-dir", data_dir)
    if named := environ.get(DATA_DIR_VARIABLE):
        return _Place(DATA_DIR_VARIABLE, _expanded(named))
    return None


def _gluons_place(name: DatasetName, environ: Mapping[str, str]) -> _Place:
    home = environ.get("MXNET_HOME")
    where = "MXNET_HOME" if home else "~/.mxnet/datasets"
    return _Place(where, _expanded(home or "~/.mxnet") / "datasets" / name.value)


# What the data are ----------------------------------------------------------------------------------------------------


def _identify(held: Held, published: Mapping[DatasetName, Published]) -> DatasetName:
    for name, known in published.items():
        if held.digests == known.contents:
            return name
    return DatasetName.SYNTHETIC if held.digest == SYNTHETIC_DIGEST else DatasetName.CUSTOM


def _accept(held: Held, wanted: DatasetName, published: Mapping[DatasetName, Published]) -> DatasetName:
    """Say what the data are, or refuse them: MNIST must be MNIST, and nearly MNIST is damaged unless asked for."""
    found = _identify(held, published)
    if wanted in published and found not in {wanted, DatasetName.CUSTOM}:
        raise DataError(f"{held.paths[0].parent}: holds {found}, not {wanted}")
    if wanted in published and found is DatasetName.CUSTOM:
        raise _mismatch(held, wanted, published[wanted])
    if wanted is DatasetName.AUTO and found is DatasetName.CUSTOM:
        for name, known in published.items():
            if set(held.digests) & set(known.contents):
                raise _mismatch(held, name, known)
    return found


def _mismatch(held: Held, name: DatasetName, known: Published) -> DataError:
    compared = zip(held.paths, held.digests, known.contents, strict=True)
    path, digest = next((path, digest) for path, digest, right in compared if digest != right)
    return DataError(
        f"{path}: is not that of {name} (SHA-256 of the content {digest[:16]}...): damaged, or other data; "
        f"the data set 'custom' takes it as it is"
    )


def _look(place: _Place, accept: Callable[[Held], DatasetName]) -> DatasetOption:
    try:
        held = read_folder(place.folder)
        detail = f"{accept(held)}, {len(held.train.labels)} + {len(held.test.labels)} images, digest {held.digest}"
    except DataError as error:
        state = State.BROKEN if holds_any(place.folder) else State.MISSING
        return DatasetOption(place.where, place.folder, state, str(error))
    return DatasetOption(place.where, place.folder, State.FOUND, detail)


# Ways to a data set ---------------------------------------------------------------------------------------------------


def _prepared(held: Held, name: DatasetName, source: str) -> Prepared:
    return Prepared(
        directory=held.paths[0].parent.absolute(),
        name=name,
        digest=held.digest,
        source=source,
        train_samples=len(held.train.labels),
        test_samples=len(held.test.labels),
    )


def _from_folder(held: Held, name: DatasetName, source: str, cache: Cache) -> Prepared:
    """Use raw files where they are; unpack others into the cache."""
    kept = held if held.in_place else cache.keep(name, held.digest, lambda _: held.contents)
    return _prepared(kept, name, source)


def _from_user(
    place: _Place, wanted: DatasetName, cache: Cache, published: Mapping[DatasetName, Published]
) -> Prepared:
    try:
        held = read_folder(place.folder)
        found = _accept(held, wanted, published)
    except DataError as error:
        raise DataError(f"{place.where}: {error}; {remedy(place.where)}") from error
    return _from_folder(held, found, place.where, cache)


def _from_machine(
    name: DatasetName, cache: Cache, environ: Mapping[str, str], published: Mapping[DatasetName, Published]
) -> Prepared | None:
    if (held := cache.find(name, joint_digest(published[name].contents))) is not None:
        return _prepared(held, name, "cache")
    place = _gluons_place(name, environ)
    try:
        held = read_folder(place.folder)
        _accept(held, name, published)
    except DataError:
        return None
    return _from_folder(held, name, place.where, cache)


def _own_candidates(
    name: DatasetName, cache: Path, environ: Mapping[str, str], published: Mapping[DatasetName, Published]
) -> Iterator[DatasetOption]:
    """Return where `obtain` looks if the user named no folder."""
    if name is DatasetName.CUSTOM:
        yield DatasetOption("--data-dir", None, State.MISSING, f"no folder is named; {OWN_FILES}")
        return
    if name is not DatasetName.SYNTHETIC:
        wanted = DatasetName.MNIST if name is DatasetName.AUTO else name
        known = published[wanted]
        entry = Cache(cache, 0).entry(wanted, joint_digest(known.contents))
        for place in (_Place("cache", entry), _gluons_place(wanted, environ)):
            yield _look(place, lambda held: _accept(held, wanted, published))
        hosts = ", ".join(map(host, known.mirrors))
        offer = f"would be downloaded from {hosts}"
        yield DatasetOption(_DOWNLOAD, None, State.MISSING, offer, can_be_made=True)
    if name in {DatasetName.SYNTHETIC, DatasetName.AUTO}:
        yield _synthetic_candidate(Cache(cache, 0))


def _synthetic_candidate(cache: Cache) -> DatasetOption:
    where = _synthetic_source()
    if (held := cache.find(DatasetName.SYNTHETIC, SYNTHETIC_DIGEST)) is None:
        return DatasetOption(where, None, State.MISSING, "would be drawn", can_be_made=True)
    return DatasetOption(where, held.paths[0].parent, State.FOUND, f"in the cache, digest {held.digest}")


def _synthetic_source() -> str:
    return f"drawn by mnist_core.data.synthetic, seeds {TRAIN_SEED} and {TEST_SEED}"


def _draw(cache: Cache, progress: Progress | None) -> Prepared:
    def make(_: Path) -> list[bytearray]:
        contents: list[bytearray] = []
        for what, count, seed in (("training", TRAIN_COUNT, TRAIN_SEED), ("test", TEST_COUNT, TEST_SEED)):
            report = partial(progress, f"drawing {what} images") if progress else None
            contents += map(to_idx_bytes, synthetic.draw(count, seed=seed, progress=report))
        return contents

    return _prepared(
        cache.keep(DatasetName.SYNTHETIC, SYNTHETIC_DIGEST, make), DatasetName.SYNTHETIC, _synthetic_source()
    )


def _download(name: DatasetName, cache: Cache, mirrors: Mirrors) -> Prepared:
    used: list[str] = []

    def make(scratch: Path) -> tuple[bytearray, ...]:
        used.extend(mirrors.fetch_all(scratch))
        return read_folder(scratch).contents

    held = cache.keep(name, joint_digest(mirrors.known.contents), make)
    hosts = " and ".join(dict.fromkeys(map(host, used)))
    return _prepared(held, name, f"{_DOWNLOAD} from {hosts}" if used else "cache")
