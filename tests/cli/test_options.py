"""Ratios and times are read as people write them."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import cli
from bench.cli import options
from bench.cli.app import VERBS
from bench.errors import ConfigurationError
from bench.render.formats.export import Format
from bench.scenarios.axes import Exchange
from bench.scenarios.job_managers import JobManager
from mnist_core.datasets import DatasetName
from mnist_core.recipe import Hybridize
from tests.support.cli import Command


@pytest.mark.parametrize(("text", "value"), [("0.02", 0.02), ("2%", 0.02), ("2 %", 0.02), ("0", 0.0), (" .5 ", 0.5)])
def test_a_ratio_is_a_number_or_a_percentage(text: str, value: float) -> None:
    """It lies from 0 to below 1."""
    assert options.ratio(text, "--margin") == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "%", "x", "1", "100%", "-1%", "nan", "inf", "2%%", "0.02x"])
def test_what_is_no_ratio_names_its_option(text: str) -> None:
    """The message also gives an example."""
    with pytest.raises(ConfigurationError, match=r"--margin .*0\.02 or 2%"):
        options.ratio(text, "--margin")


@pytest.mark.parametrize(("text", "value"), [("3%", 0.03), ("0.03", 0.03), ("100%", 1.0), ("0.1 %", 0.001)])
def test_a_half_width_may_be_as_large_as_the_value(text: str, value: float) -> None:
    assert options.half_width(text, "--precision") == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "0", "0%", "-3%", "101%", "3", "nan", "x"])
def test_what_is_no_half_width_names_its_option(text: str) -> None:
    """A 3 without its sign would be 300 %."""
    with pytest.raises(ConfigurationError, match=r"--precision .*3% or 0\.03, at most 100%"):
        options.half_width(text, "--precision")


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("45", 45), ("1.5m", 90), ("2h", 7200)]
)
def test_a_time_has_units(text: str, value: float) -> None:
    """Without one it is in seconds."""
    assert options.seconds(text, "--budget") == value


@pytest.mark.parametrize("text", ["", "soon", "10 m", "m", "-5m", "0", "0s", "10d", "10m x"])
def test_what_is_no_time_names_its_option(text: str) -> None:
    """The message also gives an example."""
    with pytest.raises(ConfigurationError, match=r"--budget .*90s, 10m or 1h30m"):
        options.seconds(text, "--budget")


def test_an_option_is_given_even_if_it_repeats_the_default(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user who writes --seed 42 means it, and an option that is left out conflicts with none."""
    assert command("run", "--resume", "none.json", "--seed", 42) == cli.Exit.USAGE
    message = capsys.readouterr().err
    assert "--resume goes on as its file planned: leave out all but --budget, --ceilings, --data-dir, " in message
    assert message.endswith(" --dry-run and --format\n")
    assert command("run", "--resume", "none.json", "--format", "csv") == cli.Exit.USAGE
    assert "none.json: No such file" in capsys.readouterr().err


def test_no_value_is_torn_apart_in_the_help(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Typer breaks its own list of an option's values wherever the column ends."""
    monkeypatch.setenv("COLUMNS", "80")
    assert command("run", "--help") == cli.Exit.DONE
    words = {*re.findall(r"[\w-]+", capsys.readouterr().out)}
    for values in (Hybridize, Exchange, JobManager, DatasetName, Format):
        assert {str(value) for value in values} <= words


def test_the_help_lists_the_verbs_in_the_order_of_their_use(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """That is the order of `VERBS`, with what measures first."""
    assert command("--help") == cli.Exit.DONE
    verbs = re.findall(r"^\W ([a-z]+) ", capsys.readouterr().out.partition("Commands")[2], re.MULTILINE)
    assert verbs == [*VERBS]
    assert verbs[0] == "run"


@given(text=st.text(max_size=12))
def test_no_text_is_more_than_one_line_of_trouble(text: str) -> None:
    """That holds whatever is typed."""
    for read in (options.ratio, options.seconds):
        value = 0.0
        with contextlib.suppress(ConfigurationError):
            value = read(text, "--x")
        assert value >= 0
