"""What happened: the raw notes of one execution, or of none, when the sizes are read from specs.

A recording holds the program, the schedule, the lifetimes, the bytes of every buffer in order of
birth, and the clock after every step. Meters are pure functions over it: record now, interpret
later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from autodiff.liveness import Lifetimes
from autodiff.program import Program
from autodiff.schedule import Schedule


class Event(NamedTuple):
    """One event of a step: a value was `computed`, or its buffer `allocated` or `freed`.

    A buffer that another takes over counts as freed after the step before, and as allocated at the
    step that takes it.
    """

    kind: str
    step: int
    value: int
    nbytes: int


@dataclass(frozen=True, eq=False)
class Recording:
    """The notes of one run, as they were taken.

    They are the bytes of each buffer, and the clock in ns before the first step and after each, or
    None.
    """

    program: Program
    schedule: Schedule
    lifetimes: Lifetimes
    noted_sizes: Sequence[int] | np.ndarray
    noted_clocks: Sequence[int] | None = None

    @cached_property
    def sizes(self) -> np.ndarray:
        """The bytes of every buffer, in order of birth."""
        return np.asarray(self.noted_sizes, dtype=np.int64)

    @cached_property
    def clocks(self) -> np.ndarray | None:
        """The clock in ns before the first step and after each; None where nothing was run."""
        return None if self.noted_clocks is None else np.asarray(self.noted_clocks, dtype=np.int64)

    def events(self) -> list[Event]:
        """Return everything that happened, in order.

        Each step lists its values, the buffers that they allocate, then the buffers that are freed.
        """
        lives, order = self.lifetimes, self.schedule.order
        births: dict[int, list[int]] = {}
        deaths: dict[int, list[int]] = {}
        for buffer, (born, dies) in enumerate(
            zip(lives.born.tolist(), lives.dies.tolist(), strict=True)
        ):
            births.setdefault(born, []).append(buffer)
            deaths.setdefault(dies, []).append(buffer)
        events: list[Event] = []
        for step, instruction in enumerate(order.tolist()):
            events.extend(
                Event("computed", step, value, 0)
                for value in self.program.instructions[instruction].writes
            )
            events.extend(
                Event("allocated", step, int(lives.owner[buffer]), int(self.sizes[buffer]))
                for buffer in births.get(step, ())
            )
            events.extend(
                Event("freed", step, int(lives.owner[buffer]), int(self.sizes[buffer]))
                for buffer in deaths.get(step, ())
            )
        return events


def recording_from_specs(program: Program, schedule: Schedule, lifetimes: Lifetimes) -> Recording:
    """Return the recording that an execution would give, with bytes from specs and no clock."""
    nbytes = program.flat.per_spec(lambda spec: spec.nbytes)
    return Recording(program, schedule, lifetimes, nbytes[lifetimes.owner])
