"""The costs of PyTorch ops that update many tensors at once: `_foreach_` ops and fused optimizers.

A `_foreach_` op costs what its op costs on each tensor of its lists. In the fused updates g is a
gradient, p a parameter of N elements; the step's own numbers (bias corrections, the learning rate)
are numbers of Python and not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from autodiff.aten.call import Call, Rule, numel
from autodiff.cost import FREE, Cost


def _elements(tensors: Any) -> int:
    return sum(numel(shape) for shape in tensors)


def _given(call: Call, name: str, default: Any = 0) -> Any:
    return call.kwargs.get(name, default)


def _prepared(call: Call, coupled: bool) -> Cost:
    """Return, for one element, the cost of −g if maximizing, and of weight decay.

    Weight decay is g + λp, or p(1 − ηλ) where it is decoupled.
    """
    decayed = _given(call, "weight_decay") != 0
    return Cost(
        multiplications=int(decayed),
        additions=int(decayed and coupled) + int(bool(_given(call, "maximize"))),
    )


def _adam(coupled: bool) -> Rule:
    """Return the rule of Adam's update.

    m + (1 − β₁)(g − m); β₂v + (1 − β₂)g·g; p − c·m/(√v/c′ + ε); with amsgrad the greatest v so far.
    """

    def rule(call: Call) -> Cost:
        one = Cost(
            multiplications=7,
            additions=5,
            comparisons=int(bool(_given(call, "amsgrad"))),
            elementary=1,
        )
        return (one + _prepared(call, coupled)) * _elements(call.args[0])

    return rule


def _sgd(call: Call) -> Cost:
    """Return the cost of u = μu + (1 − τ)g (a copy of g in the first step); p − ηu.

    Nesterov's rule is p − η(g + μu).
    """
    one = Cost(multiplications=1, additions=1) + _prepared(call, coupled=True)
    if _given(call, "momentum") != 0:
        one += (
            FREE if _given(call, "is_first_step", False) else Cost(multiplications=2, additions=1)
        )
        one += Cost(multiplications=1, additions=1) if _given(call, "nesterov", False) else FREE
    return one * _elements(call.args[0])


def _adagrad(call: Call) -> Cost:
    """Return the cost of s + g·g; p − c·g/(√s + ε)."""
    return (
        Cost(multiplications=3, additions=3, elementary=1) + _prepared(call, coupled=True)
    ) * _elements(call.args[0])


def _unscale(call: Call) -> Cost:
    """Each element compared with what is not finite, and multiplied by 1/scale."""
    n = _elements(call.args[0])
    return Cost(multiplications=n, comparisons=n)


OPTIMIZERS: dict[str, Rule] = {
    "_fused_adam": _adam(coupled=True),
    "_fused_adamw": _adam(coupled=False),
    "_fused_sgd": _sgd,
    "_fused_adagrad": _adagrad,
    "_amp_foreach_non_finite_check_and_unscale": _unscale,
    # Of the one scale: the mark compared with 0; the count, plus one, with its interval; the grown
    # scale with ∞.
    "_amp_update_scale": lambda call: Cost(multiplications=1, additions=1, comparisons=3),
}


def for_each(call: Call, cost_of_one: Callable[[Call], Cost | None]) -> Cost | None:
    """Return the sum of `cost_of_one` over a `_foreach_` call's tensors; None if any is None."""
    total = FREE
    tensors = next(arg for arg in call.args if _is_list(arg))
    for i, shape in enumerate(tensors):
        results = call.results[i : i + 1] if call.results else (shape,)
        args = tuple(_element(arg, i, len(tensors)) for arg in call.args)
        kwargs = {name: _element(arg, i, len(tensors)) for name, arg in call.kwargs.items()}
        cost = cost_of_one(Call(args, kwargs, results))
        if cost is None:
            return None
        total += cost
    return total


def _element(argument: Any, i: int, tensors: int) -> Any:
    """Return tensor i's own part of an argument.

    That is element i of a list that is as long as there are tensors; anything else belongs to every
    tensor.
    """
    return argument[i] if _is_list(argument) and len(argument) == tensors else argument


def _is_list(argument: Any) -> bool:
    """Return whether an argument is a list, and not a shape."""
    return isinstance(argument, (list, tuple)) and not isinstance(argument, torch.Size)
