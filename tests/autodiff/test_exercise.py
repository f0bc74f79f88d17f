"""The exercise's cells, run as the exercise writes them, print what the exercise prints.

Typing errors and lost indentation are corrected (two spaces a level). Each cell runs twice: on the
engine's ops, and on the classes of the exercise itself, which have only `forward` and `backward`.
PyTorch's autograd and calculus done by hand are the second cross-checks.
"""

import contextlib
import io
import math
from collections.abc import Callable
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import autodiff
from autodiff import (
    ComputationNode,
    Exp,
    Leaf,
    Mean,
    backward_algorithm,
    build_graph,
    forward_algorithm,
    gradients,
)
from autodiff.errors import GraphError

EXERCISE_CLASSES = """
class Negate(ComputationNode):
    def forward(self):
        self.result = -self.input(0)

    def backward(self):
        return [-self.gradient]


class Exp(ComputationNode):
    def forward(self):
        x = self.input(0)
        self.result = x.exp() if callable(getattr(x, "exp", None)) else math.exp(x)

    def backward(self):
        local_gradient = self.result
        return [local_gradient * self.gradient]


class Mean(ComputationNode):
    def forward(self):
        self.result = (self.input(0) + self.input(1)) / 2

    def backward(self):
        return [self.gradient / 2, self.gradient / 2]


class IntPow(ComputationNode):
    def __init__(self, base, int_power):
        super().__init__(base)
        self.int_power = int_power

    def forward(self):
        self.result = self.input(0) ** self.int_power

    def backward(self):
        return [self.gradient * self.int_power * (self.input(0) ** (self.int_power - 1))]


class Matsum(ComputationNode):
    def forward(self):
        self.result = self.input(0).sum()

    def backward(self):
        return [self.gradient.expand(self.input(0).shape)]


class Matexpand(ComputationNode):
    def __init__(self, inp, target_shape):
        super().__init__(inp)
        self.target_shape = target_shape

    def forward(self):
        self.result = self.input(0).expand(self.target_shape)

    def backward(self):
        return [self.gradient.sum()]


class Mul(ComputationNode):
    def forward(self):
        self.result = self.input(0) * self.input(1)

    def backward(self):
        return [self.gradient * self.input(1), self.gradient * self.input(0)]


class Add(ComputationNode):
    def forward(self):
        self.result = self.input(0) + self.input(1)

    def backward(self):
        return [self.gradient, self.gradient]


class Matmul(ComputationNode):
    def forward(self):
        self.result = self.input(0) @ self.input(1)

    def backward(self):
        return [self.gradient @ self.input(1).T, self.input(0).T @ self.gradient]
"""

EXERCISE_OPERATORS = {
    "exp": "Exp",
    "sum": "Matsum",
    "expand": "Matexpand",
    "__neg__": "Negate",
    "__pow__": "IntPow",
    "__add__": "Add",
    "__mul__": "Mul",
    "__matmul__": "Matmul",
}

COSH_FORWARD = """
x = Leaf(math.log(2), "x")
cosh_x = Mean(Exp(x), Exp(-x))
print(forward_algorithm(cosh_x))
print(cosh_x.result)
"""

COSH_FORWARD_PRINTS = """
Mean result=1.25 gradient=None
  Exp result=2.0 gradient=None
    Leaf x result=0.6931471805599453 gradient=None
  Exp result=0.5 gradient=None
    Negate result=-0.6931471805599453 gradient=None
      Leaf x @[3]
1.25
"""

COSH_BACKWARD = """
print(backward_algorithm(cosh_x))
print(x.gradient)
"""

COSH_BACKWARD_PRINTS = """
Mean result=1.25 gradient=1.0
  Exp result=2.0 gradient=0.5
    Leaf x result=0.6931471805599453 gradient=0.75
  Exp result=0.5 gradient=0.5
    Negate result=-0.6931471805599453 gradient=0.25
      Leaf x @[3]
0.75
"""

