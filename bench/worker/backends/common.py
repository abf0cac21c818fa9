"""The tutorial's networks and recipe in other frameworks, each module a `base.Backend`.

results/PEERS.md says what is the same in all of them and what each may choose. Here is what they share; no framework is
imported by it.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from bench.scenarios.axes import Framework
from mnist_core.devices import Device, DeviceKind
from mnist_core.idx import Split
from mnist_core.recipe import Network, Recipe

#: (outputs, inputs) or (outputs, inputs, height, width) of each layer's weight, in the order of the forward pass.
WEIGHT_SHAPES: Final[dict[str, tuple[tuple[int, ...], ...]]] = {
    Network.MLP: ((128, 784), (64, 128), (10, 64)),
    Network.LENET: ((20, 1, 5, 5), (50, 20, 5, 5), (500, 800), (10, 500)),
}
#: Channels, height and width of what the LeNet's first dense layer takes.
FLATTENED: Final = (50, 4, 4)


@dataclass(frozen=True, slots=True)
class TrainedEpoch:
    """What one pass over the training set did."""

    samples: int
    #: Over the epoch's batches, each judged before its own update.
    train_accuracy: float
    #: Each device's part of the last batch's mean loss; perhaps not computed yet.
    last_losses: tuple[SupportsFloat, ...]

    def last_batch_loss(self) -> float:
        """Waits for it. NaN or infinite when the training diverged."""
        return sum(map(float, self.last_losses))


#: By what a loss is multiplied, and its gradients are divided again, where they are float16 on their way: it has no
#: numbers between 0 and 6e-8. A power of two, so that nothing is rounded.
LOSS_SCALE: Final = 2**10

#: The longest that a rank waits for another one: one may compile for longer than the others.
EXCHANGE_SECONDS: Final = 60.0


def digest(weights: Iterable[NDArray[np.float32]]) -> str:
    """Return the SHA-256 of the bits of all these weights."""
    found = hashlib.sha256()
    for weight in weights:
        found.update(np.ascontiguousarray(weight).data)
    return found.hexdigest()


@contextlib.contextmanager
def standard_output() -> Iterator[Callable[[], str]]:
    """Catch what is printed by C code, too; the function that is given returns it afterwards."""
    with tempfile.TemporaryFile() as file:
        own = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            yield lambda: printed.decode(errors="replace")
        finally:
            os.dup2(own, 1)
            os.close(own)
            file.seek(0)
            printed = file.read()


def unavailable(framework: Framework, error: ImportError) -> ImportError:
    """What to raise in place of an import's error: one line that ends with the next step."""
    is_missing = isinstance(error, ModuleNotFoundError) and error.name == framework.value
    what = "is not installed for this Python" if is_missing else f"does not import ({' '.join(str(error).split())})"
    return ImportError(
        f"framework {framework} {what}: `nox -s peers` makes an environment that has it, --python {framework}=PATH "
        "names one of your own",
        name=framework.value,
    )


def initial_weights(network: str, recipe: Recipe) -> list[NDArray[np.float32]]:
    """Weight, bias, weight, bias, … as `mx.init.Xavier` distributes them; drawn by NumPy, so the same for all peers."""
    generator = np.random.default_rng(recipe.seed)
    drawn = []
    for shape in WEIGHT_SHAPES[network]:
        outputs, inputs, *kernel = shape
        limit = math.sqrt(recipe.xavier_magnitude / ((inputs + outputs) / 2 * math.prod(kernel)))
        drawn += [generator.uniform(-limit, limit, shape).astype(np.float32), np.zeros(outputs, np.float32)]
    return drawn


def as_input(split: Split) -> NDArray[np.float32]:
    """(n, 28, 28), 0..255 -> float32 in 0..1."""
    return split.images.astype(np.float32) / np.float32(255)


def cpu_threads(devices: Sequence[Device]) -> int:
    """Threads of all these CPU devices together, from what the worker was started with for each.

    The peers have one pool of threads for all of them.
    """
    cpus = sum(device.kind is DeviceKind.CPU for device in devices)
    return int(os.environ.get("OMP_NUM_THREADS", "1")) * max(1, cpus)
