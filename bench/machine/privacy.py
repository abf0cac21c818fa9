"""What is kept out of a file: names of users, hosts and folders."""

from __future__ import annotations

import getpass
import hashlib
import re
import socket
import uuid
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Final

import psutil

from bench.machine.linux.system_files import ask_or_none, read_text

#: Not secret: it keeps the hash from being compared with other programs' hashes of the same identity.
_SALT: Final = "mnist-bench/1:"


def host_hash(root: Path) -> str | None:
    """Return a salted hash of the installation's identity, else of the network card's address and the host's name."""
    identity = read_text(root / "etc/machine-id")
    if not re.fullmatch("[0-9a-f]{32}", identity):
        identity = ask_or_none(_network_identity) or ""
    return _hashed(identity)


def kernel_hash(root: Path) -> str | None:
    """Return a salted hash of the running kernel's identity, which all containers and namespaces on it share."""
    return _hashed(read_text(root / "proc/sys/kernel/random/boot_id"))


def _hashed(identity: str) -> str | None:
    return hashlib.sha256(f"{_SALT}{identity}".encode()).hexdigest() if identity else None


def _network_identity() -> str:
    node = uuid.getnode()
    is_random = node >> 40 & 1  # the multicast bit: no card was found, and the next process gets another number
    return f"{0 if is_random else node:012x}/{socket.gethostname()}"


def encodable(text: str) -> str:
    """Replace lone surrogates, as which bytes that are not UTF-8 reach us and which JSON cannot hold."""
    return text.encode(errors="replace").decode()


def basenames(paths: str) -> str:
    """Return the value of LD_PRELOAD without its directories."""
    return ":".join(PurePath(path).name for path in re.split(r"[:\s]+", paths) if path)


def private_names() -> dict[str, str]:
    """Return the names of user and host that a value may hold, each with what to write instead."""
    users = ask_or_none(getpass.getuser), ask_or_none(lambda: psutil.Process().username().rpartition("\\")[2])
    host = ask_or_none(socket.gethostname) or ""
    return {host: "<host>", host.partition(".")[0]: "<host>"} | {user: "<user>" for user in users if user}


def redact(value: str, home: PurePath | None, names: Mapping[str, str]) -> str:
    """Take a URL's credentials out of a value, write "~" for the home directory, and replace each name.

    A name of one or two letters counts only as a word of its own: it would spoil every other value.
    """
    value = re.sub(r"//[^/@\s]+@", "//", value)
    if home is not None and home != PurePath(home.anchor):
        value = re.sub(rf"{re.escape(str(home))}(?!\w)", "~", value)
    longest_first = sorted(filter(None, names), key=len, reverse=True)
    patterns = [rf"\b{re.escape(name)}\b" if len(name) <= 2 else re.escape(name) for name in longest_first]  # noqa: PLR2004
    return re.sub("|".join(patterns), lambda found: names[found[0]], value) if patterns else value
