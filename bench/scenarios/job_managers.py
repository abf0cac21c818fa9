"""Job managers: what the variables of a process say that one of them started as a rank of a job."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.enums import StrEnum
from bench.errors import ConfigurationError
from bench.ranges import MOST_RANKS

#: Nodes of a list in Slurm's notation: more than any machine has, and few enough to be written out.
_MOST_NODES: Final = 100_000
_NUMBERS: Final = r"[0-9]{1,9}(?:-[0-9]{1,9})?"
_BRACKET: Final = rf"\[{_NUMBERS}(?:,{_NUMBERS})*\]"
_NODES: Final = re.compile(rf"(?:[^\s,\[\]]|{_BRACKET})+")


class JobManager(StrEnum):
    """Who started the ranks. It is named and never guessed: `mpirun` inside `sbatch` leaves the variables of both."""

    TORCHRUN = "torchrun"
    OPENMPI = "openmpi"
    PMI = "pmi"
    SLURM = "slurm"
    KUBERNETES = "kubernetes"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Variables:
    """Where a job manager says what. Of several names those that are set must agree."""

    #: How its ranks are started.
    start: str
    rank: tuple[str, ...]
    #: None of these: --join-ranks.
    ranks: tuple[str, ...] = ()
    #: The machine of rank 0. None of these: --join-address.
    address: tuple[str, ...] = ()
    #: What tells its jobs apart, as far as it says that.
    job: tuple[str, ...] = ()


_VARIABLES: Final[Mapping[JobManager, _Variables]] = {
    # torch/distributed/run.py, "Environment Variables"; seen with PyTorch 2.13. MASTER_PORT belongs to its own store.
    JobManager.TORCHRUN: _Variables(
        start="torchrun --no-python --nnodes 2 --node-rank K --master-addr NODE0 mnist-bench",
        rank=("RANK",),
        ranks=("WORLD_SIZE",),
        address=("MASTER_ADDR",),
        job=("TORCHELASTIC_RUN_ID",),
    ),
    # docs.open-mpi.org, "Environment variables set for MPI applications"; seen with 5.0.11. What addresses it has are
    # those of mpirun or of the daemon on the same machine (PMIX_SERVER_URI4), and not rank 0's.
    JobManager.OPENMPI: _Variables(
        start="mpirun --map-by ppr:1:node mnist-bench",
        rank=("OMPI_COMM_WORLD_RANK",),
        ranks=("OMPI_COMM_WORLD_SIZE",),
        job=("PMIX_NAMESPACE",),
    ),
    # Hydra of MPICH and Intel MPI; seen with MPICH 5.0.2. MVAPICH2 has names of its own as well.
    JobManager.PMI: _Variables(
        start="mpiexec -ppn 1 mnist-bench",
        rank=("PMI_RANK", "MV2_COMM_WORLD_RANK"),
        ranks=("PMI_SIZE", "MV2_COMM_WORLD_SIZE"),
    ),
    # srun(1), "OUTPUT ENVIRONMENT VARIABLES". Those of a step, since a script of sbatch has those of the job, too.
    JobManager.SLURM: _Variables(
        start="srun --ntasks-per-node=1 mnist-bench",
        rank=("SLURM_PROCID",),
        ranks=("SLURM_STEP_NUM_TASKS",),
        address=("SLURM_STEP_NODELIST",),
        job=("SLURM_JOB_ID", "SLURM_STEP_ID"),
    ),
    # kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication
    JobManager.KUBERNETES: _Variables(start="a Job with completionMode: Indexed", rank=("JOB_COMPLETION_INDEX",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlace:
    """A process among the ranks of its job."""

    rank: int
    ranks: int
    #: Name or IP address of rank 0's machine.
    address: str
    #: Equal for all ranks of a job; not for every job manager another one for the next job.
    job: str


def find_place(
    manager: JobManager, variables: Mapping[str, str], address: str | None = None, ranks: int | None = None
) -> JobPlace:
    """Return what the job manager says of this process.

    `address` counts instead of what it says of rank 0, and `ranks` where it does not say how many there are. Raise
    `ConfigurationError` where something is missing or contradicts another thing.
    """
    names = _VARIABLES[manager]
    rank = _number(manager, names.rank, variables)
    if ranks is not None and not names.ranks:
        count, said = ranks, f"--join-ranks {ranks}"
    elif names.ranks:
        count = _number(manager, names.ranks, variables)
        said = f"{_first_set(names.ranks, variables)}={count}"
        if ranks not in {None, count}:
            raise ConfigurationError(f"--join-ranks {ranks} and {said} contradict each other: leave --join-ranks out")
    else:
        raise ConfigurationError(f"--join {manager}: it does not say how many ranks there are: add --join-ranks N")
    if not 1 <= count <= MOST_RANKS:
        raise ConfigurationError(f"--join {manager}: {said}: expected 1 to {MOST_RANKS:,} ranks")
    if rank >= count:
        own = f"{_first_set(names.rank, variables)}={rank}"
        raise ConfigurationError(f"--join {manager}: {own} and {said} contradict each other: ranks are counted from 0")
    return JobPlace(
        rank=rank,
        ranks=count,
        address=address or _address(manager, names.address, variables),
        job=".".join(variables.get(name, "") for name in names.job),
    )


def _first_set(names: Sequence[str], variables: Mapping[str, str]) -> str | None:
    return next((name for name in names if name in variables), None)


def _number(manager: JobManager, names: Sequence[str], variables: Mapping[str, str]) -> int:
    """Return the number that variables hold, of which one must be set."""
    found = {name: variables[name] for name in names if name in variables}
    if not found:
        start = _VARIABLES[manager].start
        raise ConfigurationError(f"--join {manager}: {' or '.join(names)} is not set: start it by {start}")
    for name, text in found.items():
        if not re.fullmatch("[0-9]{1,9}", text):
            raise ConfigurationError(f"--join {manager}: {name}={text!r:.80} is no whole number: did {manager} set it?")
    if len({int(text) for text in found.values()}) > 1:
        listed = " and ".join(f"{name}={text}" for name, text in found.items())
        raise ConfigurationError(f"--join {manager}: {listed} contradict each other: unset the one that is left over")
    return int(next(iter(found.values())))


def _address(manager: JobManager, names: Sequence[str], variables: Mapping[str, str]) -> str:
    name = _first_set(names, variables)
    if name is None or not variables[name].strip():
        silent = f"{name or ' or '.join(names)} does not" if names else "it does not"
        remedy = "add --join-address with its name or IP address, the same for all ranks"
        raise ConfigurationError(f"--join {manager}: {silent} say where rank 0 is: {remedy}")
    if manager is not JobManager.SLURM:
        return variables[name].strip()
    try:
        return next(expand_nodes(variables[name].strip()))
    except ValueError as error:
        raise ConfigurationError(f"--join {manager}: {name}: {error}: add --join-address") from None


def expand_nodes(text: str) -> Iterator[str]:
    """Yield the names of nodes in Slurm's notation, as in "node[1-3,7],login". Raise `ValueError` for anything else."""
    if not re.fullmatch(rf"{_NODES.pattern}(?:,{_NODES.pattern})*", text):
        raise ValueError(f"{text!r:.80} is no list of nodes such as node[1-3,7]")
    for nodes in _NODES.finditer(text):
        parts = re.findall(rf"{_BRACKET}|[^\[\]]+", nodes[0])
        yield from map("".join, itertools.product(*map(_expand_part, parts)))


def _expand_part(part: str) -> Sequence[str]:
    """Return what a part of a name stands for: [08-10] for 08, 09 and 10."""
    if not part.startswith("["):
        return [part]
    numbers: list[str] = []
    for first, last in re.findall(r"([0-9]+)(?:-([0-9]+))?", part):
        ends = int(first), int(last or first)
        if not 0 <= ends[1] - ends[0] < _MOST_NODES - len(numbers):
            raise ValueError(f"{part:.80} counts down, or counts more than {_MOST_NODES:,} nodes")
        numbers += [f"{number:0{len(first)}d}" for number in range(ends[0], ends[1] + 1)]
    return numbers
