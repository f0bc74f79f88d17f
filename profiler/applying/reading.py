"""Reads the joint graph of a compiled model, forward and backward in one, as a program.

AOTAutograd traces a model's forward and backward pass as one graph of PyTorch's ops and leaves it
to a partition function to split it. This module reads that graph as a `Program`, keeps the graph
node of every instruction, and so any planner can choose the split.

Forward is what the model's outputs need. A batch norm that also updates its running statistics
becomes two instructions, the norm and the statistics: the norm may run again, which reads no
statistics, and the statistics are updated once.

Bound: graphs of plain ops on tensors of fixed shapes; an op that takes functions as arguments, or
that writes into its inputs, is refused with the line of the model that calls it.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from autodiff.aten.kernels import corrected
from autodiff.aten.op import AtenOp, op_of
from autodiff.aten.replay import replayable, state_kept_for
from autodiff.aten.storage import spec_of_result
from autodiff.errors import GraphError
from autodiff.instructions import (
    ACTIVATION,
    BACKWARD,
    FORWARD,
    GRADIENT,
    INPUT,
    PARAMETER,
    PARAMETER_GRADIENT,
    Instruction,
    Value,
)
from autodiff.program import Program
from autodiff.pytorch.building import Source
from autodiff.spec import Spec, spec_of
from profiler.applying.joint import Input, Joint, Work
from profiler.applying.nodes import (
    SAME,
    STATISTICS,
    device_of,
    is_tangent,
    is_training_norm,
    is_update,
    line_of,
)
from profiler.applying.outside import Outside


def joint_program(
    graph: fx.GraphModule,
    outputs: int,
    inputs: Sequence[Input],
    outside: int | None = None,
    *,
    draws_again: bool = True,
) -> Joint:
    """Return the program of a joint graph whose first `outputs` results are the forward pass's.

    `inputs` describe the inputs of the model in order; `outside` are the bytes that the loss
    outside takes besides the gradients of the outputs, by default twice theirs. Random ops may run
    again, from the kept state of their generator, if `draws_again`. Raises GraphError for a graph
    that holds more than plain ops.
    """
    reader = _Reader(graph, inputs, draws_again)
    for node in graph.graph.nodes:
        reader.read(node)
    return reader.joint(outputs, outside)


class _Reader:
    """Reads the nodes of a graph one by one into values and calls."""

    def __init__(self, graph: fx.GraphModule, inputs: Sequence[Input], draws_again: bool) -> None:
        self._graph = graph
        self._draws_again = draws_again
        self._inputs = iter(inputs)
        self._specs: list[Spec] = []
        self._buffers: list[int] = []
        self._labels: list[str] = []
        self._roles: dict[int, str] = {}
        self._fed: list[int] = []
        self._owners: dict[int, int] = {}
        self._values: dict[fx.Node, Any] = {}
        self._calls: list[tuple[Any, tuple[int, ...], tuple[int, ...], Work]] = []
        self._updates: list[fx.Node] = []
        self._results: Sequence[Any] = ()
        self._described: Sequence[Any] = ()

    def read(self, node: fx.Node) -> None:
        """Add one node."""
        if node.op == "output":
            self._results = node.args[0]  # type: ignore[assignment]  # a joint graph's is a list
            self._described = node.meta.get("desc", ())
        elif node.op in ("placeholder", "get_attr"):
            self._values[node] = self._given(node)
        elif node.target is operator.getitem:
            of, place = node.args
            self._values[node] = self._values[of][place]  # type: ignore[index]
        elif node.target in SAME:
            self._values[node] = self._values[node.args[0]]  # type: ignore[index]
        elif is_update(node):
            self._updates.append(node)
            self._values[node] = self._values[node.args[1]]  # type: ignore[index]
        else:
            self._values[node] = self._called(node)

    def _given(self, node: fx.Node) -> int | None:
        of = node.meta.get("val") if node.op == "placeholder" else None
        if node.op == "get_attr":
            of = node.meta.get("val", getattr(self._graph, str(node.target), None))
        if is_tangent(node):
            return self._add(of, node.name) if isinstance(of, torch.Tensor) else None
        is_input = node.op == "placeholder"
        given = next(self._inputs, None) if is_input else None
        if not isinstance(of, torch.Tensor):
            return None
        value = self._add(of, given.name if given else node.name)
        self._roles[value] = PARAMETER if given and given.is_parameter else INPUT
        if is_input and not (given and given.is_own):
            self._fed.append(value)
        return value

    def _called(self, node: fx.Node) -> Any:
        target = node.target
        if not isinstance(target, torch._ops.OpOverload) or target._schema.is_mutable:
            raise GraphError(
                f"{line_of(node)} calls {target}; expected ops on tensors that write into none of "
                "them; take it out of the model, or use mechanism='checkpoint'"
            )
        known: dict[int, int] = {}
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda one: self._fake(one, known))
        of_rules = node.meta["val"]
        made = corrected(target._schema.name, args, of_rules)
        several = isinstance(made, tuple | list)
        parts, places = (list(one) if several else [one] for one in (made, of_rules))
        kept = [i for i, part in enumerate(parts) if isinstance(part, torch.Tensor)]
        shapes = [tuple(part.shape) if i in kept else None for i, part in enumerate(parts)]
        reads, op = op_of(
            target, args, kwargs, lambda fake: known[id(fake)], kept if several else None, shapes
        )
        written = {
            i: self._add(places[i], node.name if len(kept) == 1 else f"{node.name}.{i}", parts[i])
            for i in kept
        }
        state = self._state_for(op, node, written)
        if state is not None:
            op, reads = state[0], (*reads, state[1])
            self._calls.append((op, reads, tuple(written.values()), Work(node, "random")))
        elif is_training_norm(node):
            self._add_norm(node, op, reads, written)
        else:
            self._calls.append((op, reads, tuple(written.values()), Work(node)))
        return [written.get(i) for i in range(len(parts))] if several else written.get(0)

    def _fake(self, node: fx.Node, known: dict[int, int]) -> Any:
        """Return the tensor that stands for a node, and note which value it is."""
        value, fake = self._values[node], node.meta.get("val")
        if isinstance(value, int):
            if fake is None:
                fake = getattr(self._graph, str(node.target))
            known[id(fake)] = value
        return fake

    def _state_for(self, op: AtenOp, node: fx.Node, written: Mapping[int, int]) -> Any:
        """Add what keeps the generator's state for a random op that may run again.

        Return the op that can be drawn again and the value of the state, or None.
        """
        if not op.is_random or op.generator is not None or not self._draws_again:
            return None
        nbytes = sum(self._specs[value].nbytes for value in written.values())
        state = state_kept_for(op, device_of(node), nbytes)
        if state is None:
            return None
        value = len(self._specs)
        self._specs.append(state.result_spec)
        self._buffers.append(value)
        self._labels.append(f"{node.name}.state")
        self._calls.append((state, (), (value,), Work(node, "state")))
        return replayable(op, state), value

    def _add_norm(
        self, node: fx.Node, op: Any, reads: tuple[int, ...], written: Mapping[int, int]
    ) -> None:
        results = tuple(written[i] for i in written if i not in STATISTICS)
        statistics = tuple(written[i] for i in written if i in STATISTICS)
        self._calls.append((op, reads, results, Work(node, "norm")))
        self._calls.append(
            (Outside("statistics"), results[1:2], statistics, Work(node, "statistics"))
        )

    def _add(self, fake: Any, label: str, result: Any = None) -> int:
        """Add a value; `fake` is where the graph has it, `result` what its op's kernel makes."""
        value = len(self._specs)
        spec = spec_of(fake if result is None else result)
        assert spec is not None
        owner = self._owners.setdefault(fake.untyped_storage()._cdata, value)
        if owner == value and result is not None:
            spec = spec_of_result(spec, result)
        self._specs.append(spec)
        self._buffers.append(owner)
        self._labels.append(label)
        return value

    def joint(self, outputs: int, outside: int | None) -> Joint:
        """Return the program of what the results need."""
        ends, gradients = tuple(self._results[:outputs]), tuple(self._results[outputs:])
        forward, backward = self._of([*ends, *self._updates]), self._of(gradients)
        first = self._needed(forward)
        needed = self._needed([*forward, *backward])
        calls = [self._calls[i] for i in sorted(needed & first)]
        border = len(calls)
        calls += self._loss_outside(outside)
        calls += [self._calls[i] for i in sorted(needed - first)]
        self._set_roles(calls, border, set(backward))
        instructions = [
            Instruction(op, reads, writes, FORWARD if i <= border else BACKWARD)
            for i, (op, reads, writes, _) in enumerate(calls)
        ]
        values = [
            Value(spec, buffer, self._roles.get(i, GRADIENT), Source(label))
            for i, (spec, buffer, label) in enumerate(
                zip(self._specs, self._buffers, self._labels, strict=True)
            )
        ]
        token = calls[border][2][0]
        targets = tuple(dict.fromkeys([token, *forward, *backward]))
        return Joint(
            self._graph,
            Program(tuple(values), tuple(instructions), targets),
            tuple(work for _, _, _, work in calls),
            self._values,
            ends,
            gradients,
            border,
            tuple(self._fed),
            tuple(self._updates),
        )

    def _of(self, nodes: Iterable[Any]) -> list[int]:
        """Return the values of the nodes that hold one."""
        found = [self._values[node] for node in nodes if isinstance(node, fx.Node)]
        return [value for value in found if value is not None]

    def _loss_outside(self, outside: int | None) -> Iterable[Any]:
        """Return the two calls that stand for the loss outside."""
        tangents = [v for node, v in self._values.items() if is_tangent(node) and v is not None]
        if outside is None:
            outside = 2 * sum(self._specs[v].nbytes for v in tangents)
        token = self._add(torch.empty(0, device="meta"), "loss_outside")
        yield (
            Outside("loss", outside, repeatable=False),
            self._differentiated(),
            (token,),
            Work(None),
        )
        yield Outside("gradient", outside), (token,), tuple(tangents), Work(None)

    def _differentiated(self) -> tuple[int, ...]:
        """Return the outputs that have a gradient, as far as the graph says which belong."""
        of_outputs = {
            getattr(node.meta.get("desc"), "output", None)
            for node in self._values
            if is_tangent(node)
        }
        chosen = [
            one
            for one, described in zip(self._results, self._described, strict=False)
            if described in of_outputs
        ]
        return tuple(dict.fromkeys(self._of(chosen)))

    def _needed(self, targets: Iterable[int]) -> set[int]:
        wanted = set(targets)
        needed = set()
        for i in range(len(self._calls) - 1, -1, -1):
            _, reads, writes, _ = self._calls[i]
            if not wanted.isdisjoint(writes):
                needed.add(i)
                wanted.update(reads)
        return needed

    def _set_roles(self, calls: Sequence[Any], border: int, gradients: set[int]) -> None:
        for i, (_, _, writes, _) in enumerate(calls):
            for write in writes:
                role = PARAMETER_GRADIENT if write in gradients else GRADIENT
                self._roles.setdefault(write, ACTIVATION if i <= border else role)
        for gradient in gradients:
            # A gradient that is returned as a view makes its buffer a parameter's gradient.
            if self._roles.get(self._buffers[gradient]) == GRADIENT:
                self._roles[self._buffers[gradient]] = PARAMETER_GRADIENT
