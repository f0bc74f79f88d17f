"""Small sweeps for the tests of figures and report: measured without a command line, a directory or
a child process.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.fitting.table import complexity_table
from experiments.grid.config import sweep_config
from experiments.grid.points import points_of
from experiments.measuring.capacity import capacity_of
from experiments.measuring.point import measure
from experiments.measuring.timelines import timelines_of
from experiments.results.frames import frame_of
from experiments.results.tables import Results
from experiments.theory.checkpointing import Checkpointed, checkpointed
from tests.support.rows import with_keys

MODES = ["no_grad", "forward", "full", "w1_only"]
TINY: dict[str, Any] = {
    "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
    "grid": {"n": [1, 2], "d": [2], "b": [2, 3]},
    "modes": MODES,
    "audit": "both",
    "timeline": {"n": 2, "d": 2, "b": 2},
    "measure_process": False,
}
SMALL: dict[str, Any] = {
    "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
    "grid": {"n": [1, 2, 4], "d": [2, 6], "b": [2, 6, 16]},
    "modes": MODES,
    "execute": False,
    "timeline": {"n": 3, "d": 4, "b": 6},
    "memory": ["1KiB", "64KiB"],
    "studies": {
        "gelu": {"network": {"activation": "gelu"}, "grid": {"n": [1, 2, 4], "d": [2], "b": [16]}},
        "layers": {
            "network": {"activation": ["tanh", "gelu"]},
            "grid": {"n": 4, "d": [3], "b": 5},
            "modes": ["only"],
        },
        "micro_batches": {
            "grid": {"n": 3, "d": 2, "b": 12},
            "modes": ["full"],
            "micro_batches": [1, 2, 3, 4, 6, 12],
        },
    },
}


_PLANNERS = [f"revolve(snapshots={s})" for s in (1, 2, 3, 4)] + [
    "recompute_all",
    "uniform(segments=2)",
    "uniform(segments=3)",
    "store_all",
]
PLANS: dict[str, Any] = {
    "network": {"name": "chain", "activation": "tanh", "loss": "sum"},
    "grid": {"n": 6, "d": [2, 8], "b": [2, 16]},
    "modes": ["no_grad", "forward", "full", "w1_only", "checkpointed"],
    "planners": _PLANNERS,
    "engine": ["autodiff", "pytorch"],
    "audit": "none",
    "measure_process": False,
    "timeline": {
        "n": 5,
        "d": 2,
        "b": 8,
        "modes": ["full", "checkpointed"],
        "planners": ["revolve(snapshots=2)", "recompute_all"],
    },
    "studies": {
        "gelu": {
            "network": {"activation": "gelu"},
            "modes": ["no_grad", "forward", "full", "w1_only"],
        },
        "layers": {
            "network": {"activation": ["tanh", "gelu"]},
            "grid": {"n": 4, "d": [3], "b": 5},
            "modes": ["only"],
            "engine": ["autodiff"],
        },
        "micro_batches": {
            "grid": {"n": 6, "d": 2, "b": 16},
            "modes": ["full"],
            "micro_batches": [2, 4],
        },
        "growth": {
            "engine": ["autodiff"],
            "grid": {"n": [4, 8, 16, 32], "d": 2, "b": 4},
            "modes": ["checkpointed"],
            "planners": [f"revolve(snapshots={s})" for s in (2, 3, 4, 5, 6)],
        },
    },
}


def results_of(given: dict[str, Any], directory: Path) -> Results:
    """The results of a config, measured in this process from shapes alone or by running it, with
    formulas and timelines.
    """
    config = sweep_config(given)
    frame = frame_of(measure(point) for point in points_of(config))
    grids = frame[frame["micro_batches"] == 1]
    tables = (frame, frame_of([]), complexity_table(grids), timelines_of(config))
    return Results(directory, *tables, {"config": given}, capacity_of(config))


def with_scale(results: Results) -> Results:
    """The same results with larger shapes made up from its rows: times as a machine has them, and a
    process that grows by the ledger.
    """
    scale = results.results[results.results["part"] == "exact"].copy()
    scale["part"] = "scale"
    scale["source"] = "measured"
    scale["repeats"] = 5
    for phase in ("forward", "recompute", "backward"):
        scale[f"wall_ns_{phase}"] = (scale[f"ops_{phase}"].astype(float) * 2).astype("Float64")
        scale[f"wall_ns_{phase}_spread"] = (scale[f"ops_{phase}"].astype(float) * 0.1).astype(
            "Float64"
        )
    scale["baseline_rss_bytes"] = pd.array([1000] * len(scale), dtype="Int64")
    scale["peak_rss_bytes"] = scale["baseline_rss_bytes"] + scale["peak_bytes"] * 2
    return replace(results, scale=with_keys(scale))


def expected(planner: str, n: int = 6, d: int = 2, b: int = 16, **parameters: int) -> Checkpointed:
    """The theory of a plan."""
    return checkpointed(planner, n, d, b, **parameters)


def planted(results: Results, column: str, by: int, **where: Any) -> Results:
    """The same results with one number changed in the first row that is so."""
    rows = results.results.copy()
    mask = pd.Series(True, index=rows.index)
    for name, value in where.items():
        mask &= rows[name] == value
    rows.loc[rows.index[mask][0], column] += by
    return replace(results, results=rows)
