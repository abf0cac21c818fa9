"""The tests of mnist-bench. A package, so that they share `tests.support` and may have one name in several rooms."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: The checkout.
ROOT: Final = Path(__file__).resolve().parents[1]

for _name in ("COLUMNS", "LINES"):  # a console reads them when it is made
    os.environ.pop(_name, None)
