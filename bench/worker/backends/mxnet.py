"""MXNet as a backend: the tutorial's own loop, and the loop whose parts can be exchanged."""

from __future__ import annotations

import functools
import importlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench.machine.software import describe_software
from bench.records.environment import Software
from bench.scenarios.axes import Compression, Exchange
from bench.scenarios.scenario import Scenario
from bench.worker.backends import common, parameter_server
from bench.worker.protocol.requests import RankPlace
from mnist_core import networks, training
from mnist_core.devices import Device, DeviceKind, Probe
from mnist_core.idx import Split
from mnist_core.loop import Training
from mnist_core.mxnet_border import features, mx, to_context, version
from mnist_core.networks import Block
from mnist_core.probe import examine
from mnist_core.recipe import Hybridize, Loop, Precision, Recipe
from mnist_core.training import Context, DataIter, TrainedEpoch, Trainer


def describe() -> Software:
    return describe_software("mxnet", version(), tuple(name for name, on in sorted(features().items()) if on))


#: MXNet has no types.
Store: TypeAlias = Any
Parameter: TypeAlias = Any
#: (n, 1, 28, 28) -> (n,), both in host memory.
Predictor: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def join(place: RankPlace) -> None:
    parameter_server.announce(place)
    store = _store(place.exchange)
    if "dist" not in store.type or store.num_workers != place.ranks:
        raise RuntimeError(f"the store {store.type} has {store.num_workers} ranks, not {place.ranks}")


@functools.cache
def _store(exchange: Exchange) -> Store:
    """Return the store that this process has for its life."""
    return mx.kv.create(str(exchange))


def share_array(place: RankPlace, device: Device, elements: int) -> StoredArray:
    return StoredArray(_store(place.exchange), to_context(device), elements)


def create_workload(
    scenario: Scenario, recipe: Recipe, train: Split, place: RankPlace | None = None
) -> TutorialWorkload | ExchangedLoopWorkload:
    """Return the tutorial's own loop for every scenario that it can train, else the exchangeable one."""
    if place is not None:
        return ExchangedLoopWorkload(scenario, recipe, train, place)
    tutorial = Loop(hybridize=scenario.hybridize, precision=scenario.precision)
    exchanged = scenario.loop != tutorial or scenario.hybridize is Hybridize.BOUND
    workload = ExchangedLoopWorkload if exchanged else TutorialWorkload
    return workload(scenario, recipe, train)


def probe(device: Device) -> Probe:
    return examine(device)


def matrix_product(device: Device, size: int, precision: Precision) -> Callable[[], None]:
    computed_in = importlib.import_module("mnist_core.networks").COMPUTED_IN  # by name: an older commit has none
    context, own_type = to_context(device), computed_in.get(precision, np.dtype(np.float32))
    left, right, product = (
        mx.nd.amp_cast(mx.nd.random.uniform(shape=(size, size), ctx=context), dtype=own_type) for _ in range(3)
    )

    def multiply() -> None:
        # A layer's product, which oneDNN does: `dot` is that of an old OpenBLAS, a tenth as fast on new processors.
        mx.nd.FullyConnected(left, right, num_hidden=size, no_bias=True, out=product)
        product.wait_to_read()

    return multiply


def product_kernel(_device: Device, _size: int, _precision: Precision) -> None:
    """Tell nothing: MXNet's oneDNN does so only where a variable was set before the import, in every call."""


def vector_sum(device: Device, elements: int) -> Callable[[], None]:
    context = to_context(device)
    b, c = (mx.nd.random.uniform(shape=(elements,), ctx=context) for _ in range(2))
    a = mx.nd.zeros((elements,), ctx=context)

    def add() -> None:
        mx.nd.elemwise_add(b, c, out=a)
        a.wait_to_read()

    return add


