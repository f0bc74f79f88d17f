"""The dispatch mode that notes a step as PyTorch runs it: every op, every storage's birth and death. As lean as Python allows.

Each op that autograd has taken apart passes through `__torch_dispatch__`. Storages are watched by weak references whose callbacks note their
deaths, so live bytes follow the real object lifetimes. Nothing is interpreted here: shapes stand for tensors, numbers for storages.

Bound: what a kernel allocates and frees inside itself is not seen, nor a storage resized without an op. Names beginning with an
underscore that are read here: the storage's address, the sequence number and the current node of autograd, the stack of saved-tensor
hooks. Each is there in every PyTorch that this project allows.
"""

from __future__ import annotations

import weakref
from time import perf_counter_ns
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from autodiff.aten import is_view
from autodiff.program import INPUT, PARAMETER, PARAMETER_GRADIENT
from profiler.pytorch.notes import BEFORE, IN_BACKWARD, IN_FORWARD, IN_OPTIMIZER, IN_RECOMPUTE, IN_UNTAPED, Notes

_VIEW, _DETACH, _PLAIN, _IN_PLACE, _COMPOSITE, _LIFT, _RESIZING = range(7)

_kinds: dict[Any, int] = {}
"""How each op is to be noted, as its schema says; filled as ops are met."""

_TENSORS: set[type] = {torch.Tensor, torch.nn.Parameter}
_OTHERS: set[type] = {int, float, bool, complex, str, type(None), torch.dtype, torch.device, torch.layout, torch.memory_format}
"""Types of arguments met so far: which are tensors, which neither tensors nor lists."""

_next_sequence = torch._C._autograd._get_sequence_nr
_current_node = torch._C._current_autograd_node
_saving_hooks = torch._C._autograd._top_saved_tensors_default_hooks
_grad_enabled = torch.is_grad_enabled
_CHECKPOINT = "torch.utils.checkpoint"


class _Watch(weakref.ref[torch.UntypedStorage]):
    """A weak reference to a storage that knows the storage's address and number."""

    __slots__ = ("buffer", "key")
    key: int
    buffer: int


