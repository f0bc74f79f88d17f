"""The table of PyTorch's own ops: what each costs, derived from its formula.

`cost_of(name, call)` returns a `Cost` in the convention of `autodiff.cost`, or None where the table
has no row, so that nothing is taken for free in silence. Names are those of the dispatcher without
the suffix for writing in place: `add`, `_softmax`, `convolution_backward`. Views cost nothing;
`is_view` recognizes them by their schema. The families:

    pointwise       arithmetic, elementary functions, comparisons, activations and their gradients
    reductions      sums, extremes, norms, softmax, scans, scattered sums
    products        matrix products, convolutions, attention: only these have `matmul_flops`
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

from typing import Any

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

FAMILIES: dict[str, dict[str, Rule]] = {
    "pointwise": POINTWISE,
    "reductions": REDUCTIONS,
    "products": PRODUCTS,
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


def family_name(schema_name: str) -> str:
    """Return a row's name: `add` for `aten::add_`; the full name of any other library's op."""
    library, _, name = schema_name.rpartition("::")
    if library not in ("aten", ""):
        return schema_name
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def cost_of(name: str, call: Call) -> Cost | None:
    """Return what a call costs; None where the table has no row of that name (`family_name`)."""
    rule = TABLE.get(name)
    if rule is not None:
        return rule(call)
    if name.startswith("_foreach_"):
        one = TABLE.get(name.removeprefix("_foreach_"))
        return None if one is None else for_each(call, one)
    return None


def is_view(func: Any) -> bool:
    """Return whether all that an op returns lives unchanged in its inputs' memory."""
    returns = func._schema.returns
    return bool(returns) and all(
        one.alias_info is not None and not one.alias_info.is_write for one in returns
    )
