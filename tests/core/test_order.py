"""The order of the images is MXNet's own, without MXNet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_core import training
from mnist_core.mxnet_border import gluon, mx, nd
from mnist_core.order import EpochOrder, batch_sizes, batches, shares

pytestmark = pytest.mark.system


@settings(deadline=None, max_examples=50)
@given(samples=st.integers(1, 60), batch_size=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_epochs_meet_the_images_in_the_order_of_ndarrayiter(samples: int, batch_size: int, seed: int) -> None:
    """They do so over several epochs of one seed, since the iterator shuffles what it has shuffled before."""
    batch_size = min(batch_size, samples)
    training.seed_everything(seed)
    iterator = mx.io.NDArrayIter(np.arange(samples, dtype=np.float32), batch_size=batch_size, shuffle=True)
    order = EpochOrder(samples, seed)
    for _ in range(3):
        iterator.reset()
        met = np.concatenate([batch.data[0].asnumpy()[: batch_size - batch.pad] for batch in iterator])
        assert order.next_epoch().tolist() == met.tolist()


def test_the_order_leaves_numpys_own_generator_alone() -> None:
    training.seed_everything(3)
    EpochOrder(20, 5).next_epoch()
    drawn = np.random.random()  # noqa: NPY002  # the generator in question
    assert drawn == np.random.RandomState(3).random_sample()


@settings(deadline=None)
@given(size=st.integers(1, 40), parts=st.integers(1, 9))
def test_a_batch_is_shared_out_as_mxnet_splits_it(size: int, parts: int) -> None:
    """Batches may be uneven, or have fewer images than contexts, where MXNet is asked for as many slices as images."""
    slices = gluon.utils.split_data(nd.arange(size), min(size, parts), even_split=False)
    assert [np.arange(*share).tolist() for share in shares(size, parts)] == [each.asnumpy().tolist() for each in slices]


@pytest.mark.parametrize(
    ("samples", "batch_size", "sizes"), [(20, 10, [10]), (25, 10, [10, 5]), (7, 10, [7]), (1, 1, [1])]
)
def test_an_epoch_meets_few_batch_sizes(samples: int, batch_size: int, sizes: list[int]) -> None:
    """These, and no others, are to be warmed up."""
    assert batch_sizes(samples, batch_size) == sizes
    assert {end - begin for begin, end in batches(samples, batch_size)} == {*sizes}
