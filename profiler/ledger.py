"""Who is alive, when, in which role, and why: the ledger of buffers, and its meters.

A ledger is plain arrays, one entry a buffer, whatever engine they were noted in. Live bytes are the
bytes of distinct buffers alive at a step, right after its results are allocated; parameters and
inputs are caller-owned and are not in it. What an op holds in addition to its results while it runs
is a `temporary` that is born and dies at its step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd

from autodiff.instructions import ROLES, TEMPORARY
from autodiff.node import ComputationNode
from autodiff.recording import Recording

COMPUTED_ROLES = ROLES[2:]
"""The roles that count as live: all but parameter and input."""


class Names(Protocol):
    """What a ledger asks where words are wanted."""

    def step(self, step: int) -> str:
        """Return what a step computes."""
        ...

    def buffer(self, buffer: int) -> str:
        """Return what a buffer holds."""
        ...

    def why(self, buffer: int, step: int) -> str:
        """Return why a buffer is alive at a step, as a clause that begins with `because`."""
        ...

    def details(self, buffer: int, step: int) -> dict[str, str]:
        """Return further columns for a buffer that is alive at a step."""
        ...


@dataclass(frozen=True, eq=False)
class Ledger:
    """Buffers as arrays: bytes, the steps of birth and of last need, the index of the role.

    The last need is `len(phases)` for a buffer that outlives all steps. `phases` has one phase for
    each step; `clocks` the ns before the first step and after each, or None where nothing was run.
    """

    nbytes: np.ndarray
    born: np.ndarray
    dies: np.ndarray
    role: np.ndarray
    phases: tuple[str, ...]
    clocks: np.ndarray | None
    names: Names
    roles: tuple[str, ...] = COMPUTED_ROLES

    @cached_property
    def live_by_role(self) -> np.ndarray:
        """Live bytes at each step, one column a role, right after its results are allocated."""
        change = np.zeros((len(self.phases) + 2, len(self.roles)), dtype=np.int64)
        np.add.at(change, (self.born, self.role), self.nbytes)
        np.subtract.at(change, (self.dies + 1, self.role), self.nbytes)
        return np.cumsum(change, axis=0)[: len(self.phases)]

    @cached_property
    def live(self) -> np.ndarray:
        """Live bytes at each step."""
        total: np.ndarray = self.live_by_role.sum(axis=1)
        return total

    @cached_property
    def peak_step(self) -> int:
        """The first step at which the live bytes are greatest."""
        return int(self.live.argmax()) if len(self.live) else 0

    @property
    def peak_bytes(self) -> int:
        """The greatest total of live bytes."""
        return int(self.live.max(initial=0))

    @property
    def peak_by_role(self) -> dict[str, int]:
        """The live bytes of each role at the peak; they add up to `peak_bytes`."""
        row = self.live_by_role[self.peak_step] if len(self.phases) else [0] * len(self.roles)
        return {role: int(nbytes) for role, nbytes in zip(self.roles, row, strict=True)}

    @property
    def live_after_bytes(self) -> int:
        """The bytes that outlive the last step: loss, gradients, what was asked to be kept."""
        return int(self.nbytes[self.dies == len(self.phases)].sum())

    def timeline(self) -> pd.DataFrame:
        """Return one row an event, in order, with the live bytes by role after it.

        Buffers are `allocated` and `freed`, values are `computed`. `time_ns` counts from the start
        of the run, and is empty where nothing was run.
        """
        steps = len(self.phases)
        freed = np.flatnonzero(self.dies < steps)
        computed = np.arange(steps)
        step = np.concatenate([self.born, computed, self.dies[freed]])
        kind = np.repeat([0, 1, 2], [len(self.born), steps, len(freed)])
        buffer = np.concatenate([np.arange(len(self.born)), np.full(steps, -1), freed])
        order = np.lexsort((buffer, kind, step))
        step, kind, buffer = step[order], kind[order], buffer[order]
        sign = np.array([1, 0, -1])[kind]
        change = np.zeros((len(order), len(self.roles)), dtype=np.int64)
        has = buffer >= 0
        change[np.flatnonzero(has), self.role[buffer[has]]] = (sign[has]) * self.nbytes[buffer[has]]
        live = np.cumsum(change, axis=0)
        frame = pd.DataFrame(
            {
                "step": step,
                "event": np.array(["allocated", "computed", "freed"])[kind],
                "node": [
                    self.names.buffer(int(b)) if b >= 0 else self.names.step(int(s))
                    for s, b in zip(step, buffer, strict=True)
                ],
                "phase": np.array(self.phases, dtype=object)[step],
                "bytes": np.where(has, self.nbytes[buffer], 0),
                "time_ns": pd.array(
                    (self.clocks[step + 1] - self.clocks[0])
                    if self.clocks is not None
                    else [None] * len(step),
                    "Int64",
                ),
                "live_bytes": live.sum(axis=1),
            }
        )
        return frame.assign(**{role: live[:, i] for i, role in enumerate(self.roles)})

    def alive_at_peak(self) -> pd.DataFrame:
        """Return one row a buffer that is alive at the peak, greatest first, with the reason.

        The columns are node, role, bytes, born, dies (empty: never) and why; for a PyTorch step
        also the module and the op that made it, and those that saved it for backward.
        """
        at = self.peak_step
        alive = np.flatnonzero((self.born <= at) & (self.dies >= at))
        alive = alive[np.argsort(-self.nbytes[alive], kind="stable")]
        outlives = self.dies[alive] == len(self.phases)
        details = pd.DataFrame([self.names.details(int(buffer), at) for buffer in alive])
        frame = pd.DataFrame(
            {
                "node": [self.names.buffer(int(buffer)) for buffer in alive],
                "role": [self.roles[i] for i in self.role[alive]],
                "bytes": self.nbytes[alive],
                "born": self.born[alive],
                "dies": pd.array(
                    [
                        None if out else int(dies)
                        for out, dies in zip(outlives, self.dies[alive], strict=True)
                    ],
                    "Int64",
                ),
                "why": [self.names.why(int(buffer), at) for buffer in alive],
            }
        )
        return frame.assign(**{column: details[column] for column in details})


def ledger_of(recording: Recording) -> Ledger:
    """Return the ledger of a recording of the engine, measured or predicted."""
    program, lives = recording.program, recording.lifetimes
    role = program.flat.roles[lives.owner] - ROLES.index(COMPUTED_ROLES[0])
    at, extra = _workspaces(recording)
    return Ledger(
        nbytes=np.concatenate([recording.sizes, extra]),
        born=np.concatenate([lives.born, at]),
        dies=np.concatenate([lives.dies, at]),
        role=np.concatenate([role, np.full(len(at), COMPUTED_ROLES.index(TEMPORARY))]),
        phases=lives.phases,
        clocks=recording.clocks,
        names=_ProgramNames(recording, at),
    )


def _workspaces(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps whose ops hold bytes in addition to their results, and those bytes."""
    flat = recording.program.flat
    # Most ops inherit the rule that they need none, and are not asked.
    needs = [
        0 if type(op).workspace is ComputationNode.workspace else op.workspace(*specs)
        for op, specs in flat.works
    ]
    held = np.array(needs, dtype=np.int64)[flat.work_of[recording.schedule.order]]
    at = np.flatnonzero(held)
    return at, held[at]


