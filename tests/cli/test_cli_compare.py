"""A user meets `compare`: files in, tables and an exit status out."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import msgspec
import pytest

from bench import cli
from bench.analysis.across.entries import SessionSpread
from bench.cli.commands import compare
from bench.records import store
from bench.records.result import ResultSet, Run
from bench.scenarios.scenario import Scenario
from mnist_core.recipe import Hybridize, Recipe
from tests.support.cli import Command
from tests.support.executor import A_BLOCK, in_turns
from tests.support.records import a_dataset, a_failure, a_result_set, a_run, a_scenario, a_software, an_environment

PART = Recipe(epochs=1, samples=20_000)
QUIET = (9_950.0, 10_000.0, 10_050.0)
ELSEWHERE = an_environment(host_hash="c" * 64, host_processor_model_name="Imaginary EPYC")
CPU, GPU = a_scenario(contexts="cpu(0)"), a_scenario(contexts="gpu(0)")


#: Of a machine on which two sessions do not differ; the one that ships is of a shared machine.
QUIET_SPREAD: Final = SessionSpread(sd=0.0, degrees_of_freedom=19, source="made up")


@pytest.fixture
def command(command: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run `compare` where no other verb is named, with a spread between sessions that decides nothing."""
    monkeypatch.setattr(compare, "shipped_spread", lambda: QUIET_SPREAD)

    def run(*arguments: object, verb: str = "compare") -> int:
        return command(verb, *arguments)

    return run


def runs(factor: float = 1.0, scenario: Scenario | None = None, n: int = 3) -> list[Run]:
    return [
        a_run(
            scenario=scenario or CPU,
            recipe=dataclasses.replace(PART, seed=42 + repeat),
            repeat=repeat,
            throughput=factor * QUIET[repeat],
            accuracy=0.9,
        )
        for repeat in range(n)
    ]


def save(name: str, *records: Any, **changes: Any) -> Path:  # noqa: ANN401
    path = Path(name)
    store.write(path, a_result_set(*(records or runs()), **changes))
    return path


def save_two_scenarios(name: str, factors: Sequence[float], **changes: Any) -> Path:  # noqa: ANN401
    both = (CPU, a_scenario(contexts="cpu(0)", hybridize=Hybridize.ON))
    records = [run for factor, scenario in zip(factors, both, strict=True) for run in runs(factor, scenario)]
    return save(name, *records, created_at="2026-02-01T12:00:00Z", **changes)


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path


# --- what is shown


