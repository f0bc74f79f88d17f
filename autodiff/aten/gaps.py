"""An op in place on a tensor whose elements lie apart, as an op that returns a new such tensor.

Where the rows of a tensor do not follow each other in memory, a kernel runs row by row, and rounds
the last elements of a row otherwise than within one long row. So the result has gaps as well, each
of one element; that is enough for the kernel to run as it does in the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class WithGaps:
    """An op in place, such as `aten.mul_.Tensor`, that writes into its argument at `place`."""

    overload: Any
    place: int

    @property
    def _schema(self) -> Any:
        return self.overload._schema

    @property
    def tags(self) -> Any:
        """Return the tags of the op."""
        return self.overload.tags

    def __str__(self) -> str:
        """Return the name of the op."""
        return f"{self.overload} with gaps"

    def __call__(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """Return what the op leaves in its argument, which is not written."""
        given: torch.Tensor = args[self.place]
        strides = least_strides(given.shape, given.stride())
        new = given.new_empty_strided(given.shape, strides).copy_(given)
        self.overload(*args[: self.place], new, *args[self.place + 1 :], **kwargs)
        return new


def least_strides(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Return strides in the same order, with gaps in the same places that are as small as can be.

    No two elements may lie in the same place.
    """
    least = [0] * len(shape)
    end = least_end = 1
    for dim in sorted(range(len(shape)), key=lambda dim: (strides[dim], shape[dim])):
        if shape[dim] == 1:
            least[dim] = least_end
            continue
        least[dim] = least_end + (strides[dim] > end)
        end, least_end = strides[dim] * shape[dim], least[dim] * shape[dim]
    return tuple(least)