class _ProgramNames:
    """Words for the buffers and steps of a program."""

    def __init__(self, recording: Recording, workspace_steps: np.ndarray) -> None:
        self._recording = recording
        self._workspace_steps = workspace_steps

    def step(self, step: int) -> str:
        program = self._recording.program
        return program.label(
            program.instructions[int(self._recording.schedule.order[step])].writes[0]
        )

    def buffer(self, buffer: int) -> str:
        owner = self._recording.lifetimes.owner
        if buffer >= len(owner):
            return f"workspace of {self.step(int(self._workspace_steps[buffer - len(owner)]))}"
        return self._recording.program.label(int(owner[buffer]))

    def why(self, buffer: int, step: int) -> str:
        lives = self._recording.lifetimes
        if buffer >= len(lives.owner):
            return "because the op that runs needs it in addition to its result"
        reader = self._next_reader(buffer, step)
        if reader is not None:
            verb = "reads" if reader == step else "will read"
            return f"because {self.step(reader)} {verb} it"
        if lives.dies[buffer] == len(lives.phases):
            return (
                "because it was asked for"
                if self._is_target(buffer)
                else "because a result that was asked for lives in it"
            )
        return (
            "because it is computed just now"
            if lives.born[buffer] == step
            else "because a view of it is read"
        )

    def details(self, buffer: int, step: int) -> dict[str, str]:
        return {}

    @cached_property
    def _targets(self) -> frozenset[int]:
        return frozenset(self._recording.program.targets)

    def _is_target(self, buffer: int) -> bool:
        return int(self._recording.lifetimes.owner[buffer]) in self._targets

    @cached_property
    def _readers(self) -> np.ndarray:
        """Every read from which something is computed, as (buffer's value, step), sorted."""
        program, order = self._recording.program, self._recording.schedule.order
        reads = program.flat.reads_of(order)
        step = reads.owners()
        read_from = program.flat.roots[reads.flat]
        writes = program.flat.writes
        makes = program.flat.roots[writes.flat[writes.starts[:-1]]][order][step]
        something = makes != read_from  # else it makes a view
        found: np.ndarray = read_from[something] * (len(order) + 1) + step[something]
        found.sort()
        return found

    def _next_reader(self, buffer: int, step: int) -> int | None:
        """Return the first step from `step` on that computes something from a buffer, or None.

        It may read the buffer through a view, and does so before the buffer dies.
        """
        lives, steps = self._recording.lifetimes, len(self._recording.schedule.order)
        key = int(lives.owner[buffer]) * (steps + 1)
        first = max(step, int(lives.born[buffer]) + 1)
        at = int(np.searchsorted(self._readers, key + first))
        if at == len(self._readers):
            return None
        reader = int(self._readers[at]) - key
        return reader if reader <= min(int(lives.dies[buffer]), steps - 1) else None
