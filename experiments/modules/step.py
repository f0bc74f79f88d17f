"""The step that is measured: forward, and in training loss, backward and the optimiser's update.

It runs on an example batch made by shape. Forward and loss run inside autocast where it is asked
for, backward outside, as PyTorch documents it. The step lets go of the module's output before
backward begins: only what autograd keeps, and the loss, live on. Gradients are dropped at its end
(`zero_grad(set_to_none=True)`). The first step makes the optimiser's state; a later one finds it
and is what training consists of, so that one is reported and both must fit. A step of the user's
own is called with the module and the batch, and with the optimiser where it takes three arguments.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch

from experiments.errors import ConfigError, ModuleError
from experiments.modules.build import imported, own_step
from experiments.modules.config import InputSpec, ModuleConfig
from experiments.modules.losses import loss_of, tensor_of
from profiler.measurement import Profile
from profiler.pytorch.steps import profile_step


@dataclass(frozen=True, eq=False)
class Batch:
    """An example batch: the first argument, arguments by name, labels where a loss needs them."""

    first: tuple[torch.Tensor, ...]
    named: dict[str, torch.Tensor]
    labels: torch.Tensor | None

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Return all tensors, in that order."""
        return [
            *self.first,
            *self.named.values(),
            *([self.labels] if self.labels is not None else []),
        ]

    @property
    def plain(self) -> Any:
        """Return the batch as a step of the user gets it: a tensor, a mapping by name, or both."""
        if not self.named:
            return self.first[0]
        return (*self.first, self.named) if self.first else self.named

    def of(self, tensors: Sequence[torch.Tensor]) -> Batch:
        """Return the same batch with other tensors in their places."""
        given = iter(tensors)
        first, named = (
            tuple(next(given) for _ in self.first),
            {name: next(given) for name in self.named},
        )
        return Batch(first, named, None if self.labels is None else next(given))


@dataclass(frozen=True, eq=False)
class Steps:
    """The profiles of a first step and of a later one, and what the loss was made of."""

    first: Profile
    later: Profile
    loss: str = ""

    @property
    def needed_bytes(self) -> int:
        """Return what both need: all that exists before the step, and the peak above it."""
        return max(needed_bytes(self.first), needed_bytes(self.later))


def needed_bytes(profile: Profile) -> int:
    """Return the bytes that exist before the step and the peak of live bytes above them."""
    return sum(profile.given_bytes.values()) + profile.peak_bytes


class Step:
    """A step of a module with an optimiser of its own; `step(batch)` runs it and returns the loss.

    `took` says what the loss was made of, once a loss has been made.
    """

    def __init__(self, module: torch.nn.Module, config: ModuleConfig) -> None:
        self.module = module
        self.config = config
        self._optimizer = _optimizer(module, config)
        self._own = None if config.step is None else own_step(config.step)
        self._labels: tuple[tuple[int, ...], int] | None = None
        self.took = ""

    def on(self, config: ModuleConfig) -> Step:
        """Return the step of another config of batch and inputs, with this module and optimiser."""
        other = copy(self)
        other.config, other._labels = config, None
        return other

    def batch(self, size: int) -> Batch:
        """Return an example batch of random numbers."""
        specs = self.config.inputs
        first = tuple(
            _example(spec, size, self.config.dtype) for spec in specs if spec.name is None
        )
        named = {
            spec.name: _example(spec, size, self.config.dtype)
            for spec in specs
            if spec.name is not None
        }
        batch = Batch(first, named, None)
        rule = self.config.loss
        if not rule.startswith("cross_entropy") or self.config.mode == "forward" or self._own:
            return batch
        if self._labels is None:
            with torch.no_grad(), self._autocast():
                logits = tensor_of(self._forward(batch))
            if logits.dim() < 2 or logits.shape[0] != size:
                raise ModuleError(
                    f"loss={rule}: the output has shape {tuple(logits.shape)}; expected the "
                    "batch of "
                    f"{size} first and the classes {'last' if rule.endswith('last') else 'second'}"
                )
            if rule == "cross_entropy":
                logits = logits.movedim(1, -1)
            self._labels = tuple(logits.shape[1:-1]), logits.shape[-1]
        shape, classes = self._labels
        return Batch(first, named, torch.randint(classes, (size, *shape)))

    def __call__(self, batch: Batch) -> Any:
        if self.config.mode == "forward":
            with torch.no_grad(), self._autocast():
                return self._forward(batch)
        if self._own is not None:
            self.took = f"of {self.config.step}"
            return self._own(self.module, batch.plain, self._optimizer)
        loss = self.loss(batch)
        if not loss.requires_grad:
            raise ModuleError(
                "the loss depends on no parameter that requires a gradient; mode=forward "
                "measures a module that is not trained"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        if self._optimizer is not None:
            self._optimizer.step()
        self.module.zero_grad(set_to_none=True)
        return loss.detach()

    def _forward(self, batch: Batch) -> Any:
        return self.module(*batch.first, **batch.named)

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = self.config.autocast
        return nullcontext() if dtype is None else torch.autocast("cpu", getattr(torch, dtype))

    def loss(self, batch: Batch) -> torch.Tensor:
        """Return the loss of a batch, by the rule of the config."""
        with self._autocast():
            loss, self.took = loss_of(self._forward(batch), self.config.loss, batch.labels)
        return loss


def profiled_steps(step: Step, size: int) -> Steps:
    """Return the profiles of a first and a later step, on one batch, of a step not run yet."""
    batch = step.batch(size)

    def run(*_: torch.Tensor) -> Any:
        return step(batch)

    device, attention = step.config.device, step.config.attention
    first, later = (
        profile_step(run, *batch.tensors, model=step.module, device=device, attention=attention)
        for _ in range(2)
    )
    return Steps(first, later, step.took)


def _example(spec: InputSpec, size: int, dtype: str) -> torch.Tensor:
    """Return a batch of one argument: normal numbers, or whole numbers below `high`.

    Floating point has the model's dtype unless the config names another.
    """
    shape, kind = (size, *spec.shape), getattr(torch, spec.dtype)
    if kind.is_floating_point:
        return torch.randn(shape, dtype=getattr(torch, dtype) if spec.dtype == "float32" else kind)
    return torch.randint(2 if spec.dtype == "bool" else spec.high, shape, dtype=torch.int64).to(
        kind
    )


def _optimizer(module: torch.nn.Module, config: ModuleConfig) -> Any:
    """Return the optimiser of the parameters that are trained; None where there is none."""
    if config.optimizer is None:
        return None
    maker = imported("optimizer", config.optimizer)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if not trained:
        raise ModuleError(
            f"{config.path} has no parameter that requires a gradient; expected one, or "
            "optimizer=none, or mode=forward"
        )
    given = dict(config.optimizer_arguments)
    if config.device == "cuda" and inspect.isclass(maker) and not {"foreach", "fused"} & set(given):
        # What PyTorch chooses where all parameters are on a card.
        given |= {"foreach": True} if "foreach" in inspect.signature(maker).parameters else {}
    try:
        return maker(trained, **given)
    except (TypeError, ValueError) as error:
        takes = (
            ", ".join(list(inspect.signature(maker).parameters)[1:])
            if callable(maker)
            else "nothing"
        )
        raise ConfigError(f"optimizer={config.optimizer}: {error}; it takes {takes}") from error
