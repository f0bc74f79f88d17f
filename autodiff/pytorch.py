"""A PyTorch training step as a Program: its forward and backward pass as one list of PyTorch's own ops.

`from_pytorch(step, *example_args)` traces the step on tensors without memory, by `make_fx`; where it writes in place, once more through
`functionalize`, so that every value is written once. What the traced ops give (shapes, strides, shared memory) is read from
running them on such tensors again. The program is run, measured, predicted and planned by the same code as any other.

Bound: the program holds for the shapes of the example arguments. A step whose control flow depends on values cannot be traced;
one that calls `.backward()` leaves its gradients elsewhere, and must return `torch.autograd.grad(...)` instead. What a step writes into
its caller's tensors (running statistics, say) is left out. Predictions are as good as PyTorch's own rules for shapes: those of an LSTM
on the CPU leave its workspace out.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from autodiff.aten.op import AtenOp, op_of
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
from autodiff.spec import Spec, spec_of

_SAME = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)
"""Ops that hand out what they are given: their result is the same value by another name. Autograd puts one before whatever it saves."""


@dataclass(frozen=True)
class Source:
    """Where a value of a traced program comes from: its name, and, where it is given, the caller's tensor."""

    label: str
    value: Any = None


def from_pytorch(
    step: Callable[..., Any], *example_args: Any, model: torch.nn.Module | None = None
) -> Program:
    """The program of `step(*example_args)`, which returns the loss and the gradients that `torch.autograd.grad` gave.

    `model` gives the parameters their names. Raises GraphError, naming the line of the step, where it cannot be traced.
    """
    graph = _traced(step, example_args)
    return _Builder(graph, example_args, model).program()


def _of_tensors(
    step: Callable[..., Any], args: Sequence[Any]
) -> tuple[Callable[..., Any], list[torch.Tensor]]:
    """A step as a function of the tensors in its arguments alone, wherever in lists and dicts these are; and the tensors."""
    leaves, layout = tree_flatten(args)

    def flat(*given: torch.Tensor) -> Any:
        those = iter(given)
        return step(
            *tree_unflatten(
                [next(those) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves], layout
            )
        )

    return flat, [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _traced(step: Callable[..., Any], example_args: Sequence[Any]) -> torch.fx.GraphModule:
    flat, args = _of_tensors(step, example_args)
    try:
        with _no_backward_calls():
            graph = make_fx(flat, tracing_mode="fake", _allow_non_fake_inputs=True)(*args)
            if any(_is_open(node.meta.get("val")) for node in graph.graph.nodes):
                _run_without_values(flat, args)  # raises at the line that asks for one
        if any(_writes_in_place(node) for node in graph.graph.nodes):
            graph = make_fx(
                torch.func.functionalize(graph), tracing_mode="fake", _allow_non_fake_inputs=True
            )(*args)
    except GraphError:
        raise
    except Exception as error:  # whatever a caller's step, or the tracing of it, raises
        why = _what_depends_on_data(error) or f"{type(error).__name__}: {_first_line(error)}"
        raise GraphError(
            f"the step cannot be traced at {_line_of(error, step)}: {why}; expected one fixed sequence of ops; "
            "write it without asking for values (torch.where instead of if, no .item(), no boolean index), or profile it as it runs with profile_step"
        ) from error
    _leave_statistics_out(graph)
    graph.graph.eliminate_dead_code()
    return graph


def _is_open(value: Any) -> bool:
    """Whether a traced value is a number, or has a dimension, that only the data decides."""
    if isinstance(value, tuple | list):
        return any(map(_is_open, value))
    if isinstance(value, torch.Tensor):
        return not all(isinstance(dim, int) for dim in value.shape)
    return isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool)


def _run_without_values(step: Callable[..., Any], args: Sequence[torch.Tensor]) -> None:
    """Run a step on tensors without memory that answer no question about their values."""
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        step(*map(fake.from_tensor, args))


def _leave_statistics_out(graph: torch.fx.GraphModule) -> None:
    """Let no batch norm in training update its running statistics, which it does without its schema saying so: its result reads none of them."""
    for node in graph.graph.nodes:
        if node.target is torch.ops.aten.native_batch_norm.default and node.args[5] is True:
            node.target = torch.ops.aten._native_batch_norm_legit.no_stats
            node.args = (*node.args[:3], *node.args[5:])


