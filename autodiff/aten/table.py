"""The table of PyTorch's own ops: what each costs, derived from its formula.

`cost_of(name, call)` returns a `Cost` in the convention of `autodiff.cost`, or None where the table
has no row, so that nothing is taken for free in silence. Names are those of the dispatcher without
the suffix for writing in place: `add`, `_softmax`, `convolution_backward`. Views cost nothing;
`is_view` recognizes them by their schema. The families:

    pointwise       arithmetic, elementary functions, comparisons, activations and their gradients
    reductions      sums, extremes, norms, softmax, scans, scattered sums
    products        matrix products and convolutions, which have `matmul_flops`
    attention       attention kernels, which have them too
    normalization   layer, batch, group and root-mean-square norms
    losses          squared, absolute, entropy
    pooling         windows and resampling
    optimizers      `_foreach_` ops and fused updates
    fused           whole layers in one op: LSTM, attention and encoder layer of inference
    copies          what moves, makes or draws elements and counts nothing

Bound: what kernels do differently from the formula (blocking, fusing, Winograd) is not counted;
sorting, and whatever else depends on the data, is not in the table. A sparse argument counts as the
dense one of its shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from typing import Any

from autodiff.aten.attention import ATTENTION
from autodiff.aten.call import Call, Rule
from autodiff.aten.copies import COPIES
from autodiff.aten.fused import FUSED
from autodiff.aten.losses import LOSSES
from autodiff.aten.normalization import NORMALIZATION
from autodiff.aten.optimizers import OPTIMIZERS, for_each
from autodiff.aten.pointwise import POINTWISE
from autodiff.aten.pooling import COPYING_RESAMPLERS, POOLING
from autodiff.aten.products import PRODUCTS
from autodiff.aten.reductions import REDUCTIONS
from autodiff.cost import FREE, Cost
from autodiff.errors import GraphError

FAMILIES: dict[str, dict[str, Rule]] = {
    "pointwise": POINTWISE,
    "reductions": REDUCTIONS,
    "products": PRODUCTS,
    "attention": ATTENTION,
    "normalization": NORMALIZATION,
    "losses": LOSSES,
    "pooling": POOLING,
    "optimizers": OPTIMIZERS,
    "fused": FUSED,
    "copies": {name: lambda call: FREE for name in (*COPIES, *COPYING_RESAMPLERS)},
}

TABLE: dict[str, Rule] = {
    name: rule for family in FAMILIES.values() for name, rule in family.items()
}
"""Every op that is counted, by its name."""


_PRIMS = {
    "convert_element_type": "_to_copy",
    "copy_to": "copy",
    "copy_strided": "copy",
    "broadcast_in_dim": "expand_copy",
    "shift_left": "bitwise_left_shift",
    "shift_right_arithmetic": "bitwise_right_shift",
    "erf_inv": "erfinv",
    "erfcx": "special_erfcx",
    "ndtri": "special_ndtri",
    "bessel_i0": "i0",
    "bessel_i0e": "special_i0e",
    "bessel_i1": "special_i1",
    "bessel_i1e": "special_i1e",
    "not": "logical_not",
    "iota": "arange",
    "concatenate": "cat",
    "rev": "flip",
    "normal": "randn",
    "empty_strided": "empty",
}
"""Primitives, of which forward mode is made, that have other names than the ops they compute."""


def register_cost(op: Any) -> Callable[[Rule], Rule]:
    """Return a decorator that makes a function the cost of an op that the table lacks.

    `op` is an op of `torch.library`, such as `torch.ops.mine.blur`, one of its overloads, or its
    name `"mine::blur"`. The function takes a `Call`, which has shapes in the place of tensors, and
    returns a `Cost`, or None for a call that it does not describe. Raises GraphError where `op` is
    none of these, or where the table already has its cost.
    """
    name = op if isinstance(op, str) else getattr(op, "_qualified_op_name", None)
    if name is None:
        name = getattr(getattr(op, "_schema", None), "name", None)
    if name is None or "::" not in name:
        raise GraphError(
            f"op is {op!r}; expected an op such as torch.ops.mine.blur, or its name 'mine::blur'"
        )
    row = family_name(name)
    if row in TABLE:
        raise GraphError(f"{name} has a cost; expected an op that the table lacks")

    def register(rule: Rule) -> Rule:
        TABLE[row] = rule
        return rule

    return register


def family_name(schema_name: str) -> str:
    """Return a row's name: `add` for `aten::add_`; the full name of any other library's op.

    An op that returns what its twin writes in place has the twin's row.
    """
    library, _, name = schema_name.rpartition("::")
    if library == "prims":
        return _PRIMS.get(name, name)
    if library not in ("aten", ""):
        return schema_name
    name = name.removesuffix("_functional")
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def cost_of(name: str, call: Call) -> Cost | None:
    """Return what a call costs; None where the table has no row of that name (`family_name`)."""
    rule = TABLE.get(name)
    if rule is not None:
        cost = rule(call)
        # Of nothing a sum has no additions, though what brings N down to R has N − R.
        return cost if cost is None or min(astuple(cost)) >= 0 else _not_negative(cost)
    if name.startswith("_foreach_"):
        one = TABLE.get(name.removeprefix("_foreach_"))
        return None if one is None else for_each(call, one)
    return None


def _not_negative(cost: Cost) -> Cost:
    return Cost(*(max(count, 0) for count in astuple(cost)))


def is_view(func: Any) -> bool:
    """Return whether all that an op returns lives unchanged in its inputs' memory."""
    returns = func._schema.returns
    return bool(returns) and all(
        one.alias_info is not None and not one.alias_info.is_write for one in returns
    )
