"""Ops of a user's own: what they hold, declared or not, and whenever it was set, is theirs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autodiff import (
    ComputationNode,
    Cost,
    Executable,
    Leaf,
    Program,
    Spec,
    StoreAll,
    forward_algorithm,
    linearize,
    ops,
)
from autodiff.kinds import kind_of
from profiler import profile
from profiler.counter import count_operations


class Scale(ComputationNode):
    """x·alpha, where alpha is an attribute that may be set on the node; `alpha` multiplications."""

    alpha: Any = 1.0

    def compute(self, x: Any) -> Any:
        return x * self.alpha

    def backward(self) -> list[Any]:
        return [self.gradient * self.alpha]

    def result_spec(self, x: Spec) -> Spec:
        return x

    def cost(self, x: Spec) -> Cost:
        return Cost(multiplications=x.numel * int(self.alpha))


class Declared(Scale):
    """The same with a constructor and a declared parameter, of which the attribute may differ."""

    def __init__(self, x: Any, alpha: Any = 1.0) -> None:
        self.alpha = alpha
        self.parameters = (alpha,)
        super().__init__(x)


class Undeclared(Scale):
    """The same with a constructor and nothing declared."""

    def __init__(self, x: Any, alpha: Any = 1.0) -> None:
        super().__init__(x)
        self.alpha = alpha


class Listed(Scale):
    """The same, with further state that cannot be compared."""

    def __init__(self, x: Any) -> None:
        super().__init__(x)
        self.notes: list[str] = []


def program_of_two(kind: type[Scale], first: Any, second: Any) -> Program:
    """The sum of a vector of three ones, scaled by two nodes whose alpha is set afterwards."""
    a = kind(Leaf(torch.ones(3), "x"))
    b = kind(a)
    a.alpha, b.alpha = first, second
    return linearize([b.sum()])


@pytest.mark.parametrize("kind", [Scale, Declared, Undeclared, Listed])
def test_each_node_has_its_own_formula_and_cost(kind: type[Scale]) -> None:
    """An attribute that is set after the node was made counts in its result and its operations."""
    program = program_of_two(kind, 2.0, 3.0)
    results, recording = Executable(program, StoreAll()(program)).run()
    assert results[0] == 18
    assert count_operations(recording)["forward"] == Cost(multiplications=15, additions=2)
    found = profile(program, execute=False)
    assert found.ops.multiplications == 15


@pytest.mark.parametrize("kind", [Scale, Declared, Undeclared, Listed])
def test_gradients_are_those_of_each_node(kind: type[Scale]) -> None:
    """The gradient reads the attribute of its own node, and is that of the eager algorithm."""
    x = Leaf(torch.ones(3), "x")
    a = kind(x)
    b = kind(a)
    a.alpha, b.alpha = 2.0, 3.0
    loss = b.sum()
    assert profile(loss, [x]).gradients[0].tolist() == [6.0] * 3
    assert forward_algorithm(loss).result == 18


def test_nodes_that_do_the_same_are_one_kind() -> None:
    """Equal attributes are one kind of work, with one name in the code; unequal ones are not."""
    same, other = program_of_two(Scale, 2.0, 2.0), program_of_two(Scale, 2.0, 3.0)
    assert len(same.flat.works) == 2
    assert len(other.flat.works) == 3
    assert Executable(same, StoreAll()(same)).source.count("Scale_") == 0
    assert Executable(other, StoreAll()(other)).source.count("Scale_") == 1


def test_what_makes_a_kind() -> None:
    """Class, parameters, types and further attributes make a kind; names and results do not."""
    x = Leaf(torch.ones(2, 2))
    assert kind_of(ops.Pow(x, 2)) == kind_of(ops.Pow(x, 2))
    assert kind_of(ops.Pow(x, 2)) != kind_of(ops.Pow(x, 2.0))
    assert kind_of(ops.Pow(x, 2.0)) != kind_of(ops.Pow(x, 3.0))
    named = ops.Tanh(x, name="y")
    forward_algorithm(named)
    assert kind_of(named) == kind_of(ops.Tanh(x))
    assert kind_of(ops.Tanh(x)) != kind_of(ops.Exp(x))
    changed = ops.Pow(x, 2.0)
    changed.power = 3.0
    assert kind_of(changed) != kind_of(ops.Pow(x, 2.0))
    overridden = ops.Exp(x)
    overridden.compute = lambda value: value  # type: ignore[method-assign]
    assert kind_of(overridden) != kind_of(ops.Exp(x))
    assert kind_of(Listed(x)) != kind_of(Listed(x))
