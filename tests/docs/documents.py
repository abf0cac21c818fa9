"""Make the tables of the documents again from the commands beside them: `python -m tests.docs.documents`.

A document holds `<!-- table: mnist-bench ARGS -->`, or `python SCRIPT ARGS` instead, then the command's output, and
`<!-- end of table -->`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable

from tests import ROOT

DOCUMENTS = tuple(
    path
    for path in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "results" / "tables").glob("*.md")),
    )
    if "<!-- table: " in path.read_text(encoding="utf-8")
)
_TABLE = re.compile(r"(<!-- table: (?P<command>[^\n]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
_PROGRAMS = {"mnist-bench": ["-m", "bench"], "python": []}
#: A gate that found a regression says so with 1.
STATUSES = {"mnist-bench": {0, 1}, "python": {0}}


def output_of(program: str, arguments: list[str]) -> str:
    """Run `mnist-bench ARGS` or `python SCRIPT ARGS` in the checkout."""
    command = [sys.executable, *_PROGRAMS[program], *arguments]
    variables = {name: value for name, value in os.environ.items() if name != "GITHUB_STEP_SUMMARY"}
    made = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    if made.returncode not in STATUSES[program]:
        raise RuntimeError(f"{shlex.join(command)}: {made.stderr}")
    return made.stdout


def with_tables(text: str, output_of: Callable[[str, list[str]], str] = output_of) -> str:
    """Return the document with every table made from its result file, now."""

    def made(match: re.Match[str]) -> str:
        program, *arguments = shlex.split(match["command"])
        return f"{match[1]}{output_of(program, arguments).strip()}\n{match[3]}"

    return _TABLE.sub(made, text)


if __name__ == "__main__":
    for document in DOCUMENTS:
        document.write_text(with_tables(document.read_text(encoding="utf-8")), encoding="utf-8")