def test_a_comparison_shows_both_speeds_the_change_and_the_verdict(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """It also shows intervals, n, epoch time, accuracy, the mean over all, and how the files differ."""
    save_two_scenarios("a.json", (1, 2))
    save_two_scenarios("b.json", (0.5, 2), environment=an_environment(software=a_software(numpy="1.23.5")))
    assert command("a.json", "b.json") == cli.Exit.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "comparison: mlp, 1 epoch of the first 20,000 images, n = 3"
    (row,) = (line for line in lines if line.endswith("regressed"))
    assert row.split() == (
        [
            "off",
            "10,000",
            "±1.2",
            "%",
            "5,000",
            "±1.2",
            "%",
            "100",
            "%",
            "slower",
            "[98,",
            "102]",
            "≈6.00",
            "s",
            "→",
            "≈12.0",
            "s",
            "0.0000",
            "3.8",
            "%",
            "regressed",
        ]
    )
    text = "\n".join(lines)
    assert "differs    numpy 1.26.4 → 1.23.5" in text
    assert "geometric mean over 2 common scenarios: 41 % slower [40, 43]" in text
    assert "in all: 1 regressed, 1 unchanged" in text


def test_other_hardware_is_titled_so_with_both_machines_above_the_table(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ratios have intervals and plain words, and "regressed" does not occur, however slow the machine is."""
    save_two_scenarios("a.json", (1, 1))
    save_two_scenarios("b.json", (0.1, 2), environment=ELSEWHERE)
    assert command("a.json", "b.json") == cli.Exit.DONE
    text = capsys.readouterr().out
    table = text.index("contender is")
    assert text.startswith("hardware comparison: mlp")
    assert 0 < text.index("Imaginary Xeon 8000") < text.index("Imaginary EPYC") < table
    assert "differs    processor Imaginary Xeon 8000 @ 2.50GHz → Imaginary EPYC; host aaaaaaaa → cccccccc" in text
    assert "0.100\N{MULTIPLICATION SIGN} [0.0989, 0.101]" in text
    assert "2.00\N{MULTIPLICATION SIGN} [1.98, 2.02]" in " ".join(text.split())
    assert "regressed" not in text


@pytest.mark.parametrize("table_format", ["text", "markdown", "csv", "json", "html", "junit"])
def test_no_format_calls_other_hardware_regressed(
    command: Command, capsys: pytest.CaptureFixture[str], table_format: str
) -> None:
    """That holds for programs, too."""
    save("a.json")
    save("b.json", *runs(0.1), environment=ELSEWHERE)
    assert command("a.json", "b.json", "--format", table_format) == cli.Exit.DONE
    text = capsys.readouterr().out
    assert "slower" in text
    assert "regressed" not in text


def test_missing_scenarios_are_listed_by_name(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """They are listed on whichever side they are missing."""
    save("a.json", *runs(), *runs(scenario=a_scenario("lenet", batch_size=7)))
    save("b.json", *runs(), a_failure(recipe=PART))
    assert command("a.json", "b.json") == cli.Exit.DONE
    text = " ".join(capsys.readouterr().out.split())
    assert "missing: lenet cpu(0),cpu(1) batch=7 hybridize=off: not in the contender" in text
    assert "missing: mlp gpu(0) batch=100 hybridize=off: not in the baseline" in text
    assert "geometric mean over 1 common scenario:" in text


def test_many_missing_scenarios_are_counted(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """The rows say which they are; a note of eight names would say no more."""
    more = [run for size in (7, 8, 9, 10) for run in runs(scenario=a_scenario(batch_size=size))]
    save("a.json", *runs(), *more)
    save("b.json", *runs())
    assert command("a.json", "b.json") == cli.Exit.DONE
    text = " ".join(capsys.readouterr().out.split())
    assert "missing: 4 of 5 rows: not in the contender" in text


def test_a_pivot_puts_cpu_and_gpu_side_by_side(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Each has a column. A sign gives the verdict, and programs get it as a word."""
    save("a.json", *runs(), *runs(9, GPU))
    save("b.json", *runs(), *runs(4, GPU))
    assert command("a.json", "b.json", "--row", "batch_size", "--column", "contexts") == cli.Exit.DONE
    text = capsys.readouterr().out
    (row,) = (line for line in text.splitlines() if line.strip().startswith("100"))
    assert row.split() == [
        "100",
        "0.0",
        "%",
        "slower",
        "[-1.1,",
        "1.1]",
        "=",
        "125",
        "%",
        "slower",
        "[122,",
        "128]",
        "▼",
    ]
    assert "▼" in text.rpartition("slower, or regressed")[0]
    assert command("a.json", "b.json", "--column", "contexts", "--format", "csv") == cli.Exit.DONE
    (cells,) = csv.DictReader(capsys.readouterr().out.splitlines())
    assert cells["verdict[contexts=gpu(0)]"] == "regressed"
    assert float(cells["throughput_ratio[contexts=gpu(0)]"]) == pytest.approx(4 / 9)
    assert command("a.json", "b.json", "--column", "contexts", "--value", "contender_throughput") == cli.Exit.DONE
    assert "40,000" in capsys.readouterr().out


def test_contexts_of_one_file_are_compared(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """gpu(0) is compared with cpu(0), and neither is said to have regressed."""
    save("a.json", *runs(), *runs(9, GPU))
    assert command("a.json", "--baseline-scenario", "cpu(0)") == cli.Exit.DONE
    text = capsys.readouterr().out
    assert text.startswith("comparison within one file: mlp")
    assert "against   cpu(0)" in text
    assert "9.00\N{MULTIPLICATION SIGN} [8.90, 9.10]" in text
    assert "faster" in text


def test_a_printed_name_and_the_winner_are_baselines(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """What a table prints can be pasted, and all rows be compared with the fastest."""
    save("a.json", *runs(), *runs(9, GPU))
    for expression in ("best", "mlp gpu(0) batch=100 hybridize=off", "contexts=gpu(0) and batch=100"):
        assert command("a.json", "--baseline-scenario", expression) == cli.Exit.DONE
        text = capsys.readouterr().out
        assert "0.111\N{MULTIPLICATION SIGN}" in text
        assert expression != "best" or "against   mlp gpu(0) batch=100 hybridize=off (the fastest)" in text


def test_several_contenders_have_an_overview(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """It has one line for each of them, below their tables."""
    save("a.json")
    save("b.json", *runs(0.5))
    save("c.json", *runs(2), environment=ELSEWHERE)
    assert command("a.json", "b.json", "c.json") == cli.Exit.DONE
    text = capsys.readouterr().out
    overview = text[text.index("\noverview\n") :].splitlines()
    assert [line.split()[0] for line in overview if ".json " in line and " of 1 " in line] == ["b.json", "c.json"]
    assert "contenders  2: 1 regressed, 1 faster" in text


def test_a_folder_is_all_its_result_files(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """The baseline among them is not compared with itself. What is no result file is left out with a note."""
    base = save("results/a.json")
    for number in range(12):
        save(f"results/c{number:02}.json", *runs(0.5 if number == 7 else 1.0))
    Path("results/notes.json").write_text('{"remark": "no result"}')
    assert command(base, "results", "--gate") == cli.Exit.REGRESSED
    printed = capsys.readouterr()
    assert "contenders  12: 1 regressed, 11 unchanged" in printed.out
    assert "left out: results/notes.json: not a result file" in printed.err
    assert "regressed: results/c07.json: mlp cpu(0) batch=100 hybridize=off" in printed.err
    assert command(base, "results", "--format", "json") == cli.Exit.DONE
    assert len(json.loads(capsys.readouterr().out)) == 12


# --- formats


def test_csv_and_json_hold_the_raw_numbers(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """They are the ratio with its ends, p-values, the verdict and its reason, and the mean on every row."""
    save("a.json", *runs(), *runs(scenario=GPU))
    save("b.json", *runs(0.5))
    assert command("a.json", "b.json", "--format", "csv") == cli.Exit.DONE
    common, lacking = csv.DictReader(capsys.readouterr().out.splitlines())
    assert float(common["throughput_ratio"]) == pytest.approx(0.5)
    assert float(common["throughput_ratio_lower"]) < 0.5 < float(common["throughput_ratio_upper"])
    assert float(common["p_slower"]) < 0.05
    assert (common["verdict"], lacking["verdict"], lacking["reason"]) == (
        "regressed",
        "missing",
        "not in the contender",
    )
    assert lacking["contender_images_per_second"] == lacking["throughput_ratio"] == ""
    assert common["geometric_mean_ratio"] == lacking["geometric_mean_ratio"] == common["throughput_ratio"]
    assert command("a.json", "b.json", "--format", "json") == cli.Exit.DONE
    (table,) = json.loads(capsys.readouterr().out)
    assert table["facts"]["comparison"] == "comparison"
    assert [row["verdict"] for row in table["rows"]] == ["regressed", "missing"]


def test_junit_has_one_case_per_scenario(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Regressed and missing are failures, undecided is an error, as in a gate's report, and unchanged passes."""
    static = a_scenario(hybridize=Hybridize.STATIC)
    save("a.json", *runs(), *runs(scenario=GPU), *runs(scenario=a_scenario()), *runs(scenario=static, n=1))
    save("b.json", *runs(0.5), *runs(scenario=a_scenario()), *runs(scenario=static, n=1))
    assert command("a.json", "b.json", "--gate", "--format", "junit") == cli.Exit.REGRESSED
    (suite,) = ET.fromstring(capsys.readouterr().out)
    assert [case[0].tag for case in suite] == ["failure", "failure", "system-out", "error"]
    assert suite[0].attrib["name"] == "mlp cpu(0) batch=100 hybridize=off, 1 epoch of the first 20,000 images"
    assert suite[0][0].attrib["message"] == "regressed: 100 % slower [98, 102]"
    assert suite[1][0].attrib["message"] == "missing: not in the contender"
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("4", "2", "1")


@pytest.mark.parametrize("gate", [True, False])
def test_junit_is_red_where_the_exit_status_is(
    command: Command, capsys: pytest.CaptureFixture[str], *, gate: bool
) -> None:
    """A report that a CI system shows as green must not come with a status that fails the job, nor the reverse."""
    save("a.json", *runs())
    save("same.json", *runs())
    save("slower.json", *runs(0.5))
    save("undecided.json", *runs(n=1))
    save("other.json", *runs(scenario=GPU))
    save("empty.json")
    for contender in ("same", "slower", "undecided", "other", "empty"):
        options = ["--gate"] if gate else []
        status = command("a.json", f"{contender}.json", "--format", "junit", *options)
        counts = ET.fromstring(capsys.readouterr().out).attrib
        is_red = counts["failures"] != "0" or counts["errors"] != "0"
        assert is_red == (status != cli.Exit.DONE), contender
        assert counts["tests"] != "0"


def test_junit_of_what_the_gate_refuses_is_errors(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """A report without errors would be read as a pass."""
    save("a.json")
    save("b.json", environment=ELSEWHERE)
    assert command("a.json", "b.json", "--gate", "--format", "junit") == cli.Exit.INCOMPARABLE
    (suite,) = ET.fromstring(capsys.readouterr().out)
    assert [case[0].tag for case in suite] == ["error"]


def test_a_github_job_gets_the_comparison_as_its_summary(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """The summary is Markdown, whatever the format of the output."""
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    save("a.json")
    save("b.json", *runs(0.5))
    assert command("a.json", "b.json", "--format", "junit") == cli.Exit.DONE
    summary = Path("summary.md").read_text()
    assert summary.startswith("### comparison: mlp")
    assert "| regressed |" in summary


@pytest.mark.parametrize("verb", ["show", "run"])
def test_junit_belongs_to_verdicts(command: Command, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    """`show` and `run` refuse it before they do anything."""
    arguments = ["none.json"] if verb == "show" else []
    assert command(*arguments, "--format", "junit", verb=verb) == cli.Exit.USAGE
    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["mnist-bench: --format junit holds verdicts, which only compare and gate have"]
    assert printed.out == ""


def test_show_makes_a_page_too(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Every table has every format of tables."""
    save("a.json")
    assert command("a.json", "--format", "html", verb="show") == cli.Exit.DONE
    assert capsys.readouterr().out.startswith("<!DOCTYPE html>")


# --- the gate


@pytest.mark.parametrize(
    ("factors", "status"),
    [
        ((1, 1), cli.Exit.DONE),
        ((1, 2), cli.Exit.DONE),
        ((1, 0.5), cli.Exit.REGRESSED),
        ((1, 0.9), cli.Exit.REGRESSED),
    ],
)
def test_stored_results_give_an_exit_status(command: Command, factors: tuple[float, float], status: int) -> None:
    """It is 0 for unchanged or improved and 1 for regressed. Without --gate it is 0."""
    save_two_scenarios("a.json", (1, 1))
    save_two_scenarios("b.json", factors)
    assert command("a.json", "b.json", "--gate") == status
    assert command("a.json", "b.json") == cli.Exit.DONE


def test_the_gate_says_how_much_weaker_it_is(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """It says from which slowdown on each row would have shown one."""
    save_two_scenarios("a.json", (1, 1))
    save_two_scenarios("b.json", (1, 1))
    assert command("a.json", "b.json", "--gate") == cli.Exit.DONE
    text = " ".join(capsys.readouterr().out.split())
    assert "two stored results: a machine that was much slower that day looks like a regression" in text
    assert "`mnist-bench gate` measures both sides in turns: drift cancels" in text
    assert "Here slowdowns show from 3.8 %, depending on the scenario" in text


def test_too_few_processes_are_no_pass(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is 3, and the message says what would help."""
    save("a.json", *runs(n=1))
    save("b.json", *runs(n=1))
    assert command("a.json", "b.json", "--gate") == cli.Exit.INCONCLUSIVE
    error = capsys.readouterr().err
    assert "more processes help (run --repeats), mnist-bench gate far more" in error
    assert error.startswith("mnist-bench: underpowered: mlp cpu(0) batch=100 hybridize=off (n = 1")
    assert len(error.splitlines()) == 1


def test_a_failed_process_gives_5(command: Command) -> None:
    """A crash is no pass, however good the rest is."""
    save("a.json")
    save("b.json", *runs(), a_failure(scenario=CPU, recipe=PART, repeat=3))
    assert command("a.json", "b.json", "--gate") == cli.Exit.FAILED


def other_machine(name: str) -> Path:
    return save(name, environment=ELSEWHERE)


def unknown_machine(name: str) -> Path:
    return save(name, environment=an_environment(host_hash=None))


def other_data(name: str) -> Path:
    return save(name, dataset=a_dataset(name="synthetic", digest="f" * 64))


def newer_schema(name: str) -> Path:
    return edit(save(name), lambda document: document.update(schema_version=99))


def unknown_schema(name: str) -> Path:
    return edit(save(name), lambda document: document.update(schema_version=0))


def edited_scenario(name: str) -> Path:
    return save(name, *runs(scenario=a_scenario(contexts="cpu(0)", batch_size=101)))


def edited_recipe(name: str) -> Path:
    def change(document: dict[str, Any]) -> None:
        for record in (*document["plan"], *document["runs"]):
            record["recipe"]["learning_rate"] = 0.2

    return edit(save(name), change)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (other_machine, "another machine: processor Imaginary Xeon 8000 @ 2.50GHz -> Imaginary EPYC"),
        (unknown_machine, "another machine: host aaaaaaaa -> unknown"),
        (other_data, "other data: mnist (0123456789ab) in the baseline, synthetic"),
        (newer_schema, "schema version 99 is newer"),
        (unknown_schema, "unknown schema version"),
        (edited_scenario, "no scenario in common"),
        (edited_recipe, "no scenario in common"),
    ],
)
def test_what_is_not_comparable_is_refused_by_the_gate(
    command: Command, capsys: pytest.CaptureFixture[str], make: Callable[[str], Path], words: str
) -> None:
    """The exit status is 4, and one line says why."""
    save("a.json")
    make("b.json")
    assert command("a.json", "b.json", "--gate") == cli.Exit.INCOMPARABLE
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


def test_one_edited_scenario_among_good_ones_is_refused(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused with --gate and without."""
    lenet = a_scenario("lenet")
    save("a.json", *runs(), *runs(scenario=lenet))
    save("b.json", *runs(scenario=a_scenario(contexts="cpu(0)", batch_size=101)), *runs(scenario=lenet))
    assert command("a.json", "b.json", "--gate") == cli.Exit.INCOMPARABLE
    assert command("a.json", "b.json") == cli.Exit.INCOMPARABLE
    assert "another scenario: batch_size 100 -> 101" in capsys.readouterr().err


# --- bad input


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["a.json"], 2, "name a contender"),
        (["a.json", "a.json"], 2, "a.json is given twice"),
        (["a.json", "./a.json"], 2, "a.json is given twice"),
        (["a.json", "b.json", "b.json"], 2, "b.json is given twice"),
        (["a.json", "none.json"], 2, "none.json: No such file"),
        (["none.json", "a.json"], 2, "none.json: No such file"),
        (["a.json", "cut.json"], 2, "cut.json: not JSON, or cut off"),
        (["a.json", "empty"], 2, "no result file in empty"),
        (["empty", "a.json"], 2, "empty: is a folder: name one of its result files"),
        (["a.json", "gpu.json"], 4, "no scenario in common"),
        (["a.json", "newer.json"], 4, "newer than this mnist-bench reads"),
        (["a.json", "b.json", "--row", "contxts"], 2, "did you mean 'contexts'"),
        (["a.json", "b.json", "--row", "contexts", "--column", "contexts"], 2, "cannot both be contexts"),
        (["a.json", "b.json", "--row", "contexts", "--value", "ratoi"], 2, "did you mean 'ratio'"),
        (["a.json", "b.json", "--value", "n"], 2, "needs an axis: name --row or --column"),
        (["a.json", "b.json", "--format", "junit", "--row", "contexts"], 2, "leave out --row"),
        (["a.json", "b.json", "--margin", "much"], 2, "--margin"),
        (["a.json", "b.json", "--margin", "20%"], 2, "tolerance"),
        (["a.json", "b.json", "--alpha", "0"], 2, "--alpha 0: expected a probability"),
        (["a.json", "b.json", "--gate", "--baseline-scenario", "cpu(0)"], 2, "leave out --baseline-scenario"),
        (["a.json", "--baseline-scenario", "cpu(0)", "--margin", "5%"], 2, "leave out --margin, --tolerance and"),
        (["a.json", "--baseline-scenario", "cpu(0)", "--sessions", "b.json"], 2, "leave it out within one"),
        (["a.json", "--baseline-scenario", "gpu(0)"], 2, "no scenario has contexts 'gpu(0)' (there are: 'cpu(0)')"),
        (["a.json", "--baseline-scenario", "tpu(0)"], 2, "--baseline-scenario 'tpu(0)': contexts: unknown device"),
        (["a.json", "--baseline-scenario", "foo"], 2, "or axis=value, e.g. hybridize=off"),
        (["a.json", "--baseline-scenario", "hybridise=off"], 2, "did you mean 'hybridize'"),
        (["a.json", "b.json", "--format", "pdf"], 2, "pdf"),
    ],
)
def test_bad_input_gives_one_line(
    command: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, words: str
) -> None:
    """The line says what to change, and the exit status fits."""
    save("a.json")
    save("b.json")
    save("gpu.json", *runs(scenario=GPU))
    newer_schema("newer.json")
    Path("cut.json").write_text('{"schema_version": 1')
    Path("empty").mkdir()
    assert command(*arguments) == status
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1


def test_margins_are_ratios_or_percent(command: Command) -> None:
    """A slowdown of 15 % is within a margin of 20 %, however it is written."""
    save("a.json")
    save("b.json", *runs(1 / 1.15))
    assert command("a.json", "b.json", "--gate") == cli.Exit.REGRESSED
    for margin in ("0.2", "20%"):
        assert command("a.json", "b.json", "--gate", "--margin", margin, "--tolerance", "30%") == cli.Exit.DONE


@pytest.mark.slow
def test_a_reader_that_has_enough_changes_no_verdict(tmp_path: Path) -> None:
    """`compare --gate | head` under pipefail must not pass."""
    scenarios = [a_scenario(batch_size=size) for size in range(10, 110)]  # more than fits into a buffer
    fast, slow = ([run for each in scenarios for run in runs(factor, each)] for factor in (1.0, 0.25))
    store.write(tmp_path / "a.json", a_result_set(*fast))
    store.write(tmp_path / "b.json", a_result_set(*slow))
    reading, writing = os.pipe()
    os.close(reading)
    arguments = [str(tmp_path / "a.json"), str(tmp_path / "b.json"), "--gate"]
    for table_format in ("text", "csv", "junit"):
        done = subprocess.run(
            [sys.executable, "-m", "bench", "compare", *arguments, "--format", table_format],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
        assert (done.returncode, done.stderr[:23]) == (cli.Exit.REGRESSED, b"mnist-bench: regressed:")
    os.close(writing)


def test_programs_can_tell_loops_apart(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """The words that people read for a loop stand for parts, each of which has a column for programs."""
    scenarios = [a_scenario(contexts="cpu(0)", input_pipeline=pipeline) for pipeline in ("ndarrayiter", "resident")]
    for name in ("a.json", "b.json"):
        store.write(Path(name), a_result_set(*(run for each in scenarios for run in runs(scenario=each))))
    assert command("a.json", "b.json", "--format", "csv") == cli.Exit.DONE
    rows = csv.DictReader(capsys.readouterr().out.splitlines())
    assert [row["input_pipeline"] for row in rows] == ["ndarrayiter", "resident"]


def test_a_copy_is_called_one(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """It proves nothing about the machine, and CI jobs mix up files."""
    whole: ResultSet = a_result_set(*runs())
    for name in ("a.json", "b.json"):
        store.write(Path(name), whole)
    assert command("a.json", "b.json") == cli.Exit.DONE
    assert "one is a copy of the other" in capsys.readouterr().out


def test_where_nothing_is_common_no_table_of_what_is_missing_is_printed(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """People get the reason alone; programs get every row."""
    save("a.json")
    edited_scenario("b.json")
    assert command("a.json", "b.json") == cli.Exit.INCOMPARABLE
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "run the same suite on both sides" in printed.err
    assert command("a.json", "b.json", "--format", "csv") == cli.Exit.INCOMPARABLE
    assert len(capsys.readouterr().out.splitlines()) > 1


# --- sessions


def test_what_sessions_differ_by_is_part_of_every_interval_and_is_said(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--sessions` names results of the same code; too few of them, or none, are refused with the next step."""
    save("a.json")
    save("b.json", *runs(0.9))
    assert command("a.json", "b.json", "--gate") == cli.Exit.REGRESSED
    assert "the same code differs by 0 % from one session to another (standard" in capsys.readouterr().out
    for number, factor in enumerate((0.8, 1.0, 1.25, 0.85, 1.2, 0.9)):
        save(f"runs/{number}.json", *runs(factor), created_at=f"2026-03-0{number + 1}T12:00:00Z")
    assert command("a.json", "b.json", "--gate", "--sessions", "runs") == cli.Exit.INCONCLUSIVE
    text = " ".join(capsys.readouterr().out.split())
    assert "6 sessions of the same code on one machine, named with --sessions" in text
    Path("runs/0.json").unlink()
    assert command("a.json", "b.json", "--sessions", "runs") == cli.Exit.USAGE
    assert "6 results of the same code on one machine are needed" in capsys.readouterr().err
    assert command("a.json", "b.json", "--sessions", "nowhere") == cli.Exit.USAGE
    assert "nowhere" in capsys.readouterr().err


def test_rows_of_one_file_are_of_one_session(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of other sessions is in their intervals."""
    save_two_scenarios("a.json", (1, 2))
    assert command("a.json", "--baseline-scenario", "hybridize=off") == cli.Exit.DONE
    assert "sessions" not in capsys.readouterr().out


def test_two_files_of_rows_in_turns_name_turns_and_the_busier_side(
    command: Command, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn is as many epochs as it needs, and a busy machine is a reason to doubt a difference."""
    monkeypatch.chdir(tmp_path)
    for name, load in (("before.json", 0.4), ("after.json", 1.9)):
        block = msgspec.structs.replace(A_BLOCK, health=msgspec.structs.replace(A_BLOCK.health, load_average=load))
        in_blocks = [
            in_turns(msgspec.structs.replace(run, recipe=dataclasses.replace(run.recipe, epochs=6)), run.repeat)
            for run in runs()
        ]
        save(name, *in_blocks, blocks=(block,) * 3)
    command("before.json", "after.json")
    said = " ".join(capsys.readouterr().out.split())
    assert "6 turns of the first 20,000 images" in said
    assert "the machine was busier under the contender: load 1.9 against 0.4" in said
    assert "health of the baseline: load 0.4, " in said
    assert "of the contender: load 1.9, " in said
    assert "a fixed matrix product took" in said
    command("before.json", "after.json", "--format", "json")
    facts = json.loads(capsys.readouterr().out)[0]["facts"]
    assert (facts["baseline_load_average"], facts["contender_load_average"]) == (0.4, 1.9)