SINH = """
sinh_x = Mean(Exp(x), Negate(Exp(-x)))
print(forward_algorithm(sinh_x))
"""

SINH_PRINTS = """
Mean result=0.75 gradient=None
  Exp result=2.0 gradient=None
    Leaf x result=0.6931471805599453 gradient=0.75
  Negate result=-0.5 gradient=None
    Exp result=0.5 gradient=None
      Negate result=-0.6931471805599453 gradient=None
        Leaf x @[3]
"""

TANH = """
x = Leaf(math.log(2), "x")
expx = Exp(x)
expnx = Exp(-x)
tanh_x = (expx - expnx) / (expx + expnx)
forward_algorithm(tanh_x)
backward_algorithm(tanh_x)
print(tanh_x)
print(x.gradient)
"""

TANH_PRINTS = """
Mul result=0.6000000000000001 gradient=1.0
  Add result=1.5 gradient=0.4
    Exp result=2.0 gradient=0.16000000000000003
      Leaf x result=0.6931471805599453 gradient=0.6400000000000001
    Negate result=-0.5 gradient=0.4
      Exp result=0.5 gradient=-0.64
        Negate result=-0.6931471805599453 gradient=-0.32
          Leaf x @[4]
  IntPow result=0.4 gradient=1.5
    Add result=2.5 gradient=-0.24
      Exp @[3]
      Exp @[6]
0.6400000000000001
"""

POLYNOMIAL = """
import torch


def polynomial(x):
    return x**4 - 2 * x**3 + 3 * x**2 - 4 * x + 5


xx = Leaf(torch.linspace(-2.0, 3.0, 25), "x")
yy = polynomial(xx)
ysum = yy.sum()
forward_algorithm(ysum)
backward_algorithm(ysum, one=Leaf(torch.tensor(1.0)))
from matplotlib import pyplot as plt

plt.plot(xx.value, yy.result, label="y")
plt.plot(xx.value, xx.gradient, label="dy/dx")
plt.legend()
plt.show()
"""

HIGHER_ORDER = """
xx = Leaf(torch.linspace(-2.0, 3.0, 25), "x")
yy = polynomial(xx)
ysum = yy.sum()
forward_algorithm(ysum)
plt.plot(xx.value, yy.result, label="y")

with build_graph():
    backward_algorithm(ysum, one=Leaf(torch.tensor(1.0)))
dydx = xx.gradient
dysum = dydx.sum()
forward_algorithm(dysum)
plt.plot(xx.value, dydx.result, label="dydx")

with build_graph():
    backward_algorithm(dysum, one=Leaf(torch.tensor(1.0)))
d2yd2x = xx.gradient
d2ysum = d2yd2x.sum()
forward_algorithm(d2ysum)
plt.plot(xx.value, d2yd2x.result, label="d2yd2x")

with build_graph():
    backward_algorithm(d2ysum, one=Leaf(torch.tensor(1.0)))
d3yd3x = xx.gradient
d3ysum = d3yd3x.sum()
forward_algorithm(d3ysum)
plt.plot(xx.value, d3yd3x.result, label="d3yd3x")
plt.legend()
plt.show()
"""

MATRIX_PRODUCT = """
A, B, C = [
    Leaf(torch.tensor(d, requires_grad=True), name)
    for name, d in [
        ("A", [[1.0, 1.0], [0.0, 1.0]]),
        ("B", [[1.0, 2.0, 1.0], [0.0, 1.0, 1.0]]),
        ("C", [[3.0, 0.0, 1.0], [1.0, 2.0, 3.0]]),
    ]
]
loss = ((A @ B - C) ** 2).sum()

# Use our algorithm, with pytorch autograd disabled during the backward pass.
forward_algorithm(loss)
with torch.no_grad():
    backward_algorithm(loss, one=torch.tensor(1.0))

# Use pytorch autograd.
loss.result.backward()

# Print and compare the results.
import re


def despace(s):
    return re.sub(r"\\s*", "", str(s))


for name, param in zip("ABC", [A, B, C]):
    print(f"pytorch says: dloss/d{name} = {despace(param.value.grad)}")
    print(f"our code says dloss/d{name} = {despace(param.gradient)}")
    print(f"difference: {(param.value.grad - param.gradient).norm()}")
"""

