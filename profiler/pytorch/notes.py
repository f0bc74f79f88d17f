"""What is noted while a PyTorch step runs: calls, births, deaths, marks. `interpret` reads it.

A buffer is a storage. Its number is its place in the order of first sight; buffers that existed
before the step are `given`, with their role.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch

from autodiff.instructions import (
    ACTIVATION,
    GRADIENT,
    INPUT,
    PARAMETER,
    PARAMETER_GRADIENT,
    TEMPORARY,
)

BUFFER, OPTIMIZER_STATE = "buffer", "optimizer_state"

ROLES = (
    PARAMETER,
    BUFFER,
    INPUT,
    ACTIVATION,
    GRADIENT,
    PARAMETER_GRADIENT,
    OPTIMIZER_STATE,
    TEMPORARY,
)
"""The roles of a PyTorch step's buffers; what existed before the step is not in the live bytes."""

OPTIMIZER = "optimizer"
"""The phase of an optimizer's update, in addition to forward, recompute and backward."""

# Where a call ran. FORWARD: autograd on, outside the backward engine; UNTAPED: autograd off there.
IN_FORWARD, IN_UNTAPED, IN_RECOMPUTE, IN_BACKWARD, IN_OPTIMIZER = range(5)

BEFORE = -1
"""The step at which a given buffer was born."""

NO_NODE, ACCUMULATE = -1, (1 << 64) - 1
"""The sequence number outside any autograd node, and that of nodes that accumulate gradients."""

NO_MODULE = -1
"""The number of the module of a call that ran in none."""


class NestedShape(tuple[torch.Size, ...]):
    """The shapes of the tensors in a nested tensor, in the place of its shape."""


class Noted(NamedTuple):
    """One call of an op.

    `args`, `kwargs` and `results` have shapes in the place of tensors. `sequence` is the number of
    the autograd node that the call belongs to; in forward that of the next node. `module` is the
    number of the innermost module, `reads` are buffers, `done` is the clock in ns at the end.
    """

    func: Any
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    results: tuple[Any, ...]
    where: int
    sequence: int
    module: int
    reads: list[int]
    done: int


class ModuleCall(NamedTuple):
    """One call of a module: its number, and whether it ran inside the backward engine."""

    module: int
    recomputed: bool


class NamedModule(NamedTuple):
    """A module of the model: its dotted name and its class."""

    name: str
    kind: str


def concrete(tree: Any) -> Any:
    """Return nested containers with the value that each symbolic number had in the step."""
    if isinstance(tree, torch.SymInt):
        return int(tree.node.hint)
    if isinstance(tree, torch.Size):
        return torch.Size(concrete(size) for size in tree)
    if isinstance(tree, list | tuple):
        return type(tree)(concrete(one) for one in tree)
    return tree


@dataclass(eq=False)
class Notes:
    """The notes of one step.

    `raw` are plain tuples with the fields of `Noted`, for speed; `calls` are the same by name.
    `sizes` and `born` have one entry for each buffer: bytes, and the step of birth (or BEFORE).
    `given` has the role of every buffer that existed before, `labels` the names of those that have
    one. `deaths` are (buffer, last step at which it lived), `marks` are (buffer, role learned
    later), `seeds` are the buffers that backward passes began from. `start` is the clock in ns
    before the first call. `entered` are the calls of `modules`. `elsewhere` has the calls of ops
    that ran in other threads, of which nothing else is noted.
    """

    raw: list[tuple[Any, ...]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    born: list[int] = field(default_factory=list)
    given: dict[int, str] = field(default_factory=dict)
    deaths: list[tuple[int, int]] = field(default_factory=list)
    marks: list[tuple[int, str]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    start: int = 0
    entered: list[ModuleCall] = field(default_factory=list)
    modules: list[NamedModule] = field(default_factory=list)
    labels: dict[int, str] = field(default_factory=dict)
    elsewhere: Counter[str] = field(default_factory=Counter)

    @cached_property
    def calls(self) -> list[Noted]:
        """Return the calls by field; to be read when the step is over."""
        if any(isinstance(size, torch.SymInt) for size in self.sizes):
            self.sizes[:] = concrete(self.sizes)
            self.raw[:] = [(call[0], *concrete(call[1:4]), *call[4:]) for call in self.raw]
        return [Noted(*call) for call in self.raw]

    @cached_property
    def births(self) -> dict[int, list[int]]:
        """Return the buffers that each step brings to life."""
        births: dict[int, list[int]] = {}
        for buffer, step in enumerate(self.born):
            if step != BEFORE:
                births.setdefault(step, []).append(buffer)
        return births

    @cached_property
    def dies(self) -> list[int]:
        """Return the last step at which each buffer lives; the number of steps if it outlives them.

        A buffer that died before the first call of the step has lived through none of it: −1.
        """
        dies = [len(self.raw)] * len(self.sizes)
        for buffer, step in self.deaths:
            dies[buffer] = step
        return dies

    @cached_property
    def own(self) -> list[int]:
        """Return the buffers that the step brought to life, which are those of its ledger."""
        return [buffer for buffer, step in enumerate(self.born) if 0 <= step < len(self.raw)]
