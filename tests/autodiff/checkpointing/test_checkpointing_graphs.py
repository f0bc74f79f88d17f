"""Planners on random graphs: plans are legal, exact and as predicted; mutations are caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from autodiff import (
    Action,
    AddBias,
    Cells,
    ComputationNode,
    Div,
    Leaf,
    Matsum,
    Optimal,
    PlannerError,
    Program,
    RecomputeAll,
    Revolve,
    Schedule,
    ScheduleError,
    StoreAll,
    Tape,
    Uniform,
    check_schedule,
    execute,
    find_cells,
    gradients,
    linearize,
    schedule_from_plan,
    squared_error,
)
from profiler import profile_schedule
from profiler.audit import audit_storages

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass
class Builder:
    """Makes cells of several kinds, with leaves of values from one seed."""

    draw: Draw
    width: int
    batch: int
    generator: torch.Generator
    parameters: list[Leaf] = field(default_factory=list)

    def leaf(self, *shape: int, role: str = "parameter") -> Leaf:
        value = torch.randn(shape, generator=self.generator, dtype=torch.float64) * 0.6
        leaf = Leaf(value, f"{role[0]}{len(self.parameters)}", role)
        if role == "parameter":
            self.parameters.append(leaf)
        return leaf

    def wider(self, x: ComputationNode) -> ComputationNode:
        """Return a product with a new weight, of a width that may differ."""
        rows = self.draw(st.integers(1, 4))
        made = self.leaf(rows, self.width) @ x
        self.width = rows
        return made

    def square(self, x: ComputationNode) -> ComputationNode:
        return self.leaf(self.width, self.width) @ x

    def activation(self, x: ComputationNode) -> ComputationNode:
        return getattr(x, self.draw(st.sampled_from(["tanh", "relu", "gelu", "sigmoid"])))()  # type: ignore[no-any-return]


CELLS: dict[str, Callable[[Builder, ComputationNode], ComputationNode]] = {
    "plain": lambda make, x: make.activation(make.wider(x)),
    "linear": lambda make, x: make.wider(x),
    "bias": lambda make, x: make.activation(AddBias(make.wider(x), make.leaf(make.width))),
    "residual": lambda make, x: x + make.square(make.activation(make.square(x))),
    "gated": lambda make, x: make.activation(make.square(x)) * make.square(x).tanh(),
    "quotient": lambda make, x: Div(
        make.square(x), make.square(x).tanh().exp()
    ),  # never near 0, so that nothing grows to NaN
    "injected": lambda make, x: (
        make.square(x) + make.square(make.leaf(make.width, make.batch, role="input"))
    ).tanh(),
    "turned": lambda make, x: (x.T @ make.leaf(make.width, make.width)).T.tanh(),
    "normed": lambda make, x: make.leaf(make.width, make.width).tanh() @ x,
    "squashed": lambda make, x: (make.square(x) * 0.5).tanh().exp(),
}


@dataclass(frozen=True, eq=False)
class Chain:
    """A program whose forward part is a chain of cells, of these kinds."""

    program: Program
    kinds: tuple[str, ...]


@st.composite
def chains(draw: Draw, most: int = 5) -> Chain:
    """Return chains of 1 to `most` cells of any kind, with any loss and any weights asked for."""
    make = Builder(
        draw,
        draw(st.integers(1, 4)),
        draw(st.integers(1, 4)),
        torch.Generator().manual_seed(draw(st.integers(0, 9))),
    )
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=most))
    x: ComputationNode = make.leaf(make.width, make.batch, role="input")
    for kind in kinds:
        x = CELLS[kind](make, x)
    loss = {
        "sum": lambda: Matsum(x),
        "squares": lambda: squared_error(x, make.leaf(make.width, make.batch, role="input")),
        "self": lambda: Matsum(x * x),
    }[draw(st.sampled_from(["sum", "squares", "self"]))]()
    wrt = (
        make.parameters
        if draw(st.booleans())
        else draw(st.lists(st.sampled_from(make.parameters), min_size=1, unique=True))
    )
    return Chain(linearize([loss, *gradients(loss, wrt)]), tuple(kinds))


def any_tape(draw: Draw, cells: Cells, k: int) -> list[Tape]:
    """Return no tape, or one that keeps any values of a cell."""
    values = {write for i in cells.forward[k] for write in cells.program.instructions[i].writes}
    own = sorted(values | {start for start in cells.starts[k : k + 1] if start is not None})
    kept = draw(st.none() | st.sets(st.sampled_from(own)))
    return [] if kept is None else [Tape(frozenset(kept), draw(st.booleans()))]


def any_plan(draw: Draw, cells: Cells, start: int, n: int) -> Iterator[Any]:
    """Return a plan that holds the state of cell `start` and reverses n cells, with any splits."""
    if n and draw(st.booleans()):
        yield Action.TAPE, start, start + 1, *any_tape(draw, cells, start)
        yield from any_plan(draw, cells, start + 1, n - 1)
        yield Action.REVERSE, start, start + 1
        return
    if n == 0:
        return
    if n == 1 and draw(st.booleans()):
        yield Action.REVERSE, start, start + 1, *any_tape(draw, cells, start)
        return
    whole = draw(
        st.integers(1, n)
    )  # this many of the first cells are reversed at once, as a segment
    if whole < n:
        yield Action.ADVANCE, start, start + whole
        yield Action.SNAPSHOT, start + whole, start + whole
        yield from any_plan(draw, cells, start + whole, n - whole)
    if whole > 1 and draw(st.booleans()):
        yield Action.SNAPSHOT, start, start
        yield from any_plan(draw, cells, start, whole)
    else:
        yield Action.REVERSE, start, start + whole


def any_schedule(draw: Draw, program: Program) -> Schedule:
    """Return a schedule by one of the planners, or by a plan of any kind."""
    chain = find_cells(program)
    cells = len(chain)
    kind = draw(st.sampled_from(["recompute_all", "uniform", "revolve", "budget", "ratio", "any"]))
    if kind == "any":
        return schedule_from_plan(
            chain, [(Action.SNAPSHOT, 0, 0), *any_plan(draw, chain, 0, cells)], "any"
        )
    if kind == "budget":
        plain = profile_schedule(program, StoreAll()(program), execute=False).peak_bytes
        family = draw(st.sampled_from([Revolve, Optimal]))
        try:
            return family(max_bytes=draw(st.integers(1, plain)))(program)
        except PlannerError:  # below what any plan takes, which has a test of its own
            return StoreAll()(program)
    planners: dict[str, Callable[[], Any]] = {
        "recompute_all": RecomputeAll,
        "uniform": lambda: Uniform(draw(st.integers(1, cells))),
        "revolve": lambda: Revolve(draw(st.integers(1, cells + 1))),
        "ratio": lambda: draw(st.sampled_from([Revolve, Optimal]))(
            max_ops_ratio=draw(st.sampled_from([1.0, 1.2, 2.0]))
        ),
    }
    return planners[kind]()(program)  # type: ignore[no-any-return]


def same_values(program: Program, schedule: Schedule) -> bool:
    """Whether the loss and every gradient are those of the plain order, bit for bit."""
    plain, _ = execute(program, StoreAll()(program))
    results, _ = execute(program, schedule)
    return all(torch.equal(one, other) for one, other in zip(plain, results, strict=True))


def takes_what_it_predicts(program: Program, schedule: Schedule) -> bool:
    """Check that the measured peak is the predicted one and that tracked storages agree."""
    measured, predicted = (
        profile_schedule(program, schedule, execute=execute) for execute in (True, False)
    )
    return measured.peak_bytes == predicted.peak_bytes and audit_storages(program, schedule).ok


@settings(max_examples=60)
@given(st.data())
def test_any_plan_on_any_chain_is_legal_gives_equal_gradients_and_takes_what_it_predicts(
    data: st.DataObject,
) -> None:
    """Any schedule keeps its claims, has equal gradients, and agrees with tracked storages."""
    program = data.draw(chains()).program
    schedule = any_schedule(data.draw, program)
    check_schedule(program, schedule)
    assert same_values(program, schedule)
    assert takes_what_it_predicts(program, schedule)


def mutated(draw: Draw, schedule: Schedule, instructions: int) -> Schedule:
    """Return a schedule with one step left out, done twice, moved, or replaced by another."""
    order = schedule.order.tolist()
    at, to = (draw(st.integers(0, len(order) - 1)) for _ in range(2))
    how = draw(st.sampled_from(["left out", "twice", "moved", "replaced", "swapped"]))
    if how == "left out":
        del order[at]
    elif how == "twice":
        order.insert(to, order[at])
    elif how == "moved":
        order.insert(to, order.pop(at))
    elif how == "replaced":
        order[at] = draw(st.integers(0, instructions - 1))
    else:
        order[at], order[to] = order[to], order[at]
    return replace(schedule, order=np.array(order))


@settings(max_examples=80)
@given(st.data())
def test_any_mutation_of_a_plan_is_refused_or_harmless(data: st.DataObject) -> None:
    """A mutated plan is illegal, breaks a claim, or gives equal gradients at its predicted peak."""
    program = data.draw(chains(4)).program
    schedule = mutated(data.draw, any_schedule(data.draw, program), len(program.instructions))
    try:
        check_schedule(program, schedule)
    except ScheduleError:
        return
    assert same_values(program, schedule)
    assert takes_what_it_predicts(program, schedule)


def test_a_recomputation_that_is_left_out_breaks_the_claim() -> None:
    """Claims catch a forgotten recomputation that liveness would forgive."""
    generator = torch.Generator().manual_seed(0)
    weights = [
        Leaf(torch.randn(3, 3, generator=generator), f"W_{i}", "parameter") for i in range(6)
    ]
    x: ComputationNode = Leaf(torch.randn(3, 2, generator=generator), "x", "input")
    for weight in weights:
        x = (weight @ x).tanh()
    loss = Matsum(x)
    program = linearize([loss, *gradients(loss, weights)])
    schedule = RecomputeAll()(program)
    order = schedule.order.tolist()
    first_time = [i for at, i in enumerate(order) if i not in order[:at]]
    forgetful = replace(schedule, order=np.array(first_time))
    with pytest.raises(ScheduleError, match="claims 20 recompute steps; its schedule has 0"):
        check_schedule(program, forgetful)
    # Even with the steps claimed to fit, the copies that live on betray it.
    with pytest.raises(
        ScheduleError, match=r"claims to hold at most 3 activations; at step .* 7 are alive"
    ):
        check_schedule(program, replace(forgetful, claims=replace(schedule.claims, recompute=0)))
