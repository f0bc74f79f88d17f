"""A profile as a table: on a terminal, and in a notebook."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console
from rich.table import Table

from profiler.units import human_bytes, human_count, human_ns

if TYPE_CHECKING:
    from profiler.profile import Profile


def operations_frame(profile: Profile) -> pd.DataFrame:
    """Operations and time, one row a phase and one for the whole, as text."""
    rows = []
    for phase, cost in [*profile.ops_by_phase.items(), ("all", profile.ops)]:
        row = {
            "phase": phase,
            "operations": human_count(cost.total),
            "mul, div": human_count(cost.multiplications),
            "add": human_count(cost.additions),
            "compare": human_count(cost.comparisons),
            "elementary": human_count(cost.elementary),
            "matmul flops": human_count(cost.matmul_flops),
        }
        if profile.wall_ns is not None:
            row["time"] = human_ns(
                sum(profile.wall_ns.values()) if phase == "all" else profile.wall_ns[phase]
            )
        rows.append(row)
    return pd.DataFrame(rows)


def memory_frame(profile: Profile) -> pd.DataFrame:
    """Bytes: the peak and its roles, what stays, and the caller's parameters and inputs, as text."""
    rows = [
        ("peak", profile.peak_bytes),
        *((f"  {role}", nbytes) for role, nbytes in profile.peak_by_role.items() if nbytes),
    ]
    rows += [
        ("live after", profile.live_after_bytes),
        ("parameters", profile.parameter_bytes),
        ("inputs", profile.input_bytes),
    ]
    return pd.DataFrame(
        [
            {"memory": name, "bytes": human_count(nbytes), "": human_bytes(nbytes)}
            for name, nbytes in rows
        ]
    )


def text_table(profile: Profile, width: int = 110) -> str:
    """The profile as text, at most `width` columns wide: operations by phase, memory, and the greatest buffers at the peak."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    console.print(_rich(operations_frame(profile), f"operations ({profile.planner})"))
    console.print(_rich(memory_frame(profile), "memory"))
    alive = profile.alive_at_peak().head(5)
    lines = [f"{row.node}, {human_bytes(row.bytes)}, {row.why}" for row in alive.itertuples()]
    return out.getvalue() + "\n".join(["at the peak:", *(f"  {line}" for line in lines)])


def html_table(profile: Profile) -> str:
    """The same as HTML, for a notebook."""
    frames = (operations_frame(profile), memory_frame(profile), profile.alive_at_peak().head(5))
    return "\n".join(frame.to_html(index=False) for frame in frames)


def _rich(frame: pd.DataFrame, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in frame.columns:
        table.add_column(column, justify="left" if column in ("phase", "memory") else "right")
    for row in frame.itertuples(index=False):
        table.add_row(*row)
    return table