def _writes_in_place(node: torch.fx.Node) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _what_depends_on_data(error: BaseException) -> str:
    """What of a step its tensors' values decide, where that is what an error says; else nothing."""
    kinds = {
        "DataDependent": "its control flow, or a number in it, depends on values",
        "DynamicOutputShape": "a shape in it depends on values",
    }
    return next(
        (
            why
            for kind in type(error).__mro__
            for name, why in kinds.items()
            if name in kind.__name__
        ),
        "",
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]


def _line_of(error: BaseException, step: Callable[..., Any]) -> str:
    """The file and line, innermost in the step's own file, at which an error arose."""
    code = getattr(step, "__code__", None) or getattr(
        getattr(step, "forward", None), "__code__", None
    )
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename]
    frame = (own or frames)[-1]
    return f"{frame.filename.rpartition('/')[2]}:{frame.lineno} ({(frame.line or '').strip()})"


@contextmanager
def _no_backward_calls() -> Iterator[None]:
    """Refuse `.backward()` while a step is traced: it would leave tensors without memory in the caller's `.grad`."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        stack = [
            frame
            for frame in traceback.extract_stack()[:-1]
            if "/torch/" not in frame.filename and "unittest" not in frame.filename
        ]
        where = stack[-1]
        raise GraphError(
            f"the step calls .backward() at {where.filename.rpartition('/')[2]}:{where.lineno} ({(where.line or '').strip()}); expected the "
            "gradients as its result; return loss, torch.autograd.grad(loss, parameters)"
        )

    with (
        mock.patch.object(torch.Tensor, "backward", refuse),
        mock.patch.object(torch.autograd, "backward", refuse),
    ):
        yield


class _Builder:
    """Walks a traced graph once and writes down values and instructions."""

    def __init__(
        self, graph: torch.fx.GraphModule, args: Sequence[Any], model: torch.nn.Module | None
    ) -> None:
        self._graph = graph
        self._args = iter([leaf for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)])
        self._names = (
            {} if model is None else {id(value): name for name, value in model.named_parameters()}
        )
        self._specs: list[Spec] = []
        self._buffers: list[int] = []
        self._sources: list[Source] = []
        self._given: dict[int, int] = {}
        self._roles: dict[int, str] = {}
        self._instructions: list[tuple[AtenOp, tuple[int, ...], tuple[int, ...]]] = []
        self._value_of: dict[torch.fx.Node, Any] = {}
        self._fake_of: dict[int, FakeTensor] = {}
        self._owner_of_storage: dict[int, int] = {}

    def program(self) -> Program:
        results: list[int] = []
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as fake:
            for node in self._graph.graph.nodes:
                if node.op == "placeholder":
                    self._value_of[node] = self._give(fake, next(self._args), node.name)
                elif node.op == "get_attr":
                    self._value_of[node] = self._give(
                        fake, getattr(self._graph, node.target), node.name
                    )
                elif node.op == "call_function" and node.target is not torch.ops.aten.sym_size.int:
                    self._call(node)
                elif node.op == "output":
                    results = self._results(node)
        return self._assembled(results)

    def _give(self, fake: FakeTensorMode, tensor: torch.Tensor, name: str) -> int:
        """A value of the caller's, one for each tensor however often it is named."""
        known = self._given.get(id(tensor))
        if known is not None:
            return known
        label = self._names.get(id(tensor), name.removesuffix("_1"))
        value = self._add(fake.from_tensor(tensor), Source(label, tensor))
        self._given[id(tensor)] = value
        self._roles[value] = PARAMETER if tensor.requires_grad else INPUT
        return value

    def _add(self, fake: Any, source: Source) -> int:
        value = len(self._specs)
        spec = spec_of(fake)
        assert spec is not None
        self._specs.append(spec)
        self._sources.append(source)
        self._fake_of[value] = fake
        self._buffers.append(
            self._owner_of_storage.setdefault(fake.untyped_storage()._cdata, value)
        )
        return value

    def _call(self, node: torch.fx.Node) -> None:
        if (
            node.target.__module__ == "_operator"
        ):  # getitem: one of several results, which are values already
            whole, index = node.args
            self._value_of[node] = self._value_of[whole][index]  # type: ignore[index]
            return
        if node.target in _SAME:
            self._value_of[node] = self._value_of[node.args[0]]  # type: ignore[index]
            return
        if node.target is torch.ops.aten.copy.default and self._is_whole_copy(*node.args[:2]):
            self._value_of[node] = self._value_of[node.args[1]]  # type: ignore[index]
            return
        read_of: dict[torch.fx.Node, int] = {}

        def fake(read: torch.fx.Node) -> Any:
            value = self._value_of[read]
            read_of[read] = value
            return self._fake_of[value]

        fake_args, fake_kwargs = torch.fx.node.map_arg((node.args, node.kwargs), fake)
        result = node.target(*fake_args, **fake_kwargs)  # type: ignore[operator]
        several = isinstance(result, tuple | list)
        parts = list(result) if several else [result]
        kept = [i for i, part in enumerate(parts) if isinstance(part, torch.Tensor)]
        label = node.name
        written = {
            i: self._add(parts[i], Source(label if len(kept) == 1 else f"{label}.{i}"))
            for i in kept
        }
        for i, value in written.items():
            if self._buffers[value] == value:
                self._specs[value] = spec_of_result(
                    self._specs[value], node.target, fake_args, parts[i]
                )
        reads, op = op_of(
            node,
            read_of,
            kept if several else None,
            [tuple(part.shape) if i in written else None for i, part in enumerate(parts)],
        )
        self._instructions.append((op, reads, tuple(written.values())))
        self._value_of[node] = (
            [written.get(i) for i in range(len(parts))] if several else written[0]
        )

    def _is_whole_copy(self, to: Any, source: Any) -> bool:
        """Whether what is written over a value is as large and of one dtype with it: then it takes its place, as it is."""
        old, new = (self._fake_of[self._value_of[node]] for node in (to, source))
        if old.shape != new.shape or old.dtype != new.dtype:
            return False
        has_gaps = (
            old.untyped_storage().nbytes() > old.numel() * old.itemsize
        )  # a part of a buffer: where it lies is forgotten anyway
        return has_gaps or old.stride() == new.stride()

    def _results(self, node: torch.fx.Node) -> list[int]:
        """The loss and the gradients, in the order in which the step returns them; an input without a gradient has none here."""
        leaves = tree_leaves(node.args[0], is_leaf=lambda leaf: isinstance(leaf, torch.fx.Node))
        results = [self._value_of[leaf] for leaf in leaves if isinstance(leaf, torch.fx.Node)]
        if not results or self._specs[results[0]].numel != 1:
            found = "nothing" if not results else str(self._specs[results[0]])
            raise GraphError(
                f"the step returns {found} first; expected the loss, of one element, and then the gradients: return loss, grads"
            )
        return results

    def _assembled(self, results: list[int]) -> Program:
        loss = results[0]
        needed = self._needed(results)
        forward = self._needed([loss])
        targets = set(results[1:])
        instructions = []
        for i, (op, reads, writes) in enumerate(self._instructions):
            if i in needed:
                phase = FORWARD if i in forward else BACKWARD
                instructions.append(Instruction(op, reads, writes, phase))
                for write in writes:
                    self._roles.setdefault(
                        write,
                        ACTIVATION
                        if phase == FORWARD
                        else PARAMETER_GRADIENT
                        if write in targets
                        else GRADIENT,
                    )
        for target in (
            targets
        ):  # a gradient that is returned as a view is a parameter's gradient in its buffer too
            if self._roles.get(self._buffers[target]) == GRADIENT:
                self._roles[self._buffers[target]] = PARAMETER_GRADIENT
        values = [
            Value(spec, buffer, self._roles.get(i, GRADIENT), source)
            for i, (spec, buffer, source) in enumerate(
                zip(self._specs, self._buffers, self._sources, strict=True)
            )
        ]
        return Program(tuple(values), tuple(instructions), tuple(results))

    def _needed(self, targets: Sequence[int]) -> set[int]:
        """The instructions that the targets depend on."""
        wanted = set(targets)
        needed = set()
        for i in range(len(self._instructions) - 1, -1, -1):
            _, reads, writes = self._instructions[i]
            if not wanted.isdisjoint(writes):
                needed.add(i)
                wanted.update(reads)
        return needed


def given_values(program: Program) -> Mapping[int, Any]:
    """The caller's tensors by value: what `Executable.run(given)` may be given others for."""
    return {value: program.values[value].source.value for value in program.given}
