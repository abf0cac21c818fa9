"""How the weights are updated: by the tutorial's trainer, on one machine or several, or as one flat array."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mnist_core import networks, training
from mnist_core.mxnet_border import autograd, gluon, mx, nd
from mnist_core.networks import Array, Block
from mnist_core.parts.batch import Part, Rank, Store
from mnist_core.recipe import Hybridize, Loop, Recipe
from mnist_core.training import Context


class WeightUpdate(Protocol):
    def set_learning_rate(self, value: float) -> None: ...

    def scale(self, size: int) -> float | None:
        """What the gradients of a batch of `size` images are to be multiplied with; None: left as they are."""

    def skip(self, net: Block, part: Part, idle: Sequence[Context]) -> None:
        """Some contexts had no image in this batch."""

    def __call__(self, size: int, parts: int) -> None:
        """Update on the gradients of the first `parts` contexts."""


class TrainerUpdate:
    """The tutorial's: `gluon.Trainer`."""

    def __init__(self, net: Block, loop: Loop, recipe: Recipe, store: Store | None = None) -> None:
        self._parameters = [each for each in net.collect_params().values() if each.grad_req != "null"]
        self._marks = loop.hybridize is Hybridize.BOUND
        self._trainer = gluon.Trainer(
            net.collect_params(),
            "sgd",
            {"learning_rate": recipe.learning_rate},
            kvstore=store or str(loop.kvstore),
            update_on_kvstore=None if loop.update_on_kvstore else False,  # None: where there is a store
        )

    def set_learning_rate(self, value: float) -> None:
        self._trainer.set_learning_rate(value)

    @property
    def optimizer(self) -> Any:  # noqa: ANN401  # MXNet has no types
        """The trainer's own."""
        return self._trainer.optimizer

    def send_weights(self) -> None:
        """Give the store the initial weights, and wait for it.

        The first step would do so, too, and ask for them back. But it does not wait: what came back to a rank was now
        and then the sum of the first gradients, which had overtaken its question.
        """
        self._trainer._init_kvstore()  # noqa: SLF001  # MXNet has no other way
        self._trainer._init_params()  # noqa: SLF001
        mx.nd.waitall()

    def scale(self, size: int) -> None:  # noqa: ARG002  # the other kind needs it
        return None

    def skip(self, net: Block, part: Part, idle: Sequence[Context]) -> None:
        training.clear_idle_gradients(net, part.images[:1], part.labels[:1], idle)

    def __call__(self, size: int, parts: int) -> None:  # noqa: ARG002  # the trainer takes every context's gradient
        if self._marks:
            # The trainer asks whether autograd has written the gradient; here it was an executor.
            for parameter in self._parameters:
                for array in parameter.list_data():
                    array._fresh_grad = True  # noqa: SLF001  # MXNet has no other way to say it
        self._trainer.step(size)


class DistributedUpdate:
    """`gluon.Trainer` with a distributed store, which has two more rules.

    Its servers take the optimizer as it is at the first step, so that another learning rate must be sent to them. And
    they divide all gradients by the images of a full batch: those of a smaller one are multiplied before.
    """

    def __init__(self, net: Block, loop: Loop, recipe: Recipe, batch_size: int, rank: Rank) -> None:
        self._updates = TrainerUpdate(net, loop, recipe, rank.store)
        self._batch_size = batch_size
        self._store: Store = rank.store
        self._compresses = rank.compresses
        self._on_servers = loop.update_on_kvstore
        self._has_stepped = False

    def set_learning_rate(self, value: float) -> None:
        self._updates.set_learning_rate(value)
        if self._on_servers and self._has_stepped:
            mx.nd.waitall()
            self._store._barrier()  # noqa: SLF001  # MXNet has no other
            self._store.set_optimizer(self._updates.optimizer)
            self._store._barrier()  # noqa: SLF001

    def scale(self, size: int) -> float | None:
        if self._compresses and self._updates.optimizer.learning_rate == 0:
            return 0.0  # what it left out of these gradients would come with the first ones that count
        return None if size == self._batch_size else self._batch_size / size

    def skip(self, net: Block, part: Part, idle: Sequence[Context]) -> None:
        self._updates.skip(net, part, idle)

    def __call__(self, size: int, parts: int) -> None:  # noqa: ARG002  # the gradients are scaled already
        if not (self._on_servers or self._has_stepped):
            self._updates.send_weights()
        self._updates(self._batch_size, parts)
        self._has_stepped = True


