"""`report`: result files, gates and profiles as one page, or as Markdown for a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final, TypeAlias

import typer

from bench.analysis.headline import source_of
from bench.cli import options
from bench.cli.app import app, examples
from bench.cli.console import note, warn, write, write_file
from bench.cli.inputs import read_each
from bench.enums import StrEnum
from bench.errors import ConfigurationError
from bench.experiments.gate.decision import conclusion_of
from bench.experiments.profile.breakdown import break_down
from bench.records.gate import GateFile
from bench.records.profile import ProfileFile
from bench.records.result import ResultSet
from bench.render.formats.export import render_report_markdown
from bench.render.formats.html import render_report
from bench.render.phrases import format_count
from bench.render.report.assemble import Gate, Profile, make_report

#: More files than this have tables that are wider than any screen.
_MOST_SIDE_BY_SIDE: Final = 20
#: What a report can be of.
Readable: TypeAlias = ResultSet | GateFile | ProfileFile


class ReportFormat(StrEnum):
    """What `report --format` takes."""

    HTML = "html"
    MARKDOWN = "markdown"


@app.command(
    epilog=examples(
        "report results/runs/here.json -o report.html",
        "report here.json there.json -o machines.html",
        'report results/runs --format markdown >> "$GITHUB_STEP_SUMMARY"',
    )
)
def report(
    files: Annotated[list[Path], typer.Argument(help="Result, gate and profile files, or folders of them.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The page; default: standard output.")] = None,
    output_format: Annotated[
        ReportFormat | None, typer.Option("--format", help="Default: by the output's name.")
    ] = None,
    price_per_hour: options.PricePerHour = None,
    currency: options.Currency = "",
) -> None:
    """Make one page that opens offline and prints: headline, charts, tables, failures; of one machine or several."""
    stored = _read_all(files)
    if len(stored) > _MOST_SIDE_BY_SIDE:
        warn(f"{len(stored)} files side by side make a large page: mnist-bench history shows results over time")
    named = list(zip(_names(list(stored)), stored.values(), strict=True))
    results = [(name, file) for name, file in named if isinstance(file, ResultSet)]
    prices = options.prices(price_per_hour, currency, len(results))
    page = make_report(
        [source_of(name, file, price) for (name, file), price in zip(results, prices, strict=True)],
        [
            Gate(name=name, file=file, conclusion=conclusion_of(file))
            for name, file in named
            if isinstance(file, GateFile)
        ],
        [
            Profile(name=name, file=file, breakdown=break_down(file))
            for name, file in named
            if isinstance(file, ProfileFile)
        ],
    )
    text = render_report(page) if _format(output_format, output) is ReportFormat.HTML else render_report_markdown(page)
    if output is None:
        write(text)
        return
    write_file(output, text)
    note(f"{output}: {len(text.encode()) / 1e6:.2f} MB, {format_count(len(stored), 'file')}")


def _format(chosen: ReportFormat | None, output: Path | None) -> ReportFormat:
    if chosen is not None:
        return chosen
    return ReportFormat.MARKDOWN if output is not None and output.suffix in {".md", ".markdown"} else ReportFormat.HTML


def _read_all(paths: Sequence[Path]) -> dict[Path, Readable]:
    """Read the files, and those in folders that a report can be of, in the order given.

    Raises `ConfigurationError` where there is none.
    """
    files: dict[Path, Readable] = dict(read_each(paths, ResultSet, GateFile, ProfileFile))
    if not files:
        raise ConfigurationError(f"no result, gate or profile file in {', '.join(map(str, paths))}")
    return files


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the file names without their endings, and whole paths where those are not unique."""
    stems = [path.stem for path in paths]
    return [stem if stems.count(stem) == 1 else str(path) for stem, path in zip(stems, paths, strict=True)]
