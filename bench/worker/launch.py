"""The way to another host: the command in front of a worker's, and all that must travel in it.

The far Python runs its own installed mnist-bench. Nothing of this machine's folders or variables is known there.
"""

from __future__ import annotations

import contextlib
import shlex
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from bench.scenarios.hosts import Host, is_loopback
from bench.worker.environment import SILENCE_VARIABLE, WITHHELD

#: The line with which a far worker begins. Whatever a shell prints at its start stands above it.
HELLO: Final = b"mnist-bench worker"
#: Without a line break, a backslash, a single quote or an exclamation mark: any login shell can pass it on.
_PROGRAM: Final = (
    f'import sys; del sys.path[0]; print(); print("{HELLO.decode()}", flush=True); '
    "from bench.worker.main import main; main()"
)
#: Seconds between two signs of life that a far worker gets, and those without one after which it ends by itself.
PULSE_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 60.0
#: No question is asked, which nobody could answer. No connection is left open for others: its process would outlive us.
#: A host that vanished is noticed within 20 s. All else is the user's ~/.ssh/config, and so is the rule for new keys.
_SSH: Final = ("ssh", "-T", "-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "ServerAliveInterval=5")

#: The script that stands in for a worker on the machine of another rank of a job.
RELAY: Final = str(Path(__file__).parent / "join" / "relay.py")


@dataclass(frozen=True, slots=True)
class Launch:
    """What starts a worker on another host."""

    #: The host, as messages name it.
    host: str
    prefix: tuple[str, ...]
    #: A shell on the other side reads the words of the command again, as ssh has it.
    through_shell: bool = False

    @property
    def by_hand(self) -> str | None:
        """The command with which its user can try the way; None: there is none."""
        return None if RELAY in self.prefix else f"{' '.join(self.prefix)} true"

    def command(self, python: str, variables: Mapping[str, str]) -> list[str]:
        """Return the command that starts a worker there, with these variables and without what is withheld."""
        withheld = [word for name in WITHHELD for word in ("-u", name)]
        known = {**variables, SILENCE_VARIABLE: f"{SILENCE_SECONDS:g}"}
        words = ["env", *withheld, *(f"{name}={value}" for name, value in known.items()), python, "-c", _PROGRAM]
        if not self.through_shell:
            return [*self.prefix, *words]
        return [*self.prefix, f"exec {' '.join(map(_quoted, words))}"]


def _quoted(word: str) -> str:
    """Quote a word for a shell, which is to replace only a leading ~ by the home directory."""
    return f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word)


def launch_of(host: Host) -> Launch | None:
    """Return how a worker gets to a host; None: it is this machine, and a worker is started as always."""
    if host.launch is not None:
        return Launch(host.address, host.launch) if host.launch else None
    if host.ssh is None and _is_here(host.address):
        return None
    return Launch(host.address, (*_SSH, host.ssh or host.address), through_shell=True)


def _is_here(address: str) -> bool:
    """Tell whether an address is this machine's, by its own names and those of its interfaces."""
    name = socket.gethostname().lower()
    own = {entry.address.partition("%")[0] for entries in psutil.net_if_addrs().values() for entry in entries}
    return is_loopback(address) or address.lower() in {name, name.partition(".")[0], *own}


@contextlib.contextmanager
def pulse(beat: Callable[[], None]) -> Iterator[None]:
    """Give a far worker signs of life within the block.

    Where only the connection dies, nothing tells the far side that we are gone.
    """
    ended = threading.Event()

    def keep_beating() -> None:
        while not ended.wait(PULSE_SECONDS):
            beat()

    threading.Thread(target=keep_beating, daemon=True).start()
    try:
        yield
    finally:
        ended.set()
