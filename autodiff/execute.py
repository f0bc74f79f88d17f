"""The one loop that touches tensors in a measurement: straight-line code made for a program and a schedule, and run.

Every step is one line: compute, note the bytes of what was allocated as the tensor itself tells them, note the clock; then
the values that die there are dropped, so that their memory really is returned. The code knows no strategy and no meter.
`Executable.source` is that code, to be read. Values that are handed to the caller are ordinary tensors.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from time import perf_counter_ns
from types import CodeType
from typing import Any

import torch

from autodiff.errors import GraphError, ShapeError
from autodiff.node import ComputationNode
from autodiff.program import Program
from autodiff.recording import Recording
from autodiff.schedule import Lifetimes, Schedule, check_schedule
from autodiff.spec import NUMBER, spec_of

STEPS_A_FUNCTION = 2000

Watch = Callable[[int, str, Sequence[Any]], None]
"""Called after a step's results exist (`computed`, the step's values in order of writing) and after its dead are dropped (`dropped`)."""


class Executable:
    """A program and a schedule made into code that can be run again and again.

    `watch`, where given, is called with the step, `computed` or `dropped`, and the step's values, after each.
    """

    def __init__(self, program: Program, schedule: Schedule, lifetimes: Lifetimes | None = None, watch: Watch | None = None) -> None:
        self.program = program
        self.schedule = schedule
        self.lifetimes = check_schedule(program, schedule) if lifetimes is None else lifetimes
        self._watch = watch
        self._known_to_fit: dict[int, weakref.ref[Any]] = {}
        emitted = _Emitter(program, schedule, self.lifetimes, watched=watch is not None)
        self._chunks = emitted.chunks
        self._names = emitted.names
        self._unmeasured = emitted.unmeasured
        self._functions = [self._function(chunk) for chunk in self._chunks]

    @property
    def source(self) -> str:
        """The code of the steps: `v` holds the values, `s` notes bytes, `c(t())` notes the clock."""
        return "\n".join(self._chunks)

    def _function(self, chunk: str) -> Callable[..., None]:
        namespace: dict[str, Any] = dict(self._names, t=perf_counter_ns, w=self._watch)
        exec(_compiled(chunk), namespace)  # the code was made here, from names that were made here
        function: Callable[..., None] = namespace.pop("steps")  # left there, function and namespace would hold each other
        return function

    def run(self, given: Mapping[int, Any] | None = None) -> tuple[list[Any], Recording]:
        """Run once; returns the targets' values and the recording.

        `given` maps values that no instruction writes to what they hold; what it leaves out comes from the leaves.
        Raises ShapeError where a given value has another shape or dtype than the program was made for.
        """
        held: list[Any] = [None] * len(self.program.values)
        for value in self.program.given:
            held[value] = self._given(value, given)
        sizes: list[int] = []
        clocks: list[int] = []
        with _plain_tensors():
            clocks.append(perf_counter_ns())
            for function in self._functions:
                function(held, sizes.append, clocks.append)
        results = [held[target] for target in self.program.targets]
        return results, Recording(self.program, self.schedule, self.lifetimes, self._sizes(sizes), clocks)

    def _given(self, value: int, given: Mapping[int, Any] | None) -> Any:
        expected, _, _, source = self.program.values[value]
        held = given[value] if given is not None and value in given else source.value
        known = self._known_to_fit.get(value)
        if known is not None and known() is held:
            return held
        label = self.program.label(value)
        if held is None:
            raise GraphError(
                f"{label} has no value (its shape alone was given), so it cannot be run; use execute=False, or give it a value"
            )
        found = spec_of(held)
        if found is None or found.shape != expected.shape or found.dtype != expected.dtype:
            raise ShapeError(f"{label} holds {found or type(held).__name__}; the program was made for {expected}; make the program again")
        if isinstance(held, torch.Tensor):
            self._known_to_fit[value] = weakref.ref(held)  # so that a step run again and again is checked once
        return held

    def _sizes(self, noted: list[int]) -> list[int]:
        """The bytes of every buffer: as noted, or, for Python numbers, eight."""
        if not self._unmeasured:
            return noted
        sizes = iter(noted)
        return [NUMBER.itemsize if i in self._unmeasured else next(sizes) for i in range(len(self.lifetimes.owner))]


def execute(
    program: Program, schedule: Schedule, given: Mapping[int, Any] | None = None, watch: Watch | None = None
) -> tuple[list[Any], Recording]:
    """Check a schedule and run it once; returns the targets' values, the loss first, and the recording.

    Raises ScheduleError where the schedule is illegal or breaks its claims.
    """
    return Executable(program, schedule, watch=watch).run(given)


class _Emitter:
    """Turns steps into lines. `names` are the kernels by the names that the lines call them; `unmeasured` are buffers of Python numbers."""

    def __init__(self, program: Program, schedule: Schedule, lives: Lifetimes, watched: bool) -> None:
        self.names: dict[str, Any] = {}
        self.chunks: list[str] = []
        self.unmeasured: set[int] = set()
        self._name_of: dict[Any, str] = {}
        self._program = program
        self._watched = watched
        births = self._births(lives)
        lines: list[str] = []
        for at, i in enumerate(schedule.order.tolist()):
            if at % STEPS_A_FUNCTION == 0 and lines:
                self._close(lines)
                lines = []
            lines.append(self._line(at, i, schedule.overwrites.get(at), births.get(at, ())))
            if at in lives.cleared:
                lines.append("    " + " = ".join(f"v[{value}]" for value in lives.cleared[at]) + " = None")
            if watched:
                lines.append(f"    w({at}, 'dropped', ())")
        self._close(lines)

    def _close(self, lines: list[str]) -> None:
        self.chunks.append("\n".join(["def steps(v, s, c):", *(lines or ["    pass"])]))

    def _births(self, lives: Lifetimes) -> dict[int, list[int]]:
        """The values, step by step, whose buffers' bytes are to be noted."""
        births: dict[int, list[int]] = {}
        for buffer, (owner, born) in enumerate(zip(lives.owner.tolist(), lives.born.tolist(), strict=True)):
            if self._is_tensor(owner):
                births.setdefault(born, []).append(owner)
            else:
                self.unmeasured.add(buffer)
        return births

    def _is_tensor(self, value: int) -> bool:
        return isinstance(self._program.values[value].spec.dtype, torch.dtype)

    def _line(self, at: int, i: int, overwrites: int | None, born: Sequence[int]) -> str:
        op, reads, writes, _ = self._program.instructions[i]
        arguments = [f"v[{read}]" for read in reads]
        if overwrites is not None:
            part = "into"
            arguments.append(f"out=v[{reads[overwrites]}]")
        else:
            part = "kernel" if op.kernel is not None and all(map(self._is_tensor, reads)) else "compute"
        results = ", ".join(f"v[{write}]" for write in writes)
        line = f"    {results} = {self._name(op, part)}({', '.join(arguments)})"
        line += "".join(f"; s(v[{owner}].untyped_storage().nbytes())" for owner in born)
        return line + "; c(t())" + (f"; w({at}, 'computed', ({results},))" if self._watched else "")

    def _name(self, op: Any, part: str) -> str:
        """The name of an op's kernel or formula, one for all ops of a class with the same parameters."""
        # An op whose class keeps state that it does not declare is known by itself alone.
        undeclared = op.parameters == () and type(op).__init__ is not ComputationNode.__init__
        key = (type(op), op if undeclared else op.parameters, part)
        name = self._name_of.get(key)
        if name is None:
            name = type(op).__name__ if type(op).__name__ not in self.names else f"{type(op).__name__}_{len(self.names)}"
            self._name_of[key] = name
            self.names[name] = getattr(op, part)
        return name


@lru_cache(maxsize=64)
def _compiled(source: str) -> CodeType:
    """Code for a source; programs of one structure have one source, whatever their shapes."""
    return compile(source, "<steps>", "exec")


def _plain_tensors() -> AbstractContextManager[Any]:
    """Run kernels without autograd, yet make ordinary tensors, which a caller may update in place and differentiate."""
    return torch._C._AutoDispatchBelowAutograd()
