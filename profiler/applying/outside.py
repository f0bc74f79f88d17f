"""What a training step runs outside of the compiled model, as two instructions of its program.

A compiled model ends in its outputs and goes on from their gradients; the loss between them is the
user's own code. One instruction reads the outputs and writes a token that stands for the loss, one
reads the token and writes the gradients of the outputs. So a model whose loss lies outside is a
program like any other: it has a loss, and the border between forward and backward is one step.

Bound: what the loss outside allocates is an assumption: twice what the gradients of the outputs
take. So much cross-entropy needs, for its log-probabilities and their gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autodiff.cost import FREE, Cost
from autodiff.spec import Spec


@dataclass(frozen=True)
class Outside:
    """The loss outside of a model, or its gradient; it costs nothing here."""

    name: str
    nbytes: int = 0
    repeatable: bool = True
    replay: None = None
    into: None = None
    view_of: None = None
    parameters: tuple[Any, ...] = ()
    is_counted: bool = True

    def cost(self, *specs: Spec) -> Cost:
        """Return no operations: they are not the model's."""
        return FREE

    def workspace(self, *specs: Spec) -> int:
        """Return the bytes that are assumed to be allocated outside."""
        return self.nbytes
