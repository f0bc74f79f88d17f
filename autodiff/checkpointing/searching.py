"""A search for the least number with a property that is slow to ask for, from a good guess."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable


def least_number(holds: Callable[[int], bool], guess: int, most: int) -> int:
    """Return the least number from 1 to `most` for which a property holds.

    Taken for granted: it holds for `most`, and for each number above one for which it holds. The
    steps away from the guess double, so the property is asked for about 2·log₂(1 + error) times.
    """
    low, high, step = 1, max(1, min(guess, most)), 1
    if holds(high):
        while high - step >= 1 and holds(high - step):
            high, step = high - step, 2 * step
        low = max(high - step + 1, 1)
    else:
        while not holds(min(high + step, most)):
            high, step = high + step, 2 * step
        low, high = high + 1, min(high + step, most)
    return bisect_left(range(most + 1), True, low, high, key=holds)
