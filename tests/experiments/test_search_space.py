"""A search chooses from the whole product, with nothing twice, and only from what the machine can do."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ConfigurationError
from bench.experiments.tune.search_space import KNOBS, Placement, canonical, placements, position, search_space
from bench.scenarios.axes import RANK_AXES
from bench.scenarios.scenario import Scenario, tutorial_setting
from bench.scenarios.settings import axis_settings
from bench.scenarios.suite import Overrides
from mnist_core.recipe import Engine, Hybridize, Layers, Update
from tests.support.records import tuned


def space(network: str = "mlp", **wishes: object) -> tuple[Scenario, ...]:
    return search_space(network, 100, cores=2, gpus=(), overrides=Overrides(**wishes)).scenarios  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("network", "cores", "count"),
    [
        # 2 placements of one context x 4 executions x 2 pipelines x 2 metrics x 2 updates x 2 engines, and one of two
        # contexts with a third update.
        ("mlp", 2, 128 + 96),
        ("lenet", 2, 4 * (128 + 96)),
        ("package.module:factory", 2, 128 + 96),
        ("mlp", 1, 64),
    ],
)
def test_the_space_is_the_product_of_what_makes_a_difference(network: str, cores: int, count: int) -> None:
    """The numbers were counted by hand."""
    scenarios = search_space(network, 100, cores=cores, gpus=()).scenarios
    assert len(scenarios) == len({*scenarios}) == count


@given(cores=st.integers(1, 256), batch_size=st.integers(1, 300), gpus=st.integers(0, 8))
def test_no_placement_takes_more_threads_than_there_are_cores(cores: int, batch_size: int, gpus: int) -> None:
    """All of them are different, few, and one context on one thread is always among them."""
    found = placements(cores, [f"gpu({index})" for index in range(gpus)], batch_size)
    assert Placement(("cpu(0)",), 1) in found
    assert Placement(("cpu(0)",), cores) in found
    assert len({*found}) == len(found) <= 20
    for each in found:
        assert len(each.contexts) <= batch_size
        if each.cpu_threads is not None:
            assert len(each.contexts) * each.cpu_threads <= cores


def test_gpus_are_tried_alone_and_all_together() -> None:
    """They take no threads."""
    found = {(each.contexts, each.cpu_threads) for each in placements(1, ("gpu(0)", "gpu(1)"), 100)}
    assert found == {(("cpu(0)",), 1), (("gpu(0)",), None), (("gpu(0)", "gpu(1)"), None)}
    assert sum(each.contexts == ("gpu(0)",) for each in placements(1, ("gpu(0)",), 100)) == 1


@pytest.mark.parametrize(
    ("floats", "filled"), [(16, {Layers.PADDED}), (8, {Layers.PADDED_8}), (1, set[Layers]())], ids=str
)
def test_the_tutorials_loop_and_the_tuned_one_are_in_it(floats: int, filled: set[Layers]) -> None:
    """They are there under the names that the space has for them; channels are filled up as this CPU needs it."""
    for network in ("mlp", "lenet"):
        whole = search_space(network, 100, cores=2, gpus=(), vector_floats=floats)
        assert whole.reference == canonical(tutorial_setting(network), 2)
        assert whole.reference in whole.scenarios
        assert canonical(tuned(network, floats), 2) in whole.scenarios
    unfilled = {Layers.TUTORIAL, Layers.ACTIVATION, Layers.POOL_FIRST}
    assert {each.layers for each in whole.scenarios} == unfilled | filled


def test_what_has_no_effect_is_as_the_tutorial_has_it() -> None:
    """One context has no store, a flat update uses none, and a GPU has no OpenMP threads of its own."""
    one = Scenario(network="mlp", contexts=("cpu(0)",), update_on_kvstore=False)
    assert canonical(one, 4) == Scenario(network="mlp", contexts=("cpu(0)",), cpu_threads=4)
    flat = Scenario(network="mlp", update=Update.FLAT, update_on_kvstore=False)
    assert canonical(flat, 4) == Scenario(network="mlp", update=Update.FLAT, cpu_threads=2)
    two = Scenario(network="mlp", update_on_kvstore=False, cpu_threads=1)
    assert canonical(two, 4) == two
    assert canonical(Scenario(network="mlp", contexts=("gpu(0)",), cpu_threads=3), 4).cpu_threads is None


def test_wishes_narrow_an_axis_or_add_to_it() -> None:
    """They do so as for a suite."""
    assert {each.hybridize for each in space(hybridize=(Hybridize.OFF,))} == {Hybridize.OFF}
    assert {each.engine for each in space(settings=axis_settings(["engine=naive"]))} == {Engine.NAIVE}
    assert {each.cpu_threads for each in space(contexts=("cpu(0)",))} == {1, 2}
    assert {each.contexts for each in space(contexts=("cpu(0),cpu(1),cpu(2)",))} == {("cpu(0)", "cpu(1)", "cpu(2)")}
    stores = {str(each.kvstore) for each in space(settings=axis_settings(["kvstore=local,device"]))}
    assert stores == {"local", "device"}


def test_impossible_wishes_are_one_clear_line() -> None:
    """The scenario that cannot be gives it."""
    with pytest.raises(ConfigurationError, match="lenet's alone"):
        space(settings=axis_settings(["layers=padded"]))
    with pytest.raises(ConfigurationError, match="smaller than the number of contexts"):
        search_space("mlp", 1, cores=2, gpus=())


def test_positions_tell_all_settings_apart() -> None:
    """Every axis of a scenario belongs to one knob, but for what a search holds fixed."""
    scenarios = space("lenet")
    assert len({position(each) for each in scenarios}) == len(scenarios)
    axes = [*itertools.chain(*KNOBS.values())]
    assert {*axes, *RANK_AXES, "framework", "network", "batch_size"} == {*Scenario.__struct_fields__}
    assert len(axes) == len({*axes})
