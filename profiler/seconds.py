"""What each instruction of a program costs in seconds, as measured.

The plain step is run a few times with the clock read after every step. Instructions that do the
same work on the same shapes share one number, the median of all their times.

Bound: on a busy machine times scatter; planners need only their proportions.
"""

from __future__ import annotations

import numpy as np

from autodiff.checkpointing.store_all import StoreAll
from autodiff.errors import GraphError
from autodiff.executable import Executable
from autodiff.program import Program

RUNS = 5


def measured_seconds(program: Program, runs: int = RUNS) -> np.ndarray:
    """Return the seconds of each instruction, the median over equivalent ones in `runs` steps.

    Give it to a planner as a cost, to plan for time: `Budget("8GiB", cost=measured_seconds)`. A
    first step is run and not counted.

    Raises GraphError if the program has no values to run on, or holds what is not run from here, as
    the loss outside of a compiled model.
    """
    unknown = next((op for op, _ in program.flat.works if not hasattr(op, "kernel")), None)
    if unknown is not None:
        raise GraphError(
            f"{unknown.name!r} cannot be run; expected a program of ops alone, not of a compiled "
            "model; give cost='seconds', by which its ops are timed one by one, or cost='ops'"
        )
    step = Executable(program, StoreAll()(program))  # in order of creation: one step an instruction
    step.run()
    clocks = np.stack([np.asarray(step.run()[1].noted_clocks) for _ in range(runs)])
    nanoseconds, work = np.diff(clocks, axis=1), program.flat.work_of
    medians = [np.median(nanoseconds[:, work == kind]) for kind in range(len(program.flat.works))]
    seconds: np.ndarray = np.array(medians)[work] / 1e9
    return seconds
