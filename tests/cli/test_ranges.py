"""Every number that comes from outside has a range, and is refused outside of it before anything is measured."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from inspect import unwrap
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
from msgspec import inspect

from bench import cli, ranges
from bench.analysis.across.microbenchmarks import _Document
from bench.records.base import Record
from bench.records.calibration import Calibration
from bench.records.gate import GateFile
from bench.records.profile import ProfileFile
from bench.records.result import ResultSet
from bench.records.tune import TuneFile
from bench.scenarios.suite import Suite, expand, load_suite
from bench.worker.protocol.replies import FromWorker
from bench.worker.protocol.requests import Request
from mnist_core import idx, recipe
from mnist_core.recipe import Recipe
from tests.support.cli import Command, every_verb


def numbers(node: inspect.Type, where: str = "$", seen: tuple[type, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every number in a type, and where it is; dataclasses are the measured code's, which checks them itself."""
    if isinstance(node, inspect.IntType | inspect.FloatType):
        yield where, node
    elif isinstance(node, inspect.StructType) and node.cls not in seen:
        for field in node.fields:
            yield from numbers(field.type, f"{where}.{field.name}", (*seen, node.cls))
    for inner in _inner(node):
        yield from numbers(inner, f"{where}[]", seen)


def _inner(node: inspect.Type) -> tuple[inspect.Type, ...]:
    match node:
        case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
            return types
        case inspect.VarTupleType(item_type=item) | inspect.DictType(value_type=item):
            return (item,)
        case _:
            return ()


@pytest.mark.parametrize(
    "kind", [ResultSet, GateFile, TuneFile, ProfileFile, Calibration, _Document, Suite, Request, FromWorker], ids=str
)
def test_every_number_of_a_file_has_two_ends(kind: type[Record]) -> None:
    """Without them NaN, infinity, a denormal or a number of a thousand digits would come as far as the arithmetic."""
    found = dict(numbers(inspect.type_info(kind)))
    assert found
    loose = [
        where
        for where, node in found.items()
        if (node.ge is None and node.gt is None) or (node.le is None and node.lt is None)
    ]
    assert loose == []


def test_every_number_of_the_command_line_has_two_ends() -> None:
    ends = {
        (verb, name): (option.min, option.max)
        for verb, command in every_verb().items()
        for name, hint in get_type_hints(unwrap(command.callback), include_extras=True).items()
        if (option := getattr(hint, "__metadata__", (None,))[0]) is not None
        if re.search(r"\b(int|float)\b", str(hint.__origin__))
    }
    assert {("run", "timeout"), ("run", "seed"), ("gate", "seed"), ("profile", "rounds")} <= ends.keys()
    assert [name for name, (least, most) in ends.items() if least is None or most is None] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--timeout", "inf"], "--timeout"),
        (["run", "--timeout", "nan"], "--timeout"),
        (["run", "--timeout", "1e10"], "--timeout"),
        (["profile", "--network", "mlp", "--timeout", "nan"], "--timeout"),
        (["profile", "--network", "mlp", "--timeout", "inf"], "--timeout"),
        (["run", "--seed", "4294967296"], "--seed"),
        (["run", "--seed", "4294967295", "--repeats", "2"], "--seed"),
        (["profile", "--network", "mlp", "--seed", "4294967296"], "--seed"),
        (["run", "--epochs", "9" * 400], "--epochs"),
        (["run", "--batch-size", "1000001"], "--batch-size"),
        (["run", "--precision", "1e-320"], "--precision"),
        (["run", "--budget", "9" * 400 + "s"], "--budget"),
        (["tune", "--network", "mlp", "--budget", "721h"], "--budget"),
        (["gate", "--base", "HEAD", "--alpha", "1e-320"], "--alpha"),
        (["compare", "a.json", "b.json", "--alpha", "1e-320"], "--alpha"),
        (["history", "a.json", "--alpha", "0"], "--alpha"),
        (["environment", "--ceilings", "--repeats", "100000"], "--repeats"),
    ],
)
def test_a_number_out_of_range_is_one_line(
    command: Command, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    """It names the option, nothing is measured, and nothing is written."""
    assert command(*arguments) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("timeout_seconds", value) for value in ("inf", "nan", "1e10", "0.0", "-1.0", "1e-320")),
        *(("repeats", value) for value in ("0", "10001", "9" * 30)),
        *(("epochs", value) for value in ("0", "1000001")),
        ("samples", "1000001"),
    ],
)
def test_a_suites_number_out_of_range_is_one_line(
    command: Command, capsys: pytest.CaptureFixture[str], field: str, value: str
) -> None:
    Path("own.toml").write_text(f'title = "own"\n[[matrix]]\nnetwork = ["mlp"]\n[matrix.sampling]\n{field} = {value}\n')
    assert command("run", "--suite", "own.toml", "--dry-run") == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert field in line


def test_a_suite_without_end_is_one_line(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own.toml").write_text(f"title = {'[' * 5000}")
    assert command("run", "--suite", "own.toml", "--dry-run") == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "nested too deeply" in line


def test_a_suite_of_too_many_runs_is_one_line(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """Their plan would fill the memory long before the first of them began."""
    sizes = ", ".join(map(str, range(1, 1001)))
    Path("own.toml").write_text(
        f'title = "own"\n[[matrix]]\nnetwork = ["mlp"]\nbatch_size = [{sizes}]\ncpu_threads = [{sizes}]\n'
        'contexts = ["cpu(0)"]\n'
    )
    assert command("run", "--suite", "own.toml", "--dry-run") == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "asks for 1,000,000 runs: at most 250,000" in line


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 0}, {"epochs": 10**7}, {"samples": 0}, {"seed": -1}, {"seed": 2**32}, {"learning_rate": math.nan}],
)
def test_a_recipe_that_cannot_be_trained_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Recipe(**changes)
    with pytest.raises(msgspec.ValidationError, match=r"expected|Expected"):
        msgspec.convert(changes, Recipe)


def test_a_range_is_the_same_in_both_packages() -> None:
    """The measured code is checked by itself, since an older one may meet today's harness."""
    assert idx.MAX_COUNT == ranges.MOST_IMAGES == recipe.MOST_SAMPLES
    assert ranges.MOST_EPOCHS == recipe.MOST_EPOCHS
    plan = expand(load_suite("smoke"), seed=ranges.MOST_SEED)
    assert max(planned.recipe.seed for planned in plan) + ranges.MOST_REPEATS <= recipe.MOST_SEED
