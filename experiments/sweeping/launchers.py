"""What differs between Hydra's launchers: concurrency, and how workers start children."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

LOOK_EVERY_S = 0.2
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


def jobs_run_here(launcher: Mapping[str, Any]) -> bool:
    """Return whether jobs run on the machine that launches them."""
    target = str(launcher.get("_target_", ""))
    return target == BASIC or target.endswith(("JoblibLauncher", "LocalLauncher"))


def end_with_parent() -> None:
    """Let a worker of joblib end when the process that launched it is gone.

    Otherwise it would finish its job and start another, whose rows nobody waits for.
    """
    if type(multiprocessing.current_process()).__module__.startswith("joblib."):
        threading.Thread(target=_wait_for_orphanhood, args=(os.getppid(),), daemon=True).start()


def _wait_for_orphanhood(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os._exit(1)


def let_children_start() -> None:
    """Make a worker able to start processes of its own.

    A worker of joblib names `loky` as its start method, which its children do not know.
    """
    if multiprocessing.get_start_method(allow_none=True) not in (
        None,
        *multiprocessing.get_all_start_methods(),
    ):
        multiprocessing.set_start_method("spawn", force=True)
