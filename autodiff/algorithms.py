"""The forward pass, the backward pass, and gradients as nodes.

The backward pass is more graph: `gradients(loss, wrt)` adds nodes that compute each gradient and
returns them. An op's `backward()` always builds nodes; `backward_algorithm`, which the exercise
asks for, builds the same nodes and, outside `build_graph()`, runs them and leaves plain values
behind.

A subclass written as in the exercise, with its own `forward` and `backward` on `self.gradient`,
`self.input(i)` and `self.result`, is differentiated too: within `build_graph()` these are nodes
(also its result, which the exercise's own `Exp` would take for a constant), outside it they are
values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from autodiff.collector import paused_collector
from autodiff.devices import on_device_of
from autodiff.errors import GraphError
from autodiff.node import ComputationNode, Leaf, build_graph, is_building_graph
from autodiff.ops.dtypes import Cast
from autodiff.ops.reductions import Fill
from autodiff.spec import NUMBER, Spec, is_floating, is_number, spec_of
from autodiff.walks import creation, in_order_of_creation


def forward_algorithm(graph: ComputationNode) -> ComputationNode:
    """Compute the result of every node of the graph, inputs first, and return the graph.

    PyTorch's autograd stays on.
    """
    nodes = graph.sorted_nodes()
    # A result is a value, also where gradients are being built as nodes.
    with build_graph(False), on_device_of(_values(nodes)):
        for node in nodes:
            node.forward()
    return graph


def _values(nodes: Iterable[ComputationNode]) -> list[Any]:
    return [node.value for node in nodes if isinstance(node, Leaf)]


def backward_algorithm(graph: ComputationNode, one: Any = 1.0) -> ComputationNode:
    """Fill in `.gradient` of every node that the graph depends on, and return the graph.

    `one` is the gradient of the graph itself: a number, a tensor or a `Leaf`; a number stands for a
    tensor filled with it where the graph is a tensor. Within `build_graph()` each `.gradient` is a
    node that can be run and differentiated again; outside it, a plain value, for which the forward
    pass must have run.
    """
    nodes = graph.sorted_nodes()
    building = is_building_graph()
    seed = _upstream_of(graph, one)
    if not building:
        unfilled = next((node for node in nodes if node.result is None), None)
        if unfilled is not None:
            raise GraphError(
                f"{unfilled.label} has no result yet; run forward_algorithm(graph) before "
                "backward_algorithm(graph)"
            )
    for node in nodes:
        node.gradient = None
    nodes.sort(key=creation)
    found = _differentiate(nodes, set(nodes), graph, seed, eager=not building)
    if building:
        for node, gradient in found.items():
            node.gradient = gradient
        return graph
    _run(found.values(), given=set(nodes))
    for node, gradient in found.items():
        node.gradient = gradient.result
    return graph


@paused_collector()
def gradients(
    loss: ComputationNode,
    wrt: Sequence[ComputationNode],
    onto: Mapping[ComputationNode, ComputationNode] | None = None,
) -> list[ComputationNode]:
    """Return nodes that compute the gradient of `loss` with respect to each node of `wrt`.

    The graph itself is left as it was. `loss` has one element. `onto` holds earlier gradients, to
    which those of its nodes are added as they are made. Raises GraphError for a `wrt` on which the
    loss does not depend.
    """
    if loss.spec is not None and loss.spec.shape:
        raise GraphError(
            f"the loss {loss.label} has shape {loss.spec}; expected one element; take its .sum()"
        )
    if loss.gradient_nodes is not None and all(node in loss.gradient_nodes for node in wrt):
        return [loss.gradient_nodes[node] for node in wrt]
    nodes = in_order_of_creation([loss])
    reached = set(nodes)
    for node in wrt:
        if not isinstance(node, ComputationNode):
            raise GraphError(
                f"wrt holds a {type(node).__name__}; expected nodes of the loss's graph; give the "
                "Leaf that holds the value"
            )
        if node not in reached:
            raise GraphError(
                f"the loss {loss.label} does not depend on {node.label}; expected a node of its "
                "graph; leave it out of wrt"
            )
    for node in (loss, *wrt):
        if node.spec is not None and not (
            is_number(node.spec.dtype) or is_floating(node.spec.dtype)
        ):
            raise GraphError(
                f"{node.label} is {node.spec}; expected floating point, which has derivatives; "
                "convert it, or leave it out of wrt"
            )
    leading = set(wrt)
    for node in nodes:
        if not leading.isdisjoint(node.input_nodes):
            leading.add(node)
    seed = _constant_like(loss, 1.0)
    found = _differentiate(nodes, leading, loss, seed, eager=False, onto=onto or {})
    return [found[node] if node in found else _zero(node) for node in wrt]


def _zero(node: ComputationNode) -> ComputationNode:
    """Return the gradient of a node that acts on the loss only through flat steps."""
    zero = _constant_like(node, 0.0)
    zero.gradient_of = node
    return zero


def _constant_like(node: ComputationNode, value: float) -> ComputationNode:
    """Return a constant of the node's spec.

    Where the class states no spec and the node has not run yet it is a number without a spec.
    """
    spec = node.spec or spec_of(node.result)
    constant = Fill(
        Spec((), NUMBER) if spec is None or is_number(spec.dtype) else spec,
        value,
    )
    if spec is None:
        constant.spec = None
    return constant


def _upstream_of(graph: ComputationNode, one: Any) -> ComputationNode:
    """Return the node that the backward pass of `graph` begins with.

    It is `one`, as a tensor where `one` is a number and the graph is a tensor.
    """
    value = one.value if isinstance(one, Leaf) else one
    if isinstance(value, (int, float)):
        spec = graph.spec or spec_of(graph.result)
        if spec is not None and isinstance(spec.dtype, torch.dtype):
            device = graph.result.device if isinstance(graph.result, torch.Tensor) else None
            return Leaf(torch.full(spec.shape, value, dtype=spec.dtype, device=device))
    return one if isinstance(one, ComputationNode) else Leaf(one)


def _differentiate(
    nodes: list[ComputationNode],
    leading: set[ComputationNode],
    loss: ComputationNode,
    seed: ComputationNode,
    *,
    eager: bool,
    onto: Mapping[ComputationNode, ComputationNode] | None = None,
) -> dict[ComputationNode, ComputationNode]:
    """Return the gradient node of every node in `leading` that the loss reaches.

    `nodes` are in order of creation and are visited in reverse, so each has all its contributions
    before it is passed on.
    """
    found: dict[ComputationNode, ComputationNode] = {**(onto or {}), loss: seed}
    with build_graph():
        for node in reversed(nodes):
            gradient = found.get(node)
            if gradient is None:
                continue
            if gradient.gradient_of is None and not isinstance(gradient, Leaf):
                gradient.gradient_of = node
            inputs = node.input_nodes
            if leading.isdisjoint(inputs):
                continue
            for below, downstream in zip(inputs, _downstream(node, gradient, eager), strict=True):
                if downstream is None or below not in leading:
                    continue
                if not isinstance(downstream, ComputationNode):
                    downstream = Leaf(downstream)
                downstream = _in_dtype_of(below, downstream)
                earlier = found.get(below)
                if earlier is not None:
                    downstream = earlier + downstream
                    # A gradient that an earlier slice finished may be overwritten.
                    downstream.accumulates = earlier.gradient_of is below
                found[below] = downstream
    return found


def _in_dtype_of(node: ComputationNode, gradient: ComputationNode) -> ComputationNode:
    """Return a gradient in its node's dtype, from which arithmetic may have promoted it."""
    if node.spec is None or gradient.spec is None or node.spec.dtype is gradient.spec.dtype:
        return gradient
    if is_number(node.spec.dtype) or is_number(gradient.spec.dtype):
        return gradient  # a number has no dtype of its own
    return Cast(gradient, node.spec.dtype)


