"""Schedules of the package checkpoint_schedules as plans on cells, and plans as its actions.

Its steps 0 … n − 1 are our cells. `write_ics` holds the state that a step starts from, SNAPSHOT;
`write_adj_deps` keeps what reversing a step reads, TAPE, or where that stays in its working memory
until the next Reverse, part of our REVERSE. Its Copy and Move to the working memory need no
counterpart: a plan starts a run from the nearest state below that is held.

Bound: one level of memory, RAM. A snapshot of ours is held until its cell is run to be reversed,
also where theirs is moved away before. A tape with a kept set of its own has no counterpart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from autodiff.checkpointing.binomial import Action
from autodiff.checkpointing.store import Plan
from autodiff.errors import PlannerError

_KINDS = ("Forward", "Reverse", "Copy", "Move", "EndForward", "EndReverse")


def plan_from_actions(actions: Iterable[Any], cells: int) -> Iterator[tuple[Action, int, int]]:
    """Return the plan on so many cells that the actions of a checkpoint_schedules schedule are.

    Raises PlannerError for data that is stored anywhere but in memory, and for other actions than
    those of the package.
    """
    for action in actions:
        kind = type(action).__name__
        if kind not in _KINDS:
            raise PlannerError(
                f"the schedule has {action!r}; expected {', '.join(_KINDS)}; give the actions of a "
                "schedule of checkpoint_schedules"
            )
        for storage in (one for one in action.args if type(one).__name__ == "StorageType"):
            if storage.name == "DISK":
                raise PlannerError(
                    f"the schedule has {action!r}; expected data in StorageType.RAM only; make the "
                    "schedule without disk"
                )
        if kind == "Reverse":
            yield Action.REVERSE, int(action.n0), int(action.n1)
        elif kind == "Forward":
            start, stop = int(action.n0), min(int(action.n1), cells)
            if action.write_ics:
                yield Action.SNAPSHOT, start, start
            if not action.write_adj_deps:
                yield Action.ADVANCE, start, stop
            elif action.storage.name != "WORK":
                yield Action.TAPE, start, stop


def actions_of_plan(plan: Plan, cells: int) -> Iterator[Any]:
    """Return the actions of checkpoint_schedules for a plan on so many cells.

    Raises PlannerError where the package is not installed, for a tape of a kept set, and for other
    actions that have no counterpart.
    """
    theirs = _package()
    ram, work = theirs.StorageType.RAM, theirs.StorageType.WORK
    held: set[int] = set()
    taped: set[int] = set()
    at, ended = 0, False

    def fetched(state: int, *, last: bool) -> Iterator[Any]:
        if state in held and at != state:
            yield (theirs.Move if last else theirs.Copy)(state, ram, work)

    pending = False
    for action, start, stop in _of_one_level(plan):
        if action == Action.SNAPSHOT:
            pending = start not in held
            held.add(start)
        elif action == Action.ADVANCE and stop > start:
            yield from fetched(start, last=False)
            yield theirs.Forward(start, stop, pending, False, ram if pending else work)
            at, pending = stop, False
        elif action == Action.TAPE:
            for k in range(start, stop):
                yield from fetched(k, last=True)
                yield theirs.Forward(k, k + 1, pending and k == start, True, ram)
                taped.add(k)
                at, pending = k + 1, False
        elif action == Action.REVERSE:
            if taped.issuperset(range(start, stop)):
                for k in range(stop - 1, start - 1, -1):
                    yield theirs.Move(k, ram, work)
                    yield theirs.Reverse(k + 1, k, True)
            else:
                yield from fetched(start, last=True)
                yield theirs.Forward(start, stop, False, True, work)
                if not ended:
                    yield theirs.EndForward()
                    ended = True
                yield theirs.Reverse(stop, start, True)
            held -= set(range(start, stop))
            at, pending = -1, False
    yield theirs.EndReverse()


def _of_one_level(plan: Plan) -> Iterator[tuple[Action, int, int]]:
    """Return the moves of a plan; raise PlannerError at one that has no counterpart."""
    for action, start, stop, *tape in plan:
        if tape:
            raise PlannerError(
                f"the plan has {Action(action).name} {start} with a kept set of its own; expected "
                "whole tapes, which checkpoint_schedules has; give a plan of Revolve or Uniform"
            )
        if action in (Action.STORE, Action.LOAD):
            raise PlannerError(
                f"the plan has {Action(action).name} {start}; expected SNAPSHOT, ADVANCE, TAPE or "
                "REVERSE, since actions are written for one level of memory; give a plan of "
                "Revolve or Uniform"
            )
        yield Action(action), start, stop


def _package() -> Any:
    """Return checkpoint_schedules; raise PlannerError where it is not installed."""
    try:
        import checkpoint_schedules
    except ImportError:
        raise PlannerError(
            "writing actions needs the package checkpoint-schedules, which is not installed; "
            "expected it; run pip install checkpoint-schedules"
        ) from None
    return checkpoint_schedules
