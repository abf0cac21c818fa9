"""`compare`: stored results against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from bench.analysis.across import microbenchmarks
from bench.analysis.across.comparison import (
    Comparison,
    compare,
    compare_scenarios,
    gate_refusal,
    gate_verdict,
    is_incomparable,
)
from bench.analysis.across.entries import ComparedFile, SessionSpread, index, shipped_spread, spread_of
from bench.analysis.groups import RowKey
from bench.analysis.prices import Price
from bench.analysis.verdict import Settings, Verdict
from bench.cli import options
from bench.cli.app import app, examples
from bench.cli.console import add_to_job_summary, fail, print_results, print_tables, tolerate_closed_pipe, write
from bench.cli.exit_status import EXIT_OF_VERDICT, Exit
from bench.cli.inputs import read_each, result_files
from bench.errors import ConfigurationError
from bench.records import store
from bench.records.result import ResultSet
from bench.render.formats.export import Format, render_markdown
from bench.render.formats.junit import render_junit
from bench.render.model.table import Table
from bench.render.views.across.comparison_columns import DEFAULT_VALUE
from bench.render.views.across.comparisons import comparison_tables, junit_cases
from bench.render.views.across.microbenchmarks import microbenchmark_table
from bench.scenarios.selection import Reference, reference
from bench.stats.sessions import FEWEST_DEGREES_OF_FREEDOM

#: Formats for people; programs get every scenario of every contender.
_READABLE: Final = {Format.TEXT, Format.MARKDOWN, Format.HTML}


@app.command(
    "compare",
    epilog=examples(
        "compare before.json after.json",
        "compare here.json there.json --row batch_size --column contexts",
        'compare here.json --baseline-scenario "cpu(0)"',
        "compare --gate before.json results/runs",
    ),
)
def compare_command(
    context: typer.Context,
    baseline: Annotated[Path, typer.Argument(help="The result file to compare with.")],
    contenders: Annotated[list[Path] | None, typer.Argument(help="Result files, or folders of them.")] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Decide: exit 1 regressed, 3 undecided, 4 not comparable, 5 missing.")
    ] = False,
    margin: options.Margin = options.MARGIN,
    tolerance: options.Tolerance = options.TOLERANCE,
    alpha: options.Alpha = options.ALPHA,
    baseline_scenario: Annotated[
        str | None,
        typer.Option(
            metavar="EXPR",
            help="Compare scenarios with these of the baseline, chosen as by -k ('cpu(0)', 'hybridize=off', a whole "
            "name), or with the fastest: 'best'.",
            rich_help_panel=options.DECIDED,
        ),
    ] = None,
    sessions: Annotated[
        list[Path] | None,
        typer.Option(
            "--sessions",
            metavar="PATH",
            help="Results of the same code, or folders of them: what sessions on this machine differ by; repeatable.",
            rich_help_panel=options.DECIDED,
        ),
    ] = None,
    row: options.Row = None,
    column: options.Column = None,
    value: Annotated[str, typer.Option(metavar="COLUMN", help="Pivot: what the cells hold.")] = DEFAULT_VALUE,
    price_per_hour: options.PricePerHour = None,
    currency: options.Currency = "",
    output_format: options.Format = Format.TEXT,
) -> None:
    """Compare result files, scenario by scenario: on one machine with verdicts, on two with ratios.

    Files of micro-benchmarks, or folders of them, are compared with each other alone.

    Both were measured at some other time, whatever else the machine did then: `gate` measures both in turns.
    """
    if microbenchmarks.is_micro(baseline):
        others = options.others_given(context, "baseline", "contenders", "output_format")
        if others or output_format is Format.JUNIT:
            raise ConfigurationError("micro-benchmarks have no verdicts and no pivots: leave out all but --format")
        _compare_micros(baseline, contenders or [], output_format)
        return
    settings = _settings(margin, tolerance, alpha)
    chosen = None if baseline_scenario is None else reference(baseline_scenario, "--baseline-scenario")
    options.reject_conflicts(
        (baseline.is_dir(), f"{baseline}: is a folder: name one of its result files as the baseline"),
        (
            not contenders and chosen is None,
            "compare: name a contender too, or --baseline-scenario to compare within the one file",
        ),
        (gate and chosen, "--gate decides about two files of the same scenarios: leave out --baseline-scenario"),
        (
            chosen and any(options.is_given(context, limit) for limit in ("margin", "tolerance", "alpha")),
            "--baseline-scenario gives ratios and no verdicts: leave out --margin, --tolerance and --alpha",
        ),
        (
            sessions and not contenders,
            "--sessions is about two files, of two sessions: leave it out within one",
        ),
        (
            len(price_per_hour or ()) > 1 and any(path.is_dir() for path in contenders or ()),
            "--price-per-hour for each file needs files, and no folders of them: give it once for all, or name files",
        ),
        (
            output_format is Format.JUNIT and (row or column),
            "--format junit has one case per scenario: leave out --row and --column",
        ),
    )
    spread = shipped_spread() if sessions is None else _spread_of(sessions)
    prices = options.prices(price_per_hour, currency, 1 + len(contenders or ()))
    comparisons = list(_comparisons(baseline, contenders or [], prices, chosen, settings, spread, strict=gate))
    if output_format in _READABLE and not any(comparison.has_pairs for comparison in comparisons):
        _exit(comparisons, gate=gate)  # tables of what is missing would say less than the reason

    def tables(*, readable: bool) -> list[Table]:
        return comparison_tables(comparisons, row=row, column=column, value=value, gate=gate, readable=readable)

    with tolerate_closed_pipe():
        if output_format is Format.JUNIT:
            write(render_junit("mnist-bench compare", junit_cases(comparisons, gate=gate)))
        else:
            print_tables(tables(readable=output_format in _READABLE), output_format)
    add_to_job_summary(render_markdown(tables(readable=True)))
    _exit(comparisons, gate=gate)


def _compare_micros(baseline: Path, contenders: Sequence[Path], output_format: Format) -> None:
    if not contenders:
        raise ConfigurationError("compare: name a contender too: a file of micro-benchmarks, or a folder of them")
    base = microbenchmarks.read(baseline)
    sides = [microbenchmarks.read(path) for path in contenders]
    print_results(
        [microbenchmark_table(base, side, microbenchmarks.compare(base, side)) for side in sides], output_format
    )


def _settings(margin: str, tolerance: str, alpha: str) -> Settings:
    return Settings(
        margin=options.ratio(margin, "--margin"),
        tolerance=options.ratio(tolerance, "--tolerance"),
        alpha=options.probability(alpha, "--alpha"),
    )


def _spread_of(paths: Sequence[Path]) -> SessionSpread:
    spread = spread_of(index(str(path), result_set) for path, result_set in result_files(paths))
    if spread is None:
        raise ConfigurationError(
            f"--sessions: {FEWEST_DEGREES_OF_FREEDOM + 1} results of the same code on one machine are needed, with two "
            "processes and more for a scenario: run the same suite again, or leave the option out"
        )
    return spread


def _comparisons(
    baseline: Path,
    contenders: Sequence[Path],
    prices: Sequence[Price | None],
    chosen: Reference | None,
    settings: Settings,
    sessions: SessionSpread,
    *,
    strict: bool,
) -> Iterator[Comparison]:
    shared: dict[RowKey, RowKey] = {}
    base = index(str(baseline), store.read(baseline, ResultSet), shared, prices[0])
    for side in [base] if not contenders else _sides(baseline, contenders, prices, shared, strict=strict):
        if chosen is None:
            yield compare(base, side, settings, sessions)
            continue
        try:
            yield compare_scenarios(base, side, chosen, settings, sessions)
        except ConfigurationError as error:
            raise ConfigurationError(f"--baseline-scenario: {baseline}: {error}") from None


def _sides(
    baseline: Path,
    contenders: Sequence[Path],
    prices: Sequence[Price | None],
    shared: dict[RowKey, RowKey],
    *,
    strict: bool,
) -> Iterator[ComparedFile]:
    named = [baseline, *(path for path in contenders if not path.is_dir())]
    if twice := [path for index, path in enumerate(named) if path.resolve() in {p.resolve() for p in named[:index]}]:
        raise ConfigurationError(f"{twice[0]} is given twice: there is nothing to compare it with")
    count = 0
    for path, result_set in read_each(contenders, ResultSet, strict=strict):
        if path.resolve() == baseline.resolve():  # it often lies among the others
            continue
        count += 1
        price = next((own for named_path, own in zip(named, prices, strict=False) if named_path == path), prices[0])
        yield index(str(path), result_set, shared, price)
    if not count:
        raise ConfigurationError(f"no result file in {', '.join(map(str, contenders))} but the baseline")


def _exit(comparisons: Sequence[Comparison], *, gate: bool) -> None:
    """Exit with one line that says why the status is not 0; return where it is 0."""
    if not gate:
        if incomparable := [comparison for comparison in comparisons if is_incomparable(comparison)]:
            reasons = [f"{each.contender.name}: not comparable: {_why(each)}" for each in incomparable]
            fail(_first_of(reasons), Exit.INCOMPARABLE)
        return
    verdict = gate_verdict(comparisons)
    status = EXIT_OF_VERDICT[verdict]
    if status is Exit.DONE:
        return
    refused = [(c, reason) for c in comparisons if (reason := gate_refusal(c)) is not None]
    if verdict is Verdict.INCOMPARABLE and refused:
        fail(_first_of([f"{c.contender.name}: refused by --gate: {reason}" for c, reason in refused]), status)
    fail(f"{verdict}: {_first_of(_names(comparisons, verdict))}{_ADVICE.get(verdict, '')}", status)


#: What to do where nothing could be decided.
_MORE_POWER: Final = "; more processes help (run --repeats), mnist-bench gate far more"
_ADVICE: Final = {Verdict.UNDERPOWERED: _MORE_POWER, Verdict.INCONCLUSIVE: _MORE_POWER}


def _why(comparison: Comparison) -> str:
    if comparison.refusal is not None:
        return comparison.refusal
    if not comparison.has_pairs:
        return (
            "no scenario in common: run the same suite on both sides (show puts files side by side, "
            "--baseline-scenario compares scenarios)"
        )
    return _first_of(
        [f"{row.scenario.name}: {row.reason}" for row in comparison.rows if row.outcome is Verdict.INCOMPARABLE]
    )


def _names(comparisons: Sequence[Comparison], verdict: Verdict) -> list[str]:
    return [
        ("" if len(comparisons) == 1 else f"{comparison.contender.name}: ")
        + row.scenario.name
        + (f" ({row.reason})" if row.reason is not None else "")
        for comparison in comparisons
        for row in comparison.rows
        if row.outcome is verdict
    ]


def _first_of(names: Sequence[str], most: int = 3) -> str:
    """Return the first few names, and how many more there are."""
    more = len(names) - most
    return "; ".join([*names[:most], *([f"and {more:,} more"] if more > 0 else [])])
