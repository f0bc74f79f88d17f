"""Blocks of a module that run again by torch.utils.checkpoint, and what its step then takes.

Any step can be measured with blocks that run again, also one of the user's own, which no planner
sees. What is named by hand (`checkpoint=[…]`) is compared with the step that keeps everything, and
with the plan of single operations that takes no more bytes.

Bound: of one list of blocks, the first ones; finer choices are `tapemeasure.checkpointed`'s.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from autodiff.checkpointing.budget import Budget
from autodiff.checkpointing.costs import operations_of
from autodiff.errors import TapemeasureError
from experiments.measuring.search import largest
from experiments.modules.config import ModuleConfig
from experiments.modules.plans import program_of
from experiments.modules.prediction import FakeModule
from experiments.modules.step import Steps
from profiler.applying.blocks import families_of, lines_for, norms_in
from profiler.applying.rerunning import run_again


@dataclass(frozen=True)
class Blocks:
    """The modules that run again, what the step then needs, its operations and the plain ones.

    `norms` are those in them with running statistics, which run twice.
    """

    modules: tuple[str, ...]
    needed_bytes: int
    operations: int
    plain_operations: int
    norms: tuple[str, ...] = ()

    def code(self) -> str:
        """Return the lines to paste into a script."""
        return lines_for(self.modules, self.norms)


@dataclass(frozen=True)
class ByHand:
    """The step without what was named by hand: its bytes and operations.

    `optimal_ratio` is how many operations the plan of single operations takes that needs no more
    bytes than what was named, in those of keeping everything; None where none was found.
    """

    plain_bytes: int
    plain_operations: int
    optimal_ratio: float | None


def fewest_blocks(fake: FakeModule, config: ModuleConfig, predicted: Steps) -> Blocks | None:
    """Return the fewest first blocks whose running again keeps the step within the memory.

    None where the batch fits as it is, no plan is asked for, or not even all blocks suffice.
    """
    memory = config.memory_bytes
    if memory is None or config.mode != "train" or not config.plans or config.checkpoint:
        return None
    if predicted.needed_bytes <= memory:
        return None
    for names in families_of(fake.module):
        found = _fewest(fake, config, names, predicted)
        if found is not None:
            return found
    return None


def _fewest(
    fake: FakeModule, config: ModuleConfig, names: list[str], predicted: Steps
) -> Blocks | None:
    """Return the fewest of the first names that suffice; None where all of them do not."""
    memory, most = config.memory_bytes, len(names)
    assert memory is not None
    measured = {0: predicted}

    def fits(kept: int) -> bool:
        again = most - kept
        if again not in measured:
            print(f"tapemeasure: measuring {again} blocks that run again", file=sys.stderr)
            measured[again] = _with_blocks(fake, names[:again], lambda: fake.steps(config.batch))
        return measured[again].needed_bytes <= memory

    if not most or not fits(0):
        return None
    again = most - largest(fits, most - 1, most // 2)
    steps = measured[again]
    return Blocks(
        tuple(names[:again]),
        steps.needed_bytes,
        steps.later.ops.total,
        predicted.later.ops.total,
        tuple(norms_in(fake.module, names[:again])),
    )


def _with_blocks(fake: FakeModule, names: list[str], measure: Callable[[], Steps]) -> Steps:
    run_again(fake.module, names)
    try:
        return measure()
    finally:
        run_again(fake.module, [])


def compared(config: ModuleConfig, predicted: Steps) -> ByHand | None:
    """Return what the step takes without the blocks that were named; None where none were."""
    if not config.checkpoint or not config.plans or config.mode != "train":
        return None
    without = replace(config, checkpoint=())
    fake = FakeModule(without)
    try:
        plain = fake.steps(config.batch)
    except TapemeasureError:
        return None
    resident = sum(plain.later.given_bytes.values())
    ratio = None
    if config.step is None:
        try:
            program = program_of(fake, without, config.batch)
            cost = Budget(max_bytes=predicted.needed_bytes - resident)(program).cost
            ratio = None if cost is None else cost / float(operations_of(program).sum())
        except TapemeasureError:  # what cannot be traced, or a program that takes more otherwise
            ratio = None
    return ByHand(plain.needed_bytes, plain.later.ops.total, ratio)
