"""The limits of a planner: live bytes, or a multiple of what plain backpropagation costs.

They are checked and written in one place, for all planners that take them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from autodiff.checkpointing.costs import CostOf, check_cost, cost_name
from autodiff.checkpointing.sizes import has_sizes
from autodiff.checkpointing.units import byte_count, bytes_text, check_number
from autodiff.errors import BudgetError, PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule


@dataclass(frozen=True)
class Limits:
    """A planner that minimizes a cost within live bytes, or live bytes within a cost.

    Exactly one limit is given. `max_bytes` may be text such as `8GiB`; `max_ops_ratio` is a
    multiple of plain backpropagation. `cost` is `"ops"`, or a function from a program to the cost
    of each instruction, which then takes the place of operations everywhere.
    """

    max_bytes: int | str | None = None
    max_ops_ratio: float | None = None
    cost: str | CostOf = "ops"
    name: ClassVar[str]

    def __post_init__(self) -> None:
        """Raise PlannerError unless exactly one limit is given and all is in its range."""
        if (self.max_bytes is None) == (self.max_ops_ratio is None):
            raise PlannerError(
                f"{self!r}; expected exactly one of max_bytes and max_ops_ratio; give one"
            )
        if self.max_bytes is not None:
            object.__setattr__(self, "max_bytes", byte_count("max_bytes", self.max_bytes))
        else:
            check_ratio(self.max_ops_ratio)
        check_cost(self.cost)

    def __str__(self) -> str:
        """Return the canonical string, with the cost unless it is operations."""
        more = "" if self.cost == "ops" else f", cost={cost_name(self.cost)}"
        if isinstance(self.max_bytes, int):
            return f"{self.name}(max_bytes={bytes_text(self.max_bytes)}{more})"
        return f"{self.name}(max_ops_ratio={self.max_ops_ratio!r}{more})"


def check_ratio(ratio: Any) -> None:
    """Raise PlannerError unless a ratio of costs is a number of at least 1."""
    expected = "a number of at least 1, which plain backpropagation takes"
    check_number("max_ops_ratio", ratio, 1, expected, "1.3")


def below_the_least(
    name: str,
    limit: int,
    any_plan: str,
    least: Schedule,
    least_peak: int,
    cost_ratio: float,
    measure: str = "operations",
    by: str = "a plan",
) -> BudgetError:
    """Return the error of a planner whose lowest peak is above its limit of live bytes.

    `any_plan` says among which plans there is none, `by` which one takes the least; `cost_ratio` is
    what that one costs, as a multiple of plain backpropagation. The schedule's name is that of the
    planner with the bytes that it takes.
    """
    better = f"{name}(max_bytes={bytes_text(least_peak)})"
    return BudgetError(
        f"max_bytes = {bytes_text(limit)} is below what {any_plan} takes; the least is "
        f"{least_peak} bytes, by {by} that takes {cost_ratio:.3g} times the {measure}: give "
        f"{better} or more",
        replace(least, planner=better),
        least_peak,
    )


def needs_sizes(planner: object, program: Program) -> None:
    """Raise PlannerError for a program whose shapes are no integers."""
    if not has_sizes(program):
        raise PlannerError(
            f"{planner} on a program whose shapes are no integers; expected sizes to compare; "
            "give a network of numbers"
        )
