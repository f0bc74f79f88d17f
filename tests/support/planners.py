"""Planners of a user's own."""

from __future__ import annotations

from dataclasses import replace

from autodiff import Program, Schedule, StoreAll


class Fussy:
    """A planner of a user's own that cannot bear a batch of 9."""

    def __call__(self, program: Program) -> Schedule:
        if any(9 in value.spec.shape for value in program.values):
            raise RuntimeError("not nine")
        return replace(StoreAll()(program), planner=str(self))

    def __str__(self) -> str:
        return "tests.support.planners:Fussy()"
