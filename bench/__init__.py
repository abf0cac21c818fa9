"""Benchmark the MXNet Gluon MNIST tutorial, and compare machines, frameworks and versions of the code."""

from pathlib import Path
from typing import Final

#: The folder that holds the packages `bench` and `mnist_core`: a checkout, or site-packages.
SOURCE_ROOT: Final = Path(__file__).resolve().parents[1]
