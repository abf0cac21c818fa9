"""PyTorch as a `Workload`: the training set on the devices, nothing read back before the end of an epoch.

`pytorch_steps` has what is done with a batch.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.machine.software import describe_software
from bench.records.environment import Software
from bench.scenarios.axes import Exchange, Framework
from bench.scenarios.scenario import Scenario
from bench.worker.backends import common
from bench.worker.backends.common import TrainedEpoch
from bench.worker.protocol.requests import RankPlace
from mnist_core.devices import Device, DeviceKind, Probe, Unusable, last_line
from mnist_core.idx import Split
from mnist_core.order import EpochOrder, batches, rank_share, shares
from mnist_core.probe import classify
from mnist_core.recipe import Hybridize, Layers, Network, Precision, Recipe

try:
    import torch
    from torch.nn import functional

    from bench.worker.backends import pytorch_ranks, pytorch_steps
    from bench.worker.backends.pytorch_steps import Outcome, Share, Steps, Task, Tensor, TorchDevice
except ImportError as error:
    raise common.unavailable(Framework.TORCH, error) from error

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


def join(place: RankPlace) -> None:
    pytorch_ranks.join(place)


def share_array(place: RankPlace, device: Device, elements: int) -> pytorch_ranks.ReducedArray:  # noqa: ARG001  # joined
    return pytorch_ranks.ReducedArray(_device_of(device), elements)


def create_workload(
    scenario: Scenario, recipe: Recipe, train: Split, place: RankPlace | None = None
) -> PyTorchWorkload:
    return PyTorchWorkload(scenario, recipe, train, place)


def matrix_product(device: Device, size: int, precision: Precision) -> Callable[[], None]:
    place, own_type = _device_of(device), pytorch_steps.TYPES.get(precision, torch.float32)
    _compute_float32_in(precision)
    left, right = (torch.rand(size, size, device=place).to(own_type) for _ in range(2))
    product = torch.empty(size, size, device=place, dtype=own_type)

    def multiply() -> None:
        torch.mm(left, right, out=product)
        _wait(place)

    return multiply


def product_kernel(device: Device, size: int, precision: Precision) -> str | None:
    """Return the kernel of oneDNN with its instructions; float32 is multiplied by MKL, which tells nothing."""
    multiply = matrix_product(device, size, precision)
    verbose = torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON)
    with common.standard_output() as printed, verbose:
        multiply()
    kernels: list[str] = _MATMUL.findall(printed())
    return kernels[-1] if kernels else None


#: A line of oneDNN: operation, kernel.
_MATMUL: Final = re.compile(r",exec,cpu,matmul,([^,]+),")


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


class PyTorchWorkload:
    """One replica for each device, all in this process, as MXNet's loop has it; or one, as a rank of several."""

    def __init__(self, scenario: Scenario, recipe: Recipe, train: Split, place: RankPlace | None = None) -> None:
        torch.set_num_threads(common.cpu_threads(scenario.devices))
        _compute_float32_in(scenario.precision)
        self._scenario = scenario
        self._recipe = recipe
        self._devices = [_device_of(device) for device in scenario.devices]
        self._gpus = [device for device in self._devices if device.type == "cuda"]
        self._data = [_on_device(train, scenario.layers, device) for device in self._devices]
        self._samples = len(train.images)
        self._rank, self._ranks = (0, 1) if place is None else (place.rank, place.ranks)
        self._exchanges = scenario.exchange is not Exchange.NONE
        self._steps: Steps
        self._order: EpochOrder

    def build(self) -> None:
        task = Task(
            network=Network(self._scenario.network),
            hybridize=self._scenario.hybridize,
            layers=self._scenario.layers,
            devices=self._devices,
            initial=common.initial_weights(self._scenario.network, self._recipe),
            learning_rate=self._recipe.learning_rate,
            precision=self._scenario.precision,
            exchanges=self._exchanges,
        )
        self._steps = pytorch_steps.make_steps(task, self._scenario.update)

    def set_learning_rate(self, value: float) -> None:
        self._steps.set_learning_rate(value)

    def train_throwaway_batch(self, size: int) -> None:
        self._train(np.arange(size), [size])
        self.wait()

    def prepare(self) -> None:
        """The training set is on the devices already."""
        self._order = EpochOrder(self._samples, self._recipe.seed)
        for gpu in self._gpus:
            torch.cuda.reset_peak_memory_stats(gpu)

    def train_epoch(self) -> TrainedEpoch:
        sizes = [end - begin for begin, end in batches(self._samples, self._scenario.batch_size)]
        return self._train(self._order.next_epoch(), sizes)

    def wait(self) -> None:
        for device in self._devices:
            _wait(device)

    def barrier(self) -> None:
        if self._exchanges:
            pytorch_ranks.barrier()

    def weights_digest(self) -> str:
        return common.digest(self.weights())

    def weights(self) -> list[NDArray[np.float32]]:
        return [np.array(weight.detach().cpu()) for weight in self._steps.weights]

    def set_weights(self, weights: Sequence[NDArray[np.float32]]) -> None:
        with torch.no_grad():
            for own, weight in zip(self._steps.weights, weights, strict=True):
                own.copy_(torch.from_numpy(weight))
        self._steps.send_weights()

    def scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        own = pytorch_steps.placed(torch.from_numpy(images), self._scenario.layers, self._devices[0])
        with torch.no_grad():
            return np.array(self._steps.scores(0, own).float().cpu())

    def evaluate(self, test: Split) -> float:
        correct = 0
        parts = shares(len(test.images), len(self._devices))
        for k, (device, (first, last)) in enumerate(zip(self._devices, parts, strict=False)):
            part = Split(test.images[first:last], test.labels[first:last])
            images, labels = _on_device(part, self._scenario.layers, device)
            with torch.no_grad():
                predicted = [
                    self._steps.scores(k, images[begin:end]).argmax(1)
                    for begin, end in batches(last - first, self._scenario.batch_size)
                ]
            correct += int((torch.cat(predicted) == labels).sum())
        return correct / len(test.images)

    def predictor(self, batch_size: int) -> Callable[[NDArray[np.float32]], NDArray[np.int64]]:  # noqa: ARG002  # any
        layers, device = self._scenario.layers, self._devices[0]

        def digits(images: Tensor) -> Tensor:
            return self._steps.scores(0, images).argmax(1)

        # Without the wrapper in C++ of a step: of a shape it takes seconds to compile, and wins no query anything.
        found_by = torch.compile(digits, dynamic=False) if self._scenario.hybridize is Hybridize.COMPILE else digits

        def predict(images: NDArray[np.float32]) -> NDArray[np.int64]:
            with torch.inference_mode():
                own = pytorch_steps.placed(torch.from_numpy(images), layers, device)
                found: NDArray[np.int64] = found_by(own).cpu().numpy()
            return found

        return predict

    def device_memory_bytes(self) -> int | None:
        if not self._gpus:
            return None
        return sum(int(total - free) for free, total in map(torch.cuda.mem_get_info, self._gpus))

    def device_peak_bytes(self) -> int | None:
        return sum(map(torch.cuda.max_memory_allocated, self._gpus)) if self._gpus else None

    def _train(self, order: NDArray[np.intp], sizes: Sequence[int]) -> TrainedEpoch:
        """Batches of these sizes from the images in this order; the only wait is for the count of right answers."""
        order, own_sizes = self._own(order, sizes)
        outcomes: list[Outcome] = []
        hits: list[list[tuple[Tensor, Tensor]]] = [[] for _ in self._devices]
        for batch in self._batches(order, own_sizes, sizes):
            outcomes = self._steps.train(batch)
            for own, share, outcome in zip(hits, batch, outcomes, strict=False):
                if share.part:
                    own.append((outcome.predicted, share.labels))
        correct = sum(int((predicted == labels).sum()) for predicted, labels in map(_joined, filter(None, hits)))
        samples = sum(own_sizes)
        return TrainedEpoch(
            samples=samples,
            train_accuracy=correct / samples if samples else 0.0,  # no image of a throw-away batch
            last_losses=tuple(outcome.loss for outcome in outcomes),
        )

    def _own(self, order: NDArray[np.intp], sizes: Sequence[int]) -> tuple[NDArray[np.intp], list[int]]:
        """Return this rank's images of the batches, and how many it has of each."""
        if self._ranks == 1:
            return order, list(sizes)
        ends = itertools.accumulate(sizes)
        taken = [
            (end - size, *rank_share(size, self._rank, self._ranks)) for end, size in zip(ends, sizes, strict=True)
        ]
        own = np.concatenate([order[begin + first : begin + last] for begin, first, last in taken])
        return own, [last - first for _begin, first, last in taken]

    def _batches(
        self, order: NDArray[np.intp], own_sizes: Sequence[int], sizes: Sequence[int]
    ) -> Iterator[list[Share]]:
        """Each device's share of each batch. The order is copied to a device, and the labels put into it, once."""
        parts = [[last - first for first, last in shares(own, len(self._devices))] if own else [] for own in own_sizes]
        every = list(itertools.chain.from_iterable(parts))
        split = []
        for device, (images, labels) in zip(self._devices, self._data, strict=True):
            index = torch.from_numpy(order).to(device)
            split.append((images, index.split(every), labels[index].split(every)))
        begin = 0
        for own, size in zip(parts, sizes, strict=True):
            yield [
                Share(images, index[begin + k], labels[begin + k], part / size)
                for k, (part, (images, index, labels)) in enumerate(zip(own, split, strict=False))
            ] or [self._nothing()]
            begin += len(own)

    def _nothing(self) -> Share:
        """Return the share of a rank that has no image of a small batch, and must take part in the exchange."""
        ((images, labels), *_) = self._data
        first = torch.zeros(1, dtype=torch.int64, device=images.device)
        return Share(images, first, labels[:1], 0.0)


def _joined(pairs: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([predicted for predicted, _ in pairs]), torch.cat([labels for _, labels in pairs])


# --- devices


def _compute_float32_in(precision: Precision) -> None:
    """Let products of float32 be float32 all the way; else cuDNN would use TF32, whose factors have 10 bits."""
    torch.backends.fp32_precision = "tf32" if precision is Precision.TF32 else "ieee"


def _device_of(device: Device) -> TorchDevice:
    """Return PyTorch's device; it knows one CPU device alone."""
    return torch.device("cpu") if device.kind is DeviceKind.CPU else torch.device("cuda", device.index)


def _wait(place: TorchDevice) -> None:
    """Wait for a device; on the CPU, every call returns when its work is done."""
    if place.type == "cuda":
        torch.cuda.synchronize(place)


def _on_device(split: Split, layers: Layers, place: TorchDevice) -> tuple[Tensor, Tensor]:
    """(n, 1, 28, 28) float32 images and (n,) int64 labels."""
    images = torch.from_numpy(common.as_input(split)[:, np.newaxis])
    return pytorch_steps.placed(images, layers, place), torch.from_numpy(split.labels.astype(np.int64)).to(place)
