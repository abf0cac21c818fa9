"""How results look, to the last character.

The expected tables are files in `golden/`: read them as what a user sees. Trailing blanks, which fill a table's last
column, are not compared.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from bench.analysis import accuracy
from bench.analysis.summary import Row, summarize
from bench.errors import ConfigurationError
from bench.records import store
from bench.records.environment import ThrottleReason
from bench.records.result import FailureReason, Library, ResultSet
from bench.render import units
from bench.render.formats.export import Format, render_csv, render_json, render_markdown
from bench.render.formats.html import render_html
from bench.render.formats.text import Legend, render_text
from bench.render.model.axis_columns import AXES
from bench.render.model.column import Column, find, make_column
from bench.render.model.columns import VALUES
from bench.render.model.table import Table, by_file, make_table
from bench.render.model.words.captions import describe_recipe
from bench.render.phrases import clean_text
from bench.render.views.ceilings import ceiling_table
from bench.render.views.results import result_tables
from bench.scenarios.scenario import Scenario
from mnist_core.recipe import Hybridize, Recipe
from tests import ROOT
from tests.support.executor import A_BLOCK, in_turns
from tests.support.records import (
    a_ceiling,
    a_dataset,
    a_failure,
    a_result_set,
    a_run,
    a_scenario,
    a_software,
    an_environment,
    planned,
)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def only_the_tutorials_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use only the tutorial's bands: a table here must not change because another band was measured."""
    bands = accuracy.built_in_bands()
    limits = {
        network: {
            dataset: msgspec.structs.replace(known, floor=tuple(f for f in known.floor if f.updates >= 6000))
            for dataset, known in by_dataset.items()
        }
        for network, by_dataset in bands.limits.items()
    }
    whole = msgspec.structs.replace(bands, limits=limits)
    monkeypatch.setattr(accuracy, "built_in_bands", lambda: whole)


def tables(*result_sets: ResultSet, **options: str) -> list[Table]:
    """Return the tables of these files."""
    return result_tables(map(summarize, result_sets), **options)


def a_sweep() -> ResultSet:
    """Make both kinds of row of the standard suite: a whole training, and three processes each on a part."""
    whole = a_run(throughput=9_000.0, accuracy=0.9761)
    part = Recipe(epochs=1, samples=20_000)
    runs = [
        a_run(
            scenario=a_scenario(contexts=contexts, hybridize=hybridize),
            recipe=dataclasses.replace(part, seed=42 + repeat),
            repeat=repeat,
            throughput=9_000.0
            * (1.25 if contexts == "cpu(0)" else 1)
            * (1.5 if hybridize is Hybridize.ON else 1)
            * noise,
            accuracy=0.91 + 0.001 * repeat,
        )
        for contexts, hybridize in itertools.product(("cpu(0)", "cpu(0),cpu(1)"), (Hybridize.OFF, Hybridize.ON))
        for repeat, noise in enumerate((0.99, 1.0, 1.02))
    ]
    return a_result_set(whole, *runs, suite="standard")


def a_troubled_set() -> ResultSet:
    """Make one row of every kind of trouble, with texts that would break a careless format."""
    many_gpus = ",".join(f"gpu({index})" for index in range(8))
    result_set = a_result_set(
        a_run(throughput=9_000.0),
        a_run(scenario=a_scenario(contexts="cpu(0)"), throughput=12_000.0, accuracy=0.9312),
        a_run(scenario=a_scenario(cpu_threads=4, batch_size=1000), throughput=8_500.0),
        *[a_failure(repeat=repeat) for repeat in range(3)],
        a_failure(
            scenario=a_scenario(contexts=many_gpus),
            reason=FailureReason.CRASHED,
            detail="[bold]signal[/bold] 11 | *stack*\nsecond\x1b[31m line",
        ),
    )
    not_run = planned(a_run(scenario=a_scenario(batch_size=500)))
    return msgspec.structs.replace(result_set, plan=(*result_set.plan, not_run))


def as_text(
    made: Sequence[Table], width: int, *, encoding: str = "utf-8", color: bool = False, legend: Legend = Legend.FULL
) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    console = Console(file=file, width=width, force_terminal=color, color_system="standard" if color else None)
    render_text(made, console, legend)
    file.flush()
    return raw.getvalue().decode(encoding)


