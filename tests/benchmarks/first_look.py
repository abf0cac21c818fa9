"""Say what a gate's first look gives: `python -m tests.benchmarks.first_look BLOCKS.json ...`.

Gates are replayed over the recorded blocks of a calibration, with their first look at so many of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

import msgspec

from bench.analysis.verdict import Verdict
from bench.experiments.gate.calibration import calibrate
from bench.records import store
from bench.records.gate import GateFile

_FIRST_LOOKS: Final = (8, 9, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blocks", type=Path, nargs="+", metavar="BLOCKS.json")
    for path in parser.parse_args().blocks:
        print(path.name)
        recorded = store.read(path, GateFile)
        for first in _FIRST_LOOKS:
            plan = msgspec.structs.replace(recorded.plan, looks=(first, *recorded.plan.looks[1:]))
            for replays in calibrate(msgspec.structs.replace(recorded, plan=plan)).replays:
                blocks = f"{replays.median_blocks:.0f} blocks (median)"
                passed = sum(count for verdict, count in replays.verdicts.items() if Verdict(verdict).passes)
                found = f"{replays.regressed:.1%} regressed, {passed / replays.gates:.1%} passed"
                print(f"    first look at {first}: {replays.slowdown:.0%} slower: {found}, {blocks}")


if __name__ == "__main__":
    main()
