"""What a search found -> tables, and the winner as text to paste. `tune.results` has put it into numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from bench.experiments.tune.results import KnobEffect, RankedCandidate, Stage, TuneResult
from bench.experiments.tune.search_space import KNOBS
from bench.records.tune import Reason, TuneFile, TunePhase
from bench.render import units
from bench.render.model.axis_columns import AXES
from bench.render.model.column import Column, make_change_column, make_column
from bench.render.model.marks import FAILED, FASTEST, INVALID, LEVEL, SLOWER, Tone
from bench.render.model.table import Fact, Table, hidden_column, make_table
from bench.render.model.words.captions import facts_of, file_caption, file_facts, virtual_contexts
from bench.render.phrases import clean_text, ends, format_count, format_ratio, one_line, plus_minus
from bench.scenarios.export import run_command, suite_text
from bench.scenarios.scenario import Scenario, tutorial_setting
from mnist_core.recipe import Network, Precision, Update

#: Fresh processes of the scenario to paste: enough for an interval worth reading.
_REPEATS: Final = 5
#: Rows of a table meant to be read, beside the tutorial's loop.
MOST_ROWS: Final = 12


def format_knob(scenario: Scenario, knob: str) -> str:
    """Format the value of one knob: cpu(0) x 2, bound, trainer (update_on_kvstore=false)."""
    if knob == "contexts":
        contexts = ",".join(scenario.contexts)
        return contexts if scenario.cpu_threads is None else f"{contexts} x {scenario.cpu_threads}"
    if knob == "update" and scenario.update is Update.TRAINER:
        tutorial = tutorial_setting(scenario.network)
        store = [
            f"{axis}={str(getattr(scenario, axis)).lower()}"
            for axis in ("kvstore", "update_on_kvstore")
            if getattr(scenario, axis) != getattr(tutorial, axis)
        ]
        return f"trainer ({', '.join(store)})" if store else "trainer"
    if knob == "hybridize" and scenario.precision is not Precision.FLOAT32:
        return f"{scenario.hybridize} {scenario.precision}"
    return str(getattr(scenario, knob))


def format_setting(scenario: Scenario) -> str:
    """Format the values of all knobs, in their order: cpu(0) x 2, bound, resident, epoch, padded, flat, naive."""
    return ", ".join(format_knob(scenario, knob) for knob in _knobs(scenario))


def setting_names(scenario: Scenario) -> str:
    """What stands where in `format_setting`: a header for a list of them."""
    return ", ".join("contexts x cpu_threads" if knob == "contexts" else knob for knob in _knobs(scenario))


def describe_space(scenarios: Sequence[Scenario]) -> list[str]:
    """Return a line for each knob with the values that it has in these settings."""
    return [
        f"{knob}: {', '.join(dict.fromkeys(format_knob(scenario, knob) for scenario in scenarios))}"
        for knob in _knobs(scenarios[0])
    ]


#: What the values of knobs mean, but for the tutorial's.
_GLOSSES: Final = {
    "bound": "network, loss and accuracy in one compiled graph with fixed arrays",
    "static": "Gluon's compiled graph with its memory planned once",
    "on": "Gluon's compiled graph",
    "resident": "the data set stays on the device",
    "epoch": "the accuracy is read once an epoch",
    "flat": "all weights in one array",
    "naive": "each operation runs at once, and not in another thread",
    "padded": "channels filled up to multiples of 16",
    "padded_8": "channels filled up to multiples of 8",
    "pool_first": "tanh after the pooling",
    "activation": "oneDNN's tanh",
}


def _gloss(scenario: Scenario) -> str:
    """Explain the words of a setting that are not the tutorial's."""
    words = (format_knob(scenario, knob) for knob in _knobs(scenario))
    told = "; ".join(f"{word}: {_GLOSSES[word]}" for word in words if word in _GLOSSES)
    return told and f"{told} (more in results/README.md, The parts of a loop)"


def _knobs(scenario: Scenario) -> list[str]:
    return [knob for knob in KNOBS if knob != "layers" or scenario.network == Network.LENET]


def tune_tables(tune_file: TuneFile, found: TuneResult, *, most_rows: int | None = MOST_ROWS) -> list[Table]:
    """Return tables of the ranking, of each knob's effect, and of the search; `most_rows` None: all candidates."""
    tables = [_standings_table(tune_file, found, most_rows)]
    if _any_worth(found):
        tables.append(_worths_table(found))
    if found.stages:
        tables.append(make_table("tune: round by round", _STAGE_COLUMNS, found.stages))
    return tables


def _any_worth(found: TuneResult) -> bool:
    """A search with little time measured no neighbour of the winner."""
    return any(worth.ratio is not None for worth in found.worths)