def stripped(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


GOLDEN_FILES: dict[str, Callable[[], str]] = {
    "sweep_60.txt": lambda: as_text(tables(a_sweep()), 60),
    "sweep_80.txt": lambda: as_text(tables(a_sweep()), 80),
    "sweep_200.txt": lambda: as_text(tables(a_sweep()), 200),
    "sweep_80_ascii.txt": lambda: as_text(tables(a_sweep()), 80, encoding="latin-1"),
    "sweep.md": lambda: render_markdown(tables(a_sweep())),
    "troubled_80.txt": lambda: as_text(tables(a_troubled_set()), 80),
    "troubled.md": lambda: render_markdown(tables(a_troubled_set())),
    "pivot_80.txt": lambda: as_text(tables(a_sweep(), row="contexts", column="hybridize"), 80),
    "troubled_pivot_80.txt": lambda: as_text(tables(a_troubled_set(), column="batch_size"), 80),
}


@pytest.mark.parametrize("name", GOLDEN_FILES)
def test_tables_look_as_they_should(name: str, request: pytest.FixtureRequest) -> None:
    """The whole output is compared line by line; `--write-golden` writes it again, so that you can read the diff."""
    if request.config.getoption("--write-golden"):
        (GOLDEN / name).write_text(GOLDEN_FILES[name](), encoding="utf-8")
    assert stripped((GOLDEN / name).read_text(encoding="utf-8")) == stripped(GOLDEN_FILES[name]())


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("result_set", [a_sweep(), a_troubled_set()], ids=["sweep", "troubled"])
def test_no_line_is_wider_than_the_terminal(result_set: ResultSet, width: int) -> None:
    """Lesser columns make room before anything wraps or is cut."""
    made = tables(result_set)
    text = as_text(made, width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert "…" not in text.replace("gpu(0)…gpu(7)", "")


def test_a_terminal_too_narrow_for_any_table_gets_a_line_for_each_cell() -> None:
    """No cell is torn into pieces, and no line runs over. All three axes are needed to tell the rows apart."""
    scenarios = [
        a_scenario(contexts=contexts, batch_size=batch_size, hybridize=hybridize)
        for contexts in ("cpu(0)", "cpu(0),cpu(1)")
        for batch_size in (100, 500)
        for hybridize in (Hybridize.OFF, Hybridize.ON)
    ]
    runs = tuple(a_run(scenario=scenario, repeat=repeat) for scenario in scenarios for repeat in range(3))
    lines = as_text(tables(a_result_set(runs=runs)), 34).splitlines()
    at = next(place for place, line in enumerate(lines) if line.split() == ["contexts", "☆", "cpu(0)"])
    record = [" ".join(line.split()) for line in lines[at : at + 5]]
    assert record == ["contexts ☆ cpu(0)", "batch 100", "hybridize off", "images/s 10,000 ±0 %", "n 3"]
    assert any(re.fullmatch(r"speed-up +\d.*±.* %", line) for line in lines)
    assert max(map(len, lines)) <= 34


def test_tables_of_an_answer_hide_the_same_columns() -> None:
    """What one of two tables has no room for is in neither, so that they can be read together."""
    text = as_text(tables(a_sweep(), a_troubled_set()), 90)
    headers = [line.split() for line in text.splitlines() if "images/s" in line and "contexts" in line]
    assert len(headers) > 1
    named = text.split("too few: ")[1]
    for word in ("epoch", "speed-up"):
        assert len({word in header for header in headers}) == 1 or word in named


def test_a_long_text_is_wrapped_before_a_number_that_matters_is_hidden() -> None:
    """A setting of many words must not cost the reader its verdict, or its speed."""
    long = "cpu(0) x 2, bound, resident, epoch, padded, flat, naive, and more of the same kind"
    columns: Sequence[Column[None]] = (
        make_column("setting", lambda row: long, number=False, priority=0),
        make_column("n", lambda row: 3, priority=2),
        make_column("verdict", lambda row: "unchanged", number=False, priority=0),
    )
    lines = as_text([make_table("made up", columns, [None], mark=lambda _row: "★")], 40).splitlines()
    header = next(line for line in lines if "setting" in line)
    assert header.split() == ["setting", "n", "verdict"]
    assert " ".join(" ".join(lines).split()).count("unchanged") == 1
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("width", range(30, 60))
def test_a_number_is_not_torn_from_its_unit(width: int) -> None:
    """Whatever the width, no line of a note begins with a percent sign or with the value of n."""
    table = make_table("made up", (), [], notes=[("", "a task waited for 91 % of the time, n = 3, and 250 % more")])
    lines = [line.strip() for line in as_text([table], width).splitlines()]
    assert not any(line.startswith(("%", "=", "3")) for line in lines)
    assert "a task waited for 91 % of the time, n = 3, and 250 % more" in " ".join(lines)


def test_an_axis_that_tells_no_rows_apart_makes_room_for_the_speed_up() -> None:
    """Of two axes that say the same the one that says less goes, and what all rows share; no row becomes another's."""
    scenarios = [
        a_scenario(contexts=contexts, hybridize=Hybridize(hybridize))
        for hybridize, contexts in (("off", "cpu(0),cpu(1)"), ("on", "cpu(0)"), ("static", "cpu(0)"))
    ]
    runs = [a_run(scenario=scenario, repeat=repeat) for scenario in scenarios for repeat in range(3)]
    text = as_text(tables(a_result_set(runs=tuple(runs))), 60)
    (header,) = (line.split() for line in text.splitlines() if {"hybridize", "images/s"} <= {*line.split()})
    assert header == ["hybridize", "images/s", "accuracy", "speed-up"]
    assert "contexts," in text.split("too few: ")[1].split()


def test_what_all_rows_share_stands_above_the_table() -> None:
    """There it leaves room for what was measured. A row alone, which shares nothing, keeps its columns."""
    (alone, sweep), main = tables(a_sweep()), ["contexts", "batch_size", "hybridize"]
    shown = [[h.name for h in table.headings if h.axis and h.priority is not None] for table in (alone, sweep)]
    assert shown == [main, ["contexts", "hybridize"]]
    assert [dict(table.caption).get("all rows") for table in (alone, sweep)] == [None, "batch 100"]


def test_settings_share_a_column_where_the_speed_up_has_no_room_beside_them() -> None:
    """Nothing that tells two rows apart is lost, and the legend explains every part."""
    file = store.read(ROOT / "results/baselines/ablation-intel-xeon-2-cores.json", ResultSet)
    text = as_text(tables(file), 80)
    lines = text.splitlines()
    headers = [line.split() for line in lines if {"images/s", "accuracy", "speed-up"} <= {*line.split()}]
    assert len(headers) == 2
    assert max(map(len, lines)) <= 80
    assert "speed-up" not in text.split("too few: ")[1]
    assert "threads: OpenMP threads of each CPU context" in " ".join(text.split())
    for words in ("cpu(0), bound, threads 1, tuned", "cpu(0), off, threads 2, tutorial"):
        assert any(words in line for line in lines)
    wide = [line.split()[:4] for line in as_text(tables(file), 160).splitlines() if "images/s" in line]
    assert wide[:2] == [["contexts", "hybridize", "threads", "loop"]] * 2


def test_what_one_table_has_no_room_for_stays_where_it_tells_rows_apart() -> None:
    """The contexts are spare in the first table, and all that the rows of the second differ in."""
    spare = [a_scenario(contexts="cpu(0),cpu(1)"), a_scenario(contexts="cpu(0)", hybridize=Hybridize.ON)]
    needed = [a_scenario("lenet", contexts=contexts) for contexts in ("cpu(0)", "cpu(0),cpu(1)")]
    runs = tuple(a_run(scenario=each, repeat=repeat) for each in (*spare, *needed) for repeat in range(3))
    lines = as_text(tables(a_result_set(*runs)), 55).splitlines()
    headers = [line.split() for line in lines if {"images/s", "accuracy"} <= {*line.split()}]
    assert ["contexts" in header for header in headers] == [False, True]


def test_the_legend_is_as_long_as_asked() -> None:
    """Signs alone unless more is asked for; nothing for --quiet."""
    made = tables(a_troubled_set())
    full, signs, none = (as_text(made, 120, legend=legend) for legend in (Legend.FULL, Legend.SIGNS, Legend.NONE))
    assert "images trained per second" in full
    assert "images trained per second" not in signs
    assert "--verbose explains the columns." in signs
    assert "fastest valid row of its network" in signs
    assert "fastest valid row of its network" not in none


def test_a_wide_terminal_shows_every_column_and_hides_none() -> None:
    """At 200 columns there is nothing left to hide."""
    wide = as_text(tables(a_sweep(), a_troubled_set()), 200)
    assert "Hidden" not in wide
    assert "OpenMP" in wide


def test_hidden_columns_are_named() -> None:
    """A note says where to find them."""
    narrow = " ".join(as_text(tables(a_sweep()), 80).split())
    assert "Hidden where 80 columns are too few: " in narrow
    assert "scaling" in narrow.split("too few: ")[1]
    assert "--format csv shows them" in narrow


def test_colour_changes_nothing_but_colour() -> None:
    """Without its escape sequences the coloured text is the plain one; no meaning is in the colour alone."""
    made = tables(a_troubled_set())
    colored = as_text(made, 100, color=True)
    assert "\x1b[" in colored
    without = "".join(piece.partition("m")[2] if index else piece for index, piece in enumerate(colored.split("\x1b[")))
    assert stripped(without) == stripped(as_text(made, 100))


def test_a_console_without_unicode_gets_ascii() -> None:
    """A user's own words do, too, which a processor's name or an error may hold."""
    environment = an_environment(host_processor_model_name="Prozessor für Bücher")
    text = as_text(tables(msgspec.structs.replace(a_troubled_set(), environment=environment)), 80, encoding="ascii")
    assert text.isascii()
    assert "Prozessor f\\xfcr B\\xfccher" in text


def test_words_from_a_file_are_no_markup_and_cannot_steer_the_terminal() -> None:
    """Square brackets stay, newlines and escape sequences do not."""
    text = as_text(tables(a_troubled_set()), 200)
    assert "[bold]signal[/bold] 11 | *stack* second [31m line" in text
    assert "\x1b" not in text


def test_every_table_names_data_machine_versions_and_n() -> None:
    """A table that is cut out and pasted elsewhere still says what it is true of."""
    for table in tables(a_sweep()):
        text = as_text([table], 120)
        assert "mnist (0123456789ab), the cache" in text
        assert "Imaginary Xeon 8000 @ 2.50GHz, 2 usable cores (4 vCPUs), kvm" in text
        assert "mxnet 1.9.1, numpy 1.26.4, Python 3.11.9, mnist-bench 0.1.0" in text
        assert "n = " in table.title
        assert "cpu(0), cpu(1) are virtual contexts: no core is bound to one" in text


def caption_of(result_set: ResultSet) -> dict[str, str]:
    return dict(tables(result_set)[0].caption)


def test_one_cpu_context_needs_no_note() -> None:
    """A single context, or one CPU beside a GPU, divides nothing."""
    assert "note" not in caption_of(a_result_set(a_run(scenario=a_scenario(contexts="cpu(0)"))))
    assert "note" not in caption_of(a_result_set(a_run(scenario=a_scenario(contexts="cpu(0),gpu(0)"))))


def test_the_caption_says_what_is_not_known() -> None:
    """A machine may lack a name, a file a finished run, or there may be several accelerators."""
    environment = an_environment(
        host_processor_model_name=None,
        usable_core_count=1,
        usable_vcpu_count=1,
        virtualization=None,
        software=None,
        accelerator_model_names=("Imaginary G1", "Imaginary G1", "Imaginary G2"),
    )
    caption = caption_of(a_result_set(a_failure(), environment=environment))
    assert caption["machine"] == ("an unnamed x86_64 processor, 1 usable core (1 vCPU), 2 x Imaginary G1, Imaginary G2")
    assert caption["software"] == "versions not recorded: no run finished, mnist-bench 0.1.0"
    assert tables(a_result_set(a_failure()))[0].title.endswith("no result yet")


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(), "10 epochs of 60,000 images"),
        (Recipe(epochs=1, samples=2_000), "1 epoch of the first 2,000 images"),
        (Recipe(samples=60_000), "10 epochs of 60,000 images"),
        (Recipe(learning_rate=0.05), "10 epochs of 60,000 images, learning rate 0.05"),
        (Recipe(xavier_magnitude=3.0), "10 epochs of 60,000 images, Xavier magnitude 3.0"),
    ],
)
def test_a_recipe_in_words(recipe: Recipe, words: str) -> None:
    """What differs from the tutorial is said."""
    assert describe_recipe(recipe, 60_000) == words


