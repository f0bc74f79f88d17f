"""Checkpointing with two levels of storage: costs of the papers, orders, and schedules that run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autodiff import networks
from autodiff.check import check_schedule
from autodiff.checkpointing.binomial import Action, advances
from autodiff.checkpointing.cells import find_cells
from autodiff.checkpointing.csv_schedule import read_schedule, write_schedule
from autodiff.checkpointing.parse import PLANNERS
from autodiff.checkpointing.revolve import Revolve
from autodiff.checkpointing.store_all import StoreAll
from autodiff.checkpointing.two_levels import HRevolve, TwoLevels
from autodiff.errors import PlannerError, ScheduleError
from autodiff.executable import Executable
from autodiff.levels import LEVELS, movable, moved_bytes, moves_of, without_moves
from autodiff.program import Program
from profiler.audit import audit_storages
from profiler.graphs import profile_schedule
from profiler.programs import program_of

N = 12


def chain() -> Program:
    """The exercise's chain, wide in its batch."""
    network = networks.chain(N, 4, 64)
    return program_of(network.loss, network.weights)


@pytest.mark.parametrize(
    ("snapshots", "stored", "write", "read", "costs"),
    [
        (3, None, 2, 2, {10: 18, 20: 46, 40: 101}),
        (4, None, 10, 10, {10: 16, 20: 42, 40: 108}),
        (2, None, 0.5, 3, {10: 22.5, 20: 50.5, 40: 107.5}),
        (3, 5, 2, 1, {10: 18, 20: 43, 40: 98, 60: 158}),
    ],
)
def test_costs_are_those_of_disk_revolve_and_h_revolve(
    snapshots: int, stored: int | None, write: float, read: float, costs: dict[int, float]
) -> None:
    """The values that checkpoint_schedules gives, whose l is one less than our n."""
    for length, cost in costs.items():
        assert TwoLevels(length + 1, snapshots, stored, write, read).cost == cost


def test_without_a_level_below_the_cost_is_revolves() -> None:
    """With no state below, or at a cost that never pays, t(n, s) is left."""
    for n, s in ((1, 1), (7, 2), (30, 3), (64, 5)):
        assert TwoLevels(n, s, 0, 0, 0).cost == advances(n, s)
        assert TwoLevels(n, s, None, 1e6, 1e6).cost == advances(n, s)


def walked(n: int, snapshots: int, stored: int | None, write: float, read: float) -> float:
    """Carry an order out on an abstract machine; return what it cost."""
    working, memory, below, cost, left = 0, set(), set(), 0.0, n
    for action, start, stop in TwoLevels(n, snapshots, stored, write, read).order():
        if action in (Action.ADVANCE, Action.REVERSE):
            assert start == working or start in memory
        if action == Action.ADVANCE:
            cost += stop - start
            working = stop
        elif action == Action.SNAPSHOT:
            assert start == working or start in memory
            memory.add(start)
        elif action == Action.STORE:
            assert start == working
            below.add(start)
            cost += write
        elif action == Action.LOAD:
            assert start in below
            working = start
            cost += read
        else:
            assert stop == left
            left = start
            memory.discard(start)
            below = {state for state in below if state < start}
        assert len(memory) <= snapshots
        assert stored is None or len(below) <= stored
    assert left == 0
    return cost


@pytest.mark.parametrize("n", [1, 2, 5, 11, 30])
@pytest.mark.parametrize("stored", [None, 0, 1, 3])
def test_an_order_costs_what_is_said_and_stays_within_its_levels(
    n: int, stored: int | None
) -> None:
    """Every order reverses all steps, from the last one down."""
    for snapshots, write, read in ((1, 0, 0), (2, 2, 1), (3, 0.5, 3)):
        levels = TwoLevels(n, snapshots, stored, write, read)
        assert walked(n, snapshots, stored, write, read) == levels.cost


