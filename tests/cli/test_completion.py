"""The shell offers words after Tab."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.cli import completion
from bench.errors import ConfigurationError
from bench.render.model.column import find
from bench.render.model.columns import VALUES
from bench.render.model.pivot import axes_of_pivot
from bench.render.model.table import numeric
from bench.render.views.results import result_tables
from bench.scenarios.axes import canonical_contexts
from bench.scenarios.selection import matcher
from bench.scenarios.settings import axis_settings
from bench.scenarios.suite import load_suite

KVSTORE = ("update_on_kvstore=true", "update_on_kvstore=false")


def offered(folder: Path, typed: str) -> list[str]:
    """Ask the program for the words, as bash asks it."""
    words = typed.split(" ")
    done = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'mnist-bench'; from bench.cli import main; main()"],
        env={
            **os.environ,
            "_MNIST_BENCH_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(words),
            "COMP_CWORD": str(len(words) - 1),
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("mnist-bench gate --suite m", {"mine.toml"}),
        ("mnist-bench profile --set upd", {"update=flat", "update=trainer", *KVSTORE}),
        ("mnist-bench history -k ml", {"mlp"}),
        ("mnist-bench compare --column ba", {"batch_size"}),
    ],
)
def test_tab_offers_what_can_stand_there(tmp_path: Path, typed: str, expected: set[str]) -> None:
    (tmp_path / "mine.toml").touch()
    assert {*offered(tmp_path, typed)} == expected


def test_what_is_offered_is_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every word of every list is accepted where it is read."""
    monkeypatch.chdir(tmp_path)
    for suite in completion.offer_suites():
        load_suite(suite)
    axis_settings(completion.offer_settings())
    for word in completion.offer_keywords():
        matcher(word)
    for text in completion.offer_contexts():
        canonical_contexts(text)
    for axis in completion.offer_pivot_axes():
        axes_of_pivot(axis, None)
    for name in completion.offer_values():
        find(name, numeric(VALUES), "value")
    for name in completion.offer_sort_columns():
        result_tables([], sort=name)
    with pytest.raises(ConfigurationError):
        axis_settings(["engine=steam"])
