"""Draw the README's pictures: a report of a committed result file, light and dark (`nox -s screenshots`)."""

# ruff: noqa: T201 (a script prints its result)

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import ROOT

RESULT = ROOT / "results" / "baselines" / "peers-intel-xeon-2-cores.json"
IMAGES = ROOT / "docs" / "images"


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium: install one, such as Debian's chromium")
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, importlib.import_module("playwright.sync_api").sync_playwright() as p:
        page = Path(folder) / "report.html"
        subprocess.run([sys.executable, "-m", "bench", "report", RESULT, "-o", page], cwd=ROOT, check=True)
        browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": 1280, "height": 1180}, color_scheme=scheme)
            opened = context.new_page()
            opened.goto(page.as_uri())
            opened.screenshot(path=IMAGES / f"report-{scheme}.png")
            print(f"drawn into docs/images/report-{scheme}.png")


if __name__ == "__main__":
    main()
