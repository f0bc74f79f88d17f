"""Where a step is: in forward, a backward pass, a recomputation, or an update by an optimizer."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch

from profiler.pytorch.graph import current_node
from profiler.pytorch.notes import (
    IN_BACKWARD,
    IN_OPTIMIZER,
    IN_RECOMPUTE,
    IN_UNTAPED,
    NO_NODE,
)

_next_sequence = torch._C._autograd._get_sequence_nr
_saving_hooks: Callable[[bool], Any] = torch._C._autograd._top_saved_tensors_default_hooks
_grad_enabled = torch.is_grad_enabled


class Place:
    """Where the step is, in the thread that runs it."""

    def __init__(self) -> None:
        """Start in forward."""
        self.in_engine = self._create_graph = self._recomputes = self._repeats = False
        self._hooks: Any = None
        self._updates: list[FrameType] = []

    def untaped(self) -> int:
        """Return the place of a call outside the backward engine, with autograd off."""
        return IN_OPTIMIZER if self._updates and self._is_updating() else IN_UNTAPED

    def in_backward(self) -> tuple[int, int, Any]:
        """Return the place of a call in the backward engine, its sequence number, and the node."""
        if self._updates and self._is_updating():
            return IN_OPTIMIZER, NO_NODE, None
        # A call where none of these holds cannot be a recomputation; most are such.
        may_recompute = self._repeats or self._recomputes or self._create_graph or _grad_enabled()
        if may_recompute and self.is_recomputing():
            self._recomputes = True
            return IN_RECOMPUTE, _next_sequence(), None
        node = current_node()
        return IN_BACKWARD, NO_NODE if node is None else node._sequence_nr(), node

    @contextmanager
    def backward_pass(self, create_graph: bool) -> Iterator[None]:
        """Note what runs as of a backward pass.

        All of a pass that a recomputation makes is recomputation. A checkpoint's hooks that are
        active when the pass begins are not a sign of recomputation in it.
        """
        outer = self.in_engine, self._create_graph, self._repeats, self._hooks, self._updates
        self._repeats = self.in_engine and self.is_recomputing()
        self.in_engine, self._create_graph = True, create_graph
        self._hooks, self._updates = _saving_hooks(False), []
        try:
            yield
        finally:
            self.in_engine, self._create_graph, self._repeats, self._hooks, self._updates = outer

    def is_recomputing(self) -> bool:
        """Return whether a checkpoint computes again what forward computed, in a backward pass.

        Autograd is on there though no graph of the gradient was asked for, or a checkpoint's hooks
        for saved tensors are active.
        """
        if self._repeats or (_grad_enabled() and not self._create_graph):
            return True
        if not (self._recomputes or self._create_graph):
            return False
        hooks = _saving_hooks(False)
        return (
            hooks is not None
            and hooks != self._hooks
            and hooks[0].__module__ == "torch.utils.checkpoint"
        )

    def update_begins(self, frame: FrameType) -> None:
        """Note what runs as of an optimizer's update, for as long as the frame is on the stack."""
        self._updates.append(frame)

    def update_ends(self) -> None:
        """End the latest update."""
        self._updates.pop()

    def _is_updating(self) -> bool:
        """Return whether an update runs; one that an exception ended is forgotten."""
        while self._updates:
            frame: FrameType | None = sys._getframe(1)
            while frame is not None:
                if frame is self._updates[-1]:
                    return True
                frame = frame.f_back
            self._updates.pop()
        return False
