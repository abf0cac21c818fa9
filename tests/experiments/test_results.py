"""A tune file becomes findings, and these become tables."""

from __future__ import annotations

import functools
import io
import itertools
import json
import math

import msgspec
import pytest
from rich.console import Console

from bench.experiments.tune import estimates
from bench.experiments.tune.results import tune_result
from bench.experiments.tune.search_space import KNOBS, position
from bench.records.tune import REFERENCE, Reason, TuneFile, TunePhase
from bench.render.formats.export import render_csv, render_json, render_markdown
from bench.render.formats.text import render_text
from bench.render.model.marks import FASTEST
from bench.render.views.tunes import format_knob, format_setting, paste_text, tune_tables
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import expand, parse_suite
from mnist_core.recipe import Precision
from tests.support.records import an_environment
from tests.support.tune import Machine, a_tune_file, a_tune_plan, bumpy, candidates, search

MLP = candidates("mlp")
TRUTH = bumpy([each.scenario for each in MLP], 4)


@functools.cache
def a_search() -> TuneFile:
    """Return a search of the whole space on a quiet machine."""
    return search(a_tune_plan(candidates=MLP, budget_seconds=300.0), Machine(truth=TRUTH, seed=4))


def test_the_findings_are_those_of_the_final() -> None:
    """The winner is first, all have as many processes as blocks, and the reference stands where its speed puts it."""
    tune_file = a_search()
    found = tune_result(tune_file)
    first, *others = found.standings
    assert first.is_winner
    assert first.scenario == found.winner
    assert first.behind is None
    assert found.speedup == first.speedup
    assert found.wins
    assert found.complete
    assert all(each.behind is not None and each.behind.value > 0.99 for each in others)
    (reference,) = [each for each in found.standings if each.speedup is None]
    assert reference.candidate == REFERENCE
    blocks = sum(each.phase is TunePhase.FINAL for each in tune_file.rounds)
    assert first.throughput.n == reference.throughput.n == blocks
    assert first.speedup is not None
    assert first.throughput.value / reference.throughput.value == pytest.approx(first.speedup.value, rel=0.01)
    assert found.seconds == estimates.elapsed_seconds(tune_file.plan, tune_file.rounds)
    assert (found.candidates, found.measured) == (
        len(MLP),
        len({m.candidate for each in tune_file.rounds for m in each.measurements}),
    )


def test_every_knob_of_the_winner_is_worth_something_or_was_not_measured() -> None:
    """Each other value it could have is there. The ratio is of two measurements of one kind."""
    tune_file = a_search()
    found = tune_result(tune_file)
    assert found.winner is not None
    own = position(found.winner)
    turned = {
        position(each.scenario)
        for each in MLP
        if sum(a != b for a, b in zip(own, position(each.scenario), strict=True)) == 1
    }
    assert {position(worth.scenario) for worth in found.worths} == turned
    assert [worth.knob for worth in found.worths] == sorted((worth.knob for worth in found.worths), key=[*KNOBS].index)
    index = {each.scenario: number for number, each in enumerate(MLP)}
    measured = [worth for worth in found.worths if worth.ratio is not None]
    assert measured
    for worth in measured:
        expected = TRUTH[index[found.winner]] - TRUTH[index[worth.scenario]]
        assert worth.ratio is not None
        assert math.log(worth.ratio.value) == pytest.approx(expected, abs=0.15)
        assert worth.phase in {TunePhase.HEAT, TunePhase.FINAL}


def test_the_stages_add_up() -> None:
    """Every round is in one, every ruling counts once, and the candidates that are left are those that remain."""
    tune_file = a_search()
    found = tune_result(tune_file)
    assert found.stages[0].first_round == 0
    for before, after in itertools.pairwise(found.stages):
        assert after.first_round == before.last_round + 1
    assert found.stages[-1].last_round == len(tune_file.rounds) - 1
    assert sum(sum(each.ruled.values()) for each in found.stages) == len(estimates.eliminated(tune_file.rounds))
    assert found.stages[-1].left == len(estimates.contenders(tune_file.plan, tune_file.rounds))
    assert sum(each.seconds for each in found.stages) == pytest.approx(found.seconds - 2.0)


def test_a_search_that_never_came_to_its_final_has_a_provisional_winner() -> None:
    """After Ctrl-C, what was measured is shown, and that it is not finished."""
    tune_file = a_search()
    begun = msgspec.structs.replace(tune_file, rounds=tune_file.rounds[:2])
    found = tune_result(begun)
    assert found.winner is not None
    assert found.speedup is not None
    assert found.speedup.lower is None
    assert not found.standings
    assert not found.complete
    assert not found.wins
    text = render_markdown(tune_tables(begun, found))
    assert "provisional" in text
    assert "not finished" in text


