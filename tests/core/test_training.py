"""The loop and its evaluation agree with the NumPy reference, the tutorial's loop, and itself on other contexts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.worker.measure import exact
from mnist_core import networks, training
from mnist_core.mxnet_border import mx, nd
from mnist_core.networks import Array, Block
from mnist_core.order import batch_sizes
from mnist_core.recipe import Hybridize, Network, Recipe
from mnist_core.training import Context, DataIter, TrainedEpoch, Trainer
from tests.support.reference_loop import tutorial_epoch

pytestmark = pytest.mark.system

Images: TypeAlias = NDArray[np.float32]
Labels: TypeAlias = NDArray[np.uint8]

#: For weights of up to 0.5 after a few steps of 1e-3 to 1e-1 each. Over 150 seeds, one step from equal weights was
#: never off by more than 1.1e-7, two units in the last place of such a weight, and the four steps that feed on each
#: other by 1.1e-6. An image left out, counted twice or divided by a wrong batch size shows at 1e-4.
WEIGHT_TOLERANCE = 3e-6
#: MXNet's log-softmax is good to 3.5e-6 at a loss of 2.3 (oneDNN computes it fast rather than exactly); after some
#: steps 8e-6 was seen.
LOSS_TOLERANCE = 2e-5
#: Where the two largest of a pooled block, or a ReLU's input and zero, differ by less than float32's rounding (some
#: 1e-7), the sign of the rounding decides where the gradient goes, and weights may differ by 1e-3. This seed was chosen
#: so that, in the cases compared with the reference, they differ by 2e-6 (LeNet) and 1e-5 (MLP) or more at every step.
DATA_SEED = 18

both_networks = pytest.mark.parametrize("network", list(Network))
every_hybridize = pytest.mark.parametrize("hybridize", [Hybridize.OFF, Hybridize.ON, Hybridize.STATIC])


class Job(NamedTuple):
    """What an epoch needs, from a seed."""

    net: Block
    batches: DataIter
    trainer: Trainer
    contexts: Sequence[Context]

    def train_epoch(self) -> TrainedEpoch:
        return training.train_epoch(*self)

    def weights(self, context: int = 0) -> list[Images]:
        arrays = (parameter.data(self.contexts[context]) for parameter in self.net.collect_params().values())
        return [array.asnumpy() for array in arrays]


def job(
    network: Network,
    images: Images,
    labels: Labels,
    batch_size: int,
    *,
    contexts: int = 1,
    hybridize: Hybridize = Hybridize.OFF,
    seed: int = 1,
    recipe: Recipe | None = None,
) -> Job:
    """Make a job whose shuffling continues NumPy's generator: use it before the next one is made."""
    recipe = recipe or Recipe()
    training.seed_everything(seed)
    net = networks.build(network, hybridize)
    devices = [mx.cpu(index) for index in range(contexts)]
    training.initialize(net, devices, recipe)
    trainer = training.make_trainer(net, recipe)
    return Job(net, training.training_batches(images, labels, batch_size), trainer, devices)


def dataset(count: int) -> tuple[Images, Labels]:
    rng = np.random.default_rng(DATA_SEED)
    return rng.random((count, 1, 28, 28), dtype=np.float32), rng.integers(10, size=count, dtype=np.uint8)


def tagged(count: int) -> tuple[Images, Labels]:
    """Return images of which each has one grey of its own."""
    _, labels = dataset(count)
    return np.broadcast_to(tags(count)[:, None, None, None], (count, 1, 28, 28)).copy(), labels


def tags(count: int) -> Images:
    return np.arange(1, count + 1, dtype=np.float32) / count


class Recorder:
    """A network that notes the tags it is fed, one list per call."""

    def __init__(self, net: Block) -> None:
        self.net = net
        self.fed: list[list[float]] = []

    def __call__(self, x: Array) -> Array:
        self.fed.append(x[:, 0, 0, 0].asnumpy().tolist())
        return self.net(x)

    def all_fed(self) -> list[float]:
        return [tag for call in self.fed for tag in call]