def test_what_all_tables_of_a_file_share_stands_once_above_them() -> None:
    """It stands once in every format for people, and each table keeps what is its own."""
    made = tables(a_sweep())
    for text in (as_text(made, 200), render_markdown(made), render_html(made)):
        assert text.count("Imaginary Xeon 8000") == 1
        places = [
            text.rindex(words) for words in ("Imaginary Xeon 8000", "10 epochs of 60,000", "1 epoch of the first")
        ]
        assert places == sorted(places)
    alone = as_text(made[:1], 200)
    assert alone.index("10 epochs of 60,000 images") < alone.index("Imaginary Xeon 8000")


def test_tables_of_no_file_keep_their_captions() -> None:
    """A caption is shared only where it was made of the same file."""
    (table,) = tables(a_result_set())
    ((common, own),) = by_file([dataclasses.replace(table, file="")] * 2)
    assert common == ()
    assert [each.caption for each in own] == [table.caption] * 2


def test_files_keep_captions_of_their_own() -> None:
    """What is above the tables of one file is never taken for the other's."""
    there = msgspec.structs.replace(
        a_sweep(),
        created_at="2026-02-01T12:00:00Z",
        environment=an_environment(host_processor_model_name="Imaginary EPYC"),
    )
    ceiling = a_ceiling(device="cpu(0)")
    made = tables(a_sweep(), msgspec.structs.replace(there, ceilings=(ceiling,)))
    for text in (as_text(made, 200), render_markdown(made)):
        assert text.count("Imaginary Xeon 8000") == text.count("Imaginary EPYC") == 1
        first, second = text.split("Imaginary EPYC")
        assert first.count("10 epochs of 60,000") == second.count("10 epochs of 60,000") == 1
        assert first.count("2026-01-31T12:00:00Z") == second.count("2026-02-01T12:00:00Z") == 1
    assert "\n---\n\n- **data**" in render_markdown(made)


