"""Kept sets, compared with every set that there is."""

from __future__ import annotations

from fractions import Fraction
from itertools import chain, combinations, pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st

from autodiff import Program, networks
from autodiff.checkpointing.flow import FlowNetwork, components
from autodiff.checkpointing.mincut import Keep, Stretch, kept_sets
from autodiff.checkpointing.sizes import amounts
from autodiff.instructions import BACKWARD, FORWARD
from profiler import program_of
from tests.support.graphs import RandomGraph, graphs

MOST_VALUES = 9


def stretch_of(program: Program, cost: np.ndarray) -> Stretch:
    """The whole forward part, with what the backward part reads of it."""
    forward = [i for i, step in enumerate(program.instructions) if step.phase == FORWARD]
    made = {write for i in forward for write in program.instructions[i].writes}
    read = {read for step in program.instructions if step.phase == BACKWARD for read in step.reads}
    roots = program.flat.roots.tolist()
    free = frozenset(program.given) | {roots[target] for target in program.targets}
    return Stretch(program, forward, made & read, amounts(program)[0], cost, free)


def owning(stretch: Stretch) -> list[int]:
    """The values that may be kept."""
    roots = stretch.program.flat.roots.tolist()
    made = chain.from_iterable(stretch.program.instructions[i].writes for i in stretch.instructions)
    return [value for value in made if roots[value] == value and value not in stretch.free]


def run_again(stretch: Stretch, kept: frozenset[int]) -> int:
    """The operations that a kept set takes, by walking back from what is needed."""
    program, roots = stretch.program, stretch.program.flat.roots.tolist()
    writer = {write: i for i in stretch.instructions for write in program.instructions[i].writes}
    again: set[int] = set()
    wanted = list(stretch.needs)
    while wanted:
        value = wanted.pop()
        if value in kept or roots[value] in stretch.free or value not in writer:
            continue
        if writer[value] not in again:
            again.add(writer[value])
            wanted.extend(program.instructions[writer[value]].reads)
    return sum(int(stretch.cost[i]) for i in again)


