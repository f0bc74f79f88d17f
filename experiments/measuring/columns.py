"""Columns of a row by where they come from: a profile, the theory and the planner."""

from __future__ import annotations

import os
from typing import Any

import psutil

from experiments import theory
from experiments.grid.planners import operations_of, parameters_of, theory_of
from experiments.names import ITEMSIZES
from experiments.results.point import Point
from experiments.results.rows import PEAK_ROLES, Value
from profiler.measurement import Profile

Columns = dict[str, Value]


def computed_columns(point: Point) -> Columns:
    """Return the columns of a point that need no profile: the theory's numbers, its planner's."""
    return {**_theory_columns(point), **parameters_of(point.planner)}


def _theory_columns(point: Point) -> Columns:
    """Return what the theory says of a point; nothing if it has no closed form."""
    itemsize = ITEMSIZES[point.dtype]
    if point.mode == "checkpointed":
        found = theory_of(point.planner, point.n, point.d, point.b, point.activation, point.loss)
        if found is None:
            return {}
        peak = itemsize * int(found.peak_elements)
        return {"theory_ops": operations_of(found), "theory_peak_bytes": peak}
    case: dict[str, Any] = {"activation": point.activation, "loss": point.loss}
    if point.mode in ("only", "w1_only"):
        case["wrt"] = point.wrt
    if point.micro_batches > 1:
        case["micro_batches"] = point.micro_batches
    shape = (point.mode, point.n, point.d, point.b)
    return {
        "theory_ops": int(theory.total_operations(*shape, **case)),
        "theory_peak_bytes": itemsize * int(theory.peak_elements(*shape, **case)),
    }


def profile_columns(profile: Profile) -> Columns:
    """Return what a profile counts and, if it was timed, the state of the machine meanwhile."""
    columns: Columns = {
        "ops": profile.ops.total,
        **{f"ops_{phase}": cost.total for phase, cost in profile.ops_by_phase.items()},
        "multiplications": profile.ops.multiplications,
        "additions": profile.ops.additions,
        "comparisons": profile.ops.comparisons,
        "elementary": profile.ops.elementary,
        "matmul_flops": profile.matmul_flops,
        "peak_bytes": profile.peak_bytes,
        "live_after_bytes": profile.live_after_bytes,
        "parameter_bytes": profile.parameter_bytes,
        "input_bytes": profile.input_bytes,
    }
    roles = {f"peak_{role}_bytes": nbytes for role, nbytes in profile.peak_by_role.items()}
    columns |= {name: nbytes for name, nbytes in roles.items() if name in PEAK_ROLES}
    if profile.wall_ns is not None and profile.wall_ns_spread is not None:
        columns |= {f"wall_ns_{phase}": ns for phase, ns in profile.wall_ns.items()}
        columns |= {f"wall_ns_{phase}_spread": ns for phase, ns in profile.wall_ns_spread.items()}
        columns["load_average"] = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        columns["frequency_mhz"] = _frequency()
    return columns


def _frequency() -> float | None:
    """Return the processor's frequency in MHz now; None if the system does not say."""
    try:
        frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    except (OSError, NotImplementedError):
        return None
    return frequency.current if frequency is not None and frequency.current else None
