"""Equal segments: hold the state at each segment's start, and rerun a segment when it is reversed.

Source: T. Chen, B. Xu, C. Zhang, C. Guestrin, "Training deep nets with sublinear memory cost",
2016, section 4.
Bound: every cell is run forward at most twice. With tanh the last cell of a segment is not run
again, because the state that it ends in was held as the next segment's start: n cells in k segments
take 2n − k − (length of the last segment) + 1 forward runs. Activations alive: at most about k +
n/k + 2, so k = √n is the default.

Lengths differ by one at most, and the longer segments come last: the last one is never run again,
and while the first ones are reversed the gradients of all others are alive. It does not weigh cells
by what they cost or hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import isqrt
from typing import ClassVar

from autodiff.checkpointing.binomial import Action, whole_number
from autodiff.checkpointing.cells import find_cells
from autodiff.checkpointing.store import schedule_from_plan
from autodiff.errors import PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule


@dataclass(frozen=True)
class Uniform:
    """Equal segments, the last one kept; by default √n of them, rounded to the nearest."""

    segments: int | None = None
    name: ClassVar[str] = "uniform"

    def __post_init__(self) -> None:
        """Raise PlannerError unless the number of segments is a whole number of at least 1."""
        if self.segments is not None:
            whole_number("segments", self.segments, 1)

    def __str__(self) -> str:
        """Return the canonical string."""
        return self.name if self.segments is None else f"{self.name}(segments={self.segments})"

    def __call__(self, program: Program) -> Schedule:
        """Return the schedule; raise PlannerError for more segments than cells, or no chain."""
        cells = find_cells(program)
        n = len(cells)
        k = nearest_root(n) if self.segments is None else self.segments
        if k > n:
            raise PlannerError(
                f"segments = {k} for {n} cells; expected at most one a cell; give segments ≤ {n}"
            )
        return schedule_from_plan(cells, uniform_plan(n, k), str(self))


def nearest_root(n: int) -> int:
    """Return √n rounded to the nearest whole number."""
    root = isqrt(n)
    return root + (n - root * root > root)


def segment_edges(n: int, k: int) -> list[int]:
    """Return where k segments of n cells begin, and n; longer ones come last."""
    return [i * (n // k) + max(0, i - (k - n % k)) for i in range(k + 1)]


def uniform_plan(n: int, k: int) -> Iterator[tuple[Action, int, int]]:
    """Return the plan of n cells in k segments, of which the last one is kept."""
    segments = list(pairwise(segment_edges(n, k)))
    for start, stop in segments[:-1]:
        yield Action.SNAPSHOT, start, start
        yield Action.ADVANCE, start, stop
    for start, stop in reversed(segments):
        yield Action.REVERSE, start, stop
