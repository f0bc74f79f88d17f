"""Checkpointing without a known length: what is held, what it costs, and schedules that run."""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from autodiff import networks
from autodiff.checkpointing.binomial import (
    Action,
    Order,
    advances,
    beta,
    binomial_actions,
    repetitions,
)
from autodiff.checkpointing.cells import find_cells
from autodiff.checkpointing.online import Online, held_states, online_order
from autodiff.checkpointing.parse import parse_planner
from autodiff.checkpointing.store import schedule_from_plan
from autodiff.checkpointing.store_all import StoreAll
from autodiff.errors import PlannerError
from autodiff.executable import Executable
from profiler.audit import audit_storages
from profiler.graphs import profile_schedule
from profiler.programs import program_of

SNAPSHOTS = (1, 2, 3, 4, 5, 8)


def walked(order: Order, n: int, snapshots: int) -> Counter[int]:
    """Carry an order out on an abstract machine; return how often each step was advanced over."""
    working, held, left = 0, set[int](), n
    advanced: Counter[int] = Counter()
    for action, start, stop in order:
        assert start == working or start in held
        if action == Action.ADVANCE:
            advanced.update(range(start, stop))
            working = stop
        elif action == Action.SNAPSHOT:
            held.add(start)
            assert len(held) <= snapshots
        else:
            assert (action, start, stop) == (Action.REVERSE, left - 1, left)
            left -= 1
            held.discard(left)
    assert left == 0
    return advanced


def reached(order: Order) -> set[int]:
    """Return the states that an order holds, or works on, when the first step is reversed."""
    held, working = set(), 0
    for action, _, stop in order:
        if action == Action.REVERSE:
            break
        working = stop
        if action == Action.SNAPSHOT:
            held.add(stop)
    return held | {working}


def goes_on(orders: list[Order]) -> bool:
    """Return whether no length holds a state that a shorter one has dropped, the newest apart."""
    states = [reached(order) for order in orders]
    return all(longer - {max(longer)} <= shorter for shorter, longer in pairwise(states))


@pytest.mark.parametrize("s", SNAPSHOTS)
def test_every_order_is_legal_and_repeats_least(s: int) -> None:
    """Steps are reversed from the last on; none is advanced over more often than it must be."""
    for n in range(1, 130):
        advanced = walked(online_order(n, s), n, s)
        assert max(advanced.values(), default=0) <= max(repetitions(n, s), 1)
        assert sum(advanced.values()) >= advances(n, s)


@pytest.mark.parametrize("s", SNAPSHOTS)
def test_up_to_two_repetitions_the_length_need_not_be_known(s: int) -> None:
    """The advances are t(n, s) for all n ≤ β(s, 2)."""
    for n in range(1, beta(s, 2) + 1):
        assert walked(online_order(n, s), n, s).total() == advances(n, s)


@pytest.mark.parametrize("s", SNAPSHOTS)
def test_beyond_that_at_most_thirty_percent_are_added(s: int) -> None:
    """The bound that the documentation states, for up to 200 steps."""
    for n in range(beta(s, 2) + 1, 201):
        assert 10 * walked(online_order(n, s), n, s).total() <= 13 * advances(n, s)


def test_what_is_held_needs_no_length() -> None:
    """A state that is held at some length was held at each shorter one that reaches it."""
    for s in SNAPSHOTS:
        assert goes_on([online_order(n, s) for n in range(1, 80)])


def test_binomial_orders_need_the_length() -> None:
    """The negative control: Revolve moves its first snapshot as the length grows."""
    assert not goes_on([binomial_actions(n, 3) for n in range(1, 80)])


@cache
def fewest(held: tuple[int, ...], end: int, s: int) -> int:
    """Return the fewest advances that reverse the steps below `end`, over all orders of moves."""
    if end == 0:
        return 0
    best = None
    for start in held:
        if start < end:
            for stop in range(start, end):
                grown = tuple(sorted({*held, stop}))
                if stop == end - 1:
                    rest = fewest(tuple(one for one in held if one < stop), end - 1, s)
                elif stop in held or len(grown) > s:
                    continue
                else:
                    rest = fewest(grown, end, s)
                best = min(stop - start + rest, best if best is not None else stop - start + rest)
    assert best is not None
    return best


@pytest.mark.parametrize("s", [1, 2, 3])
def test_what_is_held_is_reversed_as_cheaply_as_it_can_be(s: int) -> None:
    """After the first sweep, no order of moves from the held states takes fewer advances."""
    for n in range(1, 11):
        *held, last = next(islice(held_states(s), n - 1, None))
        found = walked(online_order(n, s), n, s).total() - (n - 1)
        assert last == n - 1
        assert found == fewest(tuple(held), n - 1, s)


@pytest.mark.parametrize("activation", ["tanh", "identity", "gelu"])
@pytest.mark.parametrize("snapshots", [1, 3, 20])
def test_gradients_and_peaks_are_right(activation: str, snapshots: int) -> None:
    """The gradients of plain backpropagation bit for bit, and the predicted peak when it runs."""
    network = networks.chain(12, 4, 64, activation=activation)
    program = program_of(network.loss, network.weights)
    schedule = Online(snapshots)(program)
    found, _ = Executable(program, schedule).run()
    expected, _ = Executable(program, StoreAll()(program)).run()
    assert len(found) == len(program.targets) == 13
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    audit_storages(program, schedule).raise_if_wrong()


def test_one_snapshot_leaves_nothing_to_choose() -> None:
    """With only the initial state the order is the binomial one, which is given the length."""
    network = networks.chain(7, 4, 16, activation="identity")
    program = program_of(network.loss, network.weights)
    known = schedule_from_plan(find_cells(program), binomial_actions(7, 1), "binomial")
    assert np.array_equal(Online(1)(program).order, known.order)


def test_cells_below_the_lowest_gradient_are_run_once() -> None:
    """Where only the last weights are asked for, the cells below them take no part."""
    network = networks.chain(12, 4, 16)
    program = program_of(network.loss, network.weights[8:])
    schedule = Online(2)(program)
    counted = profile_schedule(program, schedule).ops_by_phase["recompute"].total
    short = networks.chain(4, 4, 16)
    again = program_of(short.loss, short.weights)
    assert counted == profile_schedule(again, Online(2)(again)).ops_by_phase["recompute"].total


@pytest.mark.parametrize("snapshots", [0, -1, 1.5, True, "3"])
def test_wrong_snapshots_are_refused(snapshots: object) -> None:
    """What was given and what was expected, in one line."""
    with pytest.raises(PlannerError, match="snapshots = "):
        Online(snapshots)  # type: ignore[arg-type]


def test_its_string_reads_back() -> None:
    """A config names it as the others."""
    assert parse_planner("online(snapshots=3)") == Online(3)
    assert str(Online(3)) == "online(snapshots=3)"
