"""One shape to one row: what a training step and an inference take, and when which bytes live.

Small shapes run on real tensors, which is faster than on fake ones and is a measurement; the full
size is predicted on fake tensors. A module is made once for all shapes that differ in the batch
only.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from autodiff.instructions import BACKWARD, FORWARD, INPUT, PARAMETER, RECOMPUTE
from experiments.complexity.config import StudyConfig
from experiments.complexity.moments import Call, Run
from experiments.modules.build import fake_module, make_module
from experiments.modules.config import ModuleConfig
from experiments.modules.prediction import telling
from experiments.modules.step import Step
from profiler.ledger import Ledger
from profiler.measurement import Profile
from profiler.pytorch.names import StepNames
from profiler.pytorch.notes import (
    ACCUMULATE,
    BUFFER,
    NO_MODULE,
    OPTIMIZER,
    OPTIMIZER_STATE,
    Notes,
)
from profiler.pytorch.steps import profile_of_notes, record_step

TRAINING, INFERENCE, CHECKPOINTED = "training", "inference", "checkpointed"
WORKSPACES = {"mkldnn_rnn_layer": 3}
"""Ops that return a workspace in whole pages, which no polynomial gives, and as which result."""
_PHASES = {FORWARD: "forward", BACKWARD: "backward", OPTIMIZER: "optimizer"}


@dataclass(frozen=True)
class Row:
    """One shape: its sums, and the live bytes of each run of its step, by the run's name.

    `uncounted` are the ops whose cost is not in the table of costs. `apart` are the bytes of
    WORKSPACES by op, all together: they are not in the live bytes.
    """

    shape: tuple[int, ...]
    sums: dict[str, int]
    runs: dict[str, Run]
    uncounted: tuple[str, ...] = ()
    apart: dict[str, int] = field(default_factory=dict)


class Bench:
    """Measures the step of a study at any shape, on real or on fake tensors."""

    def __init__(self, study: StudyConfig, fake: bool) -> None:
        self._study = study
        self._fake = fake
        self._made: dict[str, tuple[ModuleConfig, Step]] = {}

    def row(self, shape: Sequence[int]) -> Row:
        """Return the row of a shape; raise ModuleError where the module does not run at it."""
        given = self._study.at(shape)
        kinds = {TRAINING: replace(given, checkpoint=())} if given.mode == "train" else {}
        if kinds and given.checkpoint:
            kinds[CHECKPOINTED] = given
        kinds[INFERENCE] = replace(given, mode="forward", optimizer=None, checkpoint=())
        sums: dict[str, int] = {}
        runs: dict[str, Run] = {}
        uncounted: set[str] = set()
        apart: dict[str, int] = {}
        for kind, config in kinds.items():
            notes, profile = self._measured(kind, config)
            ledger, found = _without_workspaces(notes, profile.ledger)
            sums |= _sums(kind, profile, ledger)
            runs[kind] = _run(notes, ledger)
            uncounted |= profile.uncounted.keys()
            apart |= {op: max(nbytes, apart.get(op, 0)) for op, nbytes in found.items()}
        return Row(tuple(shape), sums, runs, tuple(sorted(uncounted)), apart)

    def _measured(self, kind: str, config: ModuleConfig) -> tuple[Notes, Profile]:
        with telling(config, config.batch), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            mode = FakeTensorMode() if self._fake else nullcontext()
            before = self._made.get(kind)
            if before is not None and not self._fake and _same_module(before[0], config):
                step = before[1].on(config)
            else:
                self._made.pop(kind, None)
                step = _new_step(config, mode)
                with mode:
                    step(step.batch(config.batch))  # makes the optimiser's state
                self._made[kind] = config, step
            with mode:
                batch = step.batch(config.batch)
                notes, result = record_step(lambda *_: step(batch), (*batch.tensors,), step.module)
            return notes, profile_of_notes(notes, result, {})


def _new_step(config: ModuleConfig, mode: AbstractContextManager[Any]) -> Step:
    if not isinstance(mode, FakeTensorMode):
        return Step(make_module(config), config)
    module, _ = fake_module(config, mode)
    with mode:
        return Step(module, config)


def _same_module(one: ModuleConfig, other: ModuleConfig) -> bool:
    return replace(one, batch=0, inputs=()) == replace(other, batch=0, inputs=())


def _without_workspaces(notes: Notes, ledger: Ledger) -> tuple[Ledger, dict[str, int]]:
    """Return a ledger in which workspaces have no bytes, and those bytes by op."""
    names, nbytes = StepNames(notes, list(ledger.phases)), ledger.nbytes.copy()
    apart: dict[str, int] = {}
    for step in range(len(notes.calls)):
        place = WORKSPACES.get(names.op(step))
        if place is None or len(notes.births[step]) <= place:
            continue
        at = notes.own.index(notes.births[step][place])
        apart[names.op(step)] = apart.get(names.op(step), 0) + int(nbytes[at])
        nbytes[at] = 0
    return replace(ledger, nbytes=nbytes), apart


def _sums(kind: str, profile: Profile, ledger: Ledger) -> dict[str, int]:
    """Return the quantities of a run that are sums, under the names of the report."""
    cost, given = profile.ops, profile.given_bytes
    if kind == INFERENCE:
        return {"inference_operations": int(cost.total)}
    if kind == CHECKPOINTED:
        return {
            "recomputed_operations": int(profile.ops_by_phase[RECOMPUTE].total),
            "checkpointed_kept_bytes": _kept(ledger),
        }
    by_phase = {
        f"{name}_operations": int(profile.ops_by_phase[phase].total)
        for phase, name in _PHASES.items()
        if phase in profile.ops_by_phase
    }
    return {
        "operations": int(cost.total),
        **by_phase,
        "multiplications": int(cost.multiplications),
        "additions": int(cost.additions),
        "comparisons": int(cost.comparisons),
        "elementary": int(cost.elementary),
        "matmul_flops": int(cost.matmul_flops),
        "parameter_bytes": given[PARAMETER],
        "state_bytes": given[OPTIMIZER_STATE],
        "input_bytes": given[INPUT],
        "kept_bytes": _kept(ledger),
        "given_bytes": given[PARAMETER] + given[OPTIMIZER_STATE] + given[INPUT] + given[BUFFER],
    }


def _kept(ledger: Ledger) -> int:
    """Return the bytes that are alive when forward is over, which backward will read."""
    last = max((i for i, phase in enumerate(ledger.phases) if phase == FORWARD), default=-1)
    return int(ledger.nbytes[(ledger.born <= last) & (ledger.dies > last)].sum())


def _run(notes: Notes, ledger: Ledger) -> Run:
    """Return the calls of a step with the live bytes after each.

    An update belongs to the parameter that was read last, and what accumulates a gradient to the
    module whose backward ran before it.
    """
    names = StepNames(notes, list(ledger.phases))
    place, calls = "", []
    for step, (call, phase) in enumerate(zip(notes.calls, ledger.phases, strict=True)):
        if phase == OPTIMIZER:
            labels = [notes.labels[buffer] for buffer in call.reads if buffer in notes.labels]
            place = labels[0] if labels else place
        elif names.module_number(step) != NO_MODULE and call.sequence != ACCUMULATE:
            place = names.module(step)
        calls.append(Call(phase, place, names.op(step)))
    return Run(tuple(calls), tuple(ledger.live.tolist()))