def initial_weights(network: Network) -> list[Images]:
    """Return the initial weights of every job of the default seed."""
    images, labels = dataset(1)
    once = job(network, images, labels, 1)
    once.net(nd.array(images))  # Gluon draws no weight before it knows the shapes
    return once.weights()


def shuffled(images: Images, labels: Labels, *, seed: int = 1, epochs: int) -> Iterable[tuple[Images, Labels]]:
    """Return the set in each epoch's order, which is the seed's alone: that of batches of one, without padding."""
    training.seed_everything(seed)
    batches = training.training_batches(images, labels, 1)
    for _ in range(epochs):
        batches.reset()
        pairs = [(batch.data[0].asnumpy(), batch.label[0].asnumpy()) for batch in batches]
        yield (
            np.concatenate([image for image, _ in pairs]),
            np.concatenate([label for _, label in pairs]).astype(np.uint8),
        )


class Expected(NamedTuple):
    weights: exact.Weights
    correct: int
    last_loss: float


def reference_epoch(
    network: Network, weights: exact.Weights, images: Images, labels: Labels, batch_size: int
) -> Expected:
    """Train an epoch of the reference on the images in the order given."""
    correct = 0
    last_loss = math.nan
    for begin in range(0, len(images), batch_size):
        x = images[begin : begin + batch_size].astype(np.float64)
        y = labels[begin : begin + batch_size].astype(np.int64)
        outputs = exact.forward(network, weights, x)
        correct += int((outputs.argmax(axis=1) == y).sum())
        last_loss = float(exact.losses(outputs, y).mean())
        weights = exact.sgd_step(network, weights, x, y)
    return Expected(weights, correct, last_loss)


def assert_close(expected: exact.Weights, actual: list[Images], tolerance: float) -> None:
    for one, other in zip(expected, exact.layers(actual), strict=True):
        np.testing.assert_allclose(other.weight, one.weight, rtol=0, atol=tolerance)
        np.testing.assert_allclose(other.bias, one.bias, rtol=0, atol=tolerance)


def assert_same_bits(expected: list[Images], actual: list[Images]) -> None:
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(other.view(np.uint32), one.view(np.uint32))


@every_hybridize
@pytest.mark.parametrize(
    ("network", "count", "batch_size", "contexts"),
    [
        pytest.param(Network.MLP, 12, 6, 1, id="mlp-even-on-1"),
        pytest.param(Network.MLP, 12, 6, 2, id="mlp-even-on-2"),
        pytest.param(Network.MLP, 10, 4, 1, id="mlp-padded-on-1"),
        pytest.param(Network.MLP, 10, 4, 2, id="mlp-padded-on-2"),
        pytest.param(Network.MLP, 13, 7, 3, id="mlp-7-on-3-then-6"),
        pytest.param(Network.MLP, 7, 6, 3, id="mlp-6-on-3-then-1-leaves-2-idle"),
        pytest.param(Network.MLP, 2, 3, 3, id="mlp-2-on-3-leaves-1-idle-from-the-first-step"),
        pytest.param(Network.MLP, 5, 100, 2, id="mlp-batch-larger-than-the-set"),
        pytest.param(Network.MLP, 150, 128, 3, id="mlp-128-on-3-then-22"),
        pytest.param(Network.LENET, 5, 3, 1, id="lenet-padded-on-1"),
        pytest.param(Network.LENET, 5, 3, 2, id="lenet-3-on-2-then-2"),
        pytest.param(Network.LENET, 7, 6, 3, id="lenet-6-on-3-then-1-leaves-2-idle"),
    ],
)
def test_two_epochs_are_those_of_the_reference(
    hybridize: Hybridize, network: Network, count: int, batch_size: int, contexts: int
) -> None:
    """Weights on every context, samples, accuracy and last loss are, as each step goes by its real images.

    A padded image, an uneven split, or a context that had no image in this batch and still holds the gradient of the
    one before would all show; so would a compiled network that kept the shapes of another batch.
    """
    images, labels = dataset(count)
    expected = Expected(exact.layers(initial_weights(network)), 0, math.nan)
    orders = list(shuffled(images, labels, epochs=2))
    trained = job(network, images, labels, batch_size, contexts=contexts, hybridize=hybridize)
    for order in orders:
        expected = reference_epoch(network, expected.weights, *order, batch_size)
        epoch = trained.train_epoch()
        assert count == epoch.samples
        assert expected.correct / count == pytest.approx(epoch.train_accuracy, rel=1e-12)
        assert expected.last_loss == pytest.approx(epoch.last_batch_loss(), abs=LOSS_TOLERANCE)
    for context in range(contexts):
        assert_close(expected.weights, trained.weights(context), WEIGHT_TOLERANCE)


