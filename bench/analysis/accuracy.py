"""Did a run learn what such a training must learn? The answer is data: `accuracy_bands.toml`."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from importlib import resources
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bench.records.result import Dataset, Run
from bench.scenarios.axes import is_custom
from bench.stats.intervals import TSummary, bounds, t_summary
from mnist_core.recipe import Precision

#: Of an accuracy on a part of the test images, in which nothing is found wrong: one run of 700 is off by more.
_STANDARD_ERRORS = 3
#: Share of images whose two best scores are so close that another order of additions makes another digit of them. In
#: float32 none of 10,000 is expected: its scores differ by a millionth. In 16 bits they differ by up to a hundredth.
_ROUNDING: Final = {
    Precision.FLOAT32: 0.001,
    Precision.TF32: 0.002,
    Precision.BFLOAT16: 0.01,
    Precision.FLOAT16: 0.002,
}
#: The accuracy that a lower precision may cost. MLPerf's 99 % of float32's would let a LeNet lose a whole point, and
#: its 99.9 % is less than what two seeds differ by.
MARGIN_OVER_FLOAT32: Final = 0.003
#: What always answering with the most frequent digit of MNIST's test images reaches.
_CHANCE = 0.1135
Accuracy = Annotated[float, Meta(ge=0, le=1)]
#: Where the number is from, in words.
Source = Annotated[str, Meta(min_length=1)]


class LowerBand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a training on at least `samples` distinct images with at least `updates` updates must reach."""

    samples: Annotated[int, Meta(ge=1)]
    updates: Annotated[int, Meta(ge=1)]
    lower: Accuracy
    source: Source


class UpperBand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What no honest training exceeds, however long."""

    upper: Accuracy
    source: Source


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known of one network on one data set."""

    floor: tuple[LowerBand, ...] = ()
    ceiling: UpperBand | None = None


class Bands(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, eq=False):
    """The file `accuracy_bands.toml`. Hashed by identity, which is what `_band` remembers its answers by."""

    targets: dict[str, Accuracy]
    #: By network, then by data set.
    limits: dict[str, dict[str, Limits]]


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """What applies to one run; None: that side is not judged."""

    lower: float | None
    upper: float | None

    def __str__(self) -> str:
        return f"{'' if self.lower is None else self.lower}..{'' if self.upper is None else self.upper}"


@functools.cache
def built_in_bands() -> Bands:
    text = (resources.files("bench.analysis") / "accuracy_bands.toml").read_text(encoding="utf-8")
    return msgspec.toml.decode(text, type=Bands)


def updates(run: Run) -> int:
    """Count the SGD updates of a run: every epoch's last batch is one, whole or not."""
    return sum(epoch.passes * math.ceil(epoch.samples / epoch.passes / run.scenario.batch_size) for epoch in run.epochs)


def target(network: str, bands: Bands | None = None) -> float | None:
    """Return the test accuracy that `time_to_accuracy_seconds` counts to; None for a custom network."""
    return (bands or built_in_bands()).targets.get(network)


def band(run: Run, dataset: Dataset, bands: Bands | None = None) -> Band:
    """Return the highest floor that applies to so much training, and the ceiling of its network and data set.

    Nothing is known of ranks that make other updates than one process.
    """
    if not run.scenario.trains_as_one:
        return Band(lower=None, upper=None)
    samples = min(run.recipe.samples or dataset.train_samples, dataset.train_samples)
    return _band(run.scenario.network, dataset.name, samples, updates(run), bands or built_in_bands())


@functools.lru_cache(maxsize=1024)  # ten thousand result files are of a few amounts of training
def _band(network: str, dataset: str, samples: int, run_updates: int, bands: Bands) -> Band:
    limits = bands.limits.get(network, {}).get(dataset, Limits())
    floors = (floor.lower for floor in limits.floor if samples >= floor.samples and run_updates >= floor.updates)
    return Band(lower=max(floors, default=None), upper=None if limits.ceiling is None else limits.ceiling.upper)


def _sampling_error(run: Run, accuracy: float) -> float:
    """Return how far an accuracy on a part of the test images may be from that on all of them.

    Three standard errors of a share, of a binomial distribution.
    """
    return 0.0 if run.test_samples is None else _error_of_share(accuracy, run.test_samples)


def _error_of_share(share: float, count: int) -> float:
    return _STANDARD_ERRORS * math.sqrt(share * (1 - share) / count)


def _wrong_predictions(run: Run) -> str | None:
    """Say that a run predicted other digits than its evaluation finds, and not only by rounding."""
    stream = None if run.prediction is None else run.prediction.single_stream
    if stream is None or stream.mismatches <= max(1, _ROUNDING[run.scenario.precision] * stream.queries):
        return None
    return (
        f"{stream.mismatches:,} of {stream.queries:,} images were predicted as other digits than the evaluation finds "
        "with the same weights: not the same network"
    )


def difference(runs: Sequence[Run], others: Sequence[Run]) -> TSummary | None:
    """Summarize what the accuracies of some runs exceed those of others by, seed by seed; None if they share none.

    Runs of one seed meet the same images in the same order from the same weights, so that what a seed does cancels.
    """
    known = {run.repeat: run.final_accuracy for run in others}
    found = [run.final_accuracy - known[run.repeat] for run in runs if run.repeat in known]
    return t_summary(found) if found else None


def explain_loss(lost: TSummary) -> str | None:
    """Return why rows of a lower precision carry no rank, by what they learn beside float32; None: nothing is shown."""
    ends = bounds(lost)
    if ends is None or ends[1] >= -MARGIN_OVER_FLOAT32:
        return None
    least, most = -100 * ends[1], -100 * ends[0]
    return (
        f"accuracy is {-100 * lost.value:.2f} points below that of precision=float32, seed by seed (95 % interval "
        f"{least:.2f} to {most:.2f}): it may cost {100 * MARGIN_OVER_FLOAT32:.1f}"
    )


def judge(run: Run, dataset: Dataset, bands: Bands | None = None) -> str | None:
    """Return None for a valid run, else one line that says why it carries no rank.

    No floor applies to a custom network, to custom data, or to very little training. None then means only that nothing
    is known against the run; `band` tells whether a floor applies. But a custom network must be better than chance.
    """
    for index, epoch in enumerate(run.epochs):
        if not math.isfinite(epoch.last_batch_loss):
            return f"the loss was not finite at the end of epoch {index}"
    if (wrong := _wrong_predictions(run)) is not None:
        return wrong
    applicable = band(run, dataset, bands)
    accuracy = run.final_accuracy
    images = run.test_samples or dataset.test_samples
    if is_custom(run.scenario.network) and accuracy <= _CHANCE + _error_of_share(_CHANCE, images):
        return f"accuracy {accuracy:.6g} is at chance level after {updates(run):,} updates: it did not learn"
    if applicable.lower is not None and not accuracy >= applicable.lower - _sampling_error(run, applicable.lower):
        side = "below"
    elif applicable.upper is not None and not accuracy <= applicable.upper + _sampling_error(run, applicable.upper):
        side = "above"
    else:
        return None
    return (
        f"accuracy {accuracy:.6g} is {side} the band {applicable} of {run.scenario.network} on {dataset.name} "
        f"after {updates(run):,} updates"
    )
