"""Predict a setting that was not measured from those that were: kriging over categorical knobs.

Two settings are the more alike the fewer knobs differ between them, each knob with its own weight: the covariance is
exp(-sum of the weights of the knobs that differ), as in SMAC (Hutter, Hoos and Leyton-Brown, "Sequential model-based
optimization for general algorithm configuration", LION 5, 2011). It makes no assumption about how knobs combine:
interactions of any order are learnt if the measurements show them. Mean, variance and weights are the most likely
ones, as in Jones, Schonlau and Welch, "Efficient global optimization of expensive black-box functions", Journal of
Global Optimization 13, 1998. Pure functions of numbers.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
#: The position of each knob of a setting; anything hashable.
Position = tuple[object, ...]
#: Candidate weights of a knob: exp(-weight), 0.999 to 0.03, is the correlation of settings that differ in it alone.
_WEIGHTS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.5)
_FIRST_WEIGHT: Final = 0.1
#: Candidate ratios of the variance of a measurement's noise to that of the settings. It is never taken to be smaller: a
#: few dozen settings often seem to fit exactly, and the prediction of the next would be far too sure.
_NOISES: Final = (0.01, 0.03, 0.1, 0.3, 1.0)
_FIRST_NOISE: Final = 0.03
#: Sweeps over all knobs, one at a time; the likelihood hardly rises after two.
_SWEEPS: Final = 2
#: Measurements, at most, on which the weights are fitted: that takes n^3 steps, and so many tell seven numbers well.
_MOST_FITTED: Final = 100


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predictions of settings, in the order in which they were asked for: shape (settings,)."""

    mean: Floats
    #: Standard deviation of a measurement of the setting around it.
    deviation: Floats


@dataclass(frozen=True, slots=True)
class Model:
    """A fitted model: what was measured, and how alike settings are."""

    measured: tuple[Position, ...]
    weights: Floats
    noise: float
    #: The most likely overall mean, and variance of the settings.
    mean: float
    variance: float
    #: Cholesky factor of the correlation of all measurements, noise included: (n, n).
    cholesky: Floats
    #: The measurements minus the mean, and ones, both solved by the factor: (n,).
    whitened: Floats
    ones: Floats

    def predict(self, wanted: Sequence[Position]) -> Prediction:
        """Predict a measurement of each wanted setting."""
        codes, wanted_codes = _coded(self.measured, wanted)
        across = _correlation(_differences(codes, wanted_codes), self.weights)
        solved = np.linalg.solve(self.cholesky, across)
        # The last term is the uncertainty of the overall mean.
        unknown = 1 - (solved**2).sum(axis=0) + (1 - solved.T @ self.ones) ** 2 / (self.ones @ self.ones)
        return Prediction(
            mean=self.mean + solved.T @ self.whitened,
            deviation=np.sqrt(self.variance * (np.clip(unknown, 0, None) + self.noise)),
        )

    def leave_one_out(self) -> Prediction:
        """Predict each measurement from all the others.

        In closed form from the inverse of the covariance (Rasmussen and Williams, "Gaussian processes for machine
        learning", 2006, section 5.4.2).
        """
        inverse = np.linalg.inv(self.cholesky)
        precision = (inverse**2).sum(axis=0)
        own = self.mean + self.cholesky @ self.whitened
        return Prediction(
            mean=own - inverse.T @ self.whitened / precision, deviation=np.sqrt(self.variance / precision)
        )


def fit(measured: Sequence[Position], values: Sequence[float]) -> Model:
    """Fit the most likely model of these measurements; a setting may be measured more than once.

    Raises `ValueError` for nothing measured or a value that is not finite.
    """
    y = np.asarray(values, dtype=np.float64)
    if not y.size or y.size != len(measured) or not np.isfinite(y).all():
        raise ValueError("a prediction needs a finite value for each of at least one measured setting")
    codes, _none = _coded(measured, ())
    differences = _differences(codes, codes)
    weights, noise = _most_likely(differences, y)
    likely = _likely(_correlation(differences, weights)[None], y, np.array([noise]))
    return Model(
        measured=tuple(measured),
        weights=weights,
        noise=noise,
        mean=float(likely.mean[0]),
        variance=float(likely.variance[0]),
        cholesky=likely.cholesky[0],
        whitened=likely.whitened[0],
        ones=likely.ones[0],
    )


