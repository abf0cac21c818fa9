"""The answers in sentences: what somebody reads who reads no more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.analysis.accuracy import target
from bench.analysis.groups import Status
from bench.analysis.headline import Headline, Source, headlines, is_level
from bench.analysis.summary import Measures, Row
from bench.render import units
from bench.render.model.answers import describe_effects, describe_gpu_against_cpu
from bench.render.model.words.captions import describe_machine, describe_recipe, name_processor
from bench.render.model.words.labels import full_setting
from bench.render.phrases import format_count, format_estimate, format_ratio
from bench.scenarios.axes import is_custom
from mnist_core.datasets import DatasetName

#: Number of rows from which the best one is said to be partly luck, and no more of those as fast are named.
_MANY = 3


def short(sources: Sequence[Source]) -> Iterator[tuple[str, str]]:
    """(what it is about, a sentence or two), networks together."""
    found = headlines(sources)
    if sources and not found:
        yield "no answer", "nothing was measured that carries a rank."
    firsts: dict[str, Headline] = {}
    machines = {describe_machine(source.environment) for source in sources}
    for answer in found:
        where = ""
        if len(machines) > 1:
            where = f"On {name_processor(answer.source.environment)} ({answer.source.name}), "
        elif len(sources) > 1:
            where = f"In {answer.source.name}, "
        first = firsts.setdefault(answer.network, answer)
        for sentence in _sentences(answer, first, where):
            yield answer.network, sentence


def troubles(sources: Sequence[Source]) -> Iterator[tuple[str, str]]:
    """(a file, what failed in it or has not run): it may be the reason for all that follows."""
    for source in sources:
        for sentence in _troubles(source):
            yield source.name, sentence


def _sentences(answer: Headline, first: Headline, where: str) -> Iterator[str]:
    yield _fastest(answer, first, where)
    if answer is not first:
        return  # what they have in common was said of the fastest file
    yield from _tutorial(answer)
    for term, text in describe_effects(answer.effects):
        yield f"{term}: {text}."
    if answer.of_tutorial_batch is not None:
        row, measures = answer.of_tutorial_batch
        ratio = (
            "" if measures.speedup is None else f", {format_ratio(measures.speedup)} that of the tutorial's own setting"
        )
        rank = "was measured fastest"
        yield (
            f"Of those that update the weights as often as the tutorial, {_setting(row, answer)} {rank}: "
            f"{_speed(measures)}{ratio}, accuracy {units.accuracy(measures.final_accuracy)}."
        )
    if answer.whole_training is not None:
        yield _training(*answer.whole_training, answer.source)
    if answer.gpu_against_cpu is not None:
        term, text = describe_gpu_against_cpu(answer.gpu_against_cpu)
        yield f"{term}: {text}."


def _fastest(answer: Headline, first: Headline, where: str) -> str:
    rank = _rank(answer)
    accuracy = f"accuracy {units.accuracy(answer.measures.final_accuracy)}"
    if answer.fastest.status is Status.NOT_JUDGED:
        own = is_custom(answer.network)
        accuracy += f", which nothing judges: no band {'for an own network' if own else 'for so little training'}"
    fastest = f"{where}{_setting(answer.fastest, answer)} {rank}: {_speed(answer.measures)}"
    unlike = None if answer is first else answer.explain_incomparable(first)
    if answer is not first and unlike is None:
        return f"{fastest}, {format_ratio(answer.over(first))} the first."
    other = "" if unlike is None else f" The two are not comparable: {unlike}."
    return f"{fastest} ({_recipe(answer)}, {accuracy}).{other}"


def _setting(row: Row, answer: Headline) -> str:
    """Describe a row so that it is not taken for another one that the answer names."""
    of_tutorial_batch = [] if answer.of_tutorial_batch is None else [answer.of_tutorial_batch[0]]
    named = (answer.fastest, *answer.as_fast, *of_tutorial_batch)
    return full_setting(row.scenario, among=[each.scenario for each in named])


def _rank(answer: Headline) -> str:
    """Say that a row is the fastest only where the others can be told from it."""
    if answer.ranked == 1:
        return "was measured"
    if not answer.as_fast:
        return f"is the fastest of {answer.ranked}"
    if answer.measures.n == 1:
        what = "block" if answer.fastest.in_turns else "process"
        return f"was measured fastest of {answer.ranked}, but a single {what} tells nothing from it"
    named = [_setting(row, answer) for row in answer.as_fast[:_MANY]]
    if more := answer.as_fast[_MANY:]:
        named.append(f"{len(more)} more")
    return f"was measured fastest of {answer.ranked}, but is not told apart from {'; nor from '.join(named)}"


def _tutorial(answer: Headline) -> Iterator[str]:
    """What the tutorial's own setting costs, beside the fastest."""
    if answer.fastest.is_baseline:
        if answer.ranked > 1:
            yield "That is the tutorial's own setting: nothing else was measured to be faster."
        return
    row = answer.tutorial
    if row is None:
        return
    if answer.speedup is None or row.measures is None:
        yield f"The tutorial's own setting has no result to compare with: {_why_not(row)}."
        return
    reaches = f"The tutorial's own setting reaches {_speed(row.measures)}"
    accuracy = f"accuracy {units.accuracy(row.measures.final_accuracy)}"
    level = is_level(answer.speedup)
    caution = "" if level else _caution(answer)
    ratio = format_ratio(answer.speedup)
    if level or row in answer.as_fast:
        yield f"{reaches}, {accuracy}, and cannot be told from the fastest: {ratio}{caution}."
    else:
        yield f"{reaches}, {accuracy}: the fastest does {ratio} that{caution}."


