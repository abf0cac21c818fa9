"""Fit a straight line through noisy means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scipy.special import fdtrc

from bench.stats.intervals import CONFIDENCE, Estimate, t_quantile


@dataclass(frozen=True, slots=True)
class Line:
    """y = intercept + slope x."""

    intercept: Estimate
    slope: Estimate


#: Significance level of the lack of fit at which the line counts as an approximation of a curve.
_CURVED: Final = 0.05


def line(points: Sequence[tuple[float, float]]) -> Line:
    """Fit a line through points (x, y), one per process, whose errors are proportional to y.

    Weighted least squares, each residual divided by the mean of the y at its x (a constant coefficient of variation:
    McCullagh and Nelder, "Generalized linear models", 2nd edition, 1989, chapter 8), and t intervals with n - 2 degrees
    of freedom. Where the means scatter around the line by more than the processes around their means (an F test for
    lack of fit), the line is an approximation and processes cannot tell how good a one: then its error and its degrees
    of freedom are those of the means. Two x have no interval, since any two points lie on a line.

    Raises `ValueError` for less than two different x, or a number that is not positive and finite.
    """
    if not all(0 < number < math.inf for point in points for number in point):
        raise ValueError("only positive, finite numbers have a relative error")
    groups: dict[float, list[float]] = {}
    for x, y in points:
        groups.setdefault(x, []).append(y)
    if len(groups) < 2:  # noqa: PLR2004  # as geometry has it
        raise ValueError("a line needs two different x")
    means = {x: math.fsum(ys) / len(ys) for x, ys in groups.items()}
    weights = {x: len(ys) / means[x] ** 2 for x, ys in groups.items()}
    total = math.fsum(weights.values())
    center = math.fsum(weights[x] * x for x in groups) / total
    height = math.fsum(weights[x] * means[x] for x in groups) / total
    spread = math.fsum(weights[x] * (x - center) ** 2 for x in groups)
    slope = math.fsum(weights[x] * (x - center) * (means[x] - height) for x in groups) / spread
    intercept = height - slope * center

    within = math.fsum(((y / means[x]) - 1) ** 2 for x, ys in groups.items() for y in ys)
    around = math.fsum(weights[x] * (means[x] - intercept - slope * x) ** 2 for x in groups)
    n, of_means, of_processes = len(points), len(groups) - 2, len(points) - len(groups)
    squares, freedom = within + around, n - 2
    curved = of_means > 0 and of_processes > 0 and within * around > 0
    if curved and fdtrc(of_means, of_processes, (around / of_means) / (within / of_processes)) < _CURVED:
        squares, freedom = around, of_means
    half_width = None
    if of_means > 0:
        half_width = t_quantile(freedom, (1 + CONFIDENCE) / 2) * math.sqrt(squares / freedom)
    return Line(
        intercept=_symmetric_estimate(intercept, half_width, math.sqrt(1 / total + center**2 / spread), n),
        slope=_symmetric_estimate(slope, half_width, math.sqrt(1 / spread), n),
    )


def _symmetric_estimate(value: float, half_width: float | None, scale: float, n: int) -> Estimate:
    """Return value ± half_width * scale; None has no interval."""
    if half_width is None:
        return Estimate(value=value, lower=None, upper=None, n=n)
    return Estimate(value=value, lower=value - half_width * scale, upper=value + half_width * scale, n=n)
