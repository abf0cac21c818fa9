"""The secret by which the ranks of a job know each other: from a variable, or from a file in the home directory."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

import platformdirs

from bench.errors import ConfigurationError

KEY_VARIABLE: Final = "MNIST_BENCH_JOIN_KEY"
#: Characters of a secret that nobody guesses, of whatever kind they are.
_LEAST_CHARACTERS: Final = 16
_HOW: Final = f"set {KEY_VARIABLE} to the same random text on all ranks, such as openssl rand -hex 16 prints"


def key_path() -> Path:
    """Return where the key is that this user's machines share with their home directory."""
    return platformdirs.user_config_path("mnist-bench", appauthor=False) / "join_key"


def find_key(variables: MutableMapping[str, str], *, make: bool) -> bytes:
    """Return the secret; with `make` it is made where there is none, which is rank 0's to do.

    The variable is taken away, so that no process inherits it. Raise `ConfigurationError` for a secret that is none.
    """
    given = variables.pop(KEY_VARIABLE, None)
    if given is not None:
        return _checked(given, KEY_VARIABLE)
    path = key_path()
    try:
        if make and not path.exists():
            _make(path)
        status = path.stat()
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text in ASCII"
        raise ConfigurationError(f"no key in {path} ({reason}): {_HOW}") from None
    if status.st_mode & 0o077:
        raise ConfigurationError(f"other users can read the key: chmod 600 {path}; or {_HOW}")
    return _checked(text, str(path))


def explain_other_key(rank: int) -> str:
    """Return in one line why rank 0 has another key than this rank, and what helps."""
    return f"rank {rank} has another key than rank 0: {_HOW}, or give all of them rank 0's {key_path()}"


def _checked(text: str, where: str) -> bytes:
    key = text.strip()
    if len(key) < _LEAST_CHARACTERS:
        raise ConfigurationError(f"{where} is shorter than {_LEAST_CHARACTERS} characters: {_HOW}")
    return key.encode(errors="surrogateescape")


def _make(path: Path) -> None:
    """Write a new secret, whole or not at all; one that was written meanwhile stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    own = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    own.touch(0o600, exist_ok=False)
    try:
        own.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(own)
    finally:
        own.unlink()
