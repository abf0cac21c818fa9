"""A precision is an axis: named as everybody names it, refused with the reason where it cannot be computed."""

from __future__ import annotations

import msgspec
import pytest

from bench.errors import ConfigurationError
from bench.experiments.gate.blocks import by_variables
from bench.experiments.tune.pool import pool_key
from bench.records.tune import Candidate
from bench.scenarios.axes import Framework
from bench.scenarios.precision import Hardware, missing_in
from bench.scenarios.scenario import Scenario
from bench.scenarios.settings import axis_settings
from bench.worker.environment import worker_environment, worker_variables
from mnist_core.recipe import Hybridize, InputPipeline, Loop, MetricSync, Precision, Update

PEERS = {"input_pipeline": InputPipeline.RESIDENT, "metric_sync": MetricSync.EPOCH}
PARTS = {
    Framework.MXNET: {},
    Framework.TORCH: {**PEERS, "hybridize": Hybridize.OFF},
    Framework.JAX: {**PEERS, "hybridize": Hybridize.JIT},
}
AVX512 = ("avx2", "avx512f", "avx512dq", "avx512bw", "avx512vl")


def a_scenario(precision: Precision, framework: Framework = Framework.MXNET, device: str = "cpu(0)") -> Scenario:
    parts = PARTS[framework]
    return Scenario(framework=framework, network="mlp", contexts=(device,), precision=precision, **parts)  # type: ignore[arg-type]


def test_float32_is_what_every_older_file_has() -> None:
    """It is in no name, and a file that says nothing of a precision has it."""
    older = msgspec.to_builtins(Scenario(network="mlp"))
    del older["precision"]
    assert msgspec.convert(older, Scenario) == Scenario(network="mlp", precision=Precision.FLOAT32)
    assert "precision" not in Scenario(network="mlp").name
    assert Scenario(network="mlp").loop == Loop()


def test_another_precision_is_in_the_name_and_in_the_loop() -> None:
    scenario = a_scenario(Precision.BFLOAT16)
    assert scenario.name == "mlp cpu(0) batch=100 hybridize=off precision=bfloat16"
    assert scenario.loop == Loop(precision=Precision.BFLOAT16)


@pytest.mark.parametrize(
    ("word", "precision"),
    [
        ("fp32", "float32"),
        ("bf16", "bfloat16"),
        ("amp_bf16", "bfloat16"),
        ("fp16", "float16"),
        ("amp_fp16", "float16"),
        ("tf32", "tf32"),
    ],
)
def test_the_names_of_other_programs_are_understood(word: str, precision: str) -> None:
    assert axis_settings([f"precision={word}"]) == (("precision", (Precision(precision),)),)


@pytest.mark.parametrize("word", ["amp", "half", "int8"])
def test_a_name_that_means_two_things_or_none_is_not(word: str) -> None:
    with pytest.raises(ConfigurationError, match="known: float32, tf32, bfloat16, float16"):
        axis_settings([f"precision={word}"])


#: What PRECISION can be where.
MATRIX = {
    (Framework.MXNET, "cpu(0)"): "float32 bfloat16",
    (Framework.MXNET, "gpu(0)"): "float32 tf32 float16",
    (Framework.TORCH, "cpu(0)"): "float32 bfloat16 float16",
    (Framework.TORCH, "gpu(0)"): "float32 tf32 bfloat16 float16",
    (Framework.JAX, "cpu(0)"): "float32 bfloat16",
    (Framework.JAX, "gpu(0)"): "float32 tf32 bfloat16 float16",
}


@pytest.mark.parametrize(("place", "words"), MATRIX.items(), ids=str)
def test_what_is_not_computed_there_is_refused_with_what_is(place: tuple[Framework, str], words: str) -> None:
    framework, device = place
    for precision in Precision:
        if str(precision) in words.split():
            assert a_scenario(precision, framework, device).precision is precision
        else:
            with pytest.raises(
                ConfigurationError, match=f"precision={precision}: .*: (on a CPU )?use precision="
            ) as caught:
                a_scenario(precision, framework, device)
            assert str(caught.value).rpartition("precision=")[2] in words.split()


