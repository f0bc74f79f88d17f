"""Words for the buffers and calls of a PyTorch step: what an op is called, in which module it ran, who keeps a buffer alive.

A backward call belongs to the module whose forward call made its autograd node; the two are matched by the node's sequence number.
"""

from __future__ import annotations

from functools import cached_property

from autodiff.aten.table import family_name
from autodiff.instructions import BACKWARD
from profiler.pytorch.interpret import births_by_step, lifetimes_of
from profiler.pytorch.notes import IN_BACKWARD, Notes

NOWHERE = -1
"""The number of the module of a call that ran in none."""


class StepNames:
    """Words for the ledger of a step; `own` maps the ledger's buffers to the notes'."""

    def __init__(self, notes: Notes, phases: list[str]) -> None:
        self._notes = notes
        self._phases = phases

    @cached_property
    def _own(self) -> list[int]:
        return [
            buffer
            for buffer, step in enumerate(self._notes.born)
            if 0 <= step < len(self._notes.calls)
        ]

    @cached_property
    def _dies(self) -> list[int]:
        return lifetimes_of(self._notes)

    @cached_property
    def _readers(self) -> dict[int, list[int]]:
        """The steps that read each buffer, in order."""
        readers: dict[int, list[int]] = {}
        for step, call in enumerate(self._notes.calls):
            for buffer in call[7]:
                readers.setdefault(buffer, []).append(step)
        return readers

    @cached_property
    def _births(self) -> dict[int, list[int]]:
        return births_by_step(self._notes)

    @cached_property
    def _taped(self) -> dict[int, int]:
        """The forward or recomputing call that made the autograd node of each sequence number: the first that ran when it was the newest."""
        taped: dict[int, int] = {}
        for step, call in enumerate(self._notes.calls):
            if call[4] != IN_BACKWARD:
                taped.setdefault(call[5] - 1, step)
        return taped

    def source(self, step: int) -> int:
        """The forward call whose gradient a backward call computes; the call itself where there is none."""
        call = self._notes.calls[step]
        return self._taped.get(call[5], step) if call[4] == IN_BACKWARD else step

    def module_number(self, step: int) -> int:
        """The module of a call, for a backward call that of its forward call."""
        module: int = self._notes.calls[self.source(step)][6]
        return module

    def module(self, step: int) -> str:
        """The name of the module of a call; empty where it ran in none, or in the model itself."""
        number = self.module_number(step)
        return self._notes.modules[number][0] if number != NOWHERE else ""

    def op(self, step: int) -> str:
        """The op that a call runs, by its short name."""
        func = self._notes.calls[step][0]
        schema = getattr(func, "_schema", None)
        return str(func) if schema is None else family_name(schema.name)

    def step(self, step: int) -> str:
        """An op, in its module where there is one, and its number."""
        module = self.module(step)
        return f"{module}.{self.op(step)}#{step}" if module else f"{self.op(step)}#{step}"

    def buffer(self, buffer: int) -> str:
        """What a buffer of the ledger holds: the call that made it, and which of its results."""
        noted = self._own[buffer]
        if noted in self._notes.labels:
            return self._notes.labels[noted]
        step = self._notes.born[noted]
        together = self._births[step]
        return (
            self.step(step) if len(together) == 1 else f"{self.step(step)}[{together.index(noted)}]"
        )

    def why(self, buffer: int, step: int) -> str:
        """Why a buffer of the ledger is alive at a step: who reads it next, and which forward op saved it for that."""
        noted = self._own[buffer]
        saver, reader = self._saver(noted, step)
        if reader is not None:
            verb = "reads" if reader == step else "will read"
            if saver is None or saver == reader:
                return f"because {self.step(reader)} {verb} it"
            return f"because {self.step(saver)} saved it and {self.step(reader)} {verb} it"
        if self._notes.born[noted] == step:
            return "because it is computed just now"
        if self._dies[noted] == len(self._notes.calls):
            return "because the step leaves it behind: a result, a gradient, a state, or what the graph of a result keeps"
        return "because something still holds it, though no op reads it any more"

    def _saver(self, noted: int, step: int) -> tuple[int | None, int | None]:
        """The forward call that saved a buffer, and the first call from `step` on that reads it; None where there is none."""
        reader = next(
            (
                at
                for at in self._readers.get(noted, ())
                if at >= step and at > self._notes.born[noted]
            ),
            None,
        )
        if reader is None:
            return None, None
        if self._phases[reader] != BACKWARD or self._phases[self._notes.born[noted]] == BACKWARD:
            return None, reader
        return self.source(reader), reader

    def details(self, buffer: int, step: int) -> dict[str, str]:
        """The module and the op that made a buffer, and those that saved it for backward (empty where nothing did)."""
        noted = self._own[buffer]
        born = self._notes.born[noted]
        saver, _ = self._saver(noted, step)
        return {
            "module": self.module(born),
            "op": self.op(born),
            "saved_in": self.module(saver) if saver is not None else "",
            "saved_by": self.op(saver) if saver is not None else "",
        }
