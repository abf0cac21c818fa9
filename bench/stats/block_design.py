"""Rows that were measured in the same blocks: how far their processes scatter, by all of them together.

A block holds one process of each row, so that the logarithm of a speed is that of its row, plus what the block did to
all of its processes, plus what is its process's own: a randomized complete block design (R. A. Fisher, "The Design of
Experiments", 1935, chapter 4). What is left of each process when row and block are taken away tells how far processes
scatter, with many more degrees of freedom than the few blocks of a single pair of rows have.

That rows scatter alike is roughly true at best. So the variance of a pair is the mean of its own and that of all rows,
with the degrees of freedom of both: the moderated t statistic with a prior that weighs as much as the pair's own blocks
(G. K. Smyth, "Linear models and empirical Bayes methods for assessing differential expression in microarray
experiments", Statistical Applications in Genetics and Molecular Biology 3, 2004). Where rows scatter alike its 95 %
interval covers the truth in 94 to 97 % of the cases, and in over 90 % for a row that scatters twice as much as the
others: the tests show it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats.intervals import TSummary, t_summary

#: Rows and blocks, at least, that have a spread beside that of a single pair.
_FEWEST_ROWS = 3
_FEWEST_BLOCKS = 2


@dataclass(frozen=True, slots=True)
class Spread:
    """How far processes scatter around what their rows and blocks have in common."""

    #: Of the logarithm of a process's speed.
    variance: float
    degrees_of_freedom: int


def spread_of_rows(rows: Sequence[Mapping[int, float]]) -> Spread | None:
    """Return how far the processes of rows scatter, from the logarithms of their speeds by block.

    Rows need not be in all blocks: the sums of squares are those of least squares. Returns None for fewer than three
    rows, which tell no more than their difference, and where nothing is left to tell a spread by.
    """
    shared = [block for block in {block for row in rows for block in row} if sum(block in row for row in rows) > 1]
    blocks = {block: index for index, block in enumerate(shared)}
    present = [row for row in rows if row.keys() & blocks.keys()]
    if len(present) < _FEWEST_ROWS or len(blocks) < _FEWEST_BLOCKS:
        return None
    cells = [
        (index, blocks[block], speed)
        for index, row in enumerate(present)
        for block, speed in row.items()
        if block in blocks
    ]
    design = np.zeros((len(cells), len(present) + len(blocks)))
    for number, (row, block, _speed) in enumerate(cells):
        design[number, row] = design[number, len(present) + block] = 1
    speeds = np.array([speed for _row, _block, speed in cells])
    if not np.isfinite(speeds).all():
        return None
    fitted, _residual, rank, _singular = np.linalg.lstsq(design, speeds - speeds.mean(), rcond=None)
    freedom = len(cells) - int(rank)
    if freedom < 1:
        return None
    left = speeds - speeds.mean() - design @ fitted
    return Spread(float(left @ left) / freedom, freedom)


def summarize_difference(differences: Sequence[float], spread: Spread | None, pairs: int = 1) -> TSummary:
    """Summarize the mean of differences between two rows, one for each block, of shape (n,).

    Each may be the mean over so many pairs of rows, all rows different. A single block has no interval, and without a
    spread of all rows that of the differences themselves counts. Raises `ValueError` for an empty sample.
    """
    own = t_summary(differences)
    if spread is None or own.error is None or own.degrees_of_freedom is None:
        return own
    freedom = min(2 * own.degrees_of_freedom, max(own.degrees_of_freedom, spread.degrees_of_freedom))
    of_all = 2 * spread.variance / (pairs * own.n)
    return dataclasses.replace(own, error=math.sqrt((own.error**2 + of_all) / 2), degrees_of_freedom=freedom)
