"""MXNet as a backend: the tutorial's own loop, and the loop whose parts can be exchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.machine.software import describe_software
from bench.records.environment import Software
from bench.scenarios.scenario import Scenario
from mnist_core import networks, training
from mnist_core.devices import Device, DeviceKind, Probe
from mnist_core.idx import Split
from mnist_core.loop import Training
from mnist_core.mxnet_border import features, mx, to_context, version
from mnist_core.networks import Block
from mnist_core.probe import examine
from mnist_core.recipe import Hybridize, Loop, Recipe
from mnist_core.training import Context, DataIter, TrainedEpoch, Trainer


def describe() -> Software:
    return describe_software("mxnet", version(), tuple(name for name, on in sorted(features().items()) if on))


def create_workload(scenario: Scenario, recipe: Recipe, train: Split) -> TutorialWorkload | ExchangedLoopWorkload:
    """Return the tutorial's own loop for every scenario that it can train, else the exchangeable one."""
    exchanged = scenario.loop != Loop(hybridize=scenario.hybridize) or scenario.hybridize is Hybridize.BOUND
    workload = ExchangedLoopWorkload if exchanged else TutorialWorkload
    return workload(scenario, recipe, train)


def probe(device: Device) -> Probe:
    return examine(device)


def matrix_product(device: Device, size: int) -> Callable[[], None]:
    context = to_context(device)
    left, right = (mx.nd.random.uniform(shape=(size, size), ctx=context) for _ in range(2))
    product = mx.nd.zeros((size, size), ctx=context)

    def multiply() -> None:
        # A layer's product, which oneDNN does: `dot` is that of an old OpenBLAS, a tenth as fast on new processors.
        mx.nd.FullyConnected(left, right, num_hidden=size, no_bias=True, out=product)
        product.wait_to_read()

    return multiply


def vector_sum(device: Device, elements: int) -> Callable[[], None]:
    context = to_context(device)
    b, c = (mx.nd.random.uniform(shape=(elements,), ctx=context) for _ in range(2))
    a = mx.nd.zeros((elements,), ctx=context)

    def add() -> None:
        mx.nd.elemwise_add(b, c, out=a)
        a.wait_to_read()

    return add


class MXNetWorkload:
    """What both of MXNet's have: the barrier, evaluation, the GPU's memory."""

    net: Block

    def __init__(self, scenario: Scenario, recipe: Recipe, train: Split) -> None:
        self.scenario = scenario
        self.recipe = recipe
        self.train = train
        self.contexts: Sequence[Context] = [to_context(device) for device in scenario.devices]

    def wait(self) -> None:
        mx.nd.waitall()

    def evaluate(self, test: Split) -> float:
        images = training.as_input(test.images)
        batches = training.evaluation_batches(images, test.labels, self.scenario.batch_size)
        return training.evaluate(self.net, batches, self.contexts)

    def device_memory_bytes(self) -> int | None:
        return device_memory_bytes(self.scenario.devices)


class TutorialWorkload(MXNetWorkload):
    """`split_and_load` over the contexts, statement for statement."""

    _trainer: Trainer
    _batches: DataIter

    def __init__(self, scenario: Scenario, recipe: Recipe, train: Split) -> None:
        super().__init__(scenario, recipe, train)
        self._images = training.as_input(train.images)

    def build(self) -> None:
        training.seed_everything(self.recipe.seed)
        self.net = networks.build(self.scenario.network, self.scenario.hybridize)
        training.initialize(self.net, self.contexts, self.recipe)
        self._trainer = training.make_trainer(self.net, self.recipe)

    def train_throwaway_batch(self, size: int) -> None:
        images = mx.nd.array(self._images[:size])
        labels = mx.nd.array(self.train.labels[:size].astype("float32"))
        training.train_batch(self.net, images, labels, self._trainer, self.contexts, mx.metric.Accuracy())
        mx.nd.waitall()

    def set_learning_rate(self, value: float) -> None:
        self._trainer.set_learning_rate(value)

    def prepare(self) -> None:
        self._batches = training.training_batches(self._images, self.train.labels, self.scenario.batch_size)

    def train_epoch(self) -> TrainedEpoch:
        return training.train_epoch(self.net, self._batches, self._trainer, self.contexts)


class ExchangedLoopWorkload(MXNetWorkload):
    """The loop whose every part is as the scenario says."""

    _training: Training

    def build(self) -> None:
        scenario = self.scenario
        self._training = Training(
            scenario.network, scenario.loop, self.contexts, scenario.batch_size, self.recipe, self.train
        )

    def train_throwaway_batch(self, size: int) -> None:
        self._training.train_throwaway_batch(size)

    def set_learning_rate(self, value: float) -> None:
        self._training.set_learning_rate(value)

    def prepare(self) -> None:
        self._training.prepare()

    def train_epoch(self) -> TrainedEpoch:
        return self._training.train_epoch()

    def evaluate(self, test: Split) -> float:
        self.net = self._training.net_to_evaluate()
        return super().evaluate(test)


def device_memory_bytes(devices: Sequence[Device]) -> int | None:
    """Memory in use on the scenario's GPUs, by whoever uses it; None without a GPU."""
    gpus = [device for device in devices if device.kind is DeviceKind.GPU]
    if not gpus:
        return None
    in_use = 0
    for device in gpus:
        free, total = mx.context.gpu_memory_info(device.index)
        in_use += total - free
    return in_use
