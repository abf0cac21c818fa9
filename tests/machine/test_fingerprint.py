"""A fingerprint says which machine a result is from, and what else was different."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.machine.fingerprint import (
    MACHINE_FACTS,
    SOFTWARE_FACTS,
    Difference,
    class_digest,
    class_slug,
    format_fact,
    machine_differences,
    same_machine,
    software_differences,
)
from bench.records.environment import Accelerator, ThreadPool
from tests.support.records import CARD, a_software, an_environment

#: What another day, boot or load of the same machine may change.
OF_THE_DAY: dict[str, Any] = {
    "captured_at": "2027-12-31T23:59:59Z",
    "host_processor_max_frequency_hz": 3_100_000_000,
    "host_memory_capacity_bytes": 8 * 1024**3 - 40 * 1024**2,
    "host_processor_caches_bytes": {},
    "kernel": "6.2.0",
    "operating_system": "Debian GNU/Linux 13",
    "scaling_governor": "powersave",
    "git_commit": None,
    "software": None,
    "packages": {},
    "variables": {"OMP_NUM_THREADS": "3"},
}
OF_ANOTHER_MACHINE: dict[str, Any] = {
    "host_processor_model_name": "Imaginary Xeon 9000",
    "architecture": "aarch64",
    "host_processors_per_node": 2,
    "host_processor_core_count": 4,
    "host_processor_vcpu_count": 8,
    "usable_core_count": 1,
    "usable_vcpu_count": 2,
    "cgroup_cpu_quota": 1.5,
    "host_processor_instruction_sets": ("avx2",),
    "host_memory_capacity_bytes": 16 * 1024**3,
    "accelerators_per_node": 1,
    "accelerator_model_names": ("Imaginary G1",),
    "virtualization": None,
    "usable_core_kinds": {"cpu_core": 2},
}


@pytest.mark.parametrize("fact", OF_THE_DAY)
def test_what_changes_from_day_to_day_is_no_other_machine(fact: str) -> None:
    """Clock, kernel, free memory and software leave class, digest and slug alone."""
    today, tomorrow = an_environment(), an_environment(**{fact: OF_THE_DAY[fact]})
    assert class_digest(today) == class_digest(tomorrow)
    assert class_slug(today) == class_slug(tomorrow)
    assert same_machine(today, tomorrow)


@pytest.mark.parametrize("fact", OF_ANOTHER_MACHINE)
def test_every_fact_of_the_class_makes_another_machine(fact: str) -> None:
    """Each alone changes the digest, and is the one difference that is named."""
    here, there = an_environment(), an_environment(**{fact: OF_ANOTHER_MACHINE[fact]})
    assert class_digest(here) != class_digest(there)
    assert not same_machine(here, there)
    assert len(machine_differences(here, there)) == 1
    assert len(OF_ANOTHER_MACHINE) == len(MACHINE_FACTS)


def test_the_same_kind_of_machine_is_not_the_same_machine() -> None:
    """Another installation of the class has the same digest, and differs in the host."""
    here, there = an_environment(), an_environment(host_hash="c" * 64)
    assert class_digest(here) == class_digest(there)
    assert not same_machine(here, there)
    assert machine_differences(here, there) == (Difference(name="host", baseline="aaaaaaaa", contender="cccccccc"),)


def test_a_machine_that_does_not_tell_which_it_is_is_never_the_same() -> None:
    """Two unknown machines are not one."""
    unknown = an_environment(host_hash=None)
    assert not same_machine(unknown, unknown)
    assert [str(each) for each in machine_differences(unknown, unknown)] == ["host unknown -> unknown"]


#: What the facts of an environment call the state of its cards.
CARD_FACTS = {
    *("cards", "compute capabilities", "power limits in W", "highest clocks in MHz"),
    *("ECC of cards", "persistence mode", "PCIe"),
}


def test_the_state_of_cards_is_named() -> None:
    """It is no other machine whose power limit somebody changed, but it explains a difference."""
    told = an_environment(accelerator_model_names=("A100",), accelerators=(CARD, Accelerator(uuid="GPU-2")))
    assert {name: format_fact(SOFTWARE_FACTS[name](told)) for name in CARD_FACTS} == {
        "cards": "gpu(0) A100 GPU-1, gpu(1) GPU-2",
        "compute capabilities": "8.0",
        "power limits in W": "250 of 400",
        "highest clocks in MHz": "1410 / 1215",
        "ECC of cards": "on",
        "persistence mode": "off",
        "PCIe": "generation 4, 8 of 16 lanes",
    }
    assert [SOFTWARE_FACTS[name](an_environment()) for name in CARD_FACTS] == [()] * len(CARD_FACTS)
    here = an_environment(accelerators=(CARD,))
    there = an_environment(accelerators=(msgspec.structs.replace(CARD, power_limit_watts=400.0, ecc=False),))
    assert same_machine(here, there)
    assert [str(each) for each in software_differences(here, there)] == [
        "power limits in W without 250 of 400, with 400",
        "ECC of cards without on, with off",
    ]


def test_the_digest_is_pinned() -> None:
    """A calibration is found by it next year. To change this line is to measure all of them again."""
    assert class_digest(an_environment()) == "c4f0f91ff5a82e47568c15cd9396a7307e26f37eb0faa07070ad2cc102b1d157"


@pytest.mark.parametrize(
    ("model", "cores", "words"),
    [
        ("Intel(R) Xeon(R) Processor", 2, "intel-xeon-processor-2-cores"),
        ("Intel(R) Xeon(R) CPU E5-2673 v4 @ 2.30GHz", 1, "intel-xeon-e5-2673-v4-1-core"),
        ("AMD EPYC", 64, "amd-epyc-64-cores"),
        ("../../etc/passwd\n", 2, "etc-passwd-2-cores"),
        ("処理", 2, "unnamed-2-cores"),
        (None, 2, "x86-64-2-cores"),
    ],
)
def test_a_slug_is_a_readable_file_name(model: str | None, cores: int, words: str) -> None:
    """It has the processor without its decoration, the cores, and the digest's first characters."""
    environment = an_environment(host_processor_model_name=model, usable_core_count=cores)
    assert class_slug(environment) == f"{words}-{class_digest(environment)[:8]}"


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(max_size=300))
def test_a_slug_is_safe_whatever_the_processor_is_called(model: str) -> None:
    """It has small letters, digits and dashes, and its length is bounded."""
    assert re.fullmatch("[a-z0-9-]{1,80}", class_slug(an_environment(host_processor_model_name=model)))


