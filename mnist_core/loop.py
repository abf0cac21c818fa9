"""The tutorial's training with any of its parts exchanged: the same images in the same order, the same weights.

`training` is the tutorial's own loop, statement for statement. Here each of its parts is one of several: where a batch
comes from, how the network is executed, when the accuracy is read, how the weights are updated. Every combination
trains the same, to the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from mnist_core import networks, training
from mnist_core.idx import Split
from mnist_core.mxnet_border import autograd, gluon, mx, nd
from mnist_core.networks import Array, Block
from mnist_core.order import EpochOrder, batches, rank_share, shares
from mnist_core.recipe import Hybridize, InputPipeline, Loop, MetricSync, Recipe, Update
from mnist_core.training import Context, TrainedEpoch

#: MXNet has no types.
BoundExecutor: TypeAlias = Any
Store: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class Rank:
    """Which of several processes this is that train together, each on its share of every batch."""

    rank: int
    ranks: int
    #: The distributed store through which they exchange gradients; None: they do not.
    store: Store | None
    #: Whether they send two bits for each number of a gradient.
    compresses: bool = False

    def share(self, size: int) -> tuple[int, int]:
        """(begin, end) of its images of a batch."""
        return (0, size) if self.ranks == 1 else rank_share(size, self.rank, self.ranks)  # once for every batch


_ALONE = Rank(0, 1, None)


@dataclass(frozen=True, slots=True)
class _Part:
    """One context's share of a batch."""

    images: Array
    labels: Array


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a step computed on one context, before its update."""

    labels: Array
    #: (n,): of each image.
    losses: Array
    #: (n, 10): the network's output; None where a compiled graph keeps it to itself.
    scores: Array | None
    #: (1,): right answers, where they are counted on the device.
    correct: Array | None


class Training:
    """One network being trained under a `Loop`.

    `prepare`, then `train_epoch` as often as there are epochs; `train_throwaway_batch` before that touches what is made
    on first use.
    """

    def __init__(
        self,
        network: str,
        loop: Loop,
        contexts: Sequence[Context],
        batch_size: int,
        recipe: Recipe,
        train: Split,
        rank: Rank = _ALONE,
    ) -> None:
        """Builds and initializes the network; raises `NetworkError`. `batch_size` is that of all ranks together."""
        training.seed_everything(recipe.seed)
        self._contexts = list(contexts)
        self._batch_size = batch_size
        self._recipe = recipe
        self._train = train
        self._loop = loop
        self._network = network
        self._rank = rank
        self.net = _initialized(network, loop, self._contexts, recipe)
        self._copy: Block | None = None
        if rank.compresses:
            factor = recipe.learning_rate / batch_size if loop.update is Update.FLAT else 1.0
            _compress(rank.store, compression_threshold(rank.ranks, batch_size, factor))
        self._update: _Update
        if loop.update is Update.FLAT:
            self._update = _FlatUpdate(_lay_flat(self.net, self._contexts), recipe.learning_rate, rank.store)
        elif rank.store is None:
            self._update = _TrainerUpdate(self.net, loop, recipe)
        else:
            self._update = _DistributedUpdate(self.net, loop, recipe, batch_size, rank)
        bound = loop.hybridize is Hybridize.BOUND
        self._step: _Step = (
            _BoundStep(self.net, self._contexts, counts=self._counts)
            if bound
            else _GluonStep(self.net, loop.hybridize, counts=self._counts)
        )
        self._batches: _Batches

    @property
    def _counts(self) -> bool:
        return self._loop.metric_sync is MetricSync.EPOCH

    def set_learning_rate(self, value: float) -> None:
        """Zero makes every update real work that leaves the weights as they were."""
        self._update.set_learning_rate(value)

    def prepare(self) -> None:
        """Put the training set where the epochs take it from."""
        images = training.as_input(self._train.images)
        if self._loop.input_pipeline is InputPipeline.RESIDENT:
            order = EpochOrder(len(images), self._recipe.seed)
            labels = self._train.labels.astype(np.float32)
            self._batches = _ResidentBatches(images, labels, self._contexts, self._batch_size, order, self._rank)
        else:
            iterator = training.training_batches(images, self._train.labels, self._batch_size)
            self._batches = _IteratorBatches(iterator, self._contexts, self._rank)

    def train_epoch(self) -> TrainedEpoch:
        """One pass over the training set. May return before the last update is done: `mx.nd.waitall()` waits.

        Where arrays are fixed, the last batch's losses are there until the next epoch.
        """
        metric: _Metric = _EpochMetric(self._contexts) if self._counts else _BatchMetric()
        samples = size = 0
        outcomes: list[_Outcome] = []
        for parts, size in self._batches.epoch(self._step.inputs):
            outcomes = self._train_batch(parts, size, metric)
            first, last = self._rank.share(size)
            samples += last - first
        return TrainedEpoch(
            samples=samples,
            train_accuracy=metric.get(samples),
            last_losses=tuple(outcome.losses for outcome in outcomes),
            last_batch_size=size,
        )

    def train_throwaway_batch(self, size: int) -> None:
        """One whole step on the first `size` images, waited for; of a rank, on its share of them."""
        first, last = self._rank.share(size)
        metric: _Metric = _EpochMetric(self._contexts) if self._counts else _BatchMetric()
        parts = self._first_images(first, last) if first < last else []
        self._train_batch(_filled(parts, self._step.inputs), size, metric)
        if parts:
            metric.get(size)
        mx.nd.waitall()

    def _first_images(self, begin: int, end: int) -> list[_Part]:
        """These images of the data set as one part for each context that has one."""
        images = mx.nd.array(training.as_input(self._train.images[begin:end]))
        labels = mx.nd.array(self._train.labels[begin:end].astype(np.float32))
        return _split(images, labels, self._contexts)

    def net_to_evaluate(self) -> Block:
        """The network; where its weights are views of one array, a copy of it with their values of now.

        MXNet's inference may reorder a convolution's weights in place, for the kernel, and would take the whole array
        for that convolution's.
        """
        if self._loop.update is not Update.FLAT:
            return self.net
        if self._copy is None:
            self._copy = networks.build(self._network, self._loop.hybridize, self._loop.layers)
        _copy_parameters(self.net, self._copy, self._contexts)
        return self._copy

    def _train_batch(self, parts: Sequence[_Part], size: int, metric: _Metric) -> list[_Outcome]:
        if not parts:  # of a rank: the others wait for its gradients, which are zeros
            (nothing, *_) = self._first_images(0, 1)
            self._update.skip(self.net, nothing, self._contexts)
            self._update(size, 0)
            return []
        outcomes = self._step(parts, self._update.scale(size))
        if idle := self._contexts[len(parts) :]:
            self._update.skip(self.net, parts[0], idle)
        metric.update(outcomes)
        self._update(size, len(parts))
        return outcomes


# --- where a batch comes from


class _Inputs(Protocol):
    def __call__(self, context: int, size: int) -> _Part | None:
        """The arrays to write a share of `size` images into; None: new ones."""


class _Batches(Protocol):
    def epoch(self, inputs: _Inputs) -> Iterator[tuple[list[_Part], int]]:
        """Each batch as one part for each context that has one, and its size."""


class _IteratorBatches:
    """The tutorial's: `NDArrayIter`, split and loaded."""

    def __init__(self, iterator: training.DataIter, contexts: Sequence[Context], rank: Rank) -> None:
        self._iterator = iterator
        self._contexts = contexts
        self._rank = rank

    def epoch(self, inputs: _Inputs) -> Iterator[tuple[list[_Part], int]]:
        self._iterator.reset()
        for batch in self._iterator:
            images, labels = training.real_part(batch)
            size = images.shape[0]
            first, last = self._rank.share(size)
            if last - first < size:
                images, labels = images[first:last], labels[first:last]
            yield _filled(_split(images, labels, self._contexts) if first < last else [], inputs), size


