"""PyTorch as a `Trainee`: `hybridize=off` is eager, `compile` one compiled step per batch.

Written for speed: the networks are functions of a list of weights, without modules and their calls; the gradients come
out multiplied with minus the learning rate, so that the update is one addition over all weights, as MXNet's
`update=flat`; nothing is read back before the end of an epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bench import peers
from bench.environment import describe_software
from bench.peers import TrainedEpoch
from bench.record import Software
from bench.scenario import Framework, Scenario
from mnist_core.devices import Device, DeviceKind, Probe, Unusable, last_line
from mnist_core.idx import Split
from mnist_core.order import EpochOrder, batches, shares
from mnist_core.probe import classify
from mnist_core.recipe import Hybridize, Layers, Network, Recipe

try:
    import torch
    from torch.nn import functional
except ImportError as error:
    raise peers.unavailable(Framework.TORCH, error) from error

#: PyTorch is not installed where the types are checked.
Tensor: TypeAlias = Any
TorchDevice: TypeAlias = Any

# float32 all the way: cuDNN would else use TF32, whose factors have 10 bits.
torch.backends.fp32_precision = "ieee"
torch.backends.cudnn.benchmark = True  # the fastest kernel for each shape, chosen while it is warmed up


def describe() -> Software:
    backends = torch.backends
    features = {
        f"cpu capability {backends.cpu.get_cpu_capability()}": True,
        "mkl": backends.mkl.is_available(),
        "mkldnn": backends.mkldnn.is_available(),
        "openmp": backends.openmp.is_available(),
        f"cuda {torch.version.cuda}": torch.version.cuda is not None,
        f"cudnn {backends.cudnn.version()}": backends.cudnn.is_available(),
    }
    return describe_software("torch", str(torch.__version__), tuple(name for name, on in features.items() if on))


def make(scenario: Scenario, recipe: Recipe, train: Split) -> TorchTrainee:
    return TorchTrainee(scenario, recipe, train)


def matrix_product(device: Device, size: int) -> Callable[[], None]:
    place = _device_of(device)
    left, right = (torch.rand(size, size, device=place) for _ in range(2))
    product = torch.empty(size, size, device=place)

    def multiply() -> None:
        torch.mm(left, right, out=product)
        _wait(place)

    return multiply


def vector_sum(device: Device, elements: int) -> Callable[[], None]:
    place = _device_of(device)
    b, c = (torch.rand(elements, device=place) for _ in range(2))
    a = torch.empty(elements, device=place)

    def add() -> None:
        torch.add(b, c, out=a)
        _wait(place)

    return add


def probe(device: Device) -> Probe:
    if device.kind is DeviceKind.GPU:
        if torch.version.cuda is None:
            return Probe(device, Unusable.NO_CUDA_BUILD, f"the installed PyTorch {torch.__version__} is a CPU build")
        if not torch.cuda.is_available():
            return Probe(device, Unusable.NO_DRIVER, "PyTorch finds no usable NVIDIA driver or no GPU")
        if device.index >= torch.cuda.device_count():
            detail = f"{device} is not here: GPUs visible to CUDA: {torch.cuda.device_count()}"
            return Probe(device, Unusable.NO_SUCH_DEVICE, detail)
    try:
        return _computed(device)
    except RuntimeError as error:
        return Probe(device, classify(str(error)), f"{device}: {last_line(str(error))}")


def _computed(device: Device) -> Probe:
    """A matrix product and a convolution of ones, whose results are exact in every precision."""
    place = _device_of(device)
    product = torch.ones(64, 64, device=place) @ torch.ones(64, 64, device=place)
    image, kernel = torch.ones(1, 1, 5, 5, device=place), torch.ones(1, 1, 3, 3, device=place)
    convolution = functional.conv2d(image, kernel)
    if not bool((product == 8 * 8).all() and (convolution == 3 * 3).all()):
        return Probe(device, Unusable.WRONG_RESULT, f"{device} computes wrong numbers")
    if device.kind is DeviceKind.CPU:
        return Probe(device)
    card = torch.cuda.get_device_properties(place)
    return Probe(
        device,
        gpu_name=str(card.name),
        compute_capability=f"{card.major}.{card.minor}",
        memory_bytes=int(card.total_memory),
    )


# --- the networks, as functions of their weights


def _mlp(weights: Sequence[Tensor], images: Tensor) -> Tensor:
    first, first_bias, second, second_bias, last, last_bias = weights
    x = functional.relu(functional.linear(images.flatten(1), first, first_bias))
    x = functional.relu(functional.linear(x, second, second_bias))
    return functional.linear(x, last, last_bias)


def _lenet(weights: Sequence[Tensor], images: Tensor, activated: Callable[[Tensor], Tensor]) -> Tensor:
    conv1, conv1_bias, conv2, conv2_bias, fc1, fc1_bias, fc2, fc2_bias = weights
    x = activated(functional.conv2d(images, conv1, conv1_bias))
    x = activated(functional.conv2d(x, conv2, conv2_bias))
    x = torch.tanh(functional.linear(x.flatten(1), fc1, fc1_bias))
    return torch.tanh(functional.linear(x, fc2, fc2_bias))


def _tutorial_lenet(weights: Sequence[Tensor], images: Tensor) -> Tensor:
    return _lenet(weights, images, lambda x: _pooled(torch.tanh(x)))


def _pool_first_lenet(weights: Sequence[Tensor], images: Tensor) -> Tensor:
    """tanh grows with its argument: the maximum is the same, and it is taken of a quarter as many."""
    return _lenet(weights, images, lambda x: torch.tanh(_pooled(x)))


def _sliced_lenet(weights: Sequence[Tensor], images: Tensor) -> Tensor:
    """The same, a pooling as the maximum of four slices: once compiled with channels last, a fifth faster."""
    return _lenet(weights, images, lambda x: torch.tanh(_pooled_by_slices(x)))


def _pooled(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 2)


def _pooled_by_slices(x: Tensor) -> Tensor:
    x = torch.maximum(x[:, :, 0::2], x[:, :, 1::2])
    return torch.maximum(x[..., 0::2], x[..., 1::2])


Apply: TypeAlias = Callable[[Sequence[Tensor], Tensor], Tensor]


def _network_of(scenario: Scenario) -> Apply:
    if scenario.network == Network.MLP:
        return _mlp
    if scenario.layers is Layers.TUTORIAL:
        return _tutorial_lenet
    return _sliced_lenet if scenario.hybridize is Hybridize.COMPILE else _pool_first_lenet


# --- a step


@dataclass(frozen=True, slots=True)
class _Replica:
    """One device's weights, which are the same on all of them, and its copy of the training set."""

    device: TorchDevice
    weights: list[Tensor]
    images: Tensor
    labels: Tensor
    #: (): minus the learning rate. A tensor, since a number would be compiled in.
    scale: Tensor


