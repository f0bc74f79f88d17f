"""The front door: what one backpropagation costs in operations, bytes and seconds.

`profile(loss, wrt)` adds the gradients to the graph, makes a program of what is asked for, a schedule by the planner, runs it
(or, with `execute=False`, reads every number from shapes alone) and interprets the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from autodiff.algorithms import gradients
from autodiff.checkpointing import StoreAll
from autodiff.collector import paused_collector
from autodiff.cost import Cost
from autodiff.errors import GraphError
from autodiff.execute import Executable
from autodiff.node import ComputationNode
from autodiff.program import BACKWARD, INPUT, PARAMETER, PHASES, Program, linearize
from autodiff.recording import Recording, recording_from_specs
from autodiff.schedule import Schedule, check_schedule
from profiler.counter import count_operations, uncounted_ops
from profiler.ledger import Ledger, ledger_of
from profiler.table import html_table, text_table
from profiler.trace import write_chrome_trace

Planner = Callable[[Program], Schedule]


@dataclass(frozen=True, eq=False)
class Profile:
    """What a step costs.

    `ops_by_phase` has a `Cost` for forward, recompute and backward; `ledger` the buffers. `gradients` are the values in the
    order of `wrt`, and `loss` is the loss's value; both are empty where nothing was run. `wall_ns` is the median time of each
    phase over the repeats, `wall_ns_spread` half the distance between the quartiles.

    Of a PyTorch step also: `uncounted` maps each op that has no known cost to its number of calls, `given_bytes` each role to the bytes that
    existed before the step; its `loss` and `gradients` are what it returned. An optimiser's update is a phase more.
    """

    ops_by_phase: dict[str, Cost]
    ledger: Ledger
    parameter_bytes: int
    input_bytes: int
    planner: str = "store_all"
    loss: Any = None
    gradients: list[Any] = field(default_factory=list)
    wall_ns: dict[str, float] | None = None
    wall_ns_spread: dict[str, float] | None = None
    recording: Recording | None = None
    uncounted: dict[str, int] = field(default_factory=dict)
    given_bytes: dict[str, int] = field(default_factory=dict)
    modules: Callable[[], pd.DataFrame] | None = None

    @property
    def ops(self) -> Cost:
        """The scalar operations of all phases together."""
        return reduce(add, self.ops_by_phase.values())

    @property
    def matmul_flops(self) -> int:
        """2·m·k·p for every matrix product."""
        return int(self.ops.matmul_flops)

    @property
    def peak_bytes(self) -> int:
        """The greatest total of live bytes, without parameters and inputs."""
        return self.ledger.peak_bytes

    @property
    def peak_by_role(self) -> dict[str, int]:
        """The live bytes of each role at the peak."""
        return self.ledger.peak_by_role

    @property
    def live_after_bytes(self) -> int:
        """The bytes that live on after the last step, without parameters and inputs."""
        return self.ledger.live_after_bytes

    def timeline(self) -> pd.DataFrame:
        """One row an event, with the live bytes by role after it."""
        return self.ledger.timeline()

    def alive_at_peak(self) -> pd.DataFrame:
        """One row a buffer that is alive at the peak, and why it is."""
        return self.ledger.alive_at_peak()

    def by_module(self) -> pd.DataFrame:
        """One row a module of a PyTorch step: calls, parameters, operations by phase, bytes; raises GraphError for a graph, which has none."""
        if self.modules is None:
            raise GraphError(
                "a computation graph has no modules; profile_step(step, model=model) measures a PyTorch step, which has"
            )
        return self.modules()

    def to_chrome_trace(self, path: str | Path) -> Path:
        """Write spans of the steps and counters of the live bytes, to be opened in Perfetto or chrome://tracing."""
        return write_chrome_trace(self.ledger, Path(path))

    def __str__(self) -> str:
        lines = [text_table(self)]
        if self.uncounted:
            lines += [
                "not counted:",
                *(
                    f"  {op}, {calls} call{'s' if calls > 1 else ''}"
                    for op, calls in self.uncounted.items()
                ),
            ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return html_table(self)


def profile(
    loss: ComputationNode | Program,
    wrt: Sequence[ComputationNode] = (),
    *,
    planner: Planner | None = None,
    stop_after: str = "backward",
    execute: bool = True,
    repeats: int = 1,
) -> Profile:
    """Measure what it costs to compute `loss` and its gradients with respect to each node of `wrt`.

    `wrt=()` measures the loss alone (no-grad). `stop_after="forward"` measures the forward pass that keeps what the gradients
    of `wrt` would read. `execute=False` reads the same numbers from shapes, and allocates no tensor. A `Program` may stand in
    the place of `loss`. `repeats` runs, of which `wall_ns` is the median; the ledger is that of the last.
    """
    with paused_collector():
        program = program_of(loss, wrt, stop_after)
        schedule = (StoreAll() if planner is None else planner)(program)
    return profile_schedule(program, schedule, execute=execute, repeats=repeats)


def program_of(
    loss: ComputationNode | Program,
    wrt: Sequence[ComputationNode] = (),
    stop_after: str = "backward",
) -> Program:
    """The program that `profile` measures.

    Raises GraphError where `wrt` is given beside a program, or `stop_after` is neither forward nor backward.
    """
    if stop_after not in ("forward", "backward"):
        raise GraphError(f"stop_after={stop_after!r}; expected 'forward' or 'backward'")
    if isinstance(loss, Program):
        if wrt:
            raise GraphError(
                "wrt was given beside a Program, which has its targets already; leave wrt out, or give the loss's node"
            )
        program = loss
    elif isinstance(loss, ComputationNode):
        wrt = [wrt] if isinstance(wrt, ComputationNode) else list(wrt)
        if loss.spec is None:
            linearize([loss])  # says which node says too little of itself, and what it lacks
        program = linearize([loss, *(gradients(loss, wrt) if wrt else [])], wrt)
    else:
        raise GraphError(
            f"loss is a {type(loss).__name__}; expected a node of a computation graph, or a Program"
        )
    return program.forward_part() if stop_after == "forward" else program


def profile_schedule(
    program: Program, schedule: Schedule, *, execute: bool = True, repeats: int = 1
) -> Profile:
    """Measure a program under a schedule that is made already."""
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
        parameter_bytes=given_bytes(program, PARAMETER),
        input_bytes=given_bytes(program, INPUT),
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
    """The time of each phase of one run."""
    assert recording.clocks is not None
    spent = dict.fromkeys(PHASES, 0)
    for phase, ns in zip(
        recording.lifetimes.phases, np.diff(recording.clocks).tolist(), strict=True
    ):
        spent[phase] += ns
    return spent


def _quantiles(walls: list[dict[str, int]], share: float) -> dict[str, float] | None:
    """That quantile of each phase's time over the runs; None where nothing was run."""
    return (
        {phase: float(np.quantile([wall[phase] for wall in walls], share)) for phase in PHASES}
        if walls
        else None
    )


def given_bytes(program: Program, role: str) -> int:
    """The bytes of the given values of a role, each buffer once."""
    sizes: dict[Any, int] = {}
    for i in program.given:
        value = program.values[i]
        if value.role == role:
            held = getattr(value.source, "value", None)
            shared = held.untyped_storage()._cdata if isinstance(held, torch.Tensor) else i
            sizes[shared] = (
                max(sizes[shared], value.spec.nbytes) if shared in sizes else value.spec.nbytes
            )
    return sum(sizes.values())
