"""The program that a measurement is of, and the bytes of what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from autodiff.algorithms import gradients
from autodiff.errors import GraphError
from autodiff.node import ComputationNode
from autodiff.program import Program, linearize


def program_of(
    loss: ComputationNode | Program,
    wrt: Sequence[ComputationNode] = (),
    stop_after: str = "backward",
) -> Program:
    """The program that `profile` measures.

    Raises GraphError where `wrt` is given beside a program, or `stop_after` is neither forward nor backward.
    """
    if stop_after not in ("forward", "backward"):
        raise GraphError(f"stop_after={stop_after!r}; expected 'forward' or 'backward'")
    if isinstance(loss, Program):
        if wrt:
            raise GraphError(
                "wrt was given beside a Program, which has its targets already; leave wrt out, or give the loss's node"
            )
        program = loss
    elif isinstance(loss, ComputationNode):
        wrt = [wrt] if isinstance(wrt, ComputationNode) else list(wrt)
        if loss.spec is None:
            linearize([loss])  # says which node says too little of itself, and what it lacks
        program = linearize([loss, *(gradients(loss, wrt) if wrt else [])], wrt)
    else:
        raise GraphError(
            f"loss is a {type(loss).__name__}; expected a node of a computation graph, or a Program"
        )
    return program.forward_part() if stop_after == "forward" else program


def given_bytes(program: Program, role: str) -> int:
    """The bytes of the given values of a role, each buffer once."""
    sizes: dict[Any, int] = {}
    for i in program.given:
        value = program.values[i]
        if value.role == role:
            held = getattr(value.source, "value", None)
            shared = held.untyped_storage()._cdata if isinstance(held, torch.Tensor) else i
            sizes[shared] = (
                max(sizes[shared], value.spec.nbytes) if shared in sizes else value.spec.nbytes
            )
    return sum(sizes.values())
