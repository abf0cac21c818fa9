"""`compare`: stored results against each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.analysis import microbenchmarks
from bench.analysis.comparison import (
    AxisBaseline,
    Comparison,
    compare,
    compare_scenarios,
    gate_refusal,
    gate_verdict,
    is_incomparable,
)
from bench.analysis.entries import ComparedFile, index
from bench.analysis.groups import RowKey
from bench.analysis.verdict import Settings, Verdict
from bench.cli.app import app, examples
from bench.cli.console import add_to_job_summary, fail, print_tables, tolerate_closed_pipe, write
from bench.cli.exit_status import EXIT_OF_VERDICT, Exit
from bench.cli.inputs import read_each
from bench.cli.options import ColumnOption, RowOption, ratio
from bench.errors import ConfigurationError
from bench.records import store
from bench.render.formats.export import Format, render_markdown
from bench.render.formats.junit import render_junit
from bench.render.model.columns import AXES, find
from bench.render.model.table import Table
from bench.render.views.comparison_columns import DEFAULT_VALUE
from bench.render.views.comparisons import comparison_tables, junit_cases
from bench.render.views.microbenchmarks import micro_table
from bench.scenarios.axes import canonical_contexts

MARGIN, TOLERANCE, ALPHA = "2%", "10%", "5%"
#: For people; programs get every scenario of every contender.
_READ = {Format.TEXT, Format.MARKDOWN, Format.HTML}


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
    baseline: Annotated[Path, typer.Argument(help="The result file to compare with.")],
    contenders: Annotated[list[Path] | None, typer.Argument(help="Result files, or folders of them.")] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Decide: exit 1 regressed, 3 undecided, 4 not comparable, 5 missing.")
    ] = False,
    margin: Annotated[str, typer.Option(help="Slower by less is no regression.")] = MARGIN,
    tolerance: Annotated[str, typer.Option(help="Surely slower by less is unchanged.")] = TOLERANCE,
    alpha: Annotated[str, typer.Option(help="Error that all scenarios share.")] = ALPHA,
    baseline_scenario: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="Compare scenarios: with those that have 'cpu(0)', or 'hybridize=off'."),
    ] = None,
    row: RowOption = None,
    column: ColumnOption = None,
    value: Annotated[str, typer.Option(metavar="COLUMN", help="Pivot: what the cells hold.")] = DEFAULT_VALUE,
    output_format: Annotated[Format, typer.Option("--format")] = Format.TEXT,
) -> None:
    """Compare result files, scenario by scenario: on one machine with verdicts, on two with ratios.

    Files of micro-benchmarks, or folders of them, are compared with each other alone.

    Both were measured at some other time, whatever else the machine did then: `gate` measures both in turns.
    """
    if microbenchmarks.is_micro(baseline):
        others = (gate, margin, tolerance, alpha, baseline_scenario, row, column, value)
        defaults = (False, MARGIN, TOLERANCE, ALPHA, None, None, None, DEFAULT_VALUE)
        if others != defaults or output_format is Format.JUNIT:
            raise ConfigurationError("micro-benchmarks have no verdicts and no pivots: leave out all but --format")
        _compare_micros(baseline, contenders or [], output_format)
        return
    if baseline.is_dir():
        raise ConfigurationError(f"{baseline}: is a folder: name one of its result files as the baseline")
    settings = _settings(margin, tolerance, alpha)
    axis = None if baseline_scenario is None else _axis_baseline(baseline_scenario)
    given = contenders or []
    if not given and axis is None:
        raise ConfigurationError("compare: name a contender too, or --baseline-scenario to compare within the one file")
    if gate and axis is not None:
        raise ConfigurationError("--gate decides about two files of the same scenarios: leave out --baseline-scenario")
    if output_format is Format.JUNIT and (row is not None or column is not None):
        raise ConfigurationError("--format junit has one case per scenario: leave out --row and --column")
    comparisons = list(_comparisons(baseline, given, axis, settings, strict=gate))
    _refuse_strangers(comparisons, output_format, gate=gate)

    def made(*, readable: bool) -> list[Table]:
        try:
            return comparison_tables(comparisons, row=row, column=column, value=value, gate=gate, readable=readable)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None

    if output_format is Format.JUNIT:
        with tolerate_closed_pipe():
            write(render_junit("mnist-bench compare", junit_cases(comparisons, gate=gate)))
    else:
        _print(made(readable=output_format in _READ), output_format)
    add_to_job_summary(render_markdown(made(readable=True)))
    _exit(comparisons, gate=gate)


def _print(made: Sequence[Table], output_format: Format) -> None:
    with tolerate_closed_pipe():
        print_tables(made, output_format)


def _compare_micros(baseline: Path, contenders: Sequence[Path], output_format: Format) -> None:
    if not contenders:
        raise ConfigurationError("compare: name a contender too: a file of micro-benchmarks, or a folder of them")
    base = microbenchmarks.read(baseline)
    sides = [microbenchmarks.read(each) for each in contenders]
    made = [micro_table(base, side, microbenchmarks.compare(base, side)) for side in sides]
    _print(made, output_format)
    add_to_job_summary(render_markdown(made))


def _settings(margin: str, tolerance: str, alpha: str) -> Settings:
    try:
        return Settings(
            margin=ratio(margin, "--margin"), tolerance=ratio(tolerance, "--tolerance"), alpha=ratio(alpha, "--alpha")
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _axis_baseline(expression: str) -> AxisBaseline:
    """Contexts alone, or axis=value."""
    name, equals, value = expression.partition("=")
    if not equals:
        name, value = "contexts", expression
    try:
        axis = find(name, AXES, "axis").heading.name
    except ValueError as error:
        raise ConfigurationError(f"--baseline-scenario: {error}") from None
    try:
        value = ",".join(canonical_contexts(value)) if axis == "contexts" else value.strip()
    except ConfigurationError as error:
        hint = "" if equals else "; or axis=value, e.g. hybridize=off"
        raise ConfigurationError(f"--baseline-scenario {expression!r}: {error}{hint}") from None
    return AxisBaseline(axis=axis, value=value)


def _comparisons(
    baseline: Path, contenders: Sequence[Path], axis: AxisBaseline | None, settings: Settings, *, strict: bool
) -> Iterator[Comparison]:
    shared: dict[RowKey, RowKey] = {}
    base = index(str(baseline), store.read(baseline), shared)
    for side in [base] if not contenders else _sides(baseline, contenders, shared, strict=strict):
        if axis is None:
            yield compare(base, side, settings)
            continue
        try:
            yield compare_scenarios(base, side, axis, settings)
        except ValueError as error:
            raise ConfigurationError(f"--baseline-scenario: {baseline}: {error}") from None


def _sides(
    baseline: Path, contenders: Sequence[Path], shared: dict[RowKey, RowKey], *, strict: bool
) -> Iterator[ComparedFile]:
    named = [baseline, *(path for path in contenders if not path.is_dir())]
    if twice := [path for index, path in enumerate(named) if path.resolve() in {p.resolve() for p in named[:index]}]:
        raise ConfigurationError(f"{twice[0]} is given twice: there is nothing to compare it with")
    found = 0
    for path, result_set in read_each(contenders, store.read, strict=strict):
        if path.resolve() == baseline.resolve():  # it often lies among the others
            continue
        found += 1
        yield index(str(path), result_set, shared)
    if not found:
        raise ConfigurationError(f"no result file in {', '.join(map(str, contenders))} but the baseline")


def _refuse_strangers(comparisons: Sequence[Comparison], output_format: Format, *, gate: bool) -> None:
    """Exits where no scenario is common to any of them: tables of what is missing would tell nobody more than why."""
    if output_format in _READ and not any(comparison.has_pairs for comparison in comparisons):
        _exit(comparisons, gate=gate)


def _exit(comparisons: Sequence[Comparison], *, gate: bool) -> None:
    """Why the exit status is not 0 in one line; returns where it is."""
    if not gate:
        if odd := [comparison for comparison in comparisons if is_incomparable(comparison)]:
            fail(_among([f"{c.contender.name}: not comparable: {_why(c)}" for c in odd]), Exit.INCOMPARABLE)
        return
    verdict = gate_verdict(comparisons)
    status = EXIT_OF_VERDICT[verdict]
    if status is Exit.DONE:
        return
    refused = [(c, reason) for c in comparisons if (reason := gate_refusal(c)) is not None]
    if verdict is Verdict.INCOMPARABLE and refused:
        fail(_among([f"{c.contender.name}: refused by --gate: {reason}" for c, reason in refused]), status)
    fail(f"{verdict}: {_among(_names(comparisons, verdict))}{_ADVICE.get(verdict, '')}", status)


#: What helps against an answer that is none.
_ADVICE = {
    Verdict.UNDERPOWERED: "; more processes help (run --repeats), mnist-bench gate far more",
    Verdict.INCONCLUSIVE: "; more processes help (run --repeats), mnist-bench gate far more",
}


def _why(comparison: Comparison) -> str:
    if comparison.refusal is not None:
        return comparison.refusal
    if not comparison.has_pairs:
        return (
            "no scenario in common: run the same suite on both sides (show puts files side by side, "
            "--baseline-scenario compares scenarios)"
        )
    return _among(
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


def _among(names: Sequence[str], most: int = 3) -> str:
    """The first few of them, and how many more there are."""
    more = len(names) - most
    return "; ".join([*names[:most], *([f"and {more:,} more"] if more > 0 else [])])