def run(program: Program, planner: Callable[[Program], object]) -> list[torch.Tensor]:
    """What a plan gives."""
    return Executable(program, planner(program)).run()[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("stored", [None, 2])
def test_states_move_and_come_back_bit_by_bit(level: str, stored: int | None) -> None:
    """Gradients are equal, live bytes as predicted and tracked; moves replace recomputation.

    Revolve has the input, which is given, as one snapshot more.
    """
    plain = chain()
    program = movable(plain, level)
    planner = HRevolve(2, stored, 0.5, 0.5)
    schedule = planner(program)
    assert all(map(torch.equal, run(plain, StoreAll()), run(program, planner)))
    measured, predicted = (
        profile_schedule(program, schedule, execute=execute) for execute in (True, False)
    )
    assert measured.peak_bytes == predicted.peak_bytes
    audit_storages(program, schedule).raise_if_wrong()
    fewer, as_many = (profile_schedule(plain, Revolve(s)(plain)) for s in (2, 3))
    assert measured.peak_bytes <= as_many.peak_bytes
    assert measured.ops.total < fewer.ops.total
    assert schedule.claims.moved_bytes == moved_bytes(program, schedule.order) > 0
    assert schedule.claims.moved_bytes % (4 * 64 * 4) == 0  # whole states


SMALL = 5
"""Layers of a chain that every planner plans at once."""

ARGUMENTS: dict[str, dict[str, object]] = {
    "revolve": {"snapshots": 2},
    "online": {"snapshots": 2},
    "selective": {"max_ops_ratio": 1.3},
    "optimal": {"max_ops_ratio": 1.3},
    "budget": {"max_ops_ratio": 1.3},
    "proven": {"max_bytes": "5KiB"},
}


@pytest.mark.parametrize("name", sorted(PLANNERS.keys() - {"hrevolve"}))
def test_other_planners_plan_a_movable_program_as_before(name: str) -> None:
    """Without a level below in the plan nothing moves."""
    network = networks.chain(SMALL, 4, 64)
    plain = program_of(network.loss, network.weights)
    program = movable(plain)
    planner = PLANNERS[name](**ARGUMENTS.get(name, {}))
    schedule = planner(program)
    check_schedule(program, schedule)
    assert schedule.order.tolist() == planner(plain).order.tolist()
    assert schedule.claims.moved_bytes == 0


def test_moves_are_taken_away_again() -> None:
    """What is left is the program that was made movable; plans with moves need them."""
    plain = chain()
    assert without_moves(movable(plain)).instructions == plain.instructions
    assert without_moves(plain) is plain
    with pytest.raises(PlannerError, match="without moves"):
        HRevolve(2)(plain)


def test_cells_that_are_not_reversed_are_run_once() -> None:
    """With the lower half frozen, t(10, s) advances are left, the first 9 of them no reruns.

    A cell is two instructions, and reversing it runs none of them again.
    """
    network = networks.chain(20, 4, 64)
    plain = program_of(network.loss, network.weights[10:])
    assert find_cells(plain).lowest > 0
    program = movable(plain)
    expected = run(plain, StoreAll())
    for s in (1, 2, 3):
        schedule = HRevolve(s, None, 1e6, 1e6)(program)
        assert schedule.claims.recompute == 2 * (advances(10, s) - 9)
    assert all(map(torch.equal, expected, run(program, HRevolve(2, None, 0.5, 0.5))))


def test_a_load_without_its_store_and_a_wrong_claim_are_refused() -> None:
    """Mutations of a plan with moves are caught."""
    program = movable(chain())
    schedule = HRevolve(2, None, 0.5, 0.5)(program)
    order = schedule.order.tolist()
    stores = {store for store, _ in moves_of(program).values()}
    at = next(at for at, i in enumerate(order) if i in stores)
    claims = replace(schedule.claims, recompute=schedule.claims.recompute - 1)
    without = replace(schedule, order=np.delete(schedule.order, at), claims=claims)
    with pytest.raises(ScheduleError, match="on disk, which is not computed yet"):
        check_schedule(program, without)
    wrong = replace(schedule.claims, moved_bytes=schedule.claims.moved_bytes - 1)
    with pytest.raises(ScheduleError, match="between levels of storage"):
        check_schedule(program, replace(schedule, claims=wrong))
    with pytest.raises(ScheduleError, match="expected one of host, disk"):
        movable(chain(), "tape")


def test_a_schedule_with_moves_is_written_and_read(tmp_path: Path) -> None:
    """The file has the moved bytes among its claims."""
    program = movable(chain())
    schedule = HRevolve(2, None, 0.5, 0.5)(program)
    path = write_schedule(tmp_path / "moves.csv", program, schedule)
    found = read_schedule(path, program)
    assert found.claims == schedule.claims
    assert found.order.tolist() == schedule.order.tolist()


_STORES = """
import os, sys, torch
from autodiff.levels import _stored
token = _stored(torch.arange(1000), "disk")
print(os.listdir(sys.argv[1]), flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_on_the_disk_where_the_process_is_killed(tmp_path: Path) -> None:
    """The file has no name while it is in use, so a kill leaves nothing behind."""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", _STORES, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "[]\n"
        process.send_signal(signal.SIGKILL)
    assert not list(tmp_path.iterdir())
