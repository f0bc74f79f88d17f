"""The limits of a planner: live bytes, or a multiple of what plain backpropagation costs.

They are checked and written in one place, for all planners that take them.
"""

from __future__ import annotations

from math import isfinite
from typing import Any, Protocol

from autodiff.checkpointing.sizes import has_sizes
from autodiff.checkpointing.units import byte_count, bytes_text
from autodiff.errors import PlannerError
from autodiff.program import Program


class Limited(Protocol):
    """A planner with the two limits, of which one is given."""

    @property
    def max_bytes(self) -> int | str | None: ...
    @property
    def max_ops_ratio(self) -> float | None: ...
    @property
    def name(self) -> str: ...


def check_limits(planner: Limited) -> None:
    """Raise PlannerError unless exactly one limit is given, in its range; read sizes from text."""
    if (planner.max_bytes is None) == (planner.max_ops_ratio is None):
        raise PlannerError(
            f"{planner!r}; expected exactly one of max_bytes and max_ops_ratio; give one"
        )
    if planner.max_bytes is not None:
        object.__setattr__(planner, "max_bytes", byte_count("max_bytes", planner.max_bytes))
    else:
        check_ratio(planner.max_ops_ratio)


def check_ratio(ratio: Any) -> None:
    """Raise PlannerError unless a ratio of costs is a number of at least 1."""
    if (
        isinstance(ratio, bool)
        or not isinstance(ratio, int | float)
        or not isfinite(ratio)
        or ratio < 1
    ):
        raise PlannerError(
            f"max_ops_ratio = {ratio!r}; expected a number of at least 1, which plain "
            "backpropagation takes; give one such as 1.3"
        )


def limits_text(planner: Limited, cost: str = "ops") -> str:
    """Return the canonical string of a planner with its limit, and its cost unless operations."""
    more = "" if cost == "ops" else f", cost={cost}"
    if isinstance(planner.max_bytes, int):
        return f"{planner.name}(max_bytes={bytes_text(planner.max_bytes)}{more})"
    return f"{planner.name}(max_ops_ratio={planner.max_ops_ratio!r}{more})"


def needs_sizes(planner: object, program: Program) -> None:
    """Raise PlannerError for a program whose shapes are no integers."""
    if not has_sizes(program):
        raise PlannerError(
            f"{planner} on a program whose shapes are no integers; expected sizes to compare; "
            "give a network of numbers"
        )
