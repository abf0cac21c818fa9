"""The columns of what was asked for: one for each axis of a scenario."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from bench.render.model.column import Column, make_column
from bench.scenarios.axes import LOOP_AXES
from bench.scenarios.scenario import Scenario, axis_value, tutorial_setting
from mnist_core.recipe import Recipe


class HasScenario(Protocol):
    """A row of any table of scenarios."""

    @property
    def scenario(self) -> Scenario: ...


class HasRecipe(HasScenario, Protocol):
    """A row of a table whose scenarios may be there under several recipes."""

    @property
    def recipe(self) -> Recipe: ...


#: Axes that are always shown; the others are where a row is off the default.
MAIN_AXES: Final = ("contexts", "batch_size", "hybridize")
#: The axes that are numbers: their titles, and what the legend says of them.
_NUMBER_AXES: Final = {
    "batch_size": ("batch", "images per update, over all contexts together"),
    "cpu_threads": ("threads", "OpenMP threads of each CPU context; default: physical cores over CPU contexts"),
    "ranks": ("ranks", "processes that train together; those on one machine share its cores"),
    "servers": ("servers", "processes that add up the ranks' gradients"),
    "hosts": ("hosts", "hosts of the hosts file over which the ranks are spread"),
    "first_host": ("first host", "the first rank's, counted from 0 in the order of the hosts file"),
}

_NUMBERED: Final = re.compile(r"(.*)\((\d+)\)")
#: At least this many consecutive devices are written as the first and the last.
_MANY_CONTEXTS: Final = 3


def _abridged(contexts: Sequence[str]) -> str:
    """Write contexts as cpu(0),cpu(1) or gpu(0)…gpu(7): a long list would push out what was measured."""
    first = _NUMBERED.fullmatch(contexts[0])
    if first is not None and len(contexts) >= _MANY_CONTEXTS:
        consecutive = [f"{first[1]}({int(first[2]) + step})" for step in range(len(contexts))]
        if consecutive == list(contexts):
            return f"{contexts[0]}…{contexts[-1]}"
    return ",".join(contexts)


def _axis(name: str) -> Column[HasScenario]:
    def text(row: HasScenario) -> str:
        if name == "contexts":
            return _abridged(row.scenario.contexts)
        value = axis_value(row.scenario, name)
        return "default" if value is None else str(value)

    title, explanation = _NUMBER_AXES.get(name, (name, ""))
    return make_column(
        name,
        lambda row: axis_value(row.scenario, name),
        title=title,
        number=name in _NUMBER_AXES,
        priority=0,
        axis=True,
        text=text,
        explanation=explanation,
    )


#: One for each field of a Scenario.
AXES: Final[Sequence[Column[HasScenario]]] = tuple(_axis(field.name) for field in msgspec.structs.fields(Scenario))

#: The parts of the loop in a few words for people, since most parts are the same in most rows.
LOOP: Final[Column[HasScenario]] = make_column(
    "loop",
    lambda row: axis_value(row.scenario, "loop"),
    priority=0,
    axis=True,
    number=False,
    data=False,
    explanation="tutorial, or tuned: the fastest known for the network; then the parts that differ from it",
)

SHOWN_AXES: Final[Sequence[Column[HasScenario]]] = (
    *(axis for axis in AXES if axis.heading.name not in LOOP_AXES),
    LOOP,
)


Axis = Column[HasScenario]
ScenarioRowT = TypeVar("ScenarioRowT", bound=HasScenario)
_RecipeRowT = TypeVar("_RecipeRowT", bound=HasRecipe)


def group_rows(rows: Iterable[_RecipeRowT], *, by_network: bool) -> list[list[_RecipeRowT]]:
    """Split rows by recipe, and by network where asked: what trained another way belongs into another table."""
    groups: dict[tuple[str | None, Recipe], list[_RecipeRowT]] = {}
    for row in rows:
        groups.setdefault((row.scenario.network if by_network else None, row.recipe), []).append(row)
    return list(groups.values())


def tells_of(axis: Axis, scenarios: Sequence[Scenario]) -> bool:
    """Whether an axis describes any of these scenarios, of one network: a minor one does off the tutorial's setting."""
    name, tutorial = axis.heading.name, tutorial_setting(scenarios[0].network)
    return name in MAIN_AXES or any(axis_value(scenario, name) != axis_value(tutorial, name) for scenario in scenarios)


def varies(axis: Axis, scenarios: Iterable[Scenario]) -> bool:
    """Whether the scenarios differ on this axis."""
    return len({axis_value(scenario, axis.heading.name) for scenario in scenarios}) > 1
