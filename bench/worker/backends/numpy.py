"""What a ceiling needs of NumPy: its matrix product runs on all threads, its sum of vectors on one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.machine.software import describe_software
from bench.records.environment import Software
from mnist_core.devices import Device
from mnist_core.recipe import Precision


def describe() -> Software:
    return describe_software("numpy", np.__version__, ())


def matrix_product(_device: Device, size: int, _precision: Precision) -> Callable[[], None]:
    """Return a function that multiplies two matrices, as `base.Backend` says; NumPy knows the CPU and float32 alone."""
    left, right = _random(size, size), _random(size, size)
    product = np.zeros((size, size), np.float32)

    def multiply() -> None:
        np.matmul(left, right, out=product)

    return multiply


def product_kernel(_device: Device, _size: int, _precision: Precision) -> None:
    """Tell nothing: NumPy multiplies by a BLAS, which is among its thread pools."""


def vector_sum(_device: Device, elements: int) -> Callable[[], None]:
    """Return a function that adds two vectors, as `base.Backend` says."""
    b, c = _random(elements), _random(elements)
    a = np.zeros(elements, np.float32)

    def add() -> None:
        np.add(b, c, out=a)

    return add


def _random(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return random numbers: processors multiply zeros faster, and kernels map pages of zeros only once."""
    return np.random.default_rng().random(shape, np.float32)
