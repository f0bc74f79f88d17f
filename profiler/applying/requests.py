"""What a user asks of a plan: a bound, how to choose, and what to do where nothing fits."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch

from autodiff.checkpointing.costs import CostOf, check_cost, cost_name
from autodiff.checkpointing.units import bytes_of
from autodiff.errors import PlannerError
from autodiff.program import Program
from autodiff.schedule import Schedule
from profiler.applying.inductor import check_compiler
from profiler.applying.optimizers import NO_UPDATE, Update, update_of

Size = int | str
MECHANISMS = ("compile", "checkpoint")
SECONDS = "seconds"
"""The cost that is measured: see `profiler.applying.seconds`."""


class BackendOptions(TypedDict, total=False):
    """What `backend` takes besides the bound."""

    planner: Callable[[Program], Schedule] | None
    plan: str | Path | None
    on_infeasible: str
    outside_bytes: Size | None
    cost: str | CostOf
    cache: bool | str | Path
    quiet: bool
    inductor: bool


class Options(BackendOptions, total=False):
    """What `checkpointed` takes besides the bound on live bytes."""

    memory: Size | None
    optimizer: torch.optim.Optimizer | None
    accumulate: bool
    mechanism: str


_SIZES = ("max_bytes", "memory", "outside_bytes")


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
    inductor: bool = False
    accumulate: bool = False
    update: Update = NO_UPDATE

    def __deepcopy__(self, memo: Any) -> Request:
        """Copy nothing: an optimizer that is weighed is not to be copied with a model."""
        return self

    def __post_init__(self) -> None:
        """Raise PlannerError unless exactly one way to a plan is given."""
        if self.cost != SECONDS:
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
        if self.mechanism not in MECHANISMS:
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
        if self.inductor:
            if self.mechanism == "checkpoint":
                raise PlannerError(
                    "inductor = True with mechanism = 'checkpoint', which compiles nothing; "
                    "expected one of them; leave one out"
                )
            check_compiler()
        if self.accumulate and self.memory is None:
            raise PlannerError(
                "accumulate = True without memory; expected memory, which counts the gradients "
                "of earlier batches; give memory in the place of max_bytes"
            )
        if self.optimizer is not None and self.memory is None:
            raise PlannerError(
                "optimizer is given without memory; expected memory, which counts its state; "
                "give memory in the place of max_bytes"
            )

    @classmethod
    def of(cls, known: type, max_bytes: Size | None, **options: Unpack[Options]) -> Request:
        """Return the request of a user's arguments, in which sizes may be texts.

        Raises PlannerError for an option that the TypedDict `known` has not.
        """
        names = ("max_bytes", *known.__annotations__)
        for name in sorted(options.keys() - set(names)):
            near = get_close_matches(name, names, n=1)
            raise PlannerError(
                f"{name}=… is no option; expected {', '.join(names)}; "
                f"{f'did you mean {near[0]}?' if near else 'leave it out'}"
            )
        given: dict[str, Any] = {"cache": True, **options, "max_bytes": max_bytes}
        given |= {name: size(name, given.get(name)) for name in _SIZES}
        plan, cache = given.get("plan"), given["cache"]
        given["plan"] = None if plan is None else Path(plan)
        given["cache"] = cache_directory() if cache is True else Path(cache) if cache else None
        if given.get("optimizer") is not None:
            # Here and not while a model is compiled, which optimizers ask about.
            given["update"] = update_of(given["optimizer"])
        return cls(**given)


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
