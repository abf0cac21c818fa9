"""The application, to which each module of `commands` adds its verbs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import typer
from typer.core import TyperGroup

#: The verbs in the order of the help: measure, read, decide, search, explain, and then what is here.
_VERBS: Final = (
    *("run", "show", "check", "compare", "gate", "calibrate", "selftest", "tune", "profile", "report", "history"),
    *("environment", "suites", "data"),
)


class _VerbsInOrder(TyperGroup):
    """Lists the verbs in an order that does not depend on imports."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401  # Typer's copy of click.Context, which is private
        """Return their names, those that `_VERBS` lacks at the end; see `click.Group.list_commands`."""
        return sorted(super().list_commands(ctx), key=lambda name: (*_VERBS, name).index(name))


app = typer.Typer(
    cls=_VerbsInOrder,
    name="mnist-bench",
    help="Benchmark the MXNet Gluon MNIST tutorial and compare machines.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

#: Options of the program itself, which may stand before or after the verb.
_GLOBAL_FLAGS: Final = ("--quiet", "--verbose")


def global_flags_first(arguments: Sequence[str]) -> list[str]:
    """Move the program's own flags to the front, so that `run --quiet` is `--quiet run`; nothing after "--" moves."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return [*sorted(arguments[:end], key=lambda argument: argument not in _GLOBAL_FLAGS), *arguments[end:]]


def examples(*commands: str) -> str:
    """Return the end of a verb's help: a line for each command."""
    return "\n\n".join(["Examples:", *(f"mnist-bench {command}" for command in commands)])
