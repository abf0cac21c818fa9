"""What all messages between parent and worker have in common, and the two faults that every process can name.

Messages are JSON lines: a request on stdin, then events and a reply on stdout. In a session more follow: each command
on stdin gets a reply, so that several live workers can take turns.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=1, le=65_535)]


class DivergedError(Exception):
    """The loss is not finite any more; one line. It stands here because every process can import this module."""


class NumericsError(Exception):
    """What is computed is not computed in the precision that it is claimed to be in; one line."""


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """What all messages are: immutable, told apart by their type, without unknown fields."""
