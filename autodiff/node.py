"""The nodes of a computation graph: inputs by edges, one result, one gradient.

The interface is that of the backpropagation exercise that this engine completes: a subclass has
`forward()` and `backward()`, or, to be counted and measured, the parts of an op: `compute`,
`kernel`, `backward`, `result_spec`, `cost`. Every walk is iterative, so depth is no limit. Nodes
carry a serial number in order of creation, which is a topological order.

Operators (`+`, `@`, `.exp()`, …) make ops, and ops are nodes: `autodiff.ops.operators` binds them,
in one place.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import torch

from autodiff.cost import Cost
from autodiff.errors import GraphError, ShapeError
from autodiff.given import taken
from autodiff.known import known_specs
from autodiff.printing import tree_text
from autodiff.spec import Spec, spec_of
from autodiff.walks import inputs_first

_next_serial: Callable[[], int] = itertools.count().__next__
_building_graph: ContextVar[bool] = ContextVar("building_graph", default=False)


@contextmanager
def build_graph(build_graph: bool = True) -> Iterator[bool]:
    """Build gradients as nodes within the block.

    `backward_algorithm` then leaves nodes in `.gradient`, to be differentiated again, and
    `input(i)` gives nodes.
    """
    token = _building_graph.set(build_graph)
    try:
        yield build_graph
    finally:
        _building_graph.reset(token)


def is_building_graph() -> bool:
    """Return whether this is within `build_graph()`."""
    return _building_graph.get()


class ComputationNode:
    """One value of a computation graph, computed from its input nodes.

    `result` is filled in by `forward()`, `gradient` by `backward_algorithm`. `spec` is the shape,
    dtype and layout, known at construction where the class has a `result_spec`; `role` is what its
    buffer holds (`activation`, `parameter`, …) where it was stated. `gradient_of` is the node that
    this one is the gradient of; `accumulates` marks the sum with the gradient of an earlier slice,
    which it may overwrite.
    """

    name: str | None
    serial: int
    input_nodes: list[ComputationNode]
    result: Any = None
    gradient: Any = None
    gradient_of: ComputationNode | None = None
    role: str | None = None
    spec: Spec | None = None
    accumulates: bool = False
    gradient_nodes: dict[ComputationNode, ComputationNode] | None = None

    # A numpy array on the left of an operator defers to the node's own reflected operator.
    __array_ufunc__ = None

    def __init__(self, *input_nodes: Any, name: str | None = None) -> None:
        asked: list[Any] = [type(self), torch.get_default_dtype()]
        for node in input_nodes:
            if not isinstance(node, ComputationNode):
                nodes = [
                    node if isinstance(node, ComputationNode) else Leaf(node)
                    for node in input_nodes
                ]
                ComputationNode.__init__(self, *nodes, name=name)
                return
            asked.append(id(node.spec))
        self.name = name
        self.input_nodes = list(input_nodes)
        self.serial = _next_serial()
        if input_nodes:
            known = known_specs.result_of(tuple(asked))
            self.spec = self._result_spec() if known is None else known[0]

    def _result_spec(self) -> Spec | None:
        """Return the spec of the result; equal specs are one object.

        Where class and inputs' specs determine it, it is remembered.
        """
        specs = [node.spec for node in self.input_nodes]
        if any(spec is None for spec in specs):
            return None
        try:
            result = self.result_spec(*specs)
        except ShapeError as error:
            given = ", ".join(f"{node.label}: {node.spec}" for node in self.input_nodes)
            raise ShapeError(f"{type(self).__name__}({given}): {error}") from None
        if type(self).__init__ is ComputationNode.__init__ and self.parameters == ():
            return known_specs.keep(type(self), specs, result)
        return None if result is None else known_specs.one(result)

    # The parts of an op. A subclass written as in the exercise has only forward() and backward().

    kernel: Callable[..., Any] | None = None
    """PyTorch's fused kernel for `compute`, on tensors; None where `compute` is used."""

    into: Callable[..., Any] | None = None
    """The elementwise `kernel` with the argument `out`, which may be one of the inputs."""

    repeatable: bool = True
    """Whether computing again gives the same value; false for random ops."""

    replay: Callable[..., Any] | None = None
    """How a random op runs again: as `kernel`, with the generator's state as a last read."""

    view_of: int | None = None
    """The input whose buffer the result shares; None where the result has a buffer of its own."""

    parameters: tuple[Any, ...] = ()
    """What determines spec and cost other than the inputs: an axis, a target shape."""

    def compute(self, *values: Any) -> Any:
        """Do the arithmetic, on numbers, tensors and arrays of self-counting scalars alike."""
        raise GraphError(
            f"{type(self).__name__} has neither forward() nor compute(), so it cannot be run; give "
            "it one of them"
        )

    def result_spec(self, *specs: Any) -> Spec | None:
        """Return the result's spec from those of the inputs, or None where it is unknown."""
        return None

    def cost(self, *specs: Any) -> Cost:
        """Return the scalar operations from the specs of the inputs."""
        raise GraphError(
            f"{type(self).__name__} has no cost(), so its operations cannot be counted; give it "
            "one that returns a Cost"
        )

    def workspace(self, *specs: Any) -> Any:
        """Return the bytes that it holds in addition to its result while it runs."""
        return 0

    def run(self, *values: Any) -> Any:
        """Return the result for these values.

        It is computed by the kernel where all of them are tensors, else by the formula.
        """
        if self.kernel is not None and all(isinstance(value, torch.Tensor) for value in values):
            return self.kernel(*values)
        return self.compute(*values)

    def forward(self) -> None:
        """Fill in `result` from the inputs' results."""
        self.result = self.run(*[node.result for node in self.input_nodes])

    def backward(self) -> list[Any]:
        """Return the downstream gradient of each input, from the upstream `gradient`."""
        raise GraphError(
            f"{type(self).__name__} has no backward(), so it has no gradient; give it one, or "
            "leave its inputs out of wrt"
        )

    def sorted_nodes(self, seen: set[ComputationNode] | None = None) -> list[ComputationNode]:
        """Return all nodes of the graph that ends here, inputs before their readers."""
        return inputs_first(self, set() if seen is None else seen)

    def get(self, name: str) -> ComputationNode:
        """Return the one node of this graph with this name.

        Raises GraphError when no node, or more than one, has it.
        """
        nodes = self.sorted_nodes()
        found = [node for node in nodes if node.name == name]
        if len(found) == 1:
            return found[0]
        if found:
            raise GraphError(
                f"{len(found)} nodes are named {name!r}; expected one; give each node that you "
                "look up a name of its own"
            )
        names = (
            ", ".join(sorted({node.name for node in nodes if node.name})[:20]) or "none has a name"
        )
        raise GraphError(f"no node is named {name!r}; expected one of the graph's names: {names}")

    def input(self, i: int) -> Any:
        """Return the value of input i once it is computed, or its node within `build_graph()`."""
        return self.input_nodes[i] if _building_graph.get() else self.input_nodes[i].result

    @property
    def shape(self) -> tuple[Any, ...]:
        """The shape of the result, known before it is computed where the op says so."""
        return (
            self.spec.shape if self.spec is not None else tuple(getattr(self.result, "shape", ()))
        )

    @property
    def label(self) -> str:
        """The name of this node in a message: name or class, with a ∂ for each derivative."""
        marks, node = "", self
        while node.name is None and node.gradient_of is not None:
            marks, node = marks + "∂", node.gradient_of
        return marks + (node.name or type(node).__name__)

    def __repr__(self) -> str:
        return tree_text(self)

    if TYPE_CHECKING:  # bound by autodiff.ops.operators

        def exp(self) -> ComputationNode: ...
        def log(self) -> ComputationNode: ...
        def tanh(self) -> ComputationNode: ...
        def sum(self) -> ComputationNode: ...
        def expand(self, target_shape: Any) -> ComputationNode: ...
        def __neg__(self) -> ComputationNode: ...
        def __pow__(self, power: Any) -> ComputationNode: ...
        def __add__(self, other: Any) -> ComputationNode: ...
        def __radd__(self, other: Any) -> ComputationNode: ...
        def __sub__(self, other: Any) -> ComputationNode: ...
        def __rsub__(self, other: Any) -> ComputationNode: ...
        def __mul__(self, other: Any) -> ComputationNode: ...
        def __rmul__(self, other: Any) -> ComputationNode: ...
        def __truediv__(self, other: Any) -> ComputationNode: ...
        def __rtruediv__(self, other: Any) -> ComputationNode: ...
        def __matmul__(self, other: Any) -> ComputationNode: ...
        def __rmatmul__(self, other: Any) -> ComputationNode: ...
        @property
        def T(self) -> ComputationNode: ...