#: Of a share's mean gradient: nine of ten of its numbers are smaller on MNIST, those of the MLP and of the LeNet, and
#: a larger one is sent in a few steps. What is left out moves no weight by more than 0.001 at the tutorial's learning
#: rate; weights are around 0.05. For 50 images it is MXNet's own default of 0.5, which is of their sum.
_MEAN_THRESHOLD = 0.01


def compression_threshold(ranks: int, batch_size: int, factor: float) -> float:
    """Return what a rank sends of a number of its gradient, where it sends anything.

    Its gradients are of the summed loss of its share, times `factor`. The servers are told six decimals of the
    threshold: the rank goes by the same ones.
    """
    return max(1e-6, round(_MEAN_THRESHOLD * batch_size / ranks * factor, 6))


def compress(store: Store, threshold: float) -> None:
    """Let a store send two bits for each number of a gradient, and add what they leave out to the next gradient.

    It then refuses to push and pull in one call, so that it does so in two.
    """
    store.set_gradient_compression({"type": "2bit", "threshold": threshold})

    def pushpull(key: int, value: Sequence[Array], out: Sequence[Array] | None = None, priority: int = 0) -> None:
        store.push(key, value, priority)
        store.pull(key, value if out is None else out, priority)

    store.pushpull = pushpull


@dataclass(frozen=True, slots=True)
class _FlatArrays:
    """The trained weights of one context in one array, and their gradients in another of the same shape."""

    weights: Array
    gradients: Array


class FlatUpdate:
    """weights += gradients, which carry the factor -learning rate / batch size already."""

    def __init__(self, arrays: Sequence[_FlatArrays], learning_rate: float, store: Store | None = None) -> None:
        self._first, *self._others = arrays
        self._received = [nd.zeros_like(self._first.gradients) for _ in self._others]
        self._learning_rate = learning_rate
        self._store = store
        if store is not None:
            self._sum = nd.zeros_like(self._first.gradients)
            store.init(_FLAT_KEY, self._sum)

    def set_learning_rate(self, value: float) -> None:
        self._learning_rate = value

    def scale(self, size: int) -> float:
        return -self._learning_rate / size

    def skip(self, net: Block, part: Part, idle: Sequence[Context]) -> None:
        """Their gradients are not added."""

    def __call__(self, size: int, parts: int) -> None:  # noqa: ARG002  # the other kind needs it
        weights = self._first.weights
        if self._store is None:
            nd.elemwise_add(weights, self._first.gradients, out=weights)
            for received, other in zip(self._received[: parts - 1], self._others, strict=False):
                other.gradients.copyto(received)
                nd.elemwise_add(weights, received, out=weights)
        else:
            if parts == 0:
                self._first.gradients[:] = 0
            gradients = [each.gradients for each in (self._first, *self._others)][: max(1, parts)]
            self._store.pushpull(_FLAT_KEY, gradients, out=self._sum)
            nd.elemwise_add(weights, self._sum, out=weights)
        for other in self._others:
            weights.copyto(other.weights)


#: Of the one array in which a distributed store adds up all gradients.
_FLAT_KEY = 0


def lay_flat(net: Block, contexts: Sequence[Context]) -> list[_FlatArrays]:
    """Move every trained weight of an initialized network, and its gradient, into one array for each context.

    The parameters become views of it, so that the network works as before.
    """
    trained = [each for each in net.collect_params().values() if each.grad_req != "null"]
    if len({np.dtype(each.dtype) for each in trained}) > 1:
        raise networks.NetworkError("update=flat needs weights of one type; use update=trainer")
    flat = []
    views: list[list[tuple[Array, Array]]] = [[] for _ in trained]
    for context in contexts:
        weights = nd.concat(*[each.data(context).reshape((-1,)) for each in trained], dim=0)
        arrays = _FlatArrays(weights, nd.zeros_like(weights))
        flat.append(arrays)
        begin = 0
        for parameter, own in zip(trained, views, strict=True):
            end = begin + int(np.prod(parameter.shape))
            own.append(
                (
                    arrays.weights[begin:end].reshape(parameter.shape),
                    arrays.gradients[begin:end].reshape(parameter.shape),
                )
            )
            begin = end
    for parameter, own in zip(trained, views, strict=True):
        parameter._data = [weight for weight, _ in own]  # noqa: SLF001  # `set_data` would copy out of the flat array
        parameter._grad = [gradient for _, gradient in own]  # noqa: SLF001
        autograd.mark_variables(parameter._data, parameter._grad, parameter.grad_req)  # noqa: SLF001
    return flat
