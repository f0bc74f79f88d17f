"""What is noted while a PyTorch step runs: calls, births, deaths, marks. Raw; `interpret` makes numbers of it.

A buffer is a storage. It is known by its number in order of first sight; those that existed before the step are `given`, with their role.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

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
"""The roles of a PyTorch step's buffers. What existed before the step is reported beside the live bytes, not in them."""

OPTIMIZER = "optimizer"
"""The phase of an optimiser's update, beside forward, recompute and backward."""

# Where a call ran. FORWARD: autograd on, outside the backward engine; UNTAPED: autograd off there.
IN_FORWARD, IN_UNTAPED, IN_RECOMPUTE, IN_BACKWARD, IN_OPTIMIZER = range(5)

BEFORE = -1
"""The step at which a given buffer was born."""

NO_NODE, ACCUMULATE = -1, (1 << 64) - 1
"""The sequence number of a backward call outside any autograd node, and that of every node that accumulates a leaf's gradient."""


class Noted(NamedTuple):
    """One call: the op, its arguments and results with shapes for tensors, where it ran, the autograd node that it belongs to (its
    sequence number; forward: the next one's), the innermost module, the buffers that it read, and the clock in ns when it was done."""

    func: Any
    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]
    results: tuple[Any, ...]
    where: int
    sequence: int
    module: int
    reads: list[int]
    done: int


@dataclass(eq=False)
class Notes:
    """The notes of one step.

    `calls` are plain tuples with `Noted`'s fields. `sizes` and `born` have one entry a buffer: bytes, and the step of birth (or BEFORE). `given`
    has the role of every buffer that existed before, `labels` the names of those that have one. `deaths` are (buffer, last step at
    which it lived); `marks` (buffer, role) what was learned of a buffer later; `seeds` the buffers that backward passes began from.
    `start` is the clock in ns before the first call. `modules` are the names and classes of the modules, `entered` the number and place
    (a recomputation?) of every call of one.
    """

    calls: list[tuple[Any, ...]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    born: list[int] = field(default_factory=list)
    given: dict[int, str] = field(default_factory=dict)
    deaths: list[tuple[int, int]] = field(default_factory=list)
    marks: list[tuple[int, str]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    start: int = 0
    entered: list[tuple[int, bool]] = field(default_factory=list)
    modules: list[tuple[str, str]] = field(default_factory=list)
    labels: dict[int, str] = field(default_factory=dict)
