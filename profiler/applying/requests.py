"""What a user asks of a plan: a bound, how to choose, and what to do where nothing fits."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autodiff.checkpointing.costs import CostOf, check_cost, cost_name
from autodiff.checkpointing.units import bytes_of
from autodiff.errors import PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule
from profiler.applying.optimizers import NO_UPDATE, Update, update_of

Size = int | str


@dataclass(frozen=True)
class Request:
    """A bound on live bytes (`max_bytes`) or on everything (`memory`), and how it is met.

    `planner` is used as it is; `plan` is the file of a plan; `on_infeasible` is "raise" or "least";
    `outside_bytes` are what the loss outside of the model takes, None for the assumption; `update`
    is what the optimizer takes.
    """

    max_bytes: int | None = None
    memory: int | None = None
    optimizer: torch.optim.Optimizer | None = None
    planner: Callable[[Program], Schedule] | None = None
    plan: Path | None = None
    on_infeasible: str = "raise"
    outside_bytes: int | None = None
    cache: Path | None = None
    quiet: bool = False
    mechanism: str = "compile"
    cost: str | CostOf = "ops"
    update: Update = NO_UPDATE

    def __deepcopy__(self, memo: Any) -> Request:
        """Copy nothing: an optimizer that is weighed is not to be copied with a model."""
        return self

    def __post_init__(self) -> None:
        """Raise PlannerError unless exactly one way to a plan is given."""
        check_cost(self.cost)
        ways = (self.max_bytes, self.memory, self.planner, self.plan)
        if sum(way is not None for way in ways) != 1:
            raise PlannerError(
                f"{sum(way is not None for way in ways)} of max_bytes, memory, planner and plan "
                "are given; expected exactly one; give a size such as max_bytes='8GiB'"
            )
        if self.on_infeasible not in ("raise", "least"):
            raise PlannerError(
                f"on_infeasible = {self.on_infeasible!r}; expected 'raise' or 'least'; give one"
            )
        if self.mechanism not in ("compile", "checkpoint"):
            raise PlannerError(
                f"mechanism = {self.mechanism!r}; expected 'compile' or 'checkpoint'; give one"
            )
        if self.mechanism == "checkpoint" and (self.planner is not None or self.plan is not None):
            raise PlannerError(
                "mechanism = 'checkpoint' with a planner or a plan of the graph; expected a bound, "
                "for which blocks are chosen; give max_bytes or memory"
            )
        if self.mechanism == "checkpoint" and self.cost != "ops":
            raise PlannerError(
                f"mechanism = 'checkpoint' with cost = {cost_name(self.cost)}; expected 'ops', by "
                "which blocks are chosen; leave out cost, or give mechanism='compile'"
            )
        if self.optimizer is not None and self.memory is None:
            raise PlannerError(
                "optimizer is given without memory; expected memory, which counts its state; "
                "give memory in the place of max_bytes"
            )

    @classmethod
    def of(
        cls,
        *,
        max_bytes: Size | None = None,
        memory: Size | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        planner: Callable[[Program], Schedule] | None = None,
        plan: str | Path | None = None,
        on_infeasible: str = "raise",
        outside_bytes: Size | None = None,
        cache: bool | str | Path = True,
        quiet: bool = False,
        mechanism: str = "compile",
        cost: str | CostOf = "ops",
    ) -> Request:
        """Return the request of a user's arguments, in which sizes may be texts."""
        return cls(
            size("max_bytes", max_bytes),
            size("memory", memory),
            optimizer,
            planner,
            None if plan is None else Path(plan),
            on_infeasible,
            size("outside_bytes", outside_bytes),
            cache_directory() if cache is True else Path(cache) if cache else None,
            quiet,
            mechanism,
            cost,
            # Here and not while a model is compiled, which optimizers ask about.
            NO_UPDATE if optimizer is None else update_of(optimizer),
        )


def cache_directory() -> Path:
    """Return the directory of cached plans."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tapemeasure" / "plans"


def size(name: str, given: Size | None) -> int | None:
    """Return a size as bytes; raise PlannerError for what is none."""
    if given is None:
        return None
    found = bytes_of(given) if isinstance(given, str) else given
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise PlannerError(
            f"{name} = {given!r}; expected a whole number of bytes, at least 1, or a text such as "
            "'8GiB'; give one"
        )
    return found
