"""From a joint graph and a request to a plan, taken from a file where the same was planned before.

A plan is cached under the hash of its program and its request: a file per plan in the directory
`$XDG_CACHE_HOME/tapemeasure/plans`, as `write_schedule` writes it. What is read is checked like any
schedule, and planned again where it is damaged or above the bound. A plan above the bound, which
`on_infeasible="least"` takes, is not kept.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from autodiff.checkpointing.budget import Budget
from autodiff.checkpointing.costs import CostOf, cost_name, cost_of_each
from autodiff.checkpointing.csv_schedule import read_schedule, write_schedule
from autodiff.checkpointing.sizes import peak
from autodiff.errors import BudgetError, PlannerError, ScheduleError
from autodiff.program import Program
from autodiff.schedule import Schedule
from profiler.applying.joint import Joint
from profiler.applying.nested import NestedPlan, NestedPlanner
from profiler.applying.nodes import module_of
from profiler.applying.optimizers import storage_bytes
from profiler.applying.plans import Plan
from profiler.applying.requests import SECONDS, Request
from profiler.applying.seconds import seconds_of_each
from profiler.units import human_bytes


def plan_for(
    joint: Joint,
    request: Request,
    model_tensors: Iterable[Any] = (),
    blocks: NestedPlanner | None = None,
) -> Plan:
    """Return the plan of a joint graph; `model_tensors` are parameters and buffers.

    `blocks` plans the blocks of the same model, for whoever asks for its lines.
    Raises PlannerError where no plan keeps within what was asked for, unless the request takes the
    least that there is.
    """
    start = perf_counter()
    _say(request, f"planning a step of {len(joint.program.instructions)} operations …")
    own = list(model_tensors)
    resident, limit = _resident(joint, request, own), request.max_bytes
    if request.memory is not None:
        kept = _accumulated(request, own)
        limit = _left(request, resident, kept)
        resident += kept
    seconds = _seconds(joint, request) if request.cost == SECONDS else None
    schedule = _schedule(joint.program, request, limit, seconds)
    modules = tuple(module_of(work.node) for work in joint.works)
    plan = Plan(joint.program, schedule, modules, joint.border, limit, resident, seconds, blocks)
    _say(
        request,
        f"planned in {perf_counter() - start:.1f} s: {plan.planner}, peak "
        f"{human_bytes(plan.peak_bytes)}",
    )
    return plan


def nested_plan(
    planner: NestedPlanner,
    model: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    request: Request,
) -> NestedPlan:
    """Return the plan of a model's blocks for a call, as its planner measures it.

    Raises BudgetError as `plan_for` does.
    """
    start = perf_counter()
    _say(request, f"planning the blocks of {type(model).__name__} …")
    limit = request.max_bytes
    if request.memory is not None:
        own = [*model.parameters(), *model.buffers()]
        resident = request.update.state_bytes + storage_bytes([*own, *tree_leaves((args, kwargs))])
        limit = _left(request, resident, _accumulated(request, own))
    assert limit is not None
    plan = planner.plan(limit, least=request.on_infeasible == "least")
    _say(request, f"planned in {perf_counter() - start:.1f} s: peak {human_bytes(plan.peak_bytes)}")
    return plan


def _accumulated(request: Request, own: Iterable[torch.Tensor]) -> int:
    """Return the bytes of gradients of earlier batches, which exist when a later one begins."""
    learning = [one for one in own if one.requires_grad] if request.accumulate else []
    return sum(one.nbytes for one in {id(one): one for one in learning}.values())


def _left(request: Request, resident: int, kept: int) -> int:
    """Return what a memory leaves for forward and backward; `kept` are accumulated gradients.

    Raises PlannerError where that is nothing, and where the optimizer's update needs more, which no
    plan changes; `on_infeasible="least"` takes the latter.
    """
    memory, update = request.memory, request.update
    assert memory is not None
    if memory <= resident + kept:
        raise PlannerError(
            f"memory = {memory}; parameters, buffers, inputs, the optimizer's state and "
            f"accumulated gradients take {resident + kept} bytes; expected more than that; give "
            "more memory, or a smaller batch"
        )
    at_update = resident + update.gradient_bytes + update.temporary_bytes
    if memory < at_update and request.on_infeasible == "raise":
        raise PlannerError(
            f"memory = {memory}; the optimizer's update takes {at_update} bytes, of which "
            f"{update.temporary_bytes} are temporaries; expected at least that, since no plan "
            "makes it less; give more memory, another optimizer (fused=True), or "
            "on_infeasible='least'"
        )
    return memory - resident - kept


def _resident(joint: Joint, request: Request, model_tensors: Iterable[Any]) -> int:
    """Return the bytes that exist before the step; 0 where they are not asked about."""
    if request.memory is None:
        return 0
    values = joint.program.values
    inputs = sum(int(values[one].spec.nbytes) for one in joint.fed if values[one].buffer == one)
    return storage_bytes(model_tensors) + inputs + request.update.state_bytes


def _schedule(
    program: Program, request: Request, limit: int | None, seconds: np.ndarray | None
) -> Schedule:
    if request.plan is not None:
        return read_schedule(request.plan, program)
    if request.planner is not None:
        return request.planner(program)
    assert limit is not None
    costs = cost_of_each(request.cost, program) if seconds is None else seconds  # once
    budget = Budget(max_bytes=limit, cost=_named(request.cost, costs))
    path = None if request.cache is None else _file(request, program, budget, costs)
    if path is not None and path.exists():
        try:
            kept = read_schedule(path, program)
        except ScheduleError:
            kept = None  # a damaged file, or one of another version
        if kept is not None and peak(program, kept) <= limit:
            return kept
    schedule = _fastest(program, request, budget)
    if path is not None and peak(program, schedule) <= limit:
        _write(path, lambda partial: write_schedule(partial, program, schedule))
    return schedule


def _named(cost: str | CostOf, costs: np.ndarray) -> str | CostOf:
    """Return a cost that gives what is known already, under the name of the one that found it."""
    if cost == "ops":
        return cost

    def known(_: Program) -> np.ndarray:
        return costs

    known.__name__ = cost_name(cost)
    return known


def _fastest(program: Program, request: Request, budget: Budget) -> Schedule:
    limit = budget.max_bytes
    assert isinstance(limit, int)
    try:
        return budget(program)
    except BudgetError as nothing:
        least: Schedule = nothing.schedule
        if request.on_infeasible == "least":
            return least
        raise BudgetError(
            f"{limit} bytes for activations and gradients are below what any plan of this model "
            f"takes; the least is {nothing.peak_bytes} bytes: give "
            f"{nothing.peak_bytes - limit} bytes more, a smaller batch, or on_infeasible='least'",
            least,
            nothing.peak_bytes,
        ) from None


def _version() -> str:
    """Return the version of this project, empty where its source is used without installing it."""
    try:
        return version("tapemeasure")
    except PackageNotFoundError:
        return ""


def _file(request: Request, program: Program, budget: Budget, costs: np.ndarray) -> Path:
    assert request.cache is not None
    made_by = (torch.__version__, _version(), str(budget))
    digest = _digest(program, repr((made_by, request.on_infeasible, costs.tobytes())))
    return request.cache / f"{digest}.csv"


def _digest(program: Program, made_by: str) -> str:
    digest = hashlib.sha256(made_by.encode())
    for value in program.values:
        digest.update(repr((value.spec, value.buffer, value.role)).encode())
    for op, reads, writes, phase in program.instructions:
        digest.update(
            repr((op.parameters, getattr(op, "nbytes", 0), reads, writes, phase)).encode()
        )
    digest.update(repr(program.targets).encode())
    return digest.hexdigest()[:32]


def _seconds(joint: Joint, request: Request) -> np.ndarray:
    """Return the seconds of each instruction, measured once a graph, machine and thread count.

    They are kept next to the plans, so that the same numbers find the same plan.
    """
    path = None
    if request.cache is not None:
        made_by = (torch.__version__, _version(), platform.node(), torch.get_num_threads())
        path = request.cache / f"{_digest(joint.program, repr(made_by))}.npy"
        with suppress(OSError, ValueError):  # not measured yet, or damaged
            kept: np.ndarray = np.load(path)
            if kept.shape == (len(joint.works),):
                return kept
    _say(request, "timing its operations …")
    seconds = seconds_of_each(joint)
    if path is not None:
        _write(path, lambda partial: np.save(partial, seconds))
    return seconds


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file of the cache, whole or not at all; a full disk is no reason to stop."""
    partial = path.with_name(f"{os.getpid()}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)


def _say(request: Request, line: str) -> None:
    if not request.quiet:
        print(f"tapemeasure: {line}", file=sys.stderr, flush=True)
