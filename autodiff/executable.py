"""The only loop that touches tensors in a measurement: straight-line code, generated and run.

Every step is one line: compute, note the bytes of what was allocated, note the clock; then the
values that die there are dropped, so that their memory really is returned. Values are local
variables, the fastest that Python has. The code depends on no planner and no meter.
`Executable.source` is that code, to be read. Values that are handed out are ordinary tensors.

Bytes are those of each result's storage. To ask for a storage makes an object of it, which costs a
tenth of a small step; so where the first run found each storage as large as its tensor's elements,
the further runs of the same steps ask each tensor for the bytes of its elements (but not of very
many steps, for which Python's compiler takes longer than is gained).

The dtypes are those of the program: autocast is off while it runs. A value that no input gives (the
seed of the backward pass) is made on the device of the given tensors. On a device that runs
asynchronously the clock notes when a step was launched, not when it ended.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from time import perf_counter_ns
from types import CodeType
from typing import Any

import numpy as np
import torch

from autodiff.check import check_schedule
from autodiff.devices import on_device_of
from autodiff.emit import OF_STORAGE, Emitted
from autodiff.errors import GraphError, ShapeError
from autodiff.liveness import Lifetimes
from autodiff.program import Program
from autodiff.recording import Recording, recording_from_specs
from autodiff.schedule import Schedule
from autodiff.spec import NUMBER, spec_of

OF_TENSOR = ".nbytes"
"""How the lines of a further run ask a tensor for the bytes of its elements."""

_DEVICES_OF_AUTOCAST = ("cpu", "cuda", "xpu", "mps")

Watch = Callable[[int, str, Sequence[Any]], None]
"""Called after each event with the step, `computed` or `dropped`, and the step's values."""


class Executable:
    """A program and a schedule made into code that can be run again and again.

    `watch`, where given, is called after a step's results exist (`computed`, with the step's values
    in order of writing) and after its dead values are dropped (`dropped`).
    """

    def __init__(
        self,
        program: Program,
        schedule: Schedule,
        lifetimes: Lifetimes | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.program = program
        self.schedule = schedule
        self.lifetimes = check_schedule(program, schedule) if lifetimes is None else lifetimes
        self._watch = watch
        self._known_to_fit: dict[int, weakref.ref[Any]] = {}
        emitted = Emitted(program, schedule, self.lifetimes, watched=watch is not None)
        self._chunks = emitted.functions
        self._names = emitted.names
        self._unmeasured = emitted.unmeasured
        self._functions = [self._function(chunk) for chunk in self._chunks]
        self._runs = 0

    @property
    def source(self) -> str:
        """The code of the steps; `autodiff.emit` says what its names mean."""
        return "\n".join(self._chunks)

    def _function(self, chunk: str) -> Callable[..., None]:
        namespace: dict[str, Any] = dict(self._names, t=perf_counter_ns, w=self._watch)
        exec(_compiled(chunk), namespace)  # the code was made here, from names that were made here
        function: Callable[..., None] = namespace.pop(
            "steps"
        )  # left there, function and namespace would hold each other
        return function

    def run(self, given: Mapping[int, Any] | None = None) -> tuple[list[Any], Recording]:
        """Run once; return the targets' values and the recording.

        `given` maps values that no instruction writes to what they hold; what it leaves out comes
        from the leaves. Raises ShapeError where a given value has another shape or dtype than the
        program was made for, GraphError where it has none.
        """
        held: list[Any] = [None] * len(self.program.values)
        for value in self.program.given:
            held[value] = self._given(value, given)
        self._functions = self._functions or [self._function(chunk) for chunk in self._chunks]
        sizes: list[int] = []
        clocks: list[int] = []
        with _plain_tensors(), on_device_of(held):
            clocks.append(perf_counter_ns())
            for function in self._functions:
                function(held, sizes.append, clocks.append)
        results = [held[target] for target in self.program.targets]
        recording = Recording(
            self.program, self.schedule, self.lifetimes, self._sizes(sizes), clocks
        )
        self._runs += 1
        if (
            self._runs == 1
            and self._watch is None
            and not self._unmeasured
            and len(self._chunks) == 1
        ):
            self._ask_tensors(recording)
        return results, recording

    def _ask_tensors(self, first: Recording) -> None:
        """Let further runs ask tensors for their bytes where the first shows no difference."""
        expected = recording_from_specs(self.program, self.schedule, self.lifetimes).sizes
        if np.array_equal(first.sizes, expected):
            self._chunks = [chunk.replace(OF_STORAGE, OF_TENSOR) for chunk in self._chunks]
            self._functions = []

    def _given(self, value: int, given: Mapping[int, Any] | None) -> Any:
        expected, _, _, source = self.program.values[value]
        held = given[value] if given is not None and value in given else source.value
        known = self._known_to_fit.get(value)
        if known is not None and known() is held:
            return held
        label = self.program.label(value)
        if held is None:
            raise GraphError(
                f"{label} has no value (its shape alone was given), so it cannot be run; use "
                "execute=False, or give it a value"
            )
        if expected.dtype is NUMBER and type(held) is int:
            held = float(held)
        found = spec_of(held)
        if found is None or found.shape != expected.shape or found.dtype != expected.dtype:
            raise ShapeError(
                f"{label} holds {found or type(held).__name__}; the program was made for "
                f"{expected}; make the program again"
            )
        if isinstance(held, torch.Tensor):
            self._known_to_fit[value] = weakref.ref(
                held
            )  # so that a step run again and again is checked once
        return held

    def _sizes(self, noted: list[int]) -> list[int]:
        """Return the bytes of every buffer: as noted, or, for Python numbers, eight."""
        if not self._unmeasured:
            return noted
        sizes = iter(noted)
        return [
            NUMBER.itemsize if i in self._unmeasured else next(sizes)
            for i in range(len(self.lifetimes.owner))
        ]


def execute(
    program: Program,
    schedule: Schedule,
    given: Mapping[int, Any] | None = None,
    watch: Watch | None = None,
) -> tuple[list[Any], Recording]:
    """Check a schedule, run it once, and return the targets' values and the recording.

    The loss is the first value. Raises ScheduleError where the schedule is illegal or breaks its
    claims.
    """
    return Executable(program, schedule, watch=watch).run(given)


@lru_cache(maxsize=64)
def _compiled(source: str) -> CodeType:
    """Compile a source; programs of one structure have one source, whatever their shapes."""
    return compile(source, "<steps>", "exec")


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """Run kernels without autograd, yet make ordinary tensors.

    They can be updated in place and differentiated afterwards. Autocast is off: the dtypes are
    those of the program.
    """
    with ExitStack() as stack:
        stack.enter_context(torch._C._AutoDispatchBelowAutograd())
        for device in _DEVICES_OF_AUTOCAST:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