class _ResidentBatches:
    """One copy of the data set on each context; a batch is gathered by a shuffled index."""

    def __init__(
        self,
        images: Array,
        labels: Array,
        contexts: Sequence[Context],
        batch_size: int,
        order: EpochOrder,
        rank: Rank,
    ) -> None:
        self._data = [_Part(nd.array(images, ctx=each), nd.array(labels, ctx=each)) for each in contexts]
        self._contexts = contexts
        self._order = order
        # Where every context's share of every batch begins and ends: the same in every epoch.
        self._plan = []
        for begin, end in batches(len(images), batch_size):
            own, own_end = rank.share(end - begin)
            parts = shares(own_end - own, len(contexts)) if own < own_end else []
            self._plan.append(([(begin + own + first, begin + own + last) for first, last in parts], end - begin))

    def epoch(self, inputs: _Inputs) -> Iterator[tuple[list[_Part], int]]:
        order = self._order.next_epoch().astype(np.int32)
        indices = [nd.array(order, ctx=each, dtype=np.int32) for each in self._contexts]
        for places, size in self._plan:
            yield [self._gather(k, indices[k][first:last], inputs) for k, (first, last) in enumerate(places)], size

    def _gather(self, context: int, index: Array, inputs: _Inputs) -> _Part:
        data = self._data[context]
        into = inputs(context, index.shape[0])
        if into is None:
            return _Part(nd.take(data.images, index), nd.take(data.labels, index))
        nd.take(data.images, index, out=into.images)
        nd.take(data.labels, index, out=into.labels)
        return into


