"""Say what it gives to leave slow windows out of a gate: `python -m tests.benchmarks.left_out_windows BLOCKS.json`.

Gates are replayed over the recorded blocks of a calibration, with as many of each process's slowest windows left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from bench.experiments.gate.calibration import calibrate
from bench.records import store
from bench.records.gate import GateFile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("blocks", type=Path, metavar="BLOCKS.json")
    recorded = store.read(parser.parse_args().blocks, GateFile)
    for left_out in range(recorded.plan.windows):
        plan = msgspec.structs.replace(recorded.plan, left_out_windows=left_out)
        calibration = calibrate(msgspec.structs.replace(recorded, plan=plan))
        spreads = ", ".join(f"{row.noise_floor:.1%}" for row in calibration.scenarios)
        print(f"{left_out} of {plan.windows} windows left out: noise floors {spreads}")
        for replays in calibration.replays:
            blocks = f"{replays.median_blocks:.0f} blocks"
            print(f"    {replays.slowdown:.0%} slower: {replays.regressed:.1%} regressed, {blocks} (median)")


if __name__ == "__main__":
    main()
