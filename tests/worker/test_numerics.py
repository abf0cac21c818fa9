"""A process shows what precision it computes in, before it is measured, and is left as it was."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from bench.records.result import FailureReason, Numerics
from bench.scenarios.scenario import Scenario
from bench.worker import main
from bench.worker.backends.base import Workload, create_workload
from bench.worker.measure import exact, numerics
from bench.worker.measure.run import SessionServer
from bench.worker.protocol.base import NumericsError
from bench.worker.protocol.commands import SetUp
from bench.worker.protocol.replies import FailureReply, RunReply, SetUpDone
from bench.worker.protocol.requests import RunRequest, SessionRequest
from mnist_core import datasets, networks
from mnist_core.datasets import DatasetName
from mnist_core.idx import Split
from mnist_core.recipe import Hybridize, InputPipeline, Layers, Network, Precision, Recipe, Update
from tests.support.idx_files import small_idx_folder
from tests.support.ranks import of_torch
from tests.support.records import a_dataset, tuned

#: Scores and gradients of MXNet's loops, at batch 100; of TF32 an eighth of bfloat16's, which has 3 bits less.
TYPICAL = {
    Precision.FLOAT32: (4e-7, 1e-6),
    Precision.TF32: (7e-4, 3e-3),
    Precision.BFLOAT16: (5e-3, 3e-2),
    Precision.FLOAT16: (7e-4, 3e-3),
}


def errors(precision: Precision, claimed: Precision) -> Numerics:
    """Return what a process finds that computes in one precision and claims another."""
    scores, gradient = TYPICAL[precision]
    return Numerics(precision=claimed, images=100, scores_error=scores, gradient_error=gradient)


@pytest.mark.parametrize("precision", Precision)
def test_a_precision_in_effect_is_within_its_band(precision: Precision) -> None:
    numerics.check(errors(precision, precision))


@pytest.mark.parametrize(
    ("computed", "claimed", "words"),
    [
        (Precision.FLOAT32, Precision.BFLOAT16, "precision=bfloat16 is not in effect: the scores of 100 images"),
        (Precision.FLOAT32, Precision.TF32, "not in effect"),
        (Precision.FLOAT32, Precision.FLOAT16, "not in effect"),
        (Precision.FLOAT16, Precision.BFLOAT16, "not in effect"),
        (Precision.BFLOAT16, Precision.FLOAT32, "precision=float32 is claimed, and what was computed is less precise"),
        (Precision.TF32, Precision.FLOAT32, "less precise"),
        (Precision.BFLOAT16, Precision.FLOAT16, "less precise"),
    ],
)
def test_another_precision_is_told_from_it(computed: Precision, claimed: Precision, words: str) -> None:
    with pytest.raises(NumericsError, match=words):
        numerics.check(errors(computed, claimed))


def test_a_gradient_alone_can_give_it_away() -> None:
    """A backward pass may be computed otherwise than the forward one."""
    found = msgspec.structs.replace(errors(Precision.BFLOAT16, Precision.BFLOAT16), gradient_error=1e-6)
    with pytest.raises(NumericsError, match="not in effect: the gradient of 100 images"):
        numerics.check(found)


def test_parts_of_the_images_add_up_to_all_of_them() -> None:
    """More images than are computed at a time have the same scores, and the gradient of their mean loss."""
    generator = np.random.default_rng(0)
    shapes = ((128, 784), (128,), (64, 128), (64,), (10, 64), (10,))
    weights = [generator.normal(0, 0.05, shape).astype(np.float32) for shape in shapes]
    images = generator.random((120, 1, 28, 28), np.float32)
    labels = generator.integers(0, 10, 120)
    whole = exact.evaluate(Network.MLP, weights, images, labels)
    layers = exact.layers(weights)
    expected = exact.gradients(Network.MLP, layers, images.astype(np.float64), labels)
    np.testing.assert_allclose(whole.gradient, np.concatenate([each.ravel() for layer in expected for each in layer]))
    np.testing.assert_allclose(whole.scores, exact.forward(Network.MLP, layers, images.astype(np.float64)))


@pytest.mark.parametrize(
    ("scenario", "images"),
    [
        (Scenario(network="lenet", batch_size=500, contexts=("cpu(0)",)), 20),
        (Scenario(network="lenet", batch_size=500, contexts=("cpu(0)", "cpu(1)")), 40),
        (Scenario(network="lenet", batch_size=10), 10),
        (Scenario(network="lenet", batch_size=500, contexts=("gpu(0)",)), 500),
        (of_torch(network="lenet", batch_size=500), 500),
    ],
    ids=lambda given: given.name if isinstance(given, Scenario) else str(given),
)
def test_few_images_are_probed_where_their_number_changes_nothing(scenario: Scenario, images: int) -> None:
    """On a GPU, and where each number is compiled, it is those that a step trains on."""
    assert min(scenario.batch_size, numerics._most_images(scenario)) == images


# --- MXNet's own ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> datasets.Prepared:
    folder = small_idx_folder(tmp_path_factory.mktemp("data"), train=120, test=50)
    return datasets.obtain(DatasetName.AUTO, data_dir=folder, environ={})


@pytest.fixture
def train(prepared: datasets.Prepared) -> Split:
    return datasets.load(prepared.directory, digest=prepared.digest)[0]


def built(scenario: Scenario, train: Split) -> Workload:
    """Return a network after its first step, as the probe meets it."""
    workload = create_workload(scenario, Recipe(), train)
    workload.build()
    workload.set_learning_rate(0.0)
    workload.train_throwaway_batch(scenario.batch_size)
    return workload


def loops(network: str, **parts: object) -> Scenario:
    return Scenario(network=network, batch_size=40, **parts)  # type: ignore[arg-type]


@pytest.mark.system
@pytest.mark.parametrize(
    "scenario",
    [
        loops("mlp"),
        loops("lenet", hybridize=Hybridize.ON),
        loops("mlp", hybridize=Hybridize.STATIC, input_pipeline=InputPipeline.RESIDENT),
        loops("lenet", hybridize=Hybridize.BOUND, update=Update.FLAT, layers=Layers.PADDED),
    ],
    ids=lambda scenario: scenario.name,
)
@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16])
def test_a_probe_leaves_the_training_as_it_was(scenario: Scenario, precision: Precision, train: Split) -> None:
    """Whoever keeps a copy of the weights, a store or an array of all of them, has the initial ones again."""
    scenario = msgspec.structs.replace(scenario, precision=precision)
    trained = []
    for is_probed in (True, False):
        workload = built(scenario, train)
        if is_probed:
            found = numerics.probe(workload, scenario, train, scenario.batch_size, is_rank=False)
            assert found is not None
            assert (found.precision, found.images) == (precision, 20 * len(scenario.contexts))
        workload.set_learning_rate(0.1)
        workload.prepare()
        workload.train_epoch()
        trained.append(workload.weights())
    for probed, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(probed, other)


@pytest.mark.system
@pytest.mark.parametrize("network", ["mlp", "lenet"])
def test_a_precision_that_mxnet_ignores_is_not_in_effect(
    network: str, prepared: datasets.Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a run that is alone nor one that takes turns gives a speed then; without the fault both do."""
    dataset = a_dataset(name="custom", digest=prepared.digest, train_samples=120, test_samples=50)
    scenario = msgspec.structs.replace(tuned(network), precision=Precision.BFLOAT16)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = RunRequest(scenario, Recipe(epochs=1), 0, str(prepared.directory), dataset, 1)
    session = SessionRequest(str(prepared.directory), dataset, 50, Recipe().seed, 1, precision=Precision.BFLOAT16)

    def replies() -> tuple[object, object]:
        server = main.handle_request(msgspec.json.encode(session), lambda _event: None)
        assert isinstance(server, SessionServer)
        return (
            main.handle_request(msgspec.json.encode(alone), lambda _event: None),
            main.handle_command(server, msgspec.json.encode(SetUp(scenario, 120))),
        )

    run, set_up = replies()
    assert isinstance(run, RunReply)
    assert isinstance(set_up, SetUpDone)
    assert run.run.numerics == set_up.numerics is not None
    monkeypatch.setattr(networks, "COMPUTED_IN", {})
    for reply in replies():
        assert isinstance(reply, FailureReply)
        assert reply.reason is FailureReason.PRECISION_NOT_IN_EFFECT
        assert reply.detail.startswith("precision=bfloat16 is not in effect: the scores of 20 images")