def _split(images: Array, labels: Array, contexts: Sequence[Context]) -> list[_Part]:
    split = zip(training.split_and_load(images, contexts), training.split_and_load(labels, contexts), strict=True)
    return [_Part(x, y) for x, y in split]


def _filled(parts: Sequence[_Part], inputs: _Inputs) -> list[_Part]:
    """The parts where the step reads them."""
    filled = []
    for context, part in enumerate(parts):
        into = inputs(context, part.images.shape[0])
        if into is not None:
            part.images.copyto(into.images)
            part.labels.copyto(into.labels)
        filled.append(into or part)
    return filled


# --- how a batch is computed


class _Step(Protocol):
    def inputs(self, context: int, size: int) -> _Part | None: ...

    def __call__(self, parts: Sequence[_Part], scale: float | None) -> list[_Outcome]:
        """Forward and backward on every context; gradients are of the summed loss, times `scale` unless it is None."""


class _GluonStep:
    """The tutorial's: recorded, then backward from each context's loss."""

    def __init__(self, net: Block, hybridize: Hybridize, *, counts: bool) -> None:
        self._net = net
        self._count = _CountCorrect() if counts else None
        if self._count is not None and hybridize is not Hybridize.OFF:
            self._count.hybridize(static_alloc=True, static_shape=True)
        self._heads = _Constants()

    def inputs(self, context: int, size: int) -> None:
        """No array is fixed."""

    def __call__(self, parts: Sequence[_Part], scale: float | None) -> list[_Outcome]:
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
            _Outcome(labels=y, scores=z, losses=loss, correct=None if self._count is None else self._count(z, y))
            for y, z, loss in computed
        ]


class _BoundStep:
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

    def inputs(self, context: int, size: int) -> _Part:
        bound = self._bound.get((context, size))
        if bound is None:
            bound = self._bound[context, size] = self._bind(context, size)
        return bound.inputs

    def __call__(self, parts: Sequence[_Part], scale: float | None) -> list[_Outcome]:
        outcomes = []
        for context, part in enumerate(parts):
            bound = self._bound[context, part.images.shape[0]]
            bound.executor.forward(is_train=True)
            head = self._heads.get(bound.losses.shape, 1.0 if scale is None else scale, bound.losses.context)
            bound.executor.backward([head, bound.judged])  # behind BlockGrad nothing flows back, whatever comes in
            outcomes.append(
                _Outcome(
                    labels=part.labels,
                    losses=bound.losses,
                    scores=None if self._counts else bound.judged,
                    correct=bound.judged if self._counts else None,
                )
            )
        return outcomes

    def _bind(self, context: int, size: int) -> _Bound:
        device = self._contexts[context]
        inputs = _Part(nd.zeros((size, 1, 28, 28), ctx=device), nd.zeros((size,), ctx=device))
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
    inputs: _Part
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


class _CountCorrect(gluon.HybridBlock):  # type: ignore[misc]  # MXNet has no types
    def hybrid_forward(self, F: networks.Operators, z: Array, y: Array) -> Array:  # noqa: N803  # Gluon's name
        return F.sum(F.broadcast_equal(F.argmax(z, axis=1), y))


_SOFTMAX_CROSS_ENTROPY = gluon.loss.SoftmaxCrossEntropyLoss()


# --- when the accuracy is read


class _Metric(Protocol):
    def update(self, outcomes: Sequence[_Outcome]) -> None: ...

    def get(self, samples: int) -> float: ...


class _BatchMetric:
    """The tutorial's: reads every batch's output back, and so waits for it."""

    def __init__(self) -> None:
        self._metric = mx.metric.Accuracy()

    def update(self, outcomes: Sequence[_Outcome]) -> None:
        self._metric.update([each.labels for each in outcomes], [each.scores for each in outcomes])

    def get(self, samples: int) -> float:  # noqa: ARG002  # the other kind does not count them itself
        return float(self._metric.get()[1])