MATRIX_PRODUCT_PRINTS = """
pytorch says: dloss/dA = tensor([[10.,8.],[-10.,-6.]])
our code says dloss/dA = tensor([[10.,8.],[-10.,-6.]])
difference: 0.0
pytorch says: dloss/dB = tensor([[-4.,6.,2.],[-6.,4.,-2.]])
our code says dloss/dB = tensor([[-4.,6.,2.],[-6.,4.,-2.]])
difference: 0.0
pytorch says: dloss/dC = tensor([[4.,-6.,-2.],[2.,2.,4.]])
our code says dloss/dC = tensor([[4.,-6.,-2.],[2.,2.,4.]])
difference: 0.0
"""

Run = Callable[[str], str]


def own_classes() -> dict[str, Any]:
    """The classes of the exercise, on this engine's base class."""
    names: dict[str, Any] = {"ComputationNode": ComputationNode, "math": math}
    exec(EXERCISE_CLASSES, names)
    return names


@pytest.fixture(params=["the engine's ops", "the exercise's own classes"])
def run(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A notebook: runs a cell after those that it ran before, and gives what the cell prints."""
    matplotlib.use("Agg")
    plt.close("all")
    monkeypatch.setattr(plt, "show", lambda: None)
    notebook: dict[str, Any] = {name: getattr(autodiff, name) for name in autodiff.__all__} | {
        "math": math
    }
    if request.param == "the exercise's own classes":
        own = own_classes()
        notebook |= own
        for operator, name in EXERCISE_OPERATORS.items():
            monkeypatch.setattr(
                ComputationNode, operator, lambda self, *others, op=own[name]: op(self, *others)
            )
        monkeypatch.setattr(
            ComputationNode, "__rmul__", lambda self, other: own["Mul"](other, self)
        )

    def run_cell(cell: str) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(cell, notebook)
        return "\n" + printed.getvalue()

    return run_cell


def test_cosh_forward(run: Run) -> None:
    """Step 1 prints the tree of cosh with its results."""
    assert run(COSH_FORWARD) == COSH_FORWARD_PRINTS


def test_cosh_backward(run: Run) -> None:
    """Step 2 prints the same tree with every gradient, sinh(log 2) = 0.75 at the leaf."""
    run(COSH_FORWARD)
    assert run(COSH_BACKWARD) == COSH_BACKWARD_PRINTS


def test_sinh_shows_the_earlier_gradient(run: Run) -> None:
    """A second graph over the same leaf is printed with the gradient that the first one left
    there.
    """
    run(COSH_FORWARD)
    run(COSH_BACKWARD)
    assert run(SINH) == SINH_PRINTS


def test_tanh_with_reused_nodes(run: Run) -> None:
    """Step 3 visits each reused node once, names it by its number, and gives 1 − tanh² at the
    leaf.
    """
    assert run(TANH) == TANH_PRINTS


def drawn_lines() -> list[np.ndarray]:
    return [np.asarray(line.get_ydata()) for line in plt.gca().lines]


def derivatives_by_hand(x: np.ndarray) -> list[np.ndarray]:
    return [
        x**4 - 2 * x**3 + 3 * x**2 - 4 * x + 5,
        4 * x**3 - 6 * x**2 + 6 * x - 4,
        12 * x**2 - 12 * x + 6,
        24 * x - 12,
    ]


def test_polynomial(run: Run) -> None:
    """Step 4 plots the polynomial and its derivative, which are plain tensors."""
    run(POLYNOMIAL)
    for line, expected in zip(
        drawn_lines(), derivatives_by_hand(np.linspace(-2, 3, 25))[:2], strict=True
    ):
        np.testing.assert_allclose(line, expected, rtol=1e-5, atol=1e-4)


def test_higher_order_polynomial(run: Run) -> None:
    """Step 5 plots three derivatives, each the gradient of the last one's graph."""
    run(POLYNOMIAL)
    plt.close("all")
    run(HIGHER_ORDER)
    for line, expected in zip(
        drawn_lines(), derivatives_by_hand(np.linspace(-2, 3, 25)), strict=True
    ):
        np.testing.assert_allclose(line, expected, rtol=1e-5, atol=1e-4)


def test_matrix_product_compared_with_pytorch(run: Run) -> None:
    """Step 6 prints the gradients of a matrix product next to PyTorch's, with no difference."""
    run("import torch")
    assert run(MATRIX_PRODUCT) == MATRIX_PRODUCT_PRINTS


def test_the_comparison_would_see_a_wrong_gradient() -> None:
    """With the factors' gradients exchanged, as the hint warns, the tree of tanh comes out
    otherwise.
    """
    wrong = EXERCISE_CLASSES.replace(
        "return [self.gradient * self.input(1), self.gradient * self.input(0)]",
        "return [self.gradient * self.input(0), self.gradient * self.input(1)]",
    )
    names: dict[str, Any] = {"ComputationNode": ComputationNode, "math": math}
    exec(wrong, names)
    x = Leaf(math.log(2), "x")
    product = names["Mul"](Exp(x), Exp(-x) + 1)
    forward_algorithm(product)
    backward_algorithm(product)
    assert x.gradient != pytest.approx(2.0)
    right = own_classes()["Mul"](Exp(x), Exp(-x) + 1)
    backward_algorithm(forward_algorithm(right))
    assert x.gradient == pytest.approx(2.0)


def test_table_of_exercise_2_1() -> None:
    """The values and gradients that exercise 2.1 fills in by hand are those at the nodes of cosh's
    graph.
    """
    x = Leaf(math.log(2), "x")
    a, c = x * 1, x * 1  # the two copies of x
    b, d = Exp(a), -c
    e = Exp(d)
    z = Mean(b, e)
    backward_algorithm(forward_algorithm(z))
    results = {
        "a": a.result,
        "b": b.result,
        "c": c.result,
        "d": d.result,
        "e": e.result,
        "z": z.result,
    }
    assert results == {
        "a": math.log(2),
        "b": 2,
        "c": math.log(2),
        "d": -math.log(2),
        "e": 0.5,
        "z": 1.25,
    }
    upstream = {
        "z": z.gradient,
        "e": e.gradient,
        "d": d.gradient,
        "c": c.gradient,
        "b": b.gradient,
        "a": a.gradient,
        "x": x.gradient,
    }
    by_hand = {
        "z": 1,
        "e": 1 / 2,
        "d": 0.5 / 2,
        "c": -0.5 / 2,
        "b": 1 / 2,
        "a": 2 / 2,
        "x": 2 / 2 - 0.5 / 2,
    }
    assert upstream == by_hand
    assert x.gradient == pytest.approx(math.sinh(math.log(2)), rel=1e-15)


def derivatives_at(function: Callable[[Any], Any], at: float, orders: int) -> list[float]:
    """The first derivatives of a function of nodes, each by `build_graph()`."""
    x = Leaf(at, "x")
    y = forward_algorithm(function(x))
    found = []
    for _ in range(orders):
        with build_graph():
            backward_algorithm(y)
        y = forward_algorithm(x.gradient)
        found.append(y.result)
    return found


def derivatives_in_pytorch(function: Callable[[Any], Any], at: float, orders: int) -> list[float]:
    x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
    y = function(x)
    found = []
    for _ in range(orders):
        (y,) = torch.autograd.grad(y, x, create_graph=True)
        found.append(float(y.detach()))
    return found


class MyTanh(ComputationNode):
    """A student's tanh: its `backward` reads `self.result`."""

    def forward(self) -> None:
        self.result = math.tanh(self.input(0))

    def backward(self) -> list[Any]:
        return [self.gradient * (1 - self.result**2)]


class MyCosh(ComputationNode):
    """A student's cosh, whose `backward` makes another student's node where a graph is built."""

    def forward(self) -> None:
        self.result = math.cosh(self.input(0))

    def backward(self) -> list[Any]:
        x = self.input(0)
        return [self.gradient * (MySinh(x) if isinstance(x, ComputationNode) else math.sinh(x))]


class MySinh(ComputationNode):
    """A student's sinh."""

    def forward(self) -> None:
        self.result = math.sinh(self.input(0))

    def backward(self) -> list[Any]:
        x = self.input(0)
        return [self.gradient * (MyCosh(x) if isinstance(x, ComputationNode) else math.cosh(x))]


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (lambda x: MyTanh(x), torch.tanh),
        (lambda x: MyTanh(x * x) * x, lambda x: torch.tanh(x * x) * x),
        (lambda x: MyCosh(x), torch.cosh),
        (lambda x: own_classes()["Exp"](own_classes()["Mul"](x, x)), lambda x: torch.exp(x * x)),
    ],
    ids=["tanh", "x·tanh(x²)", "cosh", "exp(x²)"],
)
def test_student_ops_to_fourth_order(
    mine: Callable[[Any], Any], theirs: Callable[[Any], Any]
) -> None:
    """Classes with only forward and backward are differentiated again and again, their results not
    taken for constants.
    """
    assert derivatives_at(mine, 0.3, 4) == pytest.approx(
        derivatives_in_pytorch(theirs, 0.3, 4), rel=1e-12
    )


