"""The parts of a program: values, instructions, the phases of instructions, the roles of buffers.

Phases and roles are plain strings, not members of an enumeration: they are the keys of
`Profile.ops_by_phase` and the labels in every table, where a reader should see `forward` and not
`<Phase.FORWARD: 'forward'>`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from autodiff.spec import Spec

PHASES = (FORWARD, RECOMPUTE, BACKWARD) = ("forward", "recompute", "backward")
"""The phases of an instruction.

It is of forward if the loss depends on it, otherwise of backward; a forward instruction that runs
again is of recompute.
"""

ROLES = (PARAMETER, INPUT, ACTIVATION, GRADIENT, PARAMETER_GRADIENT, TEMPORARY) = (
    "parameter",
    "input",
    "activation",
    "gradient",
    "parameter_gradient",
    "temporary",
)
"""What a buffer holds. Parameters and inputs are caller-owned; `gradient` is an activation's."""


class Value(NamedTuple):
    """One value.

    It has a spec, the value whose buffer it lives in (itself where it owns one), its buffer's role,
    and its source, which has a `label` and, where the value is given, a `value`.
    """

    spec: Spec
    buffer: int
    role: str
    source: Any


class Instruction(NamedTuple):
    """One op on values, of phase forward or backward (moves between levels: recompute).

    `op` has `cost`, `kernel` or `compute`, `repeatable` and `workspace`. Where it has a `replay`,
    the last read is the state of a random generator, which only further runs read.
    """

    op: Any
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    phase: str

    @property
    def first_reads(self) -> tuple[int, ...]:
        """What the first run reads."""
        return self.reads if self.op.replay is None else self.reads[:-1]
