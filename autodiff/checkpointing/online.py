"""Checkpointing of a chain whose length is not known before its end: states held as one goes.

Source: Q. Wang, P. Moin and G. Iaccarino, "Minimal repetition dynamic checkpointing algorithm for
unsteady adjoint calculation", SIAM J. Sci. Comput. 31(4), 2009 (the rule for the states that stay);
P. Stumm and A. Walther, "New algorithms for optimal online checkpointing", SIAM J. Sci. Comput.
32(2), 2010 (the same problem, and how far it can be as good as with the length known).

Each held state has a level. The initial state stays for ever. A new state is held at level 0 while
there is space, else in place of a state below whose level a later one lies; without such a state it
replaces the state right before it, one level higher. Once the end is reached, the steps between two
held states are reversed by the binomial order, with the snapshots that are free by then.

Bound: no step is advanced over more often than the binomial order for that length needs. The
advances are as few as t(n, s), which takes the length as known, for n ≤ β(s, 2) = (s + 1)(s + 2)/2;
up to 200 steps and 8 snapshots they are at most 30% more (both are counted in the tests).

A program has all its cells from the start, and only the choice of states does without their number.
So a state that is held for a while and replaced before it is read takes no memory here: liveness
lets it go at once. An integration that goes on as it runs holds `snapshots` states from then on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import ClassVar

from autodiff.checkpointing.binomial import (
    Action,
    Order,
    binomial_actions,
    on_cells,
    whole_number,
)
from autodiff.checkpointing.cells import find_cells
from autodiff.checkpointing.store import schedule_from_plan
from autodiff.program import Program
from autodiff.schedule import Schedule


@dataclass(frozen=True)
class Online:
    """So many snapshots, the initial state among them, placed without the number of cells."""

    snapshots: int
    name: ClassVar[str] = "online"

    def __post_init__(self) -> None:
        """Raise PlannerError unless the snapshots are a whole number of at least 1."""
        whole_number("snapshots", self.snapshots, 1)

    def __str__(self) -> str:
        """Return the canonical string."""
        return f"{self.name}(snapshots={self.snapshots})"

    def __call__(self, program: Program) -> Schedule:
        """Return the schedule; raise PlannerError for no chain."""
        cells = find_cells(program)
        steps = len(cells) - cells.lowest
        order = online_order(steps, self.snapshots)
        return schedule_from_plan(
            cells, on_cells(order, steps, cells.lowest, len(cells)), str(self)
        )


def held_states(snapshots: int) -> Iterator[tuple[int, ...]]:
    """Return, without end, the states held when state 0, 1, 2, … has been reached, in order.

    The state that has been reached is the last of each; it is the working state and is not one of
    the `snapshots`.
    """
    states, levels = [0], [0]
    yield (0,)
    while True:
        reached, level = states[-1] + 1, 0
        if len(states) > snapshots:
            place = _replaceable(levels)
            if place == 0:
                place, level = snapshots, levels[-1] + 1
            del states[place], levels[place]
        states.append(reached)
        levels.append(level)
        yield tuple(states)


def _replaceable(levels: list[int]) -> int:
    """Return the last place, above 0, whose level is below a later one; 0 where there is none."""
    highest = -1
    for place in range(len(levels) - 1, 0, -1):
        if levels[place] < highest:
            return place
        highest = max(highest, levels[place])
    return 0


def online_order(n: int, snapshots: int) -> Order:
    """Return the order of reversing n steps, as (action, start, stop), in the words of `binomial`.

    Raises PlannerError unless both are whole numbers of at least 1.
    """
    n, snapshots = whole_number("n", n, 1), whole_number("snapshots", snapshots, 1)
    states = next(islice(held_states(snapshots), n - 1, None))
    yield Action.SNAPSHOT, 0, 0
    for state, following in pairwise(states):
        yield Action.ADVANCE, state, following
        if following < n - 1:
            yield Action.SNAPSHOT, following, following
    yield Action.REVERSE, n - 1, n
    for place, (state, following) in reversed(list(enumerate(pairwise(states)))):
        # The first action holds the state, which is held already.
        inner = islice(binomial_actions(following - state, snapshots - place), 1, None)
        for action, start, stop in inner:
            yield action, start + state, stop + state
