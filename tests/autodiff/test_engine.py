"""What nodes, the two algorithms and networks promise beyond the arithmetic of the ops.

Operators, depth, memory, errors, values.
"""

import gc
import math
import operator
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from autodiff import (
    ComputationNode,
    Cost,
    Executable,
    Exp,
    Leaf,
    Schedule,
    Spec,
    StoreAll,
    Tanh,
    backward_algorithm,
    build_graph,
    execute,
    forward_algorithm,
    gradients,
    linearize,
    networks,
)
from autodiff.errors import GraphError, ScheduleError, ShapeError, TapemeasureError
from autodiff.program import Program
from experiments import theory
from profiler import profile

DEEP = 100_000


def value_of(node: ComputationNode) -> Any:
    return forward_algorithm(node).result


# one=


ONES: list[Any] = [1.0, 1, torch.tensor(1.0), Leaf(torch.tensor(1.0)), Leaf(1.0)]


@pytest.mark.parametrize(
    "one", ONES, ids=["float", "int", "tensor", "leaf of a tensor", "leaf of a number"]
)
@pytest.mark.parametrize("building", [False, True])
def test_one_on_tensors(one: Any, building: bool) -> None:
    """The backward pass of a graph of tensors begins with a number, a tensor or a leaf alike, in
    and out of `build_graph()`.
    """
    x = Leaf(torch.tensor([-1.0, 0.0, 2.0]), "x")
    y = forward_algorithm((x**3 + 2 * x).sum())
    with build_graph(building):
        backward_algorithm(y, one=one)
    assert isinstance(x.gradient, ComputationNode) == building
    found = value_of(x.gradient) if building else x.gradient
    assert found.tolist() == [5.0, 2.0, 14.0]


@pytest.mark.parametrize("one", [1.0, 1, Leaf(1.0), 2.5])
@pytest.mark.parametrize("building", [False, True])
def test_one_on_numbers(one: Any, building: bool) -> None:
    """On a graph of numbers `one` scales every gradient."""
    x = Leaf(3.0, "x")
    y = forward_algorithm(x * x)
    with build_graph(building):
        backward_algorithm(y, one=one)
    found = value_of(x.gradient) if building else x.gradient
    assert found == 6.0 * (one.value if isinstance(one, Leaf) else one)


def test_one_fills_the_shape_of_the_graph() -> None:
    """A number as `one` of a graph that is a tensor stands for a tensor of that shape and dtype.

    A tensor is taken as it is.
    """
    x = Leaf(torch.ones(2, 3, dtype=torch.float64), "x")
    y = forward_algorithm(x * x)
    backward_algorithm(y, one=2)
    assert y.gradient.equal(torch.full((2, 3), 2.0, dtype=torch.float64))
    upstream = torch.arange(6, dtype=torch.float64).reshape(2, 3)
    backward_algorithm(y, one=upstream)
    assert y.gradient is upstream
    assert x.gradient.equal(2 * upstream)


def test_gradients_outside_build_graph_can_be_plotted() -> None:
    """A gradient is a plain value that matplotlib draws."""
    matplotlib.use("Agg")
    plt.close("all")
    x = Leaf(torch.linspace(-1, 1, 5), "x")
    backward_algorithm(forward_algorithm((x * x).sum()))
    (line,) = plt.plot(x.value, x.gradient)
    assert np.asarray(line.get_ydata()).tolist() == [-2.0, -1.0, 0.0, 1.0, 2.0]


def test_backward_twice_gives_the_same() -> None:
    """The backward pass begins afresh: gradients do not add up from call to call."""
    x = Leaf(3.0, "x")
    y = forward_algorithm(x * x)
    for _ in range(2):
        backward_algorithm(y)
        assert x.gradient == 6.0


def test_backward_before_forward() -> None:
    """A backward pass in plain values says that the forward pass has not run."""
    with pytest.raises(GraphError, match="run forward_algorithm"):
        backward_algorithm(Exp(Leaf(1.0, "x")))


