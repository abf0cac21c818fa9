"""`--hosts` of `environment` and `run`: what is printed of hosts, and which exit status says what."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import pytest

from bench import cli
from bench.cli.commands import run
from bench.cli.measuring import hosts as cli_hosts
from bench.experiments.preflight.ask import HostAnswer, Link, Preflight
from bench.experiments.run.runner import OnEpoch
from bench.records import store
from bench.records.environment import Software
from bench.records.result import Failure, ResultSet, Run
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host
from bench.scenarios.scenario import Scenario
from bench.worker.interpreters import Interpreters
from bench.worker.process import Cancellation
from bench.worker.protocol.hosts import Captured
from bench.worker.protocol.requests import RunRequest
from bench.worker.seats import Machine
from mnist_core.devices import Device, Probe, Unusable
from tests.support.cli import Command
from tests.support.executor import FakeBlocks
from tests.support.idx_files import small_idx_folder
from tests.support.preflight import CODE, an_answer, some_facts
from tests.support.records import a_dataset, a_failure, a_result_set, a_run, a_software, an_environment

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
    assert look([an_answer(0), an_answer(1, some_facts(1, data_digest=OTHER))]) == cli.Exit.INCOMPARABLE
    assert f"{OTHER[:10]} ✘" in capsys.readouterr().out


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


# --- run --hosts ------------------------------------------------------------------------------------------------------

SUITE = """
title = "one row on each of two hosts, and one on both"
[[matrix]]
network = ["mlp"]
contexts = ["cpu(0)"]
first_host = [0, 1]
sampling = { epochs = 1, samples = 20, repeats = 1 }
[[matrix]]
network = ["mlp"]
contexts = ["cpu(0)"]
ranks = [2]
sampling = { epochs = 1, samples = 20, repeats = 1 }
"""


class FakeWorker(FakeBlocks):
    """An executor that measures at once, and fails where it is told to."""

    lost: str | None = None

    def __init__(
        self,
        interpreters: Interpreters | None = None,
        stop: Cancellation | None = None,
        machines: Sequence[Machine] = (),
        on_loss: Callable[[str], None] | None = None,
    ) -> None:
        self.machines = machines

    def describe(self, framework: Framework = Framework.MXNET, scenarios: Iterable[Scenario] = ()) -> Software:
        return a_software()

    def probe(self, framework: Framework, device: Device) -> Probe:
        return Probe(device, Unusable.NO_CUDA_BUILD, f"no CUDA in this {framework}")

    def measure_curve(self, _scenario: Scenario, **_others: object) -> None:
        """Measure nothing beside the runs."""

    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        run = a_run(scenario=request.scenario, recipe=request.recipe, repeat=request.repeat)
        if self.lost is None:
            return run
        return a_failure(
            scenario=request.scenario,
            recipe=request.recipe,
            repeat=request.repeat,
            detail=f"on {self.lost}: gone",
            host=self.lost,
        )


def captured(place: int, **changes: object) -> Captured:
    environment = an_environment(host_hash=f"{place:x}" * 64, software=None, **changes)
    return Captured(environment=environment, kernel_hash=f"{place:x}" * 64)


@pytest.fixture
def measure(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function of the hosts' answers and of options, which runs the suite above on both hosts."""
    data = small_idx_folder(tmp_path / "data", train=30, test=10)
    (tmp_path / "hosts").write_text("10.0.0.1\nnode1.lab\n", encoding="utf-8")
    (tmp_path / "suite.toml").write_text(SUITE, encoding="utf-8")
    monkeypatch.setattr(cli_hosts, "tree_digest", lambda *_: CODE)
    monkeypatch.setattr(cli_hosts, "dataset_of", lambda _prepared: a_dataset())
    monkeypatch.setattr(run, "SubprocessExecutor", FakeWorker)
    FakeWorker.lost = None

    def start(
        *options: object, answers: Sequence[HostAnswer] | None = None, told: Sequence[Captured] | None = None
    ) -> int:
        if answers is None:
            answers = [an_answer(0), an_answer(1, host=Host(address="node1.lab"))]
        told = [captured(place) for place in range(2)] if told is None else told
        links = (Link(sender="n1", receiver="n0", round_trip_seconds=0.0002, bytes_per_second=117e6),)
        seen = Preflight(hosts=tuple(answers), links=links, captured=tuple(told))
        monkeypatch.setattr(cli_hosts, "ask_hosts", lambda *_, **__: seen)
        return command("run", "--data-dir", data, *options)

    return start


ALL = ("--suite", "suite.toml", "--data", "custom", "--hosts", "hosts", "-o", "file.json")