@dataclass(frozen=True, slots=True)
class _Share:
    """One device's part of a batch."""

    index: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class _Outcome:
    """Of one share."""

    #: (): its part of the batch's mean loss.
    loss: Tensor
    #: (n,): the digits.
    predicted: Tensor


def _gradients(
    apply: Apply, weights: Sequence[Tensor], images: Tensor, index: Tensor, labels: Tensor, scale: Tensor
) -> tuple[Sequence[Tensor], Tensor, Tensor]:
    """Of the mean loss of the images at `index`, times `scale`; that loss; the predicted digits."""
    scores = apply(weights, images.index_select(0, index))
    loss = functional.cross_entropy(scores, labels)
    return torch.autograd.grad(loss, weights, scale), loss.detach(), scores.detach().argmax(1)


def _step(
    apply: Apply, weights: Sequence[Tensor], images: Tensor, index: Tensor, labels: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """The same, with the update."""
    gradients, loss, predicted = _gradients(apply, weights, images, index, labels, scale)
    with torch.no_grad():
        torch._foreach_add_(weights, gradients)  # documented, in spite of its name
    return loss, predicted


#: Two sizes of shares of a full batch, and two of a smaller last one.
_MOST_SHAPES = 4


def _compiled(function: Callable[..., Any], places: Sequence[TorchDevice]) -> Callable[..., Any]:
    """Each shape by itself, on each device: a graph for any batch size would be slower for all of them."""
    dynamo = torch._dynamo.config  # noqa: SLF001  # settings have no other name
    dynamo.trace_autograd_ops = True  # backward and update in the graph of the forward pass
    dynamo.recompile_limit = max(dynamo.recompile_limit, _MOST_SHAPES * len(places))
    on_cpu = all(place.type == "cpu" for place in places)
    # Without the wrapper in C++ an MLP's step spends a twelfth of its time in the one in Python.
    options = {"cpp_wrapper": True} if on_cpu else {}
    compiled: Callable[..., Any] = torch.compile(function, dynamic=False, fullgraph=True, options=options)
    return compiled


class TorchTrainee:
    """One replica for each device, all in this process, as MXNet's loop has it."""

    def __init__(self, scenario: Scenario, recipe: Recipe, train: Split) -> None:
        torch.set_num_threads(peers.cpu_threads(scenario.devices))
        self._scenario = scenario
        self._recipe = recipe
        self._places = [_device_of(device) for device in scenario.devices]
        self._data = [_on_device(train, scenario.layers, place) for place in self._places]
        self._samples = len(train.images)
        self._apply = _network_of(scenario)
        self._step: Callable[..., tuple[Tensor, Tensor]] = _step
        self._gradients: Callable[..., tuple[Sequence[Tensor], Tensor, Tensor]] = _gradients
        if scenario.hybridize is Hybridize.COMPILE:
            torch.compiler.reset()  # what a scenario before this one left, in a pass of a gate
            self._step, self._gradients = (_compiled(each, self._places) for each in (_step, _gradients))
        self._replicas: list[_Replica]
        self._order: EpochOrder

    @property
    def weights(self) -> list[Tensor]:
        """Of the first device: weight, bias, weight, bias, …"""
        return self._replicas[0].weights

    def build(self) -> None:
        initial = peers.initial_weights(self._scenario.network, self._recipe)
        self._replicas = [
            _Replica(
                device=place,
                weights=[_own(torch.tensor(each), self._scenario.layers, place).requires_grad_() for each in initial],
                images=images,
                labels=labels,
                scale=torch.tensor(-self._recipe.learning_rate, device=place),
            )
            for place, (images, labels) in zip(self._places, self._data, strict=True)
        ]

    def set_learning_rate(self, value: float) -> None:
        for replica in self._replicas:
            replica.scale.fill_(-value)

    def train_throwaway_batch(self, size: int) -> None:
        self._train(np.arange(size), [size])
        self.wait()

    def prepare(self) -> None:
        """The training set is on the devices already."""
        self._order = EpochOrder(self._samples, self._recipe.seed)

    def train_epoch(self) -> TrainedEpoch:
        sizes = [end - begin for begin, end in batches(self._samples, self._scenario.batch_size)]
        return self._train(self._order.next_epoch(), sizes)

    def wait(self) -> None:
        for place in self._places:
            _wait(place)

    def evaluate(self, test: Split) -> float:
        correct = 0
        parts = shares(len(test.images), len(self._replicas))
        for replica, (first, last) in zip(self._replicas, parts, strict=False):
            part = Split(test.images[first:last], test.labels[first:last])
            images, labels = _on_device(part, self._scenario.layers, replica.device)
            with torch.no_grad():
                predicted = [
                    self._apply(replica.weights, images[begin:end]).argmax(1)
                    for begin, end in batches(last - first, self._scenario.batch_size)
                ]
            correct += int((torch.cat(predicted) == labels).sum())
        return correct / len(test.images)

    def device_memory_bytes(self) -> int | None:
        gpus = [place for place in self._places if place.type == "cuda"]
        if not gpus:
            return None
        return sum(int(total - free) for free, total in map(torch.cuda.mem_get_info, gpus))

    def _train(self, order: NDArray[np.intp], sizes: Sequence[int]) -> TrainedEpoch:
        """Batches of these sizes from the images in this order; the only wait is for the count of right answers."""
        train_batch = self._train_on_one if len(self._replicas) == 1 else self._train_on_several
        batch: list[_Share] = []
        outcomes: list[_Outcome] = []
        hits: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self._replicas]
        for batch in self._batches(order, sizes):
            outcomes = train_batch(batch)
            for own, share, outcome in zip(hits, batch, outcomes, strict=False):
                own.append((outcome.predicted, share.labels))
        correct = sum(int((predicted == labels).sum()) for predicted, labels in map(_joined, filter(None, hits)))
        return TrainedEpoch(
            samples=len(order),
            train_accuracy=correct / len(order),
            last_losses=tuple(outcome.loss for outcome in outcomes),
        )

    def _batches(self, order: NDArray[np.intp], sizes: Sequence[int]) -> Iterator[list[_Share]]:
        """Each device's share of each batch. The order is copied to a device, and the labels put into it, once."""
        parts = [[last - first for first, last in shares(size, len(self._replicas))] for size in sizes]
        every = list(itertools.chain.from_iterable(parts))
        split = []
        for replica in self._replicas:
            index = torch.from_numpy(order).to(replica.device)
            split.append((index.split(every), replica.labels[index].split(every)))
        begin = 0
        for own in parts:
            yield [_Share(*(pieces[begin + k] for pieces in split[k])) for k in range(len(own))]
            begin += len(own)

    def _train_on_one(self, batch: Sequence[_Share]) -> list[_Outcome]:
        (replica,), (share,) = self._replicas, batch
        return [
            _Outcome(
                *self._step(self._apply, replica.weights, replica.images, share.index, share.labels, replica.scale)
            )
        ]

    def _train_on_several(self, batch: Sequence[_Share]) -> list[_Outcome]:
        """Gradients on every device, added on the first, whose new weights go to the others."""
        size = sum(len(share.index) for share in batch)
        first, *others = self._replicas
        outcomes, sums = [], []
        for replica, share in zip(self._replicas, batch, strict=False):
            part = len(share.index) / size
            gradients, loss, predicted = self._gradients(
                self._apply, replica.weights, replica.images, share.index, share.labels, replica.scale * part
            )
            outcomes.append(_Outcome(loss * part, predicted))
            sums.append(gradients)
        with torch.no_grad():
            for gradients in sums:
                torch._foreach_add_(first.weights, [each.to(first.device) for each in gradients])
            for other in others:
                torch._foreach_copy_(other.weights, first.weights)
        return outcomes


def _joined(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([predicted for predicted, _ in pairs]), torch.cat([labels for _, labels in pairs])


# --- devices


def _device_of(device: Device) -> TorchDevice:
    """All virtual CPU devices are the same to PyTorch."""
    return torch.device("cpu") if device.kind is DeviceKind.CPU else torch.device("cuda", device.index)


def _wait(place: TorchDevice) -> None:
    """The CPU has done whatever was asked of it when the call returns."""
    if place.type == "cuda":
        torch.cuda.synchronize(place)


def _on_device(split: Split, layers: Layers, place: TorchDevice) -> tuple[Tensor, Tensor]:
    """(n, 1, 28, 28) float32 images and (n,) int64 labels."""
    images = torch.from_numpy(peers.as_input(split)[:, np.newaxis])
    return _own(images, layers, place), torch.from_numpy(split.labels.astype(np.int64)).to(place)


def _own(tensor: Tensor, layers: Layers, place: TorchDevice) -> Tensor:
    """On the device, the channels of images and convolutions innermost where the layers say so."""
    images_or_convolution = 4
    if layers is Layers.CHANNELS_LAST and tensor.dim() == images_or_convolution:
        return tensor.to(place, memory_format=torch.channels_last)
    return tensor.to(place)