def paste_text(tune_file: TuneFile, scenario: Scenario) -> tuple[str, str]:
    """(suite file, command line), each of exactly this scenario."""
    machine = tune_file.environment.host_processor_model_name or tune_file.environment.architecture
    title = clean_text(
        f"Found by mnist-bench tune for {scenario.network} at batch {scenario.batch_size} on {machine}, "
        f"{tune_file.created_at}"
    )
    return suite_text(scenario, title=one_line(title), repeats=_REPEATS), run_command(scenario, repeats=_REPEATS)


# --- who won


def _standings_table(tune_file: TuneFile, found: TuneResult, most_rows: int | None) -> Table:
    reference = tune_file.plan.candidates[0].scenario
    rows = list(found.standings)
    if most_rows is not None:
        rows = [row for place, row in enumerate(rows) if place < most_rows or row.speedup is None]
    columns: list[Column[RankedCandidate]] = [_SETTING, *(hidden_column(axis) for axis in AXES), *_STANDING_COLUMNS]
    kind = "an exhaustive search" if tune_file.plan.exhaustive else "a search"
    return make_table(
        f"tune: {kind} of {reference.network} at batch {reference.batch_size}",
        columns,
        rows,
        caption=_caption(tune_file, found),
        facts=_facts(tune_file, found),
        notes=_notes(found, len(found.standings) - len(rows)),
        mark=_mark,
    )


def _is_level(row: RankedCandidate) -> bool:
    """Return whether a candidate cannot be told from the winner."""
    return row.ruled is None and (row.behind is None or row.behind.lower is None or row.behind.lower <= 1)


def _mark(row: RankedCandidate) -> str:
    if row.is_winner:
        return FASTEST
    if row.ruled is not None and row.ruled.ruling in {Reason.FAILED, Reason.NOT_LEARNT}:
        return FAILED if row.ruled.ruling is Reason.FAILED else INVALID
    return LEVEL if _is_level(row) else SLOWER


_SETTING: Final[Column[RankedCandidate]] = make_column(
    "setting",
    lambda row: format_setting(row.scenario),
    number=False,
    priority=0,
    data=False,
    explanation="contexts x OpenMP threads of each, hybridize, input_pipeline, metric_sync, layers (of the lenet), "
    "update, engine",
)
_STANDING_COLUMNS: Final[Sequence[Column[RankedCandidate]]] = (
    make_column(
        "throughput",
        unit=units.significant,
        key="throughput_images_per_second",
        title="images/s",
        priority=1,
        detail=plus_minus,
        explanation="geometric mean over n processes of the median window; ± is its 95 % t interval (log scale), the "
        "machine's drift included",
    ),
    make_column(
        "n",
        lambda row: row.throughput.n,
        key="n_processes",
        priority=1,
        explanation="fresh processes, each in a block with one of the tutorial's loop",
    ),
    make_column(
        "speedup",
        unit=units.factor,
        title="speed-up",
        priority=0,
        text=lambda row: "tutorial" if row.speedup is None else units.factor(row.speedup.value),
        detail=ends,
        explanation="over the tutorial's loop at the same batch size, block by block, and its 95 % t interval (log "
        "scale); the winner was chosen for being the fastest, so that its own looks a little better than it is",
    ),
    make_change_column(
        "behind",
        key="winner_over_it",
        title="against\nthe winner",
        priority=1,
        explanation="time per image against the winner's, block by block, and its 95 % t interval (log scale)",
    ),
    make_column(
        "accuracy",
        unit=units.accuracy,
        title="test\naccuracy",
        priority=6,
        explanation="on the first test images after its few windows: the faster, the more it has trained",
    ),
    make_column("ruling", lambda row: None if row.ruled is None else str(row.ruled.ruling), number=False),
    make_column("ruling_detail", lambda row: None if row.ruled is None else row.ruled.detail, number=False),
)


def _headline(found: TuneResult, reference: Scenario) -> str:
    if found.winner is None:
        return "nothing: no setting gave a result"
    if found.winner == reference:
        return "the tutorial's loop: nothing was faster"
    words = format_setting(found.winner)
    if found.speedup is None:
        return words
    faster = f"{format_ratio(found.speedup)} the tutorial's loop, n = {found.speedup.n}"
    if not found.standings:
        return f"{words}: {faster}, provisional: from the search alone"
    if not found.wins:
        return f"{words}: {faster}, which is not shown to be faster"
    return f"{words}: {faster}"


def _caption(tune_file: TuneFile, found: TuneResult) -> list[tuple[str, str]]:
    plan = tune_file.plan
    reference = plan.candidates[0].scenario
    budget = "" if plan.budget_seconds is None else f" of {units.seconds(plan.budget_seconds)}"
    ended = "" if found.complete else ", not finished"
    late = sum(stage.ruled.get(Reason.OUT_OF_TIME, 0) for stage in found.stages)
    out_of_time = f"{late:,} out of time (a larger --budget measures them), " if late else ""
    search = (
        f"{format_count(found.candidates, 'setting')}, {found.measured:,} measured, {out_of_time}"
        f"{units.seconds(found.seconds)}{budget}{ended}; seed {plan.seed}, {tune_file.created_at}"
    )
    scenarios = [row.scenario for row in found.standings] or [reference]
    return [
        ("recommended", _headline(found, reference)),
        *([("in words", gloss)] if found.winner is not None and (gloss := _gloss(found.winner)) else []),
        ("tutorial's loop", format_setting(reference)),
        ("search", search),
        *file_caption(tune_file),
        *virtual_contexts(scenarios),
    ]


