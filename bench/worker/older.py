"""The first module of a worker: it lets today's `bench` measure an older `mnist_core`.

A gate runs today's `bench` with the `mnist_core` of another commit, whose `recipe` may lack an axis that `bench` names,
or the value of one. So the worker takes the names of today's `recipe`. The defaults of a `Recipe` are code that is
measured, and stay the commit's own. A scenario with a value that the commit really lacks is refused.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_TODAY: Final = Path(__file__).parents[2] / "mnist_core" / "recipe.py"
_NAME: Final = "mnist_core.recipe"


class OlderError(ImportError):
    """The measured commit has no such value of an axis; one line with what to do."""


def main() -> None:
    """Be a worker; see `bench.worker.main`, whose imports read the names."""
    adopt_names()
    importlib.import_module("bench.worker.main").main()


def adopt_names(today: Path = _TODAY) -> None:
    """Put today's `recipe` in the place of the measured commit's, but for `Recipe`. To be called before all imports."""
    own = importlib.import_module(_NAME)
    if Path(str(own.__file__)).samefile(today):
        return
    spec = importlib.util.spec_from_file_location(_NAME, today)
    assert spec is not None
    assert spec.loader is not None
    names: Any = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = names  # a dataclass looks its own module up while it is made
    spec.loader.exec_module(names)
    names.Recipe, names.REPLACED = own.Recipe, own
    sys.modules["mnist_core"].recipe = names  # type: ignore[attr-defined]  # as an import does


def refuse_unknown(loop: Any) -> None:  # noqa: ANN401  # a Loop of today's recipe, which is not to be imported above
    """Raise `OlderError` for a loop with a value that the measured commit does not know, and would pass over."""
    own: ModuleType | None = getattr(sys.modules[_NAME], "REPLACED", None)
    if own is None:
        return
    for field in dataclasses.fields(loop):
        value = getattr(loop, field.name)
        if value == field.default or not isinstance(value, enum.Enum):
            continue
        known = getattr(own, type(value).__name__, ())
        if value.value not in {each.value for each in known}:
            raise OlderError(
                f"the measured commit has no {field.name}={value.value}: choose scenarios that it has, "
                "with -k or --suite"
            )