def test_forward_within_build_graph_gives_values() -> None:
    """The forward pass computes values within `build_graph()` too, also for a class that reads
    `self.input(0)`.
    """

    class Doubled(ComputationNode):
        def forward(self) -> None:
            self.result = self.input(0) * 2

    with build_graph():
        assert value_of(Doubled(3.0)) == 6.0


def test_build_graph_is_left_as_it_was() -> None:
    """`build_graph()` ends with its block, nested or broken off."""
    x = Leaf(2.0, "x")
    node = forward_algorithm(x * x)
    with pytest.raises(ZeroDivisionError), build_graph(), build_graph(False):
        raise ZeroDivisionError
    assert node.input(0) == 2.0
    with build_graph():
        assert node.input(0) is x


# Operators


@pytest.mark.parametrize("make", [lambda t: t, lambda t: t.numpy()], ids=["tensor", "numpy array"])
@pytest.mark.parametrize(
    "symbol", [operator.add, operator.sub, operator.mul, operator.matmul, operator.truediv]
)
def test_operators_from_both_sides(
    symbol: Callable[[Any, Any], Any], make: Callable[[torch.Tensor], Any]
) -> None:
    """A tensor or a numpy array stands on either side of an operator, and both orders have the
    right value and gradient.
    """
    a = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    b = torch.tensor([[2.0, 5.0], [-1.0, 0.5]], dtype=torch.float64, requires_grad=True)
    node = Leaf(b.detach(), "b")
    for ours, theirs in (
        (symbol(make(a), node), symbol(a, b)),
        (symbol(node, make(a)), symbol(b, a)),
    ):
        assert isinstance(ours, ComputationNode)
        loss = forward_algorithm(ours.sum())
        torch.testing.assert_close(ours.result, theirs.detach())
        backward_algorithm(loss)
        torch.testing.assert_close(node.gradient, torch.autograd.grad(theirs.sum(), b)[0])


@pytest.mark.parametrize("number", [2, 2.0, np.float64(2), np.float32(2)])
@pytest.mark.parametrize("symbol", [operator.add, operator.sub, operator.mul, operator.truediv])
def test_numbers_on_either_side(symbol: Callable[[Any, Any], Any], number: Any) -> None:
    """`2 / node` and `node / 2` work for Python's and numpy's numbers, and keep the dtype of a
    tensor on the other side.
    """
    assert value_of(symbol(number, Leaf(4.0))) == symbol(2.0, 4.0)
    assert value_of(symbol(Leaf(4.0), number)) == symbol(4.0, 2.0)
    found = value_of(symbol(number, Leaf(torch.tensor([4.0]))))
    assert found.dtype == torch.float32
    assert found.tolist() == [symbol(2.0, 4.0)]


def test_numpy_arrays_share_their_memory() -> None:
    """A leaf holds a numpy array as a tensor over the same memory."""
    array = np.zeros(3)
    leaf = Leaf(array)
    array[1] = 7
    assert leaf.value.tolist() == [0, 7, 0]


# Names and text


def test_get() -> None:
    """`get` finds the one node of a name.

    An unknown or doubled name is an error that says what there is.
    """
    x = Leaf(1.0, "x")
    graph = Exp(x) + Leaf(2.0, "y")
    assert graph.get("x") is x
    with pytest.raises(
        GraphError, match="no node is named 'z'; expected one of the graph's names: x, y"
    ):
        graph.get("z")
    with pytest.raises(GraphError, match="2 nodes are named 'x'; expected one"):
        (graph * Leaf(3.0, "x")).get("x")
    with pytest.raises(GraphError, match="none has a name"):
        Exp(Leaf(1.0)).get("x")


def test_printing_names_gradient_nodes() -> None:
    """Within `build_graph()` the tree names each gradient's op instead of printing its graph
    too.
    """
    x = Leaf(2.0, "x")
    y = forward_algorithm(x * x)
    with build_graph():
        backward_algorithm(y)
    assert (
        str(y)
        == "Mul result=4.0 gradient=<Leaf>\n  Leaf x result=2.0 gradient=<Add>\n  Leaf x @[2]"
    )


def test_tensors_of_many_lines_are_indented() -> None:
    """Every line of a matrix stands as deep as its node."""
    lines = str(forward_algorithm(-Leaf(torch.eye(2), "I"))).split("\n")
    assert lines[2] == "  Leaf I result=tensor([[1., 0.],"
    assert lines[3] == "          [0., 1.]]) gradient=None"


