"""The exchangeable loop trains what the tutorial's loop trains: same order, same weights, for every exchange."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_core import networks, training
from mnist_core.idx import Split
from mnist_core.loop import Training
from mnist_core.mxnet_border import autograd, gluon, mx, nd
from mnist_core.networks import Block
from mnist_core.parts.updates import lay_flat
from mnist_core.recipe import (
    Hybridize,
    InputPipeline,
    Kvstore,
    Layers,
    Loop,
    MetricSync,
    Network,
    Precision,
    Recipe,
    Update,
)

pytestmark = pytest.mark.system

#: Four whole batches and one of two images, which leaves the third of three contexts without.
SAMPLES, BATCH_SIZE = 34, 8
MODES = (Hybridize.OFF, Hybridize.ON, Hybridize.STATIC, Hybridize.BOUND)
LENETS = (Layers.TUTORIAL, Layers.ACTIVATION, Layers.POOL_FIRST, Layers.PADDED_8, Layers.PADDED)
#: Weights are of the order of 0.1 and an update of 0.01: the rounding of a few updates is below this.
TOLERANCE = 1e-6


def images(samples: int = SAMPLES) -> Split:
    """Return noise: what is learnt does not matter, only that it is the same."""
    random = np.random.RandomState(5)
    pixels = random.randint(0, 256, (samples, 28, 28)).astype(np.uint8)
    return Split(pixels, random.randint(0, 10, samples).astype(np.uint8))


def weights(net: Block) -> list[NDArray[np.float32]]:
    """Return the weights of the last context."""
    return [each.data(each.list_ctx()[-1]).asnumpy() for each in net.collect_params().values()]


class Trained:
    """What two epochs of a loop made."""

    def __init__(self, net: Block, train_epoch: Callable[[], training.TrainedEpoch]) -> None:
        epochs, self.losses = [], []
        for _ in range(2):
            epochs.append(train_epoch())
            self.losses.append(epochs[-1].last_batch_loss())
        self.weights = weights(net)
        self.samples = [epoch.samples for epoch in epochs]
        self.accuracies = [epoch.train_accuracy for epoch in epochs]


def by_the_tutorial(network: str, contexts: int, train: Split) -> Trained:
    """Train by the tutorial's own loop."""
    devices = [mx.cpu(index) for index in range(contexts)]
    training.seed_everything(Recipe().seed)
    net = networks.build(network, Hybridize.OFF)
    training.initialize(net, devices, Recipe())
    trainer = training.make_trainer(net, Recipe())
    batches = training.training_batches(training.as_input(train.images), train.labels, BATCH_SIZE)
    return Trained(net, lambda: training.train_epoch(net, batches, trainer, devices))


def by(network: str, contexts: int, train: Split, **parts: Any) -> Trained:  # noqa: ANN401  # the parts of a loop
    """Train by the exchangeable loop, warmed up as the harness does."""
    devices = [mx.cpu(index) for index in range(contexts)]
    trained = Training(network, Loop(**parts), devices, BATCH_SIZE, Recipe(), train)
    trained.set_learning_rate(0.0)
    for size in (BATCH_SIZE, 2):
        trained.train_throwaway_batch(size)
    trained.set_learning_rate(Recipe().learning_rate)
    trained.prepare()
    return Trained(trained.net, trained.train_epoch)


def assert_same(contender: Trained, reference: Trained) -> None:
    """Compare two trainings. A padded network has more weights, and those beyond the reference's must be zeros."""
    for mine, theirs in zip(contender.weights, reference.weights, strict=True):
        common = tuple(slice(0, size) for size in theirs.shape)
        np.testing.assert_allclose(mine[common], theirs, rtol=0, atol=TOLERANCE)
        rest = mine.copy()
        rest[common] = 0
        assert not rest.any()
    assert contender.samples == reference.samples == [SAMPLES, SAMPLES]
    assert contender.accuracies == reference.accuracies
    np.testing.assert_allclose(contender.losses, reference.losses, rtol=1e-4)


@pytest.fixture(scope="module")
def references() -> dict[tuple[str, int], Trained]:
    return {
        (network, contexts): by_the_tutorial(network, contexts, images())
        for network in (Network.MLP, Network.LENET)
        for contexts in (1, 3)
    }


