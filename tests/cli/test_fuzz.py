"""Files and options as nobody should make them: each ends in a known exit status and one clear line.

There are 500 inputs of each kind. `pytest tests/cli/test_fuzz.py --fuzz 10000` tries 10,000 of each, which takes a
quarter of an hour, and `--fuzz-seed 7` others. The message of a failure has the command, and the folder of the test
has its file.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import re
import resource
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TypeAlias

import msgspec
import pytest
import typer

from bench import cli
from bench.cli.app import app
from bench.cli.exit_status import Exit
from bench.errors import ConfigurationError
from bench.records import store
from bench.records.base import Record
from bench.records.calibration import Calibration
from bench.records.result import ResultSet
from bench.scenarios.suite import BUILT_IN_SUITES
from mnist_core import datasets
from mnist_core.data.folder import FILES
from mnist_core.datasets import DatasetName
from mnist_core.recipe import Recipe
from tests import ROOT
from tests.support import hostile
from tests.support.cli import every_verb
from tests.support.executor import A_BLOCK, in_turns
from tests.support.gate import a_gate_file, a_plan, blocks, noisy, slowed
from tests.support.idx_files import small_idx_folder
from tests.support.profile import a_profile
from tests.support.records import a_ceiling, a_failure, a_result_set, a_run, a_scenario, an_environment
from tests.support.tune import Machine, a_tune_plan, search

#: Of the processor, so that a machine that has other work to do fails nothing.
MOST_SECONDS: Final = 10
MOST_BYTES: Final = 2 * 1024**3
#: Statuses that a foreseen end has.
KNOWN: Final = {status for status in Exit if status not in {Exit.INTERNAL, Exit.INTERRUPTED}}
FORMATS: Final = ("text", "markdown", "csv", "json", "html")
Arguments: TypeAlias = Sequence[object]


class _HungError(BaseException):
    """An input that takes too long."""


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Let the block have ten seconds of the processor, and two more gigabytes of memory."""

    def hung(_signal: int, _frame: object) -> None:
        raise _HungError

    before, limits = signal.signal(signal.SIGPROF, hung), resource.getrlimit(resource.RLIMIT_AS)
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES, limits[1]))
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.signal(signal.SIGPROF, before)


class Fuzz:
    """Runs commands in this process, and notes what no input may do."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._capsys = request.getfixturevalue("capsys")
        self._monkeypatch = request.getfixturevalue("monkeypatch")
        self._inputs = request.config.getoption("--fuzz")
        self._seed = request.config.getoption("--fuzz-seed")
        self._name = request.node.name
        self.statuses: Counter[int] = Counter()

    def inputs(self) -> Iterator[tuple[int, random.Random]]:
        """Yield each input's number and what it is drawn from. Then say how they ended: not all alike."""
        for number in range(self._inputs):
            yield number, random.Random(f"{self._seed}/{self._name}/{number}")
        print(f"{self.statuses.total()} inputs ended, by exit status: {dict(self.statuses)}")  # noqa: T201  # for -s
        assert self.statuses[Exit.USAGE] > 0
        assert len(self.statuses) > 1

    def run(self, *arguments: object) -> None:
        """Run `mnist-bench ARGUMENTS`, and fail with the command where it does not end as it should."""
        self._monkeypatch.setattr(sys, "argv", ["mnist-bench", *map(str, arguments)])
        handler = signal.getsignal(signal.SIGTERM)
        status: object = None
        try:
            with limited():
                cli.main()
        except SystemExit as end:
            status = end.code or 0
        except _HungError:
            pytest.fail(f"hung: {self._shown(arguments)}")
        finally:
            signal.signal(signal.SIGTERM, handler)
        printed = self._capsys.readouterr()
        fault = _fault(status, printed.out, printed.err, is_check=arguments[0] == "check")
        if fault is not None:
            pytest.fail(f"{fault}: {self._shown(arguments)}\n{printed.err[-3000:]}")
        assert isinstance(status, int)
        self.statuses[status] += 1

    @staticmethod
    def _shown(arguments: Sequence[object]) -> str:
        return " ".join(ascii(str(each))[:300] for each in arguments)


