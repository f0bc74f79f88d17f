"""Plain backpropagation: every instruction once, as created; whatever the backward pass reads is kept until then."""

from __future__ import annotations

from dataclasses import dataclass

from autodiff.program import Program
from autodiff.schedule import Schedule, as_created


@dataclass(frozen=True)
class StoreAll:
    """Keep every activation that the backward pass reads; recompute nothing."""

    def __str__(self) -> str:
        return "store_all"

    def __call__(self, program: Program) -> Schedule:
        return as_created(program, str(self))
