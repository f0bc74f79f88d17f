"""Measure a computation graph: its gradients, a program, a schedule, a run, a profile.

With `execute=False` every number is read from shapes, through the same meters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autodiff.check import check_schedule
from autodiff.checkpointing.parse import Planner, planned
from autodiff.collector import paused_collector
from autodiff.errors import GraphError
from autodiff.executable import Executable
from autodiff.instructions import BACKWARD, INPUT, PARAMETER, PHASES
from autodiff.node import ComputationNode
from autodiff.program import Program
from autodiff.recording import Recording, recording_from_specs
from autodiff.schedule import Schedule
from profiler.counter import count_operations, uncounted_ops
from profiler.ledger import ledger_of
from profiler.measurement import Profile
from profiler.programs import given_bytes, program_of


def profile(
    loss: ComputationNode | Program,
    wrt: Sequence[ComputationNode] = (),
    *,
    planner: Planner | str | None = None,
    stop_after: str = "backward",
    execute: bool = True,
    repeats: int = 1,
) -> Profile:
    """Measure what it costs to compute `loss` and its gradients with respect to each node of `wrt`.

    `wrt=()` measures only the loss (no-grad). `stop_after="forward"` measures the forward pass that
    keeps what the gradients of `wrt` would read. `planner` may be a text, such as
    `revolve(snapshots=3)`. `execute=False` reads the same numbers from shapes, and allocates no
    tensor. A `Program` may take the place of `loss`. `wall_ns` is the median of `repeats` runs; the
    ledger is that of the last. Raises TapemeasureError for what cannot be measured, in one line.
    """
    with paused_collector():
        program = program_of(loss, wrt, stop_after)
        program, schedule = planned(program, planner)
    return profile_schedule(program, schedule, execute=execute, repeats=repeats)


def profile_schedule(
    program: Program, schedule: Schedule, *, execute: bool = True, repeats: int = 1
) -> Profile:
    """Measure a program under a schedule that exists already."""
    if repeats < 1:
        raise GraphError(f"repeats={repeats}; expected at least 1")
    lives = check_schedule(program, schedule)
    results: list[Any] = []
    walls: list[dict[str, int]] = []
    if execute:
        executable = Executable(program, schedule, lives)
        for _ in range(repeats):
            results = []  # the last run's values go before the next run begins
            results, recording = executable.run()
            walls.append(_wall_ns(recording))
    else:
        recording = recording_from_specs(program, schedule, lives)
    has_backward = any(step.phase == BACKWARD for step in program.instructions)
    middle, low, high = (_quantiles(walls, share) for share in (0.5, 0.25, 0.75))
    return Profile(
        ops_by_phase=count_operations(recording),
        ledger=ledger_of(recording),
        given_bytes={role: given_bytes(program, role) for role in (PARAMETER, INPUT)},
        planner=schedule.planner,
        loss=results[0] if results else None,
        gradients=results[1:] if has_backward else [],
        wall_ns=middle,
        wall_ns_spread=None
        if low is None or high is None
        else {phase: (high[phase] - low[phase]) / 2 for phase in PHASES},
        recording=recording,
        uncounted=uncounted_ops(program, schedule),
    )


def _wall_ns(recording: Recording) -> dict[str, int]:
    """Return the time of each phase of one run."""
    assert recording.clocks is not None
    spent = dict.fromkeys(PHASES, 0)
    for phase, ns in zip(
        recording.lifetimes.phases, np.diff(recording.clocks).tolist(), strict=True
    ):
        spent[phase] += ns
    return spent


def _quantiles(walls: list[dict[str, int]], share: float) -> dict[str, float] | None:
    """Return that quantile of each phase's time over the runs; None where nothing was run."""
    return (
        {phase: float(np.quantile([wall[phase] for wall in walls], share)) for phase in PHASES}
        if walls
        else None
    )