# Depth


def deep_chain(length: int) -> tuple[Leaf, ComputationNode]:
    x = Leaf(0.5, "x")
    node: ComputationNode = x
    for _ in range(length):
        node = -node
    return x, node


@pytest.mark.slow
def test_a_deep_chain() -> None:
    """A chain of 100,000 nodes is built, sorted, run forward and backward, and printed in less than
    20 MiB.
    """
    x, end = deep_chain(DEEP)
    nodes = end.sorted_nodes()
    assert len(nodes) == DEEP + 1
    assert nodes[0] is x
    assert nodes[-1] is end
    assert value_of(end) == 0.5
    backward_algorithm(end)
    assert x.gradient == 1.0
    text = str(end)
    assert len(text.encode()) < 20 * 2**20
    lines = text.split("\n")
    assert len(lines) == DEEP + 1
    indents = [len(line) - len(line.lstrip()) for line in lines]
    assert indents == [2 * min(level, 50) for level in range(DEEP + 1)]


def test_a_deep_chain_as_nodes() -> None:
    """Within `build_graph()`, and by `gradients`, a chain far deeper than Python's own stack is
    differentiated too.
    """
    x, end = deep_chain(20_000)
    (gradient,) = gradients(end, [x])
    assert value_of(gradient) == 1.0
    with build_graph():
        backward_algorithm(end)
    assert value_of(x.gradient) == 1.0


def test_a_deep_chain_is_profiled() -> None:
    """A chain of 10,000 nodes is linearized, scheduled, run and measured."""
    x, end = deep_chain(10_000)
    measured = profile(end, [x])
    assert measured.gradients == [1.0]
    assert measured.ops.total == 2 * 10_000


# Memory


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Without the garbage collector, so that what dies, dies because nothing refers to it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def references(*roots: ComputationNode) -> list[weakref.ref[Any]]:
    """Weak references to all nodes of the graphs, and to the tensors that they hold."""
    seen: set[ComputationNode] = set()
    nodes = [node for root in roots for node in root.sorted_nodes(seen)]
    held = [
        value
        for node in nodes
        for value in (node.result, node.gradient, getattr(node, "value", None))
    ]
    return [
        weakref.ref(thing)
        for thing in (*nodes, *(value for value in held if isinstance(value, torch.Tensor)))
    ]


def after_gradients() -> list[weakref.ref[Any]]:
    net = networks.chain(3, 4, 6)
    return references(net.loss, *gradients(net.loss, net.weights))


def after_second_order() -> list[weakref.ref[Any]]:
    net = networks.chain(3, 4, 6)
    first = gradients(net.loss, net.weights)
    norm = (first[0] * first[0]).sum()
    return references(norm, *gradients(norm, net.weights))


def after_forward_and_backward() -> list[weakref.ref[Any]]:
    net = networks.chain(3, 4, 6)
    backward_algorithm(forward_algorithm(net.loss))
    return references(net.loss)


def after_execute() -> list[weakref.ref[Any]]:
    net = networks.chain(3, 4, 6, activation="gelu", loss="cross_entropy")
    targets = [net.loss, *gradients(net.loss, net.weights)]
    program = linearize(targets)
    results, recording = execute(program, StoreAll()(program))
    return references(*targets) + [weakref.ref(thing) for thing in (program, recording, *results)]


def after_compiling() -> list[weakref.ref[Any]]:
    net = networks.chain(3, 4, 6)
    program = linearize([net.loss])
    return [*references(net.loss), weakref.ref(Executable(program, StoreAll()(program)))]


def after_profile() -> list[weakref.ref[Any]]:
    net = networks.chain(3, 4, 6)
    measured = profile(net.loss, net.weights)
    str(measured)
    measured.timeline()
    measured.alive_at_peak()
    return references(net.loss) + [
        weakref.ref(thing) for thing in (measured, measured.ledger, *measured.gradients)
    ]


def after_prediction() -> list[weakref.ref[Any]]:
    net = networks.chain(3, 4, 6, values=False)
    return [*references(net.loss), weakref.ref(profile(net.loss, net.weights, execute=False))]


