"""Pieces of a maximum, proposed by floats and admitted only where integers confirm them.

A piece may nowhere exceed a row and must meet more rows than it has terms; `Search.admit` checks
both in exact integers. Floats only propose: rows are taken to belong to one piece (a window), and
for every choice of at most `MOST_TERMS` monomials the window's normal equations give coefficients,
which are rounded and corrected once by what they leave. Windows are the nearest rows of a seed in
log shape, in sizes that grow, seeds being spread over the rows that no piece meets yet.
Bound: a window costs one batch of linear systems, one for each choice of monomials (1,585), about a
millisecond; at most `MOST_SEEDS` seeds are tried, and no more than `MOST_FRUITLESS` in a row that
add nothing. Rounding trusts doubles, so values must stay below about 10**13. It does not choose
among the pieces: see `maximum.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from experiments.fitting.polynomials import MONOMIALS
from experiments.fitting.result import Row, monomials_at

MOST_TERMS, MOST_SEEDS, MOST_FRUITLESS = 5, 40, 4
WINDOW_SIZES = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 26)
METRICS = ((1.0, 1.0, 1.0), (0.3, 1.0, 0.3), (1.0, 1.0, 0.3), (0.3, 1.0, 1.0))

Coefficients = tuple[int, ...]
Indices = NDArray[np.intp]
SUPPORTS = {
    size: np.array(list(combinations(range(len(MONOMIALS)), size)))
    for size in range(1, MOST_TERMS + 1)
}


class Search:
    """The rows of one attempt as arrays, and the pool of pieces found so far.

    The pool maps coefficients to the rows that the piece meets, as bits.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.pool: dict[Coefficients, int] = {}
        self.goal = (1 << len(rows)) - 1
        self._exact = np.array(monomials_at(rows), dtype=object)
        self._matrix = self._exact.astype(np.float64)
        self._wanted = np.array([row[3] for row in rows], dtype=object)
        self._values = self._wanted.astype(np.float64)
        n, d, b = (np.log([row[place] for row in rows]) for place in range(3))
        self._place = np.stack([n, b - d, (b + d) / 2], axis=1)
        self._seen: set[frozenset[int]] = set()

    def admit(self, candidates: Iterable[Coefficients]) -> None:
        """Admit the candidates that exceed no row and meet more rows than they have terms."""
        for coefficients in set(candidates) - self.pool.keys():
            rough = self._matrix @ np.array(coefficients, dtype=np.float64)
            if np.any(rough > self._values + 0.5 + 1e-9 * np.abs(self._values)):
                continue
            slack = self._wanted - self._exact @ np.array(coefficients, dtype=object)
            met = sum(1 << index for index in np.flatnonzero(slack == 0).tolist())
            if np.all(slack >= 0) and met.bit_count() > terms_of(coefficients):
                self.pool[coefficients] = met

    def try_window(self, window: Indices) -> None:
        """Admit what is proposed if these rows belong to one piece; no window is tried twice."""
        key = frozenset(window.tolist())
        if key not in self._seen:
            self._seen.add(key)
            self.admit(_proposals(self._matrix[window], self._values[window]))

    def nearest(
        self, rows: Indices, among: Indices, metric: tuple[float, float, float] = METRICS[0]
    ) -> Indices:
        """Return `among` ordered by distance to the nearest of `rows`.

        The axes are log n, log b/d and log bd, weighted by the metric.
        """
        apart = (self._place[among][:, None, :] - self._place[rows][None, :, :]) * metric
        return among[np.argsort((apart**2).sum(axis=2).min(axis=1), kind="stable")]

    def missing(self) -> Indices:
        """Return the rows that no piece of the pool meets."""
        left = self.goal
        for mask in self.pool.values():
            left &= ~mask
        return bits(left)

    def rests(self) -> list[Indices]:
        """Return what is left of the rows when the piece that meets most is removed, repeatedly."""
        left, rests = self.goal, [bits(self.goal)]
        while left and (
            best := max((mask & left for mask in self.pool.values()), key=int.bit_count, default=0)
        ):
            left &= ~best
            rests.append(bits(left))
        return rests

    def fill(self) -> bool:
        """Seed windows at rows that no piece meets until there are none, or seeding stops helping.

        Return whether every row is met.

        Neighbours are taken from all rows and from each of the rests: a small region is whole only
        where the large ones are gone and before chance pieces have nibbled at it.
        """
        seeds: list[int] = []
        fruitless = 0
        while (
            (missing := self.missing()).size
            and len(seeds) < MOST_SEEDS
            and fruitless < MOST_FRUITLESS
        ):
            fresh = np.setdiff1d(missing, seeds)
            if not fresh.size:
                break
            seed = np.array([self._farthest(fresh, seeds)])
            seeds.append(int(seed[0]))
            for among in self.rests():
                for metric in METRICS:
                    order = self.nearest(seed, among, metric)
                    for size in (*WINDOW_SIZES, order.size):
                        self.try_window(order[:size])
            fruitless = 0 if self.missing().size < missing.size else fruitless + 1
        return not self.missing().size

    def _farthest(self, fresh: Indices, seeds: Sequence[int]) -> int:
        others = self._place[list(seeds)] if seeds else self._place.mean(axis=0, keepdims=True)
        apart = ((self._place[fresh][:, None, :] - others[None, :, :]) ** 2).sum(axis=2).min(axis=1)
        return int(fresh[np.argmax(apart)])


def bits(mask: int) -> Indices:
    """Return the positions of the bits that are set, ascending."""
    return np.array(
        [index for index in range(mask.bit_length()) if mask >> index & 1], dtype=np.intp
    )


def terms_of(coefficients: Coefficients) -> int:
    """Return how many coefficients are not zero."""
    return sum(1 for value in coefficients if value)


def _proposals(matrix: NDArray[np.float64], values: NDArray[np.float64]) -> Iterator[Coefficients]:
    """Yield integer coefficients on each choice of monomials that meet every row of a window.

    Floats judge that; integers confirm it later.
    """
    scale = np.abs(matrix).max(axis=0)
    scaled = matrix / scale
    gram, moment = scaled.T @ scaled, scaled.T @ values
    tolerance = 1e-9 * np.abs(values).max() + 1e-6
    for size, supports in SUPPORTS.items():
        if size >= len(values):
            break
        blocks = gram[supports[:, :, None], supports[:, None, :]] + 1e-13 * np.eye(size)
        found = np.linalg.solve(blocks, moment[supports][:, :, None])[:, :, 0]
        rounded = np.rint(found / scale[supports])
        rest = values - np.einsum("sk,rsk->sr", rounded, matrix[:, supports])
        close = np.flatnonzero(np.abs(rest).max(axis=1) <= 1e-3 * np.abs(values).max() + 1)
        for index in close:
            columns, guess, left = supports[index], rounded[index], rest[index]
            if np.abs(left).max() > tolerance:
                step = np.linalg.solve(blocks[index], scaled[:, columns].T @ left)
                guess = guess + np.rint(step / scale[columns])
                left = values - matrix[:, columns] @ guess
            if np.abs(left).max() <= tolerance:
                full = [0] * matrix.shape[1]
                for column, value in zip(columns, guess, strict=True):
                    full[column] = int(value)
                yield tuple(full)
