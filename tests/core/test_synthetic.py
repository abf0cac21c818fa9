"""Digits are drawn from strokes. They are the same on every machine, and worth learning from."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from mnist_core.data import synthetic
from mnist_core.data.synthetic import DEFAULT_SEED, draw

Digits: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.uint8]]

#: SHA-256 of 1000 images and their labels from `DEFAULT_SEED`. Another value means another data set: measure the
#: networks' accuracies on it before writing it down.
DIGEST = "6fa70c5cd2b1ece2473dd795ad5b212140ebb2f9a8695191f984dfd13f5df644"


@pytest.fixture(scope="module")
def thousand() -> Digits:
    return draw(1000, seed=DEFAULT_SEED)


def digest(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> str:
    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


def test_every_bit_is_known(thousand: Digits) -> None:
    """A seed gives the images that it has always given."""
    assert digest(*thousand) == DIGEST


def test_another_process_draws_the_same(thousand: Digits) -> None:
    """Nothing of a process enters: neither NumPy's global generator nor the hash seed, and neither is touched."""
    script = (
        "import sys, numpy; from mnist_core.data.synthetic import draw\n"
        "numpy.random.seed(1); before = numpy.random.random(9); numpy.random.seed(1)\n"
        f"images, labels = draw(1000, seed={DEFAULT_SEED}); assert (numpy.random.random(9) == before).all()\n"
        "sys.stdout.buffer.write(images.tobytes() + labels.tobytes())"
    )
    drawn = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE).stdout
    images, labels = thousand
    assert drawn == images.tobytes() + labels.tobytes()


@pytest.mark.parametrize("count", [1, 7, 200, 201, 999])
def test_fewer_images_are_the_first_of_more(count: int, thousand: Digits) -> None:
    """A count cuts the endless row of a seed's digits, and nothing else."""
    images, labels = draw(count, seed=DEFAULT_SEED)
    np.testing.assert_array_equal(images, thousand[0][:count])
    np.testing.assert_array_equal(labels, thousand[1][:count])


def test_no_image_comes_twice(thousand: Digits) -> None:
    """None does within a seed, nor under a neighbouring one, so that a test set holds no training image."""
    images, labels = thousand
    others, other_labels = draw(1000, seed=DEFAULT_SEED + 1)
    assert len({image.tobytes() for image in [*images, *others]}) == 2000
    assert not np.array_equal(labels, other_labels)


def test_arrays(thousand: Digits) -> None:
    """Images and labels are contiguous bytes, as the IDX files hold them."""
    images, labels = thousand
    assert images.shape == (1000, 28, 28)
    assert labels.shape == (1000,)
    assert images.dtype == labels.dtype == np.uint8
    assert images.flags.c_contiguous


def test_classes_are_balanced_and_shuffled(thousand: Digits) -> None:
    """Every 200 images hold 20 of each digit, each time in another order."""
    blocks = thousand[1].reshape(5, 200)
    assert [np.bincount(block).tolist() for block in blocks] == [[20] * 10] * 5
    assert len({block.tobytes() for block in blocks}) == 5
    neighbours_alike = np.mean(blocks[:, 1:] == blocks[:, :-1])
    assert 0.05 < neighbours_alike < 0.15


def test_ink_on_paper_as_in_mnist(thousand: Digits) -> None:
    """Paper is mostly empty, with some grey edges and full black. MNIST has 81 % zeros, mean 33 and maximum 255."""
    images = thousand[0]
    assert 0.75 < np.mean(images == 0) < 0.85
    assert 25 < images.mean() < 38
    assert images.max() == 255
    assert images.reshape(1000, -1).max(axis=1).min() > 150
    border = np.concatenate([images[:, [0, -1]].ravel(), images[:, :, [0, -1]].ravel()])
    assert np.mean(border > 0) < 0.03


@pytest.mark.parametrize("count", [1, 199, 1000, 12_545])
def test_progress(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress only grows, never passes the total, comes a few dozen times at most, and ends with all images done."""
    blank = np.zeros((200, 28, 28), np.uint8), np.zeros(200, np.uint8)
    monkeypatch.setattr(synthetic, "_draw_block", lambda _: blank)
    calls: list[tuple[int, int]] = []
    draw(count, seed=1, progress=lambda done, total: calls.append((done, total)))
    done = [call[0] for call in calls]
    assert done == sorted(set(done))
    assert calls[-1] == (count, count)
    assert {total for _, total in calls} == {count}
    assert len(calls) <= 41
    assert len(calls) >= min(30, -(-count // 200))


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_refused(count: int) -> None:
    """There is no empty data set."""
    with pytest.raises(ValueError, match=f"count must be at least 1, not {count}"):
        draw(count, seed=1)


def test_a_negative_seed_is_refused() -> None:
    """NumPy's generators know none."""
    with pytest.raises(ValueError, match="non-negative"):
        draw(1, seed=-1)


def test_a_linear_classifier_learns_much_but_not_all() -> None:
    """The labels belong to the images, and telling them apart takes more than one layer."""
    images, labels = draw(5000, seed=DEFAULT_SEED)
    inputs = np.hstack([images.reshape(-1, 784) / 255, np.ones((5000, 1))])
    targets = np.eye(10)[labels]
    weights = np.zeros((785, 10))
    for _ in range(10):
        for start in range(0, 4000, 100):
            batch = slice(start, start + 100)
            scores = np.exp(inputs[batch] @ weights)
            wrong = scores / scores.sum(axis=1, keepdims=True) - targets[batch]
            weights -= 0.1 / 100 * inputs[batch].T @ wrong
    right = np.argmax(inputs @ weights, axis=1) == labels
    assert 0.7 < right[4000:].mean() < 0.9
