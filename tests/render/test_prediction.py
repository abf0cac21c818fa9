"""Prediction as tables, a picture and a sentence: what a latency is stands beside it, and no percentile is made up."""

from __future__ import annotations

import csv
import io
import json
import re

import msgspec
import pytest
from rich.console import Console

from bench.analysis.across.comparison import compare
from bench.analysis.across.entries import index
from bench.analysis.headline import source_of
from bench.analysis.prediction import latency_rows
from bench.analysis.summary import summarize
from bench.records.result import ResultSet
from bench.render.formats.export import render_csv, render_json, render_markdown
from bench.render.formats.html import render_report
from bench.render.formats.text import Legend, render_text
from bench.render.model.document import Picture
from bench.render.model.table import Table
from bench.render.report.assemble import make_report
from bench.render.views.across.comparisons import comparison_tables
from bench.render.views.results import result_tables
from bench.stats.intervals import Estimate
from tests.support.predictions import OFF, ON, STATIC, a_prediction, a_prediction_file, a_stream, predicted, times
from tests.support.ranks import of_torch
from tests.support.records import a_result_set, a_run


def tables_of(result_set: ResultSet) -> list[Table]:
    return [table for table in result_tables([summarize(result_set)]) if "prediction" in table.title]


def text_of(result_set: ResultSet, width: int) -> str:
    out = io.StringIO()
    render_text(tables_of(result_set), Console(file=out, width=width), Legend.SIGNS)
    return out.getvalue()


def flat(text: str) -> str:
    """Return a text without its line breaks."""
    return " ".join(text.split())


def picture_of(result_set: ResultSet) -> Picture:
    report = make_report([source_of("here", result_set)])
    pictures = [picture for section in report.sections for picture in section.pictures]
    return next(picture for picture in pictures if picture.title == "mlp: how long a single image takes")


def test_there_are_tables_of_latencies_of_processes_and_of_batches() -> None:
    """A file without predictions has none of them."""
    titles = [table.title for table in tables_of(a_prediction_file())]
    assert titles == [
        "mlp, prediction: time of a single image, n = 4",
        "mlp, prediction: each process by itself",
        "mlp, prediction: images per second, by the images that are handed over together; n = 4",
    ]
    assert tables_of(a_result_set(a_run())) == []


@pytest.mark.parametrize("width", [80, 160])
def test_what_a_latency_is_and_what_disturbed_it_stands_above_it(width: int) -> None:
    """Closed loop, service time, nothing under load; what the machine stole, and how often it switched."""
    text = text_of(a_prediction_file(), width)
    assert max(map(len, text.splitlines())) <= width
    words = flat(text)
    assert "closed loop, one image after the other" in words
    assert "service time. It says nothing of the latency under load" in words
    assert "meanwhile 1.1 % of the CPUs' time stolen by other tenants, 0.700 involuntary switches in 1,000" in words
    assert "latency under load" not in words.replace("nothing of the latency under load", "")


def test_a_narrow_terminal_keeps_the_percentiles_and_the_ratio() -> None:
    lines = text_of(a_prediction_file(), 80).splitlines()
    header = " ".join(lines[: next(place for place, line in enumerate(lines) if line.startswith("───"))])
    for word in ("p50", "p99", "p99.9", "the reference"):
        assert word in header
    (row,) = [line for line in lines if re.match(r"static +65\.0 µs", line)]
    assert re.search(r"194 µs ±\d+ %.*150 % faster +\[\d+, \d+\]", row), row


def test_each_process_has_its_own_interval() -> None:
    """The table of rows has t intervals over processes, that of processes exact ones of their own queries."""
    _rows, processes, _batches = tables_of(a_prediction_file())
    assert len(processes.rows) == 12
    places = [heading.name for heading in processes.headings]
    cell = processes.rows[0].cells[places.index("p99_seconds")]
    stream = predicted()[0].prediction
    assert stream is not None
    assert stream.single_stream is not None
    (tail,) = [each for each in stream.single_stream.percentiles if each.fraction == 0.99]
    assert isinstance(cell.raw, Estimate)
    assert cell.raw.lower is not None
    assert cell.raw.upper is not None
    assert msgspec.structs.asdict(tail) == {
        "fraction": 0.99,
        "ns": round(cell.raw.value * 1e9),
        "low_ns": round(cell.raw.lower * 1e9),
        "high_ns": round(cell.raw.upper * 1e9),
    }


def test_a_percentile_that_the_queries_cannot_carry_is_refused() -> None:
    """With 1,000 queries p99.9 has no cell, and a note says what it takes."""
    made = a_prediction_file(*predicted(queries=1_000))
    text = flat(text_of(made, 160))
    assert "p99.9 takes 3,688 queries of a process at least" in text
    assert " p99.9 " not in text.replace("p99.9 takes", "").replace("p99.9 is often", "")
    (row, *_others) = json.loads(render_json(tables_of(made)))[0]["rows"]
    assert row["p99_9_seconds"] is None
    assert row["p99_seconds"]["n"] == 4