class _EpochMetric:
    """Counted on each context, read once."""

    def __init__(self, contexts: Sequence[Context]) -> None:
        self._totals = [nd.zeros((1,), ctx=context) for context in contexts]

    def update(self, outcomes: Sequence[_Outcome]) -> None:
        for total, outcome in zip(self._totals, outcomes, strict=False):
            nd.elemwise_add(total, outcome.correct, out=total)

    def get(self, samples: int) -> float:
        return sum(float(total.asscalar()) for total in self._totals) / samples


# --- how the weights are updated


class _Update(Protocol):
    def set_learning_rate(self, value: float) -> None: ...

    def scale(self, size: int) -> float | None:
        """What the gradients of a batch of `size` images are to be multiplied with; None: left as they are."""

    def skip(self, net: Block, part: _Part, idle: Sequence[Context]) -> None:
        """Some contexts had no image in this batch."""

    def __call__(self, size: int, parts: int) -> None:
        """Update on the gradients of the first `parts` contexts."""


class _TrainerUpdate:
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

    def skip(self, net: Block, part: _Part, idle: Sequence[Context]) -> None:
        training.clear_idle_gradients(net, part.images[:1], part.labels[:1], idle)

    def __call__(self, size: int, parts: int) -> None:  # noqa: ARG002  # the trainer takes every context's gradient
        if self._marks:
            # The trainer asks whether autograd has written the gradient; here it was an executor.
            for parameter in self._parameters:
                for array in parameter.list_data():
                    array._fresh_grad = True  # noqa: SLF001  # MXNet has no other way to say it
        self._trainer.step(size)


class _DistributedUpdate:
    """`gluon.Trainer` with a distributed store, which has two more rules.

    Its servers take the optimizer as it is at the first step, so that another learning rate must be sent to them. And
    they divide all gradients by the images of a full batch: those of a smaller one are multiplied before.
    """

    def __init__(self, net: Block, loop: Loop, recipe: Recipe, batch_size: int, rank: Rank) -> None:
        self._updates = _TrainerUpdate(net, loop, recipe, rank.store)
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

    def skip(self, net: Block, part: _Part, idle: Sequence[Context]) -> None:
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


def _compress(store: Store, threshold: float) -> None:
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


class _FlatUpdate:
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

    def skip(self, net: Block, part: _Part, idle: Sequence[Context]) -> None:
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


def _lay_flat(net: Block, contexts: Sequence[Context]) -> list[_FlatArrays]:
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


# --- the network


def phase_functions() -> tuple[tuple[str, type, str], ...]:
    """Return the functions that the phases of a loop are made of: (phase, class, name of its attribute).

    A profile exchanges them, to skip a phase or to time it. Some of them call others; the outermost one counts. It is
    part of this module so that no change of a loop can hide a phase.
    """
    return (
        ("forward", gluon.Block, "__call__"),
        ("forward", mx.executor.Executor, "forward"),
        ("backward", nd.NDArray, "backward"),
        ("backward", mx.executor.Executor, "backward"),
        ("metric", mx.metric.Accuracy, "update"),
        ("metric", _BatchMetric, "update"),
        ("metric", _EpochMetric, "update"),
        ("metric", _CountCorrect, "__call__"),
        ("update", gluon.Trainer, "step"),
        ("update", _TrainerUpdate, "__call__"),
        ("update", _FlatUpdate, "__call__"),
    )


def _initialized(network: str, loop: Loop, contexts: Sequence[Context], recipe: Recipe) -> Block:
    """The network with the tutorial's initial weights, of known shapes on every context."""
    net = networks.build(network, loop.hybridize, loop.layers)
    if networks.is_padded(loop.layers):
        tutorial = networks.build(network, Hybridize.OFF)
        training.initialize(tutorial, [mx.cpu()], recipe)
        tutorial(nd.zeros((1, 1, 28, 28)))
        training.initialize(net, contexts, recipe)
        net(nd.zeros((1, 1, 28, 28), ctx=contexts[0]))
        networks.copy_padded(tutorial, net)
    else:
        training.initialize(net, contexts, recipe)
        net(nd.zeros((1, 1, 28, 28), ctx=contexts[0]))
    return net


def _copy_parameters(source: Block, target: Block, contexts: Sequence[Context]) -> None:
    """On every context, what is not trained included; `target` is a network of the same layers."""
    pairs = list(zip(source.collect_params().values(), target.collect_params().values(), strict=True))
    for theirs, mine in pairs:
        mine.shape = theirs.shape
    target.initialize(mx.init.Zero(), ctx=contexts, force_reinit=True)
    for theirs, mine in pairs:
        for context in contexts:
            theirs.data(context).copyto(mine.data(context))
