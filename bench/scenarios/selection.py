"""Select scenarios by an expression, as pytest's `-k` selects tests: one grammar for every option that chooses some."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from bench import suggest
from bench.errors import ConfigurationError
from bench.scenarios.axes import AXES, LOOP_AXES, canonical_contexts
from bench.scenarios.scenario import Scenario, axis_text
from bench.scenarios.suite import PlannedRun

#: In a name some axes are shorter than in a suite file.
_SHORT_AXES: Final = {"batch": "batch_size", "threads": "cpu_threads"}
#: All parts of a loop together, as tables show them: loop=tuned.
_LOOP: Final = "loop"
_NAMED_AXES: Final = ("framework", "network", *AXES, *_SHORT_AXES, _LOOP)

#: What two scenarios of one network may differ in.
_EVERY_AXIS: Final = frozenset(_NAMED_AXES) - {"network", *_SHORT_AXES, _LOOP}


def select(planned: Iterable[PlannedRun], expression: str) -> tuple[PlannedRun, ...]:
    """Return the runs whose scenario matches; see `matcher`."""
    matches = matcher(expression)
    return tuple(run for run in planned if matches(run.scenario))


class Term(msgspec.Struct, frozen=True):
    """A word of an expression, or a whole name."""

    wanted: bool
    text: str

    @property
    def axis(self) -> str | None:
        """The axis of axis=value; None for another word, and for a name."""
        name, equals, _value = self.text.partition("=")
        return _SHORT_AXES.get(name, name) if equals and " " not in self.text else None

    @property
    def value(self) -> str:
        """The value of axis=value."""
        return self.text.partition("=")[2]

    def holds(self, scenario: Scenario, name: str) -> bool:
        """Tell whether the scenario, which has this name, is as the word says."""
        if self.axis is None:
            # A name that was copied is made of whole words.
            return f" {self.text} " in f" {name} " if " " in self.text else self.text in name
        return self.value == axis_text(scenario, self.axis).lower()


class Matcher(msgspec.Struct, frozen=True):
    """An expression that was read: it holds for a scenario where all terms of one alternative do."""

    alternatives: tuple[tuple[Term, ...], ...]

    def __call__(self, scenario: Scenario) -> bool:
        name = scenario.name.lower()
        return any(all(term.holds(scenario, name) is term.wanted for term in terms) for terms in self.alternatives)

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms of all alternatives."""
        return tuple(term for terms in self.alternatives for term in terms)


def matcher(expression: str, option: str = "-k") -> Matcher:
    """Read an expression like pytest's `-k`, without grouping: words joined by `and`, `or` and `not`, in any case.

    A word is a part of the scenario's name; axis=value is the whole value of that axis, so that batch=10 is not
    batch=100 and contexts=cpu(0) is that device alone. A name as it is printed is one word. Raises
    `ConfigurationError`, which names the option, for what is no expression.
    """
    alternatives = []
    for alternative in re.split(r"\s+or\s+", re.sub(r",\s+", ",", expression.strip().lower())):
        terms = []
        for term in re.split(r"\s+and\s+", alternative):
            words = term.split()
            wanted = words[:1] != ["not"]
            text = " ".join(words if wanted else words[1:])
            if not text or {"and", "or", "not"} & {*text.split()}:
                raise ConfigurationError(f"{option} {expression!r}: expected words joined by 'and', 'or' and 'not'")
            _check_word(text, f"{option} {expression!r}")
            terms.append(Term(wanted, _with_numbers(text)))
        alternatives.append(tuple(terms))
    return Matcher(tuple(alternatives))


def _check_word(text: str, where: str) -> None:
    if re.search(r"[()]", re.sub(r"\w\(\d+\)", "", text)):
        raise ConfigurationError(
            f"{where}: parentheses belong to a device such as cpu(0); they do not group: "
            "'a and b or c' is either both of a and b, or c"
        )
    axis, equals, _value = text.partition("=")
    if equals and " " not in text and axis not in _NAMED_AXES:
        raise ConfigurationError(f"{where}: {suggest.unknown('axis', axis, _NAMED_AXES)}")


def _with_numbers(text: str) -> str:
    """Write a device without a number as the first: contexts=cpu is contexts=cpu(0)."""
    axis, _equals, value = text.partition("=")
    if axis == "contexts":
        with contextlib.suppress(ConfigurationError):  # then it is no device, and no scenario has it
            return f"contexts={','.join(canonical_contexts(value))}"
    return text


#: The word for the fastest scenario of each network, which only results know.
BEST: Final = "best"


class Reference(msgspec.Struct, frozen=True):
    """The scenarios that the others are compared with, and what these may differ in from them."""

    #: As the user wrote it.
    expression: str
    #: None: the fastest.
    matches: Matcher | None
    #: A scenario is compared with the one that differs from it in nothing but these axes.
    axes: frozenset[str]

    @property
    def names_one(self) -> bool:
        """Whether it is one scenario of a network, with which all others are compared."""
        return self.axes == _EVERY_AXIS

    def __str__(self) -> str:
        return "the fastest" if self.matches is None else self.expression


def reference(expression: str, option: str) -> Reference:
    """Read the same expression as `matcher`, or `best`, for scenarios to compare others with.

    What is compared differs in the axes that stand in the expression; a name, or a part of one, stands for every axis
    but the network. A list of devices is that list exactly, as in contexts=cpu(0), since it is a part of most names.
    Raises `ConfigurationError`, which names the option, for what is no expression.
    """
    if expression.strip().lower() == BEST:
        return Reference(expression, None, _EVERY_AXIS)
    matches = matcher(expression, option)
    try:
        exact = Matcher(tuple(tuple(map(_whole_list, terms)) for terms in matches.alternatives))
    except ConfigurationError as error:
        raise ConfigurationError(f"{option} {expression!r}: {error}") from None
    return Reference(expression, exact, frozenset().union(*map(_axes_of, exact.terms)))


def _axes_of(term: Term) -> Collection[str]:
    """Return the axes that a word is about."""
    return _EVERY_AXIS if term.axis is None else LOOP_AXES if term.axis == _LOOP else {term.axis}


def _whole_list(term: Term) -> Term:
    """Return contexts=cpu(0) for cpu(0). Raises `ConfigurationError` for a device that does not exist."""
    try:
        return Term(term.wanted, f"contexts={','.join(canonical_contexts(term.text))}")
    except ConfigurationError:
        if re.fullmatch(r"\w+\(\d+\)(,\w+\(\d+\))*", term.text):
            raise
        return term
