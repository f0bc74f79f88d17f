"""Random graphs for property tests, with values in float64.

They have reuse, branches, views, shared weights, biases, numbers and several losses in one.
`graphs()` draws a `RandomGraph`; every value is tame, so that PyTorch's autograd and this engine
can be compared to rounding. A graph is drawn op by op over a pool of what there is already, so
hypothesis shrinks it to the few ops that matter. `schedules(program)` draws legal schedules that
recompute and overwrite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st

from autodiff import (
    Add,
    AddBias,
    Claims,
    Columns,
    ComputationNode,
    Div,
    ExpandAxis,
    Leaf,
    LogSoftmax,
    Matexpand,
    Matsum,
    Mean,
    Mul,
    Pow,
    Program,
    Schedule,
    ScheduleError,
    Subtract,
    SumAxis,
    Transpose,
    cross_entropy,
    gradients,
    linearize,
    squared_error,
)
from autodiff.instructions import BACKWARD, FORWARD
from autodiff.liveness import lifetimes

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True, eq=False)
class RandomGraph:
    """Losses over leaves, to be added up.

    `wrt` are the leaves to differentiate; `extra` are further targets, some of them given values.
    Where `sliced`, each loss's gradients are built onto those of the losses before it, as
    micro-batches do.
    """

    losses: list[ComputationNode]
    leaves: list[Leaf]
    wrt: list[Leaf]
    extra: list[ComputationNode]
    sliced: bool

    @cached_property
    def loss(self) -> ComputationNode:
        """The sum of the losses."""
        return reduce(Add, self.losses)

    @cached_property
    def gradients(self) -> list[ComputationNode]:
        """The gradients of the loss, in the order of `wrt`."""
        if not self.sliced:
            return gradients(self.loss, self.wrt)
        sums: dict[ComputationNode, ComputationNode] = {}
        for loss in self.losses:
            reached = set(loss.sorted_nodes())
            those = [leaf for leaf in self.wrt if leaf in reached]
            sums.update(zip(those, gradients(loss, those, onto=sums), strict=True))
        return [sums[leaf] for leaf in self.wrt]

    def program(self) -> Program:
        """The program of the loss, its gradients and the further targets."""
        return linearize([self.loss, *self.gradients, *self.extra])


@dataclass
class _Pool:
    """What there is to build upon; leaves get their values from one seeded generator."""

    draw: Draw
    generator: torch.Generator
    nodes: list[ComputationNode] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)
    weights: dict[tuple[int, ...], Leaf] = field(default_factory=dict)

    def leaf(self, shape: tuple[int, ...], role: str) -> Leaf:
        value = torch.randn(shape, generator=self.generator, dtype=torch.float64) * 0.7
        leaf = Leaf(value, f"{role[0]}{len(self.leaves)}", role)
        self.leaves.append(leaf)
        return leaf

    def weight(self, *shape: int) -> Leaf:
        """A parameter of this shape: one that is used already, or a new one."""
        if shape in self.weights and self.draw(st.booleans()):
            return self.weights[shape]
        self.weights[shape] = self.leaf(shape, "parameter")
        return self.weights[shape]

    def node(self) -> ComputationNode:
        return self.draw(st.sampled_from(self.nodes))  # type: ignore[no-any-return]

    def like(self, node: ComputationNode) -> ComputationNode:
        """A node of the same shape, perhaps the same node, perhaps a number."""
        same = [other for other in self.nodes if other.shape == node.shape]
        return self.draw(st.sampled_from(same))  # type: ignore[no-any-return]


def _product(pool: _Pool, a: ComputationNode) -> ComputationNode:
    return pool.weight(pool.draw(st.integers(1, 4)), a.shape[0]) @ a


def _product_of_two(pool: _Pool, a: ComputationNode) -> ComputationNode:
    return a @ pool.like(a).T


def _slice(pool: _Pool, a: ComputationNode) -> ComputationNode:
    start = pool.draw(st.integers(0, a.shape[1] - 1))
    return Columns(a, start, pool.draw(st.integers(start + 1, a.shape[1])))


_NUMBERS = st.sampled_from([-2, 0.5, 3])

_STEPS: dict[str, Callable[[_Pool, ComputationNode], ComputationNode]] = {
    "product": _product,
    "transpose": lambda pool, a: Transpose(a),
    "tanh": lambda pool, a: a.tanh(),
    "add": lambda pool, a: a + pool.like(a),
    "mul": lambda pool, a: a.tanh() * pool.like(a),
    "columns": _slice,
    "bias": lambda pool, a: AddBias(a, pool.weight(a.shape[0])),
    "relu": lambda pool, a: a.relu(),  # type: ignore[attr-defined]
    "sigmoid": lambda pool, a: a.sigmoid(),  # type: ignore[attr-defined]
    "gelu": lambda pool, a: a.gelu(),  # type: ignore[attr-defined]
    "exp": lambda pool, a: a.tanh().exp(),
    "log": lambda pool, a: a.sigmoid().log(),  # type: ignore[attr-defined]
    "negate": lambda pool, a: -a,
    "power": lambda pool, a: a.tanh() ** pool.draw(st.integers(0, 3)),
    "real_power": lambda pool, a: Pow(a.sigmoid(), pool.draw(st.sampled_from([0.5, -1.5, 2.0]))),  # type: ignore[attr-defined]
    "times_number": lambda pool, a: a * pool.draw(_NUMBERS),
    "number_minus": lambda pool, a: pool.draw(_NUMBERS) - a,
    "by_number": lambda pool, a: Div(a, pool.draw(_NUMBERS)),
    "times_one_element": lambda pool, a: Mul(Matsum(pool.node()).tanh(), a),
    "subtract": lambda pool, a: Subtract(a, pool.like(a)),
    "mean": lambda pool, a: Mean(a, pool.like(a)),
    "div": lambda pool, a: Div(a, pool.like(a).sigmoid()),  # type: ignore[attr-defined]
    "expand": lambda pool, a: Matexpand(Matsum(a), pool.node().shape).tanh(),
    "expand_view": lambda pool, a: Matexpand(Matsum(a).tanh(), a.shape),
    "rows_again": lambda pool, a: ExpandAxis(SumAxis(a, 0), 0, pool.draw(st.integers(1, 3))),
    "columns_again": lambda pool, a: ExpandAxis(SumAxis(a, 1), 1, a.shape[1]),
    "log_softmax": lambda pool, a: LogSoftmax(a),
    "product_of_two": _product_of_two,
}


def _loss(pool: _Pool, a: ComputationNode) -> ComputationNode:
    kind = pool.draw(st.sampled_from(["sum", "squared_error", "cross_entropy", "sum_of_squares"]))
    if kind == "sum":
        return Matsum(a)
    if kind == "squared_error":
        return squared_error(a, pool.leaf(a.shape, "input"))
    if kind == "sum_of_squares":
        return squared_error(a, pool.like(a)) + Matsum(a)
    classes = torch.randint(a.shape[0], (a.shape[1],), generator=pool.generator)
    return cross_entropy(a, Leaf(classes, "classes", "input"))


@st.composite
def graphs(draw: Draw, max_steps: int = 8) -> RandomGraph:
    """Graphs of up to `max_steps` steps (of one to three ops each), over matrices of up to 4×4,
    with one to three losses added up.
    """
    pool = _Pool(draw, torch.Generator().manual_seed(draw(st.integers(0, 99))))
    pool.nodes.append(pool.leaf((draw(st.integers(1, 4)), draw(st.integers(1, 4))), "input"))
    pool.nodes.append(_product(pool, pool.nodes[0]))
    for step in draw(st.lists(st.sampled_from(sorted(_STEPS)), max_size=max_steps)):
        # The newest node is taken as often as any older one, so that graphs grow deep as well as
        # wide.
        a = pool.nodes[-1] if draw(st.booleans()) else pool.node()
        pool.nodes.append(_STEPS[step](pool, a))
    losses = [_loss(pool, pool.nodes[-1])]
    losses += [_loss(pool, pool.node()) for _ in range(draw(st.integers(0, 2)))]
    depended_on = {node for loss in losses for node in loss.sorted_nodes()}
    reached = [leaf for leaf in pool.leaves if leaf in depended_on]
    wrt = draw(st.lists(st.sampled_from(reached), min_size=1, max_size=3, unique=True))
    extra = draw(st.lists(st.sampled_from([*reached, pool.nodes[-1]]), max_size=2))
    return RandomGraph(losses, pool.leaves, wrt, extra, draw(st.booleans()))


@st.composite
def schedules(draw: Draw, program: Program) -> Schedule:
    """Legal schedules of a program that compute some values again just before they are read, and
    write some results over a dying input.
    """
    writer = {
        write: i
        for i, instruction in enumerate(program.instructions)
        for write in instruction.writes
    }
    order: list[int] = []
    for i, instruction in enumerate(program.instructions):
        again = [writer[read] for read in instruction.reads if read in writer]
        order += draw(st.lists(st.sampled_from(again), max_size=2)) if again else []
        order.append(i)
    schedule = Schedule(np.array(order), claims_of(program, order), "random")
    for at, i in enumerate(order):
        if program.instructions[i].op.into is not None and draw(st.booleans()):
            read = draw(st.integers(0, len(program.instructions[i].reads) - 1))
            bolder = replace(schedule, overwrites={**schedule.overwrites, at: read})
            with suppress(ScheduleError):
                lifetimes(program, bolder)
                schedule = bolder
    return schedule


def claims_of(program: Program, order: Sequence[int]) -> Claims:
    """What an order can claim: its steps by phase, counted one by one."""
    phases = [program.instructions[i].phase for i in order]
    forward = len({i for i, phase in zip(order, phases, strict=True) if phase == FORWARD})
    return Claims(forward, phases.count(FORWARD) - forward, phases.count(BACKWARD))
