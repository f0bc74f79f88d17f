"""What a module's layers cost, in one call and without running it: shapes, operations, kept bytes.

The module is copied with fake tensors in the places of its own, so nothing is allocated and nothing
of it changes; the copy runs one forward and one backward pass.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils import _pytree as pytree

from autodiff.errors import GraphError
from autodiff.instructions import ACTIVATION
from profiler.measurement import Profile
from profiler.pytorch.steps import profile_step
from profiler.table import latex_of
from profiler.units import human_bytes, human_count

_COLUMNS = {
    "module": "module",
    "class": "class",
    "output": "output shape",
    "parameters": "parameters",
    "ops_forward": "operations",
    "matmul_flops": "matmul flops",
    "kept_bytes": "kept",
    "kept_by": "saved by",
}


@dataclass(frozen=True, eq=False)
class Summary:
    """The layers of a module: `frame` has one row each, `profile` the step that was measured.

    `kept_bytes` are a layer's activations alive at the peak of the step, `kept_by` the ops that
    saved them for backward. Operations and flops are those of the forward pass and of both passes.
    """

    frame: pd.DataFrame
    profile: Profile

    def __str__(self) -> str:
        return f"{self._shown().to_string(index=False)}\n{self._last_line()}"

    def _repr_html_(self) -> str:
        return f"{self._shown().to_html(index=False)}<p>{self._last_line()}</p>"

    def to_latex(self) -> str:
        """Return the table for LaTeX with the package booktabs."""
        return latex_of(self._shown(), "lllrrrrl")

    def _shown(self) -> pd.DataFrame:
        shown = self.frame[list(_COLUMNS)].assign(
            module=[name or "(the whole module)" for name in self.frame["module"]],
            kept_bytes=[human_bytes(size) if size else "" for size in self.frame["kept_bytes"]],
        )
        for name in ("parameters", "ops_forward", "matmul_flops"):
            shown[name] = [human_count(count) if count else "" for count in shown[name]]
        return shown.rename(columns=_COLUMNS)

    def _last_line(self) -> str:
        whole = self.frame.iloc[0]
        return (
            f"{human_count(int(whole['parameters']))} parameters, "
            f"{human_bytes(int(whole['parameter_bytes']))}; a forward and a backward pass take "
            f"{human_count(self.profile.ops.total)} operations and peak at "
            f"{human_bytes(self.profile.peak_bytes)} above parameters and inputs"
        )


def summary(
    model: nn.Module,
    *inputs: torch.Tensor,
    input_size: Sequence[int] | Sequence[Sequence[int]] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Summary:
    """Return what each layer of a module costs, without running the module itself.

    Give inputs, or `input_size`: the shape of the input with its batch, or a list of shapes, of
    tensors of `dtype`. The loss is the sum of the outputs. Raises GraphError where there are
    neither, or no parameter requires a gradient.
    """
    if not any(tensor.requires_grad for tensor in model.parameters()):
        raise GraphError(
            "no parameter of the model requires a gradient; expected at least one, for what is "
            "kept is kept for backward; call model.requires_grad_()"
        )
    shapes_given = _shapes(inputs, input_size)
    mode = FakeTensorMode()
    with FakeCopyMode(mode):
        made = copy.deepcopy(model)
    with mode:
        given: list[torch.Tensor] = [mode.from_tensor(tensor) for tensor in inputs] or [
            torch.zeros(shape, dtype=dtype) for shape in shapes_given
        ]
        shapes: dict[str, str] = {}
        hooks = [
            module.register_forward_hook(_recorder_of(name, shapes))
            for name, module in made.named_modules()
        ]
        profile = profile_step(lambda: torch.autograd.backward(_loss_of(made(*given))), model=made)
        for hook in hooks:
            hook.remove()
    return Summary(_frame(made, profile, shapes), profile)


def _shapes(inputs: Sequence[Any], input_size: Sequence[Any] | None) -> list[tuple[int, ...]]:
    if bool(inputs) == bool(input_size is not None and len(input_size)):
        raise GraphError(
            f"{'both' if inputs else 'neither'} inputs and input_size given; expected one of them, "
            "such as summary(model, input_size=(32, 3, 224, 224))"
        )
    if input_size is None:
        return []
    several = input_size if isinstance(input_size[0], Sequence) else [input_size]
    return [tuple(int(size) for size in shape) for shape in several]


def _recorder_of(name: str, shapes: dict[str, str]) -> Any:
    def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
        tensors = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, torch.Tensor)]
        if tensors:
            shapes[name] = " ".join("×".join(map(str, tensor.shape)) or "()" for tensor in tensors)

    return record


def _loss_of(output: Any) -> torch.Tensor:
    """Return the sum of all that could be trained on."""
    sums = [
        leaf.sum()
        for leaf in pytree.tree_leaves(output)
        if isinstance(leaf, torch.Tensor) and leaf.requires_grad
    ]
    if not sums:
        raise GraphError(
            "no output of the model has a gradient; expected one, for what is kept is kept for "
            "backward; give a model in training, with outputs of floating point"
        )
    return torch.stack([one.float() for one in sums]).sum() if len(sums) > 1 else sums[0]


def _frame(model: nn.Module, profile: Profile, shapes: dict[str, str]) -> pd.DataFrame:
    rows = profile.by_module()
    rows = rows[rows["class"] != ""].reset_index(drop=True)
    counts = {
        name: sum(one.numel() for one in module.parameters())
        for name, module in model.named_modules()
    }
    alive = profile.alive_at_peak()
    kept = alive[alive["role"] == ACTIVATION]
    return rows.assign(
        output=rows["module"].map(shapes).fillna(""),
        parameters=rows["module"].map(counts).fillna(0).astype(int),
        kept_bytes=rows["peak_activation_bytes"],
        kept_by=[_savers(kept, name) for name in rows["module"]],
    )


def _savers(kept: pd.DataFrame, module: str) -> str:
    """Return the kinds of ops that saved what a module itself keeps, the most bytes first."""
    mine = kept[kept["module"] == module] if module else kept.iloc[:0]
    bytes_by_op: Counter[str] = Counter()
    for row in mine.to_dict("records"):
        bytes_by_op[str(row.get("saved_by") or "")] += int(row["bytes"])
    return ", ".join(op for op, _ in bytes_by_op.most_common(3) if op)
