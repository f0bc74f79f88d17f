"""The program that a measurement is of, and the bytes of what it is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from autodiff.algorithms import gradients
from autodiff.errors import GraphError
from autodiff.instructions import PARAMETER
from autodiff.node import ComputationNode
from autodiff.program import Program, linearize


def program_of(
    loss: ComputationNode | Program,
    wrt: Sequence[ComputationNode] = (),
    stop_after: str = "backward",
) -> Program:
    """Return the program that `profile` measures.

    Raises GraphError where `wrt` is given with a program, or `stop_after` is neither forward nor
    backward.
    """
    if stop_after not in ("forward", "backward"):
        raise GraphError(f"stop_after={stop_after!r}; expected 'forward' or 'backward'")
    if isinstance(loss, Program):
        if wrt:
            raise GraphError(
                "wrt was given with a Program, which has its targets already; leave wrt out, or "
                "give the loss's node"
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
    """Return the bytes of the given values of a role.

    A tensor takes the whole of its storage, and values that share one take it once: it counts for
    parameters where one of them is a parameter.
    """
    total: Any = 0
    seen: set[int] = set()
    for value in sorted(
        (program.values[i] for i in program.given), key=lambda value: value.role != PARAMETER
    ):
        nbytes = value.spec.nbytes
        held = getattr(value.source, "value", None)
        if isinstance(held, torch.Tensor):
            storage = held.untyped_storage()
            if storage._cdata in seen:
                continue
            seen.add(storage._cdata)
            nbytes = storage.nbytes()
        if value.role == role:
            total = total + nbytes
    return total  # type: ignore[no-any-return]
