"""Was the search worth its time? Compare a tune file with that of an exhaustive search on the same machine.

    mnist-bench tune --network mlp --exhaustive -o all.json
    mnist-bench tune --network mlp -o tune.json
    python -m tests.benchmarks.tune_against_exhaustive tune.json all.json --duel duel.json --data-dir DIR

The best of hundreds measured twice is partly the luckiest. `--duel` therefore measures both winners again, beside the
tutorial's loop, in blocks of fresh processes that take turns, as the final of a search does.
"""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

from bench.cli.datasets import dataset_of, prepare
from bench.experiments.tune import estimates, racing
from bench.experiments.tune.pool import session_starter
from bench.experiments.tune.racing import Step
from bench.experiments.tune.rounds import plan, run_rounds
from bench.machine.capture import capture
from bench.records import store
from bench.records.base import utc_now
from bench.records.tune import REFERENCE, Candidate, TuneFile, TunePhase
from bench.render import units
from bench.render.phrases import format_change
from bench.render.views.tunes import format_setting
from bench.stats.intervals import ratio_of
from bench.worker.process import Cancellation, Interpreter, describe
from mnist_core.datasets import DatasetName

#: What the search is to reach: a fifth of the time, and a winner that is no more than this slower than the best.
MOST_TIME, MOST_LOSS = 1 / 5, 0.05


class Quiet:
    """An observer that says when a block is over."""

    def round_started(self, index: int, step: Step) -> None: ...
    def candidate_started(self, candidate: Candidate) -> None: ...
    def round_finished(self, tune_file: TuneFile) -> None:
        print(f"block {len(tune_file.rounds)}", file=sys.stderr)


def winner(tune_file: TuneFile, name: Path) -> Candidate:
    """Return the winner of a file; exit where there is none."""
    found = estimates.winner(tune_file.plan, tune_file.rounds)
    if found is None or racing.next_step(tune_file.plan, tune_file.rounds) is not None:
        sys.exit(f"{name}: not finished")
    return tune_file.plan.candidates[found]


def in_the_exhaustive_file(searched: Candidate, exhaustive: TuneFile) -> str:
    """Return how much slower the search's winner is than the exhaustive search's, by the latter's measurements."""
    candidates = exhaustive.plan.candidates
    best = estimates.winner(exhaustive.plan, exhaustive.rounds)
    if best is None or searched not in candidates:
        sys.exit("the two files are of different settings")
    found = estimates.comparison(exhaustive.plan, exhaustive.rounds, best, candidates.index(searched))
    return "not measured" if found is None else format_change(ratio_of(found[1]))


def duel(first: Candidate, second: Candidate, like: TuneFile, path: Path, data_dir: Path | None) -> str:
    """Return how much slower the first is than the second, in blocks of their own."""
    prepared = prepare(DatasetName.AUTO, data_dir)
    dataset, start_session = dataset_of(prepared), session_starter(Cancellation())
    planned = plan(
        [like.plan.candidates[REFERENCE], first, second],
        reference_may_win=False,
        exhaustive=False,
        budget_seconds=None,
        start_session=start_session,
        data_directory=prepared.directory,
        dataset=dataset,
        seed=like.plan.seed + 1,
    )
    environment = capture(software=describe(Interpreter(), Cancellation()))
    tune_file = run_rounds(
        TuneFile(created_at=utc_now(), environment=environment, dataset=dataset, plan=planned),
        start_session=start_session,
        data_directory=prepared.directory,
        save=functools.partial(store.write, path),
        observer=Quiet(),
        stop=Cancellation(),
    )
    found = estimates.comparison(tune_file.plan, tune_file.rounds, 2, 1)
    if found is None or found[0] is not TunePhase.FINAL:
        sys.exit(f"{path}: a side gave no result")
    return f"{format_change(ratio_of(found[1]))}, n = {found[1].n}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("searched", type=Path, metavar="TUNE.json")
    parser.add_argument("exhaustive", type=Path, metavar="EXHAUSTIVE.json")
    parser.add_argument("--duel", type=Path, metavar="FILE", help="measure both winners again, into this tune file")
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    searched, exhaustive = store.read(arguments.searched, TuneFile), store.read(arguments.exhaustive, TuneFile)
    if not exhaustive.plan.exhaustive:
        sys.exit(f"{arguments.exhaustive}: not of an exhaustive search")
    first, second = winner(searched, arguments.searched), winner(exhaustive, arguments.exhaustive)
    seconds, all_seconds = (estimates.elapsed_seconds(each.plan, each.rounds) for each in (searched, exhaustive))
    rows = [
        ("settings", str(len(exhaustive.plan.candidates))),
        ("exhaustive search", f"{units.seconds(all_seconds)}: {format_setting(second.scenario)}"),
        ("search", f"{units.seconds(seconds)}: {format_setting(first.scenario)}"),
        ("share of the time", f"{units.percent(seconds / all_seconds)}, at most {units.percent(MOST_TIME)} wanted"),
        (
            "in the exhaustive file",
            f"{in_the_exhaustive_file(first, exhaustive)}, at most {units.percent(MOST_LOSS)} wanted",
        ),
    ]
    if arguments.duel is not None:
        words = (
            "the same setting" if first == second else duel(first, second, searched, arguments.duel, arguments.data_dir)
        )
        rows.append(("in a duel", words))
    print("| | |\n| :--- | :--- |")
    for name, words in rows:
        print(f"| {name} | {words} |")


if __name__ == "__main__":
    main()
