"""How verdicts look, wherever they stand: a sign, and a tone that repeats it in colour."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bench.analysis.verdict import Verdict
from bench.render.model.table import FASTER, INVALID, LEVEL, MISSING, OPEN, OTHER, SLOWER, Tone

MARKS: Final[Mapping[Verdict, str]] = {
    Verdict.IMPROVED: FASTER,
    Verdict.UNCHANGED: LEVEL,
    Verdict.REGRESSED: SLOWER,
    Verdict.INCONCLUSIVE: OPEN,
    Verdict.UNDERPOWERED: OPEN,
    Verdict.INVALID: INVALID,
    Verdict.MISSING: MISSING,
    Verdict.INCOMPARABLE: OTHER,
}
TONES: Final[Mapping[Verdict, Tone]] = {
    Verdict.IMPROVED: Tone.GOOD,
    Verdict.UNCHANGED: Tone.PLAIN,
    Verdict.REGRESSED: Tone.BAD,
    Verdict.INCONCLUSIVE: Tone.DIM,
    Verdict.UNDERPOWERED: Tone.DIM,
    Verdict.INVALID: Tone.BAD,
    Verdict.MISSING: Tone.BAD,
    Verdict.INCOMPARABLE: Tone.BAD,
}
