"""Griewank's binomial checkpointing as pure combinatorics: n steps, s snapshots, fewest advances.

Source: A. Griewank, "Achieving logarithmic growth of temporal and spatial complexity in reverse
automatic differentiation", Optimization Methods and Software 1, 1992; A. Griewank and A. Walther,
"Algorithm 799: Revolve", ACM TOMS 26(1), 2000, eqs. (1) and (2) and figure 4 (the region of optimal
splits). Their l is `n`, their c or s is `s`, their r or t is `repetitions`.

The model: step i takes state i to state i + 1, for i = 0 … n − 1. A machine has one working state
and holds at most s states; the steps are reversed from n − 1 down to 0, and step i is reversed by
running it once more from state i.

- s **counts the initial state 0**, which is held from the start.
- Advances are the steps that are run only to get further. The n runs in which a step is reversed at
once are **not** among them.

Bound: t(n, s) = r·n − β(s+1, r−1) advances, where β(s, r) = C(s+r, s) and r is the least with β(s,
r) ≥ n; no order has fewer. No step is advanced over more than r times. The number of advances is
unique, the order is not: `optimal_splits` gives every first advance that keeps it.

It ignores programs, sizes, times, levels of storage, and that a value of one step may still be
available for the next one. It does not minimize how often a state is stored, because storing only
means not dropping.
"""

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from functools import lru_cache
from itertools import chain
from math import comb
from operator import index

import numpy as np
from numpy.typing import NDArray

from autodiff.errors import PlannerError


class Action(IntEnum):
    """What the machine does; each comes with two states, start and stop."""

    ADVANCE = 0  # run the steps start … stop − 1; the working state becomes stop
    SNAPSHOT = 1  # hold the working state, start (= stop)
    REVERSE = 2  # run step start (= stop − 1), reverse it at once, and drop the state start if held
    TAPE = 3  # run step start (= stop − 1), keep what its REVERSE needs; the working state: stop
    STORE = 4  # copy the working state, start (= stop), to a level of storage below memory
    LOAD = 5  # make a stored state, start (= stop), the working state again; its copy stays


Order = Iterator[tuple[Action, int, int]]
Split = Callable[[range], int]


def whole_number(name: str, value: object, least: int) -> int:
    """Return the value as an int.

    Raises PlannerError if it is not a whole number (bool and float are not) or is less than
    `least`.
    """
    try:
        number = None if isinstance(value, bool) else index(value)  # type: ignore[arg-type]  # this is the check
    except TypeError:
        number = None
    if number is None or number < least:
        raise PlannerError(
            f"{name} = {value!r} was given, a whole number of at least {least} was expected: "
            f"give {name} ≥ {least}"
        )
    return number


def beta(s: int, r: int) -> int:
    """Return β(s, r) = C(s+r, s), the most steps that s snapshots reverse with r repetitions.

    It is 0 where s or r is negative, and 1 where either is 0. Raises PlannerError for what is not a
    whole number.
    """
    s, r = (whole_number(name, value, -1) for name, value in (("s", s), ("r", r)))
    return _beta(s, r)


def repetitions(n: int, s: int) -> int:
    """Return the least r with β(s, r) ≥ n: how often the most repeated step is advanced over.

    Raises PlannerError unless n and s are whole numbers of at least 1.
    """
    return _repetitions(*_checked(n, s))


def advances(n: int, s: int) -> int:
    """Return t(n, s), the fewest advances that reverse n steps with s snapshots, exact at any size.

    More than n − 1 snapshots do not help: t(n, s) = n − 1 for every s ≥ n − 1, and t(1, s) = 0.
    Raises PlannerError unless n and s are whole numbers of at least 1.
    """
    n, s = _checked(n, s)
    r = _repetitions(n, s)
    return r * n - _beta(s + 1, r - 1)


def optimal_splits(n: int, s: int) -> range:
    """Return every optimal first advance: each j with t(n, s) = j + t(n − j, s − 1) + t(j, s).

    To split is to advance j steps, to hold state j, to reverse the n − j steps behind it with s − 1
    snapshots, and then the first j with s. One snapshot leaves no choice but j = n − 1. A single
    step is not split: n = 1 gives an empty range.
    Raises PlannerError unless n and s are whole numbers of at least 1.
    """
    n, s = _checked(n, s)
    return _splits(n, min(s, n - 1)) if n > 1 else range(0)


def shortest(splits: range) -> int:
    """Return the shortest of the optimal first advances: snapshots are dense at the start."""
    return splits[0]


def longest(splits: range) -> int:
    """Return the longest of the optimal first advances: snapshots are dense at the end."""
    return splits[-1]