def test_several_files_are_tables_of_their_own() -> None:
    """Other data or another machine never end in one table."""
    other = a_result_set(a_run(), dataset=a_dataset(name="synthetic"), environment=an_environment(virtualization=None))
    first, second = tables(a_result_set(), other)
    assert (first.facts["dataset"], second.facts["dataset"]) == ("mnist", "synthetic")


def test_an_empty_file_gives_no_table_in_any_format() -> None:
    """It is no error either."""
    made = tables(msgspec.structs.replace(a_result_set(), plan=(), runs=()))
    assert made == []
    assert as_text(made, 80) == ""
    assert render_markdown(made) == ""
    assert render_csv(made).strip() == ""
    assert json.loads(render_json(made)) == []


# --- sorting


def sorted_column(name: str, sort: str, result_set: ResultSet) -> list[Any]:
    return [row[name] for row in json.loads(render_json(tables(result_set, sort=sort)))[-1]["rows"]]


def test_rows_sort_by_raw_values_before_formatting() -> None:
    """9,000 is below 10,500 though "9" is above "1". A minus turns the order round."""
    result_set = a_result_set(
        *(
            a_run(scenario=a_scenario(batch_size=b), throughput=t)
            for b, t in [(1000, 10_500.0), (50, 9_000.0), (100, 98_000.0)]
        )
    )
    assert sorted_column("batch_size", "throughput", result_set) == [50, 1000, 100]
    assert sorted_column("batch_size", "-throughput", result_set) == [100, 1000, 50]
    assert sorted_column("batch_size", "batch_size", result_set) == [50, 100, 1000]


@pytest.mark.parametrize("sort", ["throughput", "-throughput", "speedup", "-first_step_seconds"])
def test_absent_values_sort_last_in_both_directions(sort: str) -> None:
    """A failed row has no claim to the top of a list, and does not drop out of it either."""
    rows = json.loads(render_json(tables(a_troubled_set(), sort=sort)))[0]["rows"]
    present = [row[sort.removeprefix("-")] is not None for row in rows]
    assert present == sorted(present, reverse=True)
    assert len(rows) == len(json.loads(render_json(tables(a_troubled_set())))[0]["rows"])


def test_digits_in_names_sort_as_numbers() -> None:
    """cpu(2) is before cpu(10)."""
    contexts = ["cpu(10)", "cpu(2)", "cpu(2),cpu(3)", "gpu(0)"]
    result_set = a_result_set(*(a_run(scenario=a_scenario(contexts=text)) for text in reversed(contexts)))
    assert sorted_column("contexts", "contexts", result_set) == ["cpu(2)", "cpu(2),cpu(3)", "cpu(10)", "gpu(0)"]


def test_equal_values_keep_the_order_of_the_plan() -> None:
    """Sorting is stable in both directions."""
    result_set = a_result_set(*(a_run(scenario=a_scenario(batch_size=b), throughput=64.0) for b in (50, 200, 100)))
    assert sorted_column("batch_size", "throughput", result_set) == [50, 200, 100]
    assert sorted_column("batch_size", "-throughput", result_set) == [50, 200, 100]


