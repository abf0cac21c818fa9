"""The application, to which each module of `commands` adds its verbs, once one of them is wanted."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command_from_info

from bench.cli.console import out, set_verbosity

#: The module of each verb, in the order of the help: measure, read, decide, search, explain, and then what is here.
VERBS: Final = {
    "run": "run",
    "show": "show",
    "check": "show",
    "compare": "compare",
    "gate": "gate",
    "calibrate": "calibrate",
    "selftest": "calibrate",
    "tune": "tune",
    "profile": "profile",
    "report": "report",
    "history": "history",
    "environment": "environment",
    "suites": "environment",
    "data": "data",
}


class _VerbsOnDemand(TyperGroup):
    """Imports the module of a verb when the verb is asked for, since all of them take longer than most verbs do."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002  # Typer's copy of click.Context, which is private
        """Return the verbs in their order; see `click.Group.list_commands`."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401  # as above
        """Return the verb's command; see `click.Group.get_command`.

        For a name that is no verb all are loaded: Typer looks for the nearest among them.
        """
        for verb in [cmd_name] if cmd_name in VERBS else VERBS:
            if verb not in self.commands:
                self.commands[verb] = _load(verb)
        return super().get_command(ctx, cmd_name)


def _load(verb: str) -> Any:  # noqa: ANN401  # Typer's copy of click.Command, which is private
    importlib.import_module(f"bench.cli.commands.{VERBS[verb]}")
    info = next(info for info in app.registered_commands if verb in (info.name, getattr(info.callback, "__name__", "")))
    return get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=app.rich_markup_mode)


app = typer.Typer(
    cls=_VerbsOnDemand,
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


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print results and errors alone: no progress, no notes, no legend.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", help="Explain every column; print a failed run's whole output, and where an error came from."
        ),
    ] = False,
) -> None:
    set_verbosity(quiet=quiet, verbose=verbose)
    if version:
        out.print(installed_version("mnist-bench"), highlight=False)
        raise typer.Exit