def test_student_ops_in_plain_values() -> None:
    """Outside `build_graph()` a student's backward reads and returns numbers, and leaves the
    graph's results as they were.
    """
    x = Leaf(0.3, "x")
    y = MyCosh(MyTanh(x))
    backward_algorithm(forward_algorithm(y))
    assert x.gradient == pytest.approx(
        math.sinh(math.tanh(0.3)) * (1 - math.tanh(0.3) ** 2), rel=1e-14
    )
    assert y.result == math.cosh(math.tanh(0.3))
    assert type(x.gradient) is float


def test_student_matrix_ops_under_gradients() -> None:
    """`gradients` differentiates the exercise's own matrix classes, before or after the forward
    pass has run.
    """
    own = own_classes()
    weight = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    data = torch.randn(4, 2, dtype=torch.float64)
    (expected,) = torch.autograd.grad((weight @ data).exp().sum(), weight)
    W = Leaf(weight.detach(), "W")
    loss = own["Matsum"](own["Exp"](own["Matmul"](W, data)))
    forward_algorithm(loss)
    backward_algorithm(loss)
    torch.testing.assert_close(W.gradient, expected)
    (gradient,) = gradients(loss, [W])
    torch.testing.assert_close(forward_algorithm(gradient).result, expected)


@pytest.mark.parametrize("building", [False, True])
@pytest.mark.parametrize("returned", [0, 1, 3])
def test_backward_gives_one_gradient_for_each_input(returned: int, building: bool) -> None:
    """A backward with too few or too many gradients is an error that counts them, in and out of
    `build_graph()`.
    """

    class Miscounted(ComputationNode):
        def forward(self) -> None:
            self.result = self.input(0) * self.input(1)

        def backward(self) -> list[Any]:
            return [self.gradient] * returned

    node = forward_algorithm(Miscounted(2.0, 3.0))
    with (
        build_graph(building),
        pytest.raises(
            GraphError, match=rf"Miscounted.backward\(\) gave {returned} gradients; expected 2"
        ),
    ):
        backward_algorithm(node)
