"""What the end of a worker says: in words, and for a host that could not be reached, with what helps."""

from __future__ import annotations

import contextlib
import re
import signal
from pathlib import Path
from typing import Final

from bench import SOURCE_ROOT
from bench.records.result import FailureReason
from bench.worker.launch import Launch

#: What ssh writes to the error output, what that means, and what helps; the first that matches counts.
_OF_SSH: Final = (
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "its host key is not the known one",
        "ask why it changed; if the machine was installed anew: ssh-keygen -R {host}, then ssh {host} once by hand",
    ),
    (
        "Host key verification failed",
        "its host key is unknown",
        "run ssh {host} once by hand, and compare the key that it shows",
    ),
    (
        r"Permission denied \(|Too many authentication failures|No more authentication methods",
        "it wants a password, which nobody can type during a measurement",
        "ssh-copy-id {host}, or load the key into ssh-agent; ssh -o BatchMode=yes {host} true must work",
    ),
    (
        "Could not resolve hostname|Name or service not known|Temporary failure in name resolution",
        "{host} is no name that is known here",
        "write its IP address, or a HostName for it into ~/.ssh/config",
    ),
    (
        "Connection refused",
        "nothing listens at its ssh port",
        "start its ssh server, or write its Port into ~/.ssh/config",
    ),
    (
        "Connection timed out|Operation timed out|No route to host|Network is unreachable|Connection (closed|reset) by",
        "it does not answer",
        "is it on, and does a firewall let ssh through? ssh -v {host} shows where it stops",
    ),
)
#: The same of `env` and Python on any host.
_OF_PYTHON: Final = (
    (
        "No module named '?(bench|mnist_core)'?",
        "its Python has no mnist-bench",
        "copy this machine's source ({source}) there, and {python} -m pip install it; or name another python",
    ),
    ("ModuleNotFoundError", "its mnist-bench is incomplete", "there, {python} -m pip install it again"),
    (
        r"(?i)env: .*(no such file|not found)|command not found|executable file not found|unknown command",
        "there is no {python}",
        'write python = "/the/path/there" into the hosts file; command -v python3 on it tells one',
    ),
    (r"(?i)env: .*permission denied", "{python} cannot be executed", "write another python into the hosts file"),
)
#: A shell's exit status, and that of most such commands, is this plus the number of a signal.
_BY_SIGNAL: Final = 128
#: The signals of faulty code.
_OF_CODE: Final = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
#: What ssh ends with where it failed itself, or where a signal ended the command.
_OF_SSH_ITSELF: Final = 255


def describe_status(status: int | None) -> str:
    """Return what an exit status says."""
    if status is None:
        return "the worker gave no result"
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"the worker was killed by {signal.Signals(-status).name}"
    return f"the worker ended with status {status} and no result"


def describe_end(status: int | None, launch: Launch | None, log: str) -> str:
    """Return what the exit status of a worker says; of a far one, what that of the command in front of it does."""
    if launch is None or status is None or status <= 0:
        return describe_status(status)
    last = (log.splitlines() or [""])[-1]
    words = last and f": {last}"
    if launch.through_shell and status == _OF_SSH_ITSELF:
        return f"the connection to it ended{words}"
    is_signal = status - _BY_SIGNAL in {*signal.Signals}
    return describe_status(_BY_SIGNAL - status if is_signal else status) + words


def is_fault_of_code(status: int | None) -> bool:
    """Tell whether a worker ended as faulty code does, and not as one that was killed or whose machine is gone."""
    return status is not None and (-status if status < 0 else status - _BY_SIGNAL) in _OF_CODE


def out_of_memory_kills() -> str:
    """Return the kernel's counts of processes that it killed for memory, on the machine and in this control group."""
    counts = []
    for path, field in (("/proc/vmstat", "oom_kill"), ("/sys/fs/cgroup/memory.events", "oom_kill")):
        with contextlib.suppress(OSError):
            text = Path(path).read_text(encoding="ascii", errors="replace")
            counts += [line for line in text.splitlines() if line.split()[:1] == [field]]
    return "\n".join(counts)


def explain_unreached(launch: Launch | None, python: str, reason: FailureReason, detail: str, log: str) -> str:
    """Return in one line why no worker answered on a host, and what helps."""
    destination = "this machine" if launch is None else launch.prefix[-1] if launch.through_shell else launch.host
    if reason is FailureReason.TIMEOUT:
        by_hand = "" if launch is None or launch.by_hand is None else f"; try by hand: {launch.by_hand}"
        return f"{detail}: it hangs, or its disks or its network are very slow{by_hand}"
    is_ssh = launch is not None and launch.through_shell
    for pattern, what, remedy in (*(_OF_SSH if is_ssh else ()), *_OF_PYTHON):
        if re.search(pattern, log):
            return f"{what}: {remedy}".format(host=destination, python=python, source=SOURCE_ROOT)
    last = (log.splitlines() or [""])[-1]
    return detail if last in detail else f"{detail}: {last}"
