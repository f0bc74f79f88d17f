"""Random ops that may run again: from the state that their generator had before the first run.

An instruction before the op keeps that state; a replay restores it, draws, and puts back the state
that it found, so that the same numbers come and whatever draws later goes on as it would have. The
first run reads no state, so a step that runs everything once keeps none and costs what it did.

Bound: one state for each op, 5,056 bytes on the CPU and 16 on a CUDA device. Where the results of
an op take no more than that, keeping them is no worse, and the op may not run again. Generators of
other devices are not replayed. While a replay draws, the state that it found is held as well, which
no ledger counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from autodiff.aten.op import AtenOp
from autodiff.cost import FREE, Cost
from autodiff.spec import Spec


@dataclass(frozen=True, eq=False)
class GeneratorState:
    """The op that keeps the state of a random generator; a second run would keep another one."""

    generator: torch.Generator
    name: str = "generator_state"
    repeatable: bool = False
    replay: None = None
    into: None = None
    view_of: None = None
    is_counted: bool = True

    @property
    def parameters(self) -> tuple[Any, ...]:
        """Return what tells the op from others of its class."""
        return (id(self.generator),)

    @property
    def kernel(self) -> Callable[[], torch.Tensor]:
        """Return the function that gives a copy of the state.

        It ends in an op, so that whoever watches PyTorch's dispatcher sees the memory.
        """
        return lambda: torch.ops.aten.alias.default(self.generator.get_state())

    compute = kernel

    @property
    def result_spec(self) -> Spec:
        """Return the spec of the state."""
        return Spec(tuple(self.generator.get_state().shape), torch.uint8)

    def cost(self, *specs: Spec) -> Cost:
        """Return no operations: a state is copied."""
        return FREE

    def workspace(self, *specs: Spec) -> int:
        """Return 0."""
        return 0


def state_kept_for(op: AtenOp, device: torch.device, nbytes: int) -> GeneratorState | None:
    """Return the op that keeps the state from which a random op can be replayed, if that is less.

    `device` is that of the op's results, and `nbytes` what they take.
    """
    if not op.is_random or op.writes:
        return None
    generator = op.generator or _default_generator(device)
    if generator is None:
        return None
    state = GeneratorState(generator)
    return state if state.result_spec.nbytes < nbytes else None


def replayable(op: AtenOp, state: GeneratorState) -> AtenOp:
    """Return a random op that may run again, given the state as one more read, its last one."""
    generator, kernel = state.generator, op.kernel

    def replay(*reads: torch.Tensor) -> Any:
        *own, kept = reads
        found = generator.get_state()
        generator.set_state(kept)
        try:
            return kernel(*own)
        finally:
            generator.set_state(found)

    text, *shapes = op.parameters
    parameters = (f"{text}, drawn from {id(generator)}", *shapes)
    return replace(op, parameters=parameters, replay=replay)


def _default_generator(device: torch.device) -> torch.Generator | None:
    if device.type == "cpu":
        return torch.default_generator
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index]
    return None
