"""The type of the fixture `command`, and what the command line has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import typer

from bench.cli.app import VERBS, app

#: `mnist-bench ARGS` in this process; its exit status.
Command: TypeAlias = Callable[..., int]


def every_verb() -> dict[str, Any]:
    """Return Typer's command of each verb, by its name."""
    group: Any = typer.main.get_command(app)
    return {name: group.get_command(None, name) for name in VERBS}
