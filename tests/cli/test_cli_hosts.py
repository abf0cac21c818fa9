"""`environment --hosts`: what is printed of hosts, and which exit status says what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import cli
from bench.cli import hosts as cli_hosts
from bench.experiments.preflight.ask import HostAnswer, Link, Preflight
from bench.scenarios.axes import Framework
from tests.support.cli import Command
from tests.support.idx_files import small_idx_folder
from tests.support.preflight import CODE, an_answer, some_facts
from tests.support.records import a_dataset

OTHER = "beef" * 16


@pytest.fixture
def look(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function of the answers that hosts give, and of options; it returns the exit status."""
    data = small_idx_folder(tmp_path / "data", train=30, test=10)
    (tmp_path / "hosts").write_text("10.0.0.1\n10.0.0.2\n", encoding="utf-8")
    monkeypatch.setattr(cli_hosts, "tree_digest", lambda *_: CODE)
    monkeypatch.setattr(cli_hosts, "dataset_of", lambda _prepared: a_dataset())

    def run(answers: Sequence[HostAnswer], *options: object, links: tuple[Link, ...] = ()) -> int:
        monkeypatch.setattr(cli_hosts, "ask_hosts", lambda *_, **__: Preflight(hosts=tuple(answers), links=links))
        named = ("--data", "custom", "--data-dir", data)
        return command("environment", "--hosts", tmp_path / "hosts", *named, *options)

    return run


def test_hosts_that_fit_together(look: Command, capsys: pytest.CaptureFixture[str]) -> None:
    links = (Link(sender="n0", receiver="n1", round_trip_seconds=0.0002, bytes_per_second=117e6),)
    assert look([an_answer(0), an_answer(1)], links=links) == cli.Exit.DONE
    shown = capsys.readouterr().out
    assert "✘" not in shown
    assert "mxnet 1.9.1" in shown
    assert "1,000 Mbit/s" in shown
    assert "-3.00 ms" in shown
    assert "117" in shown


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (an_answer(1, some_facts(1, source_digest=OTHER)), cli.Exit.INCOMPARABLE, "the hosts differ"),
        (
            an_answer(1, some_facts(1, framework_versions={Framework.MXNET: "1.8.0"})),
            cli.Exit.INCOMPARABLE,
            "the hosts differ",
        ),
        (an_answer(1, fault="its host key is unknown"), cli.Exit.USAGE, "nothing can be measured on these hosts"),
        (
            an_answer(1, some_facts(1, source_digest=OTHER), unreached={"n0": "no answer"}),
            cli.Exit.USAGE,
            "nothing can be measured on these hosts",
        ),
    ],
    ids=["code", "version", "unreachable", "both"],
)
def test_the_exit_status_says_whether_hosts_are_broken_or_only_differ(
    look: Command,
    capsys: pytest.CaptureFixture[str],
    answer: HostAnswer,
    status: cli.Exit,
    words: str,
) -> None:
    assert look([an_answer(0), answer]) == status
    shown = capsys.readouterr()
    assert "✘ n1" in shown.out
    assert "✘ n0" not in shown.out
    (line,) = [line for line in shown.err.splitlines() if words in line]
    assert line.endswith(": n1")


def test_what_is_wrong_is_shown_on_any_terminal(
    look: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert look([an_answer(0), an_answer(1, some_facts(1, host_name_addresses=("127.0.1.1",)))]) == cli.Exit.USAGE
    assert "127.0.1.1 ✘" in capsys.readouterr().out


def test_json_has_all_of_it(look: Command, capsys: pytest.CaptureFixture[str]) -> None:
    links = (Link(sender="n0", receiver="n1", fault="no answer"),)
    answers = [an_answer(0), an_answer(1, some_facts(1, host_hash="0" * 64))]
    assert look(answers, "--format", "json", links=links) == cli.Exit.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["hosts"][1]["host"]["address"] == "10.0.0.2"
    assert document["hosts"][0]["pythons"][0]["facts"]["interfaces"][1]["driver"] == "e1000"
    assert document["links"][0]["fault"] == "no answer"
    assert document["faults"] == []
    assert "one machine" in document["remarks"][0]


@pytest.mark.parametrize("output_format", ["csv", "markdown", "html"])
def test_other_formats_show_the_tables(look: Command, capsys: pytest.CaptureFixture[str], output_format: str) -> None:
    assert look([an_answer(0), an_answer(1)], "--format", output_format) == cli.Exit.DONE
    assert "10.0.0.2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--hosts nowhere", "hosts file nowhere: No such file or directory"),
        ("--hosts twice", "hosts file twice, line 2: a is listed twice (first on line 1): write it once, with slots=2"),
        ("--links", "--links measures the network between the hosts of --hosts: add --hosts FILE or --join"),
        ("--framework torch", "--framework names what the hosts of --hosts need: add --hosts FILE or --join"),
        ("--hosts twice --ceilings", "leave out all but"),
        ("--hosts twice --quick", "--hosts measures no training: leave out all but"),
        ("--hosts twice --format junit", "--format junit holds verdicts"),
    ],
)
def test_wrong_usage_is_one_line(
    command: Command, capsys: pytest.CaptureFixture[str], arguments: str, words: str
) -> None:
    Path("twice").write_text("a\na\n", encoding="utf-8")
    assert command("environment", *arguments.split()) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--join slurm", "--join slurm: SLURM_PROCID is not set: start it by srun"),
        (
            "--join-port 2000",
            "--join-port is for the ranks of a job: add --join with who started them (torchrun, openmpi,",
        ),
        ("--join slurm --hosts one", "--hosts and --join both name the machines: leave one of them out"),
        ("--join slurm --quick", "--join measures no training: leave out all but"),
        ("--join slrum", "--join 'slrum': did you mean 'slurm'?"),
        ("--join pmi --join-ranks 2", "--join pmi: PMI_RANK or MV2_COMM_WORLD_RANK is not set"),
    ],
)
def test_a_wrong_job_is_one_line(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: str, words: str
) -> None:
    for name in ("SLURM_PROCID", "PMI_RANK", "MV2_COMM_WORLD_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert command("environment", *arguments.split()) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
