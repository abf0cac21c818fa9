"""What is measured: the tutorial's networks, data and training loop. No clock, no printing, no argument parsing.

A gate runs today's `bench` against the `mnist_core` of an older commit, in the same kind of worker. What that worker
imports from here is therefore an interface: `INTERFACE` lists it. None of its names, and no method or argument that the
worker uses, is ever removed or renamed, and what is new has a default, so that every commit since `OLDEST_COMMIT` can
be a baseline. Of `recipe` the worker takes today's names in any case, and the commit's own `Recipe`. Everything else
may change freely.
"""

from collections.abc import Mapping
from typing import Final

#: The first commit whose `mnist_core` offers all of that, but for newer names of `recipe`: the oldest that a gate may
#: name. A test trains with it.
OLDEST_COMMIT: Final = "39a70931b25118dd3696e2e091209dc9c5957f43"
#: Module -> the names in it that the worker uses.
INTERFACE: Final[Mapping[str, tuple[str, ...]]] = {
    "datasets": ("load",),
    "devices": ("Device", "DeviceError", "DeviceKind", "Probe", "parse_devices"),
    "idx": ("DataError", "Split"),
    "loop": ("Training",),
    "mxnet_border": ("features", "mx", "to_context", "version"),
    "networks": ("Block", "build"),
    "order": ("batch_sizes", "batches"),
    "probe": ("examine",),
    "recipe": (
        "Engine",
        "Hybridize",
        "InputPipeline",
        "Kvstore",
        "Layers",
        "Loop",
        "MetricSync",
        "Network",
        "Precision",
        "Recipe",
        "Update",
    ),
    "training": (
        "Context",
        "DataIter",
        "TrainedEpoch",
        "Trainer",
        "as_input",
        "evaluate",
        "evaluation_batches",
        "initialize",
        "make_trainer",
        "seed_everything",
        "train_batch",
        "train_epoch",
        "training_batches",
    ),
}
