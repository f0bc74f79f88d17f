"""What a step costs in operations, bytes and seconds: the value that every measurement returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from autodiff.cost import Cost
from autodiff.errors import GraphError
from autodiff.instructions import INPUT, PARAMETER
from autodiff.recording import Recording
from profiler.interactive import InteractiveTimeline, Panel, timeline_html
from profiler.ledger import Ledger
from profiler.plotting import timeline_figure
from profiler.table import html_table, latex_table, text_table
from profiler.trace import write_chrome_trace, write_memory_snapshot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Profile:
    """What a step costs.

    `ops_by_phase` has a `Cost` for forward, recompute and backward; `ledger` the buffers.
    `gradients` are the values in the order of `wrt`, and `loss` is the loss's value; both are empty
    where nothing was run. `wall_ns` is the median time of each phase over the repeats,
    `wall_ns_spread` half the distance between the quartiles.

    `given_bytes` maps each role to the bytes that existed before the step. `uncounted` maps each op
    without a known cost to its number of calls. Of a PyTorch step, `loss` and `gradients` are what
    the step returned, and an optimizer's update is a further phase; of one that is predicted for a
    CUDA card, `reserved_bytes` is what PyTorch's allocator would reserve there.
    """

    ops_by_phase: dict[str, Cost]
    ledger: Ledger
    given_bytes: dict[str, int]
    planner: str = "store_all"
    loss: Any = None
    gradients: list[Any] = field(default_factory=list)
    wall_ns: dict[str, float] | None = None
    wall_ns_spread: dict[str, float] | None = None
    recording: Recording | None = None
    uncounted: dict[str, int] = field(default_factory=dict)
    modules: Callable[[], pd.DataFrame] | None = None
    reserved_bytes: int | None = None

    @property
    def ops(self) -> Cost:
        """The scalar operations of all phases together."""
        return reduce(add, self.ops_by_phase.values())

    @property
    def parameter_bytes(self) -> int:
        """The bytes of caller-owned parameters."""
        return self.given_bytes.get(PARAMETER, 0)

    @property
    def input_bytes(self) -> int:
        """The bytes of caller-owned inputs."""
        return self.given_bytes.get(INPUT, 0)

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
        """Return one row an event, with the live bytes by role after it."""
        return self.ledger.timeline()

    def show(self, label: str = "the step") -> InteractiveTimeline:
        """Return the timeline to explore in a notebook, or to save as a page that opens offline.

        Hovering over a step says what ran and what was alive; a click lists the buffers.
        """
        panel = Panel(label, self.timeline(), self.given_bytes)
        return InteractiveTimeline(timeline_html([panel]))

    def plot(self, title: str = "") -> Figure:
        """Return a matplotlib figure of the live bytes by role at each step, the peak marked."""
        return timeline_figure(
            self.ledger, title or f"Live bytes through the step ({self.planner})"
        )

    def alive_at_peak(self) -> pd.DataFrame:
        """Return one row a buffer that is alive at the peak, and why it is."""
        return self.ledger.alive_at_peak()

    def by_module(self) -> pd.DataFrame:
        """Return one row a module of a PyTorch step: calls, parameters, operations, bytes.

        Operations are by phase. Raises GraphError for a graph, which has no modules.
        """
        if self.modules is None:
            raise GraphError(
                "a computation graph has no modules; profile_step(step, model=model) measures a "
                "PyTorch step, which has"
            )
        return self.modules()

    def operations(self) -> pd.DataFrame:
        """Return operations, and ns where the step ran: one row a phase and one for all."""
        rows = []
        for phase, cost in [*self.ops_by_phase.items(), ("all", self.ops)]:
            row = {
                "phase": phase,
                "operations": cost.total,
                "mul, div": cost.multiplications,
                "add": cost.additions,
                "compare": cost.comparisons,
                "elementary": cost.elementary,
                "matmul flops": cost.matmul_flops,
            }
            if self.wall_ns is not None:
                row["time"] = sum(self.wall_ns.values()) if phase == "all" else self.wall_ns[phase]
            rows.append(row)
        return pd.DataFrame(rows)

    def memory(self) -> pd.DataFrame:
        """Return bytes: the peak and its roles, what stays, caller-owned parameters and inputs."""
        roles = {f"  {role}": nbytes for role, nbytes in self.peak_by_role.items() if nbytes}
        rows = {
            "peak": self.peak_bytes,
            **roles,
            "live after": self.live_after_bytes,
            "parameters": self.parameter_bytes,
            "inputs": self.input_bytes,
        }
        return pd.DataFrame({"memory": list(rows), "bytes": list(rows.values())})

    def _tables(self) -> dict[str, pd.DataFrame]:
        return {f"operations ({self.planner})": self.operations(), "memory": self.memory()}

    def to_chrome_trace(self, path: str | Path) -> Path:
        """Write spans of steps and modules and counters of live bytes, which Perfetto opens."""
        return write_chrome_trace(self.ledger, Path(path))

    def to_memory_snapshot(self, path: str | Path) -> Path:
        """Write when each buffer lives, as a pickle that PyTorch's memory_viz page opens."""
        return write_memory_snapshot(self.ledger, Path(path))

    def __str__(self) -> str:
        lines = [text_table(self._tables(), self.alive_at_peak())]
        if self.uncounted:
            lines += [
                "not counted:",
                *(
                    f"  {op}, {calls} call{'s' if calls > 1 else ''}"
                    for op, calls in self.uncounted.items()
                ),
            ]
        return "\n".join(lines)

    def to_latex(self) -> str:
        """Return the tables of operations and of bytes for LaTeX with the package booktabs."""
        return "\n".join(latex_table(frame) for frame in self._tables().values())

    def _repr_html_(self) -> str:
        return html_table(self._tables(), self.alive_at_peak())