def _fault(status: object, out: str, err: str, *, is_check: bool) -> str | None:
    """Return what is wrong with the end of a command; None: nothing."""
    if not isinstance(status, int) or status not in KNOWN:
        return f"status {status}"
    if "Traceback" in err:
        return "a traceback"
    reasons = [line for line in err.split("\n") if line.startswith("mnist-bench: ")]
    lines_of_check = is_check and bool(out)  # one for each fault of each file
    if status in {Exit.USAGE, Exit.INCOMPARABLE} and not (lines_of_check or len(reasons) == 1):
        return f"{len(reasons)} reasons"
    if any(len(reason) > 3000 for reason in reasons):
        return "a reason without end"
    control = next((each for each in out + err if not each.isprintable() and each not in "\n\t"), None)
    return None if control is None else f"{control!r} on the terminal"


@pytest.fixture
def fuzz(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fuzz:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNIST_BENCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(cli, "app", typer.main.get_command(app))  # once for all inputs
    return Fuzz(request)


def a_calibration() -> Calibration:
    path = next((ROOT / "results/calibration").glob("*cores-????????.json"))
    return store.read(path, Calibration)


def a_micro_file() -> bytes:
    environment = msgspec.to_builtins(an_environment())
    del environment["captured_at"]
    benchmarks = [
        {
            "name": name,
            "extra_info": {"micro": name, "scenario": msgspec.to_builtins(a_scenario())},
            "stats": {"data": [0.001, 0.0012, 0.0011], "median": 0.0011},
        }
        for name in ("update", "metric")
    ]
    document = {
        "machine_info": {"environment": environment},
        "benchmarks": benchmarks,
        "datetime": "2026-01-31T12:00:00.5+00:00",
    }
    return json.dumps(document).encode()


def encoded(record: Record) -> bytes:
    return msgspec.json.encode(record)


def two_runs(throughput: float, name: str) -> Record:
    """Make a result file with a bit of everything: repeats, a failure, ceilings, and two rows that took turns."""
    recipe = Recipe(epochs=2)
    alone = [a_run(recipe=recipe, repeat=repeat, throughput=throughput + 100 * repeat) for repeat in range(2)]
    turns = [
        in_turns(
            a_run(
                scenario=a_scenario(batch_size=size),
                recipe=recipe,
                repeat=block,
                throughput=throughput * (1 + size / 1000 + block / 100),
            ),
            block,
        )
        for block in range(3)
        for size in (500, 1000)
    ]
    made = a_result_set(*alone, *turns, a_failure(), suite=name, ceilings=(a_ceiling(),), blocks=(A_BLOCK,) * 3)
    plan = tuple(msgspec.structs.replace(each, in_turns=each.scenario.batch_size > 100) for each in made.plan)
    return msgspec.structs.replace(made, plan=plan)


def fuzz_documents(fuzz: Fuzz, documents: Sequence[bytes], commands: Callable[[Path], Iterable[Arguments]]) -> None:
    """Mutate the documents in turn, and give each to one of the commands in turn."""
    path = Path("file.json").absolute()
    ways = [*commands(path)]
    for number, generator in fuzz.inputs():
        path.write_bytes(hostile.mutate_document(documents[number % len(documents)], generator))
        fuzz.run(*ways[number // len(documents) % len(ways)])


def each_format(*arguments: object, formats: Iterable[str] = FORMATS) -> Iterator[Arguments]:
    return ((*arguments, "--format", each) for each in formats)


def test_result_files(fuzz: Fuzz) -> None:
    """All that reads result files: alone, in a folder, on either side."""
    good = Path("good.json").absolute()
    good.write_bytes(encoded(two_runs(10_000, "good")))

    def commands(path: Path) -> list[Arguments]:
        return [
            *each_format("show", path),
            ["check", path],
            ["show", path, "--row", "batch_size", "--column", "network"],
            *each_format("compare", good, path),
            *each_format("compare", "--gate", path, good, formats=("text", "junit", "json")),
            ["compare", path, "--baseline-scenario", "batch_size=100"],
            *each_format("history", path, good),
            ["compare", good, path, "--sessions", path],
            ["report", path, "--format", "markdown"],
            ["run", "--resume", path, "--dry-run"],
            ["show", path.parent],
            ["check", path.parent],
        ]

    documents = [encoded(two_runs(9_000, "made-up")), encoded(a_result_set(a_run(recipe=Recipe(epochs=1))))]
    fuzz_documents(fuzz, documents, commands)


def test_gate_files(fuzz: Fuzz) -> None:
    """A gate's and a calibration's blocks, replayed in every format."""
    scenario = a_scenario()
    plan = a_plan([scenario], looks=(4, 6), max_blocks=6)
    same, slow = noisy(1), slowed(noisy(2), 0.2, [scenario])
    documents = [
        encoded(a_gate_file(blocks(count, noise, scenarios=[scenario]), plan=plan))
        for count, noise in ((6, same), (6, slow), (0, same))
    ]

    def commands(path: Path) -> list[Arguments]:
        replays = each_format("gate", "--replay", path, formats=(*FORMATS, "junit"))
        return [*replays, ["report", path, "--format", "markdown"]]

    fuzz_documents(fuzz, documents, commands)


def test_tune_files(fuzz: Fuzz) -> None:
    """A search that ended, and one that was interrupted."""
    whole = search(a_tune_plan(), Machine({0: 0.0, 1: 0.1, 2: 0.3, 3: -0.5, 4: 0.2, 5: 0.0}))
    documents = [encoded(whole), encoded(msgspec.structs.replace(whole, rounds=whole.rounds[:1]))]
    fuzz_documents(fuzz, documents, lambda path: each_format("tune", "--replay", path))


def test_profile_files(fuzz: Fuzz) -> None:
    """Phases and operators of a profile."""

    def commands(path: Path) -> list[Arguments]:
        return [*each_format("profile", "--replay", path), ["report", path, "--format", "markdown"]]

    fuzz_documents(fuzz, [encoded(a_profile())], commands)


def test_calibration_files(fuzz: Fuzz) -> None:
    """What a machine does to identical code."""
    fuzz_documents(fuzz, [encoded(a_calibration())], lambda path: each_format("calibrate", "--file", path))


def test_micro_benchmark_files(fuzz: Fuzz) -> None:
    """A file of pytest-benchmark, on either side of a comparison."""
    good = Path("good.json").absolute()
    good.write_bytes(a_micro_file())

    def commands(path: Path) -> list[Arguments]:
        return [*each_format("compare", good, path), ["compare", path, good], ["compare", path.parent, good]]

    fuzz_documents(fuzz, [a_micro_file()], commands)


#: Values as TOML writes them.
TOML_VALUES: Final = (
    *("inf", "-inf", "nan", "0", "-1", "1e400", "1e-320", "9" * 30, "9" * 400, "0x10", "1_000", "true", "1979-05-27"),
    *(
        '""',
        '"\\u001b[31m"',
        '"\\u0000"',
        '"mlp"',
        '"a.b:c"',
        '"cpu(9999)"',
        '"gpu(0)"',
        "[]",
        "[[]]",
        "{}",
        '"""',
        "'",
    ),
    *("1000000", "1000001", "10000", "[1, 2, 3]", '["off", "on"]', '["cpu(0)", "cpu(0),cpu(1)"]', "12:00:00"),
)


def mutate_toml(content: bytes, generator: random.Random) -> bytes:
    """Replace a value of a suite by another one, or damage its bytes."""
    if generator.random() < 0.4:
        return hostile.mutate_bytes(content, generator)
    places = [match.span() for match in re.finditer(rb'"[^"\n]*"|\b\d[\d_.]*\b|\[[^\[\]\n]*\]|\b\w+(?= =)', content)]
    begin, end = generator.choice(places)
    return content[:begin] + generator.choice(TOML_VALUES).encode() + content[end:]


def test_suites(fuzz: Fuzz) -> None:
    """The built-in ones, damaged, as far as to their plan."""
    folder = ROOT / "bench/scenarios/suites"
    documents = [(folder / f"{name}.toml").read_bytes() for name in BUILT_IN_SUITES]
    path = Path("suite.toml")
    for number, generator in fuzz.inputs():
        path.write_bytes(mutate_toml(documents[number % len(documents)], generator))
        fuzz.run("run", "--suite", "./suite.toml", "--dry-run")


def test_idx_files(fuzz: Fuzz, tmp_path: Path) -> None:
    """One of the four files is damaged, packed, or has another name."""
    whole = small_idx_folder(tmp_path / "whole", train=20, test=10)
    contents = {name: (whole / name).read_bytes() for name in FILES}
    for _number, generator in fuzz.inputs():
        folder = tmp_path / "data"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        damaged = generator.choice(FILES)
        for name, content in contents.items():
            path = folder / (name + generator.choice(("", "", ".gz")))
            packed = gzip.compress(content, 1) if generator.random() < 0.3 else content
            path.write_bytes(_damaged_idx(packed, generator) if name == damaged else packed)
        fuzz.run("data", "--data-dir", folder)


def _damaged_idx(content: bytes, generator: random.Random) -> bytes:
    if generator.random() < 0.3:  # in its header
        at = generator.randrange(16)
        return content[:at] + generator.randbytes(generator.choice((1, 4))) + content[at + 1 :]
    return hostile.mutate_bytes(content, generator)


class _PassedError(ConfigurationError):
    """What an option's value meets behind the door, where something would be measured."""


def _passed(*_arguments: object, **_named: object) -> NoReturn:
    raise _PassedError("this would be measured")


#: A verb with what it needs to come as far as to its options, and never to a measurement.
VERBS: Final[dict[str, tuple[str, ...]]] = {
    "run": ("--network", "mlp"),
    "show": ("good.json",),
    "check": ("good.json",),
    "compare": ("good.json", "other.json"),
    "gate": ("--base", "HEAD"),
    "calibrate": (),
    "selftest": (),
    "tune": ("--network", "mlp"),
    "profile": ("--network", "mlp"),
    "report": ("good.json", "--format", "markdown"),
    "history": ("good.json",),
    "environment": (),
    "data": ("--data", "synthetic"),
}
OPTION_VALUES: Final = (
    *(
        "",
        " ",
        "x",
        "-",
        "--",
        "0",
        "1",
        "-1",
        "2",
        "100",
        "1e3",
        "nan",
        "inf",
        "-inf",
        "1e10",
        "1e400",
        "1e-320",
        "0.5",
    ),
    *("0.5", "9" * 20, "9" * 400, "9" * 5000, "4294967295", "4294967296", "2147483647", "2147483648", "1000001", "2%"),
    *("nan%", "10m", "90s", "1h30m", "9" * 400 + "s", "0s", "٣s", "0." + "0" * 400 + "1s", "-5m", "1h1h1h", "999999h"),
    *("mlp", "lenet", "mlp and not", "batch=500", "not", "(", "a=b", "=", "cpu(0)", "cpu(1", "gpu(0)", "cpu(99999)"),
    *("csv", "json", "text", "mnist", "custom", "throughput", "-throughput", "batch_size", "network", "update=flat"),
    *("update=", "kvstore=x", "hybridize=off", "torch=", "torch=/bin/true", "torch", "a.b:c", "tuned", "off", "--help"),
    *(hostile.ESCAPE, "a\nb", "\x9b31m", "\u202e", "é", "語" * 300, "x" * 5000, "\udcff", "../..", "/dev/null/x", "."),
)


def test_option_values(fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each value of each option of each verb: refused at the door, or good enough for a file that is read again."""
    Path("good.json").write_bytes(encoded(two_runs(10_000, "good")))
    Path("other.json").write_bytes(encoded(two_runs(9_000, "other")))
    for place in (
        *("gate._clone_here", "calibrate.capture", "calibrate.prepare", "tune.new_file", "profile.new_file"),
        *("environment._observe", "environment._measure_ceilings", "data.prepare", "data._show"),
    ):
        monkeypatch.setattr(f"bench.cli.commands.{place}", _passed)
    monkeypatch.setattr("bench.experiments.tune.setup.available", tuple)  # it would start a process
    monkeypatch.setattr("bench.cli.commands.profile.available", tuple)
    images = datasets.Prepared(Path.cwd(), DatasetName.SYNTHETIC, "0" * 64, "nowhere", 60_000, 10_000)
    monkeypatch.setattr("bench.cli.commands.run._capture", lambda *_: an_environment())
    monkeypatch.setattr("bench.cli.commands.run.prepare", lambda *_: images)
    monkeypatch.setattr("bench.cli.commands.run._measure", _write_and_read)
    choices = [(verb, each) for verb, command in every_verb().items() if verb in VERBS for each in command.params]
    for _number, generator in fuzz.inputs():
        verb, *given = _arguments(choices, generator)
        fuzz.run(verb, *VERBS[verb], *given)


def _arguments(choices: Sequence[tuple[str, Any]], generator: random.Random) -> Iterator[str]:
    """Yield a verb, then one to three of its options or arguments with a value each."""
    verb, first = generator.choice(choices)
    others = [parameter for name, parameter in choices if name == verb]
    yield verb
    for parameter in (first, *generator.sample(others, generator.choice((0, 0, 1, 2)))):
        if parameter.param_type_name == "option":
            yield max(parameter.opts, key=len)
        if not getattr(parameter, "is_flag", False):
            yield generator.choice(OPTION_VALUES)


def _write_and_read(result_set: ResultSet, *_arguments: object, **_named: object) -> NoReturn:
    """What passes the door of `run` must be a file that can be read again."""
    path = Path("written.json")
    store.write(path, result_set)
    assert store.read(path, ResultSet) == result_set
    _passed()
