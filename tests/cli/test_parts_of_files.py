"""A run that was interrupted leaves a part of its plan in its file: every verb that reads files reads that, too."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from bench.cli.exit_status import Exit
from bench.records import store
from bench.records.result import ResultSet
from tests import ROOT
from tests.support.cli import Command

#: Scenarios that take turns, some of them too many to do so together; and ranks on hosts, with exchange curves.
FILES = ("standard-in-turns-amd-epyc-2-cores.json", "cluster-emulated-1000-mbit-amd-epyc-2-cores.json")


def a_part(whole: ResultSet, draw: random.Random) -> ResultSet:
    """Keep each half of the scenarios in no block, in one or in all, and of what is alone the first repeats or none."""
    groups = {scenario: draw.random() < 0.5 for scenario in dict.fromkeys(run.scenario for run in whole.runs)}
    blocks = range(len(whole.blocks))
    kept = {
        (block, half) for half in (False, True) for block in draw.sample(blocks, draw.choice([0, 1, 1, len(blocks)]))
    }
    alone = draw.randint(0, 2)
    runs = [
        run
        for run in whole.runs
        if ((run.block, groups[run.scenario]) in kept if run.block is not None else run.repeat < alone)
    ]
    return msgspec.structs.replace(whole, runs=tuple(runs), exchanges=whole.exchanges[: draw.randint(0, 3)])


@pytest.mark.parametrize("seed", [1, 6, 13])  # of 6 in the first file, and 13 in the second, no pairs share a block
@pytest.mark.parametrize("name", FILES)
def test_any_part_of_a_file_can_be_read(name: str, seed: int, command: Command, tmp_path: Path) -> None:
    whole, path = ROOT / "results/baselines" / name, tmp_path / "part.json"
    store.write(path, a_part(store.read(whole, ResultSet), random.Random(seed)))
    assert command("show", path) == Exit.DONE
    assert command("history", path) == Exit.DONE
    assert command("report", path, "-o", tmp_path / "part.html") == Exit.DONE
    assert command("compare", path, whole) == Exit.DONE
