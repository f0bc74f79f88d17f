"""What differs between Hydra's launchers: concurrency, and how workers start children."""

from __future__ import annotations

import multiprocessing
from collections.abc import Mapping
from typing import Any

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"


def runs_side_by_side(launcher: Mapping[str, Any]) -> bool:
    """Return whether jobs may run at the same time on one machine, which makes timings useless.

    Hydra's own launcher runs one after another; joblib with one worker too; Slurm gives each job a
    machine if asked for `exclusive` ones, or runs one at a time with `array_parallelism=1`.
    """
    target = str(launcher.get("_target_", ""))
    if target == BASIC:
        return False
    if target.endswith("JoblibLauncher"):
        return launcher.get("n_jobs") != 1
    if target.endswith("SlurmLauncher"):
        alone = (
            "exclusive" in (launcher.get("additional_parameters") or {})
            or launcher.get("array_parallelism") == 1
        )
        return not alone
    return True


def let_children_start() -> None:
    """Make a worker able to start processes of its own.

    A worker of joblib names `loky` as its start method, which its children do not know.
    """
    if multiprocessing.get_start_method(allow_none=True) not in (
        None,
        *multiprocessing.get_all_start_methods(),
    ):
        multiprocessing.set_start_method("spawn", force=True)
