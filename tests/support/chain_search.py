"""Abstract chains with random sizes and costs, and a search over all orders of reversing one.

The search knows held states, tapes and how far the reversal is; it may run any cell whose state is
held, keep or drop anything at any time, and reverse the next cell when it can be run or is taped.
It does not share code with the planner, and plans need not be persistent.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import numpy as np

from autodiff.checkpointing.moves import NEVER, Moves, Passes
from autodiff.checkpointing.store import Tape

Situation = tuple[int, int, int]
"""The cells that are not reversed yet, the held states as bits, and the tapes as bits."""


def equal_cells(n: int, kept: int = NEVER) -> Moves:
    """n cells whose states and forward runs take one unit, as in Griewank's model."""
    zero, one = np.zeros(n, dtype=np.int64), np.ones(n, dtype=np.int64)
    passes = Passes(held=one, passing=zero, cost=np.ones(n))
    return made(passes, one, np.zeros(n + 1, dtype=np.int64), np.full(n, kept), zero, zero, zero)


def made(
    passes: Passes,
    state: np.ndarray,
    left: np.ndarray,
    kept: np.ndarray,
    stage: np.ndarray,
    taping: np.ndarray,
    last: np.ndarray,
    last_cost: np.ndarray | None = None,
) -> Moves:
    """Moves with one tape a cell whose first and further runs are alike."""
    n, cost = len(state), passes.cost[:, None]
    return Moves(
        lowest=0, tapes=((Tape(frozenset()),),) * n, state=state, left=left,
        again=np.zeros(n, dtype=np.int64), first=passes, further=passes, constant=0.0,
        kept=kept[:, None], stage=stage[:, None], first_tape=taping[:, None],
        further_tape=taping[:, None], last_tape=last[:, None], first_cost=cost, further_cost=cost,
        last_cost=cost if last_cost is None else last_cost[:, None],
    )  # fmt: skip


def random_cells(n: int, draw: np.random.Generator, widest: int) -> Moves:
    """Moves of n cells with random sizes up to `widest` and random costs."""
    state = draw.integers(1, widest, n)
    state[0] = 0
    kept, gradients = state + draw.integers(1, 6, n), draw.integers(0, 3, n)
    following = np.append(state[1:], 1)
    passing = state + following + draw.integers(0, 3, n)
    cost = draw.integers(1, 10, n).astype(float)
    left = np.append(np.cumsum(gradients[::-1])[::-1] + state, 0)
    return made(
        Passes(held=passing, passing=passing, cost=cost),
        state,
        left,
        kept,
        left[1:] + kept + state + gradients,
        np.maximum(kept + following, passing),
        np.append(kept[:-1], max(kept[-1] + following[-1], passing[-1])),
        np.append(np.floor(cost[:-1] * 0.7), cost[-1]),
    )


def cheapest(moves: Moves, budget: int) -> float | None:
    """The least cost of reversing all cells within a budget, over all orders; None if none is."""
    start: Situation = (len(moves), 1, 0)
    least = {start: 0.0}
    ahead = [(0.0, start)]
    while ahead:
        cost, at = heapq.heappop(ahead)
        if cost > least[at]:
            continue
        if at[0] == 0:
            return cost
        for more, (left, held, taped) in _next(moves, at, budget):
            below = (1 << left) - 1
            following = left, held & below, taped & below
            if cost + more < least.get(following, np.inf):
                least[following] = cost + more
                heapq.heappush(ahead, (cost + more, following))
    return None


def _next(moves: Moves, at: Situation, budget: int) -> Iterator[tuple[float, Situation]]:
    """What can be done next: its cost, and the situation that follows."""
    n, (left, held, taped) = len(moves), at
    alive = int(moves.left[left])
    alive += sum(int(moves.state[k]) for k in range(left) if held >> k & 1)
    alive += sum(int(moves.kept[k, 0]) for k in range(left) if taped >> k & 1)
    further = moves.further
    for k in range(left):
        bit, after = 1 << k, 1 << k + 1
        if held & bit:
            others = alive - int(moves.state[k])
            yield 0.0, (left, held & ~bit, taped)
            if k + 1 < left:
                if others + further.passing[k] <= budget:
                    yield further.cost[k], (left, held & ~bit | after, taped)
                if others + further.held[k] <= budget:
                    yield further.cost[k], (left, held | after, taped)
                taping, cost = int(moves.further_tape[k, 0]), moves.further_cost[k, 0]
                if not taped & bit and others + taping <= budget:
                    yield cost, (left, held & ~bit | after, taped | bit)
                if not taped & bit and alive + taping <= budget:
                    yield cost, (left, held | after, taped | bit)
            else:
                peak = max(
                    others + int(moves.last_tape[k, 0]),
                    others - int(moves.left[left]) + int(moves.stage[k, 0]),
                )
                if peak <= budget:
                    yield moves.last_cost[k, 0], (left - 1, held & ~bit, taped)
        if taped & bit and k + 1 == left:
            others = alive - int(moves.kept[k, 0]) - int(moves.left[left])
            if others + int(moves.stage[k, 0]) <= budget:
                yield 0.0, (left - 1, held, taped & ~bit)
    assert n
