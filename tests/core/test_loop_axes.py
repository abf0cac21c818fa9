"""The parts of a loop are axes: named loops, suites and options choose them, and few words tell them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.errors import ConfigurationError
from bench.scenarios.axes import LOOP_AXES, Framework, LoopName, preset
from bench.scenarios.scenario import Scenario, tutorial_setting
from bench.scenarios.settings import axis_settings
from bench.scenarios.suite import Overrides, expand, load_suite, override, parse_suite
from bench.worker.backends import base
from bench.worker.backends.mxnet import ExchangedLoopWorkload, TutorialWorkload
from bench.worker.environment import WITHHELD, worker_environment, worker_variables
from mnist_core.idx import Split
from mnist_core.recipe import (
    Engine,
    Hybridize,
    InputPipeline,
    Kvstore,
    Layers,
    Loop,
    MetricSync,
    Network,
    Recipe,
    Update,
)
from tests.support.records import tuned

pytestmark = pytest.mark.system


def scenarios_of(text: str, **wishes: tuple[object, ...]) -> list[Scenario]:
    """Return the scenarios of one matrix, given as TOML."""
    suite = parse_suite(f'title = "one"\n[[matrix]]\n{text}\n', where="here")
    return [planned.scenario for planned in expand(override(suite, Overrides(**wishes)))]  # type: ignore[arg-type]


def test_the_tuned_loop_is_one_name_wherever_a_scenario_is() -> None:
    """It is known in a suite, on the command line, and in the names that -k searches."""
    assert scenarios_of('network = ["lenet"]\nloop = ["tuned"]') == [tuned("lenet")]
    assert scenarios_of('network = ["lenet", "mlp"]', loop=(LoopName.TUNED,)) == [tuned("lenet"), tuned("mlp")]
    assert scenarios_of('network = ["mlp"]', loop=(LoopName.TUTORIAL,)) == [tutorial_setting("mlp")]
    assert tuned("lenet").name.endswith(" tuned")
    assert "tuned" not in tutorial_setting("lenet").name


def test_a_written_axis_wins_over_the_loops_own() -> None:
    """One part of the tuned loop is put back, and the others stay."""
    (put_back,) = scenarios_of('network = ["mlp"]\nloop = ["tuned"]\nupdate = ["trainer"]')
    assert put_back == msgspec.structs.replace(tuned("mlp"), update=Update.TRAINER)
    assert put_back.loop_summary == "tuned update=trainer"


@pytest.mark.parametrize(
    ("floats", "layers", "words"),
    [
        (16, Layers.PADDED, "tuned"),
        (8, Layers.PADDED_8, "tuned layers=padded_8"),
        (1, Layers.POOL_FIRST, "tuned layers=pool_first"),
    ],
)
def test_the_tuned_lenet_goes_by_the_cpu_that_measures(floats: int, layers: Layers, words: str) -> None:
    """Its words go by the scenario alone: each machine reads the same in a file, and two fills have two names."""
    matrices = '[[matrix]]\nnetwork = ["mlp"]\nloop = ["tuned"]\n[[matrix]]\nnetwork = ["lenet"]\nloop = ["tuned"]\n'
    suite = parse_suite(f'title = "two"\n{matrices}', where="here")
    mlp, lenet = (planned.scenario for planned in expand(suite, vector_floats=floats))
    assert (lenet, lenet.loop_summary) == (msgspec.structs.replace(tuned("lenet"), layers=layers), words)
    assert (mlp, mlp.loop_summary) == (tuned("mlp"), "tuned")
    chosen = override(suite, Overrides(settings=axis_settings([f"layers={layers}"])), floats)
    assert [planned.scenario for planned in expand(chosen, vector_floats=floats)] == [lenet]


def test_on_a_gpu_the_tuned_loop_keeps_the_threaded_engine() -> None:
    """It does not pad either, which oneDNN alone needs."""
    (on_gpu,) = scenarios_of('network = ["lenet"]\nloop = ["tuned"]\ncontexts = ["gpu(0)"]')
    assert (on_gpu.engine, on_gpu.layers, on_gpu.update) == (Engine.THREADED, Layers.POOL_FIRST, Update.FLAT)
    assert on_gpu.loop_summary == "tuned"


def test_the_loop_is_told_in_the_fewest_words() -> None:
    """Different loops of a network have different words, and the nearer of the two names stands first."""
    axes: dict[str, Iterable[Any]] = {
        "input_pipeline": InputPipeline,
        "metric_sync": MetricSync,
        "layers": (Layers.TUTORIAL, Layers.PADDED),
        "update": Update,
        "kvstore": Kvstore,
        "update_on_kvstore": (True, False),
        "engine": Engine,
    }
    assert tuple(axes) == LOOP_AXES
    every = [
        Scenario(network="lenet", **dict(zip(axes, values, strict=True)))
        for values in itertools.product(*axes.values())
    ]
    words = [scenario.loop_summary for scenario in every]
    assert len({*words}) == len(every)
    assert max(len(each.split()) for each in words) <= 5
    assert Scenario(network="mlp", engine=Engine.NAIVE).loop_summary == "tutorial engine=naive"


def test_flags_choose_parts_of_the_loop() -> None:
    settings = axis_settings(["update=flat,trainer", "update_on_kvstore=false"])
    assert settings == (("update", (Update.FLAT, Update.TRAINER)), ("update_on_kvstore", (False,)))
    chosen = scenarios_of('network = ["mlp"]', settings=settings)
    assert [(each.update, each.update_on_kvstore) for each in chosen] == [(Update.FLAT, False), (Update.TRAINER, False)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("updte=flat", "did you mean 'update'"),
        ("update", "trainer, flat"),
        ("update=", "trainer, flat"),
        ("update=flat,", "trainer, flat"),
        ("update_on_kvstore=maybe", "true, false"),
        ("batch_size=3", "known: input_pipeline"),
    ],
)
def test_a_wrong_flag_gives_one_line(text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        axis_settings([text])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_layers_are_the_lenets_alone() -> None:
    with pytest.raises(ConfigurationError, match="the lenet's alone"):
        Scenario(network="mlp", layers=Layers.PADDED)
    with pytest.raises(ConfigurationError, match="none of mxnet's"):
        Scenario(network="lenet", layers=Layers.CHANNELS_LAST)
    with pytest.raises(ConfigurationError, match="none of mxnet's"):
        Scenario(network="lenet", hybridize=Hybridize.JIT)


def test_every_part_of_a_loop_is_an_axis() -> None:
    """A scenario can name what the core can exchange. The engine is chosen before MXNet is there."""
    parts = {field for field in Loop.__dataclass_fields__ if field != "hybridize"}
    assert parts | {"engine"} == {*LOOP_AXES, "precision"}
    scenario = tuned("lenet")
    assert {name: getattr(scenario.loop, name) for name in parts} == {name: getattr(scenario, name) for name in parts}
    assert scenario.loop.hybridize is scenario.hybridize


def test_the_engine_is_the_workers_variable() -> None:
    assert worker_variables(2, Engine.NAIVE)["MXNET_ENGINE_TYPE"] == "NaiveEngine"
    assert worker_variables(2, Engine.THREADED)["MXNET_ENGINE_TYPE"] == "ThreadedEnginePerDevice"


def test_what_a_scenario_names_is_enforced() -> None:
    """A row that says threaded, so many threads or compiled was so, whatever the caller's variables say."""
    callers = {
        "MXNET_ENGINE_TYPE": "NaiveEngine",
        "MXNET_UPDATE_ON_KVSTORE": "0",
        "OMP_NUM_THREADS": "7",
        "PATH": "/bin",
        **dict.fromkeys(WITHHELD, "1"),
    }
    given = worker_environment(callers, worker_variables(2))
    assert given == {**worker_variables(2), "PATH": "/bin"}
    assert (given["MXNET_ENGINE_TYPE"], given["MXNET_UPDATE_ON_KVSTORE"]) == ("ThreadedEnginePerDevice", "1")


