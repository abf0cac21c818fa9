"""What the variables of a job manager say of a rank, and what is said where they do not."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ConfigurationError
from bench.scenarios.job_managers import JobManager, JobPlace, expand_nodes, find_place

SLURM = {
    "SLURM_JOB_ID": "17",
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "2",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "node[07-09],login",
}
#: As mpirun of Open MPI 5.0.11 sets them.
OPENMPI = {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "PMIX_NAMESPACE": "prterun-vm-16418@1"}
#: As mpiexec of MPICH 5.0.2 sets them.
PMI = {"PMI_RANK": "1", "PMI_SIZE": "2", "MPI_LOCALRANKID": "1"}
#: As torchrun of PyTorch 2.13 sets them.
TORCHRUN = {
    "RANK": "1",
    "WORLD_SIZE": "2",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RUN_ID": "none",
}


@pytest.mark.parametrize(
    ("manager", "variables", "address", "ranks", "expected"),
    [
        (JobManager.SLURM, SLURM, None, None, (2, 4, "node07", "17.0")),
        (JobManager.SLURM, SLURM, "10.0.0.7", None, (2, 4, "10.0.0.7", "17.0")),
        (JobManager.OPENMPI, OPENMPI, "node1", None, (1, 2, "node1", "prterun-vm-16418@1")),
        (JobManager.PMI, PMI, "node1", 2, (1, 2, "node1", "")),
        (JobManager.PMI, {"MV2_COMM_WORLD_RANK": "0", "MV2_COMM_WORLD_SIZE": "3"}, "node1", None, (0, 3, "node1", "")),
        (JobManager.TORCHRUN, TORCHRUN, None, None, (1, 2, "10.0.0.1", "none")),
        (JobManager.KUBERNETES, {"JOB_COMPLETION_INDEX": "1"}, "job-0.svc", 2, (1, 2, "job-0.svc", "")),
        # mpirun inside sbatch: both are there, and the named one counts.
        (JobManager.OPENMPI, SLURM | OPENMPI, "node1", None, (1, 2, "node1", "prterun-vm-16418@1")),
    ],
)
def test_each_job_manager_says_who_a_rank_is(
    manager: JobManager,
    variables: Mapping[str, str],
    address: str | None,
    ranks: int | None,
    expected: tuple[int, int, str, str],
) -> None:
    rank, count, where, job = expected
    assert find_place(manager, variables, address, ranks) == JobPlace(rank=rank, ranks=count, address=where, job=job)


@pytest.mark.parametrize(
    ("manager", "variables", "ranks", "words"),
    [
        (JobManager.SLURM, {}, None, "SLURM_PROCID is not set: start it by srun --ntasks-per-node=1 mnist-bench"),
        # A script of sbatch has these, too, and is no rank.
        (JobManager.SLURM, {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, None, "SLURM_STEP_NUM_TASKS is not set: start"),
        (JobManager.SLURM, SLURM | {"SLURM_PROCID": "4"}, None, "SLURM_PROCID=4 and SLURM_STEP_NUM_TASKS=4 contradict"),
        (JobManager.SLURM, SLURM | {"SLURM_PROCID": "-1"}, None, "SLURM_PROCID='-1' is no whole number: did slurm set"),
        (JobManager.SLURM, SLURM | {"SLURM_PROCID": ""}, None, "SLURM_PROCID='' is no whole number"),
        (JobManager.SLURM, SLURM | {"SLURM_STEP_NODELIST": "node[1-"}, None, "'node[1-' is no list of nodes"),
        (JobManager.SLURM, SLURM | {"SLURM_STEP_NODELIST": " "}, None, "SLURM_STEP_NODELIST does not say where rank 0"),
        (JobManager.PMI, PMI, None, "it does not say where rank 0 is: add --join-address"),
        (JobManager.PMI, PMI | {"MV2_COMM_WORLD_RANK": "0"}, None, "PMI_RANK=1 and MV2_COMM_WORLD_RANK=0 contradict"),
        (JobManager.PMI, {"PMI_RANK": "0", "PMI_SIZE": "0"}, None, "PMI_SIZE=0: expected 1 to 1,000 ranks"),
        (JobManager.PMI, PMI, 3, "--join-ranks 3 and PMI_SIZE=2 contradict each other: leave --join-ranks out"),
        (JobManager.OPENMPI, OPENMPI, None, "it does not say where rank 0 is: add --join-address"),
        (JobManager.TORCHRUN, {"RANK": "0"}, None, "WORLD_SIZE is not set: start it by torchrun --no-python"),
        (JobManager.KUBERNETES, {"JOB_COMPLETION_INDEX": "0"}, None, "add --join-ranks N"),
        (JobManager.KUBERNETES, {"JOB_COMPLETION_INDEX": "2"}, 2, "JOB_COMPLETION_INDEX=2 and --join-ranks 2 contra"),
        (JobManager.KUBERNETES, {}, 2, "JOB_COMPLETION_INDEX is not set: start it by a Job with completionMode"),
    ],
)
def test_what_is_missing_or_contradicts_is_one_line(
    manager: JobManager, variables: Mapping[str, str], ranks: int | None, words: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_place(manager, variables, None, ranks)
    line = str(caught.value)
    assert words in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("node1", ["node1"]),
        ("node[1-3,7]", ["node1", "node2", "node3", "node7"]),
        ("n[08-11]", ["n08", "n09", "n10", "n11"]),
        ("a,b[1-2].site.org,c", ["a", "b1.site.org", "b2.site.org", "c"]),
        ("rack[1-2]n[0-1]", ["rack1n0", "rack1n1", "rack2n0", "rack2n1"]),
    ],
)
def test_lists_of_nodes_are_written_out(text: str, nodes: list[str]) -> None:
    assert [*expand_nodes(text)] == nodes


@pytest.mark.parametrize(
    "text", ["", ",", "a,", "a[", "a]", "a[]", "a[1-]", "a[3-1]", "a b", "a[1-999999999]", "a[1,,2]"]
)
def test_what_is_no_list_of_nodes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no list of nodes|counts down"):
        [*expand_nodes(text)]


_NAMES = st.text("abcxyz-.0", min_size=1, max_size=5)
_RANGES = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 9)), min_size=1, max_size=4)


@given(st.lists(st.tuples(_NAMES, _RANGES), min_size=1, max_size=4))
def test_what_slurm_would_write_is_read_back(lists: list[tuple[str, list[tuple[int, int]]]]) -> None:
    written = ",".join(
        f"{name}[{','.join(f'{first:03}-{first + more:03}' if more else f'{first:03}' for first, more in ranges)}]"
        for name, ranges in lists
    )
    assert [*expand_nodes(written)] == [
        f"{name}{number:03}"
        for name, ranges in lists
        for first, more in ranges
        for number in range(first, first + more + 1)
    ]


@given(st.text("a[]-,0123 \n", max_size=12))
def test_any_text_is_a_list_of_nodes_or_refused(text: str) -> None:
    try:
        nodes = [*expand_nodes(text)]
    except ValueError:
        return
    assert nodes
    assert not any(set("[], \n") & {*node} for node in nodes)


@given(
    st.sampled_from(JobManager),
    st.dictionaries(st.sampled_from([*SLURM, *PMI, *OPENMPI, *TORCHRUN]), st.text(max_size=3), max_size=4),
)
def test_any_variables_are_a_place_or_refused(manager: JobManager, variables: dict[str, str]) -> None:
    with contextlib.suppress(ConfigurationError):
        place = find_place(manager, variables, "node1", 2 if manager is JobManager.KUBERNETES else None)
        assert 0 <= place.rank < place.ranks
