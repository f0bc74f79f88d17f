"""The dynamic programme of `optimal_table` as loops that numba compiles, for large tables.

It fills the same table with the same numbers: sums are taken in the same order, and no flag of the
compiler changes that. numba is loaded when a table is first filled, and its code is kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from autodiff.checkpointing.optimal_slots import Slots


def fill_compiled(slots: Slots, table: np.ndarray, infeasible: float) -> None:
    """Fill a table of `infeasible` costs with the least costs of every sub-chain."""
    dtype = table.dtype
    prefixes = np.stack([slots.first_prefix, slots.further_prefix]).astype(dtype)
    costs = np.stack([slots.first_cost, slots.further_cost, slots.last_cost]).astype(dtype)
    needs = np.stack([slots.first_tape, slots.further_tape, slots.last_tape])
    held = np.stack([slots.first_held, slots.further_held])
    passing = np.stack([slots.first_passing, slots.further_passing])
    _compiled()(
        slots.chains, slots.ident, slots.count, slots.state, slots.left, slots.passed, held,
        passing, prefixes, slots.kept, slots.stage, slots.stage_above, needs, costs, table,
        dtype.type(infeasible),
    )  # fmt: skip


@cache
def _compiled() -> Callable[..., None]:
    from numba import njit
    from numba.extending import register_jitable

    fast: Any = {"nnan", "ninf", "nsz"}  # none of these changes a sum of finite numbers
    for helper in (_add_one, _add_two, _first_at_most):
        register_jitable(fastmath=fast, inline="never")(helper)
    compiled: Callable[..., None] = njit(cache=True, fastmath=fast)(_fill)
    return compiled


def _add_one(row: Any, above: Any, cost: Any) -> None:
    for q in range(row.shape[0]):
        row[q] = min(row[q], above[q] + cost)


def _add_two(row: Any, above: Any, below: Any, cost: Any) -> None:
    for q in range(row.shape[0]):
        row[q] = min(row[q], above[q] + below[q] + cost)


def _first_at_most(row: Any, lo: Any, bound: Any) -> Any:
    """Return the first place from `lo` on with at most `bound` in a row that does not increase."""
    stop = row.shape[0]
    while lo < stop:
        middle = (lo + stop) // 2
        if row[middle] <= bound:
            stop = middle
        else:
            lo = middle + 1
    return stop


def _fill(
    chains: Any, ident: Any, count: Any, state: Any, left: Any, passed: Any, held: Any,
    passing: Any, prefixes: Any, kept: Any, stage: Any, stage_above: Any, needs: Any, costs: Any,
    table: Any, infeasible: Any,
) -> None:  # fmt: skip
    most = table.shape[1] - 1
    low = np.zeros(table.shape[0], np.int64)
    least = np.empty(table.shape[0], table.dtype)
    endings = ident.T.copy()  # the sub-chains that end in a cell, next to each other
    for c in range(table.shape[0]):
        a, b = chains[c, 0], chains[c, 1]
        row = table[c]
        sweep = 0 if b == state.shape[0] - 1 else 1
        again = passed[b + 1] - passed[a] if sweep else 0
        way = 2 if sweep and a == b else sweep
        for o in range(count[a]):
            above = left[a + 1] - left[b + 1]
            reversal = stage_above[a, o] + above if sweep else stage[a, o]
            lo = max(needs[way, a, o] + again, reversal, 0)
            if a == b:
                for q in range(lo, most + 1):
                    row[q] = min(row[q], costs[way, a, o])
                continue
            i, k = ident[a + 1, b], kept[a, o]
            lo = max(lo, low[i] + k)
            if lo <= most:
                _add_one(row[lo:], table[i][lo - k : most + 1 - k], costs[way, a, o])
        needed = held[sweep, a] + again
        for j in range(a + 1, b + 1):
            if j > a + 1:
                more = again if sweep else passed[j - 1] - passed[a]
                needed = max(needed, state[a] + passing[sweep, j - 1] + more)
            i, k = endings[b, j], ident[a, j - 1]
            s, d = state[a] + passed[j] - passed[a], left[j] - left[b + 1]
            lo = max(needed, 0, low[i] + s, low[k] + d)
            if lo > most:
                continue
            cost = prefixes[sweep, j] - prefixes[sweep, a]
            bound = table[i, most - s] + (table[k, most - d] if d > 0 else least[k]) + cost
            if row[lo] <= bound:
                continue
            stop = _first_at_most(row, lo, bound)
            end = min(stop, most + 1 + d)
            if lo < end:
                _add_two(row[lo:end], table[i][lo - s : end - s], table[k][lo - d : end - d], cost)
            for q in range(max(lo, end), stop):
                row[q] = min(row[q], table[i, q - s] + table[k, most] + cost)
        while low[c] <= most and row[low[c]] >= infeasible:
            low[c] += 1
        least[c] = row[most]