@pytest.mark.parametrize("name", ["images/s", "throughput", "throughput_images_per_second", " Images/S "])
def test_a_column_is_found_by_any_of_its_names(name: str) -> None:
    """What a user reads above the column or in a CSV header is as good as its name."""
    assert find(name, VALUES, "column").heading.name == "throughput"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sort": "thruput"}, "unknown column 'thruput'; did you mean 'throughput'"),
        ({"sort": "-colour"}, r"unknown column 'colour' \(known: framework, network, contexts"),
        ({"row": "contxts"}, "unknown axis 'contxts'; did you mean 'contexts'"),
        ({"column": "throughput"}, "unknown axis 'throughput'"),
        ({"row": "contexts", "value": "final_acuracy"}, "did you mean 'final_accuracy'"),
        ({"row": "contexts", "value": "status"}, "unknown value 'status'"),
        ({"row": "contexts", "column": "contexts"}, "rows and columns cannot both be contexts"),
        ({"value": "final_accuracy"}, "--value final_accuracy needs an axis: name --row or --column"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: dict[str, str], message: str) -> None:
    """The message says what may have been meant, where there is nothing to show, too."""
    for result_sets in ([a_sweep()], []):
        with pytest.raises(ConfigurationError, match=message):
            tables(*result_sets, **options)


# --- pivots


def test_a_pivot_turns_an_axis_into_columns() -> None:
    """Each value has a column in the order of the plan; other varying axes lead, and the row axis is last of them."""
    table = tables(a_sweep(), row="contexts", column="hybridize")[1]
    shown = [heading.name for heading in table.headings if heading.priority is not None]
    assert shown == ["contexts", "throughput[hybridize=off]", "throughput[hybridize=on]"]
    assert [row.cells[0].raw for row in table.rows] == ["cpu(0)", "cpu(0),cpu(1)"]
    assert dict(table.caption)["all rows"] == "mlp, batch 100"


def test_other_varying_axes_lead_a_pivots_rows() -> None:
    """Nothing that differs is merged away: the network is a row axis too, when there are two."""
    networks, batches = ("mlp", "lenet"), (100, 500)
    runs = [
        a_run(scenario=a_scenario(network, batch_size=batch), accuracy=0.985)
        for batch, network in itertools.product(batches, networks)
    ]
    (table,) = tables(a_result_set(*runs), column="hybridize")
    assert [tuple(cell.raw for cell in row.cells[:2]) for row in table.rows] == [*itertools.product(networks, batches)]


def test_an_axis_can_be_the_rows_without_any_being_the_columns() -> None:
    """Then there is one column, of the value."""
    table = tables(a_sweep(), row="contexts")[1]
    assert [h.name for h in table.headings] == ["hybridize", "contexts", "throughput", "status"]


def test_a_sorted_pivot_has_its_rows_in_that_order_and_its_columns_in_the_plans() -> None:
    """Fastest first means the rows; a shuffled header would be of no use."""
    plain = tables(a_sweep(), row="contexts", column="hybridize", value="update_microseconds")[1]
    table = tables(a_sweep(), row="contexts", column="hybridize", value="update_microseconds", sort="throughput")[1]
    assert table.headings == plain.headings
    assert [row.cells[0].raw for row in table.rows] == ["cpu(0),cpu(1)", "cpu(0)"]


def test_a_pivot_of_another_value_marks_no_fastest() -> None:
    """The fastest is fastest by throughput; in a table of accuracies the mark would read as the most accurate."""
    for value, marked in (("throughput", True), ("final_accuracy", False)):
        table = tables(a_sweep(), column="hybridize", value=value)[1]
        assert any(cell.mark for row in table.rows for cell in row.cells) is marked


def test_a_pivot_shows_a_value_that_a_listing_has_for_programs_only() -> None:
    """A user who names a value sees its numbers, whether across the top or alone."""
    for axes in ({"column": "hybridize"}, {"row": "contexts"}):
        pivot = as_text(tables(a_sweep(), **axes, value="final_accuracy_min")[1:], 80)
        assert "final accuracy min" in pivot
        assert re.search(r"cpu\(0\) +0\.9100", pivot)


def test_a_pivot_tells_programs_which_values_are_invalid() -> None:
    """A status stands beside every value, since a number alone would pass for a good one."""
    (row, *_) = csv.DictReader(io.StringIO(render_csv(tables(a_troubled_set(), row="batch_size", column="contexts"))))
    assert row["throughput_images_per_second[contexts=cpu(0)]"] == "12000.0"
    assert row["status[contexts=cpu(0)]"] == "invalid"
    assert row["status[contexts=gpu(0)]"] == "failed"


# --- CSV, JSON, Markdown


def csv_rows(made: Sequence[Table]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render_csv(made))))


def test_csv_holds_raw_values_with_their_intervals_and_where_they_are_from() -> None:
    """Nothing is rounded, absent is empty, and every row can stand alone."""
    first, *_rest = csv_rows(tables(a_sweep()))
    assert math.isclose(float(first["throughput_images_per_second"]), 9_000.0, rel_tol=1e-12)
    assert first["throughput_images_per_second_lower"] == ""
    assert first["epoch_extrapolated"] == "false"
    assert (first["network"], first["contexts"], first["batch_size"]) == ("mlp", "cpu(0),cpu(1)", "100")
    assert (first["cpu_threads"], first["samples"], first["epochs"]) == ("", "", "10")
    assert first["dataset_digest"] == a_dataset().digest
    last = csv_rows(tables(a_sweep()))[-1]
    lower, value, upper = (float(last[f"speedup{end}"]) for end in ("_lower", "", "_upper"))
    assert lower < value < upper


