"""How PyTorch trains on a batch: as its own tutorials write it, and by hand for speed.

Plain: modules, `backward()`, `torch.optim.SGD`. By hand: the networks are functions of a list of weights, without
modules and their calls; the gradients come out multiplied with minus the learning rate, so that the update is one
addition over all weights, as MXNet's `update=flat`. Compiled, the plain one has its networks compiled, the other the
whole step.

In types of 16 bits the plain one has its forward pass under autocast, and a `GradScaler` for float16. By hand, weights
and images are rounded where they are used, and the loss is scaled for float16. Weights, loss, gradients of weights and
update are float32 in both.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import shlex
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from bench.worker.backends import common, pytorch_ranks
from mnist_core.recipe import Hybridize, Layers, Network, Precision, Update

#: PyTorch is not installed where the types are checked.
Tensor: TypeAlias = Any
TorchDevice: TypeAlias = Any
Module: TypeAlias = Any
Scaler: TypeAlias = Any

#: What is computed in types of 16 bits.
TYPES: Final = {Precision.BFLOAT16: torch.bfloat16, Precision.FLOAT16: torch.float16}


@dataclass(frozen=True, slots=True)
class Share:
    """One device's part of a batch: those images of its copy of the training set that `index` names."""

    images: Tensor
    index: Tensor
    labels: Tensor
    #: Fraction of the batch: 1 on a single device of a single process; 0 of an image that does not count.
    part: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step computed on one share."""

    #: (): its part of the batch's mean loss.
    loss: Tensor
    #: (n,): the digits.
    predicted: Tensor


class Steps(Protocol):
    """One network for each device, all with the same weights."""

    @property
    def weights(self) -> list[Tensor]:
        """Weights of the first device: weight, bias, weight, bias, …"""

    def set_learning_rate(self, value: float) -> None: ...

    def train(self, batch: Sequence[Share]) -> list[Outcome]:
        """Forward, backward and update; devices without a share get the new weights too."""

    def send_weights(self) -> None:
        """Let the other devices have the first one's weights."""

    def scores(self, device: int, images: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Task:
    """What is trained, where, and from which weights."""

    network: Network
    hybridize: Hybridize
    layers: Layers
    devices: Sequence[TorchDevice]
    initial: Sequence[NDArray[np.float32]]
    learning_rate: float
    precision: Precision = Precision.FLOAT32
    #: Whether the gradients are added up over ranks, each of which has one device.
    exchanges: bool = False


def make_steps(task: Task, update: Update) -> Steps:
    if task.hybridize is Hybridize.COMPILE:
        keep_whole_libraries()
        torch.compiler.reset()  # what a scenario before this one left, in a pass of a gate
        # Each shape by itself, on each device: a graph for any batch size would be slower for all of them.
        dynamo = torch._dynamo.config  # noqa: SLF001  # settings have no other name
        dynamo.recompile_limit = max(dynamo.recompile_limit, _MOST_SHAPES * len(task.devices))
    return HandWrittenSteps(task) if update is Update.FLAT else PlainSteps(task)


@functools.cache
def keep_whole_libraries() -> None:
    """Let a compiler write beside the place of its result, which is moved there when it is whole.

    PyTorch compiles into a folder that all processes share, and takes any file that it finds there. That of a process
    that was killed meanwhile would be an error in all later ones, or slower code without a word.
    """
    cpp_builder = importlib.import_module("torch._inductor.cpp_builder")  # slow to import, and for what is compiled
    run = cpp_builder.run_compile_cmd

    def run_and_move(command: str, cwd: str) -> None:
        words = shlex.split(command)
        place = words.index("-o") + 1
        target = Path(cwd, words[place])
        words[place] = f"{target}.{os.getpid()}"
        run(shlex.join(words), cwd)
        Path(words[place]).replace(target)

    cpp_builder.run_compile_cmd = run_and_move  # type: ignore[attr-defined]


#: Two sizes of shares of a full batch, and two of a smaller last one; or one image and three sizes of batches.
_MOST_SHAPES = 4


def placed(tensor: Tensor, layers: Layers, device: TorchDevice) -> Tensor:
    """On the device, the channels of images and convolutions innermost where the layers say so."""
    images_or_convolution = 4
    if layers is Layers.CHANNELS_LAST and tensor.dim() == images_or_convolution:
        return tensor.to(device, memory_format=torch.channels_last)
    return tensor.to(device)


# --- as its tutorials write it


def _module(network: Network, layers: Layers) -> Module:
    if network is Network.MLP:
        return nn.Sequential(
            nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
        )
    # tanh grows with its argument: the maximum is the same, and it is taken of a quarter as many.
    pool_first = layers is Layers.CHANNELS_LAST
    first, second = ((nn.MaxPool2d(2), nn.Tanh()) if pool_first else (nn.Tanh(), nn.MaxPool2d(2)) for _ in range(2))
    named = OrderedDict[str, Module](conv1=nn.Conv2d(1, 20, 5))
    named |= {"a1": first[0], "b1": first[1], "conv2": nn.Conv2d(20, 50, 5), "a2": second[0], "b2": second[1]}
    named |= {"flatten": nn.Flatten(), "fc1": nn.Linear(800, 500), "tanh3": nn.Tanh()}
    named |= {"fc2": nn.Linear(500, 10), "tanh4": nn.Tanh()}
    return nn.Sequential(named)


class PlainSteps:
    """Modules, the gradients of `backward()`, `torch.optim.SGD` with its defaults."""

    def __init__(self, task: Task) -> None:
        self._precision = task.precision
        self._nets = [_module(task.network, task.layers) for _ in task.devices]
        for net, device in zip(self._nets, task.devices, strict=True):
            with torch.no_grad():
                for parameter, initial in zip(net.parameters(), task.initial, strict=True):
                    parameter.data = placed(torch.tensor(initial), task.layers, device)
        compiled = task.hybridize is Hybridize.COMPILE
        if compiled and task.precision in TYPES:
            settings: Any = importlib.import_module("torch._functorch.config")
            settings.backward_pass_autocast = "off"  # noqa: S105  # no password: else `backward()` is under autocast
        self._forward = [torch.compile(net, dynamic=False) if compiled else net for net in self._nets]
        # Its own documentation's way to train on several machines. What is compiled adds up all gradients at once.
        self._averages = task.exchanges and not compiled
        self._sums = task.exchanges and compiled
        if self._averages:
            self._forward = [nn.parallel.DistributedDataParallel(net) for net in self._nets]
        self._optimizer = torch.optim.SGD(self._nets[0].parameters(), lr=task.learning_rate)
        self._scaler: Scaler
        self.set_learning_rate(task.learning_rate)

    @property
    def weights(self) -> list[Tensor]:
        return list(self._nets[0].parameters())

    def set_learning_rate(self, value: float) -> None:
        """Also begin a new scaler: what it has learnt of throw-away batches is not of the training."""
        for group in self._optimizer.param_groups:
            group["lr"] = value
        scales = self._precision is Precision.FLOAT16
        self._scaler = torch.amp.GradScaler(self.weights[0].device.type, enabled=scales)

    def train(self, batch: Sequence[Share]) -> list[Outcome]:
        outcomes = []
        for net, forward, share in zip(self._nets, self._forward, batch, strict=False):
            net.zero_grad()
            with self._autocast(share.images):
                scores = forward(share.images.index_select(0, share.index))
            loss = functional.cross_entropy(scores.float(), share.labels)
            if share.part != 1:
                loss = loss * share.part
            # A mean over ranks is their sum where each takes so much more of its loss.
            self._scaler.scale(loss * pytorch_ranks.count() if self._averages else loss).backward()
            outcomes.append(Outcome(loss.detach(), scores.detach().argmax(1)))
        self._add_other_gradients(len(batch))
        if self._sums:
            gradients = [parameter.grad for parameter in self._nets[0].parameters()]
            torch._foreach_copy_(gradients, pytorch_ranks.summed(gradients))
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self.send_weights()
        return outcomes

    def scores(self, device: int, images: Tensor) -> Tensor:
        with self._autocast(images):
            return self._nets[device](images)

    def _autocast(self, images: Tensor) -> AbstractContextManager[object]:
        own_type = TYPES.get(self._precision)
        return contextlib.nullcontext() if own_type is None else torch.autocast(images.device.type, own_type)

    def _add_other_gradients(self, parts: int) -> None:
        for other in self._nets[1:parts]:
            for own, parameter in zip(self._nets[0].parameters(), other.parameters(), strict=True):
                own.grad += parameter.grad.to(own.device)

    def send_weights(self) -> None:
        with torch.no_grad():
            for other in self._nets[1:]:
                for own, parameter in zip(self._nets[0].parameters(), other.parameters(), strict=True):
                    parameter.copy_(own)


# --- by hand


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
    return _lenet(weights, images, lambda x: torch.tanh(_pooled(x)))


def _sliced_lenet(weights: Sequence[Tensor], images: Tensor) -> Tensor:
    """The same, a pooling as the maximum of four slices: once compiled with channels last, a fifth faster."""
    return _lenet(weights, images, lambda x: torch.tanh(_pooled_by_slices(x)))


def _pooled(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 2)


def _pooled_by_slices(x: Tensor) -> Tensor:
    x = torch.maximum(x[:, :, 0::2], x[:, :, 1::2])
    return torch.maximum(x[..., 0::2], x[..., 1::2])


_Apply: TypeAlias = Callable[[Sequence[Tensor], Tensor], Tensor]


def _function(task: Task) -> _Apply:
    """Return the network as a function, which returns its scores in the type that it computes in."""
    apply, own_type = _float32_function(task), TYPES.get(task.precision)
    if own_type is None:
        return apply

    def rounded(weights: Sequence[Tensor], images: Tensor) -> Tensor:
        return apply([weight.to(own_type) for weight in weights], images.to(own_type))

    return rounded


def _float32_function(task: Task) -> _Apply:
    if task.network is Network.MLP:
        return _mlp
    if task.layers is Layers.TUTORIAL:
        return _tutorial_lenet
    return _sliced_lenet if task.hybridize is Hybridize.COMPILE else _pool_first_lenet


def _gradients(
    apply: _Apply, weights: Sequence[Tensor], images: Tensor, index: Tensor, labels: Tensor, scale: Tensor
) -> tuple[Sequence[Tensor], Tensor, Tensor]:
    """Return the gradients of the mean loss of the images at `index`, times `scale`; the loss; the predicted digits."""
    scores = apply(weights, images.index_select(0, index))
    loss = functional.cross_entropy(scores.float(), labels)
    if scores.dtype is torch.float16:
        large = torch.autograd.grad(loss, weights, torch.full_like(loss, common.LOSS_SCALE))
        gradients = [each * (scale / common.LOSS_SCALE) for each in large]
    else:
        gradients = torch.autograd.grad(loss, weights, scale)
    return gradients, loss.detach(), scores.detach().argmax(1)


def _step(
    apply: _Apply, weights: Sequence[Tensor], images: Tensor, index: Tensor, labels: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """The same, with the update."""
    gradients, loss, predicted = _gradients(apply, weights, images, index, labels, scale)
    with torch.no_grad():
        torch._foreach_add_(weights, gradients)  # documented, in spite of its name
    return loss, predicted


def _compiled(function: Callable[..., Any], devices: Sequence[TorchDevice]) -> Callable[..., Any]:
    torch._dynamo.config.trace_autograd_ops = True  # noqa: SLF001  # backward and update in the graph of the forward pass
    on_cpu = all(device.type == "cpu" for device in devices)
    # Without the wrapper in C++ an MLP's step spends a twelfth of its time in the one in Python.
    options = {"cpp_wrapper": True} if on_cpu else {}
    compiled: Callable[..., Any] = torch.compile(function, dynamic=False, fullgraph=True, options=options)
    return compiled


@dataclass(frozen=True, slots=True)
class _Replica:
    device: TorchDevice
    weights: list[Tensor]
    #: (): minus the learning rate. A tensor, since a number would be compiled in.
    scale: Tensor


class HandWrittenSteps:
    """Functions of a list of weights, and one addition as the update."""

    def __init__(self, task: Task) -> None:
        self._apply = _function(task)
        self._step: Callable[..., tuple[Tensor, Tensor]] = _step
        self._gradients: Callable[..., tuple[Sequence[Tensor], Tensor, Tensor]] = _gradients
        if task.hybridize is Hybridize.COMPILE:
            self._step, self._gradients = (_compiled(each, task.devices) for each in (_step, _gradients))
        self._exchanges = task.exchanges
        self._replicas = [
            _Replica(
                device,
                [placed(torch.tensor(each), task.layers, device).requires_grad_() for each in task.initial],
                torch.tensor(-task.learning_rate, device=device),
            )
            for device in task.devices
        ]

    @property
    def weights(self) -> list[Tensor]:
        return self._replicas[0].weights

    def set_learning_rate(self, value: float) -> None:
        for replica in self._replicas:
            replica.scale.fill_(-value)

    def train(self, batch: Sequence[Share]) -> list[Outcome]:
        if len(self._replicas) > 1 or self._exchanges:
            return self._train_on_several(batch)
        (replica,), (share,) = self._replicas, batch
        scale, part = replica.scale, share.part
        if part != 1:  # a rank that exchanges nothing
            scale = scale * part
        loss, predicted = self._step(self._apply, replica.weights, share.images, share.index, share.labels, scale)
        return [Outcome(loss if part == 1 else loss * part, predicted)]

    def send_weights(self) -> None:
        first, *others = self._replicas
        with torch.no_grad():
            for other in others:
                torch._foreach_copy_(other.weights, first.weights)

    def scores(self, device: int, images: Tensor) -> Tensor:
        return self._apply(self._replicas[device].weights, images)

    def _train_on_several(self, batch: Sequence[Share]) -> list[Outcome]:
        """Gradients on every device, added on the first and over all ranks; its new weights go to the others."""
        first, outcomes, every = self._replicas[0], [], []
        for replica, share in zip(self._replicas, batch, strict=False):
            gradients, loss, predicted = self._gradients(
                self._apply, replica.weights, share.images, share.index, share.labels, replica.scale * share.part
            )
            outcomes.append(Outcome(loss * share.part, predicted))
            every.append(pytorch_ranks.summed(gradients) if self._exchanges else gradients)
        with torch.no_grad():
            for gradients in every:
                torch._foreach_add_(first.weights, [each.to(first.device) for each in gradients])
        self.send_weights()
        return outcomes
