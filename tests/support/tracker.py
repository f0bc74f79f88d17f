"""A tracker of storages that shares no code with the profiler: it polls, where that listens.

After each op every storage that was ever a result is asked whether it still exists and how large it
is. What existed before (arguments, and whatever an op reads that no op made) is not counted.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_PARTS = {
    "torch.sparse_coo": ("_indices", "_values"),
    "torch.sparse_csr": ("crow_indices", "col_indices", "values"),
    "torch.sparse_bsr": ("crow_indices", "col_indices", "values"),
    "torch.sparse_csc": ("ccol_indices", "row_indices", "values"),
    "torch.sparse_bsc": ("ccol_indices", "row_indices", "values"),
}


def storages(tree: Any) -> Iterator[torch.UntypedStorage]:
    """Yield the storages of the tensors in nested containers."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        for one in tree:
            yield from storages(one)
    elif isinstance(tree, torch.Tensor):
        if names := _PARTS.get(str(tree.layout)):
            with torch.no_grad():
                yield from storages([getattr(tree.detach(), name)() for name in names])
        elif tree.layout is torch.strided:
            yield tree.untyped_storage()


class Tracker(TorchDispatchMode):
    """Tracks the peak of the bytes that a step brings to life."""

    def __init__(self, leave_out: Callable[[Any], bool] = lambda func: False) -> None:
        """Start with nothing; ops that `leave_out` names are not looked at."""
        super().__init__()
        self.peak = 0
        self._own: list[weakref.ref[torch.UntypedStorage]] = []
        self._leave_out = leave_out

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an op, then count what lives."""
        given = [*storages(args), *storages(kwargs or {})]
        is_literal = "lift_fresh" in str(func)
        out = func(*args, **(kwargs or {}))
        if not self._leave_out(func):
            known = [*given, *self.living()]
            for storage in storages(out):
                if is_literal or not any(storage is one for one in known):
                    self._own.append(weakref.ref(storage))
                    known.append(storage)
            del known, given
            self.peak = max(self.peak, self.live_bytes())
        return out

    def living(self) -> list[torch.UntypedStorage]:
        """Return the step's storages that still exist."""
        found = [storage for ref in self._own if (storage := ref()) is not None]
        self._own = [weakref.ref(storage) for storage in found]
        return found

    def live_bytes(self) -> int:
        """Return the bytes of the step's storages that still exist."""
        return sum(storage.nbytes() for storage in self.living())


def tracked_peak(step: Callable[[], Any]) -> int:
    """Return the peak of one run of a step."""
    tracker = Tracker()
    with tracker:
        result = step()
    del result
    return tracker.peak