@pytest.mark.parametrize("floats", [16, 8, 1])
def test_the_ablation_exchanges_one_part_at_a_time(floats: int) -> None:
    """Each scenario is one of the two loops, or differs from one in one axis; threads go with contexts."""
    loops = {network: (tutorial_setting(network), tuned(network, floats)) for network in Network}
    seen = {planned.scenario for planned in expand(load_suite("ablation"), vector_floats=floats)}
    for scenario in seen:
        differences = [
            {field for field in scenario.__struct_fields__ if getattr(scenario, field) != getattr(loop, field)}
            for loop in loops[Network(scenario.network)]
        ]
        assert any(len(each - {"cpu_threads"}) <= 1 for each in differences), scenario.name
    for network in Network:
        tutorial, best = loops[network]
        assert {tutorial, best} <= seen
        if network is Network.LENET:  # what the CPU decides is shown on every one
            assert {msgspec.structs.replace(best, layers=each) for each in (Layers.PADDED_8, Layers.PADDED)} <= seen
        for axis in preset(Framework.MXNET, network, LoopName.TUNED, ()).keys() - {"cpu_threads"}:
            exchanged = msgspec.structs.replace(tutorial, **{axis: getattr(best, axis)})
            put_back = msgspec.structs.replace(best, **{axis: getattr(tutorial, axis)})
            assert put_back in seen
            assert axis == "contexts" or exchanged in seen


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, TutorialWorkload),
        ({"hybridize": Hybridize.STATIC}, TutorialWorkload),
        ({"engine": Engine.NAIVE}, TutorialWorkload),
        ({"hybridize": Hybridize.BOUND}, ExchangedLoopWorkload),
        ({"update": Update.FLAT}, ExchangedLoopWorkload),
        ({"kvstore": Kvstore.LOCAL}, ExchangedLoopWorkload),
    ],
)
def test_the_tutorials_own_loop_trains_what_it_can(changes: dict[str, object], kind: type, a_split: Split) -> None:
    made = base.create_workload(msgspec.structs.replace(tutorial_setting("mlp"), **changes), Recipe(), a_split)
    assert type(made) is kind


@pytest.fixture
def a_split() -> Split:
    return Split(np.zeros((10, 28, 28), np.uint8), np.zeros(10, np.uint8))
