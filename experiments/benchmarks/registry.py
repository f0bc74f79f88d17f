"""The benchmarks: steps that alternate in one process on one thread, each compared with a baseline.

Every benchmark is a function without arguments that returns rows: benchmark, shape, what,
median_ms, spread_ms, ratio (to `baseline`), and, where memory is part of the claim, peak_bytes.
The ratio is one of times, except in `plans`: there it is one of operations, within a `budget`.
What is not installed or does not work on a machine is left out with a line that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import pandas as pd

from experiments.benchmarks.applied import training_loops
from experiments.benchmarks.chain import Rows
from experiments.benchmarks.checkpoints import checkpointing
from experiments.benchmarks.orders import schedules
from experiments.benchmarks.plans import planning
from experiments.benchmarks.shapes import prediction
from experiments.benchmarks.steps import step
from experiments.benchmarks.tools import measuring

BENCHMARKS: dict[str, Callable[[], Rows]] = {
    "step": step,
    "measuring": measuring,
    "checkpointing": checkpointing,
    "prediction": prediction,
    "schedules": schedules,
    "plans": planning,
    "applied": training_loops,
}


def run_benchmarks(names: Iterable[str], layers: int = 12) -> pd.DataFrame:
    """Run benchmarks by name and return their rows; `layers` are those of planned transformers."""
    run = BENCHMARKS | {"plans": partial(planning, layers)}
    return pd.DataFrame([row for name in names for row in run[name]()])