def test_csv_columns_do_not_depend_on_the_data() -> None:
    """A file of failures has the same header as one of measurements: programs rely on it."""
    header = render_csv(tables(a_sweep())).splitlines()[0]
    assert header == render_csv(tables(a_troubled_set())).splitlines()[0]
    assert header == render_csv(tables(a_result_set(a_failure()))).splitlines()[0]


def test_csv_keeps_a_hostile_text_in_one_cell() -> None:
    """Quotes, commas and newlines come back as they were."""
    detail = 'say "no", twice\nor never'
    (row,) = csv_rows(tables(a_result_set(a_failure(detail=detail))))
    assert row["failures"] == f"1 x no_device: {detail}"
    assert row["status"] == "failed"


def test_json_holds_estimates_with_their_intervals_and_null_for_absent() -> None:
    """The last row is the sweep's, of three processes; the first file's row has one."""
    whole, sweep = json.loads(render_json(tables(a_sweep())))
    assert whole["rows"][0]["throughput"] == {"value": pytest.approx(9_000.0), "lower": None, "upper": None, "n": 1}
    assert whole["rows"][0]["scaling_efficiency"] is None
    estimate = sweep["rows"][-1]["scaling_efficiency"]
    assert estimate["lower"] < estimate["value"] < estimate["upper"]
    assert estimate["n"] == 3
    assert whole["facts"]["dataset"] == "mnist"


def test_json_and_csv_have_every_column() -> None:
    """A new column of `columns` is in every format without further changes."""
    columns: list[Column[Row]] = [*AXES, *VALUES]
    expected = {column.heading.name for column in columns if column.heading.data}
    assert set(json.loads(render_json(tables(a_sweep())))[0]["rows"][0]) == expected
    keys = {column.heading.key for column in columns if column.heading.data}
    assert keys <= set(csv_rows(tables(a_sweep()))[0])


def test_every_field_of_a_scenario_is_an_axis() -> None:
    """An axis added to Scenario becomes a column, shown as soon as a row is off its default."""
    assert [axis.heading.name for axis in AXES] == [field.name for field in msgspec.structs.fields(Scenario)]


def test_markdown_escapes_what_would_break_the_table() -> None:
    """These are pipes, stars, brackets, angle brackets and underscores."""
    environment = an_environment(host_processor_model_name="A|B <i>*C*</i> [d](e) _f_ `g`")
    text = render_markdown(tables(a_result_set(a_run(), environment=environment)))
    assert r"A\|B \<i\>\*C\*\</i\> \[d\](e) \_f\_ \`g\`" in text


def test_absent_is_a_dash_and_never_a_word() -> None:
    """There is no None, NaN or nan in anything meant to be read."""
    for text in (as_text(tables(a_troubled_set()), 200), render_markdown(tables(a_troubled_set()))):
        assert "–" in text  # noqa: RUF001
        assert not {"None", "NaN", "nan", "null"} & set(text.replace("|", " ").split())


@settings(deadline=None)  # a busy machine is no failure
@given(st.text())
def test_clean_text_is_printable(text: str) -> None:
    """Whatever a file holds, at most newlines are left of what is not printable."""
    assert all(line.isprintable() for line in clean_text(text).split("\n"))


def test_the_formats_are_those_of_the_command_line() -> None:
    """`--format` takes text, markdown, csv, json, html and junit."""
    assert [str(member) for member in Format] == ["text", "markdown", "csv", "json", "html", "junit"]


def test_software_of_the_worker_is_what_the_facts_name() -> None:
    """What the parent process has installed is not named."""
    environment = an_environment(software=a_software(framework_version="2.0.0"), packages={"mxnet": "1.9.1"})
    assert tables(a_result_set(environment=environment))[0].facts["framework_version"] == "2.0.0"


# --- numbers


@pytest.mark.parametrize(
    ("unit", "number", "text"),
    [
        (units.significant, 12_345.6, "12,346"),
        (units.significant, 930.4, "930"),
        (units.significant, 93.14, "93.1"),
        (units.significant, 9.314, "9.31"),
        (units.significant, 0.09314, "0.0931"),
        (units.significant, 99.96, "100"),
        (units.significant, 9.999, "10.0"),
        (units.significant, 0.0, "0"),
        (units.seconds, 0.0, "0 s"),
        (units.roughly, 0.4, "0 s"),
        (units.roughly, 119.4, "119 s"),
        (units.roughly, 119.6, "2 min"),
        (units.roughly, 119.6 * 60, "120 min"),
        (units.roughly, 2.5 * 3600, "2.5 h"),
        (units.roughly, 47.2 * 3600, "47 h"),
        (units.seconds, 0.0000452, "45.2 µs"),
        (units.seconds, 0.3454, "345 ms"),
        (units.seconds, 0.9996, "1.00 s"),
        (units.seconds, 0.9994, "999 ms"),
        (units.seconds, 4.864, "4.86 s"),
        (units.seconds, 99.94, "99.9 s"),
        (units.seconds, 99.96, "1 min 40 s"),
        (units.seconds, 125.4, "2 min 05 s"),
        (units.seconds, 3_599.6, "1 h 00 min"),
        (units.seconds, 3_720.0, "1 h 02 min"),
        (units.memory, 812.3 * 1024**2, "812 MiB"),
        (units.memory, 999.6 * 1024**2, "0.976 GiB"),
        (units.memory, 1.234 * 1024**3, "1.23 GiB"),
        (units.accuracy, 0.97612, "0.9761"),
        (units.accuracy, 1.0, "1.0000"),
        (units.factor, 1.518, "1.52\N{MULTIPLICATION SIGN}"),
        (units.percent, 0.8749, "87 %"),
    ],
)
def test_numbers_have_three_digits_that_mean_something(unit: Callable[[float], str], number: float, text: str) -> None:
    """They are rounded before the unit is chosen, so that neither 1,000 ms nor 60 s of a minute appear."""
    assert unit(number) == text


