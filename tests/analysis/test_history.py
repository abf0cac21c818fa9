"""Files become trends: what is in one series, what changed, and how it is said."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from bench import cli
from bench.analysis.across.entries import ComparedFile, index
from bench.analysis.across.history import By, histories
from bench.machine.software import commit_order
from bench.records import store
from bench.records.result import ResultSet
from bench.render.formats.html import render_html, render_report
from bench.render.formats.text import render_text
from bench.render.report.history_page import history_report
from bench.render.views.across.histories import history_tables
from mnist_core.recipe import Recipe
from tests.support.cli import Command
from tests.support.executor import A_BLOCK, in_turns
from tests.support.ranks import a_cluster_file
from tests.support.records import a_cluster_host, a_dataset, a_failure, a_result_set, a_run, a_scenario, an_environment

MLP, LENET = a_scenario("mlp"), a_scenario("lenet")
COMMITS = [f"{number:040x}" for number in range(1000)]


def result_sets(count: int, *, step_at: int | None = None, seed: int = 1, host: str = "a" * 64) -> list[ResultSet]:
    """Return a file for each day: the MLP becomes 5 % slower at a commit, the LeNet stays as it is."""
    noise = np.random.default_rng(seed)
    made = []
    for day in range(count):
        slow = 0.95 if step_at is not None and day >= step_at else 1.0
        runs = [
            a_run(scenario=MLP, throughput=30_000 * slow * float(np.exp(noise.normal(0, 0.01)))),
            a_run(scenario=LENET, throughput=2_000 * float(np.exp(noise.normal(0, 0.01))), accuracy=0.985),
        ]
        made.append(
            a_result_set(
                *runs,
                created_at=f"2026-{1 + day // 28:02}-{1 + day % 28:02}T00:00:00Z",
                environment=an_environment(host_hash=host, git_commit=COMMITS[day], git_dirty=False),
            )
        )
    return made


def sides(made: list[ResultSet]) -> list[ComparedFile]:
    return [index(f"{number}.json", each) for number, each in enumerate(made)]


def test_commits_stand_in_the_order_that_git_has() -> None:
    """An old commit that is measured today is no news; a file of an unknown commit stays at its date."""
    made = sides(result_sets(6))
    bisected = made[3]
    places = {COMMITS[number]: place for place, number in enumerate((3, 0, 1, 4, 5))}  # 2 is unknown to git
    (history,) = histories(made, places=lambda _commits: places)
    assert [point.name for point in history.trends[0].measured] == [
        bisected.name,
        "0.json",
        "2.json",
        "1.json",
        "4.json",
        "5.json",
    ]


def test_git_orders_the_commits_of_a_repository(tmp_path: Path) -> None:
    """Ancestors come first whatever their dates say; unknown commits have no place, nor has any without git."""

    def git(*words: str) -> str:
        author = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        command = ["git", "-C", str(tmp_path), *author, *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    commits = []
    for day in (3, 2, 1):
        git("commit", "-q", "--allow-empty", "-m", str(day), "--date", f"2026-01-0{day}T00:00:00Z")
        commits.append(git("rev-parse", "HEAD"))
    assert commit_order(tmp_path, [commits[2], COMMITS[7], commits[0]]) == {commits[0]: 0, commits[2]: 2}
    assert commit_order(tmp_path, COMMITS[:2]) == commit_order(tmp_path, []) == {}
    assert commit_order(tmp_path / "nowhere", commits) == {}


def test_a_change_is_told_with_its_commit() -> None:
    """It is told only where it is, and files may come in any order."""
    made = sides(result_sets(40, step_at=25))
    (history,) = histories(reversed(made))
    by_network = {trend.key[0].network: trend for trend in history.trends}
    assert by_network["lenet"].changes == ()
    (change,) = by_network["mlp"].changes
    assert by_network["mlp"].measured[change.index].git_commit == COMMITS[25]
    assert change.ratio.value == pytest.approx(0.95, abs=0.01)
    assert change.ratio.upper is not None
    assert change.ratio.upper < 1
    assert [(begin, end) for begin, end, _level in by_network["mlp"].levels] == [(0, 25), (25, 40)]


def test_another_machine_or_data_set_is_another_history() -> None:
    """The history with the most files stands first."""
    here, there = result_sets(12), result_sets(8, host="b" * 64)
    other = [msgspec.structs.replace(each, dataset=a_dataset(digest="f" * 64)) for each in result_sets(4)]
    made = histories(sides([*there, *here, *other]))
    assert [history.files for history in made] == [12, 8, 4]


def test_other_machines_of_a_hosts_file_are_another_history() -> None:
    """Two ranks on another second machine are no news of the first ones; of a class, machines of a kind are alike."""
    here, there = ([a_cluster_host(0), a_cluster_host(place)] for place in (1, 2))
    files = sides([a_cluster_file(hosts=tuple(hosts)) for hosts in (here, here, there)])
    assert [history.files for history in histories(files)] == [2, 1]
    assert [history.files for history in histories(files, By.CLASS)] == [3]


def test_runners_that_come_and_go_are_one_history_of_their_class() -> None:
    made = sides([each for number in range(6) for each in result_sets(2, host=f"{number:064x}")])
    assert [history.files for history in histories(made)] == [2] * 6
    assert [history.files for history in histories(made, By.CLASS)] == [12]


def test_too_few_files_are_said_to_be_too_few() -> None:
    """They are not said to show that nothing changed."""
    few, enough = (histories(sides(result_sets(count))) for count in (6, 40))
    assert not any(trend.testable for trend in few[0].trends)
    assert all(trend.testable for trend in enough[0].trends)
    (table,) = history_tables(few)
    assert {row.mark for row in table.rows} == {"?"}
    assert "too few files" in {cell.text for row in table.rows for cell in row.cells}
    (said,) = history_report(few).short
    assert "too few files to find a change in" in said[1]


def test_what_failed_or_did_not_learn_is_no_point_of_a_trend() -> None:
    made = result_sets(3)
    made.append(a_result_set(a_run(scenario=MLP, accuracy=0.1), a_failure(scenario=LENET)))
    made[-1] = msgspec.structs.replace(made[-1], environment=made[0].environment)
    (history,) = histories(sides(made))
    assert {len(trend.measured) for trend in history.trends} == {3}
    assert history.files == 4


def test_tables_say_the_level_now_and_since_when() -> None:
    """They do so at any width, and in ASCII."""
    tables = history_tables(histories(sides(result_sets(40, step_at=25))))
    for width, encoding in ((200, "utf-8"), (60, "ascii")):
        file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        render_text(tables, Console(width=width, file=file))
        file.flush()
        text = file.buffer.getvalue().decode(encoding)
        assert COMMITS[25][:10] in text
        assert "-5." in text or "-4." in text
        assert "none" in text
    trends, changes = tables
    assert len(trends.rows) == 2
    assert len(changes.rows) == 1


def test_two_recipes_of_a_scenario_are_told_apart_at_any_width() -> None:
    """Rows that look the same would be read as the same."""
    made = result_sets(3)
    short = Recipe(epochs=1, samples=20_000)
    made += [
        a_result_set(
            a_run(scenario=MLP, recipe=short, accuracy=0.9), environment=each.environment, created_at=each.created_at
        )
        for each in made
    ]
    file = io.StringIO()
    render_text(history_tables(histories(sides(made))), Console(width=80, file=file))
    assert "1 epoch of the first" in " ".join(file.getvalue().split())


def test_scenarios_that_took_turns_have_turns_and_no_epochs() -> None:
    """Those of other files that were alone would make it untrue."""
    recipe = Recipe(epochs=6, samples=10_000)
    turns, alone = in_turns(a_run(recipe=recipe, accuracy=0.9), 0), a_run(recipe=recipe, accuracy=0.9)
    for runs, words in (((turns, turns, turns), "6 turns of"), ((turns, alone, turns), "6 epochs of")):
        made = [
            a_result_set(run, created_at=f"2026-01-0{day}T00:00:00Z", blocks=(A_BLOCK,))
            for day, run in enumerate(runs, 1)
        ]
        (history,) = histories(sides(made))
        assert words in render_html(history_tables([history]))
        assert words in render_report(history_report([history]))


def test_turns_of_before_epochs_led_in_to_them_are_left_out() -> None:
    """They are slower by what a cold start takes, which is no change of the code."""
    made = []
    for day, each in enumerate(result_sets(16)):
        lead_in, factor = (0, 1.4) if day < 8 else (3, 1.0)
        runs = []
        for run in each.runs:
            epochs = [
                msgspec.structs.replace(
                    epoch, epoch_seconds=0.1 * factor * epoch.epoch_seconds / run.epochs[0].epoch_seconds
                )
                for epoch in run.epochs
            ]
            runs.append(msgspec.structs.replace(in_turns(run, 0), lead_in_epochs=lead_in, epochs=tuple(epochs)))
        made.append(msgspec.structs.replace(each, runs=tuple(runs), blocks=(A_BLOCK,)))
    (history,) = histories(sides(made))
    assert [(len(trend.measured), trend.cold, trend.changes) for trend in history.trends] == [(8, 8, ())] * 2
    (table,) = history_tables([history])
    assert any("the turns of up to 8 older files: they are cold" in text for _about, text in table.caption)
    (old,) = histories(sides(made[:8]))
    assert [(len(trend.measured), trend.cold) for trend in old.trends] == [(8, 0)] * 2


def test_the_page_has_a_picture_for_each_scenario() -> None:
    page = render_report(history_report(histories(sides(result_sets(40, step_at=25)))))
    assert page.count("<svg") == 2
    assert COMMITS[25][:10] in page


# --- the command line -------------------------------------------------------------------------------------------------


def write_all(folder: Path, made: list[ResultSet]) -> None:
    for number, each in enumerate(made):
        store.write(folder / f"{number:04}.json", each)


def test_history_reads_a_folder(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Other JSON in the folder does not matter, and -k chooses scenarios."""
    write_all(tmp_path / "runs", result_sets(30, step_at=15))
    (tmp_path / "runs" / "other.json").write_text("{}")
    assert command("history", "runs", "--format", "json") == cli.Exit.DONE
    trends, changes = json.loads(capsys.readouterr().out)
    assert {row["network"]: row["changes"] for row in trends["rows"]} == {"mlp": 1, "lenet": 0}
    assert changes["rows"][0]["commit"] == COMMITS[15]
    assert command("history", "runs", "-k", "lenet", "--format", "csv") == cli.Exit.DONE
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert command("history", "runs", "--format", "html") == cli.Exit.DONE
    assert capsys.readouterr().out.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere"),
        (["empty"], "no result file in empty"),
        (["others"], "no result file in others"),
        (["failed"], "no scenario has a valid result"),
        (["runs", "-k", "caffe"], "matches no scenario"),
        (["runs", "--alpha", "0"], "no change would ever be found"),
        (["runs", "--alpha", "x"], "--alpha x"),
        (["runs", "--format", "junit"], "verdicts"),
    ],
)
def test_bad_input_is_one_line(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "tune.json").write_text('{"tune_schema_version": 1}')
    store.write(tmp_path / "failed" / "run.json", a_result_set(a_failure()))
    write_all(tmp_path / "runs", result_sets(2))
    assert command("history", *arguments) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_show_reads_a_folder_too(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Profiles and other files may lie beside the results, as `profile` leaves them there."""
    write_all(tmp_path / "runs", result_sets(2))
    (tmp_path / "runs" / "profile.json").write_text("{}")
    assert command("show", "runs", "--format", "csv") == cli.Exit.DONE
    assert len(capsys.readouterr().out.splitlines()) == 1 + 2 * 2
    assert command("show", "runs/profile.json") == cli.Exit.USAGE