def test_a_network_of_ones_own_has_no_numbers_to_be_checked_against() -> None:
    with pytest.raises(ConfigurationError, match=r"leave it out for 'my.nets:build'"):
        Scenario(network="my.nets:build", precision=Precision.BFLOAT16)


def test_float16_is_not_divided_by_the_batch_size() -> None:
    """Its smallest gradients would be zero."""
    with pytest.raises(ConfigurationError, match="use update=trainer"):
        Scenario(network="mlp", contexts=("gpu(0)",), precision=Precision.FLOAT16, update=Update.FLAT)


@pytest.mark.parametrize(
    ("scenario", "hardware", "reason"),
    [
        (a_scenario(Precision.FLOAT32), Hardware(("avx2",)), None),
        (a_scenario(Precision.BFLOAT16), Hardware(AVX512), None),
        (a_scenario(Precision.BFLOAT16), Hardware(()), None),  # not known: the probe will tell
        (a_scenario(Precision.BFLOAT16), Hardware(("avx2",)), "framework mxnet needs avx512bw, avx512vl, avx512dq"),
        (a_scenario(Precision.BFLOAT16, Framework.TORCH), Hardware(("avx2",)), "framework torch needs avx512bw"),
        (a_scenario(Precision.BFLOAT16, Framework.JAX), Hardware(("avx2",)), None),
        (a_scenario(Precision.FLOAT16, Framework.TORCH), Hardware(AVX512), "needs avx512_fp16 of the CPU"),
        (a_scenario(Precision.FLOAT16, Framework.TORCH), Hardware((*AVX512, "avx512_fp16")), None),
        (
            a_scenario(Precision.TF32, device="gpu(0)"),
            Hardware(AVX512, ("7.5",)),
            "of compute capability 8.0, and here",
        ),
        (a_scenario(Precision.TF32, device="gpu(0)"), Hardware((), ("8.6", "10.0")), None),
        (
            a_scenario(Precision.FLOAT16, device="gpu(0)"),
            Hardware((), ("5.2",)),
            "needs a card of compute capability 5.3",
        ),
        (a_scenario(Precision.BFLOAT16, Framework.JAX, "gpu(0)"), Hardware((), ("10.0",)), None),
    ],
    ids=str,
)
def test_what_the_hardware_lacks_is_said_before_the_run(
    scenario: Scenario, hardware: Hardware, reason: str | None
) -> None:
    found = missing_in(hardware, scenario)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(f"precision={scenario.precision}")
        assert found.endswith("; use precision=float32")
        assert reason in found


def test_a_user_decides_about_tf32_by_the_axis_alone() -> None:
    """NVIDIA's switch is set where it would change a row, and withheld where it would forbid what the row claims."""
    for users in ({}, {"NVIDIA_TF32_OVERRIDE": "0"}, {"NVIDIA_TF32_OVERRIDE": "1"}):
        given = {
            precision: worker_environment(users, worker_variables(1, precision=precision)).get("NVIDIA_TF32_OVERRIDE")
            for precision in Precision
        }
        assert given == {**dict.fromkeys(Precision, "0"), Precision.TF32: None}


def test_no_process_of_a_gate_or_a_search_has_two_precisions() -> None:
    """Some of a precision is the environment's, and what a framework was told once holds for its process."""
    scenarios = [a_scenario(Precision.FLOAT32), a_scenario(Precision.BFLOAT16)]
    grouped = by_variables([(scenario, 1) for scenario in (*scenarios, *scenarios)])
    assert [(variables[2], {*group}) for variables, group in grouped] == [
        (scenario.precision, {scenario}) for scenario in scenarios
    ]
    keys = {pool_key(Candidate(scenario=scenario, omp_num_threads=1)) for scenario in scenarios}
    assert len(keys) == len(scenarios)
