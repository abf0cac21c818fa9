"""The embedded data set: handwritten-looking digits, drawn from strokes. Nothing is downloaded.

A digit is the path of a pen. Each image moves the path's control points, warps, scales, slants, turns and shifts it,
and draws it with a pen of another width and pressure. How much of each makes the set about as hard as MNIST for the
tutorial's networks; that was measured, so a changed number means measuring again.

The seed alone decides the images, to the last bit, on any CPU and any NumPy from 1.23 on: the randomness is PCG64's
uniform doubles, and the arithmetic is + - * / and square roots, elementwise, whose results IEEE 754 prescribes. So
there are no normal variates, sines, exponentials, matrix products or floating-point sums over an axis here: their last
bits belong to the C library, the BLAS or the width of the CPU's vectors.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEFAULT_SEED", "draw"]

#: The seed of those who have no reason for another.
DEFAULT_SEED: Final = 20_250_101

#: For each digit the ways to write it. A path is a list of control points, `xy` on a grid 8 wide and 9 high, y
#: downwards. The pen cuts corners, so that a rectangle becomes an ellipse, but none marked "!"; "/" lifts the pen.
_GLYPHS: Final = (
    ("40 10 19 79 70 40", "50 20 19 69 70 40"),
    ("40 49", "50 39", "23 40! 49", "22 40! 49 / 19 79"),
    ("12 10 70 74 19! 79", "21 60 74 09! 78", "12 10 60 74 29 08 07 48 78"),
    ("11 10 70 74 34! 74 79 19 17", "10 70 74 34 74 79 09", "10 70! 34! 74 79 19 17"),
    ("10 15! 75 / 60 69", "10 15 65! / 60 69", "50 06! 76 / 50 59", "60 06! 76 / 60 69"),
    ("70 20! 14! 33 74 79 09", "20 14! 73 79 09 / 20 70", "70 20 24 74 79 09"),
    ("60 20 19 79 74 24 16", "50 15 19 79 74 24 16"),
    ("10 70! 39", "12 10! 70! 39", "10 70! 39 / 25 65", "10 70 35 39"),
    ("60 10 14 75 79 19 15 74 70 50", "40 10 14 74 70 40 / 44 14 19 79 74 44"),
    ("72 70 10 15 75 72! 69", "72 70 10 15 75 72! 79 29", "72 70 10 15 75 72 58"),
)
_CENTRE: Final = (4.0, 4.5)
_PIXELS_PER_UNIT: Final = 1.9

# How an image differs from the next. A spread is a standard deviation; lengths are in units of the grid.
_SHAPE_SPREAD: Final = 0.7  # of each control point
_WARP_SPREAD: Final = 0.04  # per unit of distance from the centre
_SCALE_SPREAD: Final = 0.1
_SLANT_SPREAD: Final = 0.25
_TURN_SPREAD: Final = 0.1  # radians
_SHIFT_SPREAD: Final = 0.65
_PEN_RADIUS: Final = (0.6, 1.7)  # pixels, from the middle of the line to where half the ink is left
_PEN_SOFTNESS: Final = 1.3  # pixels, from all the ink to none
_PEN_PRESSURE: Final = (0.75, 1.0)  # of full black

_SIDE: Final = 28
#: Images drawn together: few enough for their pixels to stay in the CPU's cache, and equally many of each class.
_BLOCK: Final = 200
#: The pen leaves this many dots along a path: the longest one, with the thinnest pen, just does not look dotted.
_DOTS: Final = 80
#: Distances are integers, in 1/32 pixel. Each coordinate's is cut off at 127, four pixels: far from any ink, and the
#: sum of two squares still fits int16, whose arithmetic is the fastest.
_STEPS: Final = 32
_FAR: Final = 127
_ARC_STEPS: Final = 32
#: `progress` is called about as often.
_REPORTS: Final = 40

_Floats: TypeAlias = NDArray[np.float64]
_Point: TypeAlias = tuple[float, float]


def draw(
    count: int, *, seed: int, progress: Callable[[int, int], None] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw digits: images (count, 28, 28), 0 the paper and 255 the ink, and labels (count,) in 0..9, both uint8.

    The classes come in random order and equally often: 20 times in every 200 images. Fewer images are the first ones of
    more, for the same seed. `progress` is called with the images done and `count`, a few dozen times and at the end.
    Raises `ValueError` for a count below 1 or a negative seed.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    images = np.empty((count, _SIDE, _SIDE), np.uint8)
    labels = np.empty(count, np.uint8)
    reported = 0
    for block, start in enumerate(range(0, count, _BLOCK)):
        rng = np.random.Generator(np.random.PCG64([seed, block]))
        end = min(start + _BLOCK, count)
        drawn, written = _draw_block(rng)
        images[start:end], labels[start:end] = drawn[: end - start], written[: end - start]
        if progress is not None and (end == count or (end - reported) * _REPORTS >= count):
            progress(end, count)
            reported = end
    return images, labels


def _draw_block(rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (_BLOCK, 28, 28) and labels (_BLOCK,). The block is the last axis of all that follows: the longest one."""
    labels = np.argsort(rng.random(_BLOCK), kind="stable") % 10
    x, y = _place(*_write(labels, rng), rng)
    return _ink(x, y, rng).transpose(2, 0, 1), labels.astype(np.uint8)


