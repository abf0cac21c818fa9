"""Say what a gate planned otherwise would be worth: `python -m tests.benchmarks.gate_plans BLOCKS.json ...`.

Gates are replayed over the recorded blocks of a calibration: with more of each process's slowest windows left out, or
with their first look at another number of blocks.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from bench.analysis.verdict import Verdict
from bench.experiments.gate.calibration import calibrate
from bench.records import store
from bench.records.gate import GateFile, GatePlan

_FIRST_LOOKS: Final = (8, 9, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blocks", type=Path, nargs="+", metavar="BLOCKS.json")
    for path in parser.parse_args().blocks:
        print(path.name)
        recorded = store.read(path, GateFile)
        for words, plan in _plans(recorded.plan):
            calibration = calibrate(msgspec.structs.replace(recorded, plan=plan))
            print(f"{words}: noise floors {', '.join(f'{row.noise_floor:.1%}' for row in calibration.scenarios)}")
            for replays in calibration.replays:
                passed = sum(count for verdict, count in replays.verdicts.items() if Verdict(verdict).passes)
                found = f"{replays.regressed:.1%} regressed, {passed / replays.gates:.1%} passed"
                print(f"    {replays.slowdown:.0%} slower: {found}, {replays.median_blocks:.0f} blocks (median)")


def _plans(plan: GatePlan) -> Iterator[tuple[str, GatePlan]]:
    for left_out in range(plan.windows):
        words = f"{left_out} of {plan.windows} windows left out, first look at {plan.looks[0]}"
        yield words, msgspec.structs.replace(plan, left_out_windows=left_out)
    for first in _FIRST_LOOKS:
        words = f"{plan.left_out_windows} of {plan.windows} windows left out, first look at {first}"
        yield words, msgspec.structs.replace(plan, looks=(first, *plan.looks[1:]))


if __name__ == "__main__":
    main()
