"""A user asks what training takes besides time: energy, and what it costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import cli
from bench.cli.commands import run as run_command
from bench.experiments import idle
from bench.records import store
from bench.records.energy import EnergyCounter, EnergyReading, EnergySource, EnergySupply
from bench.records.result import ResultSet
from bench.render import units
from tests.support.cli import Command
from tests.support.records import a_cluster_host, a_result_set, a_run, a_scenario, an_environment, an_epoch

PACKAGE = EnergyCounter(source=EnergySource.RAPL, domain="package-0", idle_watts=20.0)
NO_RAPL = EnergySupply(reason="no RAPL here: /sys/class/powercap is missing")
CONTEXTS = ("cpu(0)", "cpu(0),cpu(1)")


def a_counted_set(joules: float | None = 300.0, supply: EnergySupply | None = None, **changes: Any) -> ResultSet:  # noqa: ANN401  # of a result set
    """Make two rows of one epoch of 60,000 images in 6 s; the second took twice the joules."""
    runs = [
        a_run(
            scenario=a_scenario(contexts=contexts),
            epochs=(
                an_epoch(
                    energy=()
                    if joules is None
                    else (EnergyReading(source=EnergySource.RAPL, domain="package-0", joules=factor * joules),)
                ),
            ),
        )
        for factor, contexts in zip((1, 2), CONTEXTS, strict=True)
    ]
    return a_result_set(*runs, environment=an_environment(energy=supply), **changes)


def rows_of(text: str) -> list[dict[str, Any]]:
    return [row for table in json.loads(text) for row in table["rows"]]


def test_joules_are_in_tables_and_exports(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """5 mJ an image is 300 J for 60,000; idle takes 20 W for 6 s of them."""
    store.write(Path("a.json"), a_counted_set(supply=EnergySupply(sources=(PACKAGE,))))
    assert command("show", "a.json") == cli.Exit.DONE
    text = capsys.readouterr().out
    assert "mJ/image" in text
    assert "package-0 by RAPL, whatever else ran on the socket included" in " ".join(text.split())
    assert "package-0 idle 20.0 W" in " ".join(text.split())
    assert command("show", "a.json", "--format", "json") == cli.Exit.DONE
    first, second = rows_of(capsys.readouterr().out)
    assert first["joules_per_image"]["value"] == pytest.approx(0.005)
    assert second["joules_per_epoch"]["value"] == pytest.approx(600.0)
    assert first["joules_per_image_above_idle"]["value"] == pytest.approx((300 - 120) / 60_000)
    assert first["energy_counted"] == "package-0"


def test_without_counters_the_reason_stands_above_the_table(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """No column, no number, and nothing is wrong."""
    store.write(Path("a.json"), a_counted_set(joules=None, supply=NO_RAPL))
    assert command("show", "a.json") == cli.Exit.DONE
    text = capsys.readouterr().out
    assert f"energy    {units.ABSENT}: no RAPL here: /sys/class/powercap is missing" in text
    assert "mJ" not in text
    assert command("show", "a.json", "--format", "json") == cli.Exit.DONE
    assert [row["joules_per_image"] for row in rows_of(capsys.readouterr().out)] == [None, None]


def test_a_window_that_is_too_short_says_so(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    short = an_epoch(
        epoch_seconds=0.4, energy=(EnergyReading(source=EnergySource.RAPL, domain="package-0", joules=9.0),)
    )
    supply = EnergySupply(sources=(PACKAGE,))
    store.write(Path("a.json"), a_result_set(a_run(epochs=(short,)), environment=an_environment(energy=supply)))
    assert command("show", "a.json") == cli.Exit.DONE
    words = " ".join(capsys.readouterr().out.split())
    assert f"{units.ABSENT}: windows of 0.4 s in all are too short for package-0, which takes 1 s" in words


def test_compare_has_the_joules_of_both_sides(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    supply = EnergySupply(sources=(PACKAGE,))
    store.write(Path("a.json"), a_counted_set(supply=supply))
    store.write(Path("b.json"), a_counted_set(joules=360.0, supply=supply))
    command("compare", "a.json", "b.json", "--format", "markdown")
    assert "5.00 → 6.00" in capsys.readouterr().out
    command("compare", "a.json", "b.json", "--format", "json")
    first, _second = rows_of(capsys.readouterr().out)
    sides = [first[f"{side}_joules_per_image"]["value"] for side in ("baseline", "contender")]
    assert sides == pytest.approx([0.005, 0.006])


def test_a_price_is_for_all_files_or_for_each(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """An epoch of 6 s at 0.6 an hour is 0.001; what nobody asked for is not there."""
    before = a_counted_set(joules=None)
    for name in ("a.json", "b.json"):
        store.write(Path(name), before)
    written = Path("a.json").read_bytes()
    assert command("show", "a.json", "--price-per-hour", 0.6, "--currency", "EUR", "--verbose") == cli.Exit.DONE
    words = " ".join(capsys.readouterr().out.split())
    assert "0.00100" in words
    assert "at 0.6 EUR an hour" in words
    for prices, costs in (((0.6,), [0.001, 0.001]), ((0.6, 1.2), [0.001, 0.002])):
        given = [word for price in prices for word in ("--price-per-hour", price)]
        command("compare", "a.json", "b.json", "--format", "json", *given)
        first, _second = rows_of(capsys.readouterr().out)
        found = [first[f"{side}_cost_per_epoch"]["value"] for side in ("baseline", "contender")]
        assert found == pytest.approx(costs)
    assert command("report", "a.json", "--format", "markdown", "--price-per-hour", 0.6) == cli.Exit.DONE
    assert "0.00100" in capsys.readouterr().out
    assert command("history", "a.json", "--price-per-hour", 0.6, "--format", "json") == cli.Exit.DONE
    assert rows_of(capsys.readouterr().out)[0]["cost_per_epoch"]["value"] == pytest.approx(0.001)
    assert command("show", "a.json", "--price-per-hour", 0.6, "--currency", "\x1b[31mEUR", "--verbose") == cli.Exit.DONE
    assert "\x1b" not in capsys.readouterr().out
    assert command("show", "a.json") == cli.Exit.DONE
    assert "cost" not in capsys.readouterr().out
    assert Path("a.json").read_bytes() == written


def test_a_cluster_keeps_the_prices_of_its_hosts(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """A price that is given is that of a machine which has none."""
    store.write(Path("a.json"), a_counted_set(joules=None, hosts=(a_cluster_host(0, price_per_hour=1.2),)))
    command("show", "a.json", "--price-per-hour", 0.6, "--format", "json")
    assert rows_of(capsys.readouterr().out)[0]["cost_per_epoch"]["value"] == pytest.approx(0.002)
    command("show", "a.json", "--price-per-hour", 0.6, "--verbose")
    assert "at the prices of the hosts file, else 0.6 an hour" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("show", "a.json", "--price-per-hour", "1", "--price-per-hour", "2"), "2 times, for 1 file"),
        (("compare", "a.json", ".", "--price-per-hour", "1", "--price-per-hour", "2"), "no folders of them"),
        (("run", "--price-per-hour", "1", "--price-per-hour", "2"), "2 times, for 1 file"),
        (("show", "a.json", "--price-per-hour", "-1"), "--price-per-hour"),
        (("show", "a.json", "--price-per-hour", "nan"), "--price-per-hour"),
        (("show", "a.json", "--price-per-hour", "cheap"), "--price-per-hour"),
        (("report", "a.json", "--currency", "EUR"), "add --price-per-hour"),
    ],
)
def test_a_price_that_means_nothing_is_refused(
    command: Command, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    store.write(Path("a.json"), a_counted_set(joules=None))
    assert command(*arguments) == cli.Exit.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_only_a_machine_that_can_count_is_watched_while_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes ten seconds, which no other machine is to spend."""
    watched = EnergySupply(sources=(PACKAGE,))
    monkeypatch.setattr(idle, "measure_idle", lambda _supply: watched)
    counter = EnergyCounter(source=EnergySource.RAPL, domain="package-0")
    for supply, expected in ((EnergySupply(sources=(counter,)), watched), (NO_RAPL, NO_RAPL), (None, None)):
        assert run_command._with_idle_watts(an_environment(energy=supply)).energy == expected