def _caution(answer: Headline) -> str:
    if answer.speedup is None or answer.speedup.lower is None:
        return "; single processes, so that nobody knows how much of that is luck"
    return (
        f"; chosen as the best of {answer.ranked}, it looks a little better than it is"
        if answer.ranked >= _MANY
        else ""
    )


def _why_not(row: Row) -> str:
    if row.invalid is not None:
        return f"invalid, {row.invalid}"
    if row.failures:
        return f"{row.failures[0].reason}, {row.failures[0].detail}"
    return "not run"


def _training(row: Row, measures: Measures, source: Source) -> str:
    """The tutorial as it is meant, from the first epoch to the last."""
    seconds = measures.epoch_seconds.value * row.recipe.epochs
    goal, reached = target(row.scenario.network), measures.time_to_accuracy_seconds
    text = f"The tutorial's whole training, {describe_recipe(row.recipe, source.summary.dataset.train_samples)}, takes "
    text += f"{units.seconds(seconds)} without evaluation"
    if goal is not None and reached is not None:
        text += f", passes {goal:g} after {units.seconds(reached)}"
    return f"{text} and ends at {units.accuracy(measures.final_accuracy)} (n = {measures.n})."


def _recipe(answer: Headline) -> str:
    dataset = answer.source.summary.dataset
    words = describe_recipe(answer.fastest.recipe, dataset.train_samples, in_turns=answer.fastest.in_turns)
    return words if dataset.name == DatasetName.MNIST else f"{words} of {dataset.name}, not of MNIST"


def _speed(measures: Measures) -> str:
    return format_estimate(measures.throughput, "images/s")


def _troubles(source: Source) -> Iterator[str]:
    rows = source.summary.rows
    invalid = sum(row.invalid is not None for row in rows)
    failed = sum(bool(row.failures) and row.measures is None for row in rows)
    partly = sum(bool(row.failures) and row.measures is not None for row in rows)
    counts = [
        (invalid, "gave a result that is not believed"),
        (failed, "failed"),
        (partly, "failed in a part of the processes and is ranked by the others"),
    ]
    told = [f"{format_count(count, 'scenario')} {what}" for count, what in counts if count]
    if told:
        yield f"{'; '.join(told)}: see Failures."
    not_run = sum(row.not_run for row in rows)
    if not_run:
        planned = sum(row.planned for row in rows)
        yield f"{not_run:,} of {planned:,} planned processes have not run yet: mnist-bench run --resume goes on."