@pytest.mark.parametrize("contexts", [1, 3])
@pytest.mark.parametrize("hybridize", MODES)
@pytest.mark.parametrize("update", Update)
def test_every_combination_of_an_mlps_loop_trains_the_same(
    contexts: int, hybridize: Hybridize, update: Update, references: dict[tuple[str, int], Trained]
) -> None:
    for pipeline, metric, kvstore, on_kvstore in itertools.product(InputPipeline, MetricSync, Kvstore, (True, False)):
        parts = {"input_pipeline": pipeline, "metric_sync": metric, "kvstore": kvstore, "update_on_kvstore": on_kvstore}
        contender = by(Network.MLP, contexts, images(), hybridize=hybridize, update=update, **parts)
        assert_same(contender, references[Network.MLP, contexts])


@pytest.mark.parametrize("contexts", [1, 3])
@pytest.mark.parametrize("hybridize", MODES)
@pytest.mark.parametrize("layers", LENETS)
def test_every_way_to_write_the_lenet_trains_the_same(
    contexts: int, hybridize: Hybridize, layers: Layers, references: dict[tuple[str, int], Trained]
) -> None:
    for update, pipeline in itertools.product(Update, InputPipeline):
        parts = {"update": update, "input_pipeline": pipeline, "metric_sync": MetricSync.EPOCH}
        contender = by(Network.LENET, contexts, images(), hybridize=hybridize, layers=layers, **parts)
        assert_same(contender, references[Network.LENET, contexts])


@pytest.mark.parametrize("hybridize", MODES)
@pytest.mark.parametrize(
    ("network", "layers"),
    [(Network.MLP, Layers.TUTORIAL), (Network.LENET, Layers.TUTORIAL), (Network.LENET, Layers.PADDED)],
)
def test_bfloat16_rounds_and_trains_the_same_otherwise(
    network: Network, layers: Layers, hybridize: Hybridize, references: dict[tuple[str, int], Trained]
) -> None:
    """Weights stay float32, and end no farther away than rounding to 2^-9 in ten updates on noise lets them."""
    reference = references[network, 1].weights
    for update in Update:
        parts = {"layers": layers, "hybridize": hybridize, "update": update, "precision": Precision.BFLOAT16}
        trained = by(network, 1, images(), **parts).weights
        own = [mine[tuple(map(slice, theirs.shape))] for mine, theirs in zip(trained, reference, strict=True)]
        assert {each.dtype for each in own} == {np.dtype(np.float32)}
        ends, exact_ends = (np.concatenate([each.ravel() for each in arrays]) for arrays in (own, reference))
        assert 1e-4 < np.linalg.norm(ends - exact_ends) / np.linalg.norm(exact_ends) < 1e-1


