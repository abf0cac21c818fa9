"""Select scenarios by an expression, as pytest's `-k` selects tests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import msgspec

from bench import suggest
from bench.errors import ConfigurationError
from bench.scenarios.axes import AXES, format_axis_value
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import PlannedRun


def select(planned: Iterable[PlannedRun], expression: str) -> tuple[PlannedRun, ...]:
    """Return the runs whose scenario matches; see `matcher`."""
    matches = matcher(expression)
    return tuple(run for run in planned if matches(run.scenario))


class _Matcher(msgspec.Struct, frozen=True):
    #: An OR of ANDs of (wanted, word).
    alternatives: tuple[tuple[tuple[bool, str], ...], ...]

    def __call__(self, scenario: Scenario) -> bool:
        name = scenario.name.lower()
        return any(all(_holds(scenario, name, word) is wanted for wanted, word in terms) for terms in self.alternatives)


def matcher(expression: str) -> Callable[[Scenario], bool]:
    """Parse an expression like pytest's `-k`, without grouping: words joined by `and`, `or` and `not`, in any case.

    A word is a part of the scenario's name; axis=value is the whole value of that axis, so that batch=10 is not
    batch=100 and contexts=cpu(0) is that device alone. Raises `ConfigurationError` for what is no expression.
    """
    alternatives = []
    for alternative in re.split(r"\s+or\s+", re.sub(r",\s+", ",", expression.strip().lower())):
        terms = []
        for term in re.split(r"\s+and\s+", alternative):
            words = term.split()
            wanted = words[:1] != ["not"]
            text = " ".join(words if wanted else words[1:])
            if not text or {"and", "or", "not"} & {*text.split()}:
                raise ConfigurationError(f"-k {expression!r}: expected words joined by 'and', 'or' and 'not'")
            _check_word(text, expression)
            terms.append((wanted, text))
        alternatives.append(tuple(terms))
    return _Matcher(tuple(alternatives))


#: In a name some axes are shorter than in a suite file.
_SHORT_AXES = {"batch": "batch_size", "threads": "cpu_threads"}
_NAMED_AXES = ("framework", "network", *AXES, *_SHORT_AXES)


def _check_word(text: str, expression: str) -> None:
    if re.search(r"[()]", re.sub(r"\w\(\d+\)", "", text)):
        raise ConfigurationError(
            f"-k {expression!r}: parentheses belong to a device such as cpu(0); they do not group: "
            "'a and b or c' is either both of a and b, or c"
        )
    axis, equals, _value = text.partition("=")
    if equals and " " not in text and axis not in _NAMED_AXES:
        raise ConfigurationError(f"-k {expression!r}: {suggest.unknown('axis', axis, _NAMED_AXES)}")


def _holds(scenario: Scenario, name: str, word: str) -> bool:
    axis, equals, value = word.partition("=")
    if not equals:
        return word in name
    if " " in word:  # of a name that was copied
        return f" {word} " in f" {name} "
    own = getattr(scenario, _SHORT_AXES.get(axis, axis))
    return value == (",".join(own) if axis == "contexts" else format_axis_value(own)).lower()