def _coded(measured: Sequence[Position], wanted: Sequence[Position]) -> tuple[Floats, Floats]:
    """Return the position of each knob as a number: (measured, knobs) and (wanted, knobs)."""
    places: list[dict[object, int]] = [{} for _ in measured[0]]
    rows = [
        [knob.setdefault(place, len(knob)) for knob, place in zip(places, position, strict=True)]
        for position in itertools.chain(measured, wanted)
    ]
    codes = np.asarray(rows, dtype=np.float64).reshape(len(rows), len(places))
    return codes[: len(measured)], codes[len(measured) :]


def _differences(left: Floats, right: Floats) -> Floats:
    """Return 1 where two settings differ in a knob, else 0: (knobs, left, right)."""
    differ: Floats = (left.T[:, :, None] != right.T[:, None, :]).astype(np.float64)
    return differ


def _correlation(differences: Floats, weights: Floats) -> Floats:
    correlation: Floats = np.exp(-np.tensordot(weights, differences, axes=1))
    return correlation


@dataclass(frozen=True, slots=True)
class _Likely:
    """The rest of a model for given weights and noise, and how likely it is; for b models at once: (b, ...)."""

    cholesky: Floats
    mean: Floats
    variance: Floats
    whitened: Floats
    ones: Floats
    log_likelihood: Floats


def _likely(correlations: Floats, y: Floats, noise: Floats) -> _Likely:
    """Return the models with their most likely mean and variance (the "concentrated" likelihood of Jones et al.).

    correlations (b, n, n), y (n,), noise (b,). The Cholesky factors are computed column by column for all b together.
    Ones and y are two more rows of the matrices, which are solved along the way. LAPACK would take b calls of a size at
    which its threads mostly wait for each other, and on a busy machine for long.
    """
    b, n = len(correlations), y.size
    rows = np.concatenate([correlations, np.ones((b, 1, n)), np.broadcast_to(y, (b, 1, n))], axis=1)
    for column in range(n):
        rows[:, column, column] += noise
        known = np.einsum("bik,bk->bi", rows[:, column:, :column], rows[:, column, :column])
        rows[:, column:, column] -= known
        rows[:, column:, column] /= np.sqrt(rows[:, column, column])[:, None]
    cholesky, ones, whitened_y = np.tril(rows[:, :n]), rows[:, n], rows[:, n + 1]
    mean = (ones * whitened_y).sum(axis=1) / (ones**2).sum(axis=1)
    whitened = whitened_y - mean[:, None] * ones
    variance = np.maximum((whitened**2).sum(axis=1) / n, sys.float_info.min)
    determinant = np.log(np.diagonal(cholesky, axis1=1, axis2=2)).sum(axis=1)
    return _Likely(cholesky, mean, variance, whitened, ones, -n / 2 * np.log(variance) - determinant)


def _most_likely(differences: Floats, y: Floats) -> tuple[Floats, float]:
    """Return weights and noise, found one after the other over a fixed grid: the same for the same measurements."""
    chosen = np.linspace(0, len(y) - 1, min(len(y), _MOST_FITTED)).round().astype(int)
    differences, y = differences[:, chosen[:, None], chosen], y[chosen]
    weights, noise = np.full(len(differences), _FIRST_WEIGHT), _FIRST_NOISE
    grid, noises = np.array(_WEIGHTS), np.array(_NOISES)
    for _ in range(_SWEEPS):
        for knob in range(len(weights)):
            weights[knob] = 0
            others = _correlation(differences, weights)
            correlations = others * np.exp(-grid[:, None, None] * differences[knob])
            found = _likely(correlations, y, np.full(grid.size, noise)).log_likelihood
            weights[knob] = grid[found.argmax()]
        correlations = np.repeat(_correlation(differences, weights)[None], noises.size, axis=0)
        noise = float(noises[_likely(correlations, y, noises).log_likelihood.argmax()])
    return weights, noise
