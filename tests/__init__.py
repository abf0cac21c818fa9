"""The tests of mnist-bench. A package, so that they share `tests.support` and may have one name in several rooms."""

from __future__ import annotations

from pathlib import Path
from typing import Final

#: The checkout.
ROOT: Final = Path(__file__).resolve().parents[1]
