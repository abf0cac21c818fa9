"""The measured code of each side of a gate: scratch folders that hold `mnist_core` and are removed with the gate.

Both sides are copies in one scratch folder, at paths of the same length: an edit during the gate reaches neither, and
neither path has an advantage (Mytkowicz et al., "Producing wrong data without doing anything obviously wrong!",
ASPLOS 2009, on what a path's length alone can do).
"""

from __future__ import annotations

import dataclasses
import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Final

from bench import SOURCE_ROOT
from bench.errors import ConfigurationError
from bench.machine.software import package_files, run_git, tree_digest
from bench.stats.paired import Side

#: The package that is measured; the harness around it is this program's own on both sides.
PACKAGE: Final = "mnist_core"
WORKING_TREE: Final = "working tree"
_FOLDERS: Final = {Side.BASELINE: "a", Side.CONTENDER: "b"}
_GIT_SECONDS: Final = 60.0
#: Characters of git's own words: an error of a few lines.
_LONGEST_WORDS: Final = 500


@dataclasses.dataclass(frozen=True, slots=True)
class SourceTree:
    """The code of one side, ready to be imported."""

    #: Reference or folder, as the user gave it.
    name: str
    git_commit: str | None
    #: The folder that holds the package.
    folder: Path
    tree_digest: str


def clone_of(folder: Path) -> Path:
    """Return the clone whose working tree is meant: the one around the folder, else the one this program runs from.

    Raises `ConfigurationError` if there is neither: the program is installed, and was started outside of a clone.
    """
    clone = clone_around(folder) or clone_around(SOURCE_ROOT)
    if clone is None:
        raise ConfigurationError("the gate compares the working tree of a clone of mnist-bench: start it inside of one")
    return clone


def clone_around(folder: Path) -> Path | None:
    """Return the clone that the folder lies in; None if it lies in none."""
    for place in (folder, *folder.parents):
        if (place / PACKAGE / "__init__.py").is_file() and (place / "pyproject.toml").is_file():
            return place
    return None


def check_out(reference: str, side: Side, scratch: Path, *, source: Path = SOURCE_ROOT) -> SourceTree:
    """Copy the package of a folder, of a git reference of `source`, or of its working tree, into the scratch folder.

    A name of a folder means that folder; anything else is a git reference. Raises `ConfigurationError` if it is neither
    or holds no package.
    """
    if not reference.strip():  # an unset variable of a CI job; Path("") would be the folder we are in
        raise ConfigurationError("--base is empty: name a git reference or a folder")
    target = scratch / _FOLDERS[side]
    target.mkdir()
    commit = None
    if reference == WORKING_TREE:
        _copy(source, target, reference)
    elif Path(reference).is_dir():
        _copy(Path(reference), target, reference)
    else:
        commit = resolve(reference, source)
        _extract(commit, reference, target, source)
    return SourceTree(reference, commit, target, tree_digest(target, PACKAGE))


def redescribe(tree: SourceTree, name: str) -> SourceTree:
    """Return the tree under another name, with the digest of its folder as it is now."""
    return dataclasses.replace(tree, name=name, tree_digest=tree_digest(tree.folder, PACKAGE))


def resolve(reference: str, source: Path = SOURCE_ROOT) -> str:
    """Return the commit that a git reference names. Raises `ConfigurationError` if it names none."""
    if reference.startswith("-"):
        raise ConfigurationError(f"--base {reference}: neither a folder nor a git reference")
    try:
        found = _git(source, "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}")
    except subprocess.CalledProcessError as error:
        if error.stderr:  # it would not even look, as in a repository that belongs to somebody else
            raise ConfigurationError(f"--base {reference}: {_words(error)}") from None
        raise ConfigurationError(
            f"--base {reference}: neither a folder nor a git reference of {source.name} "
            "(in CI: fetch it first, e.g. with fetch-depth: 0)"
        ) from None
    return found.decode().strip()


def _copy(folder: Path, target: Path, reference: str) -> None:
    if not (folder / PACKAGE / "__init__.py").is_file():
        raise ConfigurationError(f"--base {reference}: no package {PACKAGE} in this folder")
    for path in package_files(folder / PACKAGE):
        copied = target / path.relative_to(folder)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)


def _extract(commit: str, reference: str, target: Path, source: Path) -> None:
    """Extract the package by `git archive`, not as a registered work tree: nothing is left in the repository."""
    try:
        archive = _git(source, "archive", "--format=tar", commit, PACKAGE)
    except subprocess.CalledProcessError as error:
        if b"did not match any files" in error.stderr:
            raise ConfigurationError(f"--base {reference}: no package {PACKAGE} in this commit") from None
        raise ConfigurationError(f"--base {reference}: {_words(error)}") from None
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            if member.isfile():
                content = tar.extractfile(member)
                assert content is not None
                path = target / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())


def commits_ahead(base: SourceTree, source: Path) -> tuple[int, str] | None:
    """Return how many commits to the package a baseline has that the working tree's history lacks, and where they part.

    None where it has none, or where git cannot tell.
    """
    if base.git_commit is None:
        return None
    try:
        count = int(_git(source, "rev-list", "--count", f"HEAD..{base.git_commit}", "--", PACKAGE))
        return (count, _git(source, "merge-base", "HEAD", base.git_commit).decode().strip()) if count else None
    except (subprocess.CalledProcessError, ConfigurationError):
        return None


def _words(error: subprocess.CalledProcessError) -> str:
    """Return what git said, in one line."""
    return f"git says: {' '.join(error.stderr.decode(errors='replace').split())[:_LONGEST_WORDS]}"


def _git(source: Path, *arguments: str) -> bytes:
    try:
        return run_git(source, *arguments, seconds=_GIT_SECONDS)
    except FileNotFoundError:
        raise ConfigurationError("a git reference needs git, which is not installed: name a folder instead") from None
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"git gave no answer within {_GIT_SECONDS:g} s: name a folder instead") from None