def _bell(rng: np.random.Generator, spread: float, *shape: int) -> _Floats:
    """Bell-shaped variates around 0, never beyond three spreads: sums of three uniform ones, whose variance is 1/4."""
    sums: _Floats = rng.random(shape) + rng.random(shape) + rng.random(shape)
    return 2 * spread * (sums - 1.5)


def _write(labels: NDArray[np.intp], rng: np.random.Generator) -> tuple[_Floats, _Floats]:
    """Choose a way to write each digit and move its control points: the dots' x and y, each (_DOTS, block)."""
    alphabet = _alphabet()
    glyphs = alphabet.first[labels] + (rng.random(_BLOCK) * alphabet.ways[labels]).astype(np.intp)
    points = np.take(alphabet.points, glyphs, axis=-1)
    points += _bell(rng, _SHAPE_SPREAD, *points.shape)
    near, weights = np.take(alphabet.near, glyphs, axis=-1), np.take(alphabet.weights, glyphs, axis=-1)
    x, y = (
        weights[0] * np.take_along_axis(axis, near[0], axis=0)
        + weights[1] * np.take_along_axis(axis, near[1], axis=0)
        + weights[2] * np.take_along_axis(axis, near[2], axis=0)
        for axis in points
    )
    return x, y


def _place(x: _Floats, y: _Floats, rng: np.random.Generator) -> tuple[_Floats, _Floats]:
    """Warp, scale, slant, turn and shift each digit as a whole; from units around its centre to pixels."""
    warp = _bell(rng, _WARP_SPREAD, 4, _BLOCK)
    x, y = x + y * (warp[0] * x + warp[1] * y), y + x * (warp[2] * x + warp[3] * y)
    width, height = 1 + _bell(rng, _SCALE_SPREAD, 2, _BLOCK)
    x, y = width * x, height * y
    x = x - _bell(rng, _SLANT_SPREAD, _BLOCK) * y
    half = _bell(rng, _TURN_SPREAD / 2, _BLOCK)  # tangent of half the angle: makes a rotation without sine and cosine
    cosine, sine = (1 - half * half) / (1 + half * half), 2 * half / (1 + half * half)
    x, y = cosine * x - sine * y, sine * x + cosine * y
    right, down = _bell(rng, _SHIFT_SPREAD, 2, _BLOCK)
    middle = (_SIDE - 1) / 2
    return middle + _PIXELS_PER_UNIT * (x + right), middle + _PIXELS_PER_UNIT * (y + down)


