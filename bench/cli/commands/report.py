"""`report`: result files, gates and profiles as one page, or as Markdown for a pull request."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from bench import errors
from bench.analysis.headline import source_of
from bench.cli.app import app, examples
from bench.cli.console import note, write
from bench.cli.inputs import read_each, read_gate, read_profile
from bench.errors import ConfigurationError
from bench.experiments.gate.decision import conclusion_of
from bench.experiments.profile.breakdown import break_down
from bench.records import store
from bench.records.gate import GateFile
from bench.records.profile import ProfileFile
from bench.records.result import ResultSet
from bench.render.formats.export import render_report_markdown
from bench.render.formats.html import render_report
from bench.render.phrases import format_count
from bench.render.report.assemble import Gate, Profile, make_report

#: What a report can be of.
Readable: TypeAlias = ResultSet | GateFile | ProfileFile


class ReportFormat(str, enum.Enum):
    """What `report --format` takes."""

    HTML = "html"
    MARKDOWN = "markdown"

    def __str__(self) -> str:
        return self.value


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
) -> None:
    """One page that opens offline and prints: the answer, pictures, tables, failures; of one machine or several."""
    read = _read_all(files)
    named = dict(zip(read, _names(list(read)), strict=True))
    made = make_report(
        [source_of(named[path], each) for path, each in read.items() if isinstance(each, ResultSet)],
        [
            Gate(name=named[path], file=each, conclusion=conclusion_of(each))
            for path, each in read.items()
            if isinstance(each, GateFile)
        ],
        [
            Profile(name=named[path], file=each, breakdown=break_down(each))
            for path, each in read.items()
            if isinstance(each, ProfileFile)
        ],
    )
    text = render_report(made) if _format(output_format, output) is ReportFormat.HTML else render_report_markdown(made)
    if output is None:
        write(text)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise errors.StoreError(f"{output}: cannot be written: {error.strerror or error}") from None
    note(f"{output}: {len(text.encode()) / 1e6:.2f} MB, {format_count(len(read), 'file')}")


def _format(wanted: ReportFormat | None, output: Path | None) -> ReportFormat:
    if wanted is not None:
        return wanted
    return ReportFormat.MARKDOWN if output is not None and output.suffix in {".md", ".markdown"} else ReportFormat.HTML


def _read_all(given: Sequence[Path]) -> dict[Path, Readable]:
    """In the order given. Of a folder: those of its files that are any of these."""
    found = dict(read_each(given, _read))
    if not found:
        raise ConfigurationError(f"no result, gate or profile file in {', '.join(map(str, given))}")
    return found


def _read(path: Path) -> Readable:
    """Raises `StoreError`."""
    try:
        return store.read(path)
    except store.OtherKindError as error:
        if error.kind is store.FileKind.GATE:
            return read_gate(path)
        if error.kind is store.FileKind.PROFILE:
            return read_profile(path)
        raise
    except errors.NoResultError:
        raise errors.NoResultError(f"{path}: neither a result file nor a gate's or a profile's") from None


def _names(paths: Sequence[Path]) -> list[str]:
    """As short as tells them apart."""
    stems = [path.stem for path in paths]
    return [stem if stems.count(stem) == 1 else str(path) for stem, path in zip(stems, paths, strict=True)]
