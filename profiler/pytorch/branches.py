"""The functions that control-flow ops run: their ops are to be noted one by one."""

from __future__ import annotations

from typing import Any

from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode


def with_branches_under(mode: TorchDispatchMode, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return the arguments of a control-flow op with functions that run under a dispatch mode.

    On fake tensors such an op runs its functions to learn shapes, which is not what a step runs, so
    the arguments are returned as they are.
    """
    if any(isinstance(one, FakeTensor) for one in pytree.tree_leaves(args)):
        return args

    def under(function: Any) -> Any:
        def run(*inputs: Any) -> Any:
            with mode:
                return function(*inputs)

        return run

    return tuple(under(one) if callable(one) else one for one in args)
