"""PyTorch and JAX compute in the precision that is asked for, where they are installed, and are caught where not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.machine.capture import capture
from bench.scenarios.axes import Exchange, Framework
from bench.scenarios.precision import Hardware, missing_in
from bench.scenarios.scenario import Scenario
from mnist_core.recipe import Hybridize, Layers, Network, Precision, Update
from tests import ROOT
from tests.system.test_peers import a_peers_scenario, python_of
from tests.system.test_ranks import train

pytestmark = pytest.mark.system

PEERS = (Framework.TORCH, Framework.JAX)


def case(framework: Framework, network: Network, precision: Precision, **axes: Any) -> Scenario:  # noqa: ANN401  # axes
    return a_peers_scenario(framework, str(network), precision=precision, batch_size=100, **axes)


def cases(framework: Framework) -> list[Scenario]:
    """Return every way to compute in another type, and in float32 the batch of the suites in full size."""
    bfloat16, float16 = Precision.BFLOAT16, Precision.FLOAT16
    last: dict[str, Any] = {"layers": Layers.CHANNELS_LAST}
    lenet = Network.LENET
    if framework is Framework.JAX:
        scan: dict[str, Any] = {"hybridize": Hybridize.SCAN}
        return [
            case(framework, Network.MLP, bfloat16),
            case(framework, lenet, bfloat16),
            case(framework, lenet, bfloat16, **last, **scan),
            case(framework, lenet, Precision.FLOAT32),
        ]
    compiled: dict[str, Any] = {"hybridize": Hybridize.COMPILE}
    return [
        case(framework, lenet, bfloat16),
        case(framework, lenet, bfloat16, **last, update=Update.FLAT),
        case(framework, Network.MLP, bfloat16, **compiled),
        case(framework, Network.MLP, bfloat16, **compiled, update=Update.FLAT),
        case(framework, Network.MLP, float16),
        case(framework, Network.MLP, float16, update=Update.FLAT),
        case(framework, lenet, Precision.FLOAT32),
    ]


def possible(scenarios: list[Scenario]) -> list[Scenario]:
    """Leave out what this CPU has no instructions for."""
    here = Hardware(capture().host_processor_instruction_sets)
    return [scenario for scenario in scenarios if missing_in(here, scenario) is None]


def faults(folder: Path, scenarios: list[Scenario], *words: str) -> dict[str, str]:
    """Return, for each scenario by name, why its precision is not in effect; "": it is."""
    (folder / "scenarios.json").write_bytes(msgspec.json.encode(scenarios))
    command = [python_of(scenarios[0].framework), "-m", "tests.support.numerics_process"]
    command += [*map(str, (folder / "scenarios.json", folder / "answers.json")), *words]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, cwd=ROOT, env=variables)
    answers = msgspec.json.decode((folder / "answers.json").read_bytes(), type=list[str])
    return {scenario.name: answer for scenario, answer in zip(scenarios, answers, strict=True)}


@pytest.mark.parametrize("framework", PEERS)
def test_scores_and_gradient_are_as_exact_as_the_precision(framework: Framework, tmp_path: Path) -> None:
    """Both are within its band of float64's, and the probe leaves the weights as they were, to the last bit."""
    found = faults(tmp_path, possible(cases(framework)))
    assert {name: fault for name, fault in found.items() if fault} == {}


@pytest.mark.parametrize("framework", PEERS)
def test_a_precision_that_is_ignored_is_caught(framework: Framework, tmp_path: Path) -> None:
    """Else a row would be called bfloat16 that was computed in float32."""
    scenarios = possible([case(framework, Network.MLP, Precision.BFLOAT16)])
    for fault in faults(tmp_path, scenarios, "ignored").values():
        assert fault.startswith("precision=bfloat16 is not in effect: ")


@pytest.mark.parametrize("framework", PEERS)
def test_ranks_in_bfloat16_have_the_same_weights(framework: Framework, tmp_path: Path) -> None:
    """Their gradients are float32 when they are added up, and a learning rate of 0 leaves the weights alone."""
    updates = (Update.TRAINER, Update.FLAT) if framework is Framework.TORCH else (Update.TRAINER,)
    axes: dict[str, Any] = {"precision": Precision.BFLOAT16, "ranks": 2, "exchange": Exchange.GLOO}
    scenarios = possible([a_peers_scenario(framework, update=update, **axes) for update in updates])
    for first, second in train(tmp_path / "ranks", scenarios, 2) if scenarios else []:
        assert str(first.digest) == str(second.digest)
        assert first.left_alone
        assert float(first.loss) + float(second.loss) < 10
