"""Of the equally good orders of Griewank and Walther, one with the lowest peak.

A split of n steps with s snapshots advances j steps, holds the state there, reverses what is behind
it with s − 1 snapshots, then the j steps before it with s. Every j in `optimal_splits` gives as few
advances; which one is taken decides what is alive when. The peak of steps a … a + m − 1 obeys

    P(a, m, s) = min over j of max{ advancing from a over j steps, state(a) + P(a + j, m − j, s −
    1), P(a, j, s) }

Bound: all j are weighed up to `EXHAUSTIVE` steps, in O(n²·s) sums of arrays at most; beyond that
three rules for all splits at once (the shortest, the middle, the longest first advance) of which
the caller takes the best.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autodiff.checkpointing.binomial import Action, longest, optimal_splits, shortest
from autodiff.checkpointing.sizes import Sizes

EXHAUSTIVE = 64

Order = Iterator[tuple[Action, int, int]]


def middle(splits: range) -> int:
    """Return the middle one of the optimal first advances, the shorter of two."""
    return splits[(len(splits) - 1) // 2]


RULES = (shortest, middle, longest)


class LowestPeak:
    """The splits with the lowest peak, for the cells from `lowest` on.

    `double` reverses the last two cells at once, as one step.
    """

    def __init__(self, sizes: Sizes, lowest: int, *, double: bool) -> None:
        """Prepare the amounts of advances and reversals."""
        self._sizes = sizes
        self._lowest = lowest
        self._steps = len(sizes.state) - lowest - double
        self._reversing = sizes.reversing[lowest : lowest + self._steps].copy()
        if double:
            self._reversing[-1] = sizes.last_two
        self._state = sizes.state[lowest : lowest + self._steps]
        self._left = sizes.left[lowest : lowest + self._steps]
        self._peaks: dict[tuple[int, int], np.ndarray] = {}
        self._splits: dict[tuple[int, int], np.ndarray] = {}
        self._first = _advances(
            sizes.first_held[lowest:], sizes.first_passing[lowest:], self._state
        )
        self._again = _advances(
            sizes.again_held[lowest:], sizes.again_passing[lowest:], self._state
        )

    def peak(self, s: int) -> int:
        """Return the lowest peak with s snapshots."""
        return int(self._solve(self._steps, s)[0])

    def order(self, s: int) -> Order:
        """Return an order that has it, in steps; the last of them is the doubled one."""
        self._solve(self._steps, s)
        postponed = [(0, self._steps, s)]
        yield Action.SNAPSHOT, 0, 0
        while postponed:
            start, n, s = postponed.pop()
            if n == 1:
                yield Action.REVERSE, start, start + 1
                continue
            s = min(s, n - 1)
            j = int(self._splits[n, s][start])
            yield Action.ADVANCE, start, start + j
            if n - j > 1:
                yield Action.SNAPSHOT, start + j, start + j
            postponed.append((start, j, s))
            postponed.append((start + j, n - j, s - 1))

    def _solve(self, n: int, s: int) -> np.ndarray:
        """Return P(·, n, s) for all starts; smaller n are solved first, on a stack."""
        stack = [(n, s)]
        while stack:
            n, s = stack[-1]
            s = min(s, n - 1)
            if (n, s) in self._peaks:
                stack.pop()
                continue
            if n == 1:
                self._peaks[n, s] = self._reversing
                continue
            below = [
                pair
                for j in optimal_splits(n, s)
                for pair in ((j, min(s, j - 1)), (n - j, min(s - 1, n - j - 1)))
            ]
            missing = [pair for pair in below if pair not in self._peaks]
            if missing:
                stack.extend(missing)
                continue
            self._peaks[n, s], self._splits[n, s] = self._weigh(n, s)
        return self._peaks[n, s]

    def _weigh(self, n: int, s: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the lowest peak of n steps from each start, and its first advance."""
        starts = self._steps - n + 1
        best = splits = None
        for j in optimal_splits(n, s):
            advancing = self._again[j][:starts].copy()
            advancing[:-1] += self._left[n : n + starts - 1]
            advancing[-1] = self._first[j][starts - 1]  # with nothing reversed yet: the first sweep
            behind = (
                self._state[:starts] + self._peaks[n - j, min(s - 1, n - j - 1)][j : j + starts]
            )
            peaks = np.maximum(
                np.maximum(advancing, behind), self._peaks[j, min(s, j - 1)][:starts]
            )
            if best is None or splits is None:
                best, splits = peaks, np.full(starts, j)
            else:
                splits = np.where(peaks < best, j, splits)
                best = np.minimum(peaks, best)
        assert best is not None
        assert splits is not None
        return best, splits


def _advances(held: np.ndarray, passing: np.ndarray, state: np.ndarray) -> list[np.ndarray]:
    """Return the most while j steps are advanced over, from each start, whose state is kept.

    Entry j of the list is for j steps.
    """
    steps = len(state)
    most = [np.zeros(steps, dtype=np.int64), held[:steps].copy()]
    for j in range(2, steps + 1):
        starts = steps - j + 1
        most.append(np.maximum(most[-1][:starts], state[:starts] + passing[j - 1 : j - 1 + starts]))
    return most
