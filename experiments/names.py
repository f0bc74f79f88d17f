"""The names that results use: modes, engines, dtypes, statuses, and the columns that identify rows."""

from __future__ import annotations

MODES = ("no_grad", "forward", "full", "w1_only", "only", "checkpointed")
NETWORKS = ("chain",)
ENGINES = ("autodiff", "pytorch")
HOME_ENGINE = "autodiff"
DTYPES = ("float32", "float64", "float16", "bfloat16")
AUDITS = ("none", "storages", "scalars", "both")
STORE_ALL = "store_all"
SOURCE = "source"
"""The column that says how the numbers of a row came about."""

SOURCES = (MEASURED, PREDICTED) = ("measured", "predicted")
"""By running the step; from shapes (`execute=false`), without running it."""

STATUSES = (OK, SKIPPED, FAILED, TIMEOUT) = ("ok", "skipped_memory", "failed", "timeout")

CASE = ("network", "activation", "loss", "dtype")
"""The columns that identify a network, whatever its shape."""

AXES = ("n", "d", "b")
"""The columns of a shape: depth, width and batch."""

TIMELINE = ("engine", *CASE, *AXES, "mode", "planner")
"""The columns that identify one timeline."""
