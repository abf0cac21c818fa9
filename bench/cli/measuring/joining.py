"""`--join`: the machines to use are those of a job, whose manager has started this command on each of them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import typer

from bench.cli import options
from bench.cli.console import fail, spinner, warn
from bench.cli.exit_status import Exit, status_of
from bench.experiments.scratch import scratch_folder
from bench.render.phrases import format_count
from bench.scenarios.hosts import Host, load_hosts
from bench.scenarios.job_managers import JobManager, JobPlace, find_place
from bench.worker.interpreters import Interpreters
from bench.worker.join.agent import follow
from bench.worker.join.hub import lead
from bench.worker.join.key import find_key
from bench.worker.join.wire import Hello

#: The parameters that a verb with --join has.
JOIN_OPTIONS: Final = ("join_address", "join_port", "join_ranks", "join_timeout")

#: The user's own folder for temporary files may have too long a name for a socket.
_SOCKETS_FOLDER: Final = "/tmp"  # noqa: S108  # a new folder is made in it, which is the user's alone
#: Job managers kill what a signal has not ended within 1 s (Open MPI) to 30 s (Slurm, Kubernetes).
_LAST_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """What the command line says of the job that this process belongs to."""

    manager: JobManager
    address: str | None
    port: int
    ranks: int | None
    timeout_seconds: float


def join_of(
    context: typer.Context,
    hosts: Path | None,
    manager: JobManager | None,
    address: str | None,
    port: int,
    ranks: int | None,
    timeout_seconds: float,
) -> Join | None:
    """Return the job; None without --join. Raise `ConfigurationError` for options that do not go together."""
    if manager is None:
        managers = ", ".join(JobManager)
        for name in JOIN_OPTIONS:
            option = f"--{name.replace('_', '-')}"
            why = f"{option} is for the ranks of a job: add --join with who started them ({managers})"
            options.reject_conflicts((options.is_given(context, name), why))
        return None
    options.reject_conflicts((hosts, "--hosts and --join both name the machines: leave one of them out"))
    return Join(manager=manager, address=address, port=port, ranks=ranks, timeout_seconds=timeout_seconds)


@contextlib.contextmanager
def machines(
    hosts: Path | None, join: Join | None, here: Interpreters, data_dir: Path | None
) -> Iterator[tuple[Host, ...]]:
    """Yield the machines of a hosts file or of a job, of which one is given; none of either.

    Only rank 0 of a job enters the block. The others serve it until it leaves the block, and exit with its status.
    """
    if join is None:
        yield () if hosts is None else load_hosts(hosts)
        return
    place = find_place(join.manager, os.environ, join.address, join.ranks)
    if place.rank > 0:
        _serve(join, place, here, data_dir)
    with contextlib.ExitStack() as stack:
        key = find_key(os.environ, make=True)
        with spinner(f"waiting for {format_count(place.ranks - 1, 'other rank')}"):
            folder = stack.enter_context(scratch_folder(_SOCKETS_FOLDER))
            job = stack.enter_context(lead(place, join.port, key, join.timeout_seconds, status_of, folder))
        try:
            yield job.hosts
        finally:
            for rank in job.lost_ranks:
                warn(f"rank {rank} of the job ended before it was told to, or its machine does not answer any more")


def _serve(join: Join, place: JobPlace, here: Interpreters, data_dir: Path | None) -> NoReturn:
    """Do what rank 0 says, and exit as it says. Nothing is printed but errors.

    A signal may have been sent to all ranks: rank 0 is given time to end as an interrupted measurement does, and not
    as one that has lost a machine.
    """
    hello = Hello(
        rank=place.rank,
        ranks=place.ranks,
        job=place.job,
        python=sys.executable,
        framework_python=dict(here.python),
        data_directory=None if data_dir is None else str(data_dir.absolute()),
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: signal.setitimer(signal.ITIMER_REAL, _LAST_SECONDS))
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    leave = follow(place, join.port, hello, lambda: find_key(os.environ, make=False), join.timeout_seconds)
    if leave.why is not None:
        fail(f"rank {place.rank}: {leave.why}", leave.status)
    sys.exit(next((each for each in Exit if each == leave.status), leave.status))
