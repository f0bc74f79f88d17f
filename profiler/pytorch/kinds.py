"""How each op is to be noted, as its schema and its kernels say."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from autodiff.aten.kernels import CORRECTIONS
from autodiff.aten.table import is_view

SILENT, VIEW, DETACH, COMPOSITE, PLAIN, IN_PLACE, CORRECTED, HIGHER, LIFT, RESIZING = range(10)
"""The kinds of ops, in an order that the recorder's comparisons rely on.

SILENT ops are not noted: questions to a tensor, marks of other profilers. A VIEW is not noted
either, unless it is of a sparse tensor, which it copies. DETACH is a view that hands over
gradients. COMPOSITE ops have no kernel of their own and are noted as the ops that they are made of.
IN_PLACE results live in arguments. The fake results of CORRECTED ops are not what the CPU's kernel
makes. HIGHER ops run functions that they are given, such as branches. LIFT makes a tensor of a
literal. RESIZING ops may give an argument's storage another size.
"""

_BACKENDS = ("CPU", "CUDA")
_CONTROL_FLOW = frozenset(("cond", "while_loop", "scan", "associative_scan", "map_impl"))


class Met(NamedTuple):
    """An op's kind, the callable that runs it with the fewest frames, and the op itself.

    Holding the op keeps its identity from being given to another.
    """

    kind: int
    run: Any
    func: Any


_met: dict[int, Met] = {}
"""The ops met so far by their identity."""

met_before = _met.get


def meet(func: Any) -> Met:
    """Return how an op is to be noted and called, and remember it."""
    run = func._op if type(func) is torch._ops.OpOverload else func
    _met[id(func)] = met = Met(kind_of(func), run, func)
    return met


def kind_of(func: Any) -> int:
    """Return the kind of an op."""
    if is_control_flow(func):
        return HIGHER
    if not isinstance(func, torch._ops.OpOverload):
        return PLAIN
    name, returns = func._schema.name, func._schema.returns
    if name.startswith(("prim::", "profiler::")):
        return SILENT
    if name == "aten::lift_fresh":
        return LIFT
    if name in ("aten::detach", "aten::detach_"):
        return DETACH
    if _is_composite(func):
        return COMPOSITE
    if name in ("aten::resize_", "aten::resize_as_", "aten::set_") or any(
        argument.is_out for argument in func._schema.arguments
    ):
        return RESIZING
    if is_view(func):
        return VIEW
    if returns and all(one.alias_info is not None for one in returns):
        return IN_PLACE
    return CORRECTED if name in CORRECTIONS else PLAIN


def is_control_flow(func: Any) -> bool:
    """Return whether an op does nothing but run functions that it is given."""
    return isinstance(func, torch._ops.HigherOrderOperator) and func._name in _CONTROL_FLOW


def _is_composite(func: Any) -> bool:
    """Return whether an op runs as other ops on every backend.

    An op may have a composite kernel for some backends and a kernel of its own for others, such as
    `silu_backward`; that op is not taken apart, because the backend does not either.
    """
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    if not torch._C._dispatch_has_kernel(func._name):
        return False
    return has_kernel(func._name, "CompositeImplicitAutograd") and not any(
        has_kernel(func._name, backend) for backend in _BACKENDS
    )
