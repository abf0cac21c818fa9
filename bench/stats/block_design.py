"""Rows that were measured in the same blocks: how far their processes scatter, by all of them together.

A block holds one process of each row, so that the logarithm of a speed is that of its row, plus what the block did to
all of its processes, plus what is its process's own: a randomized complete block design (R. A. Fisher, "The Design of
Experiments", 1935, chapter 4). What is left of each process when row and block are taken away tells how far processes
scatter, with many more degrees of freedom than the few blocks of a single pair of rows have.

That rows scatter alike is roughly true at best. So the variance of a pair is the mean of its own and that of the rows
together, with the degrees of freedom of both: the moderated t statistic with a prior that weighs as much as the pair's
own blocks (G. K. Smyth, "Linear models and empirical Bayes methods for assessing differential expression in microarray
experiments", Statistical Applications in Genetics and Molecular Biology 3, 2004). A row that scatters far more than the
others neither lends them its spread nor borrows theirs (as in B. Phipson et al., "Robust hyperparameter estimation
protects against hypervariable genes and improves power to detect differential expression", Annals of Applied Statistics
10, 2016): its pairs have their own blocks alone. It is told by the F test of what its numbers add to the sum of
squares, at a liberal level, as tests before pooling are (T. A. Bancroft, "Analysis and inference for incompletely
specified models involving the use of preliminary test(s) of significance", Biometrics 20, 1964).

Where rows scatter alike the 95 % interval covers the truth in 94 to 97 % of the cases. A row that scatters two to ten
times as much as the others is covered in over 92 % from five blocks on, and the others as if it were not there: the
tests show it.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import fdtrc

from bench.stats.intervals import TSummary, t_summary

#: Rows and blocks, at least, that have a spread beside that of a single pair.
_FEWEST_ROWS = 3
_FEWEST_BLOCKS = 2
#: How often one row or more of those that scatter alike may be taken for one that does not.
_APART_LEVEL = 0.2
#: What is smaller than the largest by this factor is nothing but rounding.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Spread:
    """How far the processes of rows that scatter alike do so around what their rows and blocks have in common."""

    #: Of the logarithm of a process's speed.
    variance: float
    degrees_of_freedom: int


def spreads_of_rows(rows: Sequence[Mapping[int, float]]) -> list[Spread | None]:
    """Return for each row how far the processes of the rows that scatter alike do so, itself among them.

    A row is the logarithms of its processes' speeds by block; it need not be in all blocks, since the sums of squares
    are those of least squares. None for a row that scatters far more than the others. All are None for fewer than three
    rows, which tell no more than their difference, and where nothing is left to tell a spread by.
    """
    alike = list(range(len(rows)))
    while (fit := _fit([rows[index] for index in alike])) is not None and (apart := fit.row_apart()) is not None:
        del alike[apart]
    spread = None if fit is None else fit.spread
    return [spread if index in alike else None for index in range(len(rows))]


def common_spread(*spreads: Spread | None) -> Spread | None:
    """Return the spread of a difference between such rows of `spreads_of_rows`; None where one of them has none."""
    return None if None in spreads else spreads[0]


@dataclass(frozen=True, slots=True)
class _Fit:
    """Rows and blocks, fitted by least squares to the numbers of the blocks that rows share."""

    #: Of each number, its row.
    row_of: npt.NDArray[np.int64]
    #: An orthonormal basis of what rows and blocks explain, of shape (numbers, rank).
    basis: npt.NDArray[np.float64]
    #: What they leave unexplained of each number.
    residuals: npt.NDArray[np.float64]

    @property
    def spread(self) -> Spread:
        return Spread(self._sum_of_squares / self._freedom, self._freedom)

    @property
    def _sum_of_squares(self) -> float:
        return float(self.residuals @ self.residuals)

    @property
    def _freedom(self) -> int:
        return len(self.residuals) - self.basis.shape[1]

    def row_apart(self) -> int | None:
        """Return the row that scatters most, where that is surely more than the others do; else None.

        Three rows do not tell which of them is the odd one.
        """
        rows = sorted({*self.row_of.tolist()})
        if len(rows) <= _FEWEST_ROWS:
            return None
        p_values = {row: self._p_alike(row) for row in rows}
        least = min(rows, key=p_values.__getitem__)
        return least if p_values[least] * len(rows) < _APART_LEVEL else None

    def _p_alike(self, row: int) -> float:
        """Return how probable it is that a row which scatters like the others adds so much to the sum of squares."""
        own = self.row_of == row
        within = np.eye(int(own.sum())) - self.basis[own] @ self.basis[own].T
        sizes, directions = np.linalg.eigh(within)
        free = sizes > _ROUNDING
        freedom = int(free.sum())
        others_freedom = self._freedom - freedom
        if freedom < 1 or others_freedom < 1:
            return 1.0
        added = float(((self.residuals[own] @ directions[:, free]) ** 2 / sizes[free]).sum())
        others = max(0.0, self._sum_of_squares - added)
        if others <= _ROUNDING * added:
            return 0.0 if added > 0 else 1.0
        return float(fdtrc(freedom, others_freedom, added / freedom / (others / others_freedom)))


def _fit(rows: Sequence[Mapping[int, float]]) -> _Fit | None:
    """Fit rows and blocks; None where too few of them are shared, or a speed is no number."""
    counts = Counter(block for row in rows for block in row)
    shared = [block for block, count in counts.items() if count > 1]
    column = {block: len(rows) + index for index, block in enumerate(shared)}
    cells = [
        (index, column[block], speed)
        for index, row in enumerate(rows)
        for block, speed in row.items()
        if block in column
    ]
    speeds = np.array([speed for _row, _block, speed in cells])
    if len({row for row, _block, _speed in cells}) < _FEWEST_ROWS or len(shared) < _FEWEST_BLOCKS:
        return None
    if not np.isfinite(speeds).all():
        return None
    design = np.zeros((len(cells), len(rows) + len(shared)))
    for number, (row, block, _speed) in enumerate(cells):
        design[number, row] = design[number, block] = 1
    basis, sizes, _right = np.linalg.svd(design, full_matrices=False)
    basis = basis[:, sizes > _ROUNDING * sizes[0]]
    if len(cells) <= basis.shape[1]:
        return None
    speeds -= speeds.mean()  # or rounding is as large as a spread of nothing
    return _Fit(np.array([row for row, _block, _speed in cells]), basis, speeds - basis @ (basis.T @ speeds))


def summarize_difference(differences: Sequence[float], spread: Spread | None, pairs: int = 1) -> TSummary:
    """Summarize the mean of differences between two rows, one for each block, of shape (n,).

    Each may be the mean over so many pairs of rows, all rows different. A single block has no interval, and without a
    spread of several rows that of the differences themselves counts. Raises `ValueError` for an empty sample.
    """
    own = t_summary(differences)
    if spread is None or own.error is None or own.degrees_of_freedom is None:
        return own
    freedom = min(2 * own.degrees_of_freedom, max(own.degrees_of_freedom, spread.degrees_of_freedom))
    of_all = 2 * spread.variance / (pairs * own.n)
    return dataclasses.replace(own, error=math.sqrt((own.error**2 + of_all) / 2), degrees_of_freedom=freedom)
