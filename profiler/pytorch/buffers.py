"""The storages that are alive in a step: their numbers, their deaths, what is learned of them."""

from __future__ import annotations

import weakref
from typing import Any

import torch

from autodiff.instructions import INPUT, PARAMETER, PARAMETER_GRADIENT
from profiler.pytorch.notes import BEFORE, Notes
from profiler.pytorch.storages import parts_of, storage_of


class Watch(weakref.ref[torch.UntypedStorage]):
    """A weak reference to a storage, with the storage's address and number."""

    __slots__ = ("buffer", "key")
    buffer: int
    key: int


class Buffers:
    """The storages seen so far; `alive` has the living ones by address.

    `bare` says that the step has no model, so that leaves that require gradients are parameters.
    """

    def __init__(self, notes: Notes, bare: bool) -> None:
        """Start with none; what happens is written to the notes."""
        self.alive: dict[int, Watch] = {}
        self._notes, self._bare = notes, bare
        alive, calls, died = self.alive, notes.raw, notes.deaths.append

        def on_death(watch: Watch) -> None:
            del alive[watch.key]
            died((watch.buffer, len(calls) - 1))

        self.on_death: Any = on_death

    def born(self, storage: torch.UntypedStorage, step: int) -> int:
        """Watch a new storage and return its number."""
        watch = Watch(storage, self.on_death)
        watch.key = storage._cdata
        watch.buffer = buffer = len(self._notes.sizes)
        self.alive[watch.key] = watch
        self._notes.sizes.append(storage.nbytes())
        self._notes.born.append(step)
        return buffer

    def watch_of(self, tensor: Any) -> Watch | None:
        """Return the watch of a tensor's storage, where that is watched."""
        storage = storage_of(tensor)
        return None if storage is None else self.alive.get(storage._cdata)

    def see(self, tensor: torch.Tensor, role: str | None = None, label: str = "") -> int:
        """Return the number of a tensor's buffer, or −1 for a tensor without a storage.

        A buffer that was not seen before existed before the step. If no role is given, parameters
        are recognized by their class or, in a step without a model, as leaves that require
        gradients.
        """
        if len(parts := parts_of(tensor)) != 1 or parts[0] is not tensor:
            return max((self.see(part, role, label) for part in parts), default=-1)
        watch = self.watch_of(tensor)
        if watch is not None:
            return watch.buffer
        storage = storage_of(tensor)
        if storage is None:
            return -1
        buffer = self.born(storage, BEFORE)
        self._notes.given[buffer] = self._role_of_given(tensor) if role is None else role
        if label:
            self._notes.labels[buffer] = label
        base = _base(tensor)
        if base.is_leaf and base.grad is not None:
            self.see(base.grad, PARAMETER_GRADIENT, f"{label}.grad" if label else "")
        return buffer

    def mark(self, tensor: Any, role: str) -> None:
        """Note the role of a tensor's buffer, if it is alive."""
        for part in parts_of(tensor):
            if (watch := self.watch_of(part)) is not None:
                self._notes.marks.append((watch.buffer, role))

    def gradient_of(self, leaf: torch.Tensor, gradient: Any) -> None:
        """Note that a tensor is the gradient of a leaf, if that is a parameter."""
        watch = self.watch_of(leaf)
        role = self._notes.given.get(watch.buffer) if watch is not None else None
        if role != PARAMETER:
            if self._role_of_given(leaf) != PARAMETER:
                return
            if watch is not None and role is not None:
                self._notes.given[watch.buffer] = PARAMETER
            else:
                self.mark(leaf, PARAMETER)  # made within the step
        self.mark(gradient, PARAMETER_GRADIENT)

    def _role_of_given(self, tensor: torch.Tensor) -> str:
        base = _base(tensor)
        if isinstance(base, torch.nn.Parameter) or (
            self._bare and base.is_leaf and base.requires_grad
        ):
            return PARAMETER
        return INPUT


def _base(tensor: torch.Tensor) -> torch.Tensor:
    base = tensor._base
    return tensor if base is None else base