class StoredArray:
    """An array that is pushed to the servers, which add it up, and pulled from them: one key of the store."""

    def __init__(self, store: Store, context: Context, elements: int) -> None:
        self._store, self._key = store, f"array of {elements}"
        self._own, self._sum = (mx.nd.zeros((elements,), ctx=context) for _ in range(2))
        store.init(self._key, self._own)

    def put(self, numbers: NDArray[np.float32]) -> None:
        self._own[:] = numbers
        self._own.wait_to_read()

    def barrier(self) -> None:
        self._store._barrier()  # noqa: SLF001  # MXNet has no other

    def add_up(self) -> None:
        self._store.push(self._key, self._own)
        self._store.pull(self._key, out=self._sum)
        self._sum.wait_to_read()

    def total(self) -> NDArray[np.float32]:
        return np.asarray(self._sum.asnumpy())


class TutorialWorkload:
    """The tutorial's own loop: `split_and_load` over the contexts, statement for statement."""

    _net: Block
    _trainer: Trainer
    _batches: DataIter

    def __init__(self, scenario: Scenario, recipe: Recipe, train: Split) -> None:
        self._scenario, self._recipe = scenario, recipe
        self._contexts = [to_context(device) for device in scenario.devices]
        self._images, self._labels = training.as_input(train.images), train.labels

    def build(self) -> None:
        training.seed_everything(self._recipe.seed)
        scenario = self._scenario
        build: Callable[..., Block] = networks.build
        if scenario.precision is not Precision.FLOAT32:  # an older `mnist_core` has no other, and no argument for it
            build = functools.partial(build, precision=scenario.precision)
        self._net = build(scenario.network, scenario.hybridize)
        training.initialize(self._net, self._contexts, self._recipe)
        self._trainer = training.make_trainer(self._net, self._recipe)

    def train_throwaway_batch(self, size: int) -> None:
        images = mx.nd.array(self._images[:size])
        labels = mx.nd.array(self._labels[:size].astype("float32"))
        training.train_batch(self._net, images, labels, self._trainer, self._contexts, mx.metric.Accuracy())
        mx.nd.waitall()

    def set_learning_rate(self, value: float) -> None:
        self._trainer.set_learning_rate(value)

    def prepare(self) -> None:
        self._batches = training.training_batches(self._images, self._labels, self._scenario.batch_size)

    def train_epoch(self) -> TrainedEpoch:
        return training.train_epoch(self._net, self._batches, self._trainer, self._contexts)

    def wait(self) -> None:
        mx.nd.waitall()

    def barrier(self) -> None:
        """Do nothing: it is no rank."""

    def weights_digest(self) -> str:
        return _digest(self._net)

    def weights(self) -> list[NDArray[np.float32]]:
        return _weights(self._net, self._scenario)

    def set_weights(self, weights: Sequence[NDArray[np.float32]]) -> None:
        _set_weights(self._net, weights)

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return _scores(self._net, images, self._contexts[0])

    def evaluate(self, test: Split) -> float:
        return _evaluate(self._net, test, self._scenario.batch_size, self._contexts)

    def predictor(self, batch_size: int) -> Predictor:  # noqa: ARG002  # Gluon takes any
        predictor: Predictor = _prediction().gluon_predictor(self._net, self._contexts[0])
        return predictor

    def device_memory_bytes(self) -> int | None:
        return _device_memory_bytes(self._scenario.devices)

    def device_peak_bytes(self) -> int | None:
        """Return None: MXNet does not count it."""
        return None


