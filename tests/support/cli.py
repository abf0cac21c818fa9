"""The type of the fixture `command`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: `mnist-bench ARGS` in this process; its exit status.
Command: TypeAlias = Callable[..., int]
