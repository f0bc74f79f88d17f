"""The names in results: modes, engines, dtypes, statuses, and the columns that identify rows."""

from __future__ import annotations

MODES = ("no_grad", "forward", "full", "w1_only", "only", "checkpointed")
NETWORKS = ("chain",)
ENGINES = ("autodiff", "pytorch")
HOME_ENGINE = "autodiff"
ITEMSIZES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
"""The bytes of one element of each dtype."""

DTYPES = tuple(ITEMSIZES)
AUDITS = ("none", "storages", "scalars", "both")
AUDITS_RUN = {"": "none", "storages": "storages", "scalars": "scalars", "storages+scalars": "both"}
"""What the column `audit` of a row says of the audits that ran, with the key that asks for them."""

STORE_ALL = "store_all"
SOURCE = "source"
"""The column that says how the numbers of a row came about."""

SOURCES = (MEASURED, PREDICTED) = ("measured", "predicted")
"""By running the step; from shapes (`execute=false`), without running it."""

STATUSES = (OK, SKIPPED, FAILED, TIMEOUT) = ("ok", "skipped_memory", "failed", "timeout")
LOST = (FAILED, TIMEOUT)
"""The statuses of points that were run and gave no numbers; resuming runs them again."""

CASE = ("network", "activation", "loss", "dtype")
"""The columns that identify a network, whatever its shape."""

AXES = ("n", "d", "b")
"""The columns of a shape: depth, width and batch."""

TIMELINE = ("engine", *CASE, *AXES, "mode", "planner")
"""The columns that identify one timeline."""

GREATEST_WHOLE = 2**63 - 1
"""The greatest whole number that a table can hold."""