def after_micro_batches() -> list[weakref.ref[Any]]:
    net = networks.chain(3, 4, 6, micro_batches=3)
    return [*references(net.loss), weakref.ref(profile(net.loss, net.weights))]


LEAKLESS = [
    after_gradients,
    after_second_order,
    after_forward_and_backward,
    after_execute,
    after_compiling,
    after_profile,
    after_prediction,
    after_micro_batches,
]


@pytest.mark.parametrize("use", LEAKLESS)
@pytest.mark.usefixtures("no_collector")
def test_nothing_is_left_alive(use: Callable[[], list[weakref.ref[Any]]]) -> None:
    """Nodes, tensors, programs and profiles die with their last name, without the garbage
    collector.
    """
    assert [reference() for reference in use() if reference() is not None] == []


@pytest.mark.usefixtures("no_collector")
def test_gradient_nodes_are_cyclic() -> None:
    """The exercise's `.gradient` nodes hold the graph that holds them, so only the collector ends
    them, which the check above would see.
    """

    def use() -> list[weakref.ref[Any]]:
        net = networks.chain(3, 4, 6)
        with build_graph():
            backward_algorithm(net.loss)
        return references(net.loss)

    left = use()
    assert any(reference() is not None for reference in left)
    gc.collect()
    assert all(reference() is None for reference in left)


def test_gradients_leave_no_trace() -> None:
    """`gradients` leaves results, gradients and roles of the graph as they were."""
    net = networks.chain(2, 3, 4)
    backward_algorithm(forward_algorithm(net.loss))
    nodes = net.loss.sorted_nodes()
    before = [dict(vars(node)) for node in nodes]
    gradients(net.loss, net.weights)
    assert all(
        vars(node).keys() == was.keys() and all(vars(node)[key] is was[key] for key in was)
        for node, was in zip(nodes, before, strict=True)
    )


# What is run


def unneeded(program: Program) -> list[str]:
    """The instructions that no target needs."""
    needed = set(program.targets)
    superfluous = []
    for instruction in reversed(program.instructions):
        if needed.isdisjoint(instruction.writes):
            superfluous.append(program.label(instruction.writes[0]))
        else:
            needed.update(instruction.reads)
    return superfluous


@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
@pytest.mark.parametrize("wrt", [[0], [1], [3], [0, 2], [0, 1, 2, 3]])
def test_any_subset_runs_only_what_it_needs(activation: str, wrt: list[int]) -> None:
    """No instruction is run that neither the loss nor an asked gradient needs, and leaving any one
    out is illegal.
    """
    net = networks.chain(4, 3, 5, activation=activation, values=False)
    program = linearize([net.loss, *gradients(net.loss, [net.weights[i] for i in wrt])])
    assert unneeded(program) == []
    schedule = StoreAll()(program)
    for i in range(len(schedule)):
        shortened = Schedule(np.delete(schedule.order, i), schedule.claims)
        with pytest.raises(ScheduleError, match=r"not computed yet|never computed"):
            execute(program, shortened)


def test_an_unneeded_instruction_would_be_seen() -> None:
    """A program with a gradient that was not asked for has instructions that the check names."""
    net = networks.chain(2, 3, 4, values=False)
    program = linearize([net.loss, *gradients(net.loss, net.weights)])
    fewer = Program(program.values, program.instructions, program.targets[:2])
    assert "∂W_2" in unneeded(fewer)


@pytest.mark.parametrize("layer", [1, 2, 4])
def test_one_weight_costs_what_theory_says(layer: int) -> None:
    """W_j alone takes the operations of the layers from j on, to the last one."""
    net = networks.chain(4, 3, 5, values=False)
    measured = profile(net.loss, [net.weights[layer - 1]], execute=False)
    expected = theory.operations("only", 4, 3, 5, wrt=layer)
    assert measured.ops_by_phase["backward"].total == expected["backward"].total
    assert measured.matmul_flops == theory.pytorch_products("only", 4, layer) * 2 * 5 * 3**2


# Networks