def test_a_run_on_hosts_says_what_they_are_and_not_how_they_are_called(
    measure: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(*ALL)
    shown = capsys.readouterr()
    result_set = store.read(Path("file.json"), ResultSet)
    assert [host.label for host in result_set.hosts] == ["n0", "n1"]
    assert result_set.environment == msgspec.structs.replace(result_set.hosts[0].environment, software=a_software())
    places = [(each.scenario.first_host, each.scenario.hosts, each.scenario.ranks) for each in result_set.plan]
    assert places == [(0, 1, 1), (1, 1, 1), (0, 2, 2)]
    assert len(result_set.runs) == 3
    assert "2 machines, 1 rank each" in shown.out
    assert "round trip to n0" in shown.out
    for name in ("node1", "10.0.0."):
        assert name not in Path("file.json").read_text()
        assert name not in shown.out


def test_the_table_of_hosts_is_shown_where_it_is_asked_for(
    measure: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(*ALL)
    assert "before anything is measured" not in capsys.readouterr().err
    measure(*ALL[:-1], "other.json", "--verbose")
    shown = capsys.readouterr()
    assert "before anything is measured" in shown.err
    assert "before anything is measured" not in shown.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ranks", 4), "ranks=4 hosts=2 puts 2 ranks on 10.0.0.1, whose slots are 1: write slots = 2"),
        (("--ranks", 3, "--set", "hosts=3"), "hosts=3 needs 3 machines, and there are 2"),
        (("--set", "first_host=2"), "hosts=1 first_host=2 needs 3 machines, and there are 2"),
    ],
)
def test_what_the_hosts_file_has_not_is_told_before_any_is_asked(
    measure: Command, capsys: pytest.CaptureFixture[str], options: tuple[object, ...], words: str
) -> None:
    assert measure(*ALL, *options, answers=[]) == cli.Exit.USAGE
    assert words in capsys.readouterr().err
    assert not Path("file.json").exists()


def test_ranks_on_several_machines_need_a_hosts_file(measure: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure(*ALL[:4], "--set", "hosts=2", "--ranks", 2) == cli.Exit.USAGE
    assert "hosts=2 needs 2 machines, and there is 1: name more in the file of --hosts" in capsys.readouterr().err


def test_a_host_without_work_is_noted(measure: Command, capsys: pytest.CaptureFixture[str]) -> None:
    measure(*ALL, "--set", "first_host=0", "--ranks", 1)
    assert "not used by any scenario: node1.lab" in capsys.readouterr().err


def test_hosts_that_do_not_fit_are_shown_and_nothing_is_measured(
    measure: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [an_answer(0), an_answer(1, some_facts(1, source_digest=OTHER))]
    assert measure(*ALL, answers=answers) == cli.Exit.INCOMPARABLE
    assert "✘ n1" in capsys.readouterr().out
    assert not Path("file.json").exists()


def test_a_lost_host_ends_the_run_and_is_named(measure: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """In the file it has its label, here its name, too."""
    FakeWorker.lost = "n1"
    assert measure(*ALL) == cli.Exit.FAILED
    said = " ".join(capsys.readouterr().err.split())
    assert "on n1 (node1.lab): gone" in said
    assert "n1 (node1.lab) failed twice, so that nothing more is measured: see to it, then finished runs are in" in said
    result_set = store.read(Path("file.json"), ResultSet)
    assert [failure.detail for failure in result_set.failures] == ["on n1: gone"] * 2


@pytest.mark.parametrize(
    ("options", "told", "words"),
    [
        ((), None, "was begun on 2 machines of a hosts file; add --hosts with the same"),
        (("--hosts", "one"), None, "was begun on 2 machines, and the hosts file has 1"),
        (("--hosts", "hosts"), [captured(0), captured(2)], "file.json: n1: was begun on another machine"),
        (("--hosts", "hosts"), [captured(1), captured(0)], "file.json: n0: was begun on another machine"),
        (
            ("--hosts", "hosts"),
            [captured(0), captured(1, source_digest=OTHER)],
            "file.json: n1: was begun with other source code",
        ),
    ],
    ids=["without", "fewer", "another", "other order", "code"],
)
def test_a_run_on_hosts_goes_on_on_the_same_alone(
    measure: Command,
    capsys: pytest.CaptureFixture[str],
    options: tuple[object, ...],
    told: Sequence[Captured] | None,
    words: str,
) -> None:
    FakeWorker.lost = "n1"
    measure(*ALL, told=[captured(0), captured(1, source_digest=CODE)])
    FakeWorker.lost = None
    Path("one").write_text("10.0.0.1\n", encoding="utf-8")
    before = Path("file.json").read_bytes()
    assert measure("--resume", "file.json", *options, told=told) == cli.Exit.INCOMPARABLE
    assert words in capsys.readouterr().err
    assert Path("file.json").read_bytes() == before
    measure("--resume", "file.json", "--hosts", "hosts", told=[captured(0), captured(1, source_digest=CODE)])
    assert len(store.read(Path("file.json"), ResultSet).runs) == 1


def test_a_run_without_hosts_goes_on_without(measure: Command, capsys: pytest.CaptureFixture[str]) -> None:
    store.write(Path("file.json"), a_result_set())
    assert measure("--resume", "file.json", "--hosts", "hosts") == cli.Exit.INCOMPARABLE
    assert "was begun without a hosts file; leave --hosts out" in capsys.readouterr().err


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