@pytest.mark.parametrize(
    ("upper", "text"),
    [
        (10_210.0, "±2.1 %"),
        (10_034.0, "±0.34 %"),
        (11_200.0, "±12 %"),
        (33_600.0, f"{units.TIMES}÷3.4"),
        (math.inf, f"{units.TIMES}÷>10"),
    ],
)
def test_an_interval_is_plus_minus_percent(upper: float, text: str) -> None:
    """It has two digits. Beyond tenfold it only says that there are too few processes."""
    assert units.plus_minus(10_000.0, upper) == text


@given(st.floats(allow_nan=False))
def test_every_number_can_be_written(number: float) -> None:
    """A file may hold what no machine measured, and what is computed of it may be nothing or without end."""
    for unit in (units.significant, units.factor, units.share, units.bound, units.giga, units.percentage, units.tenths):
        assert unit(number).isprintable()


@settings(deadline=None)  # a busy machine is no failure
@given(st.floats(min_value=1e-9, max_value=1e9))
def test_significant_digits_are_never_off_by_more_than_half_of_the_third(number: float) -> None:
    """Rounding loses at most 0.5 % of any number."""
    assert math.isclose(float(units.significant(number).replace(",", "")), number, rel_tol=0.0051)


# --- ceilings ---------------------------------------------------------------------------------------------------------

BESIDE_A_CEILING = ("utilisation", "GFLOP/s", "GB/s", "bound", "fixed µs/step", "µs/image")


def three_sizes(**changes: object) -> ResultSet:
    """Make three batch sizes at 800 and 4 µs, which are overhead-bound below 200 images."""
    runs = [
        a_run(
            scenario=a_scenario(batch_size=size),
            recipe=Recipe(epochs=1, samples=20_000, seed=42 + repeat),
            repeat=repeat,
            throughput=noise * 1e6 * size / (800 + 4 * size),
            accuracy=0.91,
        )
        for size in (100, 500, 1_000)
        for repeat, noise in enumerate((0.99, 1.0, 1.02))
    ]
    return a_result_set(*runs, **changes)


CEILINGS = (
    a_ceiling(gflop=350.0, bandwidth=20.1e9, framework=Library.TORCH, framework_version="2.5.1"),
    a_ceiling(gflop=300.0),
    a_ceiling(gflop=360.0, bandwidth=20.1e9, framework=Library.TORCH, framework_version="2.5.1"),
    a_ceiling(gflop=310.0),
)


def test_the_caption_names_the_ceiling() -> None:
    """It says of what library, on what, how often, and how far it moved, for the table's own threads alone."""
    (table,) = tables(three_sizes(ceilings=(*CEILINGS, a_ceiling(omp_num_threads=7, gflop=999.0))))
    assert dict(table.caption)["ceiling"] == (
        "355 GFLOP/s float32 matrix product (torch, 2 threads, size 512), 20.1 GB/s from memory; "
        "best of mxnet, torch; n = 2 over the run, 350 to 360"
    )
    (table,) = tables(three_sizes(ceilings=CEILINGS[1:2]))
    assert dict(table.caption)["ceiling"].endswith(
        "(mxnet, 2 threads, size 512), 10.0 GB/s from memory; best of mxnet; n = 1 over the run"
    )


def test_beside_a_ceiling_every_format_shows_what_it_is_for() -> None:
    """Text, Markdown and HTML get the columns, CSV and JSON the raw values with their intervals."""
    made = tables(three_sizes(ceilings=CEILINGS))
    wide, markdown, html = as_text(made, 250), render_markdown(made), render_html(made)
    for title in BESIDE_A_CEILING:
        assert all(word in wide for word in title.split())
        assert f"| {title} |" in markdown
        assert title.replace(" ", "<br>") in html
    first, last = csv_rows(made)[0], csv_rows(made)[-1]
    assert (first["bound"], last["bound"]) == ("overhead", "compute")
    assert float(first["ceiling_gflop_per_second"]) == 355.0
    assert float(first["utilisation"]) == pytest.approx(float(first["achieved_gflop_per_second"]) / 355)
    assert float(first["fixed_update_microseconds_lower"]) < 800 < float(first["fixed_update_microseconds_upper"])
    assert float(last["image_microseconds"]) == pytest.approx(4, rel=0.02)
    row = json.loads(render_json(made))[0]["rows"][0]
    assert row["fixed_update_microseconds"]["n"] == 9
    assert row["bytes_per_second"]["lower"] < row["bytes_per_second"]["value"]


def test_without_a_ceiling_tables_for_people_look_as_before() -> None:
    """The same values are in CSV and JSON, and can fill a pivot."""
    made = tables(three_sizes())
    for text in (as_text(made, 250), render_markdown(made), render_html(made)):
        assert not any(title in text for title in ("GFLOP/s", "GB/s", "overhead", "fixed", "µs/image", "ceiling"))
    (row, *_others) = csv_rows(made)
    assert (row["bound"], row["utilisation"], row["ceiling_gflop_per_second"]) == ("overhead", "", "")
    assert float(row["achieved_gflop_per_second"]) > 0
    pivot = render_markdown(tables(three_sizes(), row="batch_size", value="fixed_update_microseconds"))
    assert re.search(r"\| 100 \| \d{3} \\\[\d{3}, \d{3}\\\] \|", pivot)


