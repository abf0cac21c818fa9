"""What the parent and a worker say to each other: one JSON request on stdin, JSON lines on stdout.

The last line is the reply.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from bench.record import Dataset, Epoch, FailureReason, Run, Software
from bench.scenario import Scenario
from mnist_core.recipe import Recipe


class DivergedError(Exception):
    """The loss is no number any more; one line. Here, so that a process without any framework can name it."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """The settings all messages share."""


class RunRequest(Message, frozen=True, tag="run"):
    """Measure one scenario, once."""

    scenario: Scenario
    recipe: Recipe
    repeat: Annotated[int, Meta(ge=0)]
    #: Holds the four verified IDX files; the worker checks them against `dataset.digest` again.
    data_directory: str
    dataset: Dataset
    #: What the parent put into the worker's environment; the worker refuses to measure under anything else.
    omp_num_threads: Annotated[int, Meta(ge=1)]


class DescribeRequest(Message, frozen=True, tag="describe"):
    """Import the framework and say what it is."""


class EpochDone(Message, frozen=True, tag="epoch"):
    """An epoch's window and evaluation are over."""

    index: int
    epoch: Epoch


class RunReply(Message, frozen=True, tag="measured"):
    run: Run


class DescribeReply(Message, frozen=True, tag="described"):
    software: Software


class FailureReply(Message, frozen=True, tag="failed"):
    reason: FailureReason
    #: One line.
    detail: str


class UnusableReply(Message, frozen=True, tag="unusable"):
    """The request itself cannot be done by this installation; one line with the next step. The suite stops."""

    detail: str


Request: TypeAlias = RunRequest | DescribeRequest
Reply: TypeAlias = RunReply | DescribeReply | FailureReply | UnusableReply
FromWorker: TypeAlias = EpochDone | Reply
