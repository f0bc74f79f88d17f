"""What makes a schedule draw other random numbers than the program: the faults that are refused.

Numbers come from generators that go on with each draw. So all random ops run, in order of creation,
also where nothing reads what they draw, and again only as a replay, from the state that was kept
right before the op's first run.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from autodiff.program import Program

Fault = tuple[int, str]
"""A step, and what is wrong with it."""


def faults_of_draws(program: Program, order: np.ndarray, repeated: np.ndarray) -> Iterator[Fault]:
    """Return the first fault of each kind; `repeated` says which steps run an instruction again."""
    other = repeated & program.flat.draws[order] & ~program.flat.replays[order]
    for at in np.flatnonzero(other)[:1].tolist():
        yield (
            at,
            f"step {at} computes {_written(program, order, at)} again, which would give other "
            "numbers; keep it instead",
        )
    yield from _left_out(program, order)
    yield from _early(program, order, repeated)
    yield from _from_another_state(program, order, repeated)


def _written(program: Program, order: np.ndarray, at: int) -> str:
    return program.label(program.instructions[int(order[at])].writes[0])


def _left_out(program: Program, order: np.ndarray) -> Iterator[Fault]:
    """Find a random op that never runs; its step is the one after the last."""
    missing = program.flat.draws & ~program.flat.keeps_state
    missing[order] = False
    for i in np.flatnonzero(missing)[:1].tolist():
        label = program.label(program.instructions[i].writes[0])
        yield (
            len(order),
            f"the random op {label} never runs, so what is drawn later would be other numbers; "
            "run it, also where nothing reads its result",
        )


def _early(program: Program, order: np.ndarray, repeated: np.ndarray) -> Iterator[Fault]:
    """Find a first run of a random op after the first run of one that was created later."""
    steps = np.flatnonzero(program.flat.draws[order] & ~repeated)
    drawn = order[steps]
    for at in steps[1:][drawn[1:] < np.maximum.accumulate(drawn)[:-1]][:1].tolist():
        yield (
            at,
            f"step {at} computes {_written(program, order, at)} after what is drawn later in the "
            "program, which would give other numbers; run random ops in order of creation",
        )


def _from_another_state(
    program: Program, order: np.ndarray, repeated: np.ndarray
) -> Iterator[Fault]:
    """Find a replay from a state that was not kept right before the op's first run."""
    instructions = program.instructions
    for at in np.flatnonzero(repeated & program.flat.replays[order]).tolist():
        i = int(order[at])
        state = instructions[i].reads[-1]
        if state not in instructions[i - 1].writes:
            yield (
                at,
                f"step {at} computes {_written(program, order, at)} again from "
                f"{program.label(state)}, which is of another random op, and would give other "
                "numbers; give it the state that is kept right before it",
            )
            break