def pytorch_chain(
    weights: list[torch.Tensor], x: torch.Tensor, target: Any, activation: str, loss: str
) -> torch.Tensor:
    apply = {"gelu": torch.nn.functional.gelu, "identity": lambda z: z}.get(activation) or getattr(
        torch, activation
    )
    for weight in weights:
        x = apply(weight @ x)
    if loss == "sum":
        return x.sum()
    if loss == "squared_error":
        return ((x - target) ** 2).sum() / 2
    return torch.nn.functional.cross_entropy(x.T, target, reduction="sum")


@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
@pytest.mark.parametrize("loss", networks.LOSSES)
def test_chain_is_the_exercises_network(activation: str, loss: str) -> None:
    """`chain` computes PyTorch's loss and gradients.

    PyTorch's autograd runs through the forward pass as well.
    """
    net = networks.chain(3, 4, 6, activation=activation, loss=loss, dtype=torch.float64)
    assert [leaf.name for leaf in net.weights] == ["W_1", "W_2", "W_3"]
    assert (net.input.name, net.input.shape) == ("x_1", (4, 6))
    assert (net.target is None) == (loss == "sum")
    measured = profile(net.loss, net.weights)

    weights = [leaf.value.clone().requires_grad_() for leaf in net.weights]
    expected = pytorch_chain(
        weights, net.input.value, net.target and net.target.value, activation, loss
    )
    theirs = torch.autograd.grad(expected, weights)
    torch.testing.assert_close(measured.loss, expected.detach())
    torch.testing.assert_close(measured.gradients, list(theirs))

    for leaf, weight in zip(net.weights, weights, strict=True):
        leaf.value = weight
    forward_algorithm(net.loss).result.backward()
    torch.testing.assert_close([weight.grad for weight in weights], list(theirs))


def test_chain_is_drawn_from_its_seed() -> None:
    """The same seed gives the same values, another seed others."""
    one, same, other = (networks.chain(2, 3, 4, seed=seed) for seed in (0, 0, 1))
    assert all(
        a.value.equal(b.value)
        for a, b in zip([*one.weights, one.input], [*same.weights, same.input], strict=True)
    )
    assert not one.weights[0].value.equal(other.weights[0].value)


def test_chain_without_values() -> None:
    """`values=False` holds shapes only, and a profile of them equals the one that was run."""
    shapes, real = (networks.chain(3, 4, 6, values=values) for values in (False, True))
    assert all(leaf.value is None for leaf in [*shapes.weights, shapes.input])
    predicted = profile(shapes.loss, shapes.weights, execute=False)
    measured = profile(real.loss, real.weights)
    assert predicted.ops_by_phase == measured.ops_by_phase
    assert predicted.peak_by_role == measured.peak_by_role
    assert (predicted.loss, predicted.gradients) == (None, [])


@pytest.mark.parametrize("activation", networks.ACTIVATIONS)
@pytest.mark.parametrize("loss", networks.LOSSES)
@pytest.mark.parametrize("slices", [2, 3, 7])
def test_micro_batches_equal_the_whole_batch(slices: int, loss: str, activation: str) -> None:
    """Gradients accumulated slice after slice, of equal width or not, are those of the whole batch
    to rounding.
    """
    whole, sliced = (
        networks.chain(
            3, 4, 7, activation=activation, loss=loss, dtype=torch.float64, micro_batches=k
        )
        for k in (1, slices)
    )
    expected, found = profile(whole.loss, whole.weights), profile(sliced.loss, sliced.weights)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.gradients, expected.gradients, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("loss", ["sum", "squared_error"])
