"""What is printed to paste is read back as exactly the scenario it came from."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import cli
from bench.experiments.tune.search_space import search_space
from bench.scenarios.axes import is_custom
from bench.scenarios.export import run_command, suite_text
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import PlannedRun, expand, parse_suite

ALL = [
    *search_space("mlp", 100, cores=2, gpus=("gpu(0)",)).scenarios,
    *search_space("lenet", 64, cores=4, gpus=()).scenarios,
    *search_space("my_package.nets:build", 1000, cores=2, gpus=()).scenarios,
    Scenario(network="mlp"),
]
scenarios = st.sampled_from(ALL)


@given(scenario=scenarios, title=st.text(), repeats=st.integers(1, 9))
def test_a_suite_file_holds_exactly_the_scenario(scenario: Scenario, title: str, repeats: int) -> None:
    """It does whatever its title is."""
    suite = parse_suite(suite_text(scenario, title=title, repeats=repeats), where="pasted")
    assert [run.scenario for run in expand(suite)] == [scenario] * repeats


@pytest.mark.parametrize("scenario", ALL[:: len(ALL) // 12], ids=lambda scenario: scenario.name)
def test_a_command_line_runs_exactly_the_scenario(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is parsed as a user's is."""
    plans: list[Sequence[PlannedRun]] = []
    monkeypatch.setattr("bench.cli.commands.run.show_plan", lambda plan, *_others: plans.append(plan))
    tried: list[Sequence[PlannedRun]] = []  # a user's network is imported, and this one does not exist
    monkeypatch.setattr("bench.cli.commands.run.describe_frameworks", lambda _executor, plan: tried.append(plan))
    words = shlex.split(run_command(scenario, repeats=2))
    assert words[0] == "mnist-bench"
    monkeypatch.setattr(sys, "argv", [*words, "--dry-run"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code in {None, 0}
    (runs,) = plans
    assert [run.scenario for run in runs] == [scenario] * 2
    assert bool(tried) is is_custom(scenario.network)