def _ink(x: _Floats, y: _Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw dots (_DOTS, block) at pixels `x` and `y`: (28, 28, block)."""
    nearest = np.full((_SIDE, _SIDE, _BLOCK), 2 * _FAR * _FAR, np.int16)
    here = np.empty_like(nearest)
    for down, right in zip(_squared_distances(y), _squared_distances(x), strict=True):
        np.add(down[:, np.newaxis], right, out=here)
        np.minimum(nearest, here, out=nearest)
    distance = np.sqrt(nearest.astype(np.float32))  # to the nearest dot
    radius, pressure = (low + (high - low) * rng.random(_BLOCK) for low, high in (_PEN_RADIUS, _PEN_PRESSURE))
    black = (255 * pressure).astype(np.float32)
    middle = (255 * pressure * (radius / _PEN_SOFTNESS + 0.5)).astype(np.float32)
    slope = (255 * pressure / (_PEN_SOFTNESS * _STEPS)).astype(np.float32)
    ink = np.minimum(np.maximum(middle - slope * distance, 0), black)
    return (ink + np.float32(0.5)).astype(np.uint8)


def _squared_distances(dots: _Floats) -> NDArray[np.int16]:
    """From dots (_DOTS, block) to all rows (or columns): (_DOTS, 28, block), in squared steps, cut off."""
    lines = _STEPS * np.arange(_SIDE, dtype=np.int16)[:, np.newaxis]
    steps: NDArray[np.int16] = np.clip(lines - (_STEPS * dots).astype(np.int16)[:, np.newaxis], -_FAR, _FAR)
    return steps * steps


class _Alphabet(NamedTuple):
    """`_GLYPHS` as tables, one column a glyph. A dot is the weighted mean of three control points."""

    #: For each digit, the index of its first glyph and its number of glyphs.
    first: NDArray[np.intp]
    ways: NDArray[np.intp]
    #: (2, most control points, glyphs): x and y from the centre; what a glyph does not need is never read.
    points: _Floats
    #: (3, _DOTS, glyphs): the three points, and their weights.
    near: NDArray[np.intp]
    weights: _Floats


@functools.cache
def _alphabet() -> _Alphabet:
    ways = [len(paths) for paths in _GLYPHS]
    glyphs = [_trace(path) for paths in _GLYPHS for path in paths]
    points = np.zeros((2, max(len(glyph.points) for glyph in glyphs), len(glyphs)))
    for column, glyph in enumerate(glyphs):
        points[:, : len(glyph.points), column] = np.transpose(glyph.points)
    return _Alphabet(
        first=np.array([0, *itertools.accumulate(ways)][:-1]),
        ways=np.array(ways),
        points=points,
        near=np.transpose([[dot.near for dot in glyph.dots] for glyph in glyphs]),
        weights=np.transpose([[dot.weights for dot in glyph.dots] for glyph in glyphs]),
    )


class _Dot(NamedTuple):
    near: tuple[int, int, int]
    weights: tuple[float, float, float]


class _Glyph(NamedTuple):
    points: list[_Point]
    dots: list[_Dot]


def _trace(path: str) -> _Glyph:
    """Follow a path: a quadratic B-spline through each stroke, `_DOTS` equidistant dots on all of them.

    A control point that counts twice pulls the curve into itself: so are the corners made, and the ends.
    """
    points: list[_Point] = []
    dots: list[_Dot] = []
    steps: list[float] = []
    for stroke in path.split("/"):
        names = stroke.split()
        order: list[int] = []
        for place, name in enumerate(names):
            twice = name.endswith("!") or place in (0, len(names) - 1)
            order += [len(points)] * (2 if twice else 1)
            points.append((int(name[0]) - _CENTRE[0], int(name[1]) - _CENTRE[1]))
        curve = [dot for near in zip(order, order[1:], order[2:], strict=False) for dot in _arc(near)]
        dots += curve
        steps += [0.0, *itertools.starmap(_distance, itertools.pairwise(_position(dot, points) for dot in curve))]
    travelled = list(itertools.accumulate(steps))
    stops = (travelled[-1] * (stop + 0.5) / _DOTS for stop in range(_DOTS))
    return _Glyph(points, [dots[bisect.bisect_left(travelled, stop)] for stop in stops])


def _arc(near: tuple[int, int, int]) -> Iterator[_Dot]:
    """The curve's piece around the second of three control points, in steps of half a pixel or less."""
    for step in range(_ARC_STEPS + 1):
        t = step / _ARC_STEPS
        yield _Dot(near, ((1 - t) * (1 - t) / 2, 0.5 + t - t * t, t * t / 2))


def _position(dot: _Dot, points: list[_Point]) -> _Point:
    (a, b, c), (of_a, of_b, of_c) = (points[index] for index in dot.near), dot.weights
    return of_a * a[0] + of_b * b[0] + of_c * c[0], of_a * a[1] + of_b * b[1] + of_c * c[1]


def _distance(one: _Point, other: _Point) -> float:
    """Return the distance like `math.dist`, whose last bits differ between versions of Python."""
    x, y = other[0] - one[0], other[1] - one[1]
    return math.sqrt(x * x + y * y)
