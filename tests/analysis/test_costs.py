"""What an image and an update cost is checked against the known numbers; tests/system has the real networks."""

from __future__ import annotations

import pytest

from bench.analysis.roofline import costs_of
from mnist_core.recipe import Network
from tests import ROOT

KNOWN = {Network.MLP: (454_400, 109_386), Network.LENET: (13_182_000, 431_080)}
both_networks = pytest.mark.parametrize("network", list(Network))


@both_networks
def test_the_known_numbers(network: Network) -> None:
    """These are the operations of training on an image, and the numbers that are trained."""
    costs = costs_of(network)
    assert costs is not None
    assert KNOWN[network] == (costs.flop_per_image, costs.parameters)


def test_a_users_own_network_has_no_known_cost() -> None:
    """It is None, for which a table has an empty cell."""
    assert costs_of("my.nets:build") is None


def test_the_bytes_of_an_update_by_hand() -> None:
    """The MLP on one image and one context moves 6 x 109,386 numbers, less the first layer's second reading.

    Weights are read forward, read backward and written, gradients are written and read, and the update reads all
    weights. The image adds its own part.
    """
    costs = costs_of("mlp")
    assert costs is not None
    weights = 6 * 109_386 - (784 * 128 + 128)
    per_image = 4 * 784 + 5 * (128 + 64 + 10)
    assert costs.update_bytes(1, 1) == 4 * (weights + per_image)
    assert costs.update_bytes(100, 1) - costs.update_bytes(99, 1) == 4 * per_image
    assert costs.working_set_bytes(10, 1) == 4 * (2 * 109_386 + 10 * (784 + 2 * 202))


@both_networks
def test_every_further_context_moves_the_same(network: Network) -> None:
    """Each context has a copy of weights and gradients; the images are only split."""
    costs = costs_of(network)
    assert costs is not None
    one, two, three = (costs.update_bytes(100, contexts) for contexts in (1, 2, 3))
    assert one < two
    assert two - one == three - two
    assert costs.working_set_bytes(100, 2) - costs.working_set_bytes(100, 1) == 8 * costs.parameters


def test_the_documented_costs_are_these() -> None:
    """results/README.md gives the same figures."""
    text = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
    columns = []
    for network in Network:
        costs = costs_of(network)
        assert costs is not None
        weights, context = costs.update_bytes(0, 1), costs.update_bytes(0, 2) - costs.update_bytes(0, 1)
        columns.append(
            (
                f"{costs.flop_per_image:,}",
                f"{weights / 1e6:.3g} MB + {context / 1e6:.3g} MB",
                f"{(costs.update_bytes(1, 1) - weights) / 1e3:.3g} kB",
            )
        )
    table = text.partition("### What an image costs")[2].partition("\n#")[0]
    for figures in zip(*columns, strict=True):
        assert any(all(figure in line for figure in figures) for line in table.splitlines()), figures
