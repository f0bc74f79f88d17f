"""The one search for the greatest batch that fits."""

from __future__ import annotations

from collections.abc import Callable

Between = Callable[[int, int], int]
"""A guess strictly between a size that fits and one that does not."""


def largest(
    fits: Callable[[int], bool], most: int, guess: int = 1, between: Between | None = None
) -> int:
    """Return the greatest size up to `most` that fits, 0 if none does.

    What fits at a size is taken to fit below it. The search starts at a guess and asks `between`
    for the next one until the size above the answer has been tried too, or is beyond `most`. By
    default it goes on in growing steps, and halves what is left once there is a bound on each side.
    """
    low, high = 0, most + 1
    at = min(guess, most)
    while True:
        if fits(at):
            low = at
        else:
            high = at
        if high - low <= 1:
            return low
        if between is not None:
            at = between(low, high)
        elif high > most:
            at = min(low + max(1, 2 * (low - guess)), most)
        elif low == 0:
            at = max(high - max(1, 2 * (guess - high)), 1)
        else:
            at = (low + high) // 2