def _downstream(node: ComputationNode, upstream: ComputationNode, eager: bool) -> list[Any]:
    """Return what `node.backward()` gives for an upstream gradient, within `build_graph()`.

    The node is left as it was.
    """
    if type(node).compute is ComputationNode.compute:
        return _downstream_by_the_book(node, upstream, eager)
    own, node.gradient = node.gradient, upstream
    try:
        downstream = node.backward()
    finally:
        node.gradient = own
    return _one_for_each_input(node, downstream)


def _downstream_by_the_book(
    node: ComputationNode, upstream: ComputationNode, eager: bool
) -> list[Any]:
    """Do the same for a class that has only `forward` and `backward`.

    Its result, too, is a node while gradients are built as nodes.
    """
    if eager:
        together = _EagerGradients(node, upstream)
        return [_Part(together, i) for i in range(len(node.input_nodes))]
    own = node.gradient, node.result
    node.gradient, node.result = upstream, node
    try:
        downstream = node.backward()
    finally:
        node.gradient, node.result = own
    return _one_for_each_input(node, downstream)


def _one_for_each_input(node: ComputationNode, downstream: list[Any]) -> list[Any]:
    """Return the gradients of a `backward()`; raise GraphError unless there is one an input."""
    if len(downstream) != len(node.input_nodes):
        raise GraphError(
            f"{type(node).__name__}.backward() gave {len(downstream)} gradients; expected "
            f"{len(node.input_nodes)}, one for each input"
        )
    return downstream


def _run(targets: Iterable[ComputationNode], given: set[ComputationNode]) -> None:
    """Compute the targets, inputs first, taking what is given as computed already."""
    seen = set(given)
    nodes = [node for target in targets for node in target.sorted_nodes(seen)]
    with on_device_of(node.result for node in given):
        for node in sorted(nodes, key=creation):
            node.forward()


class _EagerGradients(ComputationNode):
    """The downstream gradients, as values, of a node with only `forward` and `backward`."""

    def __init__(self, owner: ComputationNode, upstream: ComputationNode) -> None:
        super().__init__(upstream)
        self.owner = owner

    def forward(self) -> None:
        own = self.owner.gradient
        self.owner.gradient = self.input_nodes[0].result
        try:
            with build_graph(False):
                self.result = _one_for_each_input(self.owner, self.owner.backward())
        finally:
            self.owner.gradient = own


class _Part(ComputationNode):
    """One of several downstream gradients."""

    def __init__(self, whole: ComputationNode, index: int) -> None:
        super().__init__(whole)
        self.index = index

    def forward(self) -> None:
        self.result = self.input_nodes[0].result[self.index]