def test_other_digits_than_the_evaluations_are_counted() -> None:
    assert "other digits" not in flat(text_of(a_prediction_file(), 200))
    stream = a_stream(times(1, 60.0), mismatches=3)
    (table, *_others) = tables_of(a_prediction_file(a_run(scenario=OFF, prediction=a_prediction(stream))))
    places = [heading.name for heading in table.headings]
    assert table.rows[0].cells[places.index("mismatches")].text == "3"


def test_the_answer_names_the_row_with_the_least_tail_and_what_is_level_with_it() -> None:
    (sentence,) = [
        text for _about, text in make_report([source_of("here", a_prediction_file())]).short if "single image" in text
    ]
    assert sentence.startswith("cpu(0), batch 100, hybridize static: a single image takes 65.0 µs ±")
    assert "its p99 is 150 % faster [148, 152] than that of cpu(0), batch 100, hybridize off" in sentence
    assert sentence.endswith("; the least p99 of 3.")
    single = flat(text_of(a_prediction_file(*predicted(blocks=1)), 200))
    assert "; the least p99 of 3, but single processes tell nothing apart" in single
    level = a_prediction_file(*predicted({OFF: 150.0, ON: 60.2, STATIC: 60.0}))
    assert "the least p99 of 3, but not told apart from cpu(0), batch 100, hybridize " in flat(text_of(level, 200))


def test_mxnet_is_named_beside_other_frameworks() -> None:
    """The setting of a row of PyTorch could be read into "cpu(0), batch 100, hybridize off"."""
    text = flat(text_of(a_prediction_file(*predicted({OFF: 150.0, of_torch(): 60.0})), 200))
    assert "reference mxnet, cpu(0), batch 100, hybridize off" in text
    assert "torch, cpu(0), batch 100, hybridize off: a single image takes" in text
    assert "than that of mxnet, cpu(0), batch 100, hybridize off" in text


def test_programs_get_every_number() -> None:
    tables = tables_of(a_prediction_file())
    by_table: dict[str, list[dict[str, str]]] = {}
    for record in csv.DictReader(io.StringIO(render_csv(tables))):
        by_table.setdefault(record["table"], []).append(record)
    counts = {name: len(records) for name, records in by_table.items()}
    assert counts == {"latency": 3, "latency of processes": 12, "offline": 3}
    static = by_table["latency"][2]
    assert float(static["p99_seconds_lower"]) < float(static["p99_seconds"]) < float(static["p99_seconds_upper"])
    assert float(static["p99_ratio"]) == pytest.approx(0.4, rel=0.02)
    assert float(static["steal_fraction"]) == 0.011
    assert float(by_table["offline"][2]["predicted_images_per_second_lower[batch=100]"]) > 0
    rows = json.loads(render_json(tables))[0]["rows"]
    assert rows[2]["p99_seconds"]["value"] == float(static["p99_seconds"])
    assert "| static | 65.0 µs ±" in render_markdown(tables)


def test_the_picture_marks_the_percentiles_in_each_rows_histogram() -> None:
    """Its numbers are those of the table, and every query is in a bar."""
    picture = picture_of(a_prediction_file())
    assert len(picture.numbers) == 3 * 4
    (row,) = [row for row in latency_rows(summarize(a_prediction_file())) if row.scenario == STATIC]
    assert any(
        f"hybridize static: p99 {1e6 * row.percentiles[0.99].value:.0f} µs, 95 % interval [" in number
        for number in picture.numbers
    )
    assert picture.svg.count("opacity: 0.5") > 20
    for word in ("p50", "p90", "p99", "p99.9", "hybridize off"):
        assert f">{word}<" in picture.svg
    assert "closed loop" in picture.caption
    page = render_report(make_report([source_of("here", a_prediction_file())]))
    assert "What a single image takes" in page


def test_a_comparison_has_a_table_of_latencies_without_a_verdict() -> None:
    """What is slower says so, and how to have a verdict."""
    before = index("before", a_prediction_file())
    slower = predicted({OFF: 150.0, ON: 120.0, STATIC: 60.0})
    after = index("after", a_prediction_file(*slower, created_at="2026-02-01T12:00:00Z"))
    _listing, latencies = comparison_tables([compare(before, after)], readable=True)
    out = io.StringIO()
    render_text([latencies], Console(file=out, width=80), Legend.NONE)
    assert max(map(len, out.getvalue().splitlines())) <= 80
    (row,) = [line for line in out.getvalue().splitlines() if line.startswith("▼ on")]
    assert re.search(r"33 % slower +\[\d+, \d+\] +slower", row), row
    assert "mnist-bench gate --metric latency measures both sides in turns" in flat(out.getvalue())
    plain = [msgspec.structs.replace(run, prediction=None) for run in predicted()]
    assert len(comparison_tables([compare(before, index("plain", a_result_set(*plain)))])) == 1