def test_a_search_without_any_round_found_the_tutorials_loop() -> None:
    found = tune_result(a_tune_file())
    assert found.winner == found.winner
    assert not found.complete
    assert "nothing was faster" in render_markdown(tune_tables(a_tune_file(), found))


def test_candidates_that_do_not_work_are_named_once_with_how_many_there_are() -> None:
    """Twenty settings that crash for the same reason are one line."""
    plan = a_tune_plan(candidates=candidates(count=25))
    truth = dict.fromkeys(range(26), 0.0) | {3: 0.5}
    tune_file = search(plan, Machine(truth=truth, crashing=frozenset(range(6, 26)), stupid=frozenset({3})))
    found = tune_result(tune_file)
    assert len(found.unfit) == 21
    text = render_markdown(tune_tables(tune_file, found))
    assert text.count("crashed: status 1") == 1
    assert "and 19 others: crashed: status 1" in text
    assert "after one epoch" in text
    assert found.winner != plan.candidates[3].scenario


def test_the_table_says_what_was_found_and_how_sure_it_is() -> None:
    """On a terminal of 120 columns nothing that matters is hidden."""
    tune_file = a_search()
    console = Console(width=120, record=True, file=io.StringIO())
    found = tune_result(tune_file)
    render_text(tune_tables(tune_file, found), console)
    text = console.export_text()
    assert "tune: a search of mlp at batch 100" in text
    assert found.winner is not None
    assert format_setting(found.winner) in text
    for word in ("speed-up", "against", "tutorial", "what each knob is worth", "round by round", "predicted"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 120


def test_an_exhaustive_search_ranks_all_and_shows_the_first_few() -> None:
    """A reader gets the fastest and the tutorial's loop, and a program gets all."""
    plan = a_tune_plan(candidates=MLP, exhaustive=True, budget_seconds=None)
    tune_file = search(plan, Machine(truth=TRUTH, seed=4))
    found = tune_result(tune_file)
    assert found.complete
    assert {each.candidate for each in found.standings} == {*range(len(MLP))}
    centers = [each.throughput.value for each in found.standings]
    assert max(centers[50:]) < min(centers[:10]), "far apart, the order is that of the speeds"
    assert TRUTH[found.standings[0].candidate] > max(TRUTH.values()) - 0.02
    shown, *_ = tune_tables(tune_file, found, most_rows=5)
    assert [row.mark for row in shown.rows].count(FASTEST) == 1
    assert len(shown.rows) in {5, 6}
    assert shown.title.startswith("tune: an exhaustive search of mlp")
    everyone, *_ = tune_tables(tune_file, found, most_rows=None)
    assert len(everyone.rows) == len(MLP)


def test_programs_get_raw_values_and_what_to_paste() -> None:
    tune_file = a_search()
    found = tune_result(tune_file)
    made = tune_tables(tune_file, found, most_rows=None)
    standings, worths, stages = json.loads(render_json(made))
    assert found.winner is not None
    assert standings["facts"]["recommended_command"] == paste_text(tune_file, found.winner)[1]
    assert standings["rows"][0]["speedup"]["n"] == found.standings[0].throughput.n
    assert standings["rows"][0]["engine"] in {"naive", "threaded"}
    assert len(worths["rows"]) == len(found.worths)
    assert stages["rows"][0]["phase"] == "screening"
    assert "winner_over_it_lower" in render_csv(made[:1]).splitlines()[0]


@pytest.mark.parametrize("name", ['Xeon "Gold"\\', "AMD EPYC\x1b[31m\nx", "\U0001f600"])
def test_what_is_pasted_is_the_winner_whatever_the_machine_is_called(name: str) -> None:
    tune_file = a_tune_file(environment=an_environment(host_processor_model_name=name))
    for candidate in tune_file.plan.candidates:
        suite, _command = paste_text(tune_file, candidate.scenario)
        runs = expand(parse_suite(suite, where="pasted"))
        assert {run.scenario for run in runs} == {candidate.scenario}
        assert len(runs) == 5


def test_a_knob_is_said_in_few_words() -> None:
    scenario = Scenario(network="lenet", cpu_threads=1, update_on_kvstore=False)
    assert format_setting(scenario) == (
        "cpu(0),cpu(1) x 1, off, ndarrayiter, batch, tutorial, trainer (update_on_kvstore=false), threaded"
    )
    assert format_knob(Scenario(network="mlp", contexts=("gpu(0)",)), "contexts") == "gpu(0)"
    assert format_knob(Scenario(network="mlp", precision=Precision.BFLOAT16), "hybridize") == "off bfloat16"


def test_rulings_have_words() -> None:
    """Each of them can stand in the table of rounds."""
    tune_file = a_search()
    shown = {ruling for each in tune_result(tune_file).stages for ruling in each.ruled}
    assert Reason.SLOWER in shown
    assert Reason.PREDICTED in shown