def _facts(tune_file: TuneFile, found: TuneResult) -> dict[str, Fact]:
    plan = tune_file.plan
    suite, command = (None, None) if found.winner is None else paste_text(tune_file, found.winner)
    return {
        "network": plan.candidates[0].scenario.network,
        "batch_size": plan.candidates[0].scenario.batch_size,
        **file_facts(tune_file),
        **facts_of(plan, "exhaustive", "seed", "budget_seconds"),
        **facts_of(found, "seconds", "candidates", "measured", "complete"),
        "recommended_suite": suite,
        "recommended_command": command,
    }


def _notes(found: TuneResult, hidden: int) -> list[tuple[str, str]]:
    notes = []
    level = sum(_is_level(row) and not row.is_winner for row in found.standings)
    if level:
        notes.append((LEVEL, f"{format_count(level, 'setting')} cannot be told from the winner"))
    if hidden:
        notes.append(("", f"{format_count(hidden, 'more setting')}: --format csv or json shows all"))
    if found.worths and not _any_worth(found):
        notes.append(("", "what each knob is worth to the winner was not measured: a larger --budget does"))
    alike: dict[tuple[Reason, str], list[Scenario]] = {}
    for scenario, ruled in found.unfit:
        alike.setdefault((ruled.ruling, ruled.detail), []).append(scenario)
    for (ruling, detail), scenarios in alike.items():
        others = f" and {format_count(len(scenarios) - 1, 'other')}" if len(scenarios) > 1 else ""
        mark = FAILED if ruling is Reason.FAILED else INVALID
        notes.append((mark, f"{format_setting(scenarios[0])}{others}: {detail}"))
    return notes


# --- what each knob is worth


def _describe_measured(worth: KnobEffect) -> str:
    if worth.phase is None or worth.ratio is None:
        return "not measured"
    processes = format_count(worth.ratio.n, "process", "processes")
    return f"{_PHASES[worth.phase]}, {processes}"


_PHASES: Final[Mapping[TunePhase, str]] = {
    TunePhase.SCREENING: "screening",
    TunePhase.HEAT: "search",
    TunePhase.FINAL: "final",
    TunePhase.EXHAUSTIVE: "blocks",
}


def _worths_table(found: TuneResult) -> Table:
    winner = found.winner
    assert winner is not None
    columns: Sequence[Column[KnobEffect]] = (
        make_column("knob", number=False, priority=0),
        make_column(
            "chosen", lambda worth: format_knob(winner, worth.knob), number=False, priority=0, title="winner has"
        ),
        make_column(
            "other", lambda worth: format_knob(worth.scenario, worth.knob), number=False, priority=0, title="instead"
        ),
        make_change_column(
            "loss",
            lambda worth: worth.ratio,
            key="winner_over_it",
            title="it would be",
            priority=0,
            explanation="time per image with that one knob turned, and its 95 % interval where something was measured "
            "twice",
        ),
        make_column("measured_in", _describe_measured, number=False, priority=3),
    )
    return make_table(
        "tune: what each knob is worth to the winner",
        columns,
        found.worths,
        caption=[("winner", format_setting(winner))],
        tone=lambda worth: Tone.DIM if worth.ratio is None else Tone.PLAIN,
    )


# --- how it came about


def format_eliminations(ruled: Mapping[Reason, int]) -> str:
    """12 slower, 100 predicted."""
    return ", ".join(f"{ruled[ruling]} {str(ruling).replace('_', ' ')}" for ruling in Reason if ruled.get(ruling))


def _format_rounds(stage: Stage) -> str:
    first, last = stage.first_round + 1, stage.last_round + 1
    return str(first) if first == last else f"{first}{units.ABSENT}{last}"


_STAGE_COLUMNS: Final[Sequence[Column[Stage]]] = (
    make_column("rounds", _format_rounds, number=False, priority=0),
    make_column("phase", lambda stage: str(stage.phase), number=False, priority=0),
    make_column("measured", priority=0, explanation="settings, the tutorial's aside"),
    make_column("seconds", unit=units.seconds, title="time", priority=0),
    make_column(
        "out",
        lambda stage: sum(stage.ruled.values()),
        priority=0,
        text=lambda stage: format_eliminations(stage.ruled) or None,
        number=False,
        explanation="slower: surely slower than the fastest; predicted: not measured, and surely slower if they are "
        "like those that were; outranked: perhaps as fast, but the final has no more room; out of time: not measured",
    ),
    make_column("left", priority=0),
)