def test_the_table_of_ceilings_says_which_library_reached_what() -> None:
    """Each device, number of threads and library has a row, and a slow library has its BLAS beside it."""
    table = ceiling_table([*CEILINGS, a_ceiling(device="gpu(0)", gflop=5e4, thread_pools=())], an_environment())
    wide = as_text([table], 200)
    assert "355 (350 to 360)" in wide
    assert "openblas 0.3.23 SkylakeX" in wide
    mxnet, torch, gpu = csv_rows([table])
    assert (mxnet["framework"], torch["framework"], gpu["device"]) == ("mxnet", "torch", "gpu(0)")
    assert (torch["n_processes"], torch["size"], torch["threads"]) == ("2", "512", "2")
    assert (torch["gflop_per_second_least"], torch["gflop_per_second_greatest"]) == ("350.0", "360.0")
    assert (torch["blas"], gpu["blas"]) == ("openblas 0.3.23 SkylakeX", "")  # OpenMP is not one
    assert ceiling_table([], an_environment()).rows == ()


# --- rows that took turns ---------------------------------------------------------------------------------------------


def a_sweep_in_turns(*disturbed: int) -> ResultSet:
    """Make four blocks of two rows on a drifting machine: "on" is 0.4 % faster, and the blocks named were disturbed."""
    noise = (0.002, -0.002, 0.001, -0.001)
    runs = [
        in_turns(
            a_run(
                scenario=a_scenario(hybridize=hybridize),
                recipe=Recipe(epochs=6, samples=10_000, seed=42 + block),
                repeat=block,
                throughput=10_000.0 * drift * (1.004 + noise[block] if hybridize is Hybridize.ON else 1),
                accuracy=0.9,
            ),
            block,
        )
        for block, drift in enumerate((1.0, 1.9, 0.6, 1.4))
        for hybridize in (Hybridize.OFF, Hybridize.ON)
    ]
    stolen = msgspec.structs.replace(A_BLOCK, health=msgspec.structs.replace(A_BLOCK.health, steal_fraction=0.034))
    return a_result_set(*runs, blocks=tuple(stolen if block in disturbed else A_BLOCK for block in range(4)))


@pytest.mark.parametrize("options", [{}, {"row": "hybridize"}], ids=["listing", "pivot"])
def test_what_a_setting_does_stands_in_words_under_its_table(options: dict[str, str]) -> None:
    """It is explained once, and programs, which have the numbers, get no words."""
    made = tables(a_sweep_in_turns(), **options)
    for text in (as_text(made, 200), render_markdown(made), render_html(made)):
        whole = re.sub(r"</?span[^>]*>", "", text)  # which keeps a quantity on one line
        words = " ".join(re.sub(r"<[^>]*>|\*\*|:", " ", whole).split())
        assert "hybridize on instead of off no difference that matters (0.4 % faster ± 0.3)" in words
        assert words.count("… instead of …") == 1
    assert "instead of" not in render_json(made)
    assert "instead of" not in render_csv(made)


def test_rows_alone_get_no_such_words() -> None:
    assert "instead of" not in as_text(tables(a_sweep()), 200)


def test_an_answer_in_a_table_of_several_networks_names_its_network() -> None:
    other = a_sweep_in_turns()
    both = [
        *other.runs,
        *(
            msgspec.structs.replace(r, scenario=msgspec.structs.replace(r.scenario, network="lenet"))
            for r in other.runs
        ),
    ]
    (table,) = tables(a_result_set(*both, blocks=other.blocks), row="hybridize", column="network")
    assert [term for term, _text in table.answers] == [
        "mlp: hybridize on instead of off",
        "lenet: hybridize on instead of off",
    ]


def test_disturbed_blocks_are_named_under_the_table() -> None:
    (table,) = tables(a_sweep_in_turns(1, 3))
    told = [text for _mark, text in table.notes if "disturbed" in text]
    assert told == [
        "disturbed, but counted: "
        + "; ".join(f"block {number}: 3 % of the CPUs' time was stolen by other tenants" for number in (2, 4))
    ]
    assert not any("disturbed" in text for _mark, text in tables(a_sweep_in_turns())[0].notes)


def test_what_slowed_a_gpu_is_said_under_the_table() -> None:
    """Of blocks and of processes that were alone; each reason once."""
    made = a_sweep_in_turns()
    slow = (ThrottleReason.POWER_CAP, ThrottleReason.HEAT)
    hot = [
        msgspec.structs.replace(block, health=msgspec.structs.replace(block.health, gpu_throttle_reasons=slow))
        for block in made.blocks
    ]
    alone = a_run(health=msgspec.structs.replace(made.blocks[0].health, gpu_throttle_reasons=slow[:1]))
    for slowed, words in (
        (msgspec.structs.replace(made, blocks=tuple(hot)), "heat, power cap"),
        (a_result_set(alone), "power cap"),
    ):
        (table,) = tables(slowed)
        assert f"a GPU was slowed meanwhile: {words}" in [text for _mark, text in table.notes]
    assert not any("slowed" in text for _mark, text in tables(made)[0].notes)


def test_a_disturbed_block_is_a_matter_of_its_own_network_alone() -> None:
    """Blocks of several networks are in one file, and each has a number in it."""
    made = a_sweep_in_turns(3)
    runs = [
        run
        if run.block != 3
        else msgspec.structs.replace(run, scenario=a_scenario("lenet", hybridize=run.scenario.hybridize))
        for run in made.runs
    ]
    mlp, lenet = tables(a_result_set(*runs, blocks=made.blocks))
    assert not any("disturbed" in text for _mark, text in mlp.notes)
    assert any("disturbed, but counted: block 4:" in text for _mark, text in lenet.notes)
