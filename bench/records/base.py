"""What every record is made of: its settings, what its texts look like, and the time."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated

import msgspec
from msgspec import Meta

#: UTC, ISO 8601 with seconds, e.g. 2026-01-31T12:00:00Z.
Timestamp = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
#: As `mnist_core.devices` writes one.
DeviceName = Annotated[str, Meta(pattern=r"^(cpu|gpu)\([0-9]{1,4}\)$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings all records share: immutable, named fields, nothing unknown."""


def utc_now() -> str:
    """Return the date and time as a `Timestamp`."""
    return format_timestamp(datetime.now(timezone.utc))


def format_timestamp(moment: datetime) -> str:
    """Return a moment of UTC as a `Timestamp`."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
