"""The largest batch that fits in a memory, by shape, mode and planner: the rows of capacity.csv.

What has to fit is the weights, the data and the peak of the step above them, together. That sum
grows with the batch, so the largest that fits is searched for from a guess, which the formula of
one plan gives; no tensor is made.

Besides the planners that are asked for, mode `checkpointed` has one more row: whatever plan of
`revolve` still fits, given all bytes that the weights and the data leave. Bound: the process around
the tensors, and what kernels take within themselves, is not in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import Any

import pandas as pd

from autodiff.checkpointing.parse import parse_planner
from autodiff.checkpointing.revolve import Revolve
from autodiff.collector import paused_collector
from autodiff.errors import PlannerError
from experiments.errors import one_line
from experiments.grid.config import Study, SweepConfig
from experiments.grid.points import points_of
from experiments.keys import GREATEST_DIMENSION
from experiments.measuring.columns import Columns
from experiments.measuring.isolated import ChildError, in_child, needs_child
from experiments.measuring.point import network_of, plan_of
from experiments.measuring.search import largest
from experiments.names import STORE_ALL
from experiments.results.capacity import ANY_PLAN, CAPACITY_COLUMNS, NUMBERS
from experiments.results.point import Point
from profiler.folding import Prediction, fold
from profiler.prediction import SIZE_BLIND, program_of_mode, symbols
from profiler.units import human_bytes


@dataclass(frozen=True)
class Need:
    """What a step takes at one batch."""

    b: int
    peak_bytes: int
    parameter_bytes: int
    input_bytes: int
    ops: int
    ops_recompute: int

    @property
    def bytes(self) -> int:
        """Return the bytes that have to fit."""
        return self.peak_bytes + self.parameter_bytes + self.input_bytes


Needs = Callable[[int], Need | None]
"""What a step takes at a batch; None where no plan fits."""


def capacity_of(config: SweepConfig) -> pd.DataFrame:
    """Return a row for each shape, mode, planner and memory; none if the config names no memory."""
    rows = (
        [row for study in config.studies for row in _rows_of(config, study)]
        if config.memory
        else []
    )
    return pd.DataFrame(rows, columns=list(CAPACITY_COLUMNS))


def _rows_of(config: SweepConfig, study: Study) -> Iterator[Columns]:
    asked = replace(
        study,
        grid=replace(study.grid, b=(1,)),
        modes=tuple(mode for mode in study.modes if mode != "only"),
        engines=("autodiff",),
        micro_batches=(1,),
    )
    points = points_of(replace(config, studies=(asked,)))
    # The plans with the least peak recompute most: start there to search for any plan that fits.
    lowest = {
        replace(point, planner=ANY_PLAN): point for point in points if point.mode == "checkpointed"
    }
    found: dict[tuple[Point, int], int] = {}
    for point in (*points, *lowest):
        for memory in config.memory:
            with paused_collector():
                guess = max(
                    (
                        b
                        for (other, held), b in found.items()
                        if held == memory and _alike(other, point)
                    ),
                    default=1,
                )
                row = _row_or_reason(point, memory, guess, config.timeout_s)
            found[point, memory] = int(row["b"] or 0)
            yield row


def _alike(one: Point, other: Point) -> bool:
    """Return whether two points are the same step under different planners."""
    return replace(one, planner="") == replace(other, planner="")


def _search(point: Point, memory: int, guess: int) -> tuple[Needs, int]:
    """Return what a point's step takes at any batch, and a batch near the greatest that fits."""
    if point.planner == ANY_PLAN:
        return _needs_of_any_plan(point, memory), max(guess, 1)
    if isinstance(parse_planner(point.planner), SIZE_BLIND):
        return _needs_by_formula(point, 1), 1
    near = 1
    for _ in range(2):  # a plan that was made for one batch is a good one for batches nearby
        near = max(
            largest(_within(_needs_by_formula(point, near), memory), GREATEST_DIMENSION, near), 1
        )
        if near == 1:
            break
    return cache(lambda b: _need(b, fold(*plan_of(point, network_of(point, b=b))), {})), near


def _row_or_reason(point: Point, memory: int, guess: int, timeout_s: float | None) -> Columns:
    """Return the row of a point, made in a child process where nothing of it may run here."""
    example = replace(point, planner=STORE_ALL) if point.planner == ANY_PLAN else point
    if not needs_child(example):
        return _row(point, memory, guess)
    try:
        row: Columns = in_child(_row, example, point, memory, guess, timeout_s=timeout_s)
    except ChildError as error:
        return {**_none_fits(point, memory), "reason": one_line(error)}
    return row


def _none_fits(point: Point, memory: int) -> Columns:
    columns = {name: getattr(point, name) for name in CAPACITY_COLUMNS if hasattr(point, name)}
    return {**columns, "memory_bytes": memory, "b": 0, "reason": ""}


def _row(point: Point, memory: int, guess: int) -> Columns:
    row = _none_fits(point, memory)
    try:
        needs, near = _search(point, memory, guess)
        most = largest(_within(needs, memory), GREATEST_DIMENSION, near)
        need = needs(most or 1)
    except Exception as error:  # a planner may be the user's own
        return {**row, "reason": one_line(error)}
    return (
        {**row, **vars(need)}
        if most and need is not None
        else {**row, "reason": _why_not_one(need, memory)}
    )


def _within(needs: Needs, memory: int) -> Callable[[int], bool]:
    return lambda b: (need := needs(b)) is not None and need.bytes <= memory


def _why_not_one(need: Need | None, memory: int) -> str:
    """Return why not even a batch of one fits."""
    if need is None:
        return f"no plan of a batch of 1 fits into {human_bytes(memory)}"
    parts = (
        f"weights of {human_bytes(need.parameter_bytes)} and "
        f"a peak of {human_bytes(need.peak_bytes)}"
    )
    return f"a batch of 1 takes {human_bytes(need.bytes)}, {parts}; {human_bytes(memory)} are given"


@lru_cache(maxsize=64)  # the next memory asks for the same
def _needs_by_formula(point: Point, b: int) -> Needs:
    """Return what a step takes at other batches under the plan that its planner makes for one."""
    batch = symbols()[1]
    _, schedule = plan_of(point, network_of(point, b=b))
    program = program_of_mode(network_of(point, b=batch), point.mode)
    formula = fold(program, schedule)
    return lambda b: _need(b, formula, {batch: [b]})


def _needs_of_any_plan(point: Point, memory: int) -> Needs:
    """Return what the fastest plan takes within the bytes that weights and data leave."""

    @cache
    def at(b: int) -> Need | None:
        program = program_of_mode(network_of(point, b=b), point.mode)
        left = memory - sum(program.values[value].spec.nbytes for value in program.given)
        try:
            return (
                _need(b, fold(program, Revolve(max_bytes=left)(program)), {}) if left > 0 else None
            )
        except PlannerError:
            return None

    return at


def _need(b: int, found: Prediction, shape: dict[Any, list[int]]) -> Need:
    columns = found.at(shape)
    return Need(b, *(int(columns[name][0]) for name in NUMBERS[1:]))
