"""Ranks as tables, pictures and a sentence: machines are machines, and what shares one is called that everywhere."""

from __future__ import annotations

import csv
import io
import json

import msgspec
import pytest
from rich.console import Console

from bench.analysis.across.comparison import compare
from bench.analysis.across.entries import index
from bench.analysis.headline import source_of
from bench.analysis.summary import summarize
from bench.records.result import ResultSet
from bench.render.formats.export import render_csv, render_json
from bench.render.formats.text import Legend, render_text
from bench.render.model.document import Picture
from bench.render.report.assemble import make_report
from bench.render.views.across.comparisons import comparison_tables
from bench.render.views.results import result_tables
from bench.scenarios.axes import Exchange
from tests.support.ranks import a_cluster_file, measured, of_torch, two
from tests.support.records import a_cluster_host, a_curve

ALIKE = tuple(a_cluster_host(place, kernel_hash="a" * 64) for place in (0, 1))


def text_of(result_set: ResultSet, width: int) -> str:
    out = io.StringIO()
    render_text(result_tables([summarize(result_set)]), Console(file=out, width=width), Legend.NONE)
    return out.getvalue()


def sentences_of(result_set: ResultSet) -> list[str]:
    return [text for _about, text in make_report([source_of("here", result_set)]).short]


def pictures_of(result_set: ResultSet) -> dict[str, Picture]:
    report = make_report([source_of("here", result_set)])
    return {picture.title: picture for section in report.sections for picture in section.pictures}


def on_one_machine() -> ResultSet:
    speeds = {of_torch(): 1000.0, of_torch(batch_size=50): 800.0, two(hosts=1): 500.0}
    return a_cluster_file(plan=(), runs=tuple(measured(speeds)), hosts=(), exchanges=(a_curve(),))


def test_the_answer_says_what_machines_give_and_what_the_exchange_takes() -> None:
    """Images/s stand beside the efficiency."""
    (sentence,) = [text for text in sentences_of(a_cluster_file()) if "efficient" in text]
    assert sentence.startswith("2 machines: 630 images/s, 0.628")
    assert "one machine at the same batch for all ranks together (31 % efficient)" in sentence
    assert "; the exchange takes 50 % of a step" in sentence


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (a_cluster_file(hosts=ALIKE), "2 hosts on 1 machine, emulated link"),
        (on_one_machine(), "2 ranks on 1 machine, shared cores"),
    ],
    ids=["namespaces", "ranks"],
)
def test_what_shares_a_machine_is_called_that_everywhere(made: ResultSet, name: str) -> None:
    (sentence,) = [text for text in sentences_of(made) if "images/s, " in text and "one " in text and name in text]
    assert "machines" not in sentence
    titles = [table.title for table in result_tables([summarize(made)])]
    assert all(name in title for title in titles[1:]), titles
    speedups = [picture for title, picture in pictures_of(made).items() if "speed-up over one " in title]
    assert speedups
    for picture in speedups:
        assert name in picture.caption
        assert "one machine" not in picture.title


def test_both_questions_have_a_picture_with_the_ideal_line() -> None:
    pictures = pictures_of(a_cluster_file())
    both = [picture for title, picture in pictures.items() if "speed-up" in title]
    assert [picture.title for picture in both] == [
        "mlp: speed-up over one machine, the same batch for all ranks together",
        "mlp: speed-up over one machine, the same batch for each rank",
    ]
    for picture in both:
        assert "ideal" in picture.svg
        assert any("630 images/s" in number for number in picture.numbers)
    assert "437,544 bytes in 5.38 ms, 81.4 MB/s, n = 2" in " ".join(pictures["How long an exchange takes"].numbers)


def test_a_narrow_terminal_keeps_what_the_table_is_for() -> None:
    """At 80 columns images/s, speed-up, efficiency and what it is divided among are there."""
    lines = text_of(a_cluster_file(), 80).splitlines()
    assert max(map(len, lines)) <= 80
    begin = next(place for place, line in enumerate(lines) if line.startswith("mlp, 2 machines: "))
    header = " ".join(lines[begin + 1 : begin + 5])
    for word in ("ranks", "batch", "images/s", "speed-up", "ciency", "cores", "network"):
        assert word in header, header


def test_an_exchange_that_no_interval_shows_takes_no_part() -> None:
    speeds = {two(): 1000.0, two(exchange=Exchange.NONE): 1000.0}
    made = a_cluster_file(plan=(), runs=tuple(measured(speeds)))
    assert any("the exchange takes no part of a step that can be told" in text for text in sentences_of(made))


def test_programs_get_every_number() -> None:
    """CSV says of each row which table it is of; JSON has tables of ranks and of exchanges."""
    tables = result_tables([summarize(a_cluster_file())])
    by_table: dict[str, list[dict[str, str]]] = {}
    for record in csv.DictReader(io.StringIO(render_csv(tables))):
        by_table.setdefault(record["table"], []).append(record)
    assert {name: len(records) for name, records in by_table.items()} == {"": 5, "ranks": 4, "exchanges": 7}
    several = [record for record in by_table["ranks"] if record["ranks"] == "2"]
    assert [(record["basis"], record["batch_size_of_basis"]) for record in several] == [
        ("global", "100"),
        ("local", "50"),
    ]
    assert float(several[0]["predicted_microseconds"]) > 80_000
    assert [table["facts"].get("table") for table in json.loads(render_json(tables))] == [
        None,
        "ranks",
        "ranks",
        "exchanges",
    ]


def test_a_wrong_sum_stands_below_the_curve() -> None:
    """Also where nothing of it was measured."""
    for times in (a_curve().times[:1], ()):
        failed = a_curve(hosts=2, times=times, barrier=None, failure="crashed: the sum is wrong")
        assert "crashed: the sum is wrong" in text_of(a_cluster_file(exchanges=(failed,)), 80)


def test_machines_and_ranks_that_share_one_have_no_column_in_common() -> None:
    speeds = {of_torch(): 1000.0, two(): 900.0, two(hosts=1): 500.0, two(hosts=1, exchange=Exchange.NONE): 600.0}
    both = a_cluster_file(plan=(), runs=tuple(measured(speeds)))
    titles = [table.title for table in result_tables([summarize(both)]) if table.facts.get("table") is None]
    listings = [table for table in result_tables([summarize(both)]) if table.facts.get("table") is None]
    assert [len(table.rows) for table in listings] == [2, 2], titles
    assert any("shared cores" in text for _label, text in listings[1].caption)
    assert not any("shared cores" in text for _label, text in listings[0].caption)


def test_a_comparison_says_what_both_networks_gave() -> None:
    slow, fast = (a_cluster_file(exchanges=(a_curve(rate, hosts=2),)) for rate in (1e7, 1e8))
    fast = msgspec.structs.replace(fast, created_at="2026-02-01T12:00:00Z")
    table, *_ = comparison_tables([compare(index("a", slow), index("b", fast))])
    (line,) = [text for label, text in table.caption if label == "exchange"]
    assert line == "torch through gloo, 2 machines: 437,544 bytes in 44.8 ms → 5.38 ms"
