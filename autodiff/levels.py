"""Levels of storage below memory: a program whose values can be stored there and loaded again.

`movable(program)` adds two instructions for each value that may move: STORE reads the value and
writes a token, LOAD reads the token and writes the value. A token stands for the copy below: it
takes no bytes in memory, and the copy goes when the token does. So a lifetime is one of a value or
of its copy, liveness gives both, and a LOAD without a STORE before it reads what is not computed.

- `disk`: a file in the directory for temporary files, mapped into memory. It has no name from the
  moment on that it is opened, so nothing is left behind, also where the process is killed.
- `host`: pinned memory of the host, for values on a card. On the CPU there is no level in between:
  the copy is memory of the same kind, and that it is no live byte is a convention of accounting.

Bound: copies are made one after another with the computation, never next to it.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch.utils._python_dispatch import _disable_current_modes

from autodiff.cost import FREE, Cost
from autodiff.errors import ScheduleError
from autodiff.instructions import FORWARD, PHASES, RECOMPUTE, TEMPORARY, Instruction, Value
from autodiff.program import Program
from autodiff.spec import CONTIGUOUS, DENSE, Spec

LEVELS = (HOST, DISK) = ("host", "disk")
"""The levels below memory."""

_TOKEN = Spec((0,), torch.uint8)


@dataclass(frozen=True)
class Label:
    """The name of a value that no op of the program makes."""

    label: str
    value: None = None


@dataclass(frozen=True, eq=False)
class Move:
    """A copy from memory to a level below it, or back; it counts no operations."""

    name: str
    level: str
    kernel: Callable[..., torch.Tensor]
    repeatable: ClassVar[bool] = True
    replay: ClassVar[None] = None
    into: ClassVar[None] = None
    view_of: ClassVar[None] = None
    is_counted: ClassVar[bool] = True

    @property
    def parameters(self) -> tuple[str, str]:
        """Return what tells the op from others of its class."""
        return self.name, self.level

    @property
    def compute(self) -> Callable[..., torch.Tensor]:
        """Return the kernel, which is the only formula."""
        return self.kernel

    def cost(self, *specs: Spec) -> Cost:
        """Return no operations."""
        return FREE

    def workspace(self, *specs: Spec) -> int:
        """Return 0."""
        return 0


def movable(program: Program, level: str = DISK) -> Program:
    """Return the program with a STORE and a LOAD for each value of its forward part.

    Values that are views, or whose memory has gaps, cannot move. All instructions and values keep
    their numbers. Raises ScheduleError for an unknown level.
    """
    if level not in LEVELS:
        raise ScheduleError(f"level={level!r}; expected one of {', '.join(LEVELS)}; give one")
    values, instructions = list(program.values), list(program.instructions)
    store = Move("store", level, partial(_stored, level=level))
    load = Move("load", level, _loaded)
    for step in program.instructions:
        for write in step.writes if step.phase == FORWARD else ():
            spec = program.values[write].spec
            if program.values[write].buffer == write and spec.layout in (CONTIGUOUS, DENSE):
                token = len(values)
                label = Label(f"{program.label(write)} on {level}")
                values.append(Value(_TOKEN, token, TEMPORARY, label))
                instructions.append(Instruction(store, (write,), (token,), RECOMPUTE))
                instructions.append(Instruction(load, (token,), (write,), RECOMPUTE))
    return replace(program, values=tuple(values), instructions=tuple(instructions))


def without_moves(program: Program) -> Program:
    """Return the program without what `movable` added."""
    steps = tuple(step for step in program.instructions if not isinstance(step.op, Move))
    if len(steps) == len(program.instructions):
        return program
    tokens = (len(program.instructions) - len(steps)) // 2
    return replace(
        program, values=program.values[: len(program.values) - tokens], instructions=steps
    )


def moves_of(program: Program) -> Mapping[int, tuple[int, int]]:
    """Return the instructions that store and load each value that can move."""
    instructions = program.instructions
    return {
        step.reads[0]: (i, i + 1)
        for i, step in enumerate(instructions)
        if isinstance(step.op, Move) and step.op.name == "store"
    }


def moved_bytes(program: Program, order: np.ndarray) -> int:
    """Return the bytes that an order moves between levels, both ways."""
    if not np.any(program.flat.phases == PHASES.index(RECOMPUTE)):
        return 0
    times = np.bincount(order, minlength=len(program.instructions)).tolist()
    return sum(
        (times[store] + times[load]) * int(program.values[value].spec.nbytes)
        for value, (store, load) in moves_of(program).items()
        if times[store]
    )


def _stored(value: torch.Tensor, level: str) -> torch.Tensor:
    """Return a token that holds a copy of a value at a level."""
    token: Any = torch.empty(0, dtype=torch.uint8)
    with _disable_current_modes():  # memory below is not for those who watch memory
        flat = value.as_strided((value.numel(),), (1,))
        copy = (
            _on_disk(flat)
            if level == DISK
            else torch.empty_like(flat, device="cpu", pin_memory=flat.is_cuda)
        )
        copy.copy_(flat)
    token.below = copy, value.shape, value.stride(), value.device
    return token  # type: ignore[no-any-return]


def _loaded(token: Any) -> torch.Tensor:
    copy, shape, strides, device = token.below
    value = torch.empty_strided(shape, strides, dtype=copy.dtype, device=device)
    with _disable_current_modes():
        value.as_strided((value.numel(),), (1,)).copy_(copy)
    return value


def _on_disk(flat: torch.Tensor) -> torch.Tensor:
    """Return memory of a file without a name, for the elements of a flat tensor."""
    nbytes = max(flat.nbytes, 1)
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(file.fileno(), 0, nbytes)
        except OSError as error:
            raise ScheduleError(
                f"{nbytes} bytes cannot be stored in {tempfile.gettempdir()}: {error.strerror}; "
                "free disk space, or set TMPDIR to a directory with more"
            ) from error
        mapped = mmap.mmap(file.fileno(), nbytes)
    if not flat.numel():
        return torch.empty_like(flat, device="cpu")
    return torch.frombuffer(mapped, dtype=flat.dtype, count=flat.numel())
