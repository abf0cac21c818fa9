"""What a network costs agrees with the layers of the real one."""

from __future__ import annotations

from math import prod
from typing import Any

import pytest

from bench.analysis.roofline import costs_of
from mnist_core.mxnet_border import nd
from mnist_core.recipe import Network
from tests.core.test_networks import ORIGINALS, draw_weights

pytestmark = pytest.mark.system


@pytest.mark.parametrize("network", list(Network))
def test_the_layers_are_those_of_the_real_network(network: Network) -> None:
    """In its order, each has as many weights and outputs, and as many multiplications as these two make."""
    net = draw_weights(ORIGINALS[network]())
    seen: list[tuple[int, int, int]] = []

    def note(layer: Any, _inputs: Any, output: Any) -> None:  # noqa: ANN401  # MXNet has no types
        shapes = [parameter.shape for parameter in layer.collect_params().values()]
        outputs = prod(output.shape[1:])
        # Each number put out is a sum over what one filter, or one row of a matrix, holds; a filter moves over a plane.
        multiplications = outputs * prod(shapes[0][1:]) if shapes else 0
        seen.append((multiplications, sum(map(prod, shapes)), outputs))

    for layer in net._children.values():
        layer.register_forward_hook(note)
    net(nd.zeros((1, 1, 28, 28)))
    costs = costs_of(network)
    assert costs is not None
    assert seen == [(layer.multiplications, layer.parameters, layer.outputs) for layer in costs.layers]
