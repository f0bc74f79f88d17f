"""Plans without a compiler: which blocks of a model run again, measured on tensors without memory.

The first k blocks run again by torch.utils.checkpoint, for the least k that keeps within the
budget; blocks may be large or small, or run again with parts of them that run again within. Each
choice is measured by `profile_step` on fake tensors, so the peak is what PyTorch's own step takes.

Bound: blocks are kept or run again as a whole, so such a plan takes more operations than one of the
graph; the last blocks are kept, because backward begins there. Control flow that depends on values
cannot be measured on fake tensors, and is refused.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._pytree import tree_leaves, tree_map_only

from autodiff.errors import BudgetError, GraphError, ValuesError
from profiler.applying.blocks import families_of, lines_for, norms_in
from profiler.applying.rerunning import run_again
from profiler.measurement import Profile
from profiler.pytorch.steps import profile_step
from profiler.units import human_bytes, human_bytes_apart

_DEVICES = ("cpu", "cuda")


@dataclass(frozen=True)
class NestedPlan:
    """Which modules of a model run again, and what the step then takes.

    `outside_bytes` are what the loss outside is assumed to take; they are in the peaks. `norms` are
    those that run again and have running statistics.
    """

    modules: tuple[str, ...]
    peak_bytes: int
    plain_peak_bytes: int
    operations: int
    plain_operations: int
    limit: int
    outside_bytes: int = 0
    planner: str = "nested checkpoints"
    norms: tuple[str, ...] = ()

    def code(self) -> str:
        """Return the lines that let the same modules run again without this project.

        Losses and gradients are equal. Running statistics are not: `norms`, which the lines name,
        update them in every run. Comments say what the lines save and cost.
        """
        peak, plain, limit = human_bytes_apart(self.peak_bytes, self.plain_peak_bytes, self.limit)
        above = "" if self.peak_bytes <= self.limit else f", above the limit of {limit}"
        if not self.modules:
            return f"# No block runs again: peak {peak}{above}."
        return (
            f"# Blocks that run again as a whole: peak {peak}{above} (all kept: {plain}), "
            f"{more_words(self.operations, self.plain_operations)}.\n"
            f"{lines_for(self.modules, self.norms)}"
        )

    def __str__(self) -> str:
        """Return the summary and the modules."""
        peak, plain = human_bytes_apart(self.peak_bytes, self.plain_peak_bytes)
        more = more_words(self.operations, self.plain_operations)
        named = ", ".join(self.modules) or "nothing"
        return (
            f"{self.planner}: peak {peak} of at most {human_bytes(self.limit)} (all kept: {plain}),"
            f" {more}\n{outside_words(self.outside_bytes, self.peak_bytes)}\nrun again: {named}"
        )


def outside_words(outside: int, peak: int) -> str:
    """Return which share of the peak is what the loss outside of the model is assumed to take."""
    return f"outside of the model (an assumption): {100 * outside / max(peak, 1):.0f}% of the peak"


def more_words(operations: float, plain: float) -> str:
    """Return how many more operations than the plain ones a plan takes."""
    return f"{100 * (operations / max(plain, 1) - 1):.1f}% more operations"


class NestedPlanner:
    """Measures a model's step on fake tensors with some of its modules checkpointed."""

    def __init__(
        self, model: torch.nn.Module, args: Any, kwargs: Mapping[str, Any], outside: int | None
    ) -> None:
        """Note a call: fakes of its arguments, the modes of modules, the settings of autocast."""
        self._outside, self._original = outside, model
        self._mode = FakeTensorMode()
        self._modes = [module.training for module in model.modules()]
        self._autocast = [
            (device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))
            for device in _DEVICES
        ]
        self._args, self._kwargs = tree_map_only(
            torch.Tensor, self._mode.from_tensor, (args, dict(kwargs))
        )
        self.outside_bytes = 0

    @cached_property
    def _model(self) -> torch.nn.Module:
        """The model on fake tensors, in the modes of the call."""
        with FakeCopyMode(self._mode):
            model = copy.deepcopy(self._original)
        model.__dict__.pop("forward", None)
        for module, training in zip(model.modules(), self._modes, strict=True):
            module.training = training
        return model

    @cached_property
    def _plain(self) -> Profile:
        return self._measured([])

    @cached_property
    def program(self) -> bytes:
        """A digest of the step's ops and buffers: calls that agree in it have one plan."""
        ledger = self._plain.ledger
        digest = hashlib.sha256(repr(ledger.phases).encode())
        for step in range(len(ledger.phases)):
            digest.update(ledger.names.step(step).encode())
        for numbers in (ledger.nbytes, ledger.born, ledger.dies, ledger.role):
            digest.update(numbers.tobytes())
        digest.update(repr((self._plain.given_bytes, self.outside_bytes)).encode())
        return digest.digest()

    def plan(self, limit: int, *, least: bool = False) -> NestedPlan:
        """Return the plan of the fewest blocks that keeps within a limit.

        Raises BudgetError with the least where none does, unless the `least` is asked for.
        """
        plain = self._plain
        fitting: list[tuple[list[str], Profile]] = []
        lowest: tuple[list[str], Profile] = ([], plain)
        for names in families_of(self._model):
            chosen, profile = self._fewest(names, limit, plain)
            if self._fits(profile, limit):
                fitting.append((chosen, profile))
            lowest = min(lowest, (chosen, profile), key=lambda one: one[1].peak_bytes)
        names, profile = min(fitting, key=lambda one: one[1].ops.total, default=lowest)
        plan = NestedPlan(
            tuple(names),
            profile.peak_bytes + self.outside_bytes,
            plain.peak_bytes + self.outside_bytes,
            profile.ops.total,
            plain.ops.total,
            limit,
            self.outside_bytes,
            norms=tuple(norms_in(self._model, names)),
        )
        if plan.peak_bytes > limit and not least:
            raise BudgetError(
                f"max_bytes = {limit}; the least that checkpointed blocks take is "
                f"{plan.peak_bytes} bytes; give that much, or a smaller batch",
                plan,
                plan.peak_bytes,
            )
        return plan

    def _fewest(self, names: list[str], limit: int, plain: Profile) -> tuple[list[str], Profile]:
        """Return the fewest of the first names that keep within a limit, else all of them."""
        profiles = {0: plain}
        low, high = 0, len(names)
        while low < high:
            middle = (low + high) // 2
            if middle not in profiles:
                profiles[middle] = self._measured(names[:middle])
            if self._fits(profiles[middle], limit):
                high = middle
            else:
                low = middle + 1
        return names[:low], profiles.get(low) or self._measured(names[:low])

    def _fits(self, profile: Profile, limit: int) -> bool:
        return profile.peak_bytes + self.outside_bytes <= limit

    def _measured(self, names: list[str]) -> Profile:
        run_again(self._model, names)
        self._model.zero_grad(set_to_none=True)
        try:
            with self._mode, ExitStack() as settings:
                for device, enabled, dtype in self._autocast:
                    settings.enter_context(torch.autocast(device, dtype, enabled))
                return profile_step(self._step, *tree_leaves((self._args, self._kwargs)))
        except ValuesError as error:
            raise GraphError(f"{type(self._model).__name__} cannot be planned: {error}") from error
        finally:
            run_again(self._model, [])

    def _step(self, *_: Any) -> None:
        result = self._model(*self._args, **self._kwargs)
        ends = [one for one in tree_leaves(result) if _is_differentiable(one)]
        losses = [one for one in ends if one.numel() == 1]
        if losses:
            losses[0].backward()
            return
        gradients = [torch.ones_like(one) for one in ends]
        self.outside_bytes = (
            2 * sum(one.nbytes for one in gradients) if self._outside is None else self._outside
        )
        torch.autograd.backward(ends, gradients)


def _is_differentiable(one: Any) -> bool:
    return isinstance(one, torch.Tensor) and one.requires_grad
