"""Planners: what is computed when. One file a family; each is a pure function from a program to a schedule.

`cells` finds the chain in a program, `store` carries a plan on cells out, and so makes a schedule; a planner of one's own needs no more
than those two. `binomial` and `conventions` know no program.
"""

from autodiff.checkpointing import conventions
from autodiff.checkpointing.binomial import (
    Action,
    advances,
    beta,
    binomial_actions,
    binomial_schedule,
    repetitions,
)
from autodiff.checkpointing.cells import Cells, find_cells
from autodiff.checkpointing.csv_schedule import read_schedule, write_schedule
from autodiff.checkpointing.parse import PLANNERS, Planner, parse_planner
from autodiff.checkpointing.recompute_all import RecomputeAll
from autodiff.checkpointing.revolve import Revolve
from autodiff.checkpointing.store import carry_out
from autodiff.checkpointing.store_all import StoreAll
from autodiff.checkpointing.uniform import Uniform

__all__ = [
    "PLANNERS",
    "Action",
    "Cells",
    "Planner",
    "RecomputeAll",
    "Revolve",
    "StoreAll",
    "Uniform",
    "advances",
    "beta",
    "binomial_actions",
    "binomial_schedule",
    "carry_out",
    "conventions",
    "find_cells",
    "parse_planner",
    "read_schedule",
    "repetitions",
    "write_schedule",
]
