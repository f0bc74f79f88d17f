"""Schedules of checkpoint_schedules as plans of ours, and the other way round."""

from __future__ import annotations

import sys
from typing import Any

import checkpoint_schedules as theirs
import pytest
import torch
from checkpoint_schedules import StorageType
from hypothesis import given, settings, strategies as st

from autodiff import (
    Action,
    Executable,
    PlannerError,
    Revolve,
    StoreAll,
    advances,
    binomial_actions,
    check_schedule,
    find_cells,
    networks,
    schedule_from_plan,
)
from autodiff.checkpointing.exchange import actions_of_plan, plan_from_actions
from autodiff.checkpointing.sizes import peak
from autodiff.checkpointing.store import Tape
from profiler import program_of

SCHEDULES = {
    "multistage": lambda n, s: theirs.MultistageCheckpointSchedule(n, s, 0),
    "revolve": lambda n, s: theirs.Revolve(n, s),
    "mixed": lambda n, s: theirs.MixedCheckpointSchedule(n, s, storage=StorageType.RAM),
    "everything": lambda n, s: _finalized(theirs.SingleMemoryStorageSchedule(), n),
}


def _finalized(schedule: Any, n: int) -> Any:
    """A schedule of steps whose number it learns after the first sweep."""
    for action in schedule:
        if isinstance(action, theirs.Forward):
            schedule.finalize(n)
        yield action
        if isinstance(action, theirs.Reverse):
            return


def valid(actions: list[Any], n: int) -> list[int]:
    """Run actions abstractly by their own rules; return how often each step runs forward.

    A run starts from the working state; what is stored is copied or moved to it; a step is
    reversed where what that reads is in the working memory.
    """
    states, tapes = set(), set()
    working: int | None = 0
    at_work: set[int] = set()
    ran = [0] * n
    left = n
    for action in actions:
        if isinstance(action, theirs.Forward):
            assert working == action.n0
            if action.write_ics:
                states.add(action.n0)
            for step in range(action.n0, action.n1):
                ran[step] += 1
                if action.write_adj_deps:
                    (at_work if action.storage == StorageType.WORK else tapes).add(step)
            working = action.n1
        elif isinstance(action, theirs.Copy | theirs.Move):
            assert action.n in states | tapes
            if action.n in tapes:
                at_work.add(action.n)
            else:
                working = action.n
            if isinstance(action, theirs.Move):
                (tapes if action.n in tapes else states).discard(action.n)
        elif isinstance(action, theirs.Reverse):
            assert action.n1 == left
            assert at_work.issuperset(range(action.n0, action.n1))
            at_work -= set(range(action.n0, action.n1))
            left = action.n0
    assert left == 0
    return ran


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_of_theirs_runs(name: str) -> None:
    """Gradients are bit for bit those of the plain run, and the peak is not above it."""
    net = networks.chain(7, 4, 16)
    program = program_of(net.loss, net.weights)
    cells = find_cells(program)
    expected = Executable(program, plain := StoreAll()(program)).run()[0]
    for s in (1, 2, 3, 5):
        if name == "mixed" and s == 1:
            continue
        plan = list(plan_from_actions(SCHEDULES[name](len(cells), s), len(cells)))
        schedule = schedule_from_plan(cells, plan, name)
        check_schedule(program, schedule)
        assert peak(program, schedule) <= peak(program, plain)
        found = Executable(program, schedule).run()[0]
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_their_optimum_is_ours() -> None:
    """A binomial schedule of theirs advances as often as ours."""
    for n, s in ((5, 2), (10, 3), (40, 4)):
        plan = plan_from_actions(theirs.MultistageCheckpointSchedule(n, s, 0), n)
        moved = sum(stop - start for action, start, stop in plan if action == Action.ADVANCE)
        assert moved == advances(n, s)


@given(st.integers(1, 30), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_a_plan_of_ours_is_valid_by_their_rules(n: int, s: int) -> None:
    """Each action finds what it needs; forward runs are t(n, s) + n; it reads back as it was."""
    plan = list(binomial_actions(n, s))
    actions = list(actions_of_plan(plan, n))
    assert sum(valid(actions, n)) == advances(n, s) + n
    back = list(plan_from_actions(actions, n))
    assert [move for move in back if move[0] != Action.SNAPSHOT] == [
        move for move in plan if move[0] != Action.SNAPSHOT and move[1] != move[2]
    ]


def test_tapes_are_written() -> None:
    """A cell that is taped is stored, moved to the working memory and reversed without a run."""
    plan = [
        (Action.TAPE, 0, 1),
        (Action.TAPE, 1, 2),
        (Action.REVERSE, 2, 3),
        (Action.REVERSE, 1, 2),
        (Action.REVERSE, 0, 1),
    ]
    actions = list(actions_of_plan(plan, 3))
    assert valid(actions, 3) == [1, 1, 1]
    assert list(plan_from_actions(actions, 3)) == plan


def test_the_rules_catch_a_missing_state() -> None:
    """The abstract run fails where a copy is left out."""
    actions = list(actions_of_plan(binomial_actions(6, 2), 6))
    copies = [at for at, action in enumerate(actions) if isinstance(action, theirs.Copy)]
    assert copies
    for at in copies:
        with pytest.raises(AssertionError):
            valid(actions[:at] + actions[at + 1 :], 6)


def test_what_has_no_counterpart_is_refused() -> None:
    """Data on disk, and tapes with a kept set."""
    with pytest.raises(PlannerError, match=r"expected data in StorageType\.RAM only"):
        list(plan_from_actions(theirs.MultistageCheckpointSchedule(6, 1, 1), 6))
    with pytest.raises(PlannerError, match="expected whole tapes"):
        list(actions_of_plan([(Action.TAPE, 0, 1, Tape(frozenset()))], 2))


@pytest.mark.parametrize("action", [Action.STORE, Action.LOAD])
def test_moves_between_levels_are_refused(action: Action) -> None:
    """A plan with moves is not written as one without them."""
    with pytest.raises(PlannerError, match=f"the plan has {action.name} 0; expected"):
        list(actions_of_plan([(action, 0, 0), (Action.REVERSE, 0, 1)], 1))


def test_an_unknown_action_is_refused() -> None:
    """What is no action of the package is not left out."""
    with pytest.raises(PlannerError, match="expected Forward, Reverse, Copy"):
        list(plan_from_actions([object()], 1))


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing without the package says what to install."""
    monkeypatch.setitem(sys.modules, "checkpoint_schedules", None)
    with pytest.raises(PlannerError, match=r"run pip install checkpoint-schedules$"):
        list(actions_of_plan(binomial_actions(3, 1), 3))


def test_plans_of_theirs_run_again_what_ours_do() -> None:
    """Carried out, a binomial plan of theirs takes the steps of ours; Revolve saves some of them.

    Revolve reverses tanh without another run of its cell, which their actions cannot say.
    """
    for n, s in ((9, 1), (9, 3), (12, 2), (12, 4)):
        net = networks.chain(n, 4, 64)
        program = program_of(net.loss, net.weights)
        cells = find_cells(program)
        theirs_of_n = theirs.MultistageCheckpointSchedule(n, s, 0)
        read, own = (
            schedule_from_plan(cells, plan, "plan").claims.recompute
            for plan in (plan_from_actions(theirs_of_n, n), binomial_actions(n, s))
        )
        assert read == own > Revolve(snapshots=s)(program).claims.recompute
