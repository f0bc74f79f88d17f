"""Of many amounts, given by coefficients over terms, the few that can be the greatest.

A row that another row exceeds in every coefficient is never the greatest, whatever the terms'
values are; nor is one that a mixture of two others exceeds, that is a point between them. What
remains includes the vertices of the upper convex hull. In a network of many equal layers the live
totals drift from layer to layer along a few straight lines, of which the ends remain.

Bound: exact, in integers; a maximum is never lost. Rows that only a mixture of three or more others
exceeds may remain, and beyond `MOST` rows the search stops.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

MOST = 48


def envelope(rows: np.ndarray) -> np.ndarray:
    """Return the indices, ascending, of rows that include the greatest one.

    This holds for any non-negative values of the terms; of equal rows the first is returned.
    """
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    kept = _peaks_in_time(rows)
    kept = (
        kept[np.sort(np.unique(rows[kept].astype(np.int64), axis=0, return_index=True)[1])]
        if rows.dtype != object
        else kept
    )
    found: list[int] = []
    left = kept
    while len(left) and len(found) < MOST:
        row = _outermost(rows, left, len(found))
        left = left[left != row]
        left = left[~_exceeded(rows[left], rows[row], rows[row])]
        for other in found:
            left = left[~_exceeded(rows[left], rows[row], rows[other])]
        found.append(row)
    if not len(left):
        found = _without_mixtures(rows, found)
    return np.array(sorted([*found, *left.tolist()]), dtype=np.int64)


def _peaks_in_time(rows: np.ndarray) -> np.ndarray:
    """Return the rows that neither neighbour exceeds, repeatedly.

    Of a run that only grows or falls, only the end remains.
    """
    kept = np.arange(len(rows))
    while True:
        here = rows[kept]
        below_next = (here[:-1] <= here[1:]).all(axis=1) & (here[:-1] != here[1:]).any(axis=1)
        below_last = (here[1:] <= here[:-1]).all(axis=1)
        stays = ~(np.append(below_next, False) | np.insert(below_last, 0, False))
        if stays.all():
            return kept
        kept = kept[stays]


def _outermost(rows: np.ndarray, among: np.ndarray, turn: int) -> int:
    """Return a row that lies farthest out in some direction.

    The direction is along one term after another at first, then along mixtures of them.
    """
    terms = rows.shape[1]
    here = rows[among]
    if turn < terms:
        order = [*range(turn, terms), *range(turn)]
        return int(among[max(range(len(among)), key=lambda i: [here[i, term] for term in order])])
    # Every second direction leans the other way, so that both ends of a line are found and what
    # is between them falls away.
    weights = np.random.default_rng(turn // 2).random(terms)
    span = (here - here.min(axis=0)).astype(float)
    share = span / np.maximum(span.max(axis=0), 1)
    return int(among[(share @ (weights if turn % 2 else 1 - weights)).argmax()])


def _without_mixtures(rows: np.ndarray, found: Iterable[int]) -> list[int]:
    """Return the rows that no mixture of two others exceeds."""
    kept = list(found)
    for row in list(kept):
        others = [other for other in kept if other != row]
        pairs = [(one, other) for i, one in enumerate(others) for other in others[i:]]
        if any(_exceeded(rows[[row]], rows[one], rows[other])[0] for one, other in pairs):
            kept.remove(row)
    return kept


def _exceeded(rows: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return which rows lie at or below some mixture λ·one + (1 − λ)·other, in every term.

    λ is between 0 and 1. Each term bounds it from one side by a fraction; fractions are compared by
    products, exactly.
    """
    if (
        max(
            abs(int(side))
            for array in (rows, one, other)
            for side in (array.max(initial=0), array.min(initial=0))
        )
        >= 2**30
    ):
        rows, one, other = rows.astype(object), one.astype(object), other.astype(object)
    need, slope = rows - other, one - other
    exceeded = np.ones(len(rows), dtype=bool)
    at_least = [(np.zeros_like(need[:, 0]), 1)]
    at_most = [(np.ones_like(need[:, 0]), 1)]
    for term, rise in enumerate(slope.tolist()):
        if rise > 0:
            at_least.append((need[:, term], rise))
        elif rise < 0:
            at_most.append((-need[:, term], -rise))
        else:
            exceeded &= (need[:, term] <= 0).astype(bool)
    for low, of_low in at_least:
        for high, of_high in at_most:
            exceeded &= (low * of_high <= high * of_low).astype(bool)
    return exceeded
