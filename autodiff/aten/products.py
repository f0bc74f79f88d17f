"""The costs of PyTorch's matrix products, convolutions and attention, and their `matmul_flops`.

A product of m×k by k×p is mkp multiplications, m(k − 1)p additions, 2mkp matmul flops. A
convolution is the product of its unfolded input by its filters: padding counts like any element.
The dot product of two vectors is no matrix product. Attention is in a file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from autodiff.aten.call import Call, Rule, Shape, numel
from autodiff.cost import FREE, Cost


def product(cells: int, inner: int) -> Cost:
    """`cells` elements, each a sum of `inner` products."""
    return Cost(
        multiplications=cells * inner,
        additions=cells * max(inner - 1, 0),
        matmul_flops=2 * cells * inner,
    )


def _matmul(call: Call) -> Cost:
    """(…, m, k)(…, k, p), or a matrix by a vector."""
    return product(call.size, call.args[0][-1])


def _dot(call: Call) -> Cost:
    """Σa·b: k multiplications, k − 1 additions."""
    return Cost(multiplications=call.given, additions=max(call.given - 1, 0))


def _added(call: Call) -> Cost:
    """Return the cost of β·c + α·ab.

    N additions unless β is 0, and multiplications by α and β where they are not 1.
    """
    cost = product(call.size, call.args[1][-1])
    alpha, beta = call.kwargs.get("alpha", 1), call.kwargs.get("beta", 1)
    scale = (call.size if alpha != 1 else 0) + (call.given if beta not in (0, 1) else 0)
    return cost + Cost(multiplications=scale, additions=call.size if beta != 0 else 0)


def _summed_over_batch(call: Call) -> Cost:
    """β·c + α·Σ_i a_i b_i: the batch is one more inner dimension."""
    batch, _, inner = call.args[1]
    alpha, beta = call.kwargs.get("alpha", 1), call.kwargs.get("beta", 1)
    scale = (call.size if alpha != 1 else 0) + (call.given if beta not in (0, 1) else 0)
    return product(call.size, batch * inner) + Cost(
        multiplications=scale, additions=call.size if beta != 0 else 0
    )


def _linear(call: Call) -> Cost:
    """x·Wᵀ, and N additions for a bias."""
    return product(call.size, call.args[0][-1]) + Cost(
        additions=call.size if call.arg(2) is not None else 0
    )


def _products_of_convolution(
    x: tuple[int, ...], weight: tuple[int, ...], out: tuple[int, ...], transposed: bool
) -> int:
    """Return how many products of two elements a convolution takes.

    Each point of the output (of the input, where transposed) meets every element of the filters, in
    every example.
    """
    return x[0] * numel((x if transposed else out)[2:]) * numel(weight)


def _linear_backward(call: Call) -> Cost:
    """Return a product each for the gradients of x and W, and the sums of that of the bias."""
    x, gradient, weight, wanted = call.args[:4]
    rows = numel(x[:-1])
    cost = product(numel(x), weight[0]) if wanted[0] else FREE
    cost += product(numel(weight), rows) if wanted[1] else FREE
    return cost + Cost(additions=numel(gradient) - weight[0] if wanted[2] else 0)


def _reached(size: int, sources: int, step: tuple[int, int, int, int]) -> int:
    """Return how many of `size` places in a row some source reaches.

    Source i reaches i·stride − padding + k·dilation for each k of the kernel.
    """
    kernel, stride, padding, dilation = step
    if sources * kernel == 0:
        return 0
    if dilation == 1 and stride <= kernel:
        end = (sources - 1) * stride + kernel - padding
        return max(min(end, size) - max(-padding, 0), 0)
    places = {i * stride - padding + k * dilation for i in range(sources) for k in range(kernel)}
    return sum(0 <= place < size for place in places)


def _sums(cells: Shape, sources: Shape, kernel: Shape, call_steps: tuple[Any, Any, Any]) -> int:
    """Return how many cells of a batch of images are sums of products; the others are zeros.

    `cells` and `sources` begin with batch and channels; a cell is a sum where a source reaches it.
    """
    rank = len(kernel)
    steps = zip(kernel, *(_of_rank(one, rank) for one in call_steps), strict=True)
    reached = (
        _reached(size, count, step)
        for size, count, step in zip(cells[2:], sources[2:], steps, strict=True)
    )
    return cells[0] * cells[1] * math.prod(reached)


def _of_rank(numbers: Any, rank: int) -> tuple[int, ...]:
    """Return a setting of a convolution for each dimension; one number stands for all."""
    given = tuple(int(number) for number in numbers)
    return given if len(given) == rank else given * rank


def _convolution(call: Call) -> Cost:
    """Return P products in sums: P − N additions for N sums, and one for each result for a bias.

    Where transposed with a stride beyond the kernel, some results are no sums, but zeros.
    """
    x, weight, bias = call.args[:3]
    out, transposed = call.results[0], call.arg(6, False)
    products = _products_of_convolution(x, weight, out, transposed)
    sums = _sums(out, x, weight[2:], call.args[3:6]) if transposed else call.size
    additions = max(products - sums, 0) + (call.size if bias is not None else 0)
    return Cost(multiplications=products, additions=additions, matmul_flops=2 * products)


def _convolution_backward(call: Call) -> Cost:
    """Return the same P products for the gradient of the input and again for that of the filters.

    A gradient of the input is a sum where an output read the input. The gradient of a bias sums
    over all but the channels.
    """
    out, x, weight = call.args[:3]
    transposed, wanted = call.args[7], call.args[10]
    products = _products_of_convolution(x, weight, out, transposed)
    sums = numel(x) if transposed else _sums(x, out, weight[2:], call.args[4:7])
    cost = FREE
    for asked, cells in zip(wanted[:2], (sums, numel(weight)), strict=True):
        if asked:
            cost += Cost(
                multiplications=products,
                additions=max(products - cells, 0),
                matmul_flops=2 * products,
            )
    return cost + Cost(additions=numel(out) - out[1] if wanted[2] else 0)


def _trilinear(call: Call) -> Cost:
    """Return the cost of Σ x·y·z over some dimensions, each argument first expanded along its own.

    Two products for each of the N terms, N − R additions.
    """
    shapes = []
    for shape, expanded in zip(call.args[:3], call.args[3:6], strict=True):
        sizes = list(shape)
        for dimension in sorted(expanded):
            sizes.insert(dimension, 1)
        shapes.append(sizes)
    terms = numel(tuple(max(sizes) for sizes in zip(*shapes, strict=True)))
    return Cost(multiplications=2 * terms, additions=max(terms - call.size, 0))


def _of_groups(call: Call) -> Cost:
    """Return the products of one matrix, or a batch of them, with the matrix of its group.

    The inner dimension of two matrices is divided among the groups, which have their own sums.
    """
    x, y = call.args[:2]
    if len(x) == len(y) == 2:
        products = x[0] * x[1] * y[1]
        return Cost(products, max(products - call.size, 0), matmul_flops=2 * products)
    return product(call.size, x[-1])


def _grouped(call: Call) -> Cost:
    """Return the products by groups, plus a bias."""
    return _of_groups(call) + Cost(additions=call.size if call.arg(3) is not None else 0)


def _scaled(products: Callable[[Call], Cost], bias: int, scale: int | None = None) -> Rule:
    """Return the rule of ab·s_a·s_b, plus a bias, times a scale of the result.

    Each is an operation an element; `bias` and `scale` are their places among the arguments.
    """

    def rule(call: Call) -> Cost:
        scales = 2 if scale is None or call.arg(scale) is None else 3
        return products(call) + Cost(
            multiplications=call.size * scales,
            additions=call.size if call.arg(bias) is not None else 0,
        )

    return rule


def _matmul_backward(call: Call) -> Cost:
    """Return a product for the gradient of each matrix that is wanted."""
    gradient, x, y, wanted = call.args[:4]
    cost = product(numel(x), gradient[-1]) if wanted[0] else FREE
    return cost + (product(numel(y), x[-2]) if wanted[1] else FREE)


PRODUCTS: dict[str, Rule] = {
    **dict.fromkeys(("mm", "bmm", "mv", "_int_mm", "matmul"), _matmul),
    "matmul_backward": _matmul_backward,
    **dict.fromkeys(("dot", "vdot"), _dot),
    **dict.fromkeys(("addmm", "baddbmm", "addmv"), _added),
    "addbmm": _summed_over_batch,
    "linear": _linear,
    "linear_backward": _linear_backward,
    "_trilinear": _trilinear,
    **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable"), _convolution),
    "convolution_backward": _convolution_backward,
    "_grouped_mm": _grouped,
    "_scaled_mm": _scaled(_matmul, 4, 5),
    "_scaled_mm_v2": _scaled(_matmul, 8),
    "_scaled_grouped_mm": _scaled(_of_groups, 5, 6),
    "_scaled_grouped_mm_v2": _scaled(_of_groups, 9),
}
