"""Names for the buffers and calls of a PyTorch step, and the reasons why a buffer is alive.

A backward call belongs to the module whose forward call made its autograd node; the two are matched
by the node's sequence number.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import cached_property

from autodiff.aten.table import family_name
from autodiff.instructions import BACKWARD
from profiler.pytorch.notes import IN_BACKWARD, NO_MODULE, Notes


class StepNames:
    """Names for the ledger of a step, whose buffers are `notes.own`."""

    def __init__(self, notes: Notes, phases: list[str]) -> None:
        """Take the notes of a step and the phase of each of its calls."""
        self._notes = notes
        self._phases = phases

    @cached_property
    def _readers(self) -> dict[int, list[int]]:
        """Return the steps that read each buffer, in order."""
        readers: dict[int, list[int]] = {}
        for step, call in enumerate(self._notes.calls):
            for buffer in call.reads:
                readers.setdefault(buffer, []).append(step)
        return readers

    @cached_property
    def _taped(self) -> dict[int, int]:
        """Return the call that made the autograd node of each sequence number.

        It is the first forward or recomputing call that ran when that node was the newest.
        """
        taped: dict[int, int] = {}
        for step, call in enumerate(self._notes.calls):
            if call.where != IN_BACKWARD:
                taped.setdefault(call.sequence - 1, step)
        return taped

    def source(self, step: int) -> int:
        """Return the forward call whose gradient a call computes; itself where there is none."""
        call = self._notes.calls[step]
        return self._taped.get(call.sequence, step) if call.where == IN_BACKWARD else step

    def module_number(self, step: int) -> int:
        """Return the module of a call, which for a backward call is that of its forward call."""
        return self._notes.calls[self.source(step)].module

    def module(self, step: int) -> str:
        """Return the name of a call's module; empty outside any, and in the model itself."""
        number = self.module_number(step)
        return self._notes.modules[number].name if number != NO_MODULE else ""

    def op(self, step: int) -> str:
        """Return the short name of the op that a call runs."""
        func = self._notes.calls[step].func
        schema = getattr(func, "_schema", None)
        return str(func) if schema is None else family_name(schema.name)

    def step(self, step: int) -> str:
        """Return an op, in its module where there is one, and its number."""
        module = self.module(step)
        return f"{module}.{self.op(step)}#{step}" if module else f"{self.op(step)}#{step}"

    def buffer(self, buffer: int) -> str:
        """Return the call that made a buffer of the ledger, and which of its results it is."""
        noted = self._notes.own[buffer]
        if noted in self._notes.labels:
            return self._notes.labels[noted]
        step = self._notes.born[noted]
        together = self._notes.births[step]
        name = self.step(step)
        return name if len(together) == 1 else f"{name}[{bisect_left(together, noted)}]"

    def why(self, buffer: int, step: int) -> str:
        """Return why a buffer is alive at a step: who reads it next, and what saved it for that."""
        noted = self._notes.own[buffer]
        saver, reader = self._saver(noted, step)
        if reader is not None:
            verb = "reads" if reader == step else "will read"
            if saver is None or saver == reader:
                return f"because {self.step(reader)} {verb} it"
            return f"because {self.step(saver)} saved it and {self.step(reader)} {verb} it"
        if self._notes.born[noted] == step:
            return "because it is computed just now"
        if self._notes.dies[noted] == len(self._notes.calls):
            return (
                "because the step leaves it behind: a result, a gradient, a state, or what the "
                "graph of a result keeps"
            )
        return "because something still holds it, though no op reads it any more"

    def _saver(self, noted: int, step: int) -> tuple[int | None, int | None]:
        """Return the forward call that saved a buffer, and the first call from `step` to read it.

        Each is None where there is none.
        """
        readers, born = self._readers.get(noted, []), self._notes.born[noted]
        place = bisect_left(readers, max(step, born + 1))
        if place == len(readers):
            return None, None
        reader = readers[place]
        if self._phases[reader] != BACKWARD or self._phases[born] == BACKWARD:
            return None, reader
        return self.source(reader), reader

    def details(self, buffer: int, step: int) -> dict[str, str]:
        """Return the module and op that made a buffer, and those that saved it for backward."""
        noted = self._notes.own[buffer]
        born = self._notes.born[noted]
        saver, _ = self._saver(noted, step)
        return {
            "module": self.module(born),
            "op": self.op(born),
            "saved_in": self.module(saver) if saver is not None else "",
            "saved_by": self.op(saver) if saver is not None else "",
        }
