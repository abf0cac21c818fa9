"""Which runs learnt what they must."""

from __future__ import annotations

import math

import msgspec
import pytest

from bench.analysis import accuracy
from bench.analysis.accuracy import Band, Bands, Limits, LowerBand, UpperBand, band, built_in_bands, judge, updates
from bench.records.result import Run
from bench.scenarios.suite import BUILT_IN_SUITES, expand, load_suite
from mnist_core.recipe import Network, Recipe
from tests.support.executor import in_turns
from tests.support.predictions import a_prediction, a_stream
from tests.support.records import a_dataset, a_run, a_scenario, an_epoch

BANDS = Bands(
    targets={"mlp": 0.96},
    limits={
        "mlp": {
            "mnist": Limits(
                floor=(
                    LowerBand(samples=20_000, updates=200, lower=0.8, source="made up"),
                    LowerBand(samples=60_000, updates=6_000, lower=0.96, source="made up"),
                ),
                ceiling=UpperBand(upper=0.99, source="made up"),
            )
        }
    },
)


def a_partial_run(accuracy: float, *, samples: int = 20_000, epochs: int = 1) -> Run:
    return a_run(recipe=Recipe(epochs=epochs, samples=samples), accuracy=accuracy)


def test_a_run_below_its_band_is_told_so_in_one_line() -> None:
    """The line names accuracy, band, network, data set and the amount of training."""
    assert judge(a_run(accuracy=0.9312), a_dataset()) == (
        "accuracy 0.9312 is below the band 0.96..0.99 of mlp on mnist after 6,000 updates"
    )


def test_a_run_that_is_too_good_measured_something_else() -> None:
    """The ceiling applies however short the training was."""
    assert judge(a_partial_run(0.9951), a_dataset()) == (
        "accuracy 0.9951 is above the band 0.8..0.99 of mlp on mnist after 200 updates"
    )


@pytest.mark.parametrize(("accuracy", "valid"), [(0.9599, False), (0.96, True), (0.99, True), (0.9901, False)])
def test_the_ends_belong_to_the_band(accuracy: float, valid: bool) -> None:  # noqa: FBT001
    """Exactly the floor and exactly the ceiling are valid."""
    assert (judge(a_run(accuracy=accuracy), a_dataset(), BANDS) is None) is valid


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_invalid_whatever_the_accuracy(loss: float) -> None:
    """The run is invalid even when the loss was infinite in an earlier epoch alone."""
    run = a_run(epochs=(an_epoch(), an_epoch(last_batch_loss=loss), an_epoch()))
    assert judge(run, a_dataset()) == "the loss was not finite at the end of epoch 1"


def test_the_highest_floor_that_applies_counts() -> None:
    """Little training must reach the low floor, the whole recipe the high one."""
    assert Band(lower=0.8, upper=0.99) == band(a_partial_run(0.9), a_dataset(), BANDS)
    assert Band(lower=0.96, upper=0.99) == band(a_run(), a_dataset(), BANDS)


@pytest.mark.parametrize(
    ("run", "lower"),
    [
        (a_partial_run(0.5, samples=19_999, epochs=2), None),  # enough updates, too few images
        (a_partial_run(0.5, samples=20_000, epochs=1), 0.8),
        (a_partial_run(0.5, samples=20_000, epochs=100), 0.8),  # 20,000 updates on the same third of the images
        (a_run(scenario=a_scenario(batch_size=101), recipe=Recipe(epochs=1)), 0.8),
        (a_run(scenario=a_scenario(batch_size=500), recipe=Recipe(epochs=1)), None),  # 120 updates
        (a_run(scenario=a_scenario(batch_size=101)), 0.8),  # 5,950 updates
    ],
)
def test_a_floor_asks_for_both_images_and_updates(run: Run, lower: float | None) -> None:
    """With too few distinct images or too few updates a floor does not apply."""
    assert lower == band(run, a_dataset(), BANDS).lower


def test_a_recipe_asking_for_more_images_than_there_are_trained_on_all() -> None:
    """Distinct images are bounded by the data set."""
    run = a_partial_run(0.9, samples=80_000, epochs=10)
    assert band(run, a_dataset(), BANDS).lower == 0.96
    assert band(run, a_dataset(train_samples=50_000), BANDS).lower == 0.8


def test_a_partial_batch_is_an_update() -> None:
    """60,000 images in batches of 128 are 469 updates an epoch."""
    run = a_run(scenario=a_scenario(batch_size=128), recipe=Recipe(epochs=2))
    assert accuracy.updates(run) == 938


@pytest.mark.parametrize(
    ("network", "dataset"), [("zoo.nets:tiny", "mnist"), ("mlp", "custom"), ("mlp", "fashion-mnist")]
)
def test_what_has_no_band_is_not_judged(network: str, dataset: str) -> None:
    """A custom network, custom data, and data sets that were never measured have no band."""
    run = a_run(scenario=a_scenario(network), accuracy=0.2)  # above chance
    assert judge(run, a_dataset(name=dataset)) is None
    assert Band(lower=None, upper=None) == band(run, a_dataset(name=dataset))