def words_of(**changes: Any) -> list[str]:  # noqa: ANN401
    return [str(each) for each in software_differences(an_environment(), an_environment(**changes))]


def test_versions_commits_and_settings_that_differ_are_named() -> None:
    """Each has one line with both values."""
    assert words_of() == []
    assert words_of(software=a_software(numpy="1.23.5")) == ["numpy 1.26.4 -> 1.23.5"]
    assert words_of(git_commit="c" * 40, git_dirty=True) == ["source bbbbbbbb -> cccccccc with changes"]
    assert words_of(variables={"OMP_WAIT_POLICY": "active"}) == ["OMP_WAIT_POLICY none -> active"]
    assert words_of(turbo=True) == ["turbo none -> on"]
    assert words_of(packages={"mxnet": "1.9.1", "numpy": "1.26.4", "scipy": "1.17.0"}) == ["scipy none -> 1.17.0"]


def test_of_lists_only_what_one_side_lacks_is_named() -> None:
    """Twenty compile-time features and one more make one word."""
    more = a_software(framework_features=("BLAS_OPEN", "MKLDNN", "OPENMP", "CUDA"))
    assert words_of(software=more) == ["framework features with CUDA"]
    pools = (ThreadPool(user_api="blas", internal_api="mkl", version="2024", architecture=None, num_threads=1),)
    assert words_of(software=a_software(thread_pools=pools)) == ["thread pools without openmp, with mkl 2024"]


def test_software_that_was_not_recorded_differs_in_nothing() -> None:
    """A file without a finished run does not claim that it had no NumPy."""
    assert words_of(software=None) == []
