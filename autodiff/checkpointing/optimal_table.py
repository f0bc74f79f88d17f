"""The least cost of reversing every sub-chain with every number of slots: the dynamic programme.

Source: O. Beaumont, L. Eyraud-Dubois, J. Herrmann, A. Joly, A. Shilova, "Optimal checkpointing for
heterogeneous chains", 2019; here under this project's liveness, with three costs of a forward run
and several tapes a cell. The least cost T(a, b, q) of reversing the cells a … b from the state of
a, within q slots that this state is counted in, is the least of

    tape o of a:   cost + T(a + 1, b, q − kept)
    hold state a:  passing a … j − 1 + T(j, b, q − state − again) + T(a, j − 1, q − shift)

for every j in a + 1 … b, wherever the peak of the move itself is at most q; the shift is left[j] −
left[b + 1]. What stays of the stages above b is not in q, so alike sub-chains have the same costs.
Sub-chains that end in the last cell are reversed on the first sweep, all others later.

Plans are persistent: what is held stays until its own cell is reversed. That is not always optimal:
against a search over all orders of up to 7 cells it is in more than 98% of random cases, and in the
worst that was found 13.6% above.

With numba (the extra `fast`) large tables are filled by compiled code, with the same results.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import NamedTuple

import numpy as np

from autodiff.checkpointing.optimal_compiled import fill_compiled
from autodiff.checkpointing.optimal_slots import Slots

INFEASIBLE = 1e30
"""The cost where there is no plan; finite, so that compiled code may rely on finite numbers."""

LARGE = 10**9
"""Candidates times slots from which compiling pays."""

_DOUBLE_BYTES = 2**28


def least_costs(slots: Slots, most: int, *, compiled: bool | None = None) -> np.ndarray:
    """Return a table with a row for each of `slots.chains` and a column for 0 … `most` slots.

    Rows do not increase. `compiled` says whether to use numba, by default where it pays.
    """
    rows = len(slots.chains)
    dtype = np.float64 if rows * (most + 1) * 8 <= _DOUBLE_BYTES else np.float32
    table = np.full((rows, most + 1), INFEASIBLE, dtype=dtype)
    if compiled is None:
        compiled = work_of(slots) * most > LARGE and find_spec("numba") is not None
    if compiled:
        fill_compiled(slots, table, INFEASIBLE)
    else:
        _fill(slots, table)
    return table


def work_of(slots: Slots) -> int:
    """Return how many candidates are compared for each number of slots."""
    return int((slots.chains[:, 1] - slots.chains[:, 0] + slots.count[slots.chains[:, 0]]).sum())


def _fill(slots: Slots, table: np.ndarray) -> None:
    """Fill the rows one by one; each is compared with few candidates, the promising ones first."""
    most = table.shape[1] - 1
    low = np.zeros(len(table), dtype=np.int64)  # the first feasible slot of each row
    for c, (a, b) in enumerate(slots.chains.tolist()):
        row = table[c]
        for needed, kept, cost in tapes_at(slots, a, b):
            if a == b:
                np.minimum(row[max(needed, 0) :], cost, out=row[max(needed, 0) :])
                continue
            i = slots.ident[a + 1, b]
            lo = max(needed, int(low[i]) + kept, 0)
            if lo <= most:
                np.minimum(row[lo:], table[i, lo - kept : most + 1 - kept] + cost, out=row[lo:])
        if a < b:
            _hold(slots, table, low, row, a, b)
        low[c] = np.searchsorted(-row, -INFEASIBLE, side="right")


def tapes_at(slots: Slots, a: int, b: int) -> list[tuple[int, int, float]]:
    """Return the slots that each tape of cell a needs in the sub-chain a … b, keeps, and its cost.

    `b = a` reverses the cell at once, and runs on to no next state.
    """
    above = slots.left[a + 1] - slots.left[b + 1]
    if b == len(slots.state) - 1:
        needed, cost = np.maximum(slots.first_tape[a], slots.stage[a]), slots.first_cost[a]
    elif a == b:
        again = slots.passed[a + 1] - slots.passed[a]
        needed = np.maximum(slots.last_tape[a] + again, slots.stage_above[a])
        cost = slots.last_cost[a]
    else:
        again = slots.passed[b + 1] - slots.passed[a]
        needed = np.maximum(slots.further_tape[a] + again, slots.stage_above[a] + above)
        cost = slots.further_cost[a]
    offered = slice(int(slots.count[a]))
    columns = (needed[offered], slots.kept[a, offered], cost[offered])
    return list(zip(*(column.tolist() for column in columns), strict=True))


class Holds(NamedTuple):
    """The ways to hold the state of cell a and pass to cell j, for j = a + 1 … b.

    `needed`: slots of the move itself. `held`: slots that stay from T(a, b, ·) to T(j, b, ·).
    `shift`: by how much T(a, j − 1, ·) has less. `cost`: of passing.
    """

    needed: np.ndarray
    held: np.ndarray
    shift: np.ndarray
    cost: np.ndarray


def holds_at(slots: Slots, a: int, b: int) -> Holds:
    """Return the ways to hold the state of cell a in the sub-chain a … b, a < b."""
    passed, state = slots.passed, slots.state[a]
    if b == len(slots.state) - 1:
        first = slots.first_held[a : a + 1]
        passing = state + slots.first_passing[a + 1 : b] + passed[a + 1 : b] - passed[a]
        prefix = slots.first_prefix
    else:
        again = passed[b + 1] - passed[a]
        first = slots.further_held[a : a + 1] + again
        passing = state + slots.further_passing[a + 1 : b] + again
        prefix = slots.further_prefix
    return Holds(
        np.maximum.accumulate(np.concatenate([first, passing])),
        state + passed[a + 1 : b + 1] - passed[a],
        slots.left[a + 1 : b + 1] - slots.left[b + 1],
        prefix[a + 1 : b + 1] - prefix[a],
    )


def _hold(
    slots: Slots, table: np.ndarray, low: np.ndarray, row: np.ndarray, a: int, b: int
) -> None:
    """Compare a row with every way to hold the state of cell a."""
    most = table.shape[1] - 1
    upper, lower = slots.ident[a + 1 : b + 1, b], slots.ident[a, a:b]
    needed, held, shift, cost = holds_at(slots, a, b)
    cost = cost.astype(table.dtype)
    first = np.maximum(np.maximum(needed, 0), np.maximum(low[upper] + held, low[lower] + shift))
    # A candidate is least with all slots, where it is compared with what the row has already.
    bound = table[upper, most - np.minimum(held, most)] + cost
    bound += table[lower, most - np.clip(shift, 0, most)]
    chosen = np.flatnonzero(first <= most)
    chosen = chosen[row[first[chosen]] > bound[chosen]]
    for at in chosen[np.argsort(bound[chosen], kind="stable")].tolist():
        lo, s, d = int(first[at]), int(held[at]), int(shift[at])
        if row[lo] <= bound[at]:
            continue
        above, below = table[upper[at]], table[lower[at]]
        end = most + 1 + min(d, 0)  # beyond it T(a, j − 1, ·) has more than all slots
        if lo < end:
            sums = above[lo - s : end - s] + below[lo - d : end - d] + cost[at]
            np.minimum(row[lo:end], sums, out=row[lo:end])
        end = max(lo, end)
        if end <= most:
            sums = above[end - s : most + 1 - s] + below[most] + cost[at]
            np.minimum(row[end:], sums, out=row[end:])
