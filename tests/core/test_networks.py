"""The tutorial's networks, their twins and a user's own agree with the NumPy reference, which is checked first."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.worker.measure import exact
from mnist_core import networks, training
from mnist_core.mxnet_border import autograd, gluon, mx, nd
from mnist_core.networks import Block, NetworkError
from mnist_core.recipe import Hybridize, Network, Recipe

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.system

Builders: TypeAlias = dict[Network, Callable[[], Block]]
Arrays: TypeAlias = list[NDArray[np.floating[Any]]]

ORIGINALS: Builders = {Network.MLP: networks.build_mlp, Network.LENET: networks.build_lenet}
TWINS: Builders = {Network.MLP: networks.build_hybrid_mlp, Network.LENET: networks.build_hybrid_lenet}

#: Measured against the reference over 150 and more seeds: outputs of about 1 differ by 4e-7 at most, a few units in the
#: last place of float32. A layer or activation that is not the tutorial's moves them by 1e-2 and more.
FORWARD_TOLERANCE = 2e-6
#: For weights after three steps, and for gradients, sums over four images of up to 10 each; see test_training.
TRAINING_TOLERANCE = 1e-5
#: Chosen as test_training's is: at every step 2.6e-6 or more from where rounding decides which way a gradient goes.
PICTURES_SEED = 3

both_networks = pytest.mark.parametrize("network", list(Network))
original_and_twin = pytest.mark.parametrize("builders", [ORIGINALS, TWINS], ids=["original", "twin"])
compiled = pytest.mark.parametrize("hybridize", [Hybridize.ON, Hybridize.STATIC])


def draw_weights(net: Block, *, contexts: int = 1, seed: int = 1) -> Block:
    """Initialize `net`, and show every context an image: Gluon draws no weight before it knows the shapes."""
    training.seed_everything(seed)
    devices = [mx.cpu(index) for index in range(contexts)]
    training.initialize(net, devices, Recipe())
    for device in devices:
        net(nd.zeros((1, 1, 28, 28), ctx=device))
    return net


def weights(net: Block, context: int = 0) -> Arrays:
    return [parameter.data(mx.cpu(context)).asnumpy() for parameter in net.collect_params().values()]


def gradients(net: Block) -> Arrays:
    return [parameter.grad(mx.cpu(0)).asnumpy() for parameter in net.collect_params().values()]


def pictures(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(PICTURES_SEED).random((count, 1, 28, 28), dtype=np.float32)


def digits(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(8).integers(10, size=count)


def assert_same_bits(expected: Arrays, actual: Arrays) -> None:
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(other.view(np.uint32), one.view(np.uint32))


def assert_close(expected: Arrays, actual: Arrays, tolerance: float) -> None:
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("network", "array"),
    [*((Network.MLP, array) for array in range(6)), *((Network.LENET, array) for array in range(8))],
)
def test_the_reference_gradients_are_those_of_finite_differences(network: Network, array: int) -> None:
    """Each array of weights has them along a random direction, and along single weights, for slips in an index.

    Central differences of 1e-5 in float64 err by about 1e-10 (step squared, and rounding over step).
    """
    net = draw_weights(ORIGINALS[network]())
    images, labels = pictures(3).astype(np.float64), digits(3)
    rng = np.random.default_rng(array)
    # Noise, for at biases of exactly zero a network that forgot them would look right.
    start = [values + rng.normal(scale=0.01, size=values.shape) for values in weights(net)]

    def mean_loss(shift: NDArray[np.float64]) -> float:
        arrays = [values + shift if index == array else values for index, values in enumerate(start)]
        outputs = exact.forward(network, exact.layers(arrays), images)
        return float(exact.losses(outputs, labels).mean())

    gradient = [
        values
        for layer in exact.gradients(network, exact.layers(start), images, labels)
        for values in (layer.weight, layer.bias)
    ][array]
    assert start[array].shape == gradient.shape
    directions = [rng.normal(size=gradient.shape) / np.sqrt(gradient.size)]
    single = rng.choice(gradient.size, size=3, replace=False)
    directions.extend(np.eye(1, gradient.size, place).reshape(gradient.shape) for place in single)
    for direction in directions:
        difference = (mean_loss(1e-5 * direction) - mean_loss(-1e-5 * direction)) / 2e-5
        assert difference == pytest.approx(float((gradient * direction).sum()), rel=1e-6, abs=1e-9)


@both_networks
@original_and_twin
@pytest.mark.parametrize("images", [1, 3])
def test_a_network_gives_ten_numbers_per_image(network: Network, builders: Builders, images: int) -> None:
    """That holds whatever the size of the batch."""
    net = draw_weights(builders[network]())
    assert (images, 10) == net(nd.array(pictures(images))).shape


@original_and_twin
def test_an_mlp_takes_flat_images_too(builders: Builders) -> None:
    """(n, 784) gives what (n, 1, 28, 28) gives."""
    net = draw_weights(builders[Network.MLP]())
    images = pictures(3)
    assert_same_bits([net(nd.array(images)).asnumpy()], [net(nd.array(images.reshape(3, 784))).asnumpy()])


@original_and_twin
@pytest.mark.parametrize(("network", "count"), [(Network.MLP, 109_386), (Network.LENET, 431_080)])
def test_a_network_has_the_tutorials_number_of_parameters(network: Network, count: int, builders: Builders) -> None:
    """Each layer has its weights and one bias for each output.

    MLP: 784x128 + 128 + 128x64 + 64 + 64x10 + 10. LeNet: 20x25 + 20 + 50x20x25 + 50 + 800x500 + 500 + 500x10 + 10.
    """
    assert count == training.parameter_count(draw_weights(builders[network]()))


@both_networks
def test_the_initial_weights_are_xavier_of_the_tutorials_magnitude(network: Network) -> None:
    """They are uniform up to sqrt(2.24 / mean of the layer's inputs and outputs), and biases are zero."""
    for layer in exact.layers(weights(draw_weights(networks.build(network, Hybridize.OFF)))):
        outputs, inputs, *kernel = layer.weight.shape
        limit = np.sqrt(2.24 / ((inputs + outputs) * np.prod(kernel, dtype=int) / 2))
        assert 0.95 * limit < np.abs(layer.weight).max() < limit * (1 + 1e-6)
        assert not layer.bias.any()


@both_networks
@pytest.mark.parametrize("hybridize", [Hybridize.OFF, Hybridize.ON, Hybridize.STATIC])
@pytest.mark.parametrize("contexts", [1, 2, 3])
def test_a_seed_decides_the_initial_weights(network: Network, hybridize: Hybridize, contexts: int) -> None:
    """They are the same to the last bit in twin and original, compiled or not, on every context of any list."""
    expected = weights(draw_weights(ORIGINALS[network]()))
    twin = draw_weights(TWINS[network](), contexts=contexts)
    built = draw_weights(networks.build(network, hybridize), contexts=contexts)
    for context in range(contexts):
        assert_same_bits(expected, weights(twin, context))
        assert_same_bits(expected, weights(built, context))


@both_networks
def test_another_seed_gives_other_initial_weights(network: Network) -> None:
    """They differ in every layer, but biases are zero whatever the seed."""
    one, other = (draw_weights(ORIGINALS[network](), seed=seed) for seed in (1, 2))
    for left, right in zip(weights(one)[::2], weights(other)[::2], strict=True):
        assert (left != right).any()


@both_networks
@pytest.mark.parametrize("hybridize", [Hybridize.OFF, Hybridize.ON, Hybridize.STATIC])
def test_the_forward_pass_is_that_of_the_reference(network: Network, hybridize: Hybridize) -> None:
    """Original and compiled twins agree to float32's rounding, with biases that are not zero, too."""
    net = draw_weights(networks.build(network, hybridize))
    rng = np.random.default_rng(3)
    for parameter in net.collect_params(".*bias").values():
        parameter.set_data(nd.array(rng.normal(scale=0.1, size=parameter.shape)))
    images = pictures(5)
    expected = exact.forward(network, exact.layers(weights(net)), images.astype(np.float64))
    np.testing.assert_allclose(net(nd.array(images)).asnumpy(), expected, rtol=0, atol=FORWARD_TOLERANCE)


def train(net: Block) -> tuple[Arrays, Arrays]:
    """Return outputs and gradients of the first of three steps in one list, and the weights after all of them."""
    contexts = [mx.cpu(0)]
    trainer = training.make_trainer(net, Recipe())
    images, labels = nd.array(pictures(4)), nd.array(digits(4))
    with autograd.record():
        outputs = net(images)
        loss = gluon.loss.SoftmaxCrossEntropyLoss()(outputs, labels)
    loss.backward()
    first = [outputs.asnumpy(), *gradients(net)]
    for _ in range(3):
        training.train_batch(net, images, labels, trainer, contexts, mx.metric.Accuracy())
    return first, weights(net)


@both_networks
def test_twin_and_original_agree_to_the_last_bit(network: Network) -> None:
    """Uncompiled, they agree in outputs, in gradients, and in the weights after three steps."""
    (expected_first, expected_weights), (first, after) = (
        train(draw_weights(builders[network]())) for builders in (ORIGINALS, TWINS)
    )
    assert_same_bits(expected_first, first)
    assert_same_bits(expected_weights, after)


@both_networks
@compiled
def test_compiling_changes_nothing_but_rounding(network: Network, hybridize: Hybridize) -> None:
    """Outputs, gradients, and weights after three steps agree; the CPUs tried changed no bit, but none promises it."""
    (expected_first, expected_weights), (first, after) = (
        train(draw_weights(networks.build(network, how))) for how in (Hybridize.OFF, hybridize)
    )
    assert_close(expected_first, first, TRAINING_TOLERANCE)
    assert_close(expected_weights, after, TRAINING_TOLERANCE)


@both_networks
@pytest.mark.parametrize("hybridize", [Hybridize.OFF, Hybridize.ON, Hybridize.STATIC])
def test_only_what_is_asked_for_is_compiled(
    network: Network, hybridize: Hybridize, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off builds the tutorial's own blocks. On and static compile the twin, static with all planned ahead."""
    asked: list[tuple[Block, dict[str, bool]]] = []
    monkeypatch.setattr(gluon.HybridBlock, "hybridize", lambda net, **how: asked.append((net, how)))
    net = networks.build(network, hybridize)
    static = hybridize is Hybridize.STATIC
    if hybridize is Hybridize.OFF:
        assert not isinstance(net, gluon.HybridBlock)
        assert asked == []
    else:
        assert asked == [(net, {"static_alloc": static, "static_shape": static})]


OWN_MODULE = '''
from mnist_core.mxnet_border import gluon, nd

calls = []

class Watched(gluon.nn.HybridSequential):
    """Notes each time its Python code runs."""

    def hybrid_forward(self, F, x):
        calls.append(F)
        return super().hybrid_forward(F, x)

def watched():
    net = Watched()
    net.add(gluon.nn.Dense(10))
    return net

def imperative():
    net = gluon.nn.Sequential()
    net.add(gluon.nn.BatchNorm(), gluon.nn.Dense(10))
    return net

def number():
    return 7

def failing():
    raise ValueError("no weights here")

def failing_at_length():
    raise RuntimeError("no weights here\\nStack trace:\\n  File ...")

def seven():
    return gluon.nn.Dense(7)

def pictures():
    return gluon.nn.Conv2D(10, 3)

class Pair(gluon.Block):
    def forward(self, x):
        return x, x

def pair():
    return Pair()

class Multiplied(gluon.Block):
    def forward(self, x):
        return nd.dot(x.reshape((-1, 784)), nd.ones((5, 10)))

def multiplied():
    return Multiplied()

def too_small():
    return gluon.nn.Dense(10, in_units=100)

def needs_an_argument(units):
    return gluon.nn.Dense(units)

def initialized():
    net = gluon.nn.Dense(10)
    net.initialize()
    return net

not_a_function = 7
'''


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a module of a user's, to be imported by name; each test imports it anew."""
    package = tmp_path / "user_networks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "own.py").write_text(OWN_MODULE)
    (package / "broken.py").write_text("1 +\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "user_networks"]:
        monkeypatch.delitem(sys.modules, name)
    return "user_networks.own"


@pytest.mark.parametrize(
    ("hybridize", "traces"),
    [(Hybridize.OFF, 2), (Hybridize.ON, 1), (Hybridize.STATIC, 1)],
)
def test_a_users_own_network_is_built_and_compiled_as_asked(own_module: str, hybridize: Hybridize, traces: int) -> None:
    """Compiled, its Python code runs once for all batches; otherwise it runs once per batch."""
    net = networks.build(f"{own_module}:watched", hybridize)
    training.initialize(net, [mx.cpu(0)], Recipe())
    outputs = [net(nd.array(pictures(2))) for _ in range(2)]
    assert [output.shape for output in outputs] == [(2, 10)] * 2
    assert traces == len(sys.modules[own_module].calls)


def test_a_users_own_network_trains_and_is_counted(own_module: str) -> None:
    """So does a plain Block that is not compiled. Running statistics are no trained parameters."""
    net = networks.build(f"{own_module}:imperative", Hybridize.OFF)
    contexts = [mx.cpu(0), mx.cpu(1)]
    training.initialize(net, contexts, Recipe())
    batches = training.training_batches(pictures(7), digits(7).astype(np.uint8), 3)
    assert training.train_epoch(net, batches, training.make_trainer(net, Recipe()), contexts).samples == 7
    assert training.parameter_count(net) == 2 + 784 * 10 + 10


@pytest.mark.parametrize(
    ("factory", "cause"),
    [
        ("user_networks.nowhere:net", "ModuleNotFoundError: No module named 'user_networks.nowhere': .+ PYTHONPATH"),
        ("user_networks.broken:net", "SyntaxError: .+"),
        ("user_networks.own:missing", "AttributeError: .+ has no attribute 'missing'"),
        ("user_networks.own:", "AttributeError: .+"),
        (":watched", "ValueError: .+"),
        ("user_networks.own:failing", "ValueError: no weights here"),
        ("user_networks.own:failing_at_length", "RuntimeError: no weights here"),
        ("user_networks.own:needs_an_argument", "TypeError: .+ missing 1 required positional argument: 'units'"),
        ("user_networks.own:not_a_function", "TypeError: 'int' object is not callable"),
        ("user_networks.own:number", "returned a int, not a Gluon Block"),
    ],
)
@pytest.mark.usefixtures("own_module")
def test_a_users_network_that_cannot_be_built_is_named_in_one_line(factory: str, cause: str) -> None:
    """The line has the cause, and nothing of the stack."""
    with pytest.raises(NetworkError, match=rf"^{factory}: {cause}\Z"):
        networks.build(factory, Hybridize.OFF)


@pytest.mark.parametrize(
    ("factory", "fault"),
    [
        ("imperative", None),
        ("watched", None),
        ("initialized", r"is initialized already: return it without initialize\(\), .*"),
        ("seven", r"gives \(2, 7\) for 2 images, and must give \(2, 10\): a score per digit"),
        ("pictures", r"gives \(2, 10, 26, 26\) for 2 images"),
        ("pair", r"gives a tuple for 2 images"),
        ("too_small", r"with 2 images: MXNetError: .+"),
        ("imperative!", r"is a Sequential and no HybridBlock: --hybridize off .+"),
        ("multiplied", r"with 2 images: MXNetError: .*dot shape error.* \(user_networks/own.py, line \d+\)"),
        ("failing", r"ValueError: no weights here \(user_networks/own.py, line \d+\)"),
    ],
)
def test_a_users_network_is_tried_out_before_anything_is_measured(
    own_module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factory: str, fault: str | None
) -> None:
    """Seven scores would train and be measured. A fault in the user's code is told with file and line."""
    monkeypatch.chdir(tmp_path)
    compiled, factory = factory.endswith("!"), factory.rstrip("!")
    found = networks.fault_of(f"{own_module}:{factory}", compiled=compiled)
    if fault is None:
        assert found is None
    else:
        assert found is not None
        assert re.match(f"^{own_module}:{factory}: {fault}", found)
        assert "\n" not in found


@compiled
def test_a_block_that_cannot_be_compiled_is_refused(own_module: str, hybridize: Hybridize) -> None:
    """Gluon would accept the wish, and silently run it as before."""
    with pytest.raises(NetworkError, match=rf"^{own_module}:imperative: hybridize={hybridize} needs a HybridBlock.*\Z"):
        networks.build(f"{own_module}:imperative", hybridize)