@both_networks
@pytest.mark.parametrize("contexts", [1, 2, 3])
def test_one_batch_is_one_step_of_the_reference(network: Network, contexts: int) -> None:
    """It has the same weights afterwards, and one loss per image in the order of the batch."""
    images, labels = dataset(4)
    weights = exact.layers(initial_weights(network))
    x, y = images.astype(np.float64), labels.astype(np.int64)
    trained = job(network, images, labels, 4, contexts=contexts)
    metric = mx.metric.Accuracy()
    losses = training.train_batch(
        trained.net, nd.array(images), nd.array(labels), trained.trainer, trained.contexts, metric
    )
    assert_close(exact.sgd_step(network, weights, x, y), trained.weights(), WEIGHT_TOLERANCE)
    expected = exact.losses(exact.forward(network, weights, x), y)
    actual = np.concatenate([loss.asnumpy() for loss in losses])
    np.testing.assert_allclose(actual, expected, rtol=0, atol=LOSS_TOLERANCE)
    assert contexts == len(losses)


@pytest.mark.parametrize("contexts", [2, 3])
@pytest.mark.parametrize(
    ("network", "count", "batch_size"),
    [(Network.MLP, 21, 7), (Network.MLP, 13, 6), (Network.MLP, 150, 128), (Network.LENET, 7, 6), (Network.LENET, 5, 3)],
)
def test_several_contexts_train_as_one_does(contexts: int, network: Network, count: int, batch_size: int) -> None:
    """They agree to rounding, since the gradient is summed in another order."""
    images, labels = dataset(count)
    after = []
    for number in (1, contexts):
        trained = job(network, images, labels, batch_size, contexts=number)
        trained.train_epoch()
        after.append(trained.weights())
    assert_close(exact.layers(after[0]), after[1], WEIGHT_TOLERANCE)


@both_networks
def test_a_batch_without_an_image_for_every_context_adds_nothing_of_the_batch_before(network: Network) -> None:
    """Of two steps on three contexts, of six images and of one, the second goes by its one image."""
    images, labels = dataset(7)
    weights = exact.layers(initial_weights(network))
    trained = job(network, images, labels, 6, contexts=3)
    for part in (slice(0, 6), slice(6, 7)):
        x, y = images[part], labels[part]
        weights = exact.sgd_step(network, weights, x.astype(np.float64), y.astype(np.int64))
        metric = mx.metric.Accuracy()
        training.train_batch(trained.net, nd.array(x), nd.array(y), trained.trainer, trained.contexts, metric)
    for context in range(3):
        assert_close(weights, trained.weights(context), WEIGHT_TOLERANCE)


@pytest.mark.parametrize(("count", "batch_size", "contexts"), [(12, 6, 1), (10, 4, 2), (150, 128, 3), (5, 100, 2)])
def test_an_epoch_feeds_every_image_once(count: int, batch_size: int, contexts: int) -> None:
    """Every epoch draws a new order for them."""
    images, labels = tagged(count)
    trained = job(Network.MLP, images, labels, batch_size, contexts=contexts)
    orders = []
    for _ in range(2):
        recorder = Recorder(trained.net)
        trained._replace(net=recorder).train_epoch()
        orders.append(recorder.all_fed())
        assert tags(count).tolist() == sorted(orders[-1])
    assert orders[0] != orders[1]


