"""What a worker with an open session is told to do next, so that several live workers can take turns."""

from __future__ import annotations

from typing import TypeAlias

from bench.ranges import Count, Epochs, PositiveCount, Repeats
from bench.records.base import DeviceName
from bench.scenarios.scenario import Scenario
from bench.worker.protocol.base import Message


class SetUp(Message, frozen=True, tag="set_up"):
    """Build the scenario's network, train its first step, warm up. It takes the place of the scenario before it."""

    scenario: Scenario
    #: Training images of an epoch: the first ones of the data set.
    samples: PositiveCount


class RunWindow(Message, frozen=True, tag="run_window"):
    """Train one window: whole epochs on the first `samples` images."""

    epochs: Epochs
    #: Epochs right before it that nobody counts, at a learning rate of 0, so that they teach nothing.
    lead_in: Count = 0


class Evaluate(Message, frozen=True, tag="evaluate"):
    """Evaluate what was trained so far on the test images of the session."""


class PreparePrediction(Message, frozen=True, tag="prepare_prediction"):
    """Compile the prediction of one image, and of batches, with the weights as they are now; then warm it up."""

    #: Of batches, from all test images. Empty: there are queries alone, as in a gate. They are of the session's test
    #: images, since finding the digits of all of them would take a LeNet longer than its queries.
    batch_sizes: tuple[PositiveCount, ...]


class RunQueries(Message, frozen=True, tag="run_queries"):
    """Predict test images one by one: the next ones in an order drawn from the session's seed."""

    queries: PositiveCount


class RunOffline(Message, frozen=True, tag="run_offline"):
    """Predict test images in whole batches of one of the prepared sizes, from the first image on."""

    batch_size: PositiveCount
    #: At most; more than there are begin with the first image again.
    samples: PositiveCount


class ExchangeArrays(Message, frozen=True, tag="exchange_arrays"):
    """Add up arrays over all ranks, so often, each time from a barrier on; nothing is trained."""

    #: Where the arrays are.
    device: DeviceName
    #: Of an array, in float32 numbers; 0: a barrier alone.
    size_bytes: Count
    repetitions: Repeats


Command: TypeAlias = SetUp | RunWindow | Evaluate | PreparePrediction | RunQueries | RunOffline | ExchangeArrays
