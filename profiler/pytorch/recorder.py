"""The dispatch mode that notes a step as PyTorch runs it: each op, each storage's birth and death.

Each op that autograd has taken apart passes through `__torch_dispatch__`. Storages are watched by
weak references whose callbacks note their deaths, so live bytes follow the real object lifetimes.
Nothing is interpreted here: shapes stand for tensors, numbers for storages.

Bound: what a kernel allocates and frees inside itself is not seen, nor a storage resized without an
op. Names beginning with an underscore that are read here: the storage's address, the sequence
number and the current node of autograd, the stack of saved-tensor hooks. Each is there in every
PyTorch that this project allows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from threading import get_ident
from time import perf_counter_ns
from typing import Any

import torch
from torch._C._dynamo import eval_frame as _eval_frame
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from autodiff.aten.kernels import corrected
from profiler.pytorch.branches import with_branches_under
from profiler.pytorch.buffers import Buffers, Watch
from profiler.pytorch.fakes import meeting
from profiler.pytorch.graph import current_node, held as held_nodes, release
from profiler.pytorch.kinds import (
    COMPOSITE,
    CORRECTED,
    DETACH,
    HIGHER,
    IN_PLACE,
    LIFT,
    RESIZING,
    VIEW,
)
from profiler.pytorch.notes import (
    ACCUMULATE,
    IN_FORWARD,
    NO_MODULE,
    Notes,
)
from profiler.pytorch.place import Place
from profiler.pytorch.storages import parts_of, shape_of, storage_of

_TENSORS: set[type] = {torch.Tensor, torch.nn.Parameter}
_OTHERS: set[type] = {
    int,
    float,
    bool,
    complex,
    str,
    type(None),
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
}
"""Types of arguments met so far: which are tensors, which are neither tensors nor lists."""

_PLAIN_SUBCLASSES: set[type] = {FakeTensor}
"""Classes of tensors met so far that do not wrap other tensors."""

_STRIDED = torch.strided
_CORRECTABLE = (CORRECTED, VIEW)

Composites = Mapping[Any, Callable[..., Any]]
"""What runs in the place of an op that is made of others."""

_next_sequence = torch._C._autograd._get_sequence_nr
_saving_hooks = torch._C._autograd._top_saved_tensors_default_hooks
_grad_enabled = torch.is_grad_enabled
_now = perf_counter_ns


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes everything that runs while it is entered; `notes` is complete after `finish()`.

    `alive` has the living storages by address. `bare` says that the step has no model, so that
    leaves that require gradients are parameters.
    """

    supports_higher_order_operators = True

    def __init__(self, bare: bool, composites: Composites | None = None) -> None:
        """Start with empty notes; `composites` take the place of what ops decompose into."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.notes = notes = Notes()
        self.buffers = Buffers(notes, bare)
        self.place = Place()
        self.module = NO_MODULE
        self.thread = get_ident()
        self._composites = composites or {}
        self._meet, self._met_before = meeting()
        self._calls, self._sizes, self._births = notes.raw, notes.sizes, notes.born

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # The wrapper that this asks for costs a quarter of a small step; see the end of the module.
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Return whether PyTorch may compile under this mode: for control flow, not for a model.

        A compiled model runs as its ops, because what fused kernels allocate is not seen. Control
        flow compiles its branches with a backend that runs them op by op, and so allows graphs
        without ops.
        """
        config = sys.modules.get("torch._dynamo.config")
        return config is not None and bool(config.allow_empty_graphs)

    def finish(self) -> Notes:
        """Stop watching; what lives now outlives the step."""
        release()
        self.buffers.alive.clear()
        return self.notes

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an op and note it."""
        if types and not _PLAIN_SUBCLASSES.issuperset(types) and _unwraps(types):
            # The class's own dispatch runs ops on what it wraps, which come back here.
            self._nested(args, [])
            return NotImplemented
        kind, run, _ = self._met_before(id(func)) or self._meet(func)
        if kind <= COMPOSITE:
            if kind == DETACH and self.place.in_engine:
                node = current_node()
                if node is not None and node._sequence_nr() == ACCUMULATE:
                    self.buffers.gradient_of(node.variable, args[0])
            elif kind == COMPOSITE and not _is_nested(args):
                with self:
                    return self._composites.get(func, func.decompose)(*args, **(kwargs or {}))
            if kind < VIEW or kind == DETACH or (kind == VIEW and args[0].layout is _STRIDED):
                return run(*args, **kwargs) if kwargs else run(*args)
        if kind == HIGHER:
            args = with_branches_under(self, args)
        out = run(*args, **kwargs) if kwargs else run(*args)
        if kind in _CORRECTABLE and _is_fake(out):
            out = corrected(func._schema.name, args, out)
        if kind == VIEW and not self._is_copy(args[0], out):
            return out

        # What follows runs for every op of the step: its order and its plainness are for speed.
        buffers, alive = self.buffers, self.buffers.alive
        shapes = []
        reads: list[int] = []
        for argument in args:
            sort = type(argument)
            if sort in _TENSORS and argument.layout is _STRIDED:
                try:
                    shapes.append(argument.shape)
                except RuntimeError:
                    shapes.append(shape_of(argument))
                watch = alive.get(argument.untyped_storage()._cdata)
                reads.append(self.buffers.see(argument) if watch is None else watch.buffer)
            elif sort in _OTHERS:
                shapes.append(argument)
            else:
                shapes.append(self._nested(argument, reads))
        named = (
            tuple([(name, self._nested(value, reads)) for name, value in kwargs.items()])
            if kwargs
            else ()
        )

        if type(out) in _TENSORS and out.layout is _STRIDED:
            try:
                results: tuple[Any, ...] = (out.shape,)
            except RuntimeError:
                results = (shape_of(out),)
            if kind != IN_PLACE:
                storage = out.untyped_storage()
                if (key := storage._cdata) not in alive:
                    alive[key] = watch = Watch(storage, self.buffers.on_death)
                    watch.key = key
                    watch.buffer = len(self._sizes)
                    self._sizes.append(storage.nbytes())
                    self._births.append(len(self._calls))
        else:
            results = self._results(out)

        if self.place.in_engine:
            where, sequence, node = self.place.in_backward()
            if sequence == ACCUMULATE:
                buffers.gradient_of(node.variable, out)
        else:
            sequence = _next_sequence()
            where = IN_FORWARD if _grad_enabled() else self.place.untaped()
        if held_nodes:
            release()
        if kind >= LIFT:
            self._unusual(kind, args, kwargs, out)
        self._calls.append(
            (func, tuple(shapes), named, results, where, sequence, self.module, reads, _now())
        )
        return out

    def _is_copy(self, given: torch.Tensor, out: Any) -> bool:
        """Return whether a view of a sparse tensor has a storage of its own."""
        self._nested(given, [])
        parts = [part for one in pytree.tree_leaves(out) for part in parts_of(one)]
        return any(
            storage_of(part) is not None and not self.buffers.watch_of(part) for part in parts
        )

    def _nested(self, argument: Any, reads: list[int]) -> Any:
        """Return what is noted of an argument of a type not met yet, or of a list."""
        if isinstance(argument, torch.Tensor):
            if storage_of(argument) is not None:
                _TENSORS.add(type(argument))
            reads += [
                buffer for part in parts_of(argument) if (buffer := self.buffers.see(part)) >= 0
            ]
            return shape_of(argument)
        if isinstance(argument, (list, tuple)):
            return tuple([self._nested(one, reads) for one in argument])
        if isinstance(argument, dict):
            return tuple([(key, self._nested(one, reads)) for key, one in argument.items()])
        if type(argument) not in _OTHERS and not isinstance(argument, torch.SymInt):
            _OTHERS.add(type(argument))
        return argument

    def _results(self, out: Any) -> tuple[Any, ...]:
        """Return the shapes of results, and note the birth of their new storages."""
        if isinstance(out, torch.Tensor):
            for part in parts_of(out):
                if (storage := storage_of(part)) is not None and self.buffers.watch_of(
                    part
                ) is None:
                    self.buffers.born(storage, len(self._calls))
            return (shape_of(out),)
        if isinstance(out, (list, tuple)):
            return tuple([shape for one in out for shape in self._results(one)] if out else ())
        return ()

    def _unusual(
        self, kind: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None, out: Any
    ) -> None:
        """Note that a literal is born in the step, and that a resized storage is a new one.

        Under a fake mode the result of a literal is another tensor than the literal, which only
        carries a number and is not a buffer of the step.
        """
        latest = len(self._sizes) - 1
        for tensor in (out, *args, *(kwargs or {}).values()):
            watch, storage = self.buffers.watch_of(tensor), storage_of(tensor)
            if watch is None or storage is None:
                continue
            if kind == LIFT and watch.buffer == latest:
                self.notes.given.pop(watch.buffer, None)
                self._births[watch.buffer] = len(self._calls)
            elif (
                kind == LIFT
                and watch.buffer == latest - 1
                and self._births[latest] == len(self._calls)
            ):
                self.notes.given.pop(watch.buffer, None)
            elif kind == RESIZING and storage.nbytes() != self._sizes[watch.buffer]:
                self.buffers.on_death(watch)
                self.buffers.born(storage, len(self._calls))


def _unwraps(types: Any) -> bool:
    """Return whether one of the classes of tensors runs its ops on tensors that it wraps."""
    unwraps = any(hasattr(one, "__tensor_flatten__") for one in types)
    if not unwraps:
        _PLAIN_SUBCLASSES.update(types)
    return unwraps


def _is_nested(args: tuple[Any, ...]) -> bool:
    """Return whether an argument is a nested tensor, which ops are not taken apart for."""
    return any(isinstance(one, torch.Tensor) and one.is_nested for one in args)


def _is_fake(out: Any) -> bool:
    """Return whether a result, or the first of several, has no values."""
    first = out[0] if isinstance(out, tuple | list) and out else out
    return isinstance(first, FakeTensor) or (isinstance(first, torch.Tensor) and first.is_meta)


# TorchDynamo compiles what runs within a compiled region, such as the branches of `torch.cond`. It
# is to leave the recorder alone, and what that calls.
_eval_frame.set_code_exec_strategy(
    Recorder.__torch_dispatch__.__code__,
    _eval_frame._FrameExecStrategy(_eval_frame._FrameAction.SKIP, _eval_frame._FrameAction.SKIP),
)