def test_a_seed_decides_an_epoch() -> None:
    """A second time in the same process gives equal order and weights, to the bit; another seed another order."""
    images, labels = tagged(30)
    orders, after = [], []
    for seed in (1, 1, 2):
        trained = job(Network.MLP, images, labels, 7, contexts=2, seed=seed)
        recorder = Recorder(trained.net)
        trained._replace(net=recorder).train_epoch()
        orders.append(recorder.all_fed())
        after.append(trained.weights())
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert_same_bits(after[0], after[1])


@every_hybridize
def test_a_lenets_epoch_is_the_same_a_second_time(hybridize: Hybridize) -> None:
    """It is so to the last bit, on two contexts."""
    images, labels = dataset(20)
    after = []
    for _ in range(2):
        trained = job(Network.LENET, images, labels, 8, contexts=2, hybridize=hybridize)
        trained.train_epoch()
        after.append(trained.weights())
    assert_same_bits(after[0], after[1])


@both_networks
def test_the_loop_is_the_tutorials(network: Network) -> None:
    """At batch 100 on cpu(0) and cpu(1) it gives the same bits in the weights and the same accuracy, epoch by epoch."""
    images, labels = dataset(200)
    theirs = job(network, images, labels, 100, contexts=2)
    expected = [(tutorial_epoch(*theirs), theirs.weights()) for _ in range(2)]
    ours = job(network, images, labels, 100, contexts=2)
    for accuracy, weights in expected:
        assert accuracy == ours.train_epoch().train_accuracy
        assert_same_bits(weights, ours.weights())


@both_networks
@every_hybridize
@pytest.mark.parametrize("contexts", [1, 2])
def test_steps_at_a_rate_of_zero_leave_no_trace(network: Network, hybridize: Hybridize, contexts: int) -> None:
    """A first step and a warm-up at rate 0 change no bit of a weight, nor of the epoch that follows at the full rate.

    Measuring relies on it: what is made on first use is made before the clock starts, and the training is the
    tutorial's all the same. The last batch of one leaves the second context idle.
    """
    images, labels = dataset(9)
    initial = initial_weights(network)
    cold = job(network, images, labels, 4, contexts=contexts, hybridize=hybridize)
    cold_epoch = cold.train_epoch()

    warm = job(network, images, labels, 4, contexts=contexts, hybridize=hybridize)
    warm.trainer.set_learning_rate(0.0)
    for size in [4, *batch_sizes(9, 4)]:
        x, y = nd.array(images[:size]), nd.array(labels[:size])
        training.train_batch(warm.net, x, y, warm.trainer, warm.contexts, mx.metric.Accuracy())
    assert_same_bits(initial, warm.weights())
    warm.trainer.set_learning_rate(Recipe().learning_rate)
    warm_epoch = warm.train_epoch()

    assert cold_epoch.train_accuracy == warm_epoch.train_accuracy
    for context in range(contexts):
        assert_same_bits(cold.weights(), warm.weights(context))


@pytest.mark.parametrize(
    ("count", "batch_size", "contexts"),
    [(24, 8, 2), (23, 8, 1), (23, 8, 2), (23, 8, 3), (25, 8, 3), (1, 1, 3), (5, 100, 2)],
)
def test_evaluation_counts_every_image_once(count: int, batch_size: int, contexts: int) -> None:
    """Fed in order, each once; the accuracy is the share of right answers that NumPy counts.

    Only the set's first image is labelled right: padding, which repeats the first images, would raise the share.
    """
    images, labels = tagged(count)
    tested = job(Network.MLP, images, labels, 1, contexts=contexts)
    answers = tested.net(nd.array(images)).asnumpy().argmax(axis=1)
    labels = ((answers + (np.arange(count) > 0)) % 10).astype(np.uint8)
    recorder = Recorder(tested.net)
    accuracy = training.evaluate(recorder, training.evaluation_batches(images, labels, batch_size), tested.contexts)
    assert tags(count).tolist() == recorder.all_fed()
    assert float((answers == labels).mean()) == pytest.approx(accuracy, rel=1e-12)


