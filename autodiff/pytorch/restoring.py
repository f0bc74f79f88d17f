"""Everything that running a step once may change, put back as it was, also after an error.

Seen: tensors that an op meets (gradient, `requires_grad`, history, version), modules that run and
optimizers that step (attributes, parameters, buffers, hooks, modes), generators, the variables that
the step closes over and the globals that it names, the containers in all of these, and PyTorch's
settings and random states. Values of tensors need no copy: the step never writes into them.

Bound: objects of other kinds, files, and globals of further modules are not seen.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import FunctionType, MethodType, TracebackType
from typing import Any

import numpy as np
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

_MOST_ITEMS = 10_000
"""Larger containers are taken for data, which a step does not change."""

Undo = Callable[[], None]


class Restored:
    """A context that puts back what changes within it, as far as `watch` was told of it before."""

    def __init__(
        self, step: Callable[..., Any], args: Sequence[Any], model: torch.nn.Module | None
    ) -> None:
        """Prepare to watch a step, its arguments and its model."""
        self._roots = (step, args, model)
        self._undo: list[Undo] = []
        self._seen: dict[int, Any] = {}
        self._thread = threading.get_ident()

    def __enter__(self) -> Restored:
        """Start to watch."""
        self._undo.append(_settings())
        for root in self._roots:
            self.watch(root)
        hooks = (
            register_module_forward_pre_hook(lambda module, args: self._own(module)),
            register_optimizer_step_pre_hook(lambda optimizer, *_: self._own(optimizer)),
        )
        self._undo.extend(hook.remove for hook in hooks)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Put everything back, the latest change first."""
        while self._undo:
            self._undo.pop()()
        self._seen.clear()

    def _own(self, thing: Any) -> None:
        """Watch what runs in this thread; hooks see all threads."""
        if threading.get_ident() == self._thread:
            self.watch(thing)

    def watch(self, thing: Any) -> None:
        """Remember a thing as it is now, with what it holds; each thing once."""
        stack = [thing]
        while stack:
            one = stack.pop()
            if id(one) not in self._seen and isinstance(one, _WATCHED):
                self._seen[id(one)] = one
                undo, held = _remembered(one)
                self._undo.append(undo)
                stack.extend(held)


_CONTAINERS = (dict, list, set, deque, tuple)
_WATCHED = (
    *_CONTAINERS,
    torch.Tensor,
    torch.Generator,
    torch.nn.Module,
    torch.optim.Optimizer,
    FunctionType,
    MethodType,
)


def _remembered(thing: Any) -> tuple[Undo, Sequence[Any]]:
    """Return what puts a thing back, and what it holds."""
    if isinstance(thing, torch.Tensor):
        return _tensor(thing), ()
    if isinstance(thing, torch.Generator):
        return _generator(thing), ()
    if isinstance(thing, MethodType):
        held = thing.__self__
        return _nothing, (thing.__func__, held, getattr(held, "__dict__", None))
    if isinstance(thing, FunctionType):
        return _function(thing)
    if isinstance(thing, torch.nn.Module | torch.optim.Optimizer):
        return _nothing, (thing.__dict__,)
    return _container(thing)


def _nothing() -> None:
    """Put nothing back."""


def _container(thing: Any) -> tuple[Undo, Sequence[Any]]:
    if isinstance(thing, tuple) or len(thing) > _MOST_ITEMS:
        return _nothing, thing if isinstance(thing, tuple) else ()
    if isinstance(thing, dict):
        items = list(thing.items())

        def restore() -> None:
            now = list(thing.items())
            if len(now) != len(items) or any(
                a is not c or b is not d for (a, b), (c, d) in zip(now, items, strict=True)
            ):
                thing.clear()
                thing.update(items)

        return restore, [value for _, value in items]
    held = list(thing)

    def refill() -> None:
        now = list(thing)
        if len(now) != len(held) or any(a is not b for a, b in zip(now, held, strict=True)):
            thing.clear()
            (thing.update if isinstance(thing, set) else thing.extend)(held)

    return refill, held


def _function(function: FunctionType) -> tuple[Undo, Sequence[Any]]:
    """Remember the variables that a function closes over and the globals that it names."""
    cells = [(cell, cell.cell_contents) for cell in function.__closure__ or () if _is_full(cell)]
    space = function.__globals__
    names = {name: space[name] for name in function.__code__.co_names if name in space}

    def restore() -> None:
        for cell, value in cells:
            if not _is_full(cell) or cell.cell_contents is not value:
                cell.cell_contents = value
        for name, value in names.items():
            if space.get(name) is not value:
                space[name] = value

    return restore, [*(value for _, value in cells), *names.values()]


def _is_full(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _tensor(tensor: torch.Tensor) -> Undo:
    if not tensor.is_leaf:
        return _nothing
    requires_grad, version, gradient = tensor.requires_grad, tensor._version, tensor.grad

    def restore() -> None:
        if not tensor.is_leaf:
            tensor.detach_()
        if tensor.requires_grad != requires_grad:
            tensor.requires_grad_(requires_grad)
        if tensor.grad is not gradient:
            tensor.grad = gradient
        if tensor._version != version:
            torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))

    return restore


def _generator(generator: torch.Generator) -> Undo:
    state = generator.get_state()
    return lambda: void(generator.set_state(state))


def void(result: Any) -> None:
    """Drop a result."""


def _settings() -> Undo:
    """Remember PyTorch's settings and the random states of PyTorch, NumPy and Python."""
    dtype, is_grad = torch.get_default_dtype(), torch.is_grad_enabled()
    strict = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    anomaly, checks_nan = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    autocast = [
        (kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind))
        for kind in ("cpu", "cuda")
    ]

    def restore() -> None:
        if torch.get_default_dtype() is not dtype:
            torch.set_default_dtype(dtype)
        torch.set_grad_enabled(is_grad)
        torch.use_deterministic_algorithms(strict, warn_only=warns_only)
        torch.autograd.set_detect_anomaly(anomaly, checks_nan)
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])
        for kind, is_enabled, precision in autocast:
            torch.set_autocast_enabled(kind, is_enabled)
            torch.set_autocast_dtype(kind, precision)

    return restore
