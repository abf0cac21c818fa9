"""How a batch is computed: recorded as the tutorial does, or as a graph that is bound to fixed arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from mnist_core import networks
from mnist_core.mxnet_border import autograd, gluon, mx, nd
from mnist_core.networks import Array, Block
from mnist_core.parts.batch import Outcome, Part
from mnist_core.recipe import Hybridize
from mnist_core.training import Context

#: MXNet has no types.
BoundExecutor: TypeAlias = Any


class Step(Protocol):
    def inputs(self, context: int, size: int) -> Part | None: ...

    def __call__(self, parts: Sequence[Part], scale: float | None) -> list[Outcome]:
        """Forward and backward on every context; gradients are of the summed loss, times `scale` unless it is None."""


class GluonStep:
    """The tutorial's: recorded, then backward from each context's loss."""

    def __init__(self, net: Block, hybridize: Hybridize, *, counts: bool) -> None:
        self._net = net
        self._count = CountCorrect() if counts else None
        if self._count is not None and hybridize is not Hybridize.OFF:
            self._count.hybridize(static_alloc=True, static_shape=True)
        self._heads = _Constants()

    def inputs(self, context: int, size: int) -> None:
        """No array is fixed."""

    def __call__(self, parts: Sequence[Part], scale: float | None) -> list[Outcome]:
        computed = []
        with autograd.record():
            for part in parts:
                z = self._net(part.images)
                loss = _SOFTMAX_CROSS_ENTROPY(z, part.labels)
                if scale is None:
                    loss.backward()
                else:
                    loss.backward(self._heads.get(loss.shape, scale, loss.context))
                computed.append((part.labels, z, loss))
        return [
            Outcome(labels=y, scores=z, losses=loss, correct=None if self._count is None else self._count(z, y))
            for y, z, loss in computed
        ]


class BoundStep:
    """Network, loss and, where wanted, the count of right answers, bound to fixed arrays for each size of a share.

    The weights and gradients are those of the Gluon network, so that updating and evaluating it still works.
    """

    def __init__(self, net: Block, contexts: Sequence[Context], *, counts: bool) -> None:
        self._net = net
        self._contexts = contexts
        self._counts = counts
        scores, labels = net(mx.sym.var("images")), mx.sym.var("labels")
        judged = mx.sym.sum(mx.sym.broadcast_equal(mx.sym.argmax(scores, axis=1), labels)) if counts else scores
        self._symbol = mx.sym.Group([_SOFTMAX_CROSS_ENTROPY(scores, labels), mx.sym.BlockGrad(judged)])
        self._bound: dict[tuple[int, int], _Bound] = {}
        self._heads = _Constants()

    def inputs(self, context: int, size: int) -> Part:
        bound = self._bound.get((context, size))
        if bound is None:
            bound = self._bound[context, size] = self._bind(context, size)
        return bound.inputs

    def __call__(self, parts: Sequence[Part], scale: float | None) -> list[Outcome]:
        outcomes = []
        for context, part in enumerate(parts):
            bound = self._bound[context, part.images.shape[0]]
            bound.executor.forward(is_train=True)
            head = self._heads.get(bound.losses.shape, 1.0 if scale is None else scale, bound.losses.context)
            bound.executor.backward([head, bound.judged])  # behind BlockGrad nothing flows back, whatever comes in
            outcomes.append(
                Outcome(
                    labels=part.labels,
                    losses=bound.losses,
                    scores=None if self._counts else bound.judged,
                    correct=bound.judged if self._counts else None,
                )
            )
        return outcomes

    def _bind(self, context: int, size: int) -> _Bound:
        device = self._contexts[context]
        inputs = Part(nd.zeros((size, 1, 28, 28), ctx=device), nd.zeros((size,), ctx=device))
        parameters = {each.name: each for each in self._net.collect_params().values()}
        arguments, auxiliary = self._symbol.list_arguments(), self._symbol.list_auxiliary_states()
        trained = {name: each for name, each in parameters.items() if name in arguments and each.grad_req != "null"}
        executor = self._symbol.bind(
            device,
            {name: parameters[name].data(device) for name in arguments if name in parameters}
            | {"images": inputs.images, "labels": inputs.labels},
            args_grad={name: each.grad(device) for name, each in trained.items()},
            grad_req={name: "write" if name in trained else "null" for name in arguments},
            aux_states={name: parameters[name].data(device) for name in auxiliary},
        )
        losses, judged = executor.outputs
        return _Bound(executor, inputs, losses, judged)


@dataclass(frozen=True, slots=True)
class _Bound:
    executor: BoundExecutor
    inputs: Part
    losses: Array
    #: The count of right answers, or the scores.
    judged: Array


class _Constants:
    """Arrays filled with one number, kept: making one for every step would cost as much as a layer."""

    def __init__(self) -> None:
        self._made: dict[tuple[tuple[int, ...], float, Context], Array] = {}

    def get(self, shape: tuple[int, ...], value: float, context: Context) -> Array:
        key = (shape, value, context)
        if key not in self._made:
            self._made[key] = nd.full(shape, value, ctx=context)
        return self._made[key]


class CountCorrect(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    def hybrid_forward(self, F: networks.Operators, z: Array, y: Array) -> Array:  # noqa: N803  # Gluon's name
        return F.sum(F.broadcast_equal(F.argmax(z, axis=1), y))


_SOFTMAX_CROSS_ENTROPY = gluon.loss.SoftmaxCrossEntropyLoss()
