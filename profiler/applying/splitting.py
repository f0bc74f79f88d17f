"""A schedule of a joint graph as two graphs: what runs in forward, and what runs in backward.

Both have the schedule's steps in its order; an instruction that occurs twice is two nodes. What
backward reads and does not compute first is what autograd keeps between the two.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from autodiff.errors import ScheduleError
from autodiff.instructions import FORWARD
from profiler.applying.drawing import keeper, redrawer
from profiler.applying.joint import Joint
from profiler.applying.nodes import (
    SAME,
    STATISTICS,
    device_of,
    first_value,
    is_tangent,
    is_training_norm,
)

_NORM_AGAIN = torch.ops.aten._native_batch_norm_legit.no_stats


def split(joint: Joint, order: Sequence[int]) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Return the forward and the backward graph of an order of instructions.

    Raises ScheduleError unless the loss outside occurs once, after all outputs of the model.
    """
    places = [at for at, i in enumerate(order) if i == joint.border]
    if len(places) != 1:
        raise ScheduleError(
            f"the schedule runs the loss {len(places)} times; expected once; fix the planner"
        )
    at = places[0]
    inputs = joint.placeholders
    forward = _Half(joint, fx.Graph())
    for node in inputs:
        if not is_tangent(node):
            forward.place(node)
    forward.run(order[:at])
    saved = _saved(joint, order[at + 1 :])
    for node in joint.updates:
        forward.update(node)
    results = [forward.output(one) for one in joint.outputs]
    forward.graph.output((*results, *(forward.current[value] for value in saved)))
    backward = _Half(joint, fx.Graph(), again=True)
    for value in saved:
        backward.hold(value, forward.current[value])
    for node in inputs:
        if is_tangent(node):
            backward.place(node)
    backward.run(order[at + 1 :])
    backward.graph.output(tuple(backward.output(one) for one in joint.gradients))
    return fx.GraphModule(joint.graph, forward.graph), fx.GraphModule(joint.graph, backward.graph)


def _saved(joint: Joint, order: Sequence[int]) -> list[int]:
    """Return the values that backward reads before it computes them, in the order of reading."""
    have = {
        value
        for node, value in joint.values.items()
        if is_tangent(node) or node.op == "get_attr"  # constants are in both graphs
    }
    saved: dict[int, None] = {}
    for i in order:
        for read in _reads(joint, i):
            if read not in have:
                saved.setdefault(read)
        have.update(joint.program.instructions[i].writes)
    for one in joint.gradients:
        value = joint.values[one] if isinstance(one, fx.Node) else None
        if value is not None and value not in have:
            saved.setdefault(value)
    return list(saved)


def _reads(joint: Joint, instruction: int) -> Sequence[int]:
    """Return what an instruction reads in backward: a norm that runs again, no statistics."""
    reads, work = joint.program.instructions[instruction].reads, joint.works[instruction]
    if work.part != "norm" or work.node is None:
        return () if work.node is None else reads
    running = {joint.values[node] for node in work.node.args[3:5] if isinstance(node, fx.Node)}
    return [read for read in reads if read not in running]


class _Half:
    """One of the two graphs while it is written; `current` is the latest node of each value."""

    def __init__(self, joint: Joint, graph: fx.Graph, again: bool = False) -> None:
        self.graph = graph
        self.current: dict[int, fx.Node] = {}
        self._joint = joint
        self._others: dict[fx.Node, fx.Node] = {}
        self._again = again
        self._ran: dict[fx.Node, fx.Node] = {}

    def place(self, node: fx.Node) -> None:
        """Add an input of the joint graph."""
        new = self._others[node] = self.graph.placeholder(node.name)
        new.meta = dict(node.meta)
        value = self._joint.values[node]
        if value is not None:
            self.current[value] = new

    def hold(self, value: int, node: fx.Node) -> None:
        """Add a value that the forward graph hands over."""
        new = self.current[value] = self.graph.placeholder(node.name)
        new.meta = dict(node.meta)

    def output(self, one: Any) -> Any:
        """Return the node of a result; one that only renames a value keeps a name of its own."""
        if not isinstance(one, fx.Node):
            return one
        value = self._joint.values[one]
        node = self._others[one] if value is None else self.current[value]
        if one.target not in SAME:
            return node
        renamed = self.graph.call_function(one.target, (node,))
        renamed.meta = dict(one.meta)
        return renamed

    def update(self, node: fx.Node) -> None:
        """Add a node that writes into an input."""
        into = node.args[0]
        assert isinstance(into, fx.Node)
        new = self.graph.call_function(
            torch.ops.aten.copy_.default,
            (self._others[into], self.current[self._joint.values[node]]),
        )
        new.meta = dict(node.meta)

    def run(self, order: Sequence[int]) -> None:
        """Add steps in their order."""
        instructions = self._joint.program.instructions
        for i in order:
            work, writes = self._joint.works[i], instructions[i].writes
            if work.node is None:
                continue
            if work.part == "statistics":
                self._bind(work.node, self._ran[work.node], writes)
                continue
            if work.part == "state":
                self.current[writes[0]] = self._state(work.node, writes[0])
                continue
            is_forward = instructions[i].phase == FORWARD
            again = work.node in self._ran or (self._again and is_forward)
            if again and work.part == "random":
                new = self._drawn_again(work.node, instructions[i].reads[-1])
            else:
                new = self._call(work.node, again)
            self._ran.setdefault(work.node, new)
            self._bind(work.node, new, writes)

    def _state(self, node: fx.Node, state: int) -> fx.Node:
        """Add a copy of the state that the generator of a random op has before it draws."""
        new = self.graph.call_function(keeper(device_of(node)))
        shape = self._joint.program.values[state].spec.shape
        with first_value(node).fake_mode:  # type: ignore[attr-defined]  # a fake tensor has one
            new.meta = {"val": torch.empty(shape, dtype=torch.uint8)}
        return new

    def _drawn_again(self, node: fx.Node, state: int) -> fx.Node:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._look)
        draw = redrawer(node.target, device_of(node))
        new = self.graph.call_function(draw, (self.current[state], *args), kwargs)
        new.meta = dict(node.meta)
        return new

    def _call(self, node: fx.Node, again: bool) -> fx.Node:
        args, kwargs, target = node.args, node.kwargs, node.target
        if is_training_norm(node) and again:
            x, weight, bias, _, _, *rest = args
            args, target = (x, weight, bias, *rest), _NORM_AGAIN
        args, kwargs = fx.node.map_arg((args, kwargs), self._look)
        assert callable(target)
        new = self.graph.call_function(target, args, kwargs)
        new.meta = dict(node.meta)
        if target is _NORM_AGAIN:
            new.meta["val"] = tuple(node.meta["val"])[: STATISTICS[0]]
        return new

    def _look(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            new = self.graph.get_attr(str(node.target))
            new.meta = dict(node.meta)
            return new
        value = self._joint.values[node]
        return self._others[node] if value is None else self.current[value]

    def _bind(self, node: fx.Node, new: fx.Node, writes: Sequence[int]) -> None:
        """Let the values that a node writes be those of its new copy."""
        values = self._joint.values[node]
        if not isinstance(values, list):
            self.current[values] = new
            return
        for place, value in enumerate(values):
            if value in writes:
                item = self.graph.call_function(operator.getitem, (new, place))
                item.meta["val"] = node.meta["val"][place]
                self.current[value] = item