@pytest.mark.parametrize("hybridize", MODES)
@pytest.mark.parametrize("update", Update)
def test_a_learning_rate_of_zero_leaves_every_weight_as_it_was(hybridize: Hybridize, update: Update) -> None:
    """That holds to the last bit, for the zeros of a padded network, too."""
    parts = Loop(hybridize=hybridize, update=update, layers=Layers.PADDED)
    trained = Training(Network.LENET, parts, [mx.cpu(0), mx.cpu(1)], BATCH_SIZE, Recipe(), images())
    before = weights(trained.net)
    trained.set_learning_rate(0.0)
    trained.train_throwaway_batch(BATCH_SIZE)
    for mine, theirs in zip(weights(trained.net), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("hybridize", MODES)
def test_the_network_evaluates_what_the_loop_trained(hybridize: Hybridize) -> None:
    """Flat and bound arrays are the network's own, so its accuracy on the training images is not the initial one."""
    train = images()
    parts = Loop(hybridize=hybridize, input_pipeline=InputPipeline.RESIDENT, update=Update.FLAT)
    trained = Training(Network.MLP, parts, [mx.cpu()], BATCH_SIZE, Recipe(), train)
    trained.prepare()
    for _ in range(60):
        learnt = trained.train_epoch()
    batches = training.evaluation_batches(training.as_input(train.images), train.labels, BATCH_SIZE)
    assert learnt.train_accuracy > 0.9
    assert training.evaluate(trained.net_to_evaluate(), batches, [mx.cpu()]) > 0.9


@pytest.mark.parametrize("hybridize", MODES)
@pytest.mark.parametrize("update", Update)
def test_evaluating_changes_nothing(hybridize: Hybridize, update: Update) -> None:
    """A convolution's inference reorders its weights; in one flat array they would end up among all the others."""
    train = images()
    parts = Loop(hybridize=hybridize, update=update, layers=Layers.PADDED)
    contexts = [mx.cpu(0), mx.cpu(1)]
    trained = Training(Network.LENET, parts, contexts, BATCH_SIZE, Recipe(), train)
    trained.prepare()
    for _ in range(2):
        trained.train_epoch()
        before = weights(trained.net)
        batches = training.evaluation_batches(training.as_input(train.images), train.labels, BATCH_SIZE)
        accuracies = [training.evaluate(trained.net_to_evaluate(), batches, contexts) for _ in range(2)]
        for mine, theirs in zip(weights(trained.net), before, strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert accuracies[0] == accuracies[1]
        for mine, theirs in zip(weights(trained.net_to_evaluate()), before, strict=True):
            np.testing.assert_array_equal(mine, theirs)


class _Normalized(gluon.nn.HybridSequential):  # type: ignore[misc]  # MXNet has no types
    """A user's network with states that are not trained."""

    def __init__(self) -> None:
        super().__init__()
        with self.name_scope():
            self.add(gluon.nn.Dense(16, activation="relu"), gluon.nn.BatchNorm(), gluon.nn.Dense(10))


@pytest.fixture
def own_network(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(networks, "build_own", lambda _reference: _Normalized())
    return "somewhere:normalized"


@pytest.mark.parametrize("hybridize", MODES)
@pytest.mark.parametrize("update", Update)
def test_a_users_network_with_running_averages(own_network: str, hybridize: Hybridize, update: Update) -> None:
    """Untrained states move as in Gluon's own loop, and the trained weights with them."""

    def averages(net: Block) -> NDArray[np.float32]:
        own = [each.data().asnumpy() for name, each in net.collect_params().items() if "running" in name]
        return np.concatenate(own)

    def trained(parts: Loop) -> Training:
        made = Training(own_network, parts, [mx.cpu()], BATCH_SIZE, Recipe(), images(2 * BATCH_SIZE))
        made.prepare()
        made.train_epoch()
        return made

    reference, contender = trained(Loop()), trained(Loop(hybridize=hybridize, update=update))
    np.testing.assert_allclose(averages(contender.net), averages(reference.net), rtol=1e-4, atol=1e-6)
    assert averages(contender.net).any()


@pytest.mark.parametrize(("layers", "floats"), [(Layers.PADDED_8, 8), (Layers.PADDED, 16)])
def test_filled_channels_are_whole_vectors(layers: Layers, floats: int) -> None:
    """They are as few as hold the tutorial's 20 and 50."""
    net = Training(Network.LENET, Loop(layers=layers), [mx.cpu()], BATCH_SIZE, Recipe(), images()).net
    filters = [each.weight.shape[0] for each in (net.conv1, net.conv2)]
    assert filters == [floats * -(-own // floats) for own in (20, 50)]


def test_layers_are_the_lenets_alone() -> None:
    with pytest.raises(networks.NetworkError, match="lenet alone"):
        networks.build(Network.MLP, Hybridize.OFF, Layers.PADDED)


def test_weights_of_two_types_cannot_be_one_array() -> None:
    """One clear line says so and names the next step."""
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(2, in_units=2), gluon.nn.Dense(2, in_units=2, dtype="float16"))
    net.initialize()
    with pytest.raises(networks.NetworkError, match="update=trainer"):
        lay_flat(net, [mx.cpu()])


def test_softmax_outputs_own_factor_is_not_to_be_trusted() -> None:
    """It does not just scale its gradient by the one that comes in, so a bound step has a loss of its own."""
    scores, labels = mx.sym.var("scores"), mx.sym.var("labels")
    gradient = nd.zeros((2, 3))
    executor = mx.sym.SoftmaxOutput(scores, labels, out_grad=True).bind(
        mx.cpu(),
        {"scores": nd.array([[1, 2, 3], [3, 2, 1]]), "labels": nd.array([0, 1])},
        args_grad={"scores": gradient},
        grad_req={"scores": "write", "labels": "null"},
    )
    executor.forward(is_train=True)
    executor.backward([nd.full((2, 3), 7.0)])
    softmax = executor.outputs[0].asnumpy()
    wanted = 7.0 * (softmax - np.eye(3)[[0, 1]])
    assert not np.allclose(gradient.asnumpy(), wanted)
    assert autograd.is_recording() is False
