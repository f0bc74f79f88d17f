"""The peak and the operations of each planner on a program, and what dominates the peak.

`planner_savings(program)` asks the planners one by one and reads every plan as `predict` would;
nothing is run. A program may be the engine's own or a PyTorch step's (`from_pytorch`).
`savings_text` puts the table into words for a report or a terminal.

A peak consists of: gradients of parameters, which no plan drops; what is computed once under every
plan (results of random ops or the states to replay them from, masks that all cells read);
activations that are held for other cells than the one at work (snapshots, a segment that is kept);
and what that cell itself needs and makes.
Bound: it says nothing of seconds, and ops that the table of costs lacks count nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from autodiff.check import check_schedule
from autodiff.checkpointing.cells import Cells, find_cells
from autodiff.checkpointing.parse import planned, planner_of
from autodiff.checkpointing.store_all import StoreAll
from autodiff.errors import GraphError, PlannerError
from autodiff.instructions import ACTIVATION, FORWARD, PARAMETER_GRADIENT
from autodiff.liveness import Lifetimes
from autodiff.program import Program
from autodiff.recording import recording_from_specs
from autodiff.schedule import Schedule
from profiler.cell_names import cell_name
from profiler.counter import count_operations
from profiler.ledger import ledger_of
from profiler.planned import best_schedules, default_planners
from profiler.units import human_bytes

Planner = Callable[[Program], Schedule]

COLUMNS = (
    "planner",
    "peak_bytes",
    "saved_bytes",
    "saved_share",
    "ops",
    "more_ops",
    "more_share",
    "is_best",
    "why",
)

WEIGHTS = "gradients of parameters, which no plan drops"
ACTIVATIONS = "activations that the backward part will read"
AT_WORK = "gradients and what is at work"
"""What a peak consists of, in words; `peak_words` writes them with their shares."""

_WORTH_SAYING = 0.15


def planner_savings(
    program: Program, planners: Sequence[Planner | str] | None = None
) -> pd.DataFrame:
    """Return one row per planner: its peak, its operations, and what its peak consists of.

    `planners` are by default `RecomputeAll`, `Uniform` with every number of segments, `Revolve`
    with every number of snapshots, and `Optimal` (`Selective` where there is no chain) from 90% of
    the plain peak down to the least. The first row is `StoreAll`; the others follow by their peak,
    the lowest first. `saved_share` is of the plain peak, `more_share` of the plain operations;
    `is_best` says that no other plan takes as little for as few operations, and less than keeping
    everything. A planner that refuses the program has a row too: its numbers are missing and `why`
    is its reason.
    Raises GraphError for a program whose shapes are no integers.
    """
    if not all(isinstance(spec.nbytes, int) for spec in program.flat.specs):
        raise GraphError(
            "the program's shapes are no integers; expected sizes to compare; give a network of "
            "numbers, or use predict_formula"
        )
    cells = _cells(program)
    plain = _row(program, StoreAll(), cells)
    others = default_planners(0 if cells is None else len(cells)) if planners is None else planners
    rows = [
        _row(program, planner, cells)
        for planner in map(planner_of, others)
        if not isinstance(planner, StoreAll)
    ]
    if planners is None:
        rows += [_row_of(program, best, cells) for best in best_schedules(program, cells)]
    frame = pd.DataFrame([plain, *sorted(rows, key=_by_peak)])
    frame = frame.astype({"peak_bytes": "Int64", "ops": "Int64"})
    frame["saved_bytes"] = plain["peak_bytes"] - frame["peak_bytes"]
    frame["saved_share"] = (frame["saved_bytes"] / max(plain["peak_bytes"], 1)).astype(float)
    frame["more_ops"] = frame["ops"] - plain["ops"]
    frame["more_share"] = (frame["more_ops"] / max(plain["ops"], 1)).astype(float)
    frame["is_best"] = _are_best(frame)
    return frame[list(COLUMNS)]


def savings_text(savings: pd.DataFrame, most: int = 8) -> str:
    """Return the table in words: the lowest peak, and at most `most` plans worth taking."""
    plain, best = savings.iloc[0], savings[savings["is_best"]]
    refused = savings[savings["peak_bytes"].isna()]
    if len(best) == 0:
        if len(refused) and len(refused) == len(savings) - 1:
            return f"Nothing can be planned: {refused.iloc[0]['why']}"
        return (
            f"No plan lowers the peak of {human_bytes(plain['peak_bytes'])}. "
            f"It consists of {plain['why']}."
        )
    lowest = best.iloc[0]
    lines = [
        f"{lowest['planner']} lowers the peak from {human_bytes(plain['peak_bytes'])} to "
        f"{human_bytes(lowest['peak_bytes'])} (−{_percent(lowest['saved_share'])}) for "
        f"{_percent(lowest['more_share'])} more operations; the rest is {lowest['why']}."
    ]
    width = max(len(row.planner) for row in best.itertuples())
    for row in _some(list(best.itertuples()), most):
        saved, more = _percent(row.saved_share), _percent(row.more_share)
        lines.append(
            f"  {row.planner:<{width}}  peak {human_bytes(row.peak_bytes):>9}  saves {saved:>4}  "
            f"costs {more:>4}  {row.why}"
        )
    return "\n".join(lines)


def _cells(program: Program) -> Cells | None:
    """Return the chain of cells; None where the program is no chain."""
    try:
        return find_cells(program)
    except PlannerError:
        return None


def _row(program: Program, planner: Planner, cells: Cells | None) -> dict[str, Any]:
    try:
        program, schedule = planned(program, planner)
    except PlannerError as error:
        return {"planner": str(planner), "peak_bytes": None, "ops": None, "why": str(error)}
    return _row_of(program, schedule, cells)


def _row_of(program: Program, schedule: Schedule, cells: Cells | None) -> dict[str, Any]:
    lives = check_schedule(program, schedule)
    recording = recording_from_specs(program, schedule, lives)
    ledger = ledger_of(recording)
    operations = sum(cost.total for cost in count_operations(recording).values())
    parts = _parts(program, schedule, lives, ledger.peak_step, cells) if len(schedule) else {}
    return {
        "planner": schedule.planner,
        "peak_bytes": ledger.peak_bytes,
        "ops": operations,
        "why": peak_words(parts),
    }


def _parts(
    program: Program, schedule: Schedule, lives: Lifetimes, step: int, cells: Cells | None
) -> dict[str, int]:
    """Return the live bytes at a step by the reason for which the plan holds them."""
    alive = np.flatnonzero((lives.born <= step) & (lives.dies >= step))
    writer = {
        write: i
        for i, instruction in enumerate(program.instructions)
        for write in instruction.writes
    }
    home = _homes(cells)
    at_work, name = _at_work(program, schedule, step, cells)
    parts: dict[str, int] = {}
    for value in lives.owner[alive].tolist():
        role, op = program.values[value].role, program.instructions[writer[value]].op
        if role == PARAMETER_GRADIENT:
            part = WEIGHTS
        elif program.flat.keeps_state[writer[value]]:
            part = "states of generators, from which random ops are replayed"
        elif not op.repeatable:
            part = "results of random ops, which are drawn once"
        elif cells is not None and value in cells.shared:
            part = "what all cells read (masks and the like), computed once"
        elif role == ACTIVATION and (
            cells is None or home.get(value, at_work) not in (at_work, at_work + 1)
        ):
            part = ACTIVATIONS
        elif cells is None:
            part = AT_WORK
        else:
            part = name
        parts[part] = parts.get(part, 0) + int(program.values[value].spec.nbytes)
    return parts


def _homes(cells: Cells | None) -> dict[int, int]:
    """Return the cell of each forward value; the state that a cell starts from is its own."""
    if cells is None:
        return {}
    home = {
        write: k
        for k, cell in enumerate(cells.forward)
        for i in cell
        for write in cells.program.instructions[i].writes
    }
    return home | {start: k for k, start in enumerate(cells.starts) if start is not None}


def _at_work(
    program: Program, schedule: Schedule, step: int, cells: Cells | None
) -> tuple[int, str]:
    """Return the cell that a step runs or reverses, and the name of what it needs and makes."""
    if cells is None:
        return 0, ""
    instruction = int(schedule.order[step])
    forward = program.instructions[instruction].phase == FORWARD
    k = next(
        k
        for k, part in enumerate(cells.forward if forward else cells.stages)
        if instruction in part
    )
    doing = "running" if forward else "reversing"
    return k, f"what {doing} {cell_name(cells, k)} takes (cell {k + 1} of {len(cells)})"


def peak_words(parts: dict[str, int]) -> str:
    """Return the parts that matter, the greatest first, as shares of the whole."""
    total = sum(parts.values())
    ordered = sorted(parts.items(), key=lambda part: -part[1])
    said = [
        f"{_percent(nbytes / total)} {name}"
        for place, (name, nbytes) in enumerate(ordered)
        if place == 0 or nbytes >= _WORTH_SAYING * total
    ]
    return "; ".join(said) or "nothing"


def _by_peak(row: dict[str, Any]) -> tuple[float, float]:
    """Return the sort key: the peak, then the operations; rows without a peak come last."""
    return (math.inf, math.inf) if row["peak_bytes"] is None else (row["peak_bytes"], row["ops"])


def _are_best(frame: pd.DataFrame) -> list[bool]:
    """Return whether no other row has as low a peak for as few operations; of equal rows the first.

    Keeping everything is not among them.
    """
    best: dict[int, bool] = {}
    lowest = int(frame["peak_bytes"].iloc[0])
    for place in (
        frame.assign(place=range(len(frame)))
        .dropna(subset="peak_bytes")
        .sort_values(["ops", "peak_bytes"], kind="stable")["place"]
    ):
        peak = int(frame["peak_bytes"].iloc[place])
        best[place] = peak < lowest
        lowest = min(lowest, peak)
    return [best.get(place, False) for place in range(len(frame))]


def _some(rows: list[pd.Series], most: int) -> list[pd.Series]:
    """Return at most `most` rows: first, last, and evenly between."""
    if len(rows) <= most:
        return rows
    return [
        rows[index]
        for index in sorted({round(i * (len(rows) - 1) / max(most - 1, 1)) for i in range(most)})
    ]


def _percent(share: float) -> str:
    """Return a share as a whole percentage, with a decimal below one."""
    return f"{100 * share:.1f}%" if 0 < abs(share) < 0.01 else f"{100 * share:.0f}%"
