"""The costs of PyTorch's pooling and resampling.

A window counts in full where it reaches over the edge. M is the number of elements of the result, k
of a window.
"""

from __future__ import annotations

import math
from typing import Any

from autodiff.aten.call import Rule, each, each_given, numel
from autodiff.cost import Cost


def _window(kernel: Any, rank: int) -> int:
    """Return the elements of a window; one number stands for every dimension."""
    sizes = [kernel] if isinstance(kernel, int) else list(kernel)
    return int(math.prod(sizes if len(sizes) == rank else sizes * rank))


def _greatest(rank: int) -> Rule:
    """Return the rule of k − 1 comparisons for each result."""
    return lambda call: Cost(comparisons=call.size * (_window(call.args[1], rank) - 1))


def _average(rank: int) -> Rule:
    """Return the rule of k − 1 additions and a division for each result."""
    return lambda call: Cost(
        multiplications=call.size, additions=call.size * (_window(call.args[1], rank) - 1)
    )


def _average_backward(rank: int) -> Rule:
    """g/k, added to each of the k elements of its window."""
    return lambda call: Cost(
        multiplications=call.given, additions=call.given * _window(call.args[2], rank)
    )


def _adaptive_window_elements(given: tuple[int, ...], left: tuple[int, ...], rank: int) -> int:
    """Return the elements of all windows together.

    Window i of o over n elements reaches from ⌊in/o⌋ to ⌈(i + 1)n/o⌉.
    """
    total = numel(given[:-rank])
    for n, out in zip(given[-rank:], left[-rank:], strict=True):
        total *= sum(-(-(i + 1) * n // out) - i * n // out for i in range(out))
    return total


def _adaptive_average(rank: int) -> Rule:
    """Return the rule of a window's sum and a division for each result."""
    return lambda call: Cost(
        multiplications=call.size,
        additions=_adaptive_window_elements(call.args[0], call.results[0], rank) - call.size,
    )


def _adaptive_average_backward(rank: int) -> Rule:
    """g/k, added to each element of its window."""
    return lambda call: Cost(
        multiplications=call.given,
        additions=_adaptive_window_elements(call.args[1], call.args[0], rank),
    )


def _adaptive_greatest(rank: int) -> Rule:
    """One comparison less than its window has elements, for each result."""
    return lambda call: Cost(
        comparisons=_adaptive_window_elements(call.args[0], call.results[0], rank) - call.size
    )


_NEAREST = [
    name
    for rank in (1, 2, 3)
    for name in (f"upsample_nearest{rank}d", f"_upsample_nearest_exact{rank}d")
]

POOLING: dict[str, Rule] = {
    "max_pool1d": _greatest(1),
    "max_pool2d_with_indices": _greatest(2),
    "max_pool3d_with_indices": _greatest(3),
    "fractional_max_pool2d": _greatest(2),
    "fractional_max_pool3d": _greatest(3),
    # A gradient is added where the greatest was.
    **dict.fromkeys(
        (
            *("max_pool2d_with_indices_backward", "max_pool3d_with_indices_backward"),
            *("adaptive_max_pool2d_backward", "adaptive_max_pool3d_backward"),
            *("fractional_max_pool2d_backward", "fractional_max_pool3d_backward"),
        ),
        each_given(add=1),
    ),
    **{f"avg_pool{rank}d": _average(rank) for rank in (1, 2, 3)},
    **{f"avg_pool{rank}d_backward": _average_backward(rank) for rank in (2, 3)},
    **{f"_adaptive_avg_pool{rank}d": _adaptive_average(rank) for rank in (2, 3)},
    **{f"_adaptive_avg_pool{rank}d_backward": _adaptive_average_backward(rank) for rank in (2, 3)},
    **{f"adaptive_max_pool{rank}d": _adaptive_greatest(rank) for rank in (2, 3)},
    **{f"{name}_backward": each_given(add=1) for name in _NEAREST},
    # Along each dimension a·w + b·w′, two neighbors weighted; four in the cubic one. Weights are
    # not counted.
    "upsample_linear1d": each(mul=2, add=1),
    "upsample_bilinear2d": each(mul=6, add=3),
    "upsample_trilinear3d": each(mul=14, add=7),
    "upsample_bicubic2d": each(mul=20, add=15),
    # g times the product of the weights, added to every neighbour.
    "upsample_linear1d_backward": each_given(mul=2, add=2),
    "upsample_bilinear2d_backward": each_given(mul=8, add=4),
    "upsample_trilinear3d_backward": each_given(mul=24, add=8),
    "upsample_bicubic2d_backward": each_given(mul=32, add=16),
}

COPYING_RESAMPLERS = frozenset(_NEAREST)
"""What repeats the nearest element: copies."""