class Recorder(TorchDispatchMode):
    """Notes everything that runs while it is entered; `notes` is complete after `finish()`."""

    supports_higher_order_operators = True

    def __init__(self, bare: bool) -> None:
        super().__init__()
        self.notes = notes = Notes()
        self.alive: dict[int, _Watch] = {}
        self.in_engine = self.create_graph = False
        self.in_optimizer = 0
        self.module = -1
        self._bare = bare
        self._note = notes.calls.append
        self._clock = notes.clocks.append
        alive, calls, died = self.alive, notes.calls, notes.deaths.append

        def on_death(watch: _Watch) -> None:
            del alive[watch.key]
            died((watch.buffer, len(calls) - 1))

        self._on_death: Any = on_death

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # The wrapper that this asks for costs a quarter of a small step; compiled functions fall back to eager under a mode anyway.
        return False

    def finish(self) -> Notes:
        """Stop watching; what lives now outlives the step."""
        self.alive.clear()
        return self.notes

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kind = _kinds.get(func)
        if kind is None:
            kind = _kind_of(func)
        if kind == _VIEW:
            return func(*args, **kwargs) if kwargs else func(*args)
        if kind == _DETACH:
            if self.in_engine and type(_current_node()).__name__ == "AccumulateGrad":
                self._accumulated(_current_node(), args[0])
            return func(*args)
        if kind == _COMPOSITE:
            with self:
                result = func.decompose(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        out = func(*args, **kwargs) if kwargs else func(*args)

        alive = self.alive
        noted = []
        reads: list[int] = []
        for argument in args:
            kind_of_argument = type(argument)
            if kind_of_argument in _TENSORS:
                noted.append(argument.shape)
                watch = alive.get(argument.untyped_storage()._cdata)
                reads.append(watch.buffer if watch is not None else self.see(argument))
            elif kind_of_argument in _OTHERS:
                noted.append(argument)
            else:
                noted.append(self._nested(argument, reads))
        named = tuple([(name, self._nested(value, reads)) for name, value in kwargs.items()]) if kwargs else ()

        if type(out) in _TENSORS:
            results: tuple[Any, ...] = (out.shape,)
            if kind != _IN_PLACE:
                storage = out.untyped_storage()
                key = storage._cdata
                if key not in alive:
                    self._born(storage, key)
        else:
            results = self._results(out)

        if self.in_engine:
            node = _current_node()
            hooks = _saving_hooks(False)
            if (_grad_enabled() and not self.create_graph) or (hooks is not None and hooks[0].__module__ == _CHECKPOINT):
                where, sequence = IN_RECOMPUTE, _next_sequence()
            else:
                where, sequence = IN_BACKWARD, -1 if node is None else node._sequence_nr()
                if type(node).__name__ == "AccumulateGrad":
                    self._accumulated(node, out)
        else:
            sequence = _next_sequence()
            where = IN_FORWARD if _grad_enabled() else IN_OPTIMIZER if self.in_optimizer else IN_UNTAPED
        if kind >= _LIFT:
            self._unusual(kind, args, kwargs, out)
        self._note((func, tuple(noted), named, results, where, sequence, self.module, reads))
        self._clock(perf_counter_ns())
        return out

    def _born(self, storage: torch.UntypedStorage, key: int) -> int:
        notes = self.notes
        watch = _Watch(storage, self._on_death)
        watch.key = key
        watch.buffer = buffer = len(notes.sizes)
        self.alive[key] = watch
        notes.sizes.append(storage.nbytes())
        notes.born.append(len(notes.calls))
        return buffer

    def see(self, tensor: torch.Tensor, role: str | None = None, label: str = "") -> int:
        """The number of a tensor's buffer, which, where it is new, existed before the step; −1 for a tensor without a storage of its own.

        Without a role, parameters are told by their class, or, for bare tensors, by being leaves that require gradients.
        """
        storage = storage_of(tensor)
        if storage is None:
            return -1
        watch = self.alive.get(storage._cdata)
        if watch is not None:
            return watch.buffer
        buffer = self._born(storage, storage._cdata)
        self.notes.born[buffer] = BEFORE
        self.notes.given[buffer] = self._role_of_given(tensor) if role is None else role
        if label:
            self.notes.labels[buffer] = label
        base = _base(tensor)
        if base.is_leaf and base.grad is not None:
            self.see(base.grad, PARAMETER_GRADIENT, f"{label}.grad" if label else "")
        return buffer

    def mark(self, tensor: Any, role: str) -> None:
        """Say what a tensor's buffer is, where it is one that lives."""
        storage = storage_of(tensor)
        watch = None if storage is None else self.alive.get(storage._cdata)
        if watch is not None:
            self.notes.marks.append((watch.buffer, role))

    def is_parameter(self, tensor: torch.Tensor) -> bool:
        """Whether a leaf is a parameter: of the model, of that class, or, where there is no model, any that requires gradients."""
        storage = storage_of(tensor)
        watch = None if storage is None else self.alive.get(storage._cdata)
        if watch is not None and self.notes.given.get(watch.buffer) == PARAMETER:
            return True
        return self._role_of_given(tensor) == PARAMETER

    def _role_of_given(self, tensor: torch.Tensor) -> str:
        base = _base(tensor)
        if isinstance(base, torch.nn.Parameter) or (self._bare and base.is_leaf and base.requires_grad):
            return PARAMETER
        return INPUT

    def _accumulated(self, node: Any, result: Any) -> None:
        """Under a leaf's own node: what is made or kept there is its gradient."""
        leaf = node.variable
        if self.is_parameter(leaf):
            self.mark(result, PARAMETER_GRADIENT)
            self.mark(leaf, PARAMETER)

    def _nested(self, argument: Any, reads: list[int]) -> Any:
        """An argument of a type not met yet, or a list: noted like the others."""
        if isinstance(argument, torch.Tensor):
            if storage_of(argument) is not None:
                _TENSORS.add(type(argument))
            buffer = self.see(argument)
            if buffer >= 0:
                reads.append(buffer)
            return argument.shape
        if isinstance(argument, (list, tuple)):
            return tuple([self._nested(one, reads) for one in argument])
        if type(argument) not in _OTHERS and not isinstance(argument, torch.SymInt):
            _OTHERS.add(type(argument))
        return argument

    def _results(self, out: Any) -> tuple[Any, ...]:
        """The shapes of several results, whose new storages are born; nothing of results that are no tensors."""
        if isinstance(out, torch.Tensor):
            storage = storage_of(out)
            if storage is not None and storage._cdata not in self.alive:
                self._born(storage, storage._cdata)
            return (out.shape,)
        if isinstance(out, (list, tuple)):
            return tuple([shape for one in out for shape in self._results(one)] if out else ())
        return ()

    def _unusual(self, kind: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None, out: Any) -> None:
        """A literal becomes a tensor: born now, not given. A storage that an op may have resized: the old one dies, another is born."""
        notes, step = self.notes, len(self.notes.calls)
        written = [out, *args, *(kwargs or {}).values()]
        for tensor in written:
            storage = storage_of(tensor)
            watch = None if storage is None else self.alive.get(storage._cdata)
            if storage is None or watch is None:
                continue
            if kind == _LIFT and notes.born[watch.buffer] == BEFORE and watch.buffer == len(notes.sizes) - 1:
                notes.born[watch.buffer] = step
                notes.given.pop(watch.buffer, None)
            elif kind == _RESIZING and storage.nbytes() != notes.sizes[watch.buffer]:
                notes.deaths.append((watch.buffer, step - 1))
                del self.alive[watch.key]
                self._born(storage, watch.key)


def storage_of(tensor: Any) -> torch.UntypedStorage | None:
    """The storage of a tensor; None for what has none of its own (sparse tensors are made of tensors that have)."""
    if not isinstance(tensor, torch.Tensor):
        return None
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return None


def _base(tensor: torch.Tensor) -> torch.Tensor:
    base = tensor._base
    return tensor if base is None else base


def _kind_of(func: Any) -> int:
    """How an op is noted; remembered."""
    kind = _PLAIN
    if isinstance(func, torch._ops.OpOverload):
        name = func._schema.name
        returns = func._schema.returns
        if name == "aten::lift_fresh":
            kind = _LIFT
        elif name in ("aten::detach", "aten::detach_"):
            kind = _DETACH
        elif torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd"):
            kind = _COMPOSITE
        elif name in ("aten::resize_", "aten::resize_as_", "aten::set_") or any(argument.is_out for argument in func._schema.arguments):
            kind = _RESIZING
        elif is_view(func):
            kind = _VIEW
        elif returns and all(one.alias_info is not None for one in returns):
            kind = _IN_PLACE
    _kinds[func] = kind
    return kind