def test_the_built_in_bands_hold_the_tutorials_accuracies() -> None:
    """They ask for 0.96 and 0.98 after ten epochs at batch 100, on MNIST and on the data set that stands in for it."""
    assert {network: accuracy.target(network) for network in Network} == {Network.MLP: 0.96, Network.LENET: 0.98}
    assert accuracy.target("zoo.nets:tiny") is None
    for network in Network:
        for dataset in ("mnist", "synthetic"):
            lower = band(a_run(scenario=a_scenario(str(network))), a_dataset(name=dataset)).lower
            assert lower == accuracy.target(network)


def test_the_built_in_bands_can_be_met() -> None:
    """No floor reaches a ceiling of the same network and data set, and every number names its source."""
    of_data_sets = [limits for networks in built_in_bands().limits.values() for limits in networks.values()]
    assert len(of_data_sets) == 4
    for limits in of_data_sets:
        assert limits.floor
        assert all(floor.source for floor in limits.floor)
        if limits.ceiling is not None:
            assert limits.ceiling.source
            assert all(floor.lower < limits.ceiling.upper for floor in limits.floor)


def test_a_band_with_an_unknown_or_impossible_field_is_refused() -> None:
    """A misspelt threshold must not silently judge nothing."""
    for wrong in ("uper = 0.99", "upper = 1.1", 'upper = "0.99"', 'upper = 0.99\nnetwork = "mlp"'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.toml.decode(f'[targets]\n[limits.mlp.mnist.ceiling]\nsource = "x"\n{wrong}\n', type=Bands)
    with pytest.raises(msgspec.ValidationError):
        msgspec.toml.decode("[targets]\n[limits.mlp.mnist.celing]\n", type=Bands)


def test_an_accuracy_on_a_part_of_the_test_images_may_be_off_by_chance() -> None:
    """By three standard errors: 1.3 points of 2,000 images at 0.96; what learnt nothing is still found."""
    assert judge(in_turns(a_run(accuracy=0.955), 0), a_dataset()) is None
    assert judge(in_turns(a_run(accuracy=0.94), 0), a_dataset()) is not None
    assert judge(in_turns(a_run(accuracy=0.999), 0), a_dataset()) is not None


def test_every_pass_of_a_turn_has_its_updates() -> None:
    """Two passes over 150 images at batch 100 are four updates, not three."""
    turn = msgspec.structs.replace(an_epoch(samples=300), passes=2)
    assert updates(a_run(recipe=Recipe(epochs=1, samples=150), epochs=(turn,))) == 4


@pytest.mark.parametrize(("accuracy", "is_valid"), [(0.1134, False), (0.12, False), (0.2, True)])
def test_a_custom_network_must_be_better_than_chance(accuracy: float, *, is_valid: bool) -> None:
    """It has no band, but what always answers with the same digit learned nothing, however fast it is."""
    run = a_run(scenario=a_scenario("my_nets:build"), accuracy=accuracy)
    reason = judge(run, a_dataset())
    assert (reason is None) is is_valid
    assert is_valid or "chance level" in str(reason)


@pytest.mark.parametrize("suite", BUILT_IN_SUITES)
def test_whatever_a_suite_trains_on_mnist_is_judged(suite: str) -> None:
    """Even where each turn is a single epoch: a row that nothing judges could have learned nothing."""
    for planned in dict.fromkeys(expand(load_suite(suite))):
        samples = planned.recipe.samples or 60_000
        epochs = tuple(an_epoch(samples=samples) for _ in range(planned.recipe.epochs))
        run = msgspec.structs.replace(a_run(scenario=planned.scenario, recipe=planned.recipe), epochs=epochs)
        is_judged = band(run, a_dataset(name="mnist")).lower is not None
        assert is_judged is planned.scenario.trains_as_one, f"{planned.scenario.name}, {updates(run)} updates"


@pytest.mark.parametrize(
    ("precision", "mismatches", "is_valid"),
    [("float32", 10, True), ("float32", 11, False), ("bfloat16", 100, True), ("bfloat16", 101, False)],
)
def test_what_predicts_other_digits_than_it_evaluates_is_invalid(
    precision: str, mismatches: int, *, is_valid: bool
) -> None:
    """Up to what rounding explains: one query in a thousand, and one in a hundred where numbers have 16 bits."""
    stream = a_stream(range(1, 10_001), mismatches=mismatches)
    run = a_run(scenario=a_scenario(precision=precision), accuracy=0.97, prediction=a_prediction(stream))
    found = judge(run, a_dataset())
    assert found is None if is_valid else f"{mismatches} of 10,000 images" in str(found)
