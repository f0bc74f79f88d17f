"""The check of a schedule: that it is legal for its program, and that its claims hold."""

from __future__ import annotations

import numpy as np

from autodiff.errors import ScheduleError
from autodiff.instructions import ACTIVATION, PHASES, ROLES
from autodiff.levels import moved_bytes
from autodiff.liveness import Lifetimes, lifetimes
from autodiff.program import Program
from autodiff.schedule import Schedule


def check_schedule(program: Program, schedule: Schedule) -> Lifetimes:
    """Check a schedule and its claims against its program; return the lifetimes that follow.

    Raises ScheduleError with the step and the node where the schedule is illegal or a claim fails.
    """
    lives = lifetimes(program, schedule)
    claims = schedule.claims
    counts = np.bincount(lives.phase, minlength=len(PHASES)).tolist()
    for phase, found, claimed in zip(
        PHASES, counts, (claims.forward, claims.recompute, claims.backward), strict=True
    ):
        if found != claimed:
            raise ScheduleError(
                f"{schedule.planner} claims {claimed} {phase} steps; its schedule has {found}; "
                "fix the planner"
            )
    moved = moved_bytes(program, schedule.order)
    if moved != claims.moved_bytes:
        raise ScheduleError(
            f"{schedule.planner} claims to move {claims.moved_bytes} bytes between levels of "
            f"storage; its schedule moves {moved}; fix the planner"
        )
    if claims.held is not None:
        held = held_activations(program, lives)
        most = int(held.max(initial=0))
        if most > claims.held:
            raise ScheduleError(
                f"{schedule.planner} claims to hold at most {claims.held} activations; at step "
                f"{int(held.argmax())} {most} are alive; "
                "a recomputation is missing, or the claim is wrong"
            )
    return lives


def held_activations(program: Program, lives: Lifetimes) -> np.ndarray:
    """Return how many buffers of activations are alive at each step."""
    return lives.live((program.flat.roles[lives.owner] == ROLES.index(ACTIVATION)).astype(np.int64))
