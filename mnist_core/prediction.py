"""The tutorial's second half, prediction: images in host memory -> digits there, on one context."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mnist_core.mxnet_border import mx
from mnist_core.networks import Block
from mnist_core.training import Context

#: float32 (n, 1, 28, 28) -> (n,), both in host memory.
Predictor: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def gluon_predictor(net: Block, context: Context) -> Predictor:
    """Return what predicts as the tutorial's loop evaluates; what is compiled is planned anew for another shape."""

    def predict(images: NDArray[np.float32]) -> NDArray[np.float32]:
        digits: NDArray[np.float32] = net(mx.nd.array(images, ctx=context)).argmax(axis=1).asnumpy()
        return digits

    return predict


def bound_predictor(net: Block, context: Context, batch_size: int) -> Predictor:
    """Return what predicts with a graph of network and argmax, bound to arrays of this batch size."""
    symbol = mx.sym.argmax(net(mx.sym.var("images")), axis=1)
    arrays = {each.name: each.data(context) for each in net.collect_params().values()}
    inputs = arrays["images"] = mx.nd.zeros((batch_size, 1, 28, 28), ctx=context)
    executor = symbol.bind(
        context,
        {name: arrays[name] for name in symbol.list_arguments()},
        grad_req="null",
        aux_states={name: arrays[name] for name in symbol.list_auxiliary_states()},
    )
    (digits,) = executor.outputs

    def predict(images: NDArray[np.float32]) -> NDArray[np.float32]:
        inputs[:] = images
        executor.forward(is_train=False)
        found: NDArray[np.float32] = digits.asnumpy()
        return found

    return predict
