"""What the calls of a step cost, from the table of aten's ops.

A call on a nested tensor costs what it costs on each of its tensors, and a call that brings a
nested tensor down to a plain one what it costs on their joined rows.
"""

from __future__ import annotations

import math
from functools import lru_cache, reduce
from operator import add
from typing import Any

import torch

from autodiff.aten.call import Call
from autodiff.aten.table import TABLE, cost_of, family_name
from autodiff.cost import FREE, Cost
from profiler.pytorch.kinds import is_control_flow
from profiler.pytorch.notes import NestedShape, Noted


def cost_of_call(call: Noted) -> Cost | None:
    """Return what a call costs, from the table of aten's ops; None where that lacks the op."""
    return _cost(call.func, call.args, call.kwargs, call.results, len(TABLE))


@lru_cache(maxsize=1 << 16)
def _cost(
    func: Any,
    args: tuple[Any, ...],
    kwargs: tuple[tuple[str, Any], ...],
    results: tuple[Any, ...],
    rows: int,
) -> Cost | None:
    """Return the cost; `rows` is the size of the table, so that a cost added to it is seen."""
    schema = getattr(func, "_schema", None)
    if schema is None:
        return FREE if is_control_flow(func) else None
    nested = [shape for shape in (*args, *results) if isinstance(shape, NestedShape)]
    if not nested:
        return cost_of(family_name(schema.name), Call(args, dict(kwargs), results))
    if not all(isinstance(shape, NestedShape) for shape in results):
        return _cost(func, _joined(args), kwargs, _joined(results), rows)
    places = range(len(nested[0]))
    costs = [_cost(func, _one_of(args, i), kwargs, _one_of(results, i), rows) for i in places]
    return None if None in costs else reduce(add, costs, FREE)


def _one_of(shapes: tuple[Any, ...], i: int) -> tuple[Any, ...]:
    """Return a call's shapes for tensor i of the nested tensors alone, as a batch of one."""
    return tuple(
        torch.Size((1, *shape[i])) if isinstance(shape, NestedShape) else shape for shape in shapes
    )


def _joined(shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a call's shapes with the rows of each nested tensor joined into one matrix."""
    return tuple(
        torch.Size((sum(math.prod(one[:-1]) for one in shape), shape[0][-1]))
        if isinstance(shape, NestedShape) and shape
        else shape
        for shape in shapes
    )