def test_micro_batches_on_integers_are_exact(loss: str) -> None:
    """On integers, where no sum is rounded, accumulated gradients equal the whole batch's to the
    last bit, in less memory.
    """
    found = []
    for slices in (1, 2, 4, 8):
        net = networks.chain(
            3, 4, 8, activation="identity", loss=loss, dtype=torch.float64, micro_batches=slices
        )
        generator = torch.Generator().manual_seed(5)
        for leaf in [*net.weights, net.input, *([net.target] if net.target else [])]:
            leaf.value = torch.randint(-3, 4, leaf.shape, generator=generator).double()
        found.append(profile(net.loss, net.weights))
    for measured in found[1:]:
        assert measured.loss.equal(found[0].loss)
        assert all(a.equal(b) for a, b in zip(measured.gradients, found[0].gradients, strict=True))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 3, 4), {}, "n = 0; expected an integer of at least 1"),
        ((2, -1, 4), {}, "d = -1; expected an integer of at least 1"),
        ((2, 3, 1.5), {}, r"b = 1\.5; expected an integer of at least 1"),
        (("2", 3, 4), {}, "n = '2'; expected an integer of at least 1"),
        ((2, True, 4), {}, "d = True; expected an integer of at least 1"),
        ((2, 3, 4), {"micro_batches": 0}, "micro_batches = 0; expected an integer of at least 1"),
        (
            (2, 3, 4),
            {"micro_batches": 5},
            "micro_batches = 5 with a batch of 4; expected at most one",
        ),
        ((2, 3, 4), {"activation": "swish"}, "activation 'swish'; expected one of tanh, relu"),
        ((2, 3, 4), {"loss": "hinge"}, "loss 'hinge'; expected one of sum, squared_error"),
    ],
)
def test_chain_refuses_what_is_no_network(
    arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    """A bad dimension, activation or loss is one line that says what was given and what was
    expected.
    """
    with pytest.raises(TapemeasureError, match=message) as error:
        networks.chain(*arguments, **options)
    assert "\n" not in str(error.value)


# What profile() refuses


class Unmeasured(ComputationNode):
    """A student's op: it runs, but says nothing of its size or cost."""

    def forward(self) -> None:
        self.result = self.input(0) * 2

    def backward(self) -> list[Any]:
        return [self.gradient * 2]


class Doubled(ComputationNode):
    """An op that can be measured but not differentiated."""

    def compute(self, a: Any) -> Any:
        return a * 2

    def result_spec(self, a: Spec) -> Spec:
        return a

    def cost(self, a: Spec) -> Cost:
        return Cost(multiplications=a.numel)


class Priceless(ComputationNode):
    """An op without a cost."""

    def compute(self, a: Any) -> Any:
        return a * 2

    def backward(self) -> list[Any]:
        return [self.gradient * 2]

    def result_spec(self, a: Spec) -> Spec:
        return a


A = Leaf(torch.ones(2, 3), "A")
B = Leaf(torch.ones(2, 3), "B")
SHAPES_ONLY = networks.chain(2, 3, 4, values=False)

REFUSED: dict[str, tuple[Callable[[], Any], type[TapemeasureError], str]] = {
    "no values": (
        lambda: profile(SHAPES_ONLY.loss),
        GraphError,
        r"W_1 has no value \(its shape alone was given\).*execute=False",
    ),
    "wrt elsewhere": (
        lambda: profile(A.sum(), [B]),
        GraphError,
        "the loss Matsum does not depend on B; .*leave it out of wrt",
    ),
    "wrt no node": (
        lambda: profile(A.sum(), [A.value]),
        GraphError,
        "wrt holds a Tensor; expected nodes of the loss's graph",
    ),
    "shape mismatch": (
        lambda: A @ B,
        ShapeError,
        r"Matmul\(A: 2×3 float32, B: 2×3 float32\): expected two matrices",
    ),
    "sum of two shapes": (
        lambda: A + B.T,
        ShapeError,
        r"Add\(A: 2×3 float32, Transpose: 3×2 float32\): .*equal shapes",
    ),
    "no gradient": (
        lambda: profile(Doubled(A).sum(), [A]),
        GraphError,
        r"Doubled has no backward\(\).*leave its inputs out of wrt",
    ),
    "no cost": (
        lambda: profile(Priceless(A).sum()),
        GraphError,
        r"Priceless has no cost\(\).*returns a Cost",
    ),
    "student's op": (
        lambda: profile(Unmeasured(A).sum(), [A]),
        GraphError,
        r"Unmeasured cannot be measured: it lacks compute\(\), result_spec\(\), cost\(\)",
    ),
    "student's op below a product": (
        lambda: profile((Unmeasured(A) @ B.T).sum(), [A, B]),
        GraphError,
        r"Unmeasured cannot be measured: it lacks compute\(\), result_spec\(\), cost\(\)",
    ),
    "not a scalar": (
        lambda: profile(A, [A]),
        GraphError,
        r"the loss A has shape 2×3 float32; expected one element; take its .sum\(\)",
    ),
    "stop_after": (
        lambda: profile(A.sum(), [A], stop_after="end"),
        GraphError,
        "stop_after='end'; expected 'forward' or 'backward'",
    ),
    "no node": (lambda: profile(A.value), GraphError, "loss is a Tensor; expected a node"),
    "wrt beside a program": (
        lambda: profile(linearize([A.sum()]), [A]),
        GraphError,
        "wrt was given with a Program",
    ),
    "nothing to run": (
        lambda: forward_algorithm(ComputationNode(A)),
        GraphError,
        r"neither forward\(\) nor compute\(\)",
    ),
    "leaf of a node": (lambda: Leaf(A), GraphError, "a leaf was given the node A as its value"),
    "unknown role": (
        lambda: Leaf(1.0, "x", role="weight"),
        GraphError,
        "role 'weight' of leaf x; expected 'parameter' or 'input'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_clear_line(case: str) -> None:
    """What cannot be built, run, differentiated or measured is an error of one line that names what
    was given and what to do.
    """
    attempt, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message) as error:
        attempt()
    assert "\n" not in str(error.value)
    assert type(error.value) is kind


def test_what_is_not_asked_of_an_op_is_not_missed() -> None:
    """An op without a gradient is measured where no gradient is asked for, and a student's op runs
    where nothing is measured.
    """
    assert profile(Doubled(A).sum()).ops == Cost(multiplications=6, additions=5)
    loss = forward_algorithm(Unmeasured(A).sum())
    backward_algorithm(loss)
    assert A.gradient.equal(torch.full((2, 3), 2.0))


# Values that are handed out


def test_forward_keeps_autograd_on() -> None:
    """The result of the forward pass is differentiable by PyTorch; with autograd off it is not."""
    W = Leaf(torch.ones(2, 2, requires_grad=True), "W")
    loss = Tanh(W).sum()
    assert value_of(loss).requires_grad
    with torch.no_grad():
        assert not value_of(loss).requires_grad


@pytest.mark.parametrize("requires_grad", [False, True])
def test_executed_values_are_ordinary_tensors(requires_grad: bool) -> None:
    """Loss and gradients can be updated in place, used under autograd, and serve as parameters.

    No autograd graph hangs on them.
    """
    net = networks.chain(2, 3, 4)
    for leaf in net.weights:
        leaf.value.requires_grad_(requires_grad)
    measured = profile(net.loss, net.weights)
    for value in (measured.loss, *measured.gradients):
        assert not value.requires_grad
        assert not value.is_inference()
        before = value.clone()
        value.mul_(2)
        assert value.equal(2 * before)
        factor = torch.ones_like(value, requires_grad=True)
        (value * factor).sum().backward()
        assert factor.grad is not None
        assert factor.grad.equal(value)
        assert torch.nn.Parameter(value).requires_grad
    assert all(leaf.value.requires_grad == requires_grad for leaf in net.weights)


def test_execution_leaves_the_leaves_alone() -> None:
    """Running a program changes no leaf's value, and no node's result or gradient."""
    net = networks.chain(2, 3, 4)
    before = [leaf.value.clone() for leaf in net.weights]
    profile(net.loss, net.weights)
    assert all(leaf.value.equal(was) for leaf, was in zip(net.weights, before, strict=True))
    assert all(node.result is None and node.gradient is None for node in net.loss.sorted_nodes())


def test_numbers_are_profiled_too() -> None:
    """A graph of Python numbers, such as the exercise's cosh, is measured at eight bytes a
    number.
    """
    x = Leaf(math.log(2), "x")
    measured = profile((Exp(x) + Exp(-x)) / 2, [x])
    assert measured.loss == 1.25
    assert measured.gradients == [0.75]
    assert measured.ops_by_phase["forward"] == Cost(multiplications=1, additions=2, elementary=2)
    assert measured.peak_bytes % 8 == 0