def hull(points: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The corners of the lower hull of points, the one with most bytes first."""
    at = min(points, key=lambda point: (point[1], point[0]))
    found = [at]
    while smaller := [point for point in points if point[0] < at[0]]:
        at = min(smaller, key=lambda point: (slope(found[-1], point), point))
        found.append(at)
    return found


def check(stretch: Stretch, sets: list[Keep]) -> None:
    """Compare sets with what they say of themselves and with all others."""
    values = owning(stretch)
    for keep in sets:
        assert keep.values <= set(values)
        assert keep.nbytes == sum(int(stretch.amount[value]) for value in keep.values)
        assert keep.operations == run_again(stretch, keep.values)
    subsets = chain.from_iterable(combinations(values, n) for n in range(len(values) + 1))
    every = [
        (sum(int(stretch.amount[value]) for value in kept), run_again(stretch, frozenset(kept)))
        for kept in subsets
    ]
    corners = [(keep.nbytes, keep.operations) for keep in sets if keep.is_corner]
    assert corners == hull(every)
    found = [(keep.nbytes, keep.operations) for keep in sets]
    assert [point[0] for point in found] == sorted((point[0] for point in found), reverse=True)
    assert all(
        slope(before, at) <= slope(at, after)
        for before, at, after in zip(found, found[1:], found[2:], strict=False)
    )


def slope(a: tuple[int, int], b: tuple[int, int]) -> Fraction:
    """The operations for each byte that the second set saves."""
    return Fraction(b[1] - a[1], a[0] - b[0])


@given(graphs(max_steps=5), st.integers(0, 2**32 - 1))
@settings(max_examples=150, deadline=None)
def test_the_corners_are_those_of_all_sets(graph: RandomGraph, seed: int) -> None:
    """No kept set of any random graph lies below the hull, whatever instructions cost."""
    program = graph.program()
    cost = np.random.default_rng(seed).integers(0, 50, len(program.instructions))
    stretch = stretch_of(program, cost)
    assume(len(owning(stretch)) <= MOST_VALUES)
    check(stretch, kept_sets(stretch))


def test_a_set_that_is_not_the_best_is_caught() -> None:
    """The comparison fails for a hull without one of its corners."""
    net = networks.chain(4, 3, 2)
    stretch = stretch_of(program := program_of(net.loss, net.weights), ones(program))
    sets = kept_sets(stretch)
    check(stretch, sets)
    inner = next(place for place, keep in enumerate(sets) if keep.is_corner and place > 0)
    with pytest.raises(AssertionError):
        check(stretch, sets[:inner] + sets[inner + 1 :])


def ones(program: Program) -> np.ndarray:
    """One operation for each instruction."""
    return np.ones(len(program.instructions), dtype=np.int64)


def test_equal_blocks_are_given_up_one_by_one() -> None:
    """A chain of equal layers has sets between its corners, and the first layers go first."""
    net = networks.chain(12, 3, 2)
    program = program_of(net.loss, net.weights)
    stretch = stretch_of(program, ones(program))
    sets = kept_sets(stretch)
    assert len(sets) >= 12 > sum(keep.is_corner for keep in sets)
    given_up = [min(gone) for a, b in pairwise(sets) if (gone := a.values - b.values)]
    assert given_up == sorted(given_up)


def test_an_input_is_kept_or_missed() -> None:
    """What a stretch starts from is kept where anything of it is run again."""
    net = networks.chain(6, 3, 2)
    program = program_of(net.loss, net.weights)
    whole = stretch_of(program, ones(program))
    instructions = list(whole.instructions)[4:8]
    made = {write for i in instructions for write in program.instructions[i].writes}
    state = next(
        read
        for i in instructions
        for read in program.instructions[i].reads
        if read not in made and read not in program.given
    )
    stretch = Stretch(
        program,
        instructions,
        [value for value in whole.needs if value in made],
        whole.amount,
        whole.cost,
        whole.free,
        (state,),
    )
    sets = kept_sets(stretch)
    assert state not in sets[0].values
    assert all(state in keep.values for keep in sets if keep.operations > 2)


@given(st.integers(2, 7), st.data())
@settings(max_examples=100, deadline=None)
def test_the_flow_is_the_least_cut(nodes: int, data: st.DataObject) -> None:
    """The greatest flow equals the least capacity over all cuts."""
    pairs = [(a, b) for a in range(nodes) for b in range(nodes) if a != b]
    arcs = {pair: data.draw(st.integers(0, 9)) for pair in pairs}
    network = FlowNetwork(nodes)
    for (tail, head), capacity in arcs.items():
        network.add(tail, head, capacity)
    cuts = [
        sum(c for (tail, head), c in arcs.items() if tail in side and head not in side)
        for n in range(nodes - 1)
        for others in combinations(range(2, nodes), n)
        for side in [{0, *others}]
    ]
    assert network.maximum(0, 1) == min(cuts)
    side = network.reached(0)
    assert 1 not in side
    assert min(cuts) == sum(
        c for (tail, head), c in arcs.items() if tail in side and head not in side
    )


def test_components_come_after_what_they_lead_to() -> None:
    """A cycle is one component; what leads to it comes later."""
    network = FlowNetwork(5)
    for tail, head in [(0, 1), (1, 2), (2, 1), (2, 3), (4, 0)]:
        network.add(tail, head, 1)
    assert [sorted(part) for part in components(network, range(5))] == [[3], [1, 2], [0], [4]]


def test_random_results_are_kept() -> None:
    """What is drawn at random is never run again, so it is kept in every set."""
    from autodiff.pytorch import from_pytorch

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 4))

    def step(x: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        loss = model(x).square().sum()
        return loss, torch.autograd.grad(loss, list(model.parameters()))

    program = from_pytorch(step, torch.randn(3, 4), model=model)
    stretch = stretch_of(program, ones(program))
    drawn = {
        write for step in program.instructions if not step.op.repeatable for write in step.writes
    }
    assert drawn
    for keep in kept_sets(stretch):
        assert keep.operations == run_again(stretch, keep.values)
        assert not drawn & set(stretch.needs) - keep.values
