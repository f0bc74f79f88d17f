"""A program and a schedule as straight-line Python code, one line a step.

Each line computes, notes bytes and notes the clock; then it drops what dies.

    def steps(v, s, c):
        v0, v4 = v[0], v[4]
        v5 = Matmul(v0, v4); s(v5.untyped_storage().nbytes()); c(t())
        v6 = Tanh(v5); s(v6.untyped_storage().nbytes()); c(t())
        v5 = None
        …
        v[6] = v6

Within a function values are local variables, the fastest that Python has; `v` holds them between
functions. A function removes what it takes over from `v`, so that nothing outlives its last read;
only caller-owned values stay there. `s` notes bytes, `c(t())` the clock, and `w`, where the run is
watched, receives each step.

Bound: `STEPS_A_FUNCTION` steps a function, since Python's compiler takes more than linear time for
very long ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from autodiff.flat import repeated
from autodiff.kinds import kind_of
from autodiff.liveness import Lifetimes
from autodiff.program import Program
from autodiff.schedule import Schedule

STEPS_A_FUNCTION = 2000

RESERVED = re.compile(r"[vsctw]|v\d+")
"""The names that the lines use themselves and no op may have."""

OF_STORAGE = ".untyped_storage().nbytes()"
"""How a line asks for the bytes of the storage that a result allocated."""


class Emitted:
    """The code of a program's steps.

    `functions` are the texts of its functions in order; `names` maps each name in them to a kernel
    or a formula. `unmeasured` are the buffers that hold Python numbers, whose bytes no line notes.
    A watched program calls `w` with each step's results, and again after its dead values are
    dropped.
    """

    def __init__(
        self, program: Program, schedule: Schedule, lives: Lifetimes, watched: bool
    ) -> None:
        self.names: dict[str, Any] = {}
        self.unmeasured: set[int] = set()
        self._name_of: dict[Any, str] = {}
        self._program = program
        self._schedule = schedule
        self._watched = watched
        self._given = frozenset(program.given)
        self._held = self._given
        self._cleared = lives.cleared
        self._again = repeated(schedule.order).tolist()
        self._born = self._births(lives)
        order = schedule.order.tolist()
        starts = range(0, max(len(order), 1), STEPS_A_FUNCTION)
        self.functions = [
            self._function(start, order[start : start + STEPS_A_FUNCTION]) for start in starts
        ]

    def _function(self, start: int, order: Sequence[int]) -> str:
        """Return the function of the steps from `start` on."""
        taken: dict[int, None] = {}
        here: set[int] = set()
        lines: list[str] = []
        for at, i in enumerate(order, start):
            reads, writes = self._reads(at, i), self._program.instructions[i].writes
            # What is computed anew replaces what an earlier function left: take that over too.
            taken.update(
                dict.fromkeys(
                    value
                    for value in (*reads, *writes)
                    if value not in here and value in self._held
                )
            )
            here.update(reads, writes)
            lines.append(self._line(at, i))
            if at in self._cleared:
                dead = self._cleared[at]
                # A value that this function does not touch may die in it: a view of a buffer that
                # is read through another view.
                taken.update(dict.fromkeys(value for value in dead if value not in here))
                here.difference_update(dead)
                lines.append(f"    {' = '.join(_local(value) for value in dead)} = None")
            if self._watched:
                lines.append(f"    w({at}, 'dropped', ())")
        computed = sorted(value for value in taken if value not in self._given)
        left = sorted(here - self._given)
        self._held = self._held.difference(taken).union(left, self._given)
        head = [
            _moved(map(_local, taken), map(_held, taken)),
            *([f"    {' = '.join(map(_held, computed))} = None"] if computed else []),
        ]
        body = [
            *(head if taken else []),
            *lines,
            *([_moved(map(_held, left), map(_local, left))] if left else []),
        ]
        return "\n".join(["def steps(v, s, c):", *(body or ["    pass"])])

    def _births(self, lives: Lifetimes) -> dict[int, list[int]]:
        """Return, for each step, the values whose buffers' bytes are to be noted."""
        births: dict[int, list[int]] = {}
        for buffer, (owner, born) in enumerate(
            zip(lives.owner.tolist(), lives.born.tolist(), strict=True)
        ):
            if self._is_tensor(owner):
                births.setdefault(born, []).append(owner)
            else:
                self.unmeasured.add(buffer)
        return births

    def _replays(self, at: int, i: int) -> bool:
        """Return whether a step draws again what it drew before."""
        return bool(self._again[at] and self._program.flat.replays[i])

    def _reads(self, at: int, i: int) -> tuple[int, ...]:
        step = self._program.instructions[i]
        return step.reads if self._replays(at, i) else step.first_reads

    def _is_tensor(self, value: int) -> bool:
        return isinstance(self._program.values[value].spec.dtype, torch.dtype)

    def _line(self, at: int, i: int) -> str:
        op, _, writes, _ = self._program.instructions[i]
        reads = self._reads(at, i)
        arguments = list(map(_local, reads))
        overwrites = self._schedule.overwrites.get(at)
        if overwrites is not None:
            part = "into"
            arguments.append(f"out={_local(reads[overwrites])}")
        elif self._replays(at, i):
            part = "replay"
        else:
            part = (
                "kernel"
                if op.kernel is not None and all(map(self._is_tensor, reads))
                else "compute"
            )
        results = ", ".join(map(_local, writes))
        line = f"    {results} = {self._name(op, part)}({', '.join(arguments)})"
        line += "".join(f"; s({_local(owner)}{OF_STORAGE})" for owner in self._born.get(at, ()))
        return line + "; c(t())" + (f"; w({at}, 'computed', ({results},))" if self._watched else "")

    def _name(self, op: Any, part: str) -> str:
        """Return the name of an op's kernel or formula, one for all interchangeable ops."""
        key = (kind_of(op), part)
        name = self._name_of.get(key)
        if name is None:
            name = type(op).__name__
            if name in self.names or RESERVED.fullmatch(name):
                name = f"{name}_{len(self.names)}"
            self._name_of[key] = name
            self.names[name] = getattr(op, part)
        return name


def _local(value: int) -> str:
    return f"v{value}"


def _held(value: int) -> str:
    return f"v[{value}]"


def _moved(to: Iterable[str], source: Iterable[str]) -> str:
    return f"    {', '.join(to)} = {', '.join(source)}"