class Leaf(ComputationNode):
    """A value that is given, not computed: a parameter, the data, a number.

    `role` is `parameter` or `input`; without one, a leaf that is differentiated counts as a
    parameter and any other as an input. A leaf with a `spec` and no value stands for a shape. A
    numpy array is held as a tensor that shares its memory (a copy where PyTorch cannot: a reversed
    or a read-only array). Raises GraphError for a value that no op could take.
    """

    def __init__(
        self, value: Any, name: str | None = None, role: str | None = None, spec: Spec | None = None
    ) -> None:
        super().__init__(name=name)
        if role not in (None, "parameter", "input"):
            raise GraphError(
                f"role {role!r} of leaf {name or '(no name)'}; expected 'parameter' or 'input'"
            )
        if isinstance(value, ComputationNode):
            raise GraphError(
                f"a leaf was given the node {value.label} as its value; expected a number or a "
                "tensor: use the node itself"
            )
        self.value = taken(value, name or "(no name)")
        self.role = role
        spec = spec if spec is not None else spec_of(self.value)
        self.spec = None if spec is None else known_specs.one(spec)

    def forward(self) -> None:
        """Take the value as the result."""
        self.result = self.value

    def backward(self) -> list[Any]:
        """Return nothing: a leaf has no inputs, so no downstream gradients."""
        return []