class ExchangedLoopWorkload:
    """The loop whose every part is as the scenario says, in one process or as a rank of several."""

    _training: Training

    def __init__(self, scenario: Scenario, recipe: Recipe, train: Split, place: RankPlace | None = None) -> None:
        self._scenario, self._recipe, self._train, self._place = scenario, recipe, train, place
        self._store = None if scenario.exchange is Exchange.NONE else _store(scenario.exchange)
        self._contexts = [to_context(device) for device in scenario.devices]

    def build(self) -> None:
        scenario, arguments = self._scenario, {}
        if self._place is not None:  # by its name, since an older `mnist_core` has no ranks
            rank = importlib.import_module("mnist_core.loop").Rank
            compresses = scenario.compression is not Compression.NONE
            arguments["rank"] = rank(self._place.rank, self._place.ranks, self._store, compresses)
        self._training = Training(
            scenario.network, scenario.loop, self._contexts, scenario.batch_size, self._recipe, self._train, **arguments
        )

    def train_throwaway_batch(self, size: int) -> None:
        self._training.train_throwaway_batch(size)

    def set_learning_rate(self, value: float) -> None:
        self._training.set_learning_rate(value)

    def prepare(self) -> None:
        self._training.prepare()

    def train_epoch(self) -> TrainedEpoch:
        return self._training.train_epoch()

    def wait(self) -> None:
        mx.nd.waitall()

    def barrier(self) -> None:
        if self._store is not None:
            self._store._barrier()  # noqa: SLF001  # MXNet has no other

    def weights_digest(self) -> str:
        return _digest(self._training.net)

    def weights(self) -> list[NDArray[np.float32]]:
        return _weights(self._training.net, self._scenario)

    def set_weights(self, weights: Sequence[NDArray[np.float32]]) -> None:
        _set_weights(self._training.net, weights)

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return _scores(self._training.net_to_evaluate(), images, self._contexts[0])

    def evaluate(self, test: Split) -> float:
        return _evaluate(self._training.net_to_evaluate(), test, self._scenario.batch_size, self._contexts)

    def predictor(self, batch_size: int) -> Predictor:
        net, context = self._training.net_to_evaluate(), self._contexts[0]
        predictor: Predictor
        if self._scenario.hybridize is Hybridize.BOUND:
            predictor = _prediction().bound_predictor(net, context, batch_size)
        else:
            predictor = _prediction().gluon_predictor(net, context)
        return predictor

    def device_memory_bytes(self) -> int | None:
        return _device_memory_bytes(self._scenario.devices)

    def device_peak_bytes(self) -> int | None:
        """Return None: MXNet does not count it."""
        return None


def _digest(net: Block) -> str:
    mx.nd.waitall()
    return common.digest(each.data(each.list_ctx()[0]).asnumpy() for each in _trained(net))


def _trained(net: Block) -> list[Parameter]:
    return [each for each in net.collect_params().values() if each.grad_req != "null"]


def _weights(net: Block, scenario: Scenario) -> list[NDArray[np.float32]]:
    """Return the weights without the zeros that `Layers.PADDED` fills channels up with."""
    shapes = itertools.chain.from_iterable((shape, shape[:1]) for shape in common.WEIGHT_SHAPES[scenario.network])
    return [
        each.data(each.list_ctx()[0]).asnumpy()[tuple(map(slice, shape))]
        for each, shape in zip(_trained(net), shapes, strict=True)
    ]


def _set_weights(net: Block, weights: Sequence[NDArray[np.float32]]) -> None:
    for parameter, weight in zip(_trained(net), weights, strict=True):
        filled = np.zeros(parameter.shape, np.float32)
        filled[tuple(map(slice, weight.shape))] = weight
        parameter.set_data(mx.nd.array(filled))  # which has a trainer fill its store anew


def _scores(net: Block, images: NDArray[np.float32], context: Context) -> NDArray[np.float32]:
    return np.asarray(net(mx.nd.array(images, ctx=context)).asnumpy())


def _evaluate(net: Block, test: Split, batch_size: int, contexts: Sequence[Context]) -> float:
    batches = training.evaluation_batches(training.as_input(test.images), test.labels, batch_size)
    return training.evaluate(net, batches, contexts)


def _prediction() -> Any:  # noqa: ANN401  # a module
    """Import it by its name, since an older `mnist_core` predicts nothing."""
    return importlib.import_module("mnist_core.prediction")


def _device_memory_bytes(devices: Sequence[Device]) -> int | None:
    in_use = 0
    for device in devices:
        if device.kind is DeviceKind.GPU:
            free, total = mx.context.gpu_memory_info(device.index)
            in_use += total - free
    return in_use if any(device.kind is DeviceKind.GPU for device in devices) else None
