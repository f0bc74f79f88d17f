"""What is computed when: schedules and their claims.

A schedule is a sequence of steps; what is computed twice is recomputed. A planner chooses the
sequence, never what is freed: a buffer lives from the step that computes it to its last read before
it is computed again. Because liveness forgives a forgotten recomputation by keeping the older copy
alive, a schedule also carries claims, which `check_schedule` compares with what follows from the
steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

import numpy as np


class Kind(Enum):
    """What a step does. Moves between levels of storage are instructions too (`levels`)."""

    COMPUTE = "compute"


@dataclass(frozen=True)
class Step:
    """One step of a schedule.

    It has a kind, an instruction, and the read whose dying buffer the result takes over (None: a
    buffer of its own).
    """

    kind: Kind
    instruction: int
    overwrites: int | None = None


@dataclass(frozen=True)
class Claims:
    """What a planner says of its schedule.

    These are the steps by phase, the most activation buffers that are held at once (None: not
    claimed), and the bytes that are moved between levels of storage.
    """

    forward: int
    recompute: int
    backward: int
    held: int | None = None
    moved_bytes: int = 0


@dataclass(frozen=True, eq=False)
class Schedule:
    """The order in which instructions run, each step a COMPUTE.

    `overwrites` maps a step to the read whose buffer it takes over. A planner that weighs costs
    also says what the schedule costs, the `bound` that no plan within its limit goes below as far
    as known, among which plans (`among`; empty: among all), and whether it is `proved` that none
    costs less.
    """

    order: np.ndarray
    claims: Claims
    planner: str = "store_all"
    overwrites: Mapping[int, int] = field(default_factory=dict)
    cost: float | None = None
    bound: float | None = None
    proved: bool = False
    among: str = ""

    @property
    def optimality(self) -> str:
        """Say how far the schedule may be from the optimum; empty where nothing is known."""
        if self.proved:
            return f"optimal{self._among}"
        if not self.cost or not self.bound:
            return ""
        above = f"{100 * (self.cost / self.bound - 1):.2g}"
        return f"at most {above}% above the optimum{self._among}"

    @property
    def _among(self) -> str:
        return f" among {self.among}" if self.among else ""

    @property
    def steps(self) -> Iterator[Step]:
        """The steps one by one."""
        return (
            Step(Kind.COMPUTE, int(i), self.overwrites.get(at)) for at, i in enumerate(self.order)
        )

    def __len__(self) -> int:
        return len(self.order)
