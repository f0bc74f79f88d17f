"""The order of a binomial schedule against the tools that make one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.util import find_spec

from autodiff.checkpointing.binomial import binomial_schedule
from experiments.benchmarks.chain import Rows, Step, rows_of
from experiments.measuring.timing import alternate

log = logging.getLogger("tapemeasure")

STEPS, SNAPSHOTS = 10_000, 20
MANY_STEPS, MANY_SNAPSHOTS = 1_000_000, 50


def schedules() -> Rows:
    """Compare one order made by each tool, and time one a hundred times as long made by ours."""
    others: dict[str, Callable[[], None]] = {
        "checkpoint_schedules": _checkpoint_schedules,
        "pyrevolve": _pyrevolve,
    }
    steps: dict[str, Step] = {"tapemeasure": lambda: binomial_schedule(STEPS, SNAPSHOTS)}
    for module, make in others.items():
        if find_spec(module) is None:
            log.warning("%s is not installed and is left out", module)
        else:
            steps[module] = make
    rows = rows_of(
        "schedules", f"n={STEPS}, s={SNAPSHOTS}", alternate(steps, 5, warm_up=1), "tapemeasure"
    )
    many: dict[str, Step] = {"tapemeasure": lambda: binomial_schedule(MANY_STEPS, MANY_SNAPSHOTS)}
    return rows + rows_of(
        "schedules",
        f"n={MANY_STEPS}, s={MANY_SNAPSHOTS}",
        alternate(many, 3, warm_up=1),
        "tapemeasure",
    )


def _checkpoint_schedules() -> None:
    from checkpoint_schedules import MultistageCheckpointSchedule

    for _ in MultistageCheckpointSchedule(STEPS, SNAPSHOTS, 0, trajectory="maximum"):
        pass


def _pyrevolve() -> None:
    from pyrevolve.schedulers import Action, CRevolve

    scheduler = CRevolve(SNAPSHOTS, STEPS)
    while scheduler.next().type != Action.TERMINATE:
        pass
