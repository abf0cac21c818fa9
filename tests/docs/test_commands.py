"""The commands in the documents are ones that the program understands; `nox -s docs` runs them."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from bench import cli
from bench.cli.app import app
from bench.scenarios.suite import parse_suite
from tests import ROOT
from tests.docs.commands import NOT_RUN, Command, commands, files
from tests.support.cli import Command as Run
from tests.support.cli import every_verb

EVERY = list(commands())


def parsed(arguments: list[str]) -> Any:  # noqa: ANN401  # Click's context
    """Parse a command; raise where an option or a value is none that the verb knows."""
    group: Any = typer.main.get_command(app)
    root = group.make_context("mnist-bench", list(arguments), resilient_parsing=True)
    name, verb, rest = group.resolve_command(root, list(arguments))
    return verb.make_context(name, rest, parent=root)


@pytest.mark.parametrize("command", EVERY, ids=lambda command: command.text)
def test_a_documents_command_is_understood(command: Command) -> None:
    """Verb, options and values are known; of a nox command, the session is."""
    understood = False
    for part in re.split(r"\s+(?:&&|\|)\s+", re.sub(r"\$\([^)]*\)", "SHELL", command.text)):
        words = [word for word in shlex.split(part) if not re.fullmatch(r"[A-Z_]+=.*", word)]
        if ">" in words:
            words = words[: words.index(">")]
        if words[:1] == ["mnist-bench"]:
            parsed(words[1:])
            understood = True
        elif "nox" in words and "-s" in words:
            (session,) = {words[words.index("-s") + 1]}
            assert re.search(rf'^def {session}\(|^    "{session}": ', (ROOT / "noxfile.py").read_text(), re.MULTILINE)
            understood = True
        elif "pip" in words:
            understood = True
    assert understood


def test_there_are_commands_to_check() -> None:
    """The README has some, and so has every page beside it that shows one."""
    assert len(EVERY) > 40
    assert {"README.md", "docs/ci.md", "docs/own-network.md"} <= {command.document for command in EVERY}


def test_every_reason_not_to_run_is_one_of_a_command() -> None:
    for words in NOT_RUN:
        assert any(words in command.text for command in EVERY), words


def test_a_documents_suite_is_one() -> None:
    found = files()
    assert parse_suite(found["mine.toml"], where="the documents").matrix
    compile(found["my_nets.py"], "my_nets.py", "exec")


def test_every_verb_shows_examples() -> None:
    """They stand in its help, and each can be typed as it is."""
    shown = {command.text.split()[1] for command in EVERY if command.document == "--help"}
    assert shown == {*every_verb()}


@pytest.mark.parametrize("place", ["before", "behind"])
def test_quiet_and_verbose_stand_before_or_behind_the_verb(
    place: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Quiet prints only the last words; verbose also says where an error came from."""

    def run(flag: str) -> str:
        words = ["show", str(tmp_path / "nowhere.json")]
        monkeypatch.setattr(sys, "argv", ["mnist-bench", *([flag, *words] if place == "before" else [*words, flag])])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == cli.Exit.USAGE
        return capsys.readouterr().err

    assert len(run("--quiet").splitlines()) == 1
    assert "Traceback" in run("--verbose")


def test_a_misspelt_verb_or_option_is_told_what_was_meant(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, meant in ((["shwo"], "show"), (["run", "--netwrok", "mlp"], "--network")):
        monkeypatch.setattr(sys, "argv", ["mnist-bench", *words])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == cli.Exit.USAGE
        assert meant in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("run --hybridize statc", "--hybridize 'statc': did you mean 'static'? (known: off, on, static"),
        ("run --hybridize OFF", "did you mean 'off'?"),
        ("run --hybridize maybe", "--hybridize 'maybe': is not one of its values (known: off, on"),
        ("run --hybridize it's", '--hybridize "it\'s": is not one of its values'),
        ("run --data mnst", "--data 'mnst': did you mean 'mnist'?"),
        ("run --loop tune", "--loop 'tune': did you mean 'tuned'? (known: tutorial, tuned)"),
        ("profile --framework pytorch", "--framework 'pytorch': did you mean 'torch'?"),
        ("show a.json --format jsn", "--format 'jsn': did you mean 'json'?"),
        ("history a.json --by clas", "--by 'clas': did you mean 'class'?"),
        ("run --netwrk mlp", "no option --netwrk: did you mean --network?"),
        ("gate --bas main", "no option --bas: did you mean --base?"),
        ("run --zzz", "No such option: --zzz (--help explains)"),
        ("tune --hosts h.toml", "no option --hosts: tune finds what is fastest on one machine: start it there, and"),
        ("gate --join slurm", "no option --join: gate compares two versions of the code, side by side on one machine"),
        ("profile --join-port 1", "no option --join-port: profile times the phases of one process: start it there"),
        ("calibrate --hosts h.toml", "no option --hosts: calibrate learns how much one machine wavers: start it there"),
        ("run --hostss h.toml", "no option --hostss: did you mean --hosts?"),
        ("run --epochs many", "--epochs"),
    ],
)
def test_a_misspelt_value_or_option_is_one_line(
    command: Run, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    """That holds for every verb; where a value was meant, the known ones are listed."""
    assert command(*arguments.split()) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_nox_lets_the_program_end_by_itself() -> None:
    """By itself nox kills a command half a second after Ctrl-C: the last run is lost, and no word says how to go on."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    calls = [call for call in ast.walk(tree) if isinstance(call, ast.Call) and ast.unparse(call.func) == "session.run"]
    ours = [call for call in calls if ast.unparse(call.args[0]) == "'mnist-bench'"]
    waits = {"interrupt_timeout=None", "terminate_timeout=None"}
    assert ours
    assert all({ast.unparse(keyword) for keyword in call.keywords} == waits for call in ours)