def binomial_actions(n: int, s: int, split: Split = shortest) -> Order:
    """Return an optimal order of reversing n steps with s snapshots, as (action, start, stop).

    An ADVANCE or REVERSE starts from `start`, which is the working state or is held; a SNAPSHOT
    holds the working state. Nothing says when a state is dropped, because it is always the same: a
    held state is dropped with the REVERSE that starts from it. There are n REVERSE, n − 1 ADVANCE
    and at most n SNAPSHOT, the first of them state 0. The advances add up to t(n, s).

    `split` picks one of `optimal_splits`, by only the range. Either end of the range leaves a
    block of exactly β(·, ·) steps on one side, and such a block splits into two such blocks. So
    only some s·r different subproblems occur in the whole order, and few binomials are ever
    computed. The stream keeps at most s open subproblems, whatever n is.
    Raises PlannerError unless n and s are whole numbers of at least 1.
    """
    return _order(*_checked(n, s), split)


def binomial_schedule(n: int, s: int, split: Split = shortest) -> NDArray[np.int64]:
    """Return `binomial_actions` as a read-only array with one row (action, start, stop) for each.

    It takes 24 bytes a row and at most 3n rows; a list of the actions would take five times that.
    Raises PlannerError unless n and s are whole numbers of at least 1.
    """
    rows = np.fromiter(chain.from_iterable(binomial_actions(n, s, split)), dtype=np.int64).reshape(
        -1, 3
    )
    rows.flags.writeable = False
    return rows


def _order(n: int, s: int, split: Split) -> Order:
    """Walk the splits depth first, later steps first, with the earlier ones on a stack."""
    advance, snapshot, reverse = Action.ADVANCE, Action.SNAPSHOT, Action.REVERSE

    @lru_cache(maxsize=2**16)
    def first_advance(n: int, s: int) -> int:
        return split(_splits(n, s))

    yield snapshot, 0, 0
    postponed = [(0, n, s)]
    while postponed:
        start, n, s = postponed.pop()
        s = min(s, n - 1)
        if s <= 1:  # nothing but the first state is held: every step is reached from there
            for state in range(start + n - 1, start, -1):
                yield advance, start, state
                yield reverse, state, state + 1
            yield reverse, start, start + 1
        elif s == n - 1:  # every state but the last is held: no step is advanced over twice
            for state in range(start + 1, start + s):
                yield advance, state - 1, state
                yield snapshot, state, state
            yield advance, start + s - 1, start + s
            for state in range(start + s, start - 1, -1):
                yield reverse, state, state + 1
        else:
            j = first_advance(n, s)
            middle = start + j
            yield advance, start, middle
            yield snapshot, middle, middle
            postponed.append((start, j, s))
            postponed.append((middle, n - j, s - 1))


def _checked(n: int, s: int) -> tuple[int, int]:
    return whole_number("n", n, 1), whole_number("s", s, 1)


def _beta(s: int, r: int) -> int:
    return comb(s + r, s) if s >= 0 and r >= 0 else 0


def _repetitions(n: int, s: int) -> int:
    """Find r by doubling and halving, since with one snapshot it is as large as n − 1."""
    if n == 1:
        return 0
    enough = 1
    while _beta(s, enough) < n:
        enough *= 2
    too_few = enough // 2  # for enough = 1 that is 0, and β(s, 0) = 1 < n
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _beta(s, middle) < n:
            too_few = middle
        else:
            enough = middle
    return enough


def _splits(n: int, s: int) -> range:
    """Solve for j where the slopes of t agree.

    t(·, s) is convex and has slope r between β(s, r−1) and β(s, r). So j is optimal exactly where
    t(j, s) has slope r − 1 and t(n−j, s−1) has slope r: β(s, r−2) ≤ j ≤ β(s, r−1) and β(s−1, r−1) ≤
    n − j ≤ β(s−1, r). Expects 1 ≤ s ≤ n − 1.
    """
    r = _repetitions(n, s)
    least = max(1, _beta(s, r - 2), n - _beta(s - 1, r))
    greatest = min(_beta(s, r - 1), n - _beta(s - 1, r - 1))
    return range(least, greatest + 1)


def on_cells(
    order: Iterable[tuple[Action, int, int]], steps: int, lowest: int, cells: int
) -> Iterator[tuple[Action, int, int]]:
    """Return an order of steps as a plan on so many cells, of which `lowest` are not reversed.

    Steps are shifted by these; the last step ends with the last cell.
    """
    yield Action.ADVANCE, 0, lowest
    for action, start, stop in order:
        is_last = action == Action.REVERSE and stop == steps
        yield action, start + lowest, cells if is_last else stop + lowest