@both_networks
def test_evaluation_leaves_the_network_alone(network: Network) -> None:
    """No bit of a weight changes, and a second evaluation gives the first one's accuracy."""
    images, labels = dataset(9)
    tested = job(network, images, labels, 4, contexts=2)
    tested.train_epoch()
    before = tested.weights()
    batches = training.evaluation_batches(images, labels, 4)
    one, other = (training.evaluate(tested.net, batches, tested.contexts) for _ in range(2))
    assert one == other
    assert_same_bits(before, tested.weights())


@pytest.mark.parametrize(
    ("count", "contexts", "sizes"),
    [(6, 1, [6]), (6, 2, [3, 3]), (7, 3, [3, 2, 2]), (128, 3, [43, 43, 42]), (2, 3, [1, 1]), (1, 3, [1])],
)
def test_a_batch_is_split_as_evenly_as_can_be(count: int, contexts: int, sizes: list[int]) -> None:
    """Each context has one slice, in order, while there are images, and the slice is on it."""
    devices = [mx.cpu(index) for index in range(contexts)]
    slices = training.split_and_load(nd.arange(count), devices)
    assert sizes == [part.shape[0] for part in slices]
    assert devices[: len(sizes)] == [part.context for part in slices]
    assert list(range(count)) == np.concatenate([part.asnumpy() for part in slices]).tolist()


@given(samples=st.integers(min_value=1, max_value=300), batch_size=st.integers(min_value=1, max_value=400))
def test_the_batch_sizes_are_those_of_cutting_the_set(samples: int, batch_size: int) -> None:
    """The full batch comes first, then the last one where it is smaller."""
    cut = {len(range(samples)[begin : begin + batch_size]) for begin in range(0, samples, batch_size)}
    assert sorted(cut, reverse=True) == batch_sizes(samples, batch_size)


@pytest.mark.parametrize(("count", "batch_size"), [(12, 6), (10, 4), (5, 5), (5, 7), (5, 100)])
def test_the_batch_sizes_are_those_that_an_epoch_meets(count: int, batch_size: int) -> None:
    """A warm-up that touches these has touched every shape."""
    images, labels = tagged(count)
    trained = job(Network.MLP, images, labels, batch_size)
    recorder = Recorder(trained.net)
    trained._replace(net=recorder).train_epoch()
    assert set(batch_sizes(count, batch_size)) == {len(call) for call in recorder.fed}


def test_images_become_float32_in_0_to_1_with_one_channel() -> None:
    """Every grey is its 255th, to the last bit; the pixels stay where they are."""
    images = (np.arange(3 * 28 * 28) % 256).astype(np.uint8).reshape(3, 28, 28)
    inputs = training.as_input(images)
    assert inputs.shape == (3, 1, 28, 28)
    assert np.float32 == inputs.dtype
    np.testing.assert_array_equal(inputs[:, 0], images.astype(np.float32) / np.float32(255))
    assert (inputs.min(), inputs.max()) == (0.0, 1.0)


@pytest.mark.parametrize("contexts", [1, 2])
def test_the_last_loss_of_a_training_that_diverged_is_not_finite(contexts: int) -> None:
    """A learning rate of 1e30 takes the weights out of float32's range."""
    images, labels = dataset(12)
    diverging = job(Network.MLP, images, labels, 4, contexts=contexts, recipe=Recipe(learning_rate=1e30))
    assert not math.isfinite(diverging.train_epoch().last_batch_loss())
