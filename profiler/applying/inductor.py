"""The two graphs of a plan compiled by Inductor, through its own hook for a partition.

Inductor's passes over the joint graph run first, then the plan splits it, and Inductor makes
kernels of each half. What is kept between the halves is the plan's. The peak is not: inside of a
half Inductor fuses and reorders ops, and may run what is to run again late all at once.

Bound: random ops are never run again, since Inductor has no op that draws from a kept state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx
from torch._inductor.custom_graph_pass import CustomPartitionerFn

from autodiff.errors import PlannerError

Partition = Callable[..., tuple[fx.GraphModule, fx.GraphModule]]


class _Planned(CustomPartitionerFn):
    """Inductor's hook, which hands the joint graph on."""

    def __init__(self, partition: Partition) -> None:
        self._partition = partition

    def __call__(
        self, gm: fx.GraphModule, joint_inputs: Sequence[object], **kwargs: Any
    ) -> tuple[fx.GraphModule, fx.GraphModule]:
        return self._partition(gm, joint_inputs, **kwargs)

    def uuid(self) -> None:
        """Return nothing: what is made is not cached."""


def check_compiler() -> None:
    """Raise PlannerError where Inductor has no C++ compiler to work with."""
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except Exception as error:  # Inductor raises an error of its own, and subprocess others
        raise PlannerError(
            "inductor=True without a C++ compiler; expected one, such as g++, by which Inductor "
            "makes its kernels; install one, or leave inductor out"
        ) from error


def compiled(
    graph: fx.GraphModule, examples: Sequence[Any], partition: Partition
) -> Callable[..., Any]:
    """Return a graph compiled by Inductor, split by a partition function."""
    from torch._inductor.compile_fx import compile_fx

    # What Inductor caches of a graph would keep it from being planned; kernels are cached still.
    settings = {
        "custom_partitioner_fn": _Planned(partition),
        "fallback_random": True,
        "fx_graph_cache": False,
    }
    with torch._functorch.config.patch(enable_autograd_cache=False):
        return compile_fx(graph, examples, config_patches=settings)  # type: ignore[return-value]
