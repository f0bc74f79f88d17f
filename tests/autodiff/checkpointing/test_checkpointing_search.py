"""A search over live sets: no order runs fewer layers within the memory of the plans.

The search knows the tanh chain and nothing else: which of x_2 … x_{n+1} are alive, how far the
backward part is, in its own order. It may run any layer whose input is alive, drop anything at any
time, and take the next backward step when what it reads is alive. Memory is counted in A, weight
gradients as nothing (D ≪ A): what is alive, and what the step makes before its inputs die.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from autodiff import PlannerError, Revolve, advances
from tests.support.chains import chain_program, peak_elements, runs

State = tuple[int, int]
"""The alive x_j as bits, and how many steps are done: the loss, then the backward part."""

LOSS, SIGMA, WEIGHT, PASS_DOWN = range(4)


def backward_steps(n: int) -> list[tuple[int, int]]:
    """Return what follows the layers: the loss, then ∂z, ∂W and ∂x of each, from the last."""
    steps = [(LOSS, n + 1)]
    for i in range(n, 0, -1):
        steps += [(SIGMA, i), (WEIGHT, i), *([(PASS_DOWN, i)] if i > 1 else [])]
    return steps


def fewest_layers(
    n: int, limit: Callable[[int], int], *, layer_at_once: bool = False
) -> int | None:
    """Return the fewest layer runs within `limit(steps done)` activations; None if impossible.

    `layer_at_once` asks that a layer is reversed without anything run in between, so that x_i and
    x_{i+1} are both alive when that begins.
    """
    steps = backward_steps(n)
    start: State = (0, 0)
    best = {start: 0}
    queue = [(0, start)]
    while queue:
        layers, state = heapq.heappop(queue)
        if best[state] < layers:
            continue
        if state[1] == len(steps):
            return layers
        for cost, following in moves(state, steps, limit(state[1]), layer_at_once):
            if layers + cost < best.get(following, 10**9):
                best[following] = layers + cost
                heapq.heappush(queue, (layers + cost, following))
    return None


def moves(
    state: State, steps: list[tuple[int, int]], limit: int, layer_at_once: bool
) -> Iterator[tuple[int, State]]:
    """Return the layers that each possible move runs, and where it leads."""
    alive, done = state
    kind, i = steps[done]
    n = steps[0][1] - 1
    upstream = int(
        done > 1
    )  # ∂z_n is the first gradient of an activation: the loss's own is one element, expanded
    for j in range(2, n + 2):
        if alive & bit(j):
            yield 0, (alive & ~bit(j), done)
    if not layer_at_once or kind in (LOSS, SIGMA):
        for j in range(1, n + 1):
            if (
                has(alive, j)
                and not has(alive, j + 1)
                and alive.bit_count() + 1 + upstream <= limit
            ):
                for left in {alive, alive & ~bit(j)}:  # x_j may go as soon as z_j is there
                    if left.bit_count() + 2 + upstream <= limit:
                        yield 1, (left | bit(j + 1), done)
    if kind in (LOSS, WEIGHT):
        possible = has(alive, i)
    elif kind == SIGMA:
        possible = (
            has(alive, i + 1)
            and alive.bit_count() + upstream + 1 <= limit
            and (not layer_at_once or has(alive, i))
        )
    else:
        possible = alive.bit_count() + 2 <= limit
    if possible:
        yield 0, (alive, done + 1)


def bit(j: int) -> int:
    """Return the bit of x_j; x_1 is given and has none."""
    return 0 if j == 1 else 1 << j


def has(alive: int, j: int) -> bool:
    return j == 1 or bool(alive & bit(j))


@cache
def within(n: int, activations: int) -> int | None:
    return fewest_layers(n, lambda _: activations)


SMALL = [pytest.param(n, marks=pytest.mark.slow) if n > 6 else n for n in range(2, 9)]


@pytest.mark.parametrize("n", SMALL)
def test_no_order_is_faster_within_a_byte_budget(n: int) -> None:
    """`Revolve(max_bytes=…)` is as fast as any order in that memory, and refuses the impossible."""
    program = chain_program(n)
    for activations in range(1, n + 3):
        budget = 4 * (activations * 1000 + n + 2)
        fewest = within(n, activations)
        if fewest is None:
            with pytest.raises(PlannerError, match="the least is"):
                Revolve(max_bytes=budget)(program)
        else:
            assert runs(program, Revolve(max_bytes=budget)(program))["Matmul"] == fewest
            assert fewest == advances(n, activations - 2) + 1


@pytest.mark.parametrize("n", SMALL)
def test_no_order_is_faster_with_as_many_snapshots(n: int) -> None:
    """`Revolve(s)` runs as few layers as any order within the same memory.

    That memory is what it takes until the last layer is reversed, and then one activation less. It
    is also as fast as any order within its peak that reverses each layer at once.
    """
    program = chain_program(n)
    for s in range(1, n):
        schedule = Revolve(s)(program)
        layers = runs(program, schedule)["Matmul"]
        peak = peak_elements(program, schedule) // 1000
        assert peak == min(s + 3, n + 1)
        reversed_last = backward_steps(n).index((SIGMA, n - 1)) + 1
        after = peak - 1 if s + 3 <= n + 1 else peak
        assert layers == fewest_layers(n, ([peak] * reversed_last + [after] * 3 * n).__getitem__)
        assert layers == fewest_layers(n, ([peak] * 4 * n).__getitem__, layer_at_once=True)


def test_the_search_knows_what_it_cannot_do() -> None:
    """Two activations are too few for two layers; with all of them each layer runs once."""
    assert fewest_layers(2, lambda _: 2) is None
    assert fewest_layers(5, lambda _: 6) == 5
    assert fewest_layers(5, lambda _: 60) == 5
    assert fewest_layers(3, lambda _: 3) == 4
