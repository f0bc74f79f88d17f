"""Ops that a step runs in another thread, where its recorder does not see them: their names."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from profiler.pytorch.kinds import COMPOSITE, kind_of

ELSEWHERE = " in another thread"
"""The end of the name of an op that was not seen."""


class Elsewhere(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the calls of each op in the thread that enters it."""

    def __init__(self, counters: list[Counter[str]]) -> None:
        """Take the counters to which every call is added."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._counters = counters

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an op and count its call."""
        if isinstance(func, torch._ops.OpOverload) and kind_of(func) > COMPOSITE:
            for counter in self._counters:
                counter[f"{func}{ELSEWHERE}"] += 1
        return func(*args, **(kwargs or {}))
